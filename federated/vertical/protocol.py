"""The protocol ``scorecard``: one ``label`` party, one or more ``features`` parties, and a ``dealer`` without data, train a scorecard together.

Steps, with who learns what in ``docs/protocols/scorecard.md``:

1. the dealer hands out seeds; the rows common to all data parties are found (``align``), and the label party says which are for the test;
2. each party cuts its columns into bins; bad rows are counted under masks, and each party is told the weights of evidence of its bins;
3. logistic regression on shares of the whitened evidence; each party gets the weights of its own columns and makes points of them;
4. all rows are scored: the label party learns the sums, judges the model and writes its card.

Parameters are those of ``Plan``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.card import Card
from federated.channel import Message
from federated.errors import BadInput, PeerFault
from federated.evaluation import Scored, evaluate, headline
from federated.intersection import align
from federated.job import Job, Outcome, Protocol, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.binning import NO_BIN, Bins, Codes, Evidence, Layout, cut
from federated.vertical.counting import be_counted, count, deal_counts
from federated.vertical.messages import receive_words, send_words
from federated.vertical.plan import MOST_COLUMNS, Plan, Sides, agreed, require_finite
from federated.vertical.points import Column, Part, lines
from federated.vertical.sums import Veil, add_points, sum_points
from federated.vertical.tables import csv_of
from federated.vertical.training import Trainer, deal
from federated.vertical.whitening import Whitening

MOST_SPREAD = 3.5
"""Standard deviation of the log-odds of the training rows. Those of a good scorecard have less than 2."""
LIMITS = (
    "It ranks and estimates; a decision about a person or a firm is taken by people, who can explain it and change it.",
    "It was tested on rows of the same source as it was trained on. Other times and other applicants need another test.",
    "The weights of evidence describe these rows. They are no causes.",
)


def check(job: Job) -> None:
    """Refuse bad specifications: ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
    agreed(job)


# --- Bins and evidence ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """A party's columns, cut by the training rows: for each its bins, every training row's bin, and the layout."""

    bins: tuple[Bins, ...]
    codes: tuple[Codes, ...]
    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], plan: Plan) -> Cut:
        """Cut; ``column_constant``, ``column_malformed``."""
        bins = tuple(cut(name, values, most=plan.bins, least=plan.least_rows) for name, values in columns.items())
        codes = tuple(each.codes(columns[each.column]) for each in bins)
        return cls(bins, codes, tuple(Layout.of(each, code) for each, code in zip(bins, codes, strict=True)))

    def inside(self, rows: int) -> NDArray[np.bool_]:
        """(rows, all bins): which bin of each column a row stands in."""
        return np.column_stack([np.empty((rows, 0), np.bool_), *(code[:, None] == np.arange(len(each.rows)) for code, each in self._laid_out)])

    def evidence(self, told: tuple[Evidence, ...]) -> NDArray[np.float64]:
        """(rows, columns): the weight of evidence of each training row."""
        return np.column_stack([each.column(code) for each, code in zip(told, self.codes, strict=True)])

    @property
    def _laid_out(self) -> Any:
        return zip(self.codes, self.layouts, strict=True)


def layouts_of(message: Message, columns: int, rows: int, plan: Plan) -> tuple[Layout, ...]:
    """A department's layouts as received; ``message_malformed`` if they cannot be such."""
    value = message.value("columns")
    try:
        layouts = tuple(Layout(each["ordered"], tuple(each["rows"])) for each in value)
        sound = len(layouts) == columns and all(_sound(each, rows, plan) for each in layouts)
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise PeerFault("message_malformed", f"{message.peer}'s bins are not as agreed.", peer=message.peer)
    return layouts


def _sound(layout: Layout, rows: int, plan: Plan) -> bool:
    if not all(type(each) is int and each >= 0 for each in (layout.ordered, *layout.rows)):
        return False
    fits = layout.ordered <= len(layout.rows) and 2 <= len(layout.rows) <= plan.bins + 2
    return fits and sum(layout.rows) <= rows and min(layout.rows) >= plan.least_rows


