"""Logistic regression on secret shares: scores, errors and weights exist only as shares among the
data parties.

The columns X are masked once, and E = X - U is opened. Either each party owns a block of columns,
or all parties hold shares of every column; the formulas are the same. Each step uses fresh masks
for the weights, the angle of the scores and the error (Beaver triples, CRYPTO 1991; the mask U is
reused as in SecureML, Mohassel and Zhang, IEEE S&P 2017). Opened values are uniform whatever the
data. The error is opened under its mask R, so the gradient Xᵀe = Xᵀ(e - R) + EᵀR + UᵀR needs no
further product. The optimiser is Nesterov's accelerated gradient (1983) with momentum 1/2 on
columns that each owner has whitened: twenty steps end within rounding of the optimum.

Sizes: ``rows`` training rows; columns as in ``BlockShape``. One step costs every party two passes
over its (rows, columns) elements and sends 10 bytes a row to or from the label party; the dealer
sends it 72 bytes a row.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.communicator import Communicator
from federated.vertical.fixed_point import (
    ERROR_FRACTION,
    FRACTION,
    Ring64,
    decode,
    encode,
    masked_share,
    truncated_share,
)
from federated.vertical.messages import send_array
from federated.vertical.preprocessing import (
    BlockShape,
    Corrections,
    StepShares,
    column_mask,
    step_corrections,
    step_shares,
)
from federated.vertical.sigmoid import STEP_BITS, TERMS, evaluate_sigmoid

PENALTY_FRACTION = ERROR_FRACTION - 1
"""Fraction bits of the penalty's factor."""


@dataclass(frozen=True)
class MaskedColumns:
    """A party's view of the columns.

    ``share`` (rows, held columns): its shares, at the columns ``held``. ``masked`` (rows, all
    columns): E.
    """

    held: slice
    share: Ring64
    masked: Ring64

    @classmethod
    async def owned(
        cls,
        communicator: Communicator,
        shape: BlockShape,
        seed: Randomness,
        columns: NDArray[np.float64],
    ) -> MaskedColumns:
        """Mask columns of which each party owns a block: every party sends every other party E of
        its block.
        """
        share, held = encode(columns), shape.span(communicator.party)
        own = share - await asyncio.to_thread(column_mask, seed, *share.shape)
        masked = np.empty((shape.rows, shape.total), np.uint64)
        masked[:, held] = own

        async def receive_block(peer: str) -> None:
            flat = await communicator.receive(
                peer, "vertical/columns", shape.rows * shape.columns[peer]
            )
            masked[:, shape.span(peer)] = flat.reshape(-1, shape.columns[peer])

        await asyncio.gather(
            *(communicator.send(peer, "vertical/columns", own) for peer in communicator.peers),
            *(receive_block(peer) for peer in communicator.peers),
        )
        return cls(held, share, masked)

    @classmethod
    async def shared(
        cls, communicator: Communicator, seed: Randomness, share: Ring64
    ) -> MaskedColumns:
        """Mask columns of which every party holds a share."""
        masked = await communicator.open(
            share - await asyncio.to_thread(column_mask, seed, *share.shape), "vertical/columns"
        )
        return cls(slice(0, share.shape[1]), share, masked)

    def first(self, rows: int) -> MaskedColumns:
        """Return the first ``rows`` rows."""
        return MaskedColumns(self.held, self.share[:rows], self.masked[:rows])

    def product_share(self, opened: Ring64, hidden: Ring64, product: Ring64) -> Ring64:
        """Return this party's share of X·w, from the opened w - ρ and its shares ``hidden`` of ρ
        and ``product`` of U·ρ.
        """
        share: Ring64 = self.masked @ hidden + product
        return share + self.share @ opened[self.held]


