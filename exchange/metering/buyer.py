"""The buyer's side: makes metered calls for the organisation's own systems.

A call takes the next position of a lane; each lane has at most one request in progress. The path of
a call is ``Buyer.call``: sign the request (``_signed``), store and send it (``batcher``), check the
answer (``answers``), store it and return the result.

Once a request is stored, its call ends with an answer of the gateway or as ``CallOutstanding``,
which names the idempotency key. Whoever has the key can send the same request again or withdraw it.
Before a lane takes another call, the node itself withdraws a request that no caller waits for, so
that nothing is served and billed for nobody. All of this also holds after a restart.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.database import Change
from chain.core.errors import Conflict, NotFound, Unavailable
from chain.statements.commitment import commit, new_salt
from chain.statements.trade import RequestWithdrawal, UsageReceipt
from exchange.metering import buyer_rules, buyer_store, consents, rules
from exchange.metering.batcher import NoAnswer, RequestBatcher
from exchange.metering.buyer_state import (
    BuyerLane,
    BuyerState,
    BuyerTrade,
    OutgoingRequest,
    OutgoingWithdrawal,
)
from exchange.metering.buyer_store import KnownCall, RequestColumns
from exchange.metering.digests import settlement_digest
from exchange.metering.model import (
    REQUEST_DOMAIN,
    WITHDRAWN,
    CallOutstanding,
    CallQuery,
    CallResult,
    CallStatus,
    ClosingVoucher,
)
from exchange.metering.store import store_voucher
from exchange.metering.wire import json_text, request_text
from registry.evidence.log import append

T = TypeVar("T")
CONTRACT = "TradeSettlement"
BY_CALLER, BY_NODE = "caller", "node"
REQUEST_SECONDS = 120
"""A request's expiry: how long its first service may take."""
RETRY_SECONDS = 15.0
"""How long a call retries an unreachable provider before its caller gets ``call_outstanding``; the
request stays stored.
"""


