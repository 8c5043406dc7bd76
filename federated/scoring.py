"""The protocol ``scoring``: rows scored by the parts of a scorecard or forest that the parties
store.

    {"training": "credit-2026-11", "models": {"bank": "0x…", "tax": "0x…"}, "batch": 1000,
     "alignment": {}, "reasons": {}}

``models`` pins each party's ``model.json`` by SHA-256; the file is found among the completed
attempts at the job ``training``. The common rows are scored in batches, in an order drawn by the
label party: it requests a batch, and the departments answer as their kind of model requires. With a
batch of 1 each row is one request. A department learns which of its rows are scored but no score;
the label party learns the scores. With the alignment's ``join`` ``left`` every row of the label
party is scored; a department that does not have it answers as for missing values. ``reasons``
(``federated.vertical.reasons``) asks a scorecard for the columns that took most points from low
scores.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from federated.boosting import scoring as forests
from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection import AlignedRows, PsiTerms, align
from federated.job import Job, JobResult, Protocol, Table
from federated.session import Session
from federated.vertical import scoring as scorecards
from federated.vertical.plan import MAX_PARTIES, alignment_terms, require_finite
from federated.vertical.points import ScorecardPart
from federated.vertical.reasons import ReasonTerms, listed
from federated.vertical.tables import csv_bytes

MAX_BATCH = 1 << 20


class LabelScorer(Interface):
    """The label party's part of a model, applied to its own table."""

    model: str
    features: tuple[str, ...]  # the departments the model was trained with

    async def scores(
        self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Return the scores of these rows, from its own part and the departments' answers."""
        ...

    def probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of bad for each score."""
        ...


class FeatureScorer(Interface):
    """A department's part of a model, applied to its own table."""

    model: str

    async def prepare(self, session: Session, departments: Sequence[str]) -> None:
        """Agree with the other departments on masks."""
        ...

    async def answer(
        self, session: Session, label: str, rows: NDArray[np.int64], first: int
    ) -> None:
        """Send what the label party needs of these rows. ``first``: the number of the first row
        among all requested rows.
        """
        ...


@dataclass(frozen=True)
class ModelKind:
    """How a stored ``model.json`` of one kind is read, for the party's own table."""

    label_scorer: Callable[[bytes, Table], LabelScorer]
    feature_scorer: Callable[[bytes, Table], FeatureScorer]


MODEL_KINDS = {
    "scorecard": ModelKind(scorecards.label_scorer, scorecards.feature_scorer),
    "forest": ModelKind(forests.label_scorer, forests.feature_scorer),
}


@dataclass(frozen=True)
class ScoringRequest:
    """What is scored, and by which models."""

    label: str
    features: tuple[str, ...]
    training: str
    models: Mapping[str, str]
    batch: int
    terms: PsiTerms
    reasons: ReasonTerms | None

    @classmethod
    def of(cls, job: Job) -> ScoringRequest:
        """Read a job; ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
        label, departments, given = (
            job.only("label"),
            tuple(job.with_role("features")),
            job.parameters,
        )
        if not 1 <= len(departments) < MAX_PARTIES:
            raise BadInput(
                "spec_roles",
                f"Scoring needs one to {MAX_PARTIES - 1} parties in the role features.",
            )
        for name in (label, *departments):
            if job.parties[name].source is None:
                raise BadInput("spec_roles", f"{name} has no source; every party needs one.")
            if name != label and not job.parties[name].columns:
                raise BadInput("spec_columns", f"{name} must name the columns of its model.")
        training, models, batch = (
            given.get("training"),
            given.get("models"),
            given.get("batch", 1000),
        )
        digests = models if isinstance(models, dict) else {}
        pinned = all(
            isinstance(digest, str) and re.fullmatch("0x[0-9a-f]{64}", digest)
            for digest in digests.values()
        )
        named = isinstance(training, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", training)
        if (
            set(given) - {"training", "models", "batch", "alignment", "reasons"}
            or not isinstance(training, str)
            or not named
        ):
            raise BadInput(
                "spec_parameters",
                "Scoring has the parameters training (a job's name), models, batch, alignment, "
                "reasons.",
            )
        if not pinned or set(digests) != {label, *departments}:
            raise BadInput(
                "spec_parameters",
                "models must map each party to the SHA-256 of its model.json, and nothing else.",
                hint="It is in each receipt.",
            )
        if type(batch) is not int or not 1 <= batch <= MAX_BATCH:
            raise BadInput("spec_parameters", f"batch is not an integer from 1 to {MAX_BATCH}.")
        return cls(
            label,
            departments,
            training,
            digests,
            batch,
            alignment_terms(given.get("alignment", {})),
            ReasonTerms.read(given.get("reasons"), job),
        )

    def model(self, session: Session) -> tuple[ModelKind, bytes]:
        """Return this party's kind of model and the file of the model.

        Raises ``model_unknown``, ``model_differs`` or ``model_malformed``.
        """
        home = session.settings.get("home")
        if home is None:
            raise BadInput("model_unknown", "This party has no folder for models.")
        model_file = session.persist(
            "model", lambda: stored_model(Path(home), self.training, self.models[session.party])
        )
        try:
            return MODEL_KINDS[json.loads(model_file)["kind"]], model_file
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadInput(
                "model_malformed", "The model's file is malformed or of an unknown kind."
            ) from error


def stored_model(home: Path, training: str, digest: str) -> bytes:
    """Return the ``model.json`` with this digest from the completed attempts at a job;
    ``model_unknown``, ``model_differs``.
    """
    batches = sorted((home / "jobs" / training).glob("*/output/model.json"))
    for path in batches:
        model_file = path.read_bytes()
        if "0x" + hashlib.sha256(model_file).hexdigest() == digest:
            return model_file
    if batches:
        sentence = f"No stored model of {training} has the digest that the specification pins."
        raise Conflict(
            "model_differs",
            sentence,
            hint="Take the digest of model.json from the training's receipt.",
        )
    raise BadInput(
        "model_unknown",
        f"No model of a job {training} is stored.",
        hint="Train it first, and keep its output folder.",
    )


def check(job: Job) -> None:
    """Refuse malformed specifications: ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
    ScoringRequest.of(job)


async def label(session: Session, table: Table | None, job: Job) -> JobResult:
    """The label party's role. Writes ``scores.csv`` with the score and probability of each aligned
    row, the departments that do not have it (``unknown_to``), and ``reasons`` if the job asks.
    """
    request, table = ScoringRequest.of(job), _rows(table)
    kind, model_file = request.model(session)
    require_finite(table.columns)
    scorer: LabelScorer = await asyncio.to_thread(kind.label_scorer, model_file, table)
    if set(scorer.features) != set(request.features):
        trained, named = ", ".join(sorted(scorer.features)), ", ".join(sorted(request.features))
        raise Conflict(
            "model_differs",
            f"The model was trained with {trained}; the job names {named}.",
            hint="A score needs every part.",
        )
    explained = _explained(request, scorer)
    await _require_one_model(session, scorer.model, request.features)
    common = await align(
        session, table.ids, leader=session.party, followers=request.features, terms=request.terms
    )
    batches = []
    for start in range(0, len(common), request.batch):
        rows = common.rows[start : start + request.batch]
        for name in request.features:
            await session.to(name).send("scoring/request", first=start, count=len(rows))
        batches.append(await scorer.scores(session, request.features, rows))
        session.progress("scoring", (start + len(rows)) / len(common))
    for name in request.features:
        await session.to(name).send("scoring/request", first=len(common), count=0)
    scores = np.concatenate(batches)
    reasons: dict[str, list[str]] = {}
    if explained is not None:
        terms, part, own = explained
        asked = await terms.ask(
            session,
            request.features,
            [column.bins.column for column in part.columns],
            lambda names: terms.lost(part, own, names)[common.rows],
            scores,
        )
        reasons = {"reasons": listed(asked)}
    metrics = {
        "rows": len(table),
        "scored": len(common),
        "requests": len(batches),
        "model": scorer.model,
    }
    ids = [identifier.decode() for identifier in table.ids[common.rows].tolist()]
    probabilities = np.round(scorer.probabilities(scores), 6).tolist()
    return JobResult(
        metrics,
        {
            "scores.csv": await asyncio.to_thread(
                csv_bytes,
                id=ids,
                score=scores.tolist(),
                probability=probabilities,
                unknown_to=_unknown_to(common),
                **reasons,
            )
        },
    )


async def features(session: Session, table: Table | None, job: Job) -> JobResult:
    """A department's role. It writes nothing."""
    request, table = ScoringRequest.of(job), _rows(table)
    kind, model_file = request.model(session)
    require_finite(table.columns)
    # The last row, without a value, represents the rows that this department does not have.
    scorer: FeatureScorer = await asyncio.to_thread(
        kind.feature_scorer, model_file, table.with_missing_row()
    )
    explained = _explained(request, scorer)
    await _require_one_model(session, scorer.model, [request.label])
    common = await align(
        session, table.ids, leader=request.label, followers=request.features, terms=request.terms
    )
    rows = np.where(common.rows < 0, len(table), common.rows)
    await scorer.prepare(session, request.features)
    done = 0
    while True:
        message = await session.to(request.label).receive("scoring/request")
        first, count = (
            message.integer("first"),
            message.integer("count", maximum=min(request.batch, len(common) - done)),
        )
        if first != done:
            raise PeerFault(
                "message_malformed",
                f"{request.label} requests rows out of order.",
                peer=request.label,
            )
        if not count:
            break
        await scorer.answer(session, request.label, rows[done : done + count], done)
        done += count
    if explained is not None:
        terms, part, own = explained
        await terms.answer(
            session, request.label, lambda names: terms.lost(part, own, names)[rows], len(common)
        )
    return JobResult({"rows": len(table), "scored": done, "model": scorer.model})


def _explained(
    request: ScoringRequest, scorer: LabelScorer | FeatureScorer
) -> tuple[ReasonTerms, ScorecardPart, Mapping[str, NDArray[Any]]] | None:
    """Return what a party needs for reasons, ``None`` if the job asks for none;
    ``spec_parameters``.
    """
    if request.reasons is None:
        return None
    if not isinstance(scorer, scorecards.LabelPoints | scorecards.FeaturePoints):
        raise BadInput(
            "spec_parameters",
            "Only scorecards give reasons.",
            hint="Leave the parameter reasons out for other models.",
        )
    return request.reasons, scorer.part, scorer.table.columns


async def _require_one_model(session: Session, model: str, peers: Sequence[str]) -> None:
    """Raise ``model_differs`` unless all parts come from the same training."""
    for peer in peers:
        await session.to(peer).send("scoring/model", model=model)
    for peer in peers:
        if (await session.to(peer).receive("scoring/model")).text("model", max_length=64) != model:
            raise Conflict(
                "model_differs",
                f"{peer}'s part of the model comes from another training.",
                hint="Pin parts of one attempt.",
                peer=peer,
            )


def _unknown_to(common: AlignedRows) -> list[str]:
    """Return for each row the departments that do not have it, separated by blanks."""
    return [
        " ".join(name for name, had in common.had_by.items() if not had[row])
        for row in range(len(common))
    ]


def _rows(table: Table | None) -> Table:
    if table is None:
        raise BadInput("ids_empty", "Scoring needs rows.")
    return table


SCORING = Protocol("scoring", {"label": label, "features": features}, check)
