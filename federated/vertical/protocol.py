"""The protocol ``scorecard``: a ``label`` party, ``features`` parties and a ``dealer`` without
data.

``docs/protocols/scorecard.md`` lists what each party learns in each step:

1. the dealer sends seeds; the common rows are found (``align``), and the label party announces the
   test rows;
2. each party bins its columns; bad rows are counted under masks (``counting``), and each party
   receives the weights of evidence of its own bins;
3. logistic regression runs on shares of the whitened evidence (``training``); each party receives
   the weights of its own columns and converts them to points;
4. all rows are scored: the label party learns the sums, evaluates the model and writes its card.

Parameters are those of ``ScorecardPlan``. With ``reveal`` ``nobody`` the module
``hidden_intersection`` runs instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.card import Baseline
from federated.errors import PeerFault
from federated.evaluation import ScoredRows
from federated.intersection import align
from federated.job import Job, JobResult, Protocol, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical import hidden_intersection
from federated.vertical.binned_columns import BinnedColumns, read_layouts, receive_evidence
from federated.vertical.binning import WeightsOfEvidence
from federated.vertical.communicator import Communicator
from federated.vertical.counting import count_bad_rows, deal_counts, share_bin_counts
from federated.vertical.fixed_point import shift_bits
from federated.vertical.masked_sums import PairwiseMask, send_masked_points, sum_points
from federated.vertical.messages import receive_array, send_array
from federated.vertical.plain_scorecard import own_baselines, scored_rows
from federated.vertical.plan import (
    MAX_COLUMNS,
    PartyRoles,
    ScorecardPlan,
    read_plan,
    require_finite,
)
from federated.vertical.points import ScorecardPart
from federated.vertical.preprocessing import BlockShape
from federated.vertical.reasons import Reason, ReasonTerms, by_column, listed
from federated.vertical.results import (
    against_evidence,
    evaluated_result,
    file_salt,
    join_facts,
    model_files,
    receive_seed,
    require_both_classes,
    require_table,
    require_uncertain,
    scorecard_columns,
    send_seeds,
)
from federated.vertical.tables import csv_bytes
from federated.vertical.training import (
    MaskedColumns,
    Trainer,
    deal_training,
    own_column_masks,
    reveal_own_weights,
)
from federated.vertical.whitening import Whitening


def check(job: Job) -> None:
    """Refuse malformed specifications: ``spec_roles``, ``spec_columns``, ``spec_parameters``."""
    read_plan(job)


# --- The label party ------------------------------------------------------------------------------


async def label(session: Session, table: Table | None, job: Job) -> JobResult:
    """The label party's role. Writes ``model.json`` and ``points.csv`` with its own points,
    ``scores.csv``, ``card.json`` and ``card.html``.
    """
    plan, roles = read_plan(job)
    if plan.hidden_intersection:
        return await hidden_intersection.label(session, table, job)
    table = require_table(table)
    bad = plan.outcomes(table)
    require_finite({name: table.columns[name] for name in roles.columns[session.party]})
    seed = await receive_seed(session, roles)
    common = await align(
        session, table.ids, leader=session.party, followers=roles.features, terms=plan.terms
    )
    everybody, all_bad = table, bad
    table, bad = table.take(common.rows), bad[common.rows]
    test = plan.tested(table, session.randomness.child("split"))
    shape = roles.shape(int((~test).sum()))
    plan.require_penalty(shape.rows)
    for rows, name in ((~test, "train"), (test, "test")):
        require_both_classes(int(rows.sum()), int(bad[rows].sum()), name)
    for name in roles.features:
        await send_array(session, name, "scorecard/test", test.astype(np.uint8))

    own = {name: table.columns[name] for name in roles.columns[session.party]}
    binned = await asyncio.to_thread(
        BinnedColumns.of,
        {name: values[~test] for name, values in own.items()},
        plan,
        plan.special_values(session.party),
    )
    evidence_by_party = await _send_evidence(session, roles, plan, seed, bad[~test])
    own_evidence = binned.own_evidence(bad[~test], plan)
    evidence = binned.evidence(own_evidence) if own_evidence else np.empty((shape.rows, 0))
    whitening = Whitening.of(evidence)
    whitened = np.column_stack([whitening.transform(evidence), np.ones(shape.rows)])
    weights = await _trained(session, roles, plan, shape, seed, whitened, bad[~test])

    model = session.randomness.child("model").bytes(16).hex()
    for name in roles.features:
        await session.to(name).send("scorecard/model", model=model)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    columns = scorecard_columns(binned, own_evidence, whitening, weights[:-1], plan)
    part = ScorecardPart(model, file_salt(session), columns, base, plan.scale, roles.features)
    scores = await sum_points(session, roles.features, part.points_of(own, len(table)))
    require_uncertain(scores[~test], plan)
    terms = ReasonTerms.read(plan.reasons, job)
    reasons = None
    if terms is not None:
        named = [column.bins.column for column in columns]
        reasons = await terms.ask(
            session, roles.features, named, lambda names: terms.lost(part, own, names), scores
        )
    scored = LabelPartyRows(table.ids, scores, bad, test, reasons)
    train, tested = scored.scored(False, plan), scored.scored(True, plan)
    outcome = await asyncio.to_thread(
        evaluated_result,
        job,
        plan,
        roles,
        part,
        evidence_by_party | {session.party: own_evidence},
        train,
        tested,
        facts=join_facts(common.had_by) if plan.terms.join == "left" else None,
        baselines=await asyncio.to_thread(
            _alone, session.party, roles, plan, everybody, all_bad, common.rows, test
        ),
        reasons=scored.tested_reasons(),
    )
    return replace(outcome, files={**outcome.files, "scores.csv": scored.csv()})


def _alone(
    party: str,
    roles: PartyRoles,
    plan: ScorecardPlan,
    table: Table,
    bad: NDArray[np.bool_],
    common: NDArray[np.int64],
    test: NDArray[np.bool_],
) -> list[Baseline]:
    """Return the baselines of the label party's own columns. ``test``: of the common rows."""
    common_train, common_test = np.zeros((2, len(table)), np.bool_)
    common_train[common[~test]] = common_test[common[test]] = True
    all_train = ~common_test
    if plan.test_column is not None:
        all_train &= table.columns[plan.test_column] == 0.0
    return own_baselines(
        party,
        {name: table.columns[name] for name in roles.columns[party]},
        bad,
        plan,
        common_train=common_train,
        common_test=common_test,
        all_train=all_train,
    )


