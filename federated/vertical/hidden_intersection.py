"""The training of a scorecard over a hidden intersection: ``scorecard`` with ``"alignment":
{"reveal": "nobody"}``.

The intersection is found by circuit PSI (Pinkas, Schneider, Tkachenko and Yanai, EUROCRYPT 2019).
The label party hashes its rows into bins. For each of its rows in each of its bins, a department
programs an OPPRF whose output and the department's own shares add up to the row's evidence if the
rows are the same, and to noise otherwise. From there on all data parties work on shares of every
bin, full or empty, common or not:

1. a circuit computes a share of membership for each bin (``membership``); the number of common rows
   is opened;
2. all and bad common rows are counted in every bin of every column, and the label party computes
   the weights of evidence (``products``);
3. the whitened evidence is multiplied with membership, so that rows that are not common are 0 and
   drop out;
4. the step size is fixed (``largest_eigenvalue``), the training runs (``training``), and each party
   converts its own weights to points;
5. the label party learns the histogram of scores by outcome (``score_histogram``), and no score.

``docs/protocols/hidden-intersection.md`` lists what each party learns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import PeerFault
from federated.evaluation import ScoredRows
from federated.intersection import OpprfReceiver, follow_opprf, lead_opprf
from federated.job import Job, JobResult, Table
from federated.session import Session
from federated.vertical.binned_columns import BinnedColumns, receive_evidence
from federated.vertical.binning import BinLayout, WeightsOfEvidence
from federated.vertical.common_rows import (
    CommonRows,
    Frame,
    PartyState,
    RingArray,
    count_common_rows,
    find_common_rows,
    train_on_common_rows,
    without_ones,
)
from federated.vertical.correlated_randomness import DealerRandomness, RingDtype
from federated.vertical.fixed_point import MAX_SHIFT_BITS, Ring64, encode
from federated.vertical.largest_eigenvalue import deal_largest_eigenvalue
from federated.vertical.membership import deal_membership
from federated.vertical.messages import receive_array, send_array
from federated.vertical.plan import (
    PartyRoles,
    ScorecardPlan,
    read_plan,
    require_finite,
)
from federated.vertical.points import ScorecardPart
from federated.vertical.preprocessing import BlockShape, uniform_ring
from federated.vertical.products import (
    deal_masked_select,
    deal_secret_product,
)
from federated.vertical.results import (
    against_evidence,
    evaluated_result,
    file_salt,
    label_separated,
    model_files,
    receive_seed,
    require_both_classes,
    require_table,
    require_uncertain,
    scorecard_columns,
    send_seeds,
)
from federated.vertical.score_histogram import (
    BUCKETS,
    BUCKETS_PER_UNIT,
    deal_score_histogram,
    deal_shared_scores,
    log_odds,
    score_histogram,
    shared_scores,
)
from federated.vertical.training import (
    MaskedColumns,
    deal_training,
    reveal_own_weights,
    shared_column_masks,
)
from federated.vertical.whitening import Whitening

# --- What all data parties do together ------------------------------------------------------------


# --- The label party ------------------------------------------------------------------------------


async def label(session: Session, table: Table | None, job: Job) -> JobResult:
    """The label party's role. Writes ``model.json`` and ``points.csv`` with its own points,
    ``card.json`` and ``card.html``; no row has a score.
    """
    plan, roles = read_plan(job)
    table = require_table(table)
    outcomes = plan.outcomes(table)
    own = {name: table.columns[name] for name in roles.columns[session.party]}
    require_finite(own)
    seed = await receive_seed(session, roles)
    opprf = await lead_opprf(session, table.ids, roles.features, plan.terms, "bins")
    binned = await asyncio.to_thread(
        BinnedColumns.of, own, plan, plan.special_values(session.party)
    )
    layouts_by_party = {
        name: _read_layouts(
            await session.to(name).receive("circuit/bins"), len(roles.columns[name]), plan
        )
        for name in roles.features
    }
    layouts_by_party[session.party] = binned.layouts
    frame, order = await _draw_frame(session, plan, roles, layouts_by_party, len(opprf.row_of_bin))
    state = PartyState.of(session, plan, roles, seed, frame)
    row_of_bin = opprf.row_of_bin[order]
    bad = (row_of_bin >= 0) & outcomes[row_of_bin]

    words, one_hot = await _receive_targets(opprf, state, order)
    one_hot.append(_gather(row_of_bin, binned.one_hot(len(table)).astype(frame.dtype)))
    common = await find_common_rows(state, np.stack(words, axis=1), bad)
    for size, bad_counts, what in zip(
        common.sizes, common.bad_counts, ("train", "test"), strict=True
    ):
        require_both_classes(size, bad_counts, what)

    counts = await count_common_rows(state, common, np.concatenate(one_hot, axis=1))
    assert counts is not None
    layouts, evidence_by_party = await _send_evidence(state, layouts_by_party, counts)
    own_evidence = evidence_by_party[session.party]
    evidence = binned.evidence(own_evidence) if own else np.empty((len(table), 0))
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    whitened = [
        (await opprf.receive(name, frame.columns.columns[name]))[order] for name in roles.features
    ]
    whitened.append(_gather(row_of_bin, encode(whitening.transform(evidence))))
    columns, shares = await train_on_common_rows(
        state, common, np.concatenate(whitened, axis=1), bad
    )
    weights = await reveal_own_weights(state.communicator, frame.columns, shares)

    train, test = await _evaluate(state, common, columns, shares, bad)
    model = session.randomness.child("model").bytes(16).hex()
    for name in roles.features:
        await session.to(name).send("scorecard/model", model=model)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    columns_with_points = scorecard_columns(
        replace(binned, layouts=layouts[session.party]), own_evidence, whitening, weights[:-1], plan
    )
    facts = {
        "rows": f"the hidden intersection; scores in buckets of 1/{BUCKETS_PER_UNIT} of log-odds"
    }
    part = ScorecardPart(
        model, file_salt(session), columns_with_points, base, plan.scale, roles.features
    )
    return await asyncio.to_thread(
        evaluated_result, job, plan, roles, part, evidence_by_party, train, test, facts=facts
    )


async def _receive_targets(
    opprf: OpprfReceiver, state: PartyState, order: NDArray[np.int64]
) -> tuple[list[Ring64], list[RingArray]]:
    """Receive what each department programs first: values that equal its targets in common rows,
    and the shares of its rows' bins.
    """
    words, one_hot = [], []
    for name in state.roles.features:
        width, dtype = state.frame.bins.columns[name], state.frame.dtype
        received = (await opprf.receive(name, 1 + _packed_words(width, dtype)))[order]
        words.append(received[:, 0])
        one_hot.append(np.ascontiguousarray(received[:, 1:]).view(dtype)[:, :width])
    return words, one_hot


def _read_layouts(message: Message, columns: int, plan: ScorecardPlan) -> tuple[BinLayout, ...]:
    """Read a department's layouts, without counts of rows; ``message_malformed``."""
    widths, ordered = (
        message.array(name, "int64", [columns]).tolist() for name in ("bins", "ordered")
    )
    if not all(
        (width == 0 or 2 <= width <= plan.max_bins) and 0 <= count <= width
        for width, count in zip(widths, ordered, strict=True)
    ) or not any(widths):
        raise PeerFault(
            "message_malformed", f"{message.peer}'s bins do not follow the plan.", peer=message.peer
        )
    return tuple(
        BinLayout(count, (0,) * width) for width, count in zip(widths, ordered, strict=True)
    )


