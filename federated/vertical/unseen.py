"""The training of a scorecard on rows that nobody learns: ``scorecard`` with ``"alignment": {"reveal": "nobody"}``.

The label party seats its rows in bins; each department programs, for each of its rows in each of its bins, words that together with its own shares
make the row's evidence, if the rows are the same, and noise if they are not. From there on all data parties work on every bin, full or empty,
common or not, and on shares alone:

1. a circuit tells as a share whether a bin's row is common to all (``membership``); the number of common rows is opened;
2. bad and all common rows are counted in every bin of every column, the label party weighs them (``products``);
3. the whitened evidence is multiplied with membership, so that rows that are not common are 0 and drop out;
4. the step is measured (``curvature``), the training runs (``training``), each party makes points of its own weights;
5. the label party learns how the scores are spread by outcome (``buckets``), and no score.

What each party learns is in ``docs/protocols/unseen.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import BadInput, Conflict, PeerFault
from federated.evaluation import Scored
from federated.intersection import OpprfReceiver, follow_opprf, lead_opprf
from federated.job import Job, Outcome, Table
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.binning import Evidence, Layout
from federated.vertical.buckets import BUCKETS, IN_ONE, deal_scores, deal_spread, log_odds, scores, spread
from federated.vertical.circle import Circle
from federated.vertical.curvature import curvature, deal_curvature
from federated.vertical.cuts import Cut, told_evidence
from federated.vertical.dealing import Shape, count_type, narrow
from federated.vertical.fixed import MOST_SHIFT_BITS, Words, encode, shift_bits_of
from federated.vertical.hands import Deck, Hand, Kind
from federated.vertical.membership import BITS, deal_members, members
from federated.vertical.messages import receive_words, send_words
from federated.vertical.plan import MOST_COLUMNS, Plan, Sides, agreed, require_finite
from federated.vertical.points import Part
from federated.vertical.products import crossed, deal_crossed, deal_kept, kept
from federated.vertical.results import columns_of, files_of, hand_out, judged, require_both, require_doubt, rows_of, salt_of, seed_of, separated
from federated.vertical.training import Columns, Trainer, deal, own_weights, shared_masks
from federated.vertical.whitening import Whitening

MOST_UNLIKE = 16
"""The largest eigenvalue, for each common row, that twenty steps are enough for: where every party's columns are white over the rows trained with,
it is at most the number of parties."""
MOST_BINS = 1 << 22

Narrow = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Frame:
    """The public frame of a run: how many rows (the label party's bins), of which the first ``train`` are trained with; columns, and their bins."""

    rows: int
    train: int
    columns: Shape
    bins: Shape

    @classmethod
    def of(cls, sides: Sides, rows: int, train: int, bins: Mapping[str, int]) -> Frame:
        """``bins``: how many each party has."""
        return cls(rows, train, sides.sized(rows), Shape(rows, {name: bins[name] for name in sides.data_parties}))

    @classmethod
    def received(cls, message: Message, plan: Plan, sides: Sides) -> Frame:
        """As the label party tells it; ``message_malformed``."""
        rows, bins = message.integer("rows", least=BITS, most=MOST_BINS), message.value("bins")
        train = message.integer("train", least=1, most=rows - 1)
        whole = isinstance(bins, dict) and set(bins) == set(sides.data_parties) and not rows % BITS
        if not whole or not all(type(each) is int and 0 <= each <= MOST_COLUMNS * (plan.bins + 2) for each in bins.values()):
            raise PeerFault("message_malformed", f"{message.peer} does not say how many rows and bins there are.", peer=message.peer)
        return cls.of(sides, rows, train, bins)

    @property
    def kind(self) -> Kind:
        """Words that hold a count of rows."""
        return count_type(self.rows)

    @property
    def groups(self) -> NDArray[np.bool_]:
        """(2, rows): rows to train with, and to test with."""
        train = np.arange(self.rows) < self.train
        return np.stack([train, ~train])


@dataclass(frozen=True)
class Side:
    """What either kind of data party works with."""

    plan: Plan
    sides: Sides
    circle: Circle
    hand: Hand
    seed: Randomness
    frame: Frame

    @classmethod
    def of(cls, session: Session, plan: Plan, sides: Sides, seed: Randomness, frame: Frame) -> Side:
        """This party's."""
        hand = Hand(session, seed, sides.dealer, last=session.party == sides.label)
        return cls(plan, sides, Circle(session, sides.data_parties), hand, seed, frame)


# --- What all data parties do together ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Members:
    """Shares of membership (rows,), and of the bad members; how many there are to train and to test with, and at the label party how many are bad."""

    share: Words
    bad: Words
    sizes: tuple[int, int]
    bads: tuple[int, int]


async def find_members(side: Side, words: Words, bad: NDArray[np.bool_] | None) -> Members:
    """Membership in all rows, from the words that are equal where a row is common; ``intersection_empty``, ``too_few_rows``."""
    circle, train = side.circle, side.frame.train
    share = await members(circle, side.hand, words)
    label_alone = Shape(side.frame.rows, {name: int(name == side.sides.label) for name in side.sides.data_parties})
    outcome = np.empty((side.frame.rows, 0), np.uint64) if bad is None else bad.astype(np.uint64)[:, None]
    bad_share = (await kept(circle, side.hand, "outcome", share, outcome, label_alone))[:, 0]
    sizes = await circle.exchange(_sums(share, train), "circuit/size")
    if (sizes > side.frame.rows).any():
        raise PeerFault("counts_impossible", "There are more common rows than rows.")
    if not sizes.any():
        raise Conflict("intersection_empty", "The parties have no identifier in common.", hint="Check that all use the same kind of identifier.")
    side.sides.require_rows(int(sizes[0]))
    if not sizes[1]:
        raise BadInput("too_few_rows", "There are no rows to test with.")
    bads = await circle.tell(_sums(bad_share, train), "circuit/bad")
    told = (0, 0) if bads is None else (int(bads[0]), int(bads[1]))
    if any(each > size for each, size in zip(told, sizes.tolist(), strict=True)):
        raise PeerFault("counts_impossible", "There are more bad common rows than common rows.")
    return Members(share, bad_share, (int(sizes[0]), int(sizes[1])), told)


def _sums(share: Words, train: int) -> Words:
    return np.array([share[:train].sum(), share[train:].sum()], np.uint64)


async def count_members(side: Side, found: Members, inside: Narrow) -> NDArray[np.int64] | None:
    """At the label party, all and bad members to train with in every bin, (2, bins). ``inside`` (rows, held bins): the share of where rows stand."""
    train, kind = side.frame.train, side.frame.kind
    left = np.stack([found.share, found.bad], axis=1)[:train].astype(kind)
    share = await crossed(side.circle, side.hand, "evidence", left, inside[:train], replace(side.frame.bins, rows=train))
    counts = await side.circle.tell(share, "circuit/counts")
    if counts is None:
        return None
    if (counts > found.sizes[0]).any() or (counts[1] > counts[0]).any():
        raise PeerFault("counts_impossible", "There are bins with more common rows than there are, or with more bad rows than rows.")
    return counts.astype(np.int64)


async def train_on(side: Side, found: Members, white: Words, bad: NDArray[np.bool_] | None) -> tuple[Columns, Words]:
    """The columns of all rows, zero where a row is not common, and this party's shares of the weights. ``white`` (rows, held columns)."""
    frame, circle = side.frame, side.circle
    held = await kept(circle, side.hand, "columns", found.share, white, without_ones(frame, side.sides))
    share = np.column_stack([held, encode(np.ones(1)) * found.share])
    columns = await Columns.shared(circle, side.seed, share)
    bits = await _step(side, found, await curvature(circle, side.hand, side.seed, side.sides.dealer, columns, frame.train))
    shape = replace(frame.columns, rows=frame.train)
    trainer = Trainer(circle, shape, side.seed, side.sides.dealer, columns.first(frame.train), bits)
    return columns, await trainer.run(side.plan.iterations, None if bad is None else bad[: frame.train])


def without_ones(frame: Frame, sides: Sides) -> Shape:
    """The columns without the label party's last, of ones, which for common rows only is membership itself."""
    return replace(frame.columns, columns={**frame.columns.columns, sides.label: frame.columns.columns[sides.label] - 1})


async def _step(side: Side, found: Members, bound: float | None) -> int:
    session, size = side.circle.session, found.sizes[0]
    if bound is None:
        return (await session.to(side.sides.label).receive("circuit/step")).integer("bits", least=1, most=MOST_SHIFT_BITS)
    if bound > MOST_UNLIKE * size:
        sentence = "The common rows are too unlike the other rows of a party: its columns, made white over all of its rows, are not so over these."
        raise BadInput("rows_unlike", sentence, hint="Let each party bring the rows that may be common, not all it has.")
    # A column of ones is among them, so the bound is at least the number of rows; twice that keeps weights as small as with two parties.
    bits = shift_bits_of(max(bound, 2.0 * size))
    if bits > MOST_SHIFT_BITS:
        raise BadInput("too_many_rows", f"{size} rows do not fit the ring.", hint="Train on a sample; it is enough.")
    for peer in (*side.circle.peers, side.sides.dealer):
        await session.to(peer).send("circuit/step", bits=bits)
    return bits


# --- The label party ------------------------------------------------------------------------------------------------------------------


async def label(session: Session, table: Table | None, job: Job) -> Outcome:
    """The label party's side: ``model.json`` and ``points.csv`` with its own points, ``card.json``, ``card.html``. No score of a row."""
    plan, sides = agreed(job)
    table = rows_of(table)
    outcomes = plan.outcomes(table)
    own = {name: table.columns[name] for name in sides.columns[session.party]}
    require_finite(own)
    seed = await seed_of(session, sides)
    opprf = await lead_opprf(session, table.ids, sides.features, plan.terms, "seats")
    cut_ = await asyncio.to_thread(Cut.of, own, plan)
    forms = {name: _forms(await session.to(name).receive("circuit/bins"), len(sides.columns[name]), plan) for name in sides.features}
    forms[session.party] = cut_.layouts
    frame, order = await _draw_up(session, plan, sides, forms, len(opprf.row_of_bin))
    side = Side.of(session, plan, sides, seed, frame)
    holder = opprf.row_of_bin[order]
    bad = (holder >= 0) & outcomes[holder]

    words, inside = await _programmed(opprf, side, order)
    inside.append(_at(holder, cut_.inside(len(table)).astype(frame.kind)))
    found = await find_members(side, np.stack(words, axis=1), bad)
    for size, bads, what in zip(found.sizes, found.bads, ("train", "test"), strict=True):
        require_both(size, bads, what)

    counts = await count_members(side, found, np.concatenate(inside, axis=1))
    assert counts is not None
    layouts, told = await _weigh(side, forms, counts)
    mine = told[session.party]
    evidence = cut_.evidence(mine) if own else np.empty((len(table), 0))
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    white = [(await opprf.receive(name, frame.columns.columns[name]))[order] for name in sides.features]
    white.append(_at(holder, encode(whitening.white(evidence))))
    columns, shares = await train_on(side, found, np.concatenate(white, axis=1), bad)
    weights = await own_weights(side.circle, frame.columns, shares)

    train, test = await _judge(side, found, columns, shares, bad)
    model = session.randomness.child("model").bytes(16).hex()
    for name in sides.features:
        await session.to(name).send("scorecard/model", model=model)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    made = columns_of(replace(cut_, layouts=layouts[session.party]), mine, whitening, weights[:-1], plan)
    facts = {"rows": f"those common to all, which nobody knows; scores in buckets of 1/{IN_ONE} of log-odds"}
    part = Part(model, salt_of(session), made, base, plan.scale, sides.features)
    return await asyncio.to_thread(judged, job, plan, sides, part, told, train, test, facts=facts)


async def _programmed(opprf: OpprfReceiver, side: Side, order: NDArray[np.int64]) -> tuple[list[Words], list[Narrow]]:
    """What each department programs first: the words that are its targets in common rows, and the share of where its rows stand."""
    words, inside = [], []
    for name in side.sides.features:
        width, kind = side.frame.bins.columns[name], side.frame.kind
        received = (await opprf.receive(name, 1 + _packed_words(width, kind)))[order]
        words.append(received[:, 0])
        inside.append(np.ascontiguousarray(received[:, 1:]).view(kind)[:, :width])
    return words, inside


def _forms(message: Message, columns: int, plan: Plan) -> tuple[Layout, ...]:
    """A department's layouts, of which nothing is told of the rows; ``message_malformed``."""
    widths, ordered = (message.array(name, "int64", [columns]).tolist() for name in ("bins", "ordered"))
    if not all(2 <= width <= plan.bins + 2 and 0 <= each <= width for width, each in zip(widths, ordered, strict=True)):
        raise PeerFault("message_malformed", f"{message.peer}'s bins are not as agreed.", peer=message.peer)
    return tuple(Layout(each, (0,) * width) for width, each in zip(widths, ordered, strict=True))


async def _draw_up(session: Session, plan: Plan, sides: Sides, forms: Mapping[str, tuple[Layout, ...]], rows: int) -> tuple[Frame, NDArray[np.int64]]:
    """Draw the rows to test with among all bins, full or not, and tell everybody; the frame, and the order of rows in it."""
    test = np.zeros(rows, np.uint8)
    test[session.randomness.child("split").permutation(rows)[: round(plan.test_share * rows)]] = 1
    bins = {name: sum(len(each.rows) for each in own) for name, own in forms.items()}
    train = rows - int(test.sum())
    for name in (*sides.features, sides.dealer):
        await session.to(name).send("circuit/frame", rows=rows, train=train, bins=bins)
    for name in sides.features:
        await send_words(session, name, "circuit/test", test)
    return Frame.of(sides, rows, train, bins), np.argsort(test, kind="stable")


async def _weigh(
    side: Side, forms: Mapping[str, tuple[Layout, ...]], counts: NDArray[np.int64]
) -> tuple[dict[str, tuple[Layout, ...]], dict[str, tuple[Evidence, ...]]]:
    """All parties' layouts over the members, and their evidence, of which each department is told its own.

    A bin in which too few members stand, or none, is weighed with others like any that has too few bad or good rows.
    """
    layouts: dict[str, tuple[Layout, ...]] = {}
    told: dict[str, tuple[Evidence, ...]] = {}
    for name, own in forms.items():
        ends = np.cumsum([len(each.rows) for each in own])[:-1]
        rows, bads = (np.split(each[side.frame.bins.span(name)], ends)[: len(own)] for each in counts)
        layouts[name] = tuple(Layout(each.ordered, tuple(row.tolist())) for each, row in zip(own, rows, strict=True))
        mine = tuple(Evidence.of(each, bad.tolist(), least=side.plan.least_cases) for each, bad in zip(layouts[name], bads, strict=True))
        told[name] = mine
        if name != side.circle.me:
            told[name] = tuple(each.told() for each in mine)
            await side.circle.session.to(name).send("scorecard/evidence", words=np.concatenate([each.woe for each in told[name]]))
    return layouts, told


async def _judge(side: Side, found: Members, columns: Columns, shares: Words, bad: NDArray[np.bool_]) -> tuple[Scored, Scored]:
    """The members' scores, to train and to test with, as far as buckets tell them; ``label_separated``."""
    counted = await spread(side.circle, side.hand, await scores(side.circle, side.hand, columns, shares), bad, side.frame.groups)
    assert counted is not None
    train, test = (_scored(each, side.plan) for each in _of_members(counted, side.frame, found, bad))
    require_doubt(train.score, side.plan)
    return train, test


def _of_members(counted: NDArray[np.int64], frame: Frame, found: Members, bad: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The counts without the rows that are no members, whose score is 0; ``label_separated`` if scores are beyond all buckets."""
    counted = counted.copy()
    for group, size, bads, rows in zip(counted, found.sizes, found.bads, frame.groups, strict=True):
        all_bad = int((bad & rows).sum())
        group[:, BUCKETS // 2] -= (int(rows.sum()) - all_bad - (size - bads), all_bad - bads)
        if (group < 0).any() or group.sum() != size:
            raise PeerFault("counts_impossible", "The scores' counts do not add up to the common rows.")
        if group[1].sum() != bads:
            raise separated()
    return counted


def _scored(counts: NDArray[np.int64], plan: Plan) -> Scored:
    """Rows of these counts (2, buckets), each with the score its bucket stands for."""
    points = plan.scale.offset - plan.scale.factor * log_odds()
    score = np.concatenate([np.repeat(points, each) for each in counts])
    return Scored(plan.scale.chance(score), score, np.arange(len(score)) >= counts[0].sum())


def _at(holder: NDArray[np.int32], values: Narrow) -> Narrow:
    """The values of the row in each bin, 0 where there is none."""
    out = values[holder]
    out[holder < 0] = 0
    return out


# --- A department ---------------------------------------------------------------------------------------------------------------------


async def features(session: Session, table: Table | None, job: Job) -> Outcome:
    """A department's side: ``model.json`` and ``points.csv`` with the points of its own columns; the rows in it are its own, common or not."""
    plan, sides = agreed(job)
    table = rows_of(table)
    require_finite(table.columns)
    seed = await seed_of(session, sides)
    own = {name: table.columns[name] for name in sides.columns[session.party]}
    cut_ = await asyncio.to_thread(Cut.of, own, plan)
    programmed = await follow_opprf(session, table.ids, sides.label, plan.terms, "seats")
    widths, ordered = (np.array(each, np.int64) for each in ([len(one.rows) for one in cut_.layouts], [one.ordered for one in cut_.layouts]))
    await session.to(sides.label).send("circuit/bins", bins=widths, ordered=ordered)
    frame = Frame.received(await session.to(sides.label).receive("circuit/frame"), plan, sides)
    test = await receive_words(session, sides.label, "circuit/test", programmed.bins, "uint8")
    if frame.rows != programmed.bins or int((test == 0).sum()) != frame.train or frame.bins.columns[session.party] != int(widths.sum()):
        raise PeerFault("message_malformed", f"{sides.label} does not say which rows are for the test.", peer=sides.label)
    order = np.argsort(test != 0, kind="stable")
    side = Side.of(session, plan, sides, seed, frame)

    drawn = session.randomness.child("shares")
    targets = drawn.child("targets").words(frame.rows)
    width = int(widths.sum())
    inside = _padded(await asyncio.to_thread(cut_.inside, len(table)), frame.kind)
    standing = narrow(drawn.child("bins"), frame.kind, frame.rows, inside.shape[1])
    values = inside[programmed.row] - standing[programmed.bin]
    await programmed.send(np.column_stack([targets[programmed.bin], values.view(np.uint64)]))
    words = np.zeros((frame.rows, len(sides.features)), np.uint64)
    words[:, sides.features.index(session.party)] = targets[order]
    found = await find_members(side, words, None)
    await count_members(side, found, standing[order, :width])
    mine = await told_evidence(session, sides.label, cut_)

    evidence = cut_.evidence(mine)
    whitening = await asyncio.to_thread(Whitening.of, evidence)
    hiding = drawn.child("columns").words(frame.rows, len(own))
    await programmed.send(encode(whitening.white(evidence))[programmed.row] - hiding[programmed.bin])
    columns, shares = await train_on(side, found, hiding[order], None)
    weights = await own_weights(side.circle, frame.columns, shares)
    await spread(side.circle, side.hand, await scores(side.circle, side.hand, columns, shares), None, frame.groups)
    model = (await session.to(sides.label).receive("scorecard/model")).text("model", most=32)
    part = Part(model, salt_of(session), columns_of(cut_, mine, whitening, weights, plan))
    return Outcome({"rows": sum(found.sizes), "training_rows": found.sizes[0], "columns": len(own), "model": model}, files_of(part))


def _packed_words(width: int, kind: Kind) -> int:
    return -(-width * np.dtype(kind).itemsize // 8)


def _padded(inside: NDArray[np.bool_], kind: Kind) -> Narrow:
    """With bins that no row stands in, up to whole words. Shares of these are as random as others: were they not, they would tell members."""
    rows, width = inside.shape
    wide = np.zeros((rows, 8 // np.dtype(kind).itemsize * _packed_words(width, kind)), kind)
    wide[:, :width] = inside
    return wide


# --- The dealer -----------------------------------------------------------------------------------------------------------------------


async def dealer(session: Session, table: Table | None, job: Job) -> Outcome:
    """The dealer's side: seeds, and what they leave to be corrected. It keeps nothing."""
    plan, sides = agreed(job)
    seeds = await hand_out(session, sides)
    frame = Frame.received(await session.to(sides.label).receive("circuit/frame"), plan, sides)
    deck = Deck(session, seeds)
    await deal_members(deck, frame.rows, len(sides.features))
    await deal_kept(deck, "outcome", Shape(frame.rows, {name: int(name == sides.label) for name in sides.data_parties}))
    await deal_crossed(deck, "evidence", 2, replace(frame.bins, rows=frame.train), frame.kind)
    await deal_kept(deck, "columns", without_ones(frame, sides))
    masks = await asyncio.to_thread(shared_masks, seeds, frame.columns)
    await deal_curvature(deck, masks[: frame.train], sides.label)
    bits = (await session.to(sides.label).receive("circuit/step")).integer("bits", least=1, most=MOST_SHIFT_BITS)
    await deal(session, seeds, replace(frame.columns, rows=frame.train), masks[: frame.train], plan.iterations, bits)
    await deal_scores(deck, masks)
    await deal_spread(deck, frame.rows)
    return Outcome({"bins": frame.rows, "iterations": plan.iterations})
