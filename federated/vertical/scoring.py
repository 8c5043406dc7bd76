"""The protocol ``scoring``: rows scored by the parts of a scorecard that each party keeps from one training.

    {"training": "credit-2026-11", "models": {"bank": "0x…", "tax": "0x…"}, "batch": 1000, "alignment": {}}

``models`` pins each party's ``model.json`` by SHA-256; it is looked for among the done attempts at the job ``training``. The rows common to all are
scored in batches, in an order drawn by the label party: it names a batch, the departments answer with their points under masks, it adds up. With a
batch of 1 each row is a request of its own. A department learns which of its rows are scored and no score; the label party learns the scores.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection import Terms, align
from federated.job import Job, Outcome, Protocol, Table
from federated.session import Session
from federated.vertical.plan import MOST_PARTIES, alignment_terms, require_finite
from federated.vertical.points import Part, Points
from federated.vertical.sums import Veil, add_points, sum_points
from federated.vertical.tables import csv_of

MOST_BATCH = 1 << 20


@dataclass(frozen=True)
class Order:
    """What is to be scored by which models."""

    label: str
    features: tuple[str, ...]
    training: str
    models: Mapping[str, str]
    batch: int
    terms: Terms

    @classmethod
    def of(cls, job: Job) -> Order:
        """Read a job; ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
        label, departments, given = job.only("label"), tuple(job.with_role("features")), job.parameters
        if not 1 <= len(departments) < MOST_PARTIES:
            raise BadInput("spec_roles", f"Scoring needs one to {MOST_PARTIES - 1} parties in the role features.")
        for name in (label, *departments):
            if job.parties[name].source is None:
                raise BadInput("spec_roles", f"{name} brings no source; every party needs one.")
            if name != label and not job.parties[name].columns:
                raise BadInput("spec_columns", f"{name} must name the columns of its model.")
        training, models, batch = given.get("training"), given.get("models"), given.get("batch", 1000)
        digests = models if isinstance(models, dict) else {}
        pinned = all(isinstance(each, str) and re.fullmatch("0x[0-9a-f]{64}", each) for each in digests.values())
        named = isinstance(training, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", training)
        if set(given) - {"training", "models", "batch", "alignment"} or not isinstance(training, str) or not named:
            raise BadInput("spec_parameters", "Scoring has the parameters training (a job's name), models, batch, alignment.")
        if not pinned or set(digests) != {label, *departments}:
            raise BadInput("spec_parameters", "models gives the SHA-256 of each party's model.json, no more.", hint="It is in each receipt.")
        if type(batch) is not int or not 1 <= batch <= MOST_BATCH:
            raise BadInput("spec_parameters", f"batch is not a whole number from 1 to {MOST_BATCH}.")
        return cls(label, departments, training, digests, batch, alignment_terms(given.get("alignment", {})))

    def part(self, session: Session) -> Part:
        """This party's model, as it is kept from the training; ``model_unknown``, ``model_differs``, ``model_malformed``."""
        home = session.settings.get("home")
        if home is None:
            raise BadInput("model_unknown", "This party has no folder to keep models in.")
        return Part.from_bytes(session.keep("model", lambda: kept_model(Path(home), self.training, self.models[session.party])))


def kept_model(home: Path, training: str, digest: str) -> bytes:
    """The ``model.json`` with this digest among the done attempts at a job; ``model_unknown``, ``model_differs``."""
    found = sorted((home / "jobs" / training).glob("*/output/model.json"))
    for path in found:
        data = path.read_bytes()
        if "0x" + hashlib.sha256(data).hexdigest() == digest:
            return data
    if found:
        sentence = f"No model kept from {training} has the digest that the specification pins."
        raise Conflict("model_differs", sentence, hint="Take the digest of model.json from the training's receipt.")
    raise BadInput("model_unknown", f"No model is kept from a job {training}.", hint="Train one first, and leave its output where it is.")


def check(job: Job) -> None:
    """Refuse bad specifications: ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
    Order.of(job)


async def label(session: Session, table: Table | None, job: Job) -> Outcome:
    """The label party's side: ``scores.csv`` with the score and the chance of bad of each row common to all."""
    order, table = Order.of(job), _rows(table)
    part = order.part(session)
    if part.scale is None:
        raise Conflict("model_differs", "The pinned model is not that of a label party.")
    require_finite(table.columns)
    own = part.of_rows(table.columns, len(table))
    await _require_one_model(session, part, order.features)
    common = await align(session, table.ids, leader=session.party, followers=order.features, terms=order.terms)
    scores = np.empty(len(common), np.int64)
    for start in range(0, len(common), order.batch):
        count = min(order.batch, len(common) - start)
        for name in order.features:
            await session.to(name).send("scoring/request", first=start, count=count)
        scores[start : start + count] = await sum_points(session, order.features, own[common[start : start + count]])
        session.progress("scoring", (start + count) / len(common))
    for name in order.features:
        await session.to(name).send("scoring/request", first=len(common), count=0)
    metrics = {"rows": len(table), "scored": len(common), "requests": -(-len(common) // order.batch), "model": part.model}
    chances = np.round(part.scale.chance(scores), 6)
    ids = [each.decode() for each in table.ids[common].tolist()]
    return Outcome(metrics, {"scores.csv": await asyncio.to_thread(csv_of, id=ids, score=scores.tolist(), chance=chances.tolist())})


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A department's side. It writes nothing."""
    order, table = Order.of(job), _rows(table)
    part = order.part(session)
    require_finite(table.columns)
    _require_columns(part, table)
    await _require_one_model(session, part, [order.label])
    common = await align(session, table.ids, leader=order.label, followers=order.features, terms=order.terms)
    veil = await Veil.agree(session, order.features)
    done = 0
    while True:
        message = await session.to(order.label).receive("scoring/request")
        first, count = message.integer("first"), message.integer("count", most=min(order.batch, len(common) - done))
        if first != done:
            raise PeerFault("message_malformed", f"{order.label} asks for rows out of their order.", peer=order.label)
        if not count:
            break
        await add_points(session, order.label, veil, _points(part, table, common[done : done + count]), done)
        done += count
    return Outcome({"rows": len(table), "scored": done, "model": part.model})


def _points(part: Part, table: Table, rows: Any) -> Points:
    asked = table.take(rows)
    return part.of_rows(asked.columns, len(asked))


def _require_columns(part: Part, table: Table) -> None:
    """Refuse columns the model does not fit before any row is asked for."""
    part.of_rows(table.columns, len(table))


async def _require_one_model(session: Session, part: Part, peers: Sequence[str]) -> None:
    """``model_differs`` unless the peers' parts come from the same training."""
    for peer in peers:
        await session.to(peer).send("scoring/model", model=part.model)
    for peer in peers:
        if (await session.to(peer).receive("scoring/model")).text("model", most=64) != part.model:
            raise Conflict("model_differs", f"{peer}'s part of the model is from another training.", hint="Pin parts of one attempt.", peer=peer)


def _rows(table: Table | None) -> Table:
    if table is None:
        raise BadInput("ids_empty", "Scoring needs rows.")
    return table


SCORING = Protocol("scoring", {"label": label, "features": features}, check)
