"""The buyer's side: turns a query of the organisation's own systems into a request, an answer and
their proofs.

A call takes the next place of a lane (one request under way in each). Calls to the same provider
that are ready at the same moment travel together: one commit makes their requests durable, one
exchange carries them, one commit keeps what came back; then each is answered.

Once a request is stored, its call ends with an answer of the gateway or as ``CallOutstanding``,
which names the idempotency key. Whoever has the key can ask again (the same bytes are sent) or
withdraw the request. Before a lane takes another call, a request nobody waits for any more is
withdrawn by the node itself: nothing is served and billed for nobody. All of that holds after a
restart as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.crypto import keccak256, recover
from chain.core.database import PreparedStatement
from chain.core.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    QiaolianError,
    RefusedBy,
    Refuser,
    Unauthorised,
    Unavailable,
)
from chain.core.printable import printable
from chain.ethereum.eip712 import domain_separator
from chain.statements.commitment import commit, commit_bytes, new_salt
from chain.statements.trade import (
    Agreement,
    ReceiptVoid,
    RequestWithdrawal,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
)
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering import consents, rules
from exchange.metering.model import (
    MIN_BODY_BYTES,
    REQUEST_DOMAIN,
    RESPONSE_DOMAIN,
    WITHDRAWN,
    CallOutstanding,
    CallQuery,
    CallResult,
    CallStatus,
    LaneState,
)
from exchange.metering.recovery import require_recovered
from exchange.metering.store import (
    BUYER,
    call_at,
    is_final,
    lane_state_of,
    last_calls,
    store_voucher,
    voucher_row,
)
from exchange.metering.synchronisation import require_synchronised
from registry.evidence.log import append, append_all, append_if_missing

log = logging.getLogger("qiaolian.calls")
T = TypeVar("T")
CONTRACT = "TradeSettlement"
BY_CALLER, BY_NODE = "caller", "node"
_BODY_BYTES = MIN_BODY_BYTES - 100_000
"""What the requests of one exchange take together, with room for what is written around them."""
_SPLIT_STATUSES = frozenset({400, 413, 422})
"""An exchange refused as a whole for one of its requests: the others are sent without it."""
REQUEST_SECONDS = 120
"""A request's expiry: how long its first service may take."""
RETRY_SECONDS = 15.0
"""How long a call keeps asking a provider that cannot be reached before its caller is told; the
request stays stored.
"""
MAX_EXCHANGE_REQUESTS = 64
MAX_CONCURRENT_EXCHANGES = 2
_BY_STATUS: dict[int, type[QiaolianError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: BadInput,
    503: Unavailable,
}


@dataclass
class BuyerLane:
    """One lane in memory."""

    number: int
    head: LaneState = field(default_factory=LaneState)
    outstanding: OutgoingRequest | None = None
    """A stored request without an answer."""
    halted: str = ""
    """The code of what contradicted the books here; such a lane takes no more calls."""
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class BuyerTrade:
    """One agreement in memory."""

    agreement_id: bytes
    agreement: Agreement
    lanes: list[BuyerLane]
    final: bool = False
    """Whether this side signed the final totals: nothing more is asked for."""


@dataclass
class OutgoingRequest:
    """One stored (or about to be stored) request."""

    trade: BuyerTrade
    lane: BuyerLane
    request: UsageRequest
    request_hash: bytes
    signature: bytes
    wire: str
    key: str
    row: dict[str, Any] | None
    """What is still to be stored; None once it is durable."""
    query: str
    """The wire's ``query``, ``salt`` and ``consent`` as stored."""
    replaces: bool = False
    """Whether the key is taken over from a request that the node withdrew."""
    withdrawal: SignedWithdrawal | None = None
    done: asyncio.Future[CallResult] | None = None

    def payload(self) -> str:
        """What is sent: the request, or its withdrawal once that is signed. A withdrawal carries no
        consent: it authorises nothing.
        """
        if self.withdrawal is None:
            return self.wire
        beside = {**json.loads(self.query), "consent": None}
        wire = _wire(_dumps(self.request.to_json()), self.signature, _dumps(beside))
        return f'{wire[:-1]},"withdrawal":{self.withdrawal.text},"withdrawalSignature":"0x{self.withdrawal.signature.hex()}"}}'


@dataclass
class SignedWithdrawal:
    """A signed withdrawal of a stored request."""

    text: str
    """The statement as JSON."""
    signature: bytes
    digest: bytes
    by: str
    stored: bool = False


class NoAnswer(Exception):
    """An exchange brought no answer of the gateway to a request: a failure of transport, token,
    proxy or of this node.
    """

    def __init__(self, cause: QiaolianError) -> None:
        super().__init__(cause.code)
        self.cause = cause

    @property
    def may_pass(self) -> bool:
        """Whether the same bytes may be answered within moments."""
        return self.cause.status == 429 or self.cause.status >= 500


class Buyer:
    """All lanes of a node that buys. One for each running node; belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.separator = domain_separator(context.domain(CONTRACT))
        self._trades: dict[bytes, BuyerTrade] = {}
        self._batchers: dict[str, _RequestBatcher] = {}
        self._under_way: dict[str, asyncio.Task[CallResult]] = {}
        self._loading = asyncio.Lock()

    @classmethod
    def of(cls, context: Context) -> Buyer:
        """The node's buyer."""
        buyer: Buyer | None = context.ports.get("exchange.buyer")
        if buyer is None:
            buyer = context.ports["exchange.buyer"] = cls(context)
        return buyer

    async def call(
        self, agreement_id: bytes, query: CallQuery, idempotency_key: str | None
    ) -> CallResult:
        """Make a metered call; the same key with the same query gives the same result, whatever
        happened in between. Without a key one is made.

        Raises:
            NotFound: ``unknown_agreement``, ``consent_unknown``; Forbidden: ``not_buyer``;
            BadInput: ``request_too_large``, ``consent_too_large``;
            Conflict: ``idempotency_key_reused``, ``lane_halted``, or what in the answer contradicts
                this node's records;
            Unavailable: ``lane_blocked`` (nothing was asked); CallOutstanding: the request is
                stored and unanswered, and the error names its key.
        """
        if idempotency_key is None:
            return await _uncancelled(self._fresh(agreement_id, query, secrets.token_hex(16)))
        task = self._under_way.get(idempotency_key)
        if task is None:
            task = asyncio.ensure_future(self._call_once(agreement_id, query, idempotency_key))
            self._under_way[idempotency_key] = task
            task.add_done_callback(lambda _: self._under_way.pop(idempotency_key, None))
        else:
            await asyncio.wait([task])
            return await self._call_once(agreement_id, query, idempotency_key)
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
        """Hold every lane of an agreement with nothing outstanding: no request is made until the
        block ends.
        """
        trade = await self.trade(agreement_id)
        async with AsyncExitStack() as stack:
            for lane in trade.lanes:
                await stack.enter_async_context(lane.lock)
                await self._clear(lane)
            yield trade

    async def close_lanes(self, agreement_id: bytes) -> list[dict[str, Any]]:
        """Sign and store a closing voucher for every used lane; what is to be sent to the provider."""
        trade = await self.trade(agreement_id)
        made = []
        for lane in trade.lanes:
            async with lane.lock:
                await self._clear(lane)
                if lane.head.seq:
                    made.append(await self._voucher(trade, lane))
        return made

    async def _voucher(self, trade: BuyerTrade, lane: BuyerLane) -> dict[str, Any]:
        voucher = rules.closing_voucher(trade.agreement_id, lane.number, lane.head)
        digest = self.digest(voucher.struct_hash())
        signature = self._signature(trade, digest)

        def change(session: Session) -> None:
            store_voucher(session, voucher_row(voucher, signature))
            append(session, kind="Voucher", digest=digest, at=self.context.now())

        await self.context.database.awrite(change)
        return {"voucher": voucher.to_json(), "signature": "0x" + signature.hex()}

    # --- one call ---------------------------------------------------------------------------------

    async def _call_once(self, agreement_id: bytes, query: CallQuery, key: str) -> CallResult:
        """A call under a key: what is known of it, else a fresh one."""
        if not await self.context.database.afetch(_IS_KNOWN, {"key": key}):
            return await self._fresh(agreement_id, query, key)
        known = await asyncio.to_thread(self._known, key)
        if (
            known.agreement_id != agreement_id
            or json.loads(known.query)["query"] != query.to_json()
        ):
            raise Conflict(
                "idempotency_key_reused", "The key stands for another call.", hint="Use a new key."
            )
        known = await self._resend(known)
        if known.withdrawn_by == BY_NODE and known.reason == WITHDRAWN:
            # Nobody but this node gave the request up, and its receipt says that it was not served.
            return await self._fresh(agreement_id, query, key, replaces=True)
        return result_of(known)

    async def _resend(self, known: Any) -> Any:
        """A call's row after its unanswered request, or the withdrawal of it, was sent again."""
        if known.status != CallStatus.ASKED:
            return known
        lane = (await self.trade(known.agreement_id)).lanes[known.lane]
        async with lane.lock:
            if _is_outstanding(lane, known):
                await self._send_until_answered(lane)
        return await asyncio.to_thread(self._known, known.idempotency_key)

    async def _withdrawn(self, known: Any) -> Any:
        """A call's row after its unanswered request was withdrawn for its caller."""
        if known.status == CallStatus.ASKED:
            lane = (await self.trade(known.agreement_id)).lanes[known.lane]
            async with lane.lock:
                if _is_outstanding(lane, known):
                    await self._withdraw(lane, BY_CALLER)
            known = await asyncio.to_thread(self._known, known.idempotency_key)
        if known.withdrawn_by == BY_NODE:
            await self.context.database.awrite(
                lambda session: _set_withdrawn_by_caller(session, known.idempotency_key)
            )
        return known

    async def _withdraw(self, lane: BuyerLane, by: str) -> CallResult:
        """Sign the withdrawal of a lane's unanswered request, once, and send it until it is
        answered or patience ends.
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
            sent.withdrawal = SignedWithdrawal(_dumps(statement.to_json()), signature, digest, by)
        elif by == BY_CALLER and sent.withdrawal.by != by:
            sent.withdrawal.by, sent.withdrawal.stored = by, False
        return await self._send_until_answered(lane)

    async def _fresh(
        self, agreement_id: bytes, query: CallQuery, key: str, *, replaces: bool = False
    ) -> CallResult:
        trade = self._trades.get(agreement_id) or await self.trade(agreement_id)
        rules.require_not_final(trade.final)
        consent = await consents.package_for(self.context, query)
        usable = [lane for lane in trade.lanes if not lane.halted]
        if not usable:
            raise Conflict(
                "lane_halted",
                "The provider's answers contradict this node's books in every lane.",
                hint="The statements of both sides are kept; ask the arbiter or the supervisor.",
            )
        lane = min(usable, key=lambda lane: (lane.waiting, lane.outstanding is not None))
        lane.waiting += 1
        try:
            async with lane.lock:
                await self._clear(lane)
                if lane.halted:
                    raise Conflict(
                        "lane_halted",
                        "The provider's answers contradict this node's books in this lane.",
                    )
                rules.require_not_final(trade.final)
                lane.outstanding = self._signed(trade, lane, query, consent, key)
                lane.outstanding.replaces = replaces
                return await self._send_until_answered(lane)
        finally:
            lane.waiting -= 1

    def _signed(
        self, trade: BuyerTrade, lane: BuyerLane, query: CallQuery, consent: str | None, key: str
    ) -> OutgoingRequest:
        """The request for the lane's next place, signed; nothing of it is durable yet."""
        now, salt, asked = self.context.now(), new_salt(), query.to_json()
        beside = (
            f'{{"query":{_dumps(asked)},"salt":"0x{salt.hex()}","consent":{consent or "null"}}}'
        )
        rules.require_sendable(beside)
        request = rules.next_request(
            trade.agreement,
            trade.agreement_id,
            lane.number,
            lane.head,
            commitment=commit(salt, REQUEST_DOMAIN, asked),
            now=now,
            seconds=REQUEST_SECONDS,
        )
        request_hash = request.struct_hash()
        signature = self._signature(trade, self.digest(request_hash))
        request_text = _dumps(request.to_json())
        row = {
            "agreement_id": trade.agreement_id,
            "lane": lane.number,
            "seq": request.seq,
            "idempotency_key": key,
            "status": CallStatus.ASKED.value,
            "reason": "",
            "request": request_text,
            "request_hash": request_hash,
            "request_signature": signature,
            "query": beside,
            "units": lane.head.units,
            "amount": lane.head.amount,
            "asked_at": now,
        }
        return OutgoingRequest(
            trade=trade,
            lane=lane,
            request=request,
            request_hash=request_hash,
            signature=signature,
            wire=_wire(request_text, signature, beside),
            key=key,
            row=row,
            query=beside,
        )

    def _signature(self, trade: BuyerTrade, digest: bytes) -> bytes:
        """By the buyer's key that the agreement pins; ``pinned_key_not_held``."""
        return self.context.pinned_signer(trade.agreement.buyer_key).sign_digest(digest)

    async def _clear(self, lane: BuyerLane) -> None:
        """Before another request: withdraw what an earlier call, or an earlier process, left
        unanswered. Its caller was told and has the key.

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
                f"An earlier request of the lane has no answer, not even to its withdrawal ({error.context['cause']}); nothing was asked.",
                hint="Try again later; the earlier call is outstanding under the key that this error names.",
                outstandingKey=error.context["idempotencyKey"],
                cause=error.context["cause"],
            ).by(error.refused_by) from error

    async def _send_until_answered(self, lane: BuyerLane) -> CallResult:
        """Send the lane's request, or its withdrawal, until it is answered or patience ends.

        Raises:
            CallOutstanding: the request is stored and unanswered; Conflict: its answer contradicts
                this node's records, or the key is used;
            Unavailable: it could not even be stored, as if it had never been asked.
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
                    "idempotency_key_reused", "The key stands for another call."
                ) from error
            except NoAnswer as error:
                if sent.row is not None:
                    lane.outstanding = None
                    raise error.cause from error
                if not error.may_pass or time.monotonic() + pause > deadline:
                    raise CallOutstanding(sent.key, error.cause) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _batcher(self, provider: str) -> _RequestBatcher:
        found = self._batchers.get(provider)
        if found is None:
            found = self._batchers[provider] = _RequestBatcher(self, provider)
        return found

    # --- state ------------------------------------------------------------------------------------

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed of a statement of the settlement contract."""
        return keccak256(b"\x19\x01" + self.separator + struct_hash)

    async def trade(self, agreement_id: bytes) -> BuyerTrade:
        """An agreement this node buys under; ``unknown_agreement``, ``not_buyer``,
        ``agreement_not_open``, ``lane_behind_provider``, ``agreement_unrecovered``."""
        found = self._trades.get(agreement_id)
        if found is not None:
            return found
        async with self._loading:
            found = self._trades.get(agreement_id)
            if found is None:
                found = await asyncio.to_thread(self._load, agreement_id)
                last = {
                    lane.number: lane.outstanding.request.seq if lane.outstanding else lane.head.seq
                    for lane in found.lanes
                }
                await require_synchronised(
                    self.context, agreement_id, found.agreement, last=last, digest=self.digest
                )
                self._trades[agreement_id] = found
        return found

    def _load(self, agreement_id: bytes) -> BuyerTrade:
        signed = agreements.load(self.context, agreement_id)
        if signed.side != AgreementSide.BUYER:
            raise Forbidden("not_buyer", "This organisation is not the agreement's buyer.")
        if not agreements.proved_state(self.context, agreement_id).opened_at:
            raise Conflict(
                "agreement_not_open",
                "The agreement is not open on the chain yet.",
                hint="Wait for its opening.",
            )
        trade = BuyerTrade(
            agreement_id,
            signed.agreement,
            [BuyerLane(number) for number in range(signed.agreement.lanes)],
        )
        with self.context.database.read() as session:
            require_recovered(session, agreement_id)
            trade.final = is_final(session, agreement_id)
            for number, row in last_calls(session, BUYER, agreement_id).items():
                self._restore(session, trade, trade.lanes[number], row)
        return trade

    def _restore(
        self, session: Session, trade: BuyerTrade, lane: BuyerLane, row: sa.Row[Any]
    ) -> None:
        """A lane as the last process left it."""
        if row.status not in (CallStatus.ASKED, CallStatus.CONFLICT):
            lane.head = lane_state_of(row)
            return
        before = call_at(session, BUYER, trade.agreement_id, lane.number, row.seq - 1)
        lane.head = lane_state_of(before) if before is not None else LaneState()
        request, wire = (
            UsageRequest.from_json(json.loads(row.request)),
            _wire(row.request, row.request_signature, row.query),
        )
        lane.outstanding = OutgoingRequest(
            trade=trade,
            lane=lane,
            request=request,
            request_hash=row.request_hash,
            signature=row.request_signature,
            wire=wire,
            key=row.idempotency_key or "",
            row=None,
            query=row.query,
            withdrawal=self._stored_withdrawal(row),
        )
        if row.status == CallStatus.CONFLICT:
            lane.halted = row.reason

    def _stored_withdrawal(self, row: sa.Row[Any]) -> SignedWithdrawal | None:
        if row.withdrawal is None:
            return None
        digest = self.digest(RequestWithdrawal.from_json(json.loads(row.withdrawal)).struct_hash())
        return SignedWithdrawal(
            row.withdrawal, row.withdrawal_signature, digest, row.withdrawn_by, stored=True
        )

    def _known(self, key: str) -> Any:
        """The row of the call under a key; ``call_unknown``."""
        with self.context.database.engine.connect() as connection:
            found = connection.execute(_BY_KEY, {"key": key}).one_or_none()
        if found is None:
            raise NotFound(
                "call_unknown",
                "No request was stored under this key.",
                hint="`qiaolian call list` shows the keys of stored calls.",
            )
        return found


_INSERT = PreparedStatement(sa.insert(BUYER))
_BY_KEY = sa.select(BUYER).where(BUYER.c.idempotency_key == sa.bindparam("key"))
_RELEASE_KEY = PreparedStatement(
    sa.update(BUYER)
    .where(
        BUYER.c.idempotency_key == sa.bindparam("key"), BUYER.c.reason == sa.bindparam("in_reason")
    )
    .values(idempotency_key=sa.null())
)
_IS_KNOWN = PreparedStatement(
    sa.select(BUYER.c.seq).where(BUYER.c.idempotency_key == sa.bindparam("key"))
)


class _RequestBatcher:
    """Carries the requests for one provider: whatever is ready travels together."""

    def __init__(self, buyer: Buyer, provider: str) -> None:
        self._buyer = buyer
        self._context = buyer.context
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
        checked = [self._checked(sent, item) for sent, item in zip(batch, answers, strict=True)]
        finished = [call for call in checked if call is not None]
        if finished:
            await self._context.database.awrite(lambda session: _store_completed(session, finished))
        for call in finished:
            call.apply()

    async def _in_halves(self, batch: Sequence[OutgoingRequest]) -> None:
        """Send an exchange that was refused as a whole in two parts, so that one request fails none
        but its own call.
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
        withdrawals = [
            sent for sent in batch if sent.withdrawal is not None and not sent.withdrawal.stored
        ]
        if withdrawals:
            now = self._context.now()
            await self._context.database.awrite(
                lambda session: _store_withdrawals(session, withdrawals, at=now)
            )
            for sent in withdrawals:
                if sent.withdrawal is not None:
                    sent.withdrawal.stored = True
        fresh = [sent for sent in batch if sent.row is not None]
        if not fresh:
            return
        rows = [sent.row for sent in fresh if sent.row is not None]
        released = [{"key": sent.key, "in_reason": WITHDRAWN} for sent in fresh if sent.replaces]
        entries = [("UsageRequest", self._buyer.digest(sent.request_hash)) for sent in fresh]
        now = self._context.now()

        def change(session: Session) -> None:
            if released:
                _RELEASE_KEY.execute(session, released)
            _INSERT.execute(session, rows)
            append_all(session, entries, at=now)

        try:
            await self._context.database.awrite(change)
        except IntegrityError:
            if len(fresh) == 1:
                raise
            for sent in fresh:
                try:
                    await self._store([sent])
                except IntegrityError as error:
                    _fail(sent, error)
            raise Unavailable(
                "request_not_stored", "A neighbour's key was used twice; the rest is asked again."
            ) from None
        for sent in fresh:
            sent.row = None

    def _checked(self, sent: OutgoingRequest, answer: Any) -> CompletedCall | None:
        """Check one answer. What took no place leaves the request outstanding; what contradicts the
        records halts its lane.
        """
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            error = _error(answer["error"]).by(
                RefusedBy(Refuser.PEER, sent.trade.agreement.provider)
            )
            if isinstance(error, Conflict):
                return CompletedCall.conflict(sent, error, answer)
            _fail(sent, NoAnswer(error))
            return None
        try:
            if isinstance(answer, dict) and "void" in answer:
                return self._checked_void(sent, answer)
            return self._checked_receipt(sent, answer)
        except (QiaolianError, ValueError, TypeError, KeyError, AttributeError) as error:
            ours = (
                error
                if isinstance(error, QiaolianError)
                else Conflict("answer_malformed", "The answer cannot be read.")
            )
            return CompletedCall.conflict(sent, ours, answer)

    def _checked_receipt(self, sent: OutgoingRequest, answer: Mapping[str, Any]) -> CompletedCall:
        trade, lane = sent.trade, sent.lane
        receipt = UsageReceipt.from_json(answer["receipt"])
        receipt_hash, signature = receipt.struct_hash(), schema.signature(answer["signature"])
        if recover(self._buyer.digest(receipt_hash), signature) != trade.agreement.provider_key:
            raise Conflict(
                "wrong_signer", "The receipt is not signed by the key the agreement pins."
            )
        rules.require_receipt(trade.agreement, lane.head, sent.request, sent.request_hash, receipt)
        served = receipt.outcome == UsageOutcome.SERVED
        content = answer["content"] if served else None
        if served:
            salt = schema.salt(answer["salt"])
            canonical = dumps(content)
            if commit_bytes(salt, RESPONSE_DOMAIN, canonical) != receipt.response_commitment:
                raise Conflict("response_differs", "The answer is not what the receipt commits to.")
            if rules.units_of(trade.agreement.unit, canonical) != receipt.units:
                raise Conflict(
                    "receipt_wrong_amount",
                    "The receipt meters another amount than the answer holds.",
                )
        status = CallStatus.SERVED if served else CallStatus.REFUSED
        values = {
            "status": status,
            "reason": receipt.reason,
            "receipt": _dumps(answer["receipt"]),
            "receipt_hash": receipt_hash,
            "receipt_signature": signature,
            "answer": _dumps({"content": content, "salt": answer["salt"]}) if served else None,
            "units": receipt.total_units,
            "amount": receipt.total_amount,
            "void": None,
            "void_signature": None,
        }
        result = CallResult(
            key=sent.key,
            agreement_id=trade.agreement_id,
            lane=lane.number,
            seq=receipt.seq,
            status=status,
            reason=receipt.reason,
            content=content,
            units=receipt.units,
            amount=receipt.amount,
            receipt=receipt_hash,
        )
        return CompletedCall(sent, values, rules.state_after(receipt, receipt_hash), result)

    def _checked_void(self, sent: OutgoingRequest, answer: Mapping[str, Any]) -> CompletedCall:
        trade, lane = sent.trade, sent.lane
        void, signature = (
            ReceiptVoid.from_json(answer["void"]),
            schema.signature(answer["signature"]),
        )
        if (
            recover(self._buyer.digest(void.struct_hash()), signature)
            != trade.agreement.provider_key
        ):
            raise Conflict("wrong_signer", "The void is not signed by the key the agreement pins.")
        rules.require_void(sent.request, void)
        values = {
            "status": CallStatus.VOID,
            "reason": void.reason,
            "receipt": None,
            "receipt_hash": void.receipt,
            "receipt_signature": None,
            "answer": None,
            "units": lane.head.units,
            "amount": lane.head.amount,
            "void": _dumps(answer["void"]),
            "void_signature": signature,
        }
        result = CallResult(
            key=sent.key,
            agreement_id=trade.agreement_id,
            lane=lane.number,
            seq=void.seq,
            status=CallStatus.VOID,
            reason=void.reason,
            content=None,
            units=0,
            amount=0,
            receipt=void.receipt,
        )
        return CompletedCall(
            sent, values, rules.state_after_void(lane.head, void.receipt, sent.request_hash), result
        )


