"""Sends the requests for one provider: those that are ready at the same moment share one exchange.

One commit makes the requests durable before the first byte is sent, one exchange carries them, one
commit stores the answers; then each caller gets its result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError, RefusedBy, Refuser, Unavailable
from exchange.metering import buyer_store
from exchange.metering.answers import CompletedCall, check_answer, store_completed
from exchange.metering.buyer_state import OutgoingRequest
from exchange.metering.digests import Digest
from exchange.metering.model import MIN_BODY_BYTES, WITHDRAWN, CallResult
from registry.evidence.log import append_all, append_if_missing

log = logging.getLogger("qiaolian.calls")
MAX_EXCHANGE_REQUESTS = 64
MAX_CONCURRENT_EXCHANGES = 2
MAX_BATCH_BYTES = MIN_BODY_BYTES - 100_000
"""Size of all requests of one exchange; the rest of the body is for what encloses them."""
_SPLIT_STATUSES = frozenset({400, 413, 422})
"""Statuses that refuse an exchange as a whole for one of its requests."""


class NoAnswer(Exception):
    """An exchange ended without the gateway's answer to a request: a failure of the transport, the
    token, a proxy or this node.
    """

    def __init__(self, cause: QiaolianError) -> None:
        super().__init__(cause.code)
        self.cause = cause

    @property
    def may_pass(self) -> bool:
        """Whether sending the same bytes again soon may succeed."""
        return self.cause.status == 429 or self.cause.status >= 500


class RequestBatcher:
    """The requests of a node for one provider. Belongs to one event loop."""

    def __init__(self, context: Context, provider: str, digest: Digest) -> None:
        self._context = context
        self._digest = digest
        self._provider = provider
        self._ready: list[OutgoingRequest] = []
        self._active = 0
        self._working: set[asyncio.Future[None]] = set()

    def submit(self, sent: OutgoingRequest) -> asyncio.Future[CallResult]:
        """The future result of a request."""
        sent.done = asyncio.get_running_loop().create_future()
        self._ready.append(sent)
        if self._active < MAX_CONCURRENT_EXCHANGES:
            self._active += 1
            task = asyncio.ensure_future(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return sent.done

    async def _work(self) -> None:
        try:
            while self._ready:
                batch, self._ready = _next_exchange(self._ready)
                try:
                    await self._exchange(batch)
                except BaseException as error:
                    for sent in batch:
                        _fail(sent, _no_answer(error))
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._active -= 1

    async def _exchange(self, batch: Sequence[OutgoingRequest]) -> None:
        await self._store(batch)
        body = '{"requests":[' + ",".join([sent.payload() for sent in batch]) + "]}"
        try:
            answer = await self._context.peers.post(self._provider, "/v1/peer/calls", body.encode())
        except QiaolianError as error:
            if len(batch) == 1 or error.status not in _SPLIT_STATUSES:
                raise NoAnswer(error) from error
            await self._in_halves(batch)
            return
        answers = answer.get("answers") if isinstance(answer, dict) else None
        if not isinstance(answers, list) or len(answers) != len(batch):
            sentence = "The provider's node did not answer every request."
            raise Unavailable("peer_bad_answer", sentence).by(
                RefusedBy(Refuser.PEER, self._provider)
            )
        completed = self._checked(batch, answers)
        if completed:
            digest, now = self._digest, self._context.now()
            await self._context.database.awrite(
                lambda session: store_completed(session, completed, digest=digest, at=now),
                routine=True,
            )
        for call in completed:
            call.apply()

    def _checked(self, batch: Sequence[OutgoingRequest], answers: list[Any]) -> list[CompletedCall]:
        """The calls that the answers complete; for the others the request stays outstanding."""
        completed = []
        for sent, answer in zip(batch, answers, strict=True):
            try:
                completed.append(check_answer(sent, answer, digest=self._digest))
            except QiaolianError as error:
                _fail(sent, NoAnswer(error))
        return completed

    async def _in_halves(self, batch: Sequence[OutgoingRequest]) -> None:
        """Send an exchange that was refused as a whole in two halves, so that one request fails
        only its own call.
        """
        middle = len(batch) // 2
        for part in (batch[:middle], batch[middle:]):
            try:
                await self._exchange(part)
            except Exception as error:
                for sent in part:
                    _fail(sent, _no_answer(error))

    async def _store(self, batch: Sequence[OutgoingRequest]) -> None:
        """Make the requests and withdrawals durable before the first byte leaves."""
        await self._store_withdrawals(batch)
        await self._store_requests([sent for sent in batch if sent.row is not None])

    async def _store_withdrawals(self, batch: Sequence[OutgoingRequest]) -> None:
        unstored = [
            sent for sent in batch if sent.withdrawal is not None and not sent.withdrawal.stored
        ]
        if not unstored:
            return
        now = self._context.now()
        await self._context.database.awrite(
            lambda session: _store_withdrawals(session, unstored, at=now)
        )
        for sent in unstored:
            if sent.withdrawal is not None:
                sent.withdrawal.stored = True

    async def _store_requests(self, fresh: Sequence[OutgoingRequest]) -> None:
        if not fresh:
            return
        rows = [sent.row for sent in fresh if sent.row is not None]
        released = [sent.key for sent in fresh if sent.replaces]
        entries = [("UsageRequest", self._digest(sent.request_hash)) for sent in fresh]
        now = self._context.now()

        def change(session: Session) -> None:
            if released:
                buyer_store.release_keys(session, released, reason=WITHDRAWN)
            buyer_store.insert_requests(session, rows)
            append_all(session, entries, at=now)

        try:
            await self._context.database.awrite(change, routine=True)
        except IntegrityError:
            if len(fresh) == 1:
                raise
            for sent in fresh:
                try:
                    await self._store_requests([sent])
                except IntegrityError as error:
                    _fail(sent, error)
            raise Unavailable(
                "request_not_stored", "A neighbour's key was used twice; the rest is asked again."
            ) from None
        for sent in fresh:
            sent.row = None


def _store_withdrawals(session: Session, batch: Sequence[OutgoingRequest], *, at: int) -> None:
    """Store withdrawals beside their requests, and in the evidence log the first time."""
    for sent in batch:
        withdrawal = sent.withdrawal
        assert withdrawal is not None
        buyer_store.store_withdrawal(
            session,
            sent.trade.agreement_id,
            sent.lane.number,
            sent.request.seq,
            withdrawal=withdrawal.text,
            signature=withdrawal.signature,
            by=withdrawal.by,
        )
        append_if_missing(session, kind="RequestWithdrawal", digest=withdrawal.digest, at=at)


def _fail(sent: OutgoingRequest, error: BaseException) -> None:
    if sent.done is not None and not sent.done.done():
        sent.done.set_exception(error)


def _no_answer(error: BaseException) -> BaseException:
    """The error that a failed exchange means for its requests; an unexpected error is logged."""
    if isinstance(error, NoAnswer | IntegrityError) or not isinstance(error, Exception):
        return error
    if isinstance(error, QiaolianError):
        return NoAnswer(error)
    log.error("an exchange failed", exc_info=error)
    cause = QiaolianError("internal_error", "Something unexpected failed in this node.")
    cause.status = 500
    return NoAnswer(cause)


def _next_exchange(
    ready: Sequence[OutgoingRequest],
) -> tuple[list[OutgoingRequest], list[OutgoingRequest]]:
    """The requests of the next exchange, within the body size every node accepts, and the rest."""
    size = 0
    for count, sent in enumerate(ready):
        size += len(sent.wire) if sent.wire.isascii() else len(sent.wire.encode())
        if count == MAX_EXCHANGE_REQUESTS or (count and size > MAX_BATCH_BYTES):
            return list(ready[:count]), list(ready[count:])
    return list(ready), []