async def _send_evidence(
    session: Session,
    roles: PartyRoles,
    plan: ScorecardPlan,
    seed: Randomness,
    bad: NDArray[np.bool_],
) -> dict[str, tuple[WeightsOfEvidence, ...]]:
    """Count bad rows in the departments' bins, and send each department the weights of evidence of
    its own bins.
    """
    layouts = {}
    for name in roles.features:
        layouts[name] = read_layouts(
            await session.to(name).receive("scorecard/bins"),
            len(roles.columns[name]),
            len(bad),
            plan,
        )
    bins = {
        name: sum(len(layout.rows) for layout in own_layouts)
        for name, own_layouts in layouts.items()
    }
    await session.to(roles.dealer).send("scorecard/size", rows=len(bad), bins=bins)
    counts = await count_bad_rows(session, roles.dealer, seed, bad, bins)
    evidence_by_party: dict[str, tuple[WeightsOfEvidence, ...]] = {}
    for name, own_layouts in layouts.items():
        ends = np.cumsum([len(layout.rows) for layout in own_layouts])
        bad_counts = np.split(counts[name], ends[:-1])
        if any(
            (counts_by_bin > np.array(layout.rows)).any()
            for counts_by_bin, layout in zip(bad_counts, own_layouts, strict=True)
        ):
            raise PeerFault(
                "counts_impossible", f"{name} has bins with more bad rows than rows.", peer=name
            )
        evidence_by_party[name] = tuple(
            WeightsOfEvidence.of(layout, counts_by_bin.tolist(), min_cases=plan.min_cases).rounded()
            for layout, counts_by_bin in zip(own_layouts, bad_counts, strict=True)
        )
        await session.to(name).send(
            "scorecard/evidence",
            words=np.concatenate([evidence.woe for evidence in evidence_by_party[name]]),
        )
        session.progress("evidence", len(evidence_by_party) / len(layouts))
    return evidence_by_party


@dataclass(frozen=True)
class LabelPartyRows:
    """The label party's rows with their scores."""

    ids: NDArray[np.bytes_]
    scores: NDArray[np.int64]
    bad: NDArray[np.bool_]
    test: NDArray[np.bool_]
    reasons: Sequence[tuple[Reason, ...]] | None = None

    def scored(self, test: bool, plan: ScorecardPlan) -> ScoredRows:
        """Return the test rows, or the training rows."""
        rows = self.test == test
        return scored_rows(self.scores[rows], self.bad[rows], plan)

    def csv(self) -> bytes:
        """Return ``scores.csv``: identifier, part, score, outcome, and reasons if there are any."""
        reasons = {} if self.reasons is None else {"reasons": listed(self.reasons)}
        parts, outcomes = np.where(self.test, "test", "train"), self.bad.astype(np.int8)
        return csv_bytes(
            id=[identifier.decode() for identifier in self.ids.tolist()],
            part=parts.tolist(),
            score=self.scores.tolist(),
            bad=outcomes.tolist(),
            **reasons,
        )

    def tested_reasons(self) -> list[dict[str, Any]]:
        """Return how often each column is a reason for a low score among the test rows."""
        reasons = self.reasons or ()
        return by_column([row for row, test in zip(reasons, self.test, strict=False) if test])