@dataclass
class CompletedCall:
    """A checked answer, to be stored and then told."""

    sent: OutgoingRequest
    values: dict[str, Any]
    head: LaneState | None
    """The lane's new head; None when the answer halts it."""
    result: CallResult | QiaolianError

    @classmethod
    def conflict(cls, sent: OutgoingRequest, error: QiaolianError, answer: Any) -> CompletedCall:
        """An answer that contradicts the books: kept word for word, and the lane halts."""
        values = {
            "status": CallStatus.CONFLICT,
            "reason": error.code[:31],
            "receipt": None,
            "receipt_hash": None,
            "receipt_signature": None,
            "answer": _dumps(answer),
            "units": sent.lane.head.units,
            "amount": sent.lane.head.amount,
            "void": None,
            "void_signature": None,
        }
        error.context["idempotencyKey"] = sent.key
        return cls(sent, values, None, error)

    def apply(self) -> None:
        """Move the lane and answer the caller."""
        lane, done = self.sent.lane, self.sent.done
        if lane.outstanding is not self.sent:
            return
        if self.head is None:
            lane.halted = str(self.values["reason"])
        else:
            lane.head, lane.outstanding = self.head, None
        if done is None or done.done():
            return
        if isinstance(self.result, CallResult):
            done.set_result(self.result)
        else:
            done.set_exception(self.result)


