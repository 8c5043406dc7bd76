"""The protocol ``boosting``: one ``label`` party and one or more ``features`` parties grow a forest (SecureBoost, IEEE Intelligent Systems 2021).

Parameters are those of ``Terms``. The label party gets ``model.json`` (trees, its own cuts, leaves' weights), the scores of the common rows and
a model card; a feature party gets ``model.json`` with its own cuts, which nobody else has. No file scores a row without the others: the protocol
``scoring`` takes all of them.
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
from federated.boosting.cuts import Cuts
from federated.boosting.messages import bits, packed
from federated.boosting.model import LabelPart, Part, file_of
from federated.boosting.passive import Passive
from federated.boosting.terms import Terms
from federated.boosting.trees import chances
from federated.card import Card
from federated.errors import BadInput
from federated.evaluation import Scored, evaluate, headline
from federated.holdout import held_out
from federated.intersection import align
from federated.job import Job, Outcome, Protocol, Table
from federated.session import Session

LIMITS = (
    "The chances are those of the rows it was trained on: after a change of policy or of the economy it must be trained or calibrated anew.",
    "Trees interact in ways no list of columns tells; where a refusal must be explained, the scorecard is the model to use.",
    "The label party has seen, for each split of a feature party, which rows went left; docs/protocols/boosting.md says what that amounts to.",
)


def check(job: Job) -> None:
    """Refuse bad specifications: ``spec_roles``, ``spec_columns`` and the codes of ``Terms.read``."""
    terms, active = Terms.read(job.parameters), job.only("label")
    if not job.with_role("features"):
        raise BadInput("spec_roles", "Boosting needs at least one party in the role features.")
    for name, each in job.parties.items():
        if each.source is None:
            raise BadInput("spec_roles", f"{name} brings no source; every party of a forest needs one.")
        if name != active and not each.columns:
            raise BadInput("spec_columns", f"{name} names no columns.")
    columns = job.parties[active].columns
    for name in sorted(terms.told - set(columns)):
        raise BadInput("spec_columns", f"{active} does not bring {name}, which is the label or says which rows are for the test.")
    if terms.first_trees_local and not set(columns) - terms.told:
        raise BadInput("spec_columns", f"{active} brings no column to train with, and is to grow trees alone.")


async def label(session: Session, table: Table | None, job: Job) -> Outcome:
    """The label party's side: ``model.json``, ``scores.csv`` with the chance of each common row, ``card.json`` and ``card.html``."""
    terms, peers = Terms.read(job.parameters), job.with_role("features")
    common = await _aligned(session, table, session.party, peers, terms)
    test = held_out(common, session.randomness.child("split"), share=terms.test_share, column=terms.test_column)
    order, train = terms.order(test)
    for peer in peers:
        await session.to(peer).send("boosting/test", rows=packed(test))
    common = common.take(order)
    bad = terms.outcomes(common.columns[terms.label])
    for part in (bad[:train], bad[train:]):
        if part.all() or not part.any():
            raise BadInput("one_class", f"The label {terms.label} has one value only in the rows to train on or to test with.")
    cuts = await _cut({name: each for name, each in common.columns.items() if name not in terms.told}, train, terms)
    active = Active(session, terms, {peer: len(job.parties[peer].columns) for peer in peers}, cuts, len(common))
    forest = await active.run(bad[:train])
    evaluation = evaluate(_scored(forest, bad, slice(None, train)), _scored(forest, bad, slice(train, None)))
    gains = _gains(forest, cuts, session.party)
    model = session.randomness.child("model").bytes(16).hex()
    for peer in peers:
        await session.to(peer).send("boosting/model", model=model)
    own = Part.of(model, _salt(session), cuts, forest.splits)
    about = {"job": "0x" + job.digest.hex(), "label": terms.label, "bad": terms.bad}
    whole = LabelPart(own, session.party, tuple(peers), forest.base, tuple(map(tuple, forest.trees)), about)
    files = {"model.json": file_of(whole), "scores.csv": await asyncio.to_thread(_scores, common, forest, train)}
    files |= _card(job, terms, evaluation, gains).files()
    splits = _splits(forest, (session.party, *peers))
    return Outcome({**headline(evaluation), "trees": terms.trees, "splits": splits, "model": model}, files)


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A feature party's side: ``model.json`` with its own splits."""
    terms, active = Terms.read(job.parameters), job.only("label")
    common = await _aligned(session, table, active, job.with_role("features"), terms)
    order, train = terms.order(bits(await session.to(active).receive("boosting/test"), "rows", len(common)))
    common = common.take(order)
    cuts = await _cut(common.columns, train, terms)
    passive = Passive(session, terms, active, cuts, len(common))
    await passive.run()
    model = (await session.to(active).receive("boosting/model")).text("model", most=32)
    part = Part.of(model, _salt(session), cuts, passive.splits)
    return Outcome({"rows": len(common), "splits": len(passive.splits), "model": model}, {"model.json": file_of(part)})


