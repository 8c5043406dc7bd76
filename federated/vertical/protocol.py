"""The protocol ``scorecard``: one ``label`` party, one or more ``features`` parties, and a ``dealer`` without data, train a scorecard together.

Steps, with who learns what in ``docs/protocols/scorecard.md``:

1. the dealer hands out seeds; the rows common to all data parties are found (``align``), and the label party says which are for the test;
2. each party cuts its columns into bins; bad rows are counted under masks, and each party is told the weights of evidence of its bins;
3. logistic regression on shares of the whitened evidence; each party gets the weights of its own columns and makes points of them;
4. all rows are scored: the label party learns the sums, judges the model and writes its card.

Parameters are those of ``Plan``. Where nobody is to learn which rows are common, ``unseen`` takes the place of all this.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federated.errors import PeerFault
from federated.evaluation import Scored
from federated.intersection import align
from federated.job import Job, Outcome, Protocol, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical import unseen
from federated.vertical.binning import NO_BIN, Evidence
from federated.vertical.circle import Circle
from federated.vertical.counting import be_counted, count, deal_counts
from federated.vertical.cuts import Cut, layouts_of, told_evidence
from federated.vertical.dealing import Shape
from federated.vertical.fixed import shift_bits
from federated.vertical.messages import receive_words, send_words
from federated.vertical.plan import MOST_COLUMNS, Plan, Sides, agreed, require_finite
from federated.vertical.points import Part
from federated.vertical.results import columns_of, files_of, hand_out, judged, require_both, require_doubt, rows_of, salt_of, seed_of
from federated.vertical.sums import Veil, add_points, sum_points
from federated.vertical.tables import csv_of
from federated.vertical.training import Columns, Trainer, deal, own_weights, owned_masks
from federated.vertical.whitening import Whitening


def check(job: Job) -> None:
    """Refuse bad specifications: ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
    agreed(job)


# --- The label party ------------------------------------------------------------------------------------------------------------------


async def label(session: Session, table: Table | None, job: Job) -> Outcome:
    """The label party's side: ``model.json`` and ``points.csv`` with its own points, ``scores.csv``, ``card.json``, ``card.html``."""
    plan, sides = agreed(job)
    if plan.unseen:
        return await unseen.label(session, table, job)
    table = rows_of(table)
    bad = plan.outcomes(table)
    require_finite({name: table.columns[name] for name in sides.columns[session.party]})
    seed = await seed_of(session, sides)
    common = await align(session, table.ids, leader=session.party, followers=sides.features, terms=plan.terms)
    table, bad = table.take(common), bad[common]
    test = plan.tested(table, session.randomness.child("split"))
    shape = sides.shape(int((~test).sum()))
    for rows, name in ((~test, "train"), (test, "test")):
        require_both(int(rows.sum()), int(bad[rows].sum()), name)
    for name in sides.features:
        await send_words(session, name, "scorecard/test", test.astype(np.uint8))

    own = {name: table.columns[name] for name in sides.columns[session.party]}
    cut_ = await asyncio.to_thread(Cut.of, {name: values[~test] for name, values in own.items()}, plan)
    told = await _weigh(session, sides, plan, seed, bad[~test])
    mine = tuple(
        Evidence.of(layout, np.bincount(codes[(codes != NO_BIN) & bad[~test]], minlength=len(layout.rows)).tolist(), least=plan.least_cases)
        for codes, layout in zip(cut_.codes, cut_.layouts, strict=True)
    )
    evidence = cut_.evidence(mine) if mine else np.empty((shape.rows, 0))
    whitening = Whitening.of(evidence)
    white = np.column_stack([whitening.white(evidence), np.ones(shape.rows)])
    weights = await _trained(session, sides, plan, shape, seed, white, bad[~test])

    model = session.randomness.child("model").bytes(16).hex()
    for name in sides.features:
        await session.to(name).send("scorecard/model", model=model)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    columns = columns_of(cut_, mine, whitening, weights[:-1], plan)
    part = Part(model, salt_of(session), columns, base, plan.scale, sides.features)
    scores = await sum_points(session, sides.features, part.of_rows(own, len(table)))
    require_doubt(scores[~test], plan)
    scored = Rows(table.ids, scores, bad, test)
    train, tested = scored.scored(False, plan), scored.scored(True, plan)
    outcome = await asyncio.to_thread(judged, job, plan, sides, part, told | {session.party: mine}, train, tested)
    return replace(outcome, files={**outcome.files, "scores.csv": scored.csv()})


async def _weigh(session: Session, sides: Sides, plan: Plan, seed: Randomness, bad: NDArray[np.bool_]) -> dict[str, tuple[Evidence, ...]]:
    """Count bad rows in the departments' bins and tell each the weights of evidence of its own."""
    layouts = {}
    for name in sides.features:
        layouts[name] = layouts_of(await session.to(name).receive("scorecard/bins"), len(sides.columns[name]), len(bad), plan)
    bins = {name: sum(len(each.rows) for each in mine) for name, mine in layouts.items()}
    await session.to(sides.dealer).send("scorecard/size", rows=len(bad), bins=bins)
    counts = await count(session, sides.dealer, seed, bad, bins)
    told: dict[str, tuple[Evidence, ...]] = {}
    for name, mine in layouts.items():
        ends = np.cumsum([len(each.rows) for each in mine])
        bads = np.split(counts[name], ends[:-1])
        if any((each > np.array(layout.rows)).any() for each, layout in zip(bads, mine, strict=True)):
            raise PeerFault("counts_impossible", f"{name} has bins with more bad rows than rows.", peer=name)
        told[name] = tuple(Evidence.of(layout, each.tolist(), least=plan.least_cases).told() for layout, each in zip(mine, bads, strict=True))
        await session.to(name).send("scorecard/evidence", words=np.concatenate([each.woe for each in told[name]]))
        session.progress("evidence", len(told) / len(layouts))
    return told


