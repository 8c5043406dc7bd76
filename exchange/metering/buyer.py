"""The buyer's side of the call protocol.

The organisation's own systems say whom and what they ask; this side signs the request and stores it *before* sending, checks the receipt and
the answer, stores both, and only then answers. The next request acknowledges. A request left open by a crash is sent again, byte for byte, before
its lane is used for anything else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.canonical import dumps, loads
from chain.commitment import commit, new_salt
from chain.context import Context
from chain.crypto import recover
from chain.errors import BadInput, Conflict, Forbidden, NotFound, Unavailable
from chain.statements import Outcome, ReceiptVoid, Unit, UsageReceipt, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.metering.rules import (
    CONSENT_PURPOSES,
    REQUEST_DOMAIN,
    Lane,
    require_receipt,
    require_response,
    require_void,
)
from exchange.metering.store import ClosingVoucher, MadeCall
from registry.credit import service as credit
from registry.evidence.service import append

REQUEST_SECONDS = 60
BYTES_PER_CALL = 4_096


@dataclass(frozen=True)
class Query:
    """What a system asks: one subject's columns for a purpose, under an agreement."""

    agreement_id: bytes
    subject: str
    columns: tuple[str, ...]
    purpose: str
    consent: bytes | None = None
    """The consent's commitment, where the purpose needs one."""

    def content(self) -> dict[str, Any]:
        """What the request commits to."""
        return {"subject": self.subject, "columns": list(self.columns), "purpose": self.purpose}

    def hash(self) -> bytes:
        """Tells a repeated idempotency key with another query apart."""
        consent = "" if self.consent is None else self.consent.hex()
        return hashlib.sha256(dumps([self.agreement_id.hex(), self.content(), consent])).digest()


@dataclass
class _LaneState:
    number: int
    lane: Lane
    open: MadeCall | None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class _Book:
    terms: agreements.Terms
    lanes: list[_LaneState]
    turn: int = 0

    def next_lane(self) -> _LaneState:
        """A free lane if there is one, else the next in turn."""
        for each in self.lanes:
            if not each.lock.locked():
                return each
        self.turn = (self.turn + 1) % len(self.lanes)
        return self.lanes[self.turn]