# --- The label party ------------------------------------------------------------------------------------------------------------------


async def label(session: Session, table: Table | None, job: Job) -> Outcome:
    """The label party's side: ``model.json`` and ``points.csv`` with its own points, ``scores.csv``, ``card.json``, ``card.html``."""
    plan, sides = agreed(job)
    table = _rows(table)
    bad = plan.outcomes(table)
    require_finite({name: table.columns[name] for name in sides.columns[session.party]})
    seed = await _seed(session, sides)
    common = await align(session, table.ids, leader=session.party, followers=sides.features, terms=plan.terms)
    table, bad = table.take(common), bad[common]
    test = plan.tested(table, session.randomness.child("split"))
    shape = sides.shape(int((~test).sum()))
    _require_both(bad, test)
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
    weights = await Trainer(session, shape, seed, sides.dealer, white).run(plan.iterations, bad[~test])

    model = session.randomness.child("model").bytes(16).hex()
    for name in sides.features:
        await session.to(name).send("scorecard/model", model=model)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    columns = _columns(cut_, mine, whitening, weights[:-1], plan)
    part = Part(model, _salt(session), columns, base, plan.scale, sides.features)
    scores = await sum_points(session, sides.features, part.of_rows(own, len(table)))
    _require_doubt(scores[~test], plan)
    return await asyncio.to_thread(_judged, job, plan, sides, part, told | {session.party: mine}, Rows(table.ids, scores, bad, test))


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


def _judged(job: Job, plan: Plan, sides: Sides, part: Part, told: Mapping[str, tuple[Evidence, ...]], rows: Rows) -> Outcome:
    evaluation = evaluate(rows.scored(False, plan), rows.scored(True, plan))
    values = {
        party: {name: round(each.value, 4) for name, each in zip(sides.columns[party], mine, strict=True)} for party, mine in sorted(told.items())
    }
    strongest = sorted(((value, f"{party}: {name}") for party, own in values.items() for name, value in own.items()), reverse=True)
    facts = {
        "job": job.name,
        "purpose": job.purpose,
        "model": part.model,
        "label": f"{sides.label}: {plan.label}, bad is {plan.bad}",
        "made of": "; ".join(f"{party}: {', '.join(sides.columns[party]) or 'no column'}" for party in (sides.label, *sides.features)),
        "trained by": f"logistic regression on secret shares, {plan.iterations} steps; seeds dealt by {sides.dealer}",
        "points": f"{plan.base_points} at {plan.base_odds:g} good to one bad, {plan.points_to_double:g} more for twice the odds",
    }
    columns = [{"column": name, "value": value} for value, name in strongest]
    card = Card(f"Scorecard {job.name}", facts, evaluation, "points", columns, LIMITS)
    metrics = headline(evaluation) | {"information_values": values, "model": part.model}
    return Outcome(metrics, {**_files(part), "scores.csv": rows.csv(), **card.files()})


def _require_both(bad: NDArray[np.bool_], test: NDArray[np.bool_]) -> None:
    for rows, name in ((~test, "train"), (test, "test")):
        if not rows.any():
            raise BadInput("too_few_rows", f"There are no rows to {name} with.")
        if bad[rows].all() or not bad[rows].any():
            raise BadInput("one_class", f"The rows to {name} with are all {'bad' if bad[rows].all() else 'good'}.", hint="A model needs both.")


def _require_doubt(scores: NDArray[np.int64], plan: Plan) -> None:
    """Refuse a model that is certain: beyond such scores the sine series does not hold, and no honest column says so much."""
    if float(scores.std()) / plan.scale.factor > MOST_SPREAD:
        raise BadInput("label_separated", "The columns tell the label almost without a doubt.", hint="Look for one written after the fact.")


