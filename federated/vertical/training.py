"""Logistic regression on shares: every step's scores, errors and weights exist only as shares among all data parties.

The columns X are masked once (E = X - U) and E is opened. Either each party has columns of its own, or all have shares of every column; the formulas
are the same, and a party brings in the columns that it holds anything of. For each step fresh masks hide the weights, the angle of the scores and the
error (Beaver's triples, CRYPTO 1991, with U used again as in SecureML). What is opened is uniform, whatever the data. The error is opened under its
mask, so the gradient Xᵀe = Xᵀ(e - R) + EᵀR + UᵀR needs no other product. Nesterov's method with momentum 1/2 on columns that each owner has
whitened: twenty steps end within rounding of the optimum.

Sizes: ``rows`` training rows; columns as in ``Shape``. One step costs every party two passes over its (rows, columns) words, and sends 10 bytes a row
to or from the label party; the dealer sends it 72 bytes a row.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.circle import Circle
from federated.vertical.dealing import Corrections, Shape, Step, corrections, mask, shares
from federated.vertical.fixed import ERROR_FRACTION, FRACTION, Words, decode, encode, hide, truncated
from federated.vertical.messages import send_words
from federated.vertical.sigmoid import STEP_BITS, TERMS, weigh


@dataclass(frozen=True)
class Columns:
    """What a party has of the columns: ``share`` (rows, held) of those it holds, which stand at ``held``, and ``masked`` (rows, all columns): E."""

    held: slice
    share: Words
    masked: Words

    @classmethod
    async def owned(cls, circle: Circle, shape: Shape, seed: Randomness, columns: NDArray[np.float64]) -> Columns:
        """Columns of which each party has its own: everybody tells everybody E of these."""
        share, held = encode(columns), shape.span(circle.me)
        own = share - await asyncio.to_thread(mask, seed, *share.shape)
        masked = np.empty((shape.rows, shape.total), np.uint64)
        masked[:, held] = own

        async def of(peer: str) -> None:
            flat = await circle.receive(peer, "vertical/columns", shape.rows * shape.columns[peer])
            masked[:, shape.span(peer)] = flat.reshape(-1, shape.columns[peer])

        await asyncio.gather(*(circle.send(peer, "vertical/columns", own) for peer in circle.peers), *(of(peer) for peer in circle.peers))
        return cls(held, share, masked)

    @classmethod
    async def shared(cls, circle: Circle, seed: Randomness, share: Words) -> Columns:
        """Columns of which every party has a share."""
        masked = await circle.open(share - await asyncio.to_thread(mask, seed, *share.shape), "vertical/columns")
        return cls(slice(0, share.shape[1]), share, masked)

    def first(self, rows: int) -> Columns:
        """Of the first so many rows."""
        return Columns(self.held, self.share[:rows], self.masked[:rows])

    def times(self, opened: Words, hidden: Words, product: Words) -> Words:
        """This party's share of X·w: ``opened`` w - ρ, and its shares ``hidden`` of ρ and ``product`` of U·ρ."""
        share: Words = self.masked @ hidden + product
        return share + self.share @ opened[self.held]