async def _draw_frame(
    session: Session,
    plan: ScorecardPlan,
    roles: PartyRoles,
    layouts_by_party: Mapping[str, tuple[BinLayout, ...]],
    rows: int,
) -> tuple[Frame, NDArray[np.int64]]:
    """Draw the test rows among all bins, full or not, and send them to every party. Return the
    frame and the order of rows in it.
    """
    test = np.zeros(rows, np.uint8)
    test[session.randomness.child("split").permutation(rows)[: round(plan.test_share * rows)]] = 1
    bins = {name: sum(len(layout.rows) for layout in own) for name, own in layouts_by_party.items()}
    train = rows - int(test.sum())
    for name in (*roles.features, roles.dealer):
        await session.to(name).send("circuit/frame", rows=rows, train=train, bins=bins)
    for name in roles.features:
        await send_array(session, name, "circuit/test", test)
    return Frame.of(roles, rows, train, bins), np.argsort(test, kind="stable")


async def _send_evidence(
    state: PartyState,
    layouts_by_party: Mapping[str, tuple[BinLayout, ...]],
    counts: NDArray[np.int64],
) -> tuple[dict[str, tuple[BinLayout, ...]], dict[str, tuple[WeightsOfEvidence, ...]]]:
    """Compute all parties' layouts over the common rows and their evidence, and send each
    department its own.

    A bin with too few common rows is merged like any bin with too few bad or good rows.
    """
    layouts: dict[str, tuple[BinLayout, ...]] = {}
    evidence_by_party: dict[str, tuple[WeightsOfEvidence, ...]] = {}
    for name, own in layouts_by_party.items():
        ends = np.cumsum([len(layout.rows) for layout in own])[:-1]
        rows, bad_counts = (
            np.split(counts_by_bin[state.frame.bins.span(name)], ends)[: len(own)]
            for counts_by_bin in counts
        )
        layouts[name] = tuple(
            BinLayout(layout.ordered, tuple(row.tolist()))
            for layout, row in zip(own, rows, strict=True)
        )
        own_evidence = tuple(
            WeightsOfEvidence.of(layout, bad.tolist(), min_cases=state.plan.min_cases)
            for layout, bad in zip(layouts[name], bad_counts, strict=True)
        )
        evidence_by_party[name] = own_evidence
        if name != state.communicator.party:
            evidence_by_party[name] = tuple(evidence.rounded() for evidence in own_evidence)
            await state.communicator.session.to(name).send(
                "scorecard/evidence",
                words=np.concatenate([evidence.woe for evidence in evidence_by_party[name]]),
            )
    return layouts, evidence_by_party