# --- A department ---------------------------------------------------------------------------------------------------------------------


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A department's side: ``model.json`` and ``points.csv`` with the points of its own columns."""
    plan, sides = agreed(job)
    table = _rows(table)
    require_finite(table.columns)
    seed = await _seed(session, sides)
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
    mine = await _evidence(session, sides, cut_)
    evidence = cut_.evidence(mine)
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    weights = await Trainer(session, shape, seed, sides.dealer, whitening.white(evidence)).run(plan.iterations, None)

    model = (await session.to(sides.label).receive("scorecard/model")).text("model", most=32)
    part = Part(model, _salt(session), _columns(cut_, mine, whitening, weights, plan))
    veil = await Veil.agree(session, sides.features)
    await add_points(session, sides.label, veil, part.of_rows(own, len(table)))
    return Outcome({"rows": len(table), "training_rows": shape.rows, "columns": len(own), "model": model}, _files(part))


async def _evidence(session: Session, sides: Sides, cut_: Cut) -> tuple[Evidence, ...]:
    bins = [len(each.rows) for each in cut_.layouts]
    woe = (await session.to(sides.label).receive("scorecard/evidence")).array("words", "float64", [sum(bins)])
    if not (np.abs(woe) < 32).all():
        raise PeerFault("message_malformed", f"{sides.label}'s weights of evidence are none.", peer=sides.label)
    return tuple(Evidence(tuple(each.tolist()), 0.0) for each in np.split(woe, np.cumsum(bins)[:-1]))


# --- The dealer -----------------------------------------------------------------------------------------------------------------------


async def dealer(session: Session, table: Table | None, job: Job) -> Outcome:
    """The dealer's side: seeds, and what they leave to be corrected. It keeps nothing."""
    plan, sides = agreed(job)
    names = [*sides.features, sides.label]
    seeds = {name: session.randomness.child(f"seed/{name}").bytes(32) for name in names}
    for name, seed in seeds.items():
        await session.to(name).send("scorecard/seed", seed=seed)
    message = await session.to(sides.label).receive("scorecard/size")
    shape = sides.shape(message.integer("rows", least=1, most=1 << 32))
    bins = message.value("bins")
    whole = isinstance(bins, dict) and set(bins) == set(sides.features)
    if not whole or not all(type(each) is int and 1 <= each <= MOST_COLUMNS * (plan.bins + 2) for each in bins.values()):
        raise PeerFault("message_malformed", f"{sides.label} does not say how many bins there are.", peer=sides.label)
    streams = {name: Randomness(seed) for name, seed in seeds.items()}
    await deal_counts(session, streams, sides.label, shape.rows, {name: bins[name] for name in sides.features})
    await deal(session, streams, shape, plan.iterations)
    return Outcome({"training_rows": shape.rows, "iterations": plan.iterations})


# --- What both kinds of data party do -------------------------------------------------------------------------------------------------


def _rows(table: Table | None) -> Table:
    if table is None:
        raise BadInput("ids_empty", "A scorecard needs rows.")
    return table


async def _seed(session: Session, sides: Sides) -> Randomness:
    return Randomness((await session.to(sides.dealer).receive("scorecard/seed")).blob("seed", 32))


def _salt(session: Session) -> str:
    return session.randomness.child("salt").bytes(16).hex()


def _columns(cut_: Cut, told: tuple[Evidence, ...], whitening: Whitening, white: NDArray[np.float64], plan: Plan) -> tuple[Column, ...]:
    parts = zip(cut_.bins, cut_.layouts, told, whitening.weights(white), whitening.means, strict=True)
    return tuple(
        Column.of(bins, layout, each, weight=float(weight), mean=float(mean), factor=plan.scale.factor) for bins, layout, each, weight, mean in parts
    )


def _files(part: Part) -> dict[str, bytes]:
    columns, bins, rows, woe, points = ([line[place] for line in lines(part)] for place in range(5))
    return {"model.json": part.to_bytes(), "points.csv": csv_of(column=columns, bin=bins, rows=rows, woe=woe, points=points)}


SCORECARD = Protocol("scorecard", {"label": label, "features": features, "dealer": dealer}, check)