class Trainer:
    """One party's side of a training. ``bits``: of the step, see ``fixed.shift_bits``."""

    def __init__(self, circle: Circle, shape: Shape, seed: Randomness, dealer: str, columns: Columns, bits: int) -> None:
        self._circle, self._shape, self._seed, self._dealer = circle, shape, seed, dealer
        self._columns, self._bits = columns, bits

    async def run(self, iterations: int, bad: NDArray[np.bool_] | None) -> Words:
        """Train; this party's shares of all weights. ``bad``: the label, at the label party."""
        circle, bits = self._circle, self._bits
        weights = ahead = np.zeros(self._shape.total, np.uint64)
        coming = asyncio.ensure_future(self._step(0))
        try:
            for number in range(iterations):
                step = await coming
                if number + 1 < iterations:
                    coming = asyncio.ensure_future(self._step(number + 1))
                gradient = await self._gradient(step, ahead, bad)
                # ahead has a fraction bit more: 2w + (w - before) is exact where w + (w - before)/2 is not.
                hidden = hide((ahead << np.uint64(bits - 1)) - gradient, step.shift, first=circle.first)
                opened = await circle.exchange(hidden, "vertical/shift")
                before, weights = weights, truncated(opened, step.shift, bits, first=circle.first)
                ahead = np.uint64(3) * weights - before
                circle.session.progress("training", (number + 1) / iterations)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        return weights

    async def _step(self, number: int) -> Step:
        given = None
        if self._circle.first:
            rows = self._shape.rows
            message = await self._circle.session.to(self._dealer).receive("vertical/step")
            short = [message.array(name, "uint64", [self._shape.total]) for name in ("backward", "shifted", "top")]
            forward = await self._circle.receive(self._dealer, "vertical/forward", rows)
            waves = await self._circle.receive(self._dealer, "vertical/waves", 2 * TERMS * rows)
            given = Corrections(forward, waves.reshape(-1, rows), *short)
        return await asyncio.to_thread(shares, self._seed, self._shape, number, given)

    async def _gradient(self, step: Step, weights: Words, bad: NDArray[np.bool_] | None) -> Words:
        circle = self._circle
        opened = await circle.exchange(weights - step.rho, "vertical/step-weights")
        scores = await asyncio.to_thread(self._columns.times, opened, step.rho, step.forward)  # with 29 fraction bits
        angle = (scores >> np.uint64(2 * FRACTION + 1 - STEP_BITS)).astype(np.uint16) - step.angle
        opened_angle = await circle.open(angle, "vertical/angle")
        error = await asyncio.to_thread(weigh, opened_angle, step.waves)
        if bad is not None:
            error += encode(np.where(bad, -0.5, 0.5), ERROR_FRACTION)
        opened_error = await circle.open(error - step.error, "vertical/error")
        return await asyncio.to_thread(self._back, step, opened_error)

    def _back(self, step: Step, opened: Words) -> Words:
        """This party's share of Xᵀ·e, with 40 fraction bits."""
        held, share, masked = self._columns.held, self._columns.share, self._columns.masked
        gradient: Words = np.einsum("n,nk->k", step.error, masked) + step.backward  # seven times as fast as the product of matrices
        gradient[held] += np.einsum("n,nk->k", opened, share)
        return gradient


async def own_weights(circle: Circle, shape: Shape, weights: Words) -> NDArray[np.float64]:
    """Everybody is told the weights of its own columns."""
    for peer in circle.peers:
        await circle.session.to(peer).send("vertical/weights", words=weights[shape.span(peer)])
    total = weights[shape.span(circle.me)].copy()
    for peer in circle.peers:
        total += (await circle.session.to(peer).receive("vertical/weights")).array("words", "uint64", [len(total)])
    return decode(total)


def owned_masks(seeds: dict[str, Randomness], shape: Shape) -> Words:
    """U, as the dealer knows it, where each party has columns of its own."""
    return np.concatenate([mask(seeds[name], shape.rows, width) for name, width in shape.columns.items()], axis=1)


def shared_masks(seeds: dict[str, Randomness], shape: Shape) -> Words:
    """U, as the dealer knows it, where every party has a share of all columns."""
    total = np.zeros((shape.rows, shape.total), np.uint64)
    for seed in seeds.values():
        total += mask(seed, shape.rows, shape.total)
    return total


async def deal(session: Session, seeds: dict[str, Randomness], shape: Shape, masks: Words, iterations: int, bits: int) -> None:
    """The dealer's side of a training: for each step the label party's corrections."""
    for number in range(iterations):
        given = await asyncio.to_thread(corrections, seeds, masks, shape, number, bits)
        await session.to(shape.last).send("vertical/step", backward=given.backward, shifted=given.shifted, top=given.top)
        await send_words(session, shape.last, "vertical/forward", given.forward)
        await send_words(session, shape.last, "vertical/waves", given.waves)
        session.progress("dealing", (number + 1) / iterations)