# --- Rows ---------------------------------------------------------------------------------------------------------------------------------


async def _aligned(session: Session, table: Table | None, active: str, peers: list[str], terms: Terms) -> Table:
    """The common rows, in one random order."""
    if table is None:
        raise BadInput("no_rows", "A party of a forest needs rows.")
    return table.take(await align(session, table.ids, leader=active, followers=peers, terms=terms.intersection()))


def _salt(session: Session) -> str:
    return session.randomness.child("salt").bytes(16).hex()


async def _cut(columns: Mapping[str, NDArray[Any]], train: int, terms: Terms) -> Cuts:
    return await asyncio.to_thread(Cuts.of, columns, train, most=terms.bins, least=terms.least_rows)


def _scored(forest: Forest, bad: NDArray[np.bool_], rows: slice) -> Scored:
    return Scored(chances(forest.scores[rows]), forest.scores[rows], bad[rows])


def _scores(common: Table, forest: Forest, train: int) -> bytes:
    part = pa.array(["train"] * train + ["test"] * (len(common) - train))
    columns = {"id": pa.array(common.ids.tolist(), pa.string()), "part": part, "chance": pa.array(chances(forest.scores))}
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out)
    return out.getvalue()


# --- The card -----------------------------------------------------------------------------------------------------------------------------


def _splits(forest: Forest, parties: Iterable[str]) -> dict[str, int]:
    """How many splits each party has."""
    owners = [node.party for nodes in forest.trees for node in nodes]
    return {party: owners.count(party) for party in parties}


def _gains(forest: Forest, cuts: Cuts, party: str) -> list[dict[str, Any]]:
    """The share of all gain, by own column and by feature party, the largest first: of theirs the columns are unknown."""
    gains = dict[str, float]()
    for nodes in forest.trees:
        for node in nodes:
            if node.party is not None and node.split is not None:
                name = str(cuts.describe(forest.splits[node.split])["column"]) if node.party == party else f"{node.party}'s columns"
                gains[name] = gains.get(name, 0.0) + node.gain
    total = sum(gains.values())
    listed = [{"column": name, "value": round(gain / total, 6)} for name, gain in gains.items()]
    return sorted(listed, key=lambda each: -float(each["value"]))


def _card(job: Job, terms: Terms, evaluation: Mapping[str, Any], gains: list[dict[str, Any]]) -> Card:
    facts = {
        "job": job.name,
        "purpose": job.purpose,
        "label": f"{terms.label}, bad is {terms.bad}",
        "parties": ", ".join(job.parties),
        "trees": f"{terms.trees} of depth {terms.depth}, the first {terms.first_trees_local} without other parties",
        "rate": terms.rate,
        "encryption": terms.scheme,
        "least rows in a leaf": terms.least_rows,
        "test rows": f"told by the column {terms.test_column}" if terms.test_column else f"drawn, {terms.test_share:.0%}",
    }
    return Card(f"Joint forest {job.name}", facts, evaluation, score="log-odds of bad", columns=gains, limits=LIMITS)


BOOSTING = Protocol("boosting", {"label": label, "features": features}, check)