# --- A department ---------------------------------------------------------------------------------


async def features(session: Session, table: Table | None, job: Job) -> JobResult:
    """A department's role. Writes ``model.json`` and ``points.csv`` with the points of its own
    columns.
    """
    plan, roles = read_plan(job)
    if plan.hidden_intersection:
        return await hidden_intersection.features(session, table, job)
    table = require_table(table)
    require_finite(table.columns)
    seed = await receive_seed(session, roles)
    common = await align(
        session, table.ids, leader=roles.label, followers=roles.features, terms=plan.terms
    )
    table = table.take(common.rows)
    test = await receive_array(session, roles.label, "scorecard/test", len(table), "uint8")
    if (test > 1).any():
        raise PeerFault(
            "message_malformed", f"{roles.label} did not send valid test rows.", peer=roles.label
        )
    train = test == 0
    shape = roles.shape(int(train.sum()))
    plan.require_penalty(shape.rows)

    own = {name: table.columns[name] for name in roles.columns[session.party]}
    binned = await asyncio.to_thread(
        BinnedColumns.of,
        {name: values[train] for name, values in own.items()},
        plan,
        plan.special_values(session.party),
    )
    layouts = [{"ordered": layout.ordered, "rows": list(layout.rows)} for layout in binned.layouts]
    await session.to(roles.label).send("scorecard/bins", columns=layouts)
    await share_bin_counts(
        session, roles.label, seed, await asyncio.to_thread(binned.one_hot, shape.rows)
    )
    own_evidence = await receive_evidence(session, roles.label, binned)
    evidence = binned.evidence(own_evidence)
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    weights = await _trained(session, roles, plan, shape, seed, whitening.transform(evidence), None)

    model = (await session.to(roles.label).receive("scorecard/model")).text("model", max_length=32)
    part = ScorecardPart(
        model, file_salt(session), scorecard_columns(binned, own_evidence, whitening, weights, plan)
    )
    pairwise_mask = await PairwiseMask.agree(session, roles.features)
    await send_masked_points(session, roles.label, pairwise_mask, part.points_of(own, len(table)))
    terms = ReasonTerms.read(plan.reasons, job)
    if terms is not None:
        await terms.answer(
            session, roles.label, lambda names: terms.lost(part, own, names), len(table)
        )
    return JobResult(
        {
            "rows": len(table),
            "matched": int(common.had_by[session.party].sum()),
            "training_rows": shape.rows,
            "columns": len(part.columns),
            "dropped": dict(binned.dropped),
            "against_evidence": against_evidence(part),
            "model": model,
        },
        model_files(part),
    )


# --- The dealer -----------------------------------------------------------------------------------


async def dealer(session: Session, table: Table | None, job: Job) -> JobResult:
    """The dealer's role: it sends seeds and corrections, and stores nothing."""
    plan, roles = read_plan(job)
    if plan.hidden_intersection:
        return await hidden_intersection.dealer(session, table, job)
    streams = await send_seeds(session, roles)
    message = await session.to(roles.label).receive("scorecard/size")
    shape = roles.shape(message.integer("rows", minimum=1, maximum=1 << 32))
    bins = message.value("bins")
    whole = isinstance(bins, dict) and set(bins) == set(roles.features)
    if not whole or not all(
        type(width) is int and 1 <= width <= MAX_COLUMNS * plan.max_bins for width in bins.values()
    ):
        raise PeerFault(
            "message_malformed",
            f"{roles.label} did not send valid numbers of bins.",
            peer=roles.label,
        )
    await deal_counts(
        session, streams, roles.label, shape.rows, {name: bins[name] for name in roles.features}
    )
    masks, step = own_column_masks(streams, shape), shift_bits(shape.rows, len(shape.columns))
    await deal_training(session, streams, shape, masks, plan.iterations, step)
    return JobResult({"training_rows": shape.rows, "iterations": plan.iterations})


# --- What both kinds of data party do -------------------------------------------------------------


async def _trained(
    session: Session,
    roles: PartyRoles,
    plan: ScorecardPlan,
    shape: BlockShape,
    seed: Randomness,
    whitened: NDArray[np.float64],
    bad: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """Return the weights of this party's columns."""
    communicator = Communicator(session, roles.data_parties)
    columns = await MaskedColumns.owned(communicator, shape, seed, whitened)
    trainer = Trainer(
        communicator,
        shape,
        seed,
        roles.dealer,
        columns,
        shift_bits(shape.rows, len(shape.columns)),
        plan.l2,
    )
    return await reveal_own_weights(communicator, shape, await trainer.run(plan.iterations, bad))


SCORECARD = Protocol("scorecard", {"label": label, "features": features, "dealer": dealer}, check)
