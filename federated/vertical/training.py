"""Logistic regression on shares: every step's scores, errors and weights exist only as shares among all data parties.

Each party's columns X are masked once (E = X - U) and E is opened; for each step fresh masks hide the weights, the angle of the scores and the
error (Beaver's triples, CRYPTO 1991, with U used again as in SecureML). What is opened is uniform, whatever the data. The error is opened under its
mask, so the gradient Xᵀe = Xᵀ(e - R) + EᵀR + UᵀR needs no other product. Nesterov's method with momentum 1/2 on columns that each owner has
whitened: twenty steps end within rounding of the optimum.

Sizes: ``rows`` training rows; columns as in ``Shape``. One step costs every party two passes over its (rows, columns) words, and sends 10 bytes a row
to or from the label party; the dealer sends it 72 bytes a row.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.dealing import Corrections, Shape, Step, corrections, mask, shares
from federated.vertical.fixed import ERROR_FRACTION, FRACTION, Words, decode, encode, hide, shift_bits, truncated
from federated.vertical.messages import receive_words, send_words
from federated.vertical.sigmoid import STEP_BITS, TERMS, weigh


class Trainer:
    """One party's side of a training."""

    def __init__(self, session: Session, shape: Shape, seed: Randomness, dealer: str, columns: NDArray[np.float64]) -> None:
        self._session, self._shape, self._seed, self._dealer = session, shape, seed, dealer
        self._me, self._label = session.party, shape.last
        self._peers = [name for name in shape.columns if name != self._me]
        self._own = shape.span(self._me)
        self._columns = encode(columns)
        self._masked = np.empty((shape.rows, shape.total), np.uint64)

    async def run(self, iterations: int, bad: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        """Train; this party's weights. ``bad``: the label, at the label party."""
        await self._open_columns()
        weights = ahead = np.zeros(self._shape.total, np.uint64)
        bits = shift_bits(self._shape.rows, len(self._shape.columns))
        coming = asyncio.ensure_future(self._step(0))
        try:
            for number in range(iterations):
                step = await coming
                if number + 1 < iterations:
                    coming = asyncio.ensure_future(self._step(number + 1))
                gradient = await self._gradient(step, ahead, bad)
                # ahead has a fraction bit more: 2w + (w - before) is exact where w + (w - before)/2 is not.
                hidden = hide((ahead << np.uint64(bits - 1)) - gradient, step.shift, first=self._first)
                opened = await self._exchange(hidden, "vertical/shift")
                before, weights = weights, truncated(opened, step.shift, bits, first=self._first)
                ahead = np.uint64(3) * weights - before
                self._session.progress("training", (number + 1) / iterations)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        return await self._own_weights(weights)

    @property
    def _first(self) -> bool:
        return self._me == self._label

    # --- Once -------------------------------------------------------------------------------------------------------------------

    async def _open_columns(self) -> None:
        own = self._columns - await asyncio.to_thread(mask, self._seed, *self._columns.shape)
        self._masked[:, self._own] = own
        await asyncio.gather(*(self._send(peer, "vertical/columns", own) for peer in self._peers), *(self._columns_of(peer) for peer in self._peers))

    async def _columns_of(self, peer: str) -> None:
        span, width = self._shape.span(peer), self._shape.columns[peer]
        self._masked[:, span] = (await self._receive(peer, "vertical/columns", self._shape.rows * width)).reshape(-1, width)

    async def _own_weights(self, weights: Words) -> NDArray[np.float64]:
        for peer in self._peers:
            await self._session.to(peer).send("vertical/weights", words=weights[self._shape.span(peer)])
        total = weights[self._own].copy()
        for peer in self._peers:
            total += (await self._session.to(peer).receive("vertical/weights")).array("words", "uint64", [len(total)])
        return decode(total)

    # --- Each step ----------------------------------------------------------------------------------------------------------------

    async def _step(self, number: int) -> Step:
        given = None
        if self._first:
            rows = self._shape.rows
            message = await self._session.to(self._dealer).receive("vertical/step")
            short = [message.array(name, "uint64", [self._shape.total]) for name in ("backward", "shifted", "top")]
            forward = await self._receive(self._dealer, "vertical/forward", rows)
            given = Corrections(forward, (await self._receive(self._dealer, "vertical/waves", 2 * TERMS * rows)).reshape(-1, rows), *short)
        return await asyncio.to_thread(shares, self._seed, self._shape, number, given)

    async def _gradient(self, step: Step, weights: Words, bad: NDArray[np.bool_] | None) -> Words:
        opened = await self._exchange(weights - step.rho, "vertical/step-weights")
        scores = await asyncio.to_thread(self._scores, step, opened)
        angle = (scores >> np.uint64(2 * FRACTION + 1 - STEP_BITS)).astype(np.uint16) - step.angle
        opened_angle = await self._open(angle, "vertical/angle")
        error = await asyncio.to_thread(weigh, opened_angle, step.waves)
        if bad is not None:
            error += encode(np.where(bad, -0.5, 0.5), ERROR_FRACTION)
        opened_error = await self._open(error - step.error, "vertical/error")
        return await asyncio.to_thread(self._back, step, opened_error)

    def _scores(self, step: Step, opened: Words) -> Words:
        """This party's share of X·w, with 29 fraction bits."""
        share: Words = self._masked @ step.rho + step.forward
        return share + self._columns @ opened[self._own]

    def _back(self, step: Step, opened: Words) -> Words:
        """This party's share of Xᵀ·e, with 40 fraction bits."""
        gradient: Words = np.einsum("n,nk->k", step.error, self._masked) + step.backward  # seven times as fast as the product of matrices
        gradient[self._own] += np.einsum("n,nk->k", opened, self._columns)
        return gradient

    async def _exchange(self, words: Words, kind: str) -> Words:
        """Open a short vector: everybody tells everybody."""
        for peer in self._peers:
            await self._session.to(peer).send(kind, words=words)
        total = words.copy()
        for peer in self._peers:
            total += (await self._session.to(peer).receive(kind)).array("words", "uint64", [len(words)])
        return total

    async def _open(self, share: NDArray[np.unsignedinteger], kind: str) -> NDArray[np.unsignedinteger]:
        """Open a long vector: the label party adds up and tells."""
        if not self._first:
            await self._send(self._label, kind, share)
            return await self._receive(self._label, kind, len(share), share.dtype.name)
        parts = await asyncio.gather(*(self._receive(peer, kind, len(share), share.dtype.name) for peer in self._peers))
        total = share.copy()
        for part in parts:
            total += part
        await asyncio.gather(*(self._send(peer, kind, total) for peer in self._peers))
        return total

    async def _send(self, peer: str, kind: str, words: NDArray[np.unsignedinteger]) -> None:
        await send_words(self._session, peer, kind, words)

    async def _receive(self, peer: str, kind: str, count: int, dtype: str = "uint64") -> Words:
        return await receive_words(self._session, peer, kind, count, dtype)


async def deal(session: Session, seeds: dict[str, Randomness], shape: Shape, iterations: int) -> None:
    """The dealer's side of a training: for each step the label party's corrections."""
    bits = shift_bits(shape.rows, len(shape.columns))
    masks = np.concatenate([mask(seeds[name], shape.rows, width) for name, width in shape.columns.items()], axis=1)
    for number in range(iterations):
        given = await asyncio.to_thread(corrections, seeds, masks, shape, number, bits)
        await session.to(shape.last).send("vertical/step", backward=given.backward, shifted=given.shifted, top=given.top)
        await send_words(session, shape.last, "vertical/forward", given.forward)
        await send_words(session, shape.last, "vertical/waves", given.waves)
        session.progress("dealing", (number + 1) / iterations)
