"""Results of a training: each party's part of the scorecard, and the label party's model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.card import Baseline, Card
from federated.errors import BadInput
from federated.evaluation import ScoredRows, evaluate, summary_metrics
from federated.job import Job, JobResult, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.binned_columns import BinnedColumns
from federated.vertical.binning import WeightsOfEvidence
from federated.vertical.plan import PartyRoles, ScorecardPlan
from federated.vertical.points import ScorecardColumn, ScorecardPart, printed_rows
from federated.vertical.tables import csv_bytes
from federated.vertical.whitening import Whitening

MAX_LOG_ODDS_DEVIATION = 3.5
"""The largest standard deviation of the training rows' log-odds. Good scorecards stay below 2."""
WORSE_GAP = 0.002
"""How much lower than a baseline's an AUC may be before the card warns."""
LIMITS = (
    (
        "The model ranks and estimates. People decide about a person or a "
        "firm, and can explain and change the decision."
    ),
    (
        "The test rows come from the same source as the training rows. Other times and other "
        "applicants need another test."
    ),
    "The weights of evidence describe these rows. They are not causes.",
)


def require_table(table: Table | None) -> Table:
    """Return a data party's rows; ``ids_empty``."""
    if table is None:
        raise BadInput("ids_empty", "A scorecard needs rows.")
    return table


async def receive_seed(session: Session, roles: PartyRoles) -> Randomness:
    """Receive a data party's seed from the dealer."""
    return Randomness((await session.to(roles.dealer).receive("scorecard/seed")).blob("seed", 32))


async def send_seeds(session: Session, roles: PartyRoles) -> dict[str, Randomness]:
    """At the dealer, send each data party its seed. The label party's is the last."""
    seeds = {
        name: session.randomness.child(f"seed/{name}").bytes(32) for name in roles.data_parties
    }
    for name, seed in seeds.items():
        await session.to(name).send("scorecard/seed", seed=seed)
    return {name: Randomness(seed) for name, seed in seeds.items()}


def file_salt(session: Session) -> str:
    """Return the salt of this party's file."""
    return session.randomness.child("salt").bytes(16).hex()


def scorecard_columns(
    binned: BinnedColumns,
    column_evidence: tuple[WeightsOfEvidence, ...],
    whitening: Whitening,
    whitened: NDArray[np.float64],
    plan: ScorecardPlan,
) -> tuple[ScorecardColumn, ...]:
    """Return a party's columns with their points, from the weights of the whitened columns.
    Dropped columns are left out.
    """
    parts = zip(
        binned.bins,
        binned.layouts,
        column_evidence,
        whitening.weights(whitened),
        whitening.means,
        strict=True,
    )
    return tuple(
        ScorecardColumn.of(
            bins, layout, evidence, weight=float(weight), mean=float(mean), factor=plan.scale.factor
        )
        for bins, layout, evidence, weight, mean in parts
        if not layout.dropped
    )


def _dropped(
    roles: PartyRoles, evidence_by_party: Mapping[str, tuple[WeightsOfEvidence, ...]]
) -> dict[str, list[str]]:
    """Return the columns without bins, of each party that has such columns."""
    dropped = {
        party: [
            name
            for name, evidence in zip(roles.columns[party], columns, strict=True)
            if not evidence.woe
        ]
        for party, columns in sorted(evidence_by_party.items())
    }
    return {party: names for party, names in dropped.items() if names}


def model_files(part: ScorecardPart) -> dict[str, bytes]:
    """Return ``model.json`` and ``points.csv``."""
    columns, bins, rows, woe, points = (
        [line[index] for line in printed_rows(part)] for index in range(5)
    )
    return {
        "model.json": part.to_bytes(),
        "points.csv": csv_bytes(column=columns, bin=bins, rows=rows, woe=woe, points=points),
    }