class Buyer:
    """Makes metered calls for one buyer node."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._books: dict[bytes, _Book] = {}
        self._keys: dict[str, asyncio.Lock] = {}
        self._domain = context.domain("TradeSettlement")

    async def call(self, query: Query, *, idempotency_key: str | None = None) -> dict[str, Any]:
        """One metered call; the record with its receipt.

        Raises:
            Forbidden: with the refusal's code when the provider refused (unbilled); Conflict: ``idempotency_key_reused``;
            Unavailable: ``peer_unreachable`` with the request kept open, so the same key may be sent again.
        """
        if idempotency_key is None:
            return await self._call(query, None)
        lock = self._keys.setdefault(idempotency_key, asyncio.Lock())
        try:
            async with lock:
                known = await asyncio.to_thread(self._known, idempotency_key)
                if known is not None:
                    return await self._repeat(known, query)
                return await self._call(query, idempotency_key)
        finally:
            if not lock.locked():
                self._keys.pop(idempotency_key, None)

    async def _call(self, query: Query, key: str | None) -> dict[str, Any]:
        book = await self._book(query.agreement_id)
        consent = await self._consent(query)
        state = book.next_lane()
        async with state.lock:
            if state.open is not None:
                await self._finish(book, state, state.open)
            made = self._request(book, state, query, consent, key)
            await self._context.database.awrite(lambda session: session.execute(sa.insert(MadeCall).values(**made)))
            state.open = MadeCall(**made)
            return _shown(await self._finish(book, state, state.open))

    async def _repeat(self, known: MadeCall, query: Query) -> dict[str, Any]:
        if known.query_hash != query.hash():
            raise Conflict(
                "idempotency_key_reused", "This Idempotency-Key stands for another query.", hint="Use a fresh key."
            )
        if known.receipt is None:
            book = await self._book(known.agreement_id)
            state = book.lanes[known.lane]
            async with state.lock:
                if state.open is not None and state.open.seq == known.seq:
                    known = await self._finish(book, state, state.open)
                else:
                    known = await asyncio.to_thread(self._reread, known)
        return _shown(known)

    async def _finish(self, book: _Book, state: _LaneState, made: MadeCall) -> MadeCall:
        """Send a stored request (again), check what comes back, store it, move the lane."""
        provider = book.terms.agreement.provider
        answers = await self._context.peers.post(provider, "/v1/peer/calls", {"calls": [loads(made.sent)]})
        answer = answers["answers"][0]
        if "error" in answer:
            raise Unavailable(
                "provider_" + answer["error"]["code"],
                "The provider gave the request no place: " + answer["error"]["sentence"],
                hint="Compare both sides' books with the supervisor's reconciliation.",
            )
        request = UsageRequest.from_json(loads(made.request))
        receipt = UsageReceipt.from_json(answer["receipt"])
        signature = bytes.fromhex(answer["signature"][2:])
        provider_key = book.terms.agreement.provider_key
        if recover(receipt.digest(self._domain), signature) != provider_key:
            raise Conflict("receipt_wrong", "The receipt is not signed by the agreement's provider key.")
        require_receipt(receipt, request, state.lane, book.terms.agreement)
        values: dict[str, Any] = {
            "receipt": dumps(receipt.to_json()),
            "receipt_signature": signature,
            "outcome": receipt.outcome,
            "answer": None,
        }
        lane = state.lane.after(receipt)
        if "void" in answer:
            void = ReceiptVoid.from_json(answer["void"])
            void_signature = bytes.fromhex(answer["voidSignature"][2:])
            if recover(void.digest(self._domain), void_signature) != provider_key:
                raise Conflict("void_wrong", "The void is not signed by the agreement's provider key.")
            require_void(void, receipt)
            values |= {"void": dumps(void.to_json()), "void_signature": void_signature}
            lane = lane.without(receipt)
        elif receipt.outcome == Outcome.SERVED:
            salt = bytes.fromhex(answer["salt"][2:])
            require_response(receipt, salt=salt, content=answer["content"])
            values["answer"] = dumps({"content": answer["content"], "salt": answer["salt"]})
        await self._context.database.awrite(lambda session: self._store(session, made, values, request))
        for name, value in values.items():
            setattr(made, name, value)
        state.lane, state.open = lane, None
        return made

    def _store(self, session: Session, made: MadeCall, values: Mapping[str, Any], request: UsageRequest) -> None:
        session.execute(
            sa.update(MadeCall)
            .where(MadeCall.agreement_id == made.agreement_id, MadeCall.lane == made.lane, MadeCall.seq == made.seq)
            .values(**values)
        )
        append(session, kind="UsageRequest", digest=request.digest(self._domain), at=self._context.now())

    def _request(
        self, book: _Book, state: _LaneState, query: Query, consent: Mapping[str, Any] | None, key: str | None
    ) -> dict[str, Any]:
        agreement, salt, content = book.terms.agreement, new_salt(), query.content()
        units = BYTES_PER_CALL if agreement.unit == Unit.BYTE else 1
        request = UsageRequest(
            version=1,
            agreement_id=query.agreement_id,
            lane=state.number,
            seq=state.lane.seq + 1,
            max_units=units,
            max_amount=agreement.price * units,
            acknowledged_units=state.lane.units,
            acknowledged_amount=state.lane.amount,
            previous_receipt=state.lane.receipt,
            request_commitment=commit(salt, REQUEST_DOMAIN, content),
            expiry=self._context.now() + REQUEST_SECONDS,
        )
        signature = self._context.sign(request)
        sent = {
            "request": request.to_json(),
            "signature": "0x" + signature.hex(),
            "query": content,
            "salt": "0x" + salt.hex(),
            "consent": consent,
        }
        return {
            "agreement_id": query.agreement_id,
            "lane": state.number,
            "seq": request.seq,
            "idempotency_key": key,
            "query_hash": query.hash(),
            "request": dumps(request.to_json()),
            "request_signature": signature,
            "sent": dumps(sent),
        }

    async def close_lanes(self, agreement_id: bytes) -> list[dict[str, Any]]:
        """Acknowledge every lane with a closing voucher and hand the vouchers to the provider."""
        book = await self._book(agreement_id)
        made = []
        for state in book.lanes:
            async with state.lock:
                if state.open is not None:
                    await self._finish(book, state, state.open)
                if state.lane.seq == 0:
                    continue
                voucher = Voucher(
                    version=1,
                    agreement_id=agreement_id,
                    lane=state.number,
                    seq=state.lane.seq,
                    acknowledged_units=state.lane.units,
                    acknowledged_amount=state.lane.amount,
                    receipt=state.lane.receipt,
                )
                made.append(await self._send_voucher(book, voucher))
        return made

    async def _send_voucher(self, book: _Book, voucher: Voucher) -> dict[str, Any]:
        signature = self._context.sign(voucher)
        row = {
            "agreement_id": voucher.agreement_id,
            "lane": voucher.lane,
            "seq": voucher.seq,
            "voucher": dumps(voucher.to_json()),
            "signature": signature,
        }

        def change(session: Session) -> None:
            session.merge(ClosingVoucher(**row))
            append(session, kind="Voucher", digest=voucher.digest(self._domain), at=self._context.now())

        await self._context.database.awrite(change)
        body = {"voucher": voucher.to_json(), "signature": "0x" + signature.hex()}
        await self._context.peers.post(book.terms.agreement.provider, "/v1/peer/vouchers", body)
        return body

    async def _consent(self, query: Query) -> Mapping[str, Any] | None:
        if query.purpose not in CONSENT_PURPOSES or query.consent is None:
            return None
        return await asyncio.to_thread(credit.held_package, self._context, query.consent)

    async def _book(self, agreement_id: bytes) -> _Book:
        book = self._books.get(agreement_id)
        if book is None:
            book = await asyncio.to_thread(self._open_book, agreement_id)
            book = self._books.setdefault(agreement_id, book)
        return book

    def _open_book(self, agreement_id: bytes) -> _Book:
        terms = agreements.load(self._context, agreement_id)
        if terms.agreement.buyer != self._context.member:
            raise Forbidden("agreement_of_others", "This node is not the agreement's buyer.")
        with self._context.database.read() as session:
            lanes = [self._open_lane(session, agreement_id, n) for n in range(terms.agreement.lanes)]
        return _Book(terms, lanes)

    def _open_lane(self, session: Session, agreement_id: bytes, lane: int) -> _LaneState:
        rows = list(
            session.scalars(
                sa.select(MadeCall)
                .where(MadeCall.agreement_id == agreement_id, MadeCall.lane == lane)
                .order_by(MadeCall.seq.desc())
                .limit(2)
            )
        )
        waiting = rows[0] if rows and rows[0].receipt is None else None
        finished = [row for row in rows if row.receipt is not None]
        return _LaneState(lane, lane_after(finished[0] if finished else None), waiting)

    def _known(self, key: str) -> MadeCall | None:
        with self._context.database.read() as session:
            return session.scalars(sa.select(MadeCall).where(MadeCall.idempotency_key == key)).first()

    def _reread(self, made: MadeCall) -> MadeCall:
        with self._context.database.read() as session:
            row = session.get(MadeCall, (made.agreement_id, made.lane, made.seq))
        if row is None or row.receipt is None:
            raise NotFound("call_unknown", "The call is not finished.")
        return row


def lane_after(last: MadeCall | None) -> Lane:
    """A lane's books from its last finished place."""
    if last is None or last.receipt is None:
        return Lane()
    receipt = UsageReceipt.from_json(loads(last.receipt))
    lane = Lane().after(receipt)
    return lane.without(receipt) if last.void is not None else lane


def _shown(made: MadeCall) -> dict[str, Any]:
    """A finished call as the system that asked sees it; a refusal is raised with its code."""
    if made.receipt is None:
        raise NotFound("call_unknown", "The call is not finished.")
    receipt = loads(made.receipt)
    if made.void is not None:
        reason = loads(made.void)["reason"].replace("-", "_")
        raise Forbidden(reason, "The provider withdrew the answer; nothing is owed.", receipt=receipt)
    if made.outcome != Outcome.SERVED or made.answer is None:
        raise Forbidden(
            receipt["reason"].replace("-", "_"), "The provider refused; nothing is owed.", hint="", receipt=receipt
        )
    return {
        "callId": f"0x{made.agreement_id.hex()}/{made.lane}/{made.seq}",
        "record": loads(made.answer)["content"]["record"],
        "receipt": receipt,
    }


def require_key(key: str | None) -> str | None:
    """The form of an Idempotency-Key; ``idempotency_key_malformed``."""
    if key is not None and not 1 <= len(key) <= 200:
        raise BadInput("idempotency_key_malformed", "An Idempotency-Key has 1 to 200 characters.")
    return key
