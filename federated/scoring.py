"""The protocol ``scoring``: rows scored by the parts of a model that each party keeps from one training, a scorecard or a forest.

    {"training": "credit-2026-11", "models": {"bank": "0x…", "tax": "0x…"}, "batch": 1000, "alignment": {}}

``models`` pins each party's ``model.json`` by SHA-256; it is looked for among the done attempts at the job ``training``. The rows common to all are
scored in batches, in an order drawn by the label party: it names a batch, and the departments answer for it as their kind of model does. With a
batch of 1 each row is a request of its own. A department learns which of its rows are scored and no score; the label party learns the scores.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection import Terms, align
from federated.job import Job, Outcome, Protocol, Table
from federated.session import Session
from federated.vertical.plan import MOST_PARTIES, alignment_terms, require_finite
from federated.vertical.tables import csv_of

MOST_BATCH = 1 << 20
KINDS = {"scorecard": "federated.vertical.scoring", "forest": "federated.boosting.scoring"}
"""By a model's kind the module with its ``label_side`` and ``feature_side``; loaded only when there is such a model."""


class LabelSide(Interface):
    """The label party's part of a model, with its own table."""

    model: str
    features: tuple[str, ...]  # the departments the model was trained with

    async def scores(self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]) -> NDArray[Any]:
        """The scores of these rows of its table, from its own part and the departments' answers."""
        ...

    def chances(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """The chance of bad that each score stands for."""
        ...


class FeatureSide(Interface):
    """A department's part of a model, with its own table."""

    model: str

    async def prepare(self, session: Session, departments: Sequence[str]) -> None:
        """Agree with the other departments on what answers are hidden under."""
        ...

    async def answer(self, session: Session, label: str, rows: NDArray[np.int64], first: int) -> None:
        """Send what the label party needs of these rows of the table, the first of which is number ``first`` of all that are asked for."""
        ...


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

    def model(self, session: Session) -> tuple[Any, bytes]:
        """The module of this party's kind of model, and the model's file; ``model_unknown``, ``model_differs``, ``model_malformed``."""
        home = session.settings.get("home")
        if home is None:
            raise BadInput("model_unknown", "This party has no folder to keep models in.")
        data = session.keep("model", lambda: kept_model(Path(home), self.training, self.models[session.party]))
        try:
            return importlib.import_module(KINDS[json.loads(data)["kind"]]), data
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput("model_malformed", "The model's file is none that rows can be scored by.") from error


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
    kind, data = order.model(session)
    require_finite(table.columns)
    side: LabelSide = await asyncio.to_thread(kind.label_side, data, table)
    if set(side.features) != set(order.features):
        trained, asked = ", ".join(sorted(side.features)), ", ".join(sorted(order.features))
        raise Conflict("model_differs", f"The model was trained with {trained}; the job names {asked}.", hint="A score needs every part.")
    await _require_one_model(session, side.model, order.features)
    common = await align(session, table.ids, leader=session.party, followers=order.features, terms=order.terms)
    found = []
    for start in range(0, len(common), order.batch):
        rows = common[start : start + order.batch]
        for name in order.features:
            await session.to(name).send("scoring/request", first=start, count=len(rows))
        found.append(await side.scores(session, order.features, rows))
        session.progress("scoring", (start + len(rows)) / len(common))
    for name in order.features:
        await session.to(name).send("scoring/request", first=len(common), count=0)
    scores = np.concatenate(found)
    metrics = {"rows": len(table), "scored": len(common), "requests": len(found), "model": side.model}
    ids = [each.decode() for each in table.ids[common].tolist()]
    chances = np.round(side.chances(scores), 6).tolist()
    return Outcome(metrics, {"scores.csv": await asyncio.to_thread(csv_of, id=ids, score=scores.tolist(), chance=chances)})


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A department's side. It writes nothing."""
    order, table = Order.of(job), _rows(table)
    kind, data = order.model(session)
    require_finite(table.columns)
    side: FeatureSide = await asyncio.to_thread(kind.feature_side, data, table)
    await _require_one_model(session, side.model, [order.label])
    common = await align(session, table.ids, leader=order.label, followers=order.features, terms=order.terms)
    await side.prepare(session, order.features)
    done = 0
    while True:
        message = await session.to(order.label).receive("scoring/request")
        first, count = message.integer("first"), message.integer("count", most=min(order.batch, len(common) - done))
        if first != done:
            raise PeerFault("message_malformed", f"{order.label} asks for rows out of their order.", peer=order.label)
        if not count:
            break
        await side.answer(session, order.label, common[done : done + count], done)
        done += count
    return Outcome({"rows": len(table), "scored": done, "model": side.model})


async def _require_one_model(session: Session, model: str, peers: Sequence[str]) -> None:
    """``model_differs`` unless the peers' parts come from the same training."""
    for peer in peers:
        await session.to(peer).send("scoring/model", model=model)
    for peer in peers:
        if (await session.to(peer).receive("scoring/model")).text("model", most=64) != model:
            raise Conflict("model_differs", f"{peer}'s part of the model is from another training.", hint="Pin parts of one attempt.", peer=peer)


def _rows(table: Table | None) -> Table:
    if table is None:
        raise BadInput("ids_empty", "Scoring needs rows.")
    return table


SCORING = Protocol("scoring", {"label": label, "features": features}, check)
