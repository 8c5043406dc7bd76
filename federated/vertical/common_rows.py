"""What all data parties of a hidden intersection compute on shares of every bin: which rows are
common, how many of them are in each bin of a column, and the training on them.

``hidden_intersection`` has the steps of each role.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import BadInput, Conflict, PeerFault
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.communicator import Communicator
from federated.vertical.correlated_randomness import PartyRandomness, RingDtype
from federated.vertical.fixed_point import MAX_SHIFT_BITS, Ring64, encode, shift_bits_for_eigenvalue
from federated.vertical.largest_eigenvalue import largest_eigenvalue
from federated.vertical.membership import TARGET_BITS, membership_shares
from federated.vertical.plan import (
    MAX_COLUMNS,
    PartyRoles,
    ScorecardPlan,
)
from federated.vertical.preprocessing import BlockShape, count_dtype
from federated.vertical.products import (
    masked_select,
    secret_product,
)
from federated.vertical.training import (
    MaskedColumns,
    Trainer,
)

MAX_EIGENVALUE_PER_ROW = 16
"""The largest eigenvalue per common row for which twenty steps are enough. If every party's columns
are white over the training rows, it is at most the number of parties.
"""

MAX_BINS = 1 << 22

RingArray = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Frame:
    """The public sizes of a run: ``rows`` (the label party's bins), of which the first ``train``
    are training rows; the columns, and their bins.
    """

    rows: int
    train: int
    columns: BlockShape
    bins: BlockShape

    @classmethod
    def of(cls, roles: PartyRoles, rows: int, train: int, bins: Mapping[str, int]) -> Frame:
        """Build it. ``bins``: the number of bins of each party."""
        return cls(
            rows,
            train,
            roles.block_shape(rows),
            BlockShape(rows, {name: bins[name] for name in roles.data_parties}),
        )

    @classmethod
    def received(cls, message: Message, plan: ScorecardPlan, roles: PartyRoles) -> Frame:
        """Read it from the label party's message; ``message_malformed``."""
        rows, bins = (
            message.integer("rows", minimum=TARGET_BITS, maximum=MAX_BINS),
            message.value("bins"),
        )
        train = message.integer("train", minimum=1, maximum=rows - 1)
        whole = (
            isinstance(bins, dict)
            and set(bins) == set(roles.data_parties)
            and not rows % TARGET_BITS
        )
        if not whole or not all(
            type(width) is int and 0 <= width <= MAX_COLUMNS * plan.max_bins
            for width in bins.values()
        ):
            raise PeerFault(
                "message_malformed",
                f"{message.peer} did not send valid numbers of rows and bins.",
                peer=message.peer,
            )
        return cls.of(roles, rows, train, bins)

    @property
    def dtype(self) -> RingDtype:
        """The type of ring elements that can count the rows."""
        return count_dtype(self.rows)

    @property
    def groups(self) -> NDArray[np.bool_]:
        """Return (2, rows): the training rows, and the test rows."""
        train = np.arange(self.rows) < self.train
        return np.stack([train, ~train])


@dataclass(frozen=True)
class PartyState:
    """The inputs of every data party."""

    plan: ScorecardPlan
    roles: PartyRoles
    communicator: Communicator
    randomness: PartyRandomness
    seed: Randomness
    frame: Frame

    @classmethod
    def of(
        cls,
        session: Session,
        plan: ScorecardPlan,
        roles: PartyRoles,
        seed: Randomness,
        frame: Frame,
    ) -> PartyState:
        """Build this party's."""
        randomness = PartyRandomness(session, seed, roles.dealer, last=session.party == roles.label)
        return cls(plan, roles, Communicator(session, roles.data_parties), randomness, seed, frame)


@dataclass(frozen=True)
class CommonRows:
    """Shares of membership (rows,) and of bad common rows; the number of common training and test
    rows, and at the label party how many of them are bad.
    """

    share: Ring64
    bad: Ring64
    sizes: tuple[int, int]
    bad_counts: tuple[int, int]


async def find_common_rows(
    state: PartyState, words: Ring64, bad: NDArray[np.bool_] | None
) -> CommonRows:
    """Compute membership of all rows, from values that are equal where a row is common.

    Raises ``counts_impossible``, ``intersection_empty`` or ``too_few_rows``.
    """
    communicator, train = state.communicator, state.frame.train
    share = await membership_shares(communicator, state.randomness, words)
    label_alone = BlockShape(
        state.frame.rows,
        {name: int(name == state.roles.label) for name in state.roles.data_parties},
    )
    outcome = (
        np.empty((state.frame.rows, 0), np.uint64)
        if bad is None
        else bad.astype(np.uint64)[:, None]
    )
    bad_share = (
        await masked_select(communicator, state.randomness, "outcome", share, outcome, label_alone)
    )[:, 0]
    sizes = await communicator.open_short(_sums(share, train), "circuit/size")
    if (sizes > state.frame.rows).any():
        raise PeerFault(
            "counts_impossible", "The number of common rows exceeds the number of rows."
        )
    if not sizes.any():
        raise Conflict(
            "intersection_empty",
            "The parties have no identifier in common.",
            hint="Check that all use the same kind of identifier.",
        )
    state.roles.require_rows(int(sizes[0]))
    if not sizes[1]:
        raise BadInput("too_few_rows", "There are no rows to test with.")
    bad_counts = await communicator.open_to_label(_sums(bad_share, train), "circuit/bad")
    label_counts = (0, 0) if bad_counts is None else (int(bad_counts[0]), int(bad_counts[1]))
    if any(count > size for count, size in zip(label_counts, sizes.tolist(), strict=True)):
        raise PeerFault(
            "counts_impossible", "The number of bad common rows exceeds the number of common rows."
        )
    return CommonRows(share, bad_share, (int(sizes[0]), int(sizes[1])), label_counts)


def _sums(share: Ring64, train: int) -> Ring64:
    return np.array([share[:train].sum(), share[train:].sum()], np.uint64)


async def count_common_rows(
    state: PartyState, common: CommonRows, one_hot: RingArray
) -> NDArray[np.int64] | None:
    """Return at the label party all and bad common training rows in every bin, (2, bins).

    ``one_hot`` (rows, held bins): the share of which bin each row falls into.
    """
    train, dtype = state.frame.train, state.frame.dtype
    left = np.stack([common.share, common.bad], axis=1)[:train].astype(dtype)
    share = await secret_product(
        state.communicator,
        state.randomness,
        "evidence",
        left,
        one_hot[:train],
        replace(state.frame.bins, rows=train),
    )
    counts = await state.communicator.open_to_label(share, "circuit/counts")
    if counts is None:
        return None
    if (counts > common.sizes[0]).any() or (counts[1] > counts[0]).any():
        raise PeerFault(
            "counts_impossible",
            "A bin has more rows than there are common rows, or more bad rows than rows.",
        )
    return counts.astype(np.int64)


async def train_on_common_rows(
    state: PartyState, common: CommonRows, whitened: Ring64, bad: NDArray[np.bool_] | None
) -> tuple[MaskedColumns, Ring64]:
    """Return the columns of all rows, zero where a row is not common, and this party's shares of
    the weights.

    ``whitened`` (rows, held columns): the share it holds.
    """
    frame, communicator = state.frame, state.communicator
    state.plan.require_penalty(common.sizes[0])
    held = await masked_select(
        communicator,
        state.randomness,
        "columns",
        common.share,
        whitened,
        without_ones(frame, state.roles),
    )
    share = np.column_stack([held, encode(np.ones(1)) * common.share])
    columns = await MaskedColumns.shared(communicator, state.seed, share)
    bits = await _step(
        state,
        common,
        await largest_eigenvalue(
            communicator, state.randomness, state.seed, state.roles.dealer, columns, frame.train
        ),
    )
    shape = replace(frame.columns, rows=frame.train)
    trainer = Trainer(
        communicator,
        shape,
        state.seed,
        state.roles.dealer,
        columns.first(frame.train),
        bits,
        state.plan.l2,
    )
    return columns, await trainer.run(
        state.plan.iterations, None if bad is None else bad[: frame.train]
    )


def without_ones(frame: Frame, roles: PartyRoles) -> BlockShape:
    """Return the shape without the label party's last column, of ones, which over common rows is
    membership itself.
    """
    return replace(
        frame.columns,
        columns={**frame.columns.columns, roles.label: frame.columns.columns[roles.label] - 1},
    )


async def _step(state: PartyState, common: CommonRows, bound: float | None) -> int:
    session, size = state.communicator.session, common.sizes[0]
    if bound is None:
        return (await session.to(state.roles.label).receive("circuit/step")).integer(
            "bits", minimum=1, maximum=MAX_SHIFT_BITS
        )
    if bound > MAX_EIGENVALUE_PER_ROW * size:
        sentence = (
            "The common rows differ too much from a party's other rows: its columns, whitened "
            "over all its rows, are not white over these."
        )
        raise BadInput(
            "rows_unlike",
            sentence,
            hint="Each party should bring rows that may be common, not all its rows.",
        )
    # A column of ones is among them, so the bound is at least the number of rows; twice that keeps
    # weights as small as with two parties.
    bits = shift_bits_for_eigenvalue(max(bound, 2.0 * size))
    if bits > MAX_SHIFT_BITS:
        raise BadInput(
            "too_many_rows", f"{size} rows do not fit into the ring.", hint="Train on a sample."
        )
    for peer in (*state.communicator.peers, state.roles.dealer):
        await session.to(peer).send("circuit/step", bits=bits)
    return bits