class Buyer:
    """Makes all calls of a buying node. One for each running node; belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.digest = settlement_digest(context)
        self._state = BuyerState(context, self.digest)
        self._batchers: dict[str, RequestBatcher] = {}
        self._under_way: dict[str, asyncio.Task[CallResult]] = {}

    @classmethod
    def of(cls, context: Context) -> Buyer:
        """The node's buyer."""
        return context.services.get(cls, lambda: cls(context))

    async def call(
        self,
        agreement_id: bytes,
        query: CallQuery,
        idempotency_key: str | None,
        along: Change | None = None,
    ) -> CallResult:
        """Make a metered call. The same key with the same query always gives the same result;
        without a key the node generates one.

        Raises:
            NotFound: ``unknown_agreement``, ``consent_unknown``; Forbidden: ``not_buyer``;
            BadInput: ``request_too_large``, ``consent_too_large``;
            Conflict: ``idempotency_key_reused``, ``lane_halted``, or what in the answer contradicts
                this node's records;
            Unavailable: ``lane_blocked`` (nothing was sent); CallOutstanding: the request is
                stored and unanswered, and the error names its key.
        """
        if idempotency_key is None:
            key = secrets.token_hex(16)
            return await _uncancelled(self._fresh(agreement_id, query, key, along))
        task = self._under_way.get(idempotency_key)
        if task is None:
            task = asyncio.ensure_future(
                self._call_once(agreement_id, query, idempotency_key, along)
            )
            self._under_way[idempotency_key] = task
            task.add_done_callback(lambda _: self._under_way.pop(idempotency_key, None))
        else:
            await asyncio.wait([task])
            return await self._call_once(agreement_id, query, idempotency_key, along)
        return await asyncio.shield(task)

    async def fetch(self, key: str) -> CallResult:
        """The result of the call under a key; its request is sent again if it is unanswered.

        Raises:
            NotFound: ``call_unknown``; CallOutstanding: while there is no answer; Conflict: the
                code for which the lane halted.
        """
        return result_of(
            await _uncancelled(self._resend(await asyncio.to_thread(self._known, key)))
        )

    async def withdraw(self, key: str) -> CallResult:
        """Withdraw the unanswered request of a call: refused with ``withdrawn``, or the answer if
        the gateway had served it before.

        The key stays used. A finished call is given as it is.

        Raises:
            NotFound: ``call_unknown``; CallOutstanding: the withdrawal is stored and has no answer;
                Conflict: as ``fetch``.
        """
        return result_of(
            await _uncancelled(self._withdrawn(await asyncio.to_thread(self._known, key)))
        )

    @asynccontextmanager
    async def idle_lanes(self, agreement_id: bytes) -> AsyncIterator[BuyerTrade]:
        """Hold every lane of an agreement, with no request outstanding, until the block ends."""
        trade = await self.trade(agreement_id)
        async with AsyncExitStack() as stack:
            for lane in trade.lanes:
                await stack.enter_async_context(lane.lock)
                await self._clear(lane)
            yield trade

    async def close_lanes(self, agreement_id: bytes) -> list[ClosingVoucher]:
        """Sign and store a closing voucher for every used lane; returns what to send."""
        trade = await self.trade(agreement_id)
        vouchers = []
        for lane in trade.lanes:
            async with lane.lock:
                await self._clear(lane)
                if lane.state.seq:
                    vouchers.append(await self._voucher(trade, lane))
        return vouchers

    async def _voucher(self, trade: BuyerTrade, lane: BuyerLane) -> ClosingVoucher:
        voucher = buyer_rules.closing_voucher(trade.agreement_id, lane.number, lane.state)
        digest = self.digest(voucher.struct_hash())
        signed = ClosingVoucher(voucher, self._signature(trade, digest))

        def change(session: Session) -> None:
            store_voucher(session, signed)
            append(session, kind="Voucher", digest=digest, at=self.context.now())

        await self.context.database.awrite(change)
        return signed

    # --- one call ---------------------------------------------------------------------------------

    async def _call_once(
        self, agreement_id: bytes, query: CallQuery, key: str, along: Change | None
    ) -> CallResult:
        """The call under a key: the stored one, else a new one."""
        if not await buyer_store.is_known(self.context.database, key):
            return await self._fresh(agreement_id, query, key, along)
        known = await asyncio.to_thread(self._known, key)
        if (
            known.agreement_id != agreement_id
            or json.loads(known.query)["query"] != query.to_json()
        ):
            raise Conflict(
                "idempotency_key_reused", "The key belongs to another call.", hint="Use a new key."
            )
        known = await self._resend(known)
        if known.withdrawn_by == BY_NODE and known.reason == WITHDRAWN:
            # Only this node withdrew the request, and its receipt proves that it was not served.
            return await self._fresh(agreement_id, query, key, along, replaces=True)
        return result_of(known)

    async def _resend(self, known: KnownCall) -> KnownCall:
        """A stored call after its unanswered request, or its withdrawal, was sent again."""
        if known.status != CallStatus.ASKED:
            return known
        lane = (await self.trade(known.agreement_id)).lanes[known.lane]
        async with lane.lock:
            if _is_outstanding(lane, known):
                await self._send_until_answered(lane)
        return await asyncio.to_thread(self._known, known.key)

    async def _withdrawn(self, known: KnownCall) -> KnownCall:
        """A stored call after its unanswered request was withdrawn for its caller."""
        if known.status == CallStatus.ASKED:
            lane = (await self.trade(known.agreement_id)).lanes[known.lane]
            async with lane.lock:
                if _is_outstanding(lane, known):
                    await self._withdraw(lane, BY_CALLER)
            known = await asyncio.to_thread(self._known, known.key)
        if known.withdrawn_by == BY_NODE:
            await self.context.database.awrite(
                lambda session: buyer_store.set_withdrawn_by(session, known.key, BY_CALLER)
            )
        return known

    async def _withdraw(self, lane: BuyerLane, by: str) -> CallResult:
        """Sign the withdrawal of a lane's unanswered request, once, and send it until it is
        answered or ``RETRY_SECONDS`` are over.
        """
        sent = lane.outstanding
        assert sent is not None
        if sent.withdrawal is None:
            statement = RequestWithdrawal(
                version=1,
                agreement_id=sent.trade.agreement_id,
                lane=lane.number,
                seq=sent.request.seq,
                request=sent.request_hash,
                issued_at=self.context.now(),
            )
            digest = self.digest(statement.struct_hash())
            signature = self._signature(sent.trade, digest)
            sent.withdrawal = OutgoingWithdrawal(
                json_text(statement.to_json()), signature, digest, by
            )
        elif by == BY_CALLER and sent.withdrawal.by != by:
            sent.withdrawal.by, sent.withdrawal.stored = by, False
        return await self._send_until_answered(lane)

    async def _fresh(
        self,
        agreement_id: bytes,
        query: CallQuery,
        key: str,
        along: Change | None,
        *,
        replaces: bool = False,
    ) -> CallResult:
        """A new call on the least busy lane."""
        trade = await self.trade(agreement_id)
        rules.require_not_final(trade.final)
        consent = await consents.package_for(self.context, query)
        lane = _least_busy(trade)
        lane.waiting += 1
        try:
            async with lane.lock:
                await self._clear(lane)
                if lane.halted:
                    raise Conflict(
                        "lane_halted",
                        "The provider's answers contradict this node's records of this lane.",
                    )
                rules.require_not_final(trade.final)
                lane.outstanding = self._signed(trade, lane, query, consent, key)
                lane.outstanding.replaces, lane.outstanding.along = replaces, along
                return await self._send_until_answered(lane)
        finally:
            lane.waiting -= 1

    def _signed(
        self, trade: BuyerTrade, lane: BuyerLane, query: CallQuery, consent: str | None, key: str
    ) -> OutgoingRequest:
        """The signed request for the lane's next position; not stored yet."""
        now, salt, query_json = self.context.now(), new_salt(), query.to_json()
        opening = (
            f'{{"query":{json_text(query_json)},"salt":"0x{salt.hex()}",'
            f'"consent":{consent or "null"}}}'
        )
        buyer_rules.require_sendable(opening)
        request = buyer_rules.next_request(
            trade.agreement,
            trade.agreement_id,
            lane.number,
            lane.state,
            commitment=commit(salt, REQUEST_DOMAIN, query_json),
            now=now,
            seconds=REQUEST_SECONDS,
        )
        request_hash = request.struct_hash()
        signature = self._signature(trade, self.digest(request_hash))
        request_json = json_text(request.to_json())
        row: RequestColumns = {
            "agreement_id": trade.agreement_id,
            "lane": lane.number,
            "seq": request.seq,
            "idempotency_key": key,
            "status": CallStatus.ASKED.value,
            "reason": "",
            "request": request_json,
            "request_hash": request_hash,
            "request_signature": signature,
            "query": opening,
            "subject": query.subject,
            "units": lane.state.units,
            "amount": lane.state.amount,
            "asked_at": now,
        }
        return OutgoingRequest(
            trade=trade,
            lane=lane,
            request=request,
            request_hash=request_hash,
            signature=signature,
            wire=request_text(request_json, signature, opening),
            key=key,
            row=row,
            opening=opening,
        )

    def _signature(self, trade: BuyerTrade, digest: bytes) -> bytes:
        """Sign with the buyer's key that the agreement pins; ``pinned_key_not_held``."""
        return self.context.pinned_signer(trade.agreement.buyer_key).sign_digest(digest)

    async def _clear(self, lane: BuyerLane) -> None:
        """Before another request: withdraw the one that an earlier call or process left
        unanswered. Its caller has the key.

        Raises:
            Unavailable: ``lane_blocked`` while the withdrawal has no answer; Conflict: what in its
                answer contradicts this node's records.
        """
        if lane.outstanding is None or lane.halted:
            return
        try:
            await self._withdraw(lane, BY_NODE)
        except CallOutstanding as error:
            raise Unavailable(
                "lane_blocked",
                "An earlier request of the lane has no answer, not even to its withdrawal "
                f"({error.context['cause']}); nothing was asked.",
                hint="Try again later; the earlier call is outstanding "
                "under the key that this error names.",
                outstandingKey=error.context["idempotencyKey"],
                cause=error.context["cause"],
            ).by(error.refused_by) from error

    async def _send_until_answered(self, lane: BuyerLane) -> CallResult:
        """Send the lane's request, or its withdrawal, until it is answered or ``RETRY_SECONDS`` are
        over.

        Raises:
            CallOutstanding: the request is stored and unanswered; Conflict: its answer contradicts
                this node's records, or the key is used;
            Unavailable: it could not be stored, and nothing was sent.
        """
        sent = lane.outstanding
        assert sent is not None
        deadline, pause = time.monotonic() + RETRY_SECONDS, 0.05
        batcher = self._batcher(sent.trade.agreement.provider)
        while True:
            try:
                return await batcher.submit(sent)
            except IntegrityError as error:
                lane.outstanding = None
                raise Conflict(
                    "idempotency_key_reused", "The key belongs to another call."
                ) from error
            except NoAnswer as error:
                if sent.row is not None:
                    lane.outstanding = None
                    raise error.cause from error
                if not error.may_pass or time.monotonic() + pause > deadline:
                    raise CallOutstanding(sent.key, error.cause) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _batcher(self, provider: str) -> RequestBatcher:
        found = self._batchers.get(provider)
        if found is None:
            found = self._batchers[provider] = RequestBatcher(self.context, provider, self.digest)
        return found

    # --- state ------------------------------------------------------------------------------------

    async def trade(self, agreement_id: bytes) -> BuyerTrade:
        """An agreement this node buys under; raises what ``BuyerState.trade`` raises."""
        return await self._state.trade(agreement_id)

    def _known(self, key: str) -> KnownCall:
        """The stored call under a key; ``call_unknown``."""
        found = buyer_store.find_by_key(self.context.database, key)
        if found is None:
            raise NotFound(
                "call_unknown",
                "No request was stored under this key.",
                hint="`qiaolian call list` shows the keys of stored calls.",
            )
        return found


