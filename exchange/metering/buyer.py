"""The buyer's side: turns a query of the organisation's own systems into a request, an answer and their proofs.

A call takes the next place of a lane (one request under way in each). Calls to the same provider that are ready at the same moment travel together:
one commit makes their requests durable, one exchange carries them, one commit keeps what came back; then each is answered. A request that
was stored and not answered is sent again with the same bytes, before its lane takes another, also after a restart.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chain.commitment import commit, new_salt, opens
from chain.context import Context
from chain.crypto import keccak256, recover
from chain.database import Prepared
from chain.eip712 import domain_separator
from chain.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    QiaolianError,
    Unauthorised,
    Unavailable,
)
from chain.statements import Agreement, KeyPurpose, Outcome, ReceiptVoid, UsageReceipt, UsageRequest
from exchange.agreements import service as agreements
from exchange.agreements.model import Side
from exchange.metering import consents, rules
from exchange.metering.abreast import require_abreast
from exchange.metering.model import REQUEST_DOMAIN, RESPONSE_DOMAIN, CallResult, Ending, Head, Query
from exchange.metering.recovery import require_recovered
from exchange.metering.store import BUYER, head_of, heads, is_final, keep_voucher, place, voucher_row
from registry.evidence.service import append, append_all

CONTRACT = "TradeSettlement"
REQUEST_SECONDS = 120
"""A request's expiry: how long its first service may take."""
PATIENCE_SECONDS = 15.0
"""How long a call keeps asking a provider that cannot be reached before its caller is told; the request stays stored."""
MOST_PER_EXCHANGE = 64
EXCHANGES_AT_ONCE = 2
_BY_STATUS: dict[int, type[QiaolianError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: BadInput,
    503: Unavailable,
}


@dataclass
class Lane:
    """One lane in memory."""

    number: int
    head: Head = field(default_factory=Head)
    outstanding: Sent | None = None
    """A stored request without an answer."""
    halted: str = ""
    """The code of what contradicted the books here; such a lane takes no more calls."""
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Trade:
    """One agreement in memory."""

    agreement_id: bytes
    agreement: Agreement
    lanes: list[Lane]
    final: bool = False
    """Whether this side signed the final totals: nothing more is asked for."""


@dataclass
class Sent:
    """One stored (or about to be stored) request."""

    trade: Trade
    lane: Lane
    request: UsageRequest
    request_hash: bytes
    wire: str
    row: dict[str, Any] | None
    """What is still to be stored; None once it is durable."""
    done: asyncio.Future[CallResult] | None = None


class Buyer:
    """All lanes of a node that buys. One for each running node; belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.separator = domain_separator(context.domain(CONTRACT))
        self._trades: dict[bytes, Trade] = {}
        self._couriers: dict[str, _Courier] = {}
        self._under_way: dict[str, asyncio.Task[CallResult]] = {}
        self._loading = asyncio.Lock()

    @classmethod
    def of(cls, context: Context) -> Buyer:
        """The node's buyer."""
        buyer: Buyer | None = context.ports.get("exchange.buyer")
        if buyer is None:
            buyer = context.ports["exchange.buyer"] = cls(context)
        return buyer

    async def call(self, agreement_id: bytes, query: Query, idempotency_key: str | None) -> CallResult:
        """Make a metered call; the same key with the same query gives the same result, whatever happened in between.

        Raises:
            NotFound: ``unknown_agreement``, ``consent_unknown``; Forbidden: ``not_buyer``;
            Conflict: ``idempotency_key_reused``, ``lane_halted``;
            Unavailable: ``peer_unreachable``, ``peer_timeout``, ``chain_view_stale`` (the request is kept; ask again with the same key).
        """
        if idempotency_key is None:
            return await asyncio.shield(asyncio.ensure_future(self._fresh(agreement_id, query, None)))
        task = self._under_way.get(idempotency_key)
        if task is None:
            task = asyncio.ensure_future(self._once(agreement_id, query, idempotency_key))
            self._under_way[idempotency_key] = task
            task.add_done_callback(lambda _: self._under_way.pop(idempotency_key, None))
        else:
            await asyncio.wait([task])
            return await self._once(agreement_id, query, idempotency_key)
        return await asyncio.shield(task)

    async def settle_outstanding(self, agreement_id: bytes) -> None:
        """Ask again for everything stored and unanswered of an agreement."""
        trade = await self.trade(agreement_id)
        for lane in trade.lanes:
            async with lane.lock:
                await self._settle(lane)

    @asynccontextmanager
    async def finished(self, agreement_id: bytes) -> AsyncIterator[Trade]:
        """Hold every lane of an agreement with nothing outstanding: no request is made until the block ends."""
        trade = await self.trade(agreement_id)
        async with AsyncExitStack() as stack:
            for lane in trade.lanes:
                await stack.enter_async_context(lane.lock)
                await self._settle(lane)
            yield trade

    async def close_lanes(self, agreement_id: bytes) -> list[dict[str, Any]]:
        """Sign and store a closing voucher for every used lane; what is to be sent to the provider."""
        trade = await self.trade(agreement_id)
        made = []
        for lane in trade.lanes:
            async with lane.lock:
                await self._settle(lane)
                if lane.head.seq:
                    made.append(await self._voucher(agreement_id, lane))
        return made

    async def _voucher(self, agreement_id: bytes, lane: Lane) -> dict[str, Any]:
        voucher = rules.closing_voucher(agreement_id, lane.number, lane.head)
        digest = self.digest(voucher.struct_hash())
        signature = self.context.signers[KeyPurpose.STATEMENT].sign_digest(digest)

        def change(session: Session) -> None:
            keep_voucher(session, voucher_row(voucher, signature))
            append(session, kind="Voucher", digest=digest, at=self.context.now())

        await self.context.database.awrite(change)
        return {"voucher": voucher.to_json(), "signature": "0x" + signature.hex()}

    # --- one call ------------------------------------------------------------------------------------------------------------

    async def _once(self, agreement_id: bytes, query: Query, key: str) -> CallResult:
        """A call under a key: what is known of it, else a fresh one."""
        if not self.context.database.ask(_IS_KNOWN, {"key": key}):
            return await self._fresh(agreement_id, query, key)
        known = self._find(key)
        if known.agreement_id != agreement_id or json.loads(known.query)["query"] != query.to_json():
            raise Conflict("idempotency_key_reused", "The key stands for another call.", hint="Use a new key.")
        if known.ending == Ending.ASKED:
            trade = await self.trade(agreement_id)
            lane = trade.lanes[known.lane]
            async with lane.lock:
                await self._settle(lane)
            known = self._find(key)
        return result_of(known)

    async def _fresh(self, agreement_id: bytes, query: Query, key: str | None) -> CallResult:
        trade = self._trades.get(agreement_id) or await self.trade(agreement_id)
        rules.require_not_final(trade.final)
        consent = consents.package_for(self.context, query)
        usable = [lane for lane in trade.lanes if not lane.halted]
        if not usable:
            raise Conflict(
                "lane_halted",
                "The provider's answers contradict this node's books in every lane.",
                hint="The statements of both sides are kept; ask the arbiter or the supervisor.",
            )
        lane = min(usable, key=lambda each: each.waiting)
        lane.waiting += 1
        try:
            async with lane.lock:
                await self._settle(lane)
                if lane.halted:
                    raise Conflict("lane_halted", "The provider's answers contradict this node's books in this lane.")
                rules.require_not_final(trade.final)
                lane.outstanding = self._signed(trade, lane, query, consent, key)
                return await self._ask(lane)
        finally:
            lane.waiting -= 1

    def _signed(self, trade: Trade, lane: Lane, query: Query, consent: str | None, key: str | None) -> Sent:
        """The request for the lane's next place, signed; nothing of it is durable yet."""
        now, salt, asked = self.context.now(), new_salt(), query.to_json()
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
        signature = self.context.signers[KeyPurpose.STATEMENT].sign_digest(self.digest(request_hash))
        request_text = _dumps(request.to_json())
        beside = f'{{"query":{_dumps(asked)},"salt":"0x{salt.hex()}","consent":{consent or "null"}}}'
        row = {
            "agreement_id": trade.agreement_id,
            "lane": lane.number,
            "seq": request.seq,
            "idempotency_key": key,
            "ending": Ending.ASKED.value,
            "reason": "",
            "request": request_text,
            "request_hash": request_hash,
            "request_signature": signature,
            "query": beside,
            "units": lane.head.units,
            "amount": lane.head.amount,
            "asked_at": now,
        }
        return Sent(trade, lane, request, request_hash, _wire(request_text, signature, beside), row)

    async def _settle(self, lane: Lane) -> None:
        """Finish what an earlier call, or an earlier process, left unanswered in this lane."""
        if lane.outstanding is not None and not lane.halted:
            await self._ask(lane)

    async def _ask(self, lane: Lane) -> CallResult:
        """Send the lane's request until it is answered or patience ends."""
        sent = lane.outstanding
        assert sent is not None
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, 0.05
        courier = self._courier(sent.trade.agreement.provider)
        while True:
            try:
                return await courier.carry(sent)
            except Unavailable:
                if sent.row is not None:
                    # Not even stored: as if it had never been asked.
                    lane.outstanding = None
                    raise
                if time.monotonic() + pause > deadline:
                    raise
            except IntegrityError as error:
                lane.outstanding = None
                raise Conflict("idempotency_key_reused", "The key stands for another call.") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _courier(self, provider: str) -> _Courier:
        found = self._couriers.get(provider)
        if found is None:
            found = self._couriers[provider] = _Courier(self, provider)
        return found

    # --- state ---------------------------------------------------------------------------------------------------------------

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed of a statement of the settlement contract."""
        return keccak256(b"\x19\x01" + self.separator + struct_hash)

    async def trade(self, agreement_id: bytes) -> Trade:
        """An agreement this node buys under; ``unknown_agreement``, ``not_buyer``, ``agreement_not_open``, ``lane_behind_provider``,
        ``agreement_unrecovered``."""
        found = self._trades.get(agreement_id)
        if found is not None:
            return found
        async with self._loading:
            found = self._trades.get(agreement_id)
            if found is None:
                found = await asyncio.to_thread(self._load, agreement_id)
                last = {lane.number: lane.outstanding.request.seq if lane.outstanding else lane.head.seq for lane in found.lanes}
                await require_abreast(self.context, agreement_id, found.agreement, last=last, digest=self.digest)
                self._trades[agreement_id] = found
        return found

    def _load(self, agreement_id: bytes) -> Trade:
        signed = agreements.load(self.context, agreement_id)
        if signed.side != Side.BUYER:
            raise Forbidden("not_buyer", "This organisation is not the agreement's buyer.")
        if not agreements.proved_state(self.context, agreement_id).opened_at:
            raise Conflict("agreement_not_open", "The agreement is not open on the chain yet.", hint="Wait for its opening.")
        trade = Trade(agreement_id, signed.agreement, [Lane(number) for number in range(signed.agreement.lanes)])
        with self.context.database.read() as session:
            require_recovered(session, agreement_id)
            trade.final = is_final(session, agreement_id)
            for number, row in heads(session, BUYER, agreement_id).items():
                self._restore(session, trade, trade.lanes[number], row)
        return trade

    def _restore(self, session: Session, trade: Trade, lane: Lane, row: sa.Row[Any]) -> None:
        """A lane as the last process left it."""
        if row.ending not in (Ending.ASKED, Ending.CONFLICT):
            lane.head = head_of(row)
            return
        before = place(session, BUYER, trade.agreement_id, lane.number, row.seq - 1)
        lane.head = head_of(before) if before is not None else Head()
        request, wire = UsageRequest.from_json(json.loads(row.request)), _wire(row.request, row.request_signature, row.query)
        lane.outstanding = Sent(trade, lane, request, row.request_hash, wire, None)
        if row.ending == Ending.CONFLICT:
            lane.halted = row.reason

    def _find(self, key: str) -> Any:
        with self.context.database.engine.connect() as connection:
            return connection.execute(_BY_KEY, {"key": key}).one()


_INSERT = Prepared(sa.insert(BUYER))
_BY_KEY = sa.select(BUYER).where(BUYER.c.idempotency_key == sa.bindparam("key"))
_IS_KNOWN = Prepared(sa.select(BUYER.c.seq).where(BUYER.c.idempotency_key == sa.bindparam("key")))


class _Courier:
    """Carries the requests for one provider: whatever is ready travels together."""

    def __init__(self, buyer: Buyer, provider: str) -> None:
        self._buyer = buyer
        self._context = buyer.context
        self._provider = provider
        self._ready: list[Sent] = []
        self._active = 0
        self._working: set[asyncio.Future[None]] = set()

    def carry(self, sent: Sent) -> asyncio.Future[CallResult]:
        """The future result of a request."""
        sent.done = asyncio.get_running_loop().create_future()
        self._ready.append(sent)
        if self._active < EXCHANGES_AT_ONCE:
            self._active += 1
            task = asyncio.ensure_future(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return sent.done

    async def _work(self) -> None:
        try:
            while self._ready:
                batch, self._ready = self._ready[:MOST_PER_EXCHANGE], self._ready[MOST_PER_EXCHANGE:]
                try:
                    await self._exchange(batch)
                except BaseException as error:
                    for sent in batch:
                        _fail(sent, error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._active -= 1

    async def _exchange(self, batch: Sequence[Sent]) -> None:
        await self._store(batch)
        body = '{"requests":[' + ",".join([sent.wire for sent in batch]) + "]}"
        answer = await self._context.peers.post(self._provider, "/v1/peer/calls", body.encode())
        answers = answer.get("answers") if isinstance(answer, dict) else None
        if not isinstance(answers, list) or len(answers) != len(batch):
            raise Unavailable("peer_bad_answer", "The provider's node did not answer every request.")
        checked = [self._checked(sent, each) for sent, each in zip(batch, answers, strict=True)]
        finished = [each for each in checked if each is not None]
        if finished:
            await self._context.database.awrite(lambda session: _keep(session, finished))
        for each in finished:
            each.settle()

    async def _store(self, batch: Sequence[Sent]) -> None:
        """Make the requests durable before the first byte leaves."""
        fresh = [sent for sent in batch if sent.row is not None]
        if not fresh:
            return
        rows = [sent.row for sent in fresh if sent.row is not None]
        said = [("UsageRequest", self._buyer.digest(sent.request_hash)) for sent in fresh]
        now = self._context.now()

        def change(session: Session) -> None:
            _INSERT.run(session, rows)
            append_all(session, said, at=now)

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
            raise Unavailable("request_not_stored", "A neighbour's key was used twice; the rest is asked again.") from None
        for sent in fresh:
            sent.row = None

    def _checked(self, sent: Sent, answer: Any) -> Finished | None:
        """Check one answer. What took no place fails its call; what contradicts the books halts its lane."""
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            error = _error(answer["error"])
            if isinstance(error, Conflict):
                return Finished.conflict(sent, error, answer)
            _fail(sent, error)
            return None
        try:
            if isinstance(answer, dict) and "void" in answer:
                return self._checked_void(sent, answer)
            return self._checked_receipt(sent, answer)
        except (QiaolianError, ValueError, TypeError, KeyError, AttributeError) as error:
            ours = error if isinstance(error, QiaolianError) else Conflict("answer_malformed", "The answer cannot be read.")
            return Finished.conflict(sent, ours, answer)

    def _checked_receipt(self, sent: Sent, answer: Mapping[str, Any]) -> Finished:
        trade, lane = sent.trade, sent.lane
        receipt = UsageReceipt.from_json(answer["receipt"])
        receipt_hash, signature = receipt.struct_hash(), bytes.fromhex(answer["signature"][2:])
        if recover(self._buyer.digest(receipt_hash), signature) != trade.agreement.provider_key:
            raise Conflict("wrong_signer", "The receipt is not signed by the key the agreement pins.")
        rules.require_receipt(trade.agreement, lane.head, sent.request, sent.request_hash, receipt)
        served = receipt.outcome == Outcome.SERVED
        content = answer["content"] if served else None
        if served:
            salt = bytes.fromhex(answer["salt"][2:])
            if not opens(receipt.response_commitment, salt=salt, domain=RESPONSE_DOMAIN, record=content):
                raise Conflict("response_differs", "The answer is not what the receipt commits to.")
            if rules.units_of(trade.agreement.unit, content) != receipt.units:
                raise Conflict("receipt_wrong_amount", "The receipt meters another amount than the answer holds.")
        ending = Ending.SERVED if served else Ending.REFUSED
        values = {
            "ending": ending,
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
            agreement_id=trade.agreement_id,
            lane=lane.number,
            seq=receipt.seq,
            ending=ending,
            reason=receipt.reason,
            content=content,
            units=receipt.units,
            amount=receipt.amount,
            receipt=receipt_hash,
        )
        return Finished(sent, values, rules.after(receipt, receipt_hash), result)

    def _checked_void(self, sent: Sent, answer: Mapping[str, Any]) -> Finished:
        trade, lane = sent.trade, sent.lane
        void, signature = ReceiptVoid.from_json(answer["void"]), bytes.fromhex(answer["signature"][2:])
        if recover(self._buyer.digest(void.struct_hash()), signature) != trade.agreement.provider_key:
            raise Conflict("wrong_signer", "The void is not signed by the key the agreement pins.")
        rules.require_void(sent.request, void)
        values = {
            "ending": Ending.VOID,
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
            agreement_id=trade.agreement_id,
            lane=lane.number,
            seq=void.seq,
            ending=Ending.VOID,
            reason=void.reason,
            content=None,
            units=0,
            amount=0,
            receipt=void.receipt,
        )
        return Finished(sent, values, rules.after_void(lane.head, void.receipt, sent.request_hash), result)


@dataclass
class Finished:
    """A checked answer, to be stored and then told."""

    sent: Sent
    values: dict[str, Any]
    head: Head | None
    """The lane's new head; None when the answer halts it."""
    result: CallResult | QiaolianError

    @classmethod
    def conflict(cls, sent: Sent, error: QiaolianError, answer: Any) -> Finished:
        """An answer that contradicts the books: kept word for word, and the lane halts."""
        values = {
            "ending": Ending.CONFLICT,
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
        return cls(sent, values, None, error)

    def settle(self) -> None:
        """Move the lane and answer the caller."""
        lane, done = self.sent.lane, self.sent.done
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


_KEEP = Prepared(
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
                "ending",
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


def _keep(session: Session, finished: Sequence[Finished]) -> None:
    rows = [
        {
            "in_agreement": each.sent.trade.agreement_id,
            "in_lane": each.sent.lane.number,
            "in_seq": each.sent.request.seq,
            **each.values,
        }
        for each in finished
    ]
    _KEEP.run(session, rows)


def result_of(row: Any) -> CallResult:
    """A stored call's result; ``call_outstanding`` while it has none."""
    if row.ending in (Ending.ASKED, Ending.CONFLICT):
        raise Conflict(
            row.reason if row.ending == Ending.CONFLICT else "call_outstanding",
            "The call has no answer that this node could accept.",
            hint="The statements of both sides are kept; ask the arbiter or the supervisor.",
        )
    receipt = UsageReceipt.from_json(json.loads(row.receipt)) if row.receipt else None
    return CallResult(
        agreement_id=row.agreement_id,
        lane=row.lane,
        seq=row.seq,
        ending=Ending(row.ending),
        reason=row.reason,
        content=json.loads(row.answer)["content"] if row.answer else None,
        units=receipt.units if receipt else 0,
        amount=receipt.amount if receipt else 0,
        receipt=row.receipt_hash,
    )


def _fail(sent: Sent, error: BaseException) -> None:
    if sent.done is not None and not sent.done.done():
        sent.done.set_exception(error)


def _error(value: Mapping[str, Any]) -> QiaolianError:
    kind = _BY_STATUS.get(value.get("status", 503), Unavailable)
    return kind(str(value.get("code"))[:64], str(value.get("detail"))[:500], hint=str(value.get("hint", ""))[:500])


def _wire(request: str, signature: bytes, beside: str) -> str:
    """A request as it goes over the line, of the texts that are stored."""
    return f'{{"request":{request},"signature":"0x{signature.hex()}",{beside[1:]}'


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
