"""The protocol ``boosting``: a ``label`` party and ``features`` parties grow a forest (Cheng and
others, *SecureBoost*, IEEE Intelligent Systems 2021).

Parameters are those of ``ForestTerms``. The label party writes ``model.json`` (trees, its own cuts,
leaf weights), the scores of the common rows and a model card. A feature party writes ``model.json``
with its own cuts, which no other party has. No party can score a row alone: the protocol
``scoring`` needs all parts.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from federated.boosting.active import Active, Forest
from federated.boosting.messages import pack_bits, unpack_bits
from federated.boosting.model import ForestPart, LabelForestPart, model_bytes
from federated.boosting.passive import Passive
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import ForestTerms
from federated.boosting.trees import probabilities
from federated.card import Card
from federated.errors import BadInput
from federated.evaluation import ScoredRows, evaluate, summary_metrics
from federated.holdout import holdout_mask
from federated.intersection import align
from federated.job import Job, JobResult, Protocol, Table
from federated.session import Session

LIMITS = (
    (
        "Probabilities are calibrated on the training rows: after a change of policy or of the "
        "economy the model must be retrained or recalibrated."
    ),
    (
        "Trees model interactions that a list of columns does not show; use a scorecard where a "
        "refusal must be explained."
    ),
    (
        "The label party has seen, for each split of a feature party, which rows went left; "
        "docs/protocols/boosting.md assesses this leakage."
    ),
)


def check(job: Job) -> None:
    """Refuse malformed specifications: ``spec_roles``, ``spec_columns`` and the codes of
    ``ForestTerms.read``.
    """
    terms, active_party = ForestTerms.read(job.parameters), job.only("label")
    if not job.with_role("features"):
        raise BadInput("spec_roles", "Boosting needs at least one party in the role features.")
    for name, part in job.parties.items():
        if part.source is None:
            raise BadInput(
                "spec_roles", f"{name} has no source; every party of a forest needs one."
            )
        if name != active_party and not part.columns:
            raise BadInput("spec_columns", f"{name} has no columns.")
    columns = job.parties[active_party].columns
    for name in sorted(terms.excluded_columns - set(columns)):
        raise BadInput(
            "spec_columns",
            f"{active_party} does not name the column {name}, the label or the test column.",
        )
    if terms.first_trees_local and not set(columns) - terms.excluded_columns:
        raise BadInput(
            "spec_columns", f"{active_party} has no feature column, but first_trees_local is set."
        )


async def label(session: Session, table: Table | None, job: Job) -> JobResult:
    """The label party's role. Writes ``model.json``, ``scores.csv`` with the probability of each
    common row, ``card.json`` and ``card.html``.
    """
    terms, peers = ForestTerms.read(job.parameters), job.with_role("features")
    common = await _aligned(session, table, session.party, peers, terms)
    test = holdout_mask(
        common, session.randomness.child("split"), share=terms.test_share, column=terms.test_column
    )
    order, train = terms.order(test)
    for peer in peers:
        await session.to(peer).send("boosting/test", rows=pack_bits(test))
    common = common.take(order)
    bad = terms.outcomes(common.columns[terms.label])
    for part in (bad[:train], bad[train:]):
        if part.all() or not part.any():
            raise BadInput(
                "one_class",
                f"The label {terms.label} has only one value in the "
                "training rows or in the test rows.",
            )
    cuts = await _cut(
        {
            name: values
            for name, values in common.columns.items()
            if name not in terms.excluded_columns
        },
        train,
        terms,
    )
    active_party = Active(
        session, terms, {peer: len(job.parties[peer].columns) for peer in peers}, cuts, len(common)
    )
    forest = await active_party.run(bad[:train])
    evaluation = evaluate(
        _scored(forest, bad, slice(None, train)), _scored(forest, bad, slice(train, None))
    )
    gains = _gains(forest, cuts, session.party)
    model = session.randomness.child("model").bytes(16).hex()
    for peer in peers:
        await session.to(peer).send("boosting/model", model=model)
    own = ForestPart.of(model, _salt(session), cuts, forest.splits)
    about = {"job": "0x" + job.digest.hex(), "label": terms.label, "bad": terms.bad}
    whole = LabelForestPart(
        own, session.party, tuple(peers), forest.base, tuple(map(tuple, forest.trees)), about
    )
    files = {
        "model.json": model_bytes(whole),
        "scores.csv": await asyncio.to_thread(_scores, common, forest, train),
    }
    files |= _card(job, terms, evaluation, gains).files()
    splits = _splits(forest, (session.party, *peers))
    return JobResult(
        {**summary_metrics(evaluation), "trees": terms.trees, "splits": splits, "model": model},
        files,
    )


async def features(session: Session, table: Table | None, job: Job) -> JobResult:
    """A feature party's role. Writes ``model.json`` with its own splits."""
    terms, active_party = ForestTerms.read(job.parameters), job.only("label")
    common = await _aligned(session, table, active_party, job.with_role("features"), terms)
    order, train = terms.order(
        unpack_bits(await session.to(active_party).receive("boosting/test"), "rows", len(common))
    )
    common = common.take(order)
    cuts = await _cut(common.columns, train, terms)
    passive = Passive(session, terms, active_party, cuts, len(common))
    await passive.run()
    model = (await session.to(active_party).receive("boosting/model")).text("model", max_length=32)
    part = ForestPart.of(model, _salt(session), cuts, passive.splits)
    return JobResult(
        {"rows": len(common), "splits": len(passive.splits), "model": model},
        {"model.json": model_bytes(part)},
    )