_STORE = PreparedStatement(
    sa.update(BUYER)
    .where(
        BUYER.c.agreement_id == sa.bindparam("in_agreement"),
        BUYER.c.lane == sa.bindparam("in_lane"),
        BUYER.c.seq == sa.bindparam("in_seq"),
    )
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "status",
                "reason",
                "receipt",
                "receipt_hash",
                "receipt_signature",
                "answer",
                "units",
                "amount",
                "void",
                "void_signature",
            )
        }
    )
)


def _store_completed(session: Session, finished: Sequence[CompletedCall]) -> None:
    rows = [
        {
            "in_agreement": call.sent.trade.agreement_id,
            "in_lane": call.sent.lane.number,
            "in_seq": call.sent.request.seq,
            **call.values,
        }
        for call in finished
    ]
    _STORE.execute(session, rows)


def result_of(row: Any) -> CallResult:
    """A stored call's result.

    Raises:
        CallOutstanding: it has none; Conflict: the code for which its lane halted.
    """
    key = row.idempotency_key or ""
    if row.status == CallStatus.ASKED:
        raise CallOutstanding(key, Unavailable("not_answered", "The provider was not asked again."))
    if row.status == CallStatus.CONFLICT:
        raise Conflict(
            row.reason,
            "The call's answer contradicts this node's records; nothing is acknowledged for it.",
            hint="The statements of both sides are kept; ask the arbiter or the supervisor.",
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
        receipt=row.receipt_hash,
    )