def result_of(row: KnownCall) -> CallResult:
    """A stored call's result.

    Raises:
        CallOutstanding: it has none yet; Conflict: the code for which its lane halted.
    """
    key = row.key
    if row.status == CallStatus.ASKED:
        raise CallOutstanding(key, Unavailable("not_answered", "The provider was not asked again."))
    if row.status == CallStatus.CONFLICT:
        raise Conflict(
            row.reason,
            "The call's answer contradicts this node's records; nothing is acknowledged for it.",
            hint="The statements of both sides are stored; ask the arbiter or the supervisor.",
            idempotencyKey=key,
        )
    receipt = UsageReceipt.from_json(json.loads(row.receipt)) if row.receipt else None
    return CallResult(
        key=key,
        agreement_id=row.agreement_id,
        lane=row.lane,
        seq=row.seq,
        status=CallStatus(row.status),
        reason=row.reason,
        content=json.loads(row.answer)["content"] if row.answer else None,
        units=receipt.units if receipt else 0,
        amount=receipt.amount if receipt else 0,
        receipt=row.receipt_hash or b"",
    )


def _least_busy(trade: BuyerTrade) -> BuyerLane:
    """The lane with the fewest calls waiting; ``lane_halted`` if every lane is halted."""
    usable = [lane for lane in trade.lanes if not lane.halted]
    if not usable:
        raise Conflict(
            "lane_halted",
            "The provider's answers contradict this node's records of every lane.",
            hint="The statements of both sides are stored; ask the arbiter or the supervisor.",
        )
    return min(usable, key=lambda lane: (lane.waiting, lane.outstanding is not None))


def _is_outstanding(lane: BuyerLane, known: KnownCall) -> bool:
    """Whether a call's request is the lane's unanswered one."""
    return (
        lane.outstanding is not None
        and lane.outstanding.request.seq == known.seq
        and not lane.halted
    )


async def _uncancelled(work: Awaitable[T]) -> T:
    """Complete a call even if its caller disconnects: its lane must not change meanwhile."""
    return await asyncio.shield(asyncio.ensure_future(work))
