"""What a training leaves: each party's part of the scorecard, and the label party's card of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federated.card import Card
from federated.errors import BadInput
from federated.evaluation import Scored, evaluate, headline
from federated.job import Job, Outcome, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.binning import Evidence
from federated.vertical.cuts import Cut
from federated.vertical.plan import Plan, Sides
from federated.vertical.points import Column, Part, lines
from federated.vertical.tables import csv_of
from federated.vertical.whitening import Whitening

MOST_SPREAD = 3.5
"""Standard deviation of the log-odds of the training rows. Those of a good scorecard have less than 2."""
LIMITS = (
    "It ranks and estimates; a decision about a person or a firm is taken by people, who can explain it and change it.",
    "It was tested on rows of the same source as it was trained on. Other times and other applicants need another test.",
    "The weights of evidence describe these rows. They are no causes.",
)


def rows_of(table: Table | None) -> Table:
    """A data party's rows; ``ids_empty``."""
    if table is None:
        raise BadInput("ids_empty", "A scorecard needs rows.")
    return table


async def seed_of(session: Session, sides: Sides) -> Randomness:
    """What the dealer gives a data party."""
    return Randomness((await session.to(sides.dealer).receive("scorecard/seed")).blob("seed", 32))


async def hand_out(session: Session, sides: Sides) -> dict[str, Randomness]:
    """As the dealer, give each data party its seed; the label party's is the last."""
    seeds = {name: session.randomness.child(f"seed/{name}").bytes(32) for name in sides.data_parties}
    for name, seed in seeds.items():
        await session.to(name).send("scorecard/seed", seed=seed)
    return {name: Randomness(seed) for name, seed in seeds.items()}


def salt_of(session: Session) -> str:
    """This party's salt of its file."""
    return session.randomness.child("salt").bytes(16).hex()


def columns_of(cut_: Cut, told: tuple[Evidence, ...], whitening: Whitening, white: NDArray[np.float64], plan: Plan) -> tuple[Column, ...]:
    """A party's columns with their points, from the weights of the white ones."""
    parts = zip(cut_.bins, cut_.layouts, told, whitening.weights(white), whitening.means, strict=True)
    return tuple(
        Column.of(bins, layout, each, weight=float(weight), mean=float(mean), factor=plan.scale.factor) for bins, layout, each, weight, mean in parts
    )


def files_of(part: Part) -> dict[str, bytes]:
    """``model.json`` and ``points.csv``."""
    columns, bins, rows, woe, points = ([line[place] for line in lines(part)] for place in range(5))
    return {"model.json": part.to_bytes(), "points.csv": csv_of(column=columns, bin=bins, rows=rows, woe=woe, points=points)}


def judged(
    job: Job,
    plan: Plan,
    sides: Sides,
    part: Part,
    told: Mapping[str, tuple[Evidence, ...]],
    train: Scored,
    test: Scored,
    *,
    facts: Mapping[str, str] | None = None,
) -> Outcome:
    """The label party's outcome: metrics, its part, and a card with these facts besides."""
    evaluation = evaluate(train, test)
    values = {
        party: {name: round(each.value, 4) for name, each in zip(sides.columns[party], mine, strict=True)} for party, mine in sorted(told.items())
    }
    strongest = sorted(((value, f"{party}: {name}") for party, own in values.items() for name, value in own.items()), reverse=True)
    said = {
        "job": job.name,
        "purpose": job.purpose,
        "model": part.model,
        "label": f"{sides.label}: {plan.label}, bad is {plan.bad}",
        "made of": "; ".join(f"{party}: {', '.join(sides.columns[party]) or 'no column'}" for party in (sides.label, *sides.features)),
        "trained by": f"logistic regression on secret shares, {plan.iterations} steps; seeds dealt by {sides.dealer}",
        "points": f"{plan.base_points} at {plan.base_odds:g} good to one bad, {plan.points_to_double:g} more for twice the odds",
        **(facts or {}),
    }
    columns = [{"column": name, "value": value} for value, name in strongest]
    card = Card(f"Scorecard {job.name}", said, evaluation, "points", columns, LIMITS)
    metrics = headline(evaluation) | {"information_values": values, "model": part.model}
    return Outcome(metrics, {**files_of(part), **card.files()})


def require_both(rows: int, bad: int, name: str) -> None:
    """``too_few_rows`` or ``one_class`` unless there are bad and good rows to ``name`` with."""
    if not rows:
        raise BadInput("too_few_rows", f"There are no rows to {name} with.")
    if bad in (0, rows):
        raise BadInput("one_class", f"The rows to {name} with are all {'bad' if bad else 'good'}.", hint="A model needs both.")


def require_doubt(scores: NDArray[np.number], plan: Plan) -> None:
    """Refuse a model that is certain: beyond such scores the sine series does not hold, and no honest column says so much."""
    if float(scores.std()) / plan.scale.factor > MOST_SPREAD:
        raise separated()


def separated() -> BadInput:
    """``label_separated``."""
    return BadInput("label_separated", "The columns tell the label almost without a doubt.", hint="Look for one written after the fact.")