@dataclass(frozen=True)
class Rows:
    """The label party's rows with their scores."""

    ids: NDArray[np.bytes_]
    scores: NDArray[np.int64]
    bad: NDArray[np.bool_]
    test: NDArray[np.bool_]

    def scored(self, test: bool, plan: Plan) -> Scored:
        """Those to test with, or those trained with."""
        rows = self.test == test
        return Scored(plan.scale.chance(self.scores[rows]), self.scores[rows].astype(np.float64), self.bad[rows])

    def csv(self) -> bytes:
        """``scores.csv``: id, which part, score, outcome."""
        parts, outcomes = np.where(self.test, "test", "train"), self.bad.astype(np.int8)
        return csv_of(id=[each.decode() for each in self.ids.tolist()], part=parts.tolist(), score=self.scores.tolist(), bad=outcomes.tolist())


# --- A department ---------------------------------------------------------------------------------------------------------------------


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A department's side: ``model.json`` and ``points.csv`` with the points of its own columns."""
    plan, sides = agreed(job)
    if plan.unseen:
        return await unseen.features(session, table, job)
    table = rows_of(table)
    require_finite(table.columns)
    seed = await seed_of(session, sides)
    common = await align(session, table.ids, leader=sides.label, followers=sides.features, terms=plan.terms)
    table = table.take(common)
    test = await receive_words(session, sides.label, "scorecard/test", len(table), "uint8")
    if (test > 1).any():
        raise PeerFault("message_malformed", f"{sides.label} does not say which rows are for the test.", peer=sides.label)
    train = test == 0
    shape = sides.shape(int(train.sum()))

    own = {name: table.columns[name] for name in sides.columns[session.party]}
    cut_ = await asyncio.to_thread(Cut.of, {name: values[train] for name, values in own.items()}, plan)
    told = [{"ordered": each.ordered, "rows": list(each.rows)} for each in cut_.layouts]
    await session.to(sides.label).send("scorecard/bins", columns=told)
    await be_counted(session, sides.label, seed, await asyncio.to_thread(cut_.inside, shape.rows))
    mine = await told_evidence(session, sides.label, cut_)
    evidence = cut_.evidence(mine)
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    weights = await _trained(session, sides, plan, shape, seed, whitening.white(evidence), None)

    model = (await session.to(sides.label).receive("scorecard/model")).text("model", most=32)
    part = Part(model, salt_of(session), columns_of(cut_, mine, whitening, weights, plan))
    veil = await Veil.agree(session, sides.features)
    await add_points(session, sides.label, veil, part.of_rows(own, len(table)))
    return Outcome({"rows": len(table), "training_rows": shape.rows, "columns": len(own), "model": model}, files_of(part))


# --- The dealer -----------------------------------------------------------------------------------------------------------------------


async def dealer(session: Session, table: Table | None, job: Job) -> Outcome:
    """The dealer's side: seeds, and what they leave to be corrected. It keeps nothing."""
    plan, sides = agreed(job)
    if plan.unseen:
        return await unseen.dealer(session, table, job)
    streams = await hand_out(session, sides)
    message = await session.to(sides.label).receive("scorecard/size")
    shape = sides.shape(message.integer("rows", least=1, most=1 << 32))
    bins = message.value("bins")
    whole = isinstance(bins, dict) and set(bins) == set(sides.features)
    if not whole or not all(type(each) is int and 1 <= each <= MOST_COLUMNS * (plan.bins + 2) for each in bins.values()):
        raise PeerFault("message_malformed", f"{sides.label} does not say how many bins there are.", peer=sides.label)
    await deal_counts(session, streams, sides.label, shape.rows, {name: bins[name] for name in sides.features})
    masks, step = owned_masks(streams, shape), shift_bits(shape.rows, len(shape.columns))
    await deal(session, streams, shape, masks, plan.iterations, step)
    return Outcome({"training_rows": shape.rows, "iterations": plan.iterations})


# --- What both kinds of data party do -------------------------------------------------------------------------------------------------


async def _trained(
    session: Session, sides: Sides, plan: Plan, shape: Shape, seed: Randomness, white: NDArray[np.float64], bad: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """The weights of this party's columns."""
    circle = Circle(session, sides.data_parties)
    columns = await Columns.owned(circle, shape, seed, white)
    trainer = Trainer(circle, shape, seed, sides.dealer, columns, shift_bits(shape.rows, len(shape.columns)))
    return await own_weights(circle, shape, await trainer.run(plan.iterations, bad))


SCORECARD = Protocol("scorecard", {"label": label, "features": features, "dealer": dealer}, check)