def _fail(sent: OutgoingRequest, error: BaseException) -> None:
    if sent.done is not None and not sent.done.done():
        sent.done.set_exception(error)


def _no_answer(error: BaseException) -> BaseException:
    """What became of a request by a failed exchange; what this process did not expect is logged
    here.
    """
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
    """The requests of the next exchange, which every node takes as one body, and those left."""
    size = 0
    for count, sent in enumerate(ready):
        size += len(sent.wire) if sent.wire.isascii() else len(sent.wire.encode())
        if count == MAX_EXCHANGE_REQUESTS or (count and size > _BODY_BYTES):
            return list(ready[:count]), list(ready[count:])
    return list(ready), []


def _is_outstanding(lane: BuyerLane, known: Any) -> bool:
    """Whether a call's request is the lane's unanswered one."""
    return (
        lane.outstanding is not None
        and lane.outstanding.request.seq == known.seq
        and not lane.halted
    )


def _store_withdrawals(session: Session, batch: Sequence[OutgoingRequest], *, at: int) -> None:
    """Withdrawals beside their requests, and in the log the first time."""
    for sent in batch:
        withdrawal = sent.withdrawal
        assert withdrawal is not None
        values = {
            "withdrawal": withdrawal.text,
            "withdrawal_signature": withdrawal.signature,
            "withdrawn_by": withdrawal.by,
        }
        here = (
            BUYER.c.agreement_id == sent.trade.agreement_id,
            BUYER.c.lane == sent.lane.number,
            BUYER.c.seq == sent.request.seq,
        )
        session.execute(sa.update(BUYER).where(*here).values(**values))
        append_if_missing(session, kind="RequestWithdrawal", digest=withdrawal.digest, at=at)


def _set_withdrawn_by_caller(session: Session, key: str) -> None:
    session.execute(
        sa.update(BUYER).where(BUYER.c.idempotency_key == key).values(withdrawn_by=BY_CALLER)
    )


async def _uncancelled(work: Awaitable[T]) -> T:
    """A call is carried to its end even if its caller goes away: its lane must not move on under an
    exchange.
    """
    return await asyncio.shield(asyncio.ensure_future(work))


def _error(value: Mapping[str, Any]) -> QiaolianError:
    status = value.get("status")
    kind = _BY_STATUS.get(status, Unavailable) if isinstance(status, int) else Unavailable
    code, sentence, hint = (
        printable(str(value.get(name, ""))[:500]) for name in ("code", "detail", "hint")
    )
    return kind(code[:64], sentence, hint=hint)


def _wire(request: str, signature: bytes, beside: str) -> str:
    """A request as it goes over the line, of the texts that are stored."""
    return f'{{"request":{request},"signature":"0x{signature.hex()}",{beside[1:]}'


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