async def _evaluate(
    state: PartyState,
    common: CommonRows,
    columns: MaskedColumns,
    shares: Ring64,
    bad: NDArray[np.bool_],
) -> tuple[ScoredRows, ScoredRows]:
    """Return the common rows' scores, for training and test, at the precision of the buckets;
    ``label_separated``.
    """
    counted = await score_histogram(
        state.communicator,
        state.randomness,
        await shared_scores(state.communicator, state.randomness, columns, shares),
        bad,
        state.frame.groups,
    )
    assert counted is not None
    train, test = (
        _bucketed_rows(group, state.plan)
        for group in _without_padding(counted, state.frame, common, bad)
    )
    require_uncertain(train.score, state.plan)
    return train, test


def _without_padding(
    counted: NDArray[np.int64], frame: Frame, common: CommonRows, bad: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Subtract the rows that are not common, whose score is 0; ``label_separated`` if scores are
    outside all buckets.
    """
    counted = counted.copy()
    for group, size, bad_counts, rows in zip(
        counted, common.sizes, common.bad_counts, frame.groups, strict=True
    ):
        all_bad = int((bad & rows).sum())
        group[:, BUCKETS // 2] -= (
            int(rows.sum()) - all_bad - (size - bad_counts),
            all_bad - bad_counts,
        )
        if (group < 0).any() or group.sum() != size:
            raise PeerFault(
                "counts_impossible", "The histogram does not add up to the number of common rows."
            )
        if group[1].sum() != bad_counts:
            raise label_separated()
    return counted


def _bucketed_rows(counts: NDArray[np.int64], plan: ScorecardPlan) -> ScoredRows:
    """Return rows with these counts (2, buckets), each with the score of its bucket."""
    points = plan.scale.offset - plan.scale.factor * log_odds()
    score = np.concatenate([np.repeat(points, outcome) for outcome in counts])
    return ScoredRows(
        plan.scale.probability(score), score, np.arange(len(score)) >= counts[0].sum()
    )


def _gather(row_of_bin: NDArray[np.int32], values: RingArray) -> RingArray:
    """Return the values of the row in each bin, 0 where there is none."""
    out = values[row_of_bin]
    out[row_of_bin < 0] = 0
    return out


# --- A department ---------------------------------------------------------------------------------


async def features(session: Session, table: Table | None, job: Job) -> JobResult:
    """A department's role. Writes ``model.json`` and ``points.csv`` with the points of its own
    columns. The row counts are its own, common or not.
    """
    plan, roles = read_plan(job)
    table = require_table(table)
    require_finite(table.columns)
    seed = await receive_seed(session, roles)
    own = {name: table.columns[name] for name in roles.columns[session.party]}
    binned = await asyncio.to_thread(
        BinnedColumns.of, own, plan, plan.special_values(session.party)
    )
    opprf = await follow_opprf(session, table.ids, roles.label, plan.terms, "bins")
    widths, ordered = (
        np.array(values, np.int64)
        for values in (
            [len(one.rows) for one in binned.layouts],
            [one.ordered for one in binned.layouts],
        )
    )
    await session.to(roles.label).send("circuit/bins", bins=widths, ordered=ordered)
    frame = Frame.received(await session.to(roles.label).receive("circuit/frame"), plan, roles)
    test = await receive_array(session, roles.label, "circuit/test", opprf.bins, "uint8")
    if (
        frame.rows != opprf.bins
        or int((test == 0).sum()) != frame.train
        or frame.bins.columns[session.party] != int(widths.sum())
    ):
        raise PeerFault(
            "message_malformed", f"{roles.label} did not send valid test rows.", peer=roles.label
        )
    order = np.argsort(test != 0, kind="stable")
    state = PartyState.of(session, plan, roles, seed, frame)

    own_randomness = session.randomness.child("shares")
    targets = own_randomness.child("targets").words(frame.rows)
    width = int(widths.sum())
    one_hot = _padded(await asyncio.to_thread(binned.one_hot, len(table)), frame.dtype)
    bin_shares = uniform_ring(
        own_randomness.child("bins"), frame.dtype, frame.rows, one_hot.shape[1]
    )
    values = one_hot[opprf.row] - bin_shares[opprf.bin]
    await opprf.send(np.column_stack([targets[opprf.bin], values.view(np.uint64)]))
    words = np.zeros((frame.rows, len(roles.features)), np.uint64)
    words[:, roles.features.index(session.party)] = targets[order]
    common = await find_common_rows(state, words, None)
    await count_common_rows(state, common, bin_shares[order, :width])
    own_evidence = await receive_evidence(session, roles.label, binned)

    evidence = binned.evidence(own_evidence)
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    column_shares = own_randomness.child("columns").words(frame.rows, len(own))
    await opprf.send(encode(whitening.transform(evidence))[opprf.row] - column_shares[opprf.bin])
    columns, shares = await train_on_common_rows(state, common, column_shares[order], None)
    weights = await reveal_own_weights(state.communicator, frame.columns, shares)
    await score_histogram(
        state.communicator,
        state.randomness,
        await shared_scores(state.communicator, state.randomness, columns, shares),
        None,
        frame.groups,
    )
    model = (await session.to(roles.label).receive("scorecard/model")).text("model", max_length=32)
    part = ScorecardPart(
        model, file_salt(session), scorecard_columns(binned, own_evidence, whitening, weights, plan)
    )
    return JobResult(
        {
            "rows": sum(common.sizes),
            "training_rows": common.sizes[0],
            "columns": len(part.columns),
            "dropped": dict(binned.dropped),
            "against_evidence": against_evidence(part),
            "model": model,
        },
        model_files(part),
    )


def _packed_words(width: int, dtype: RingDtype) -> int:
    return -(-width * np.dtype(dtype).itemsize // 8)


def _padded(one_hot: NDArray[np.bool_], dtype: RingDtype) -> RingArray:
    """Pad with bins without rows, up to whole words. Their shares must be as random as others, or
    they would reveal the common rows.
    """
    rows, width = one_hot.shape
    wide = np.zeros((rows, 8 // np.dtype(dtype).itemsize * _packed_words(width, dtype)), dtype)
    wide[:, :width] = one_hot
    return wide


# --- The dealer -----------------------------------------------------------------------------------


async def dealer(session: Session, table: Table | None, job: Job) -> JobResult:
    """The dealer's role: it sends seeds and corrections, and stores nothing."""
    plan, roles = read_plan(job)
    seeds = await send_seeds(session, roles)
    frame = Frame.received(await session.to(roles.label).receive("circuit/frame"), plan, roles)
    randomness = DealerRandomness(session, seeds)
    await deal_membership(randomness, frame.rows, len(roles.features))
    await deal_masked_select(
        randomness,
        "outcome",
        BlockShape(frame.rows, {name: int(name == roles.label) for name in roles.data_parties}),
    )
    await deal_secret_product(
        randomness, "evidence", 2, replace(frame.bins, rows=frame.train), frame.dtype
    )
    await deal_masked_select(randomness, "columns", without_ones(frame, roles))
    masks = await asyncio.to_thread(shared_column_masks, seeds, frame.columns)
    await deal_largest_eigenvalue(randomness, masks[: frame.train], roles.label)
    bits = (await session.to(roles.label).receive("circuit/step")).integer(
        "bits", minimum=1, maximum=MAX_SHIFT_BITS
    )
    await deal_training(
        session,
        seeds,
        replace(frame.columns, rows=frame.train),
        masks[: frame.train],
        plan.iterations,
        bits,
    )
    await deal_shared_scores(randomness, masks)
    await deal_score_histogram(randomness, frame.rows)
    return JobResult({"bins": frame.rows, "iterations": plan.iterations})