# --- Rows -----------------------------------------------------------------------------------------


async def _aligned(
    session: Session, table: Table | None, active_party: str, peers: list[str], terms: ForestTerms
) -> Table:
    """Return the aligned rows in one random order."""
    if table is None:
        raise BadInput("no_rows", "A party of a forest needs a source.")
    aligned = await align(
        session, table.ids, leader=active_party, followers=peers, terms=terms.intersection()
    )
    return table.take(aligned.rows)


def _salt(session: Session) -> str:
    return session.randomness.child("salt").bytes(16).hex()


async def _cut(
    columns: Mapping[str, NDArray[Any]], train: int, terms: ForestTerms
) -> SplitCandidates:
    return await asyncio.to_thread(
        SplitCandidates.of, columns, train, max_bins=terms.bins, min_rows=terms.min_rows
    )


def _scored(forest: Forest, bad: NDArray[np.bool_], rows: slice) -> ScoredRows:
    return ScoredRows(probabilities(forest.scores[rows]), forest.scores[rows], bad[rows])


def _scores(common: Table, forest: Forest, train: int) -> bytes:
    part = pa.array(["train"] * train + ["test"] * (len(common) - train))
    columns = {
        "id": pa.array(common.ids.tolist(), pa.string()),
        "part": part,
        "probability": pa.array(probabilities(forest.scores)),
    }
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out)
    return out.getvalue()


# --- The card -------------------------------------------------------------------------------------


def _splits(forest: Forest, parties: Iterable[str]) -> dict[str, int]:
    """Return how many splits each party has."""
    owners = [node.party for nodes in forest.trees for node in nodes]
    return {party: owners.count(party) for party in parties}


def _gains(forest: Forest, cuts: SplitCandidates, party: str) -> list[dict[str, Any]]:
    """Return the share of the total gain, largest first, by own column and by feature party, whose
    columns are unknown.
    """
    gains = dict[str, float]()
    for nodes in forest.trees:
        for node in nodes:
            if node.party is not None and node.split is not None:
                name = (
                    str(cuts.describe(forest.splits[node.split])["column"])
                    if node.party == party
                    else f"{node.party}'s columns"
                )
                gains[name] = gains.get(name, 0.0) + node.gain
    total = sum(gains.values())
    listed = [{"column": name, "value": round(gain / total, 6)} for name, gain in gains.items()]
    return sorted(listed, key=lambda entry: -float(entry["value"]))


def _card(
    job: Job, terms: ForestTerms, evaluation: Mapping[str, Any], gains: list[dict[str, Any]]
) -> Card:
    facts = {
        "job": job.name,
        "purpose": job.purpose,
        "label": f"{terms.label}, bad is {terms.bad}",
        "parties": ", ".join(job.parties),
        "trees": (
            f"{terms.trees} of depth {terms.max_depth}, the first "
            f"{terms.first_trees_local} without other parties"
        ),
        "learning rate": terms.learning_rate,
        "encryption": terms.scheme,
        "minimum rows in a leaf": terms.min_rows,
        "test rows": f"chosen by the column {terms.test_column}"
        if terms.test_column
        else f"drawn, {terms.test_share:.0%}",
    }
    return Card(
        f"Joint forest {job.name}",
        facts,
        evaluation,
        score="log-odds of bad",
        columns=gains,
        limits=LIMITS,
    )


BOOSTING = Protocol("boosting", {"label": label, "features": features}, check)