class Trainer:
    """One party's side of a training. ``bits``: the step size, see ``fixed_point.shift_bits``.

    ``l2``: the loss of all rows has l2/2 times the squares of the weights added, but for that of
    the last column, of ones.
    """

    def __init__(
        self,
        communicator: Communicator,
        shape: BlockShape,
        seed: Randomness,
        dealer: str,
        columns: MaskedColumns,
        bits: int,
        l2: float = 0,
    ) -> None:
        # A lookahead has 15 fraction bits, a gradient 40.
        self._penalty = np.full(shape.total, round(l2 * 2**PENALTY_FRACTION), np.uint64)
        self._penalty[-1] = 0
        self._communicator, self._shape, self._seed, self._dealer = (
            communicator,
            shape,
            seed,
            dealer,
        )
        self._columns, self._bits = columns, bits

    async def run(self, iterations: int, bad: NDArray[np.bool_] | None) -> Ring64:
        """Train and return this party's shares of all weights. ``bad``: the label, at the label
        party.
        """
        communicator, bits = self._communicator, self._bits
        weights = lookahead = np.zeros(self._shape.total, np.uint64)
        pending = asyncio.ensure_future(self._step(0))
        try:
            for number in range(iterations):
                step = await pending
                if number + 1 < iterations:
                    pending = asyncio.ensure_future(self._step(number + 1))
                gradient = await self._gradient(step, lookahead, bad)
                # ahead has a fraction bit more: 2w + (w - before) is exact where w + (w - before)/2
                # is not.
                hidden = masked_share(
                    (lookahead << np.uint64(bits - 1)) - gradient - self._penalty * lookahead,
                    step.shift,
                    adds_public=communicator.is_label,
                )
                opened = await communicator.open_short(hidden, "vertical/shift")
                before, weights = (
                    weights,
                    truncated_share(opened, step.shift, bits, adds_public=communicator.is_label),
                )
                lookahead = np.uint64(3) * weights - before
                communicator.session.progress("training", (number + 1) / iterations)
        finally:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
        return weights

    async def _step(self, number: int) -> StepShares:
        received = None
        if self._communicator.is_label:
            rows = self._shape.rows
            message = await self._communicator.session.to(self._dealer).receive("vertical/step")
            short = [
                message.array(name, "uint64", [self._shape.total])
                for name in ("backward", "shifted", "top")
            ]
            forward = await self._communicator.receive(self._dealer, "vertical/forward", rows)
            fourier_terms = await self._communicator.receive(
                self._dealer, "vertical/fourier", 2 * TERMS * rows
            )
            received = Corrections(forward, fourier_terms.reshape(-1, rows), *short)
        return await asyncio.to_thread(step_shares, self._seed, self._shape, number, received)

    async def _gradient(
        self, step: StepShares, weights: Ring64, bad: NDArray[np.bool_] | None
    ) -> Ring64:
        communicator = self._communicator
        opened = await communicator.open_short(weights - step.rho, "vertical/step-weights")
        # With 29 fraction bits.
        scores = await asyncio.to_thread(
            self._columns.product_share, opened, step.rho, step.forward
        )
        angle = (scores >> np.uint64(2 * FRACTION + 1 - STEP_BITS)).astype(np.uint16) - step.angle
        opened_angle = await communicator.open(angle, "vertical/angle")
        error = await asyncio.to_thread(evaluate_sigmoid, opened_angle, step.fourier_terms)
        if bad is not None:
            error += encode(np.where(bad, -0.5, 0.5), ERROR_FRACTION)
        opened_error = await communicator.open(error - step.error, "vertical/error")
        return await asyncio.to_thread(self._gradient_share, step, opened_error)

    def _gradient_share(self, step: StepShares, opened: Ring64) -> Ring64:
        """Return this party's share of Xᵀ·e, with 40 fraction bits."""
        held, share, masked = self._columns.held, self._columns.share, self._columns.masked
        # Seven times as fast as the product of matrices.
        gradient: Ring64 = np.einsum("n,nk->k", step.error, masked) + step.backward
        gradient[held] += np.einsum("n,nk->k", opened, share)
        return gradient


async def reveal_own_weights(
    communicator: Communicator, shape: BlockShape, weights: Ring64
) -> NDArray[np.float64]:
    """Open to every party the weights of its own columns."""
    for peer in communicator.peers:
        await communicator.session.to(peer).send(
            "vertical/weights", words=weights[shape.span(peer)]
        )
    total = weights[shape.span(communicator.party)].copy()
    for peer in communicator.peers:
        total += (await communicator.session.to(peer).receive("vertical/weights")).array(
            "words", "uint64", [len(total)]
        )
    return decode(total)


def own_column_masks(seeds: dict[str, Randomness], shape: BlockShape) -> Ring64:
    """Return U at the dealer, if each party owns a block of columns."""
    return np.concatenate(
        [column_mask(seeds[name], shape.rows, width) for name, width in shape.columns.items()],
        axis=1,
    )


def shared_column_masks(seeds: dict[str, Randomness], shape: BlockShape) -> Ring64:
    """Return U at the dealer, if every party holds a share of all columns."""
    total = np.zeros((shape.rows, shape.total), np.uint64)
    for seed in seeds.values():
        total += column_mask(seed, shape.rows, shape.total)
    return total


async def deal_training(
    session: Session,
    seeds: dict[str, Randomness],
    shape: BlockShape,
    masks: Ring64,
    iterations: int,
    bits: int,
) -> None:
    """The dealer's side of a training: send the label party the corrections of each step."""
    for number in range(iterations):
        received = await asyncio.to_thread(step_corrections, seeds, masks, shape, number, bits)
        await session.to(shape.last).send(
            "vertical/step", backward=received.backward, shifted=received.shifted, top=received.top
        )
        await send_array(session, shape.last, "vertical/forward", received.forward)
        await send_array(session, shape.last, "vertical/fourier", received.fourier_terms)
        session.progress("dealing", (number + 1) / iterations)