def evaluated_result(
    job: Job,
    plan: ScorecardPlan,
    roles: PartyRoles,
    part: ScorecardPart,
    evidence_by_party: Mapping[str, tuple[WeightsOfEvidence, ...]],
    train: ScoredRows,
    test: ScoredRows,
    *,
    facts: Mapping[str, str] | None = None,
    baselines: Sequence[Baseline] = (),
    reasons: Sequence[Mapping[str, Any]] = (),
) -> JobResult:
    """Return the label party's result: metrics, its part of the scorecard, and a card with these
    further facts, baselines and reasons.
    """
    evaluation = evaluate(train, test)
    dropped = _dropped(roles, evidence_by_party)
    values = {
        party: {
            name: round(evidence.information_value, 4)
            for name, evidence in zip(roles.columns[party], evidence_of_party, strict=True)
            if evidence.woe
        }
        for party, evidence_of_party in sorted(evidence_by_party.items())
    }
    strongest = sorted(
        (
            (value, f"{party}: {name}")
            for party, own in values.items()
            for name, value in own.items()
        ),
        reverse=True,
    )
    card_facts = {
        "job": job.name,
        "purpose": job.purpose,
        "model": part.model,
        "label": f"{roles.label}: {plan.label}, bad is {plan.bad}",
        "made of": "; ".join(
            f"{party}: {', '.join(values[party]) or 'no column'}"
            for party in (roles.label, *roles.features)
        ),
        **_dropped_fact(dropped),
        **_against_fact(roles.label, part),
        "trained by": (
            f"logistic regression on secret shares, {plan.iterations} "
            f"steps; seeds dealt by {roles.dealer}"
        ),
        "points": (
            f"{plan.base_points} at {plan.base_odds:g} good to one bad, "
            f"{plan.points_to_double:g} more for twice the odds"
        ),
        **(facts or {}),
    }
    columns = [{"column": name, "value": value} for value, name in strongest]
    limits = [*LIMITS, *worse_than_alone(evaluation["test"]["auc"], baselines)]
    title = f"Scorecard {job.name}"
    card = Card(title, card_facts, evaluation, "points", columns, baselines, reasons, limits)
    metrics = summary_metrics(evaluation) | {
        "information_values": values,
        "dropped": dropped,
        "model": part.model,
        "against_evidence": against_evidence(part),
        "baselines": {baseline.name: baseline.test["auc"] for baseline in baselines},
    }
    return JobResult(metrics, {**model_files(part), **card.files()})


def against_evidence(part: ScorecardPart) -> list[str]:
    """Return a party's columns whose points run against their weight of evidence: riskier bins get
    more points, because other columns say the same.
    """
    return [column.bins.column for column in part.columns if column.weight < 0]


def worse_than_alone(auc: float, baselines: Sequence[Baseline]) -> list[str]:
    """Return a limit if a baseline ranks the test rows better by more than ``WORSE_GAP``."""
    best = max(baselines, key=lambda baseline: float(baseline.test["auc"]), default=None)
    if best is None or best.test["auc"] - auc <= WORSE_GAP:
        return []
    return [
        f"It ranks the test rows worse than {best.name} (AUC {auc:.4f}, and "
        f"{best.test['auc']:.4f}): do not use it before the reason is known."
    ]


def join_facts(had_by: Mapping[str, NDArray[np.bool_]]) -> dict[str, str]:
    """Return the card's fact on the rows of a left join. ``had_by``: of each department."""
    listed = ", ".join(
        f"{party} has {int(had.sum()):,} of {len(had):,}" for party, had in had_by.items()
    )
    return {"rows": f"all rows of the label party; {listed}"}


def _dropped_fact(dropped: Mapping[str, list[str]]) -> dict[str, str]:
    listed = "; ".join(f"{party}: {', '.join(names)}" for party, names in dropped.items())
    return {"left out": f"{listed} (one value only, or rare values only)"} if listed else {}


def _against_fact(party: str, part: ScorecardPart) -> dict[str, str]:
    names = ", ".join(against_evidence(part))
    return {"points against the evidence": f"{party}: {names}"} if names else {}


def require_both_classes(rows: int, bad: int, name: str) -> None:
    """Raise ``too_few_rows`` or ``one_class`` unless there are bad and good rows to
    ``name`` with.
    """
    if not rows:
        raise BadInput("too_few_rows", f"There are no rows to {name} with.")
    if bad in (0, rows):
        raise BadInput(
            "one_class",
            f"The rows to {name} with are all {'bad' if bad else 'good'}.",
            hint="A model needs both.",
        )


def require_uncertain(scores: NDArray[np.number], plan: ScorecardPlan) -> None:
    """Refuse a model that is certain: the sine series does not cover such scores, and no honest
    column predicts so well.
    """
    if float(scores.std()) / plan.scale.factor > MAX_LOG_ODDS_DEVIATION:
        raise label_separated()


def label_separated() -> BadInput:
    """Return the error ``label_separated``."""
    return BadInput(
        "label_separated",
        "The columns predict the label almost with certainty.",
        hint="Look for a column that was written after the outcome was known.",
    )
