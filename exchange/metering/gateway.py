"""The provider's side of the call protocol.

For each request, in this order: authorise (place, signature, acknowledgement, then limits, grant, consent and a fresh chain view), reserve, read the
source, mask, meter, price, and make request and receipt durable *before* answering. Lanes are kept in memory, one lock each, and rebuilt from
the database when the process starts. A retry of the last request gets the same bytes, unless the right is gone: then the receipt is voided.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.canonical import dumps, loads
from chain.commitment import commit, new_salt, opens
from chain.context import Context
from chain.crypto import recover
from chain.eip712 import ZERO32
from chain.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.statements import Operation, Outcome, ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from chain.words import AgreementState
from exchange.agreements import service as agreements
from exchange.agreements.rules import price_of, require_open
from exchange.metering.rules import (
    CONSENT_PURPOSES,
    REQUEST_DOMAIN,
    RESPONSE_DOMAIN,
    Lane,
    metered_units,
    require_fits,
    require_next,
)
from exchange.metering.store import ClosingVoucher, ServedCall
from registry.assets import service as assets
from registry.credit import service as credit
from registry.evidence.service import append
from registry.grants import service as grants
from registry.masking import mask, require_columns

POLICY_VERSION = 1
_STATE_SLOTS = 3
_OPEN_AGREEMENTS = 4_096


@dataclass
class _LaneState:
    lane: Lane
    last: ServedCall | None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class _Book:
    """One agreement at the gateway: its terms, asset, grant, and lanes with what is reserved."""

    terms: agreements.Terms
    grant: grants.LoadedGrant
    asset: assets.Served
    lanes: dict[int, _LaneState]
    reserved_units: int = 0
    reserved_amount: int = 0

    @property
    def units(self) -> int:
        return sum(each.lane.units for each in self.lanes.values()) + self.reserved_units

    @property
    def amount(self) -> int:
        return sum(each.lane.amount for each in self.lanes.values()) + self.reserved_amount


@dataclass(frozen=True)
class Call:
    """One request as it came: the signed statement, what it asks, and the consent it leans on."""

    request: UsageRequest
    signature: bytes
    query: Mapping[str, Any]
    salt: bytes
    consent: Mapping[str, Any] | None

    @classmethod
    def from_json(cls, value: Any) -> Call:
        """Read one item of a peer's body; ``call_malformed``."""
        try:
            return cls(
                request=UsageRequest.from_json(value["request"]),
                signature=bytes.fromhex(value["signature"][2:]),
                query=value["query"],
                salt=bytes.fromhex(value["salt"][2:]),
                consent=value["consent"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("call_malformed", "A call lacks request, signature, query, salt or consent.") from error


class Gateway:
    """Serves metered calls for one provider node."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._books: OrderedDict[bytes, _Book] = OrderedDict()
        self._domain = context.domain("TradeSettlement")
        self._stopped: set[bytes] = set()
        self._stopped_read = 0.0

    async def serve(self, caller: str, call: Call) -> dict[str, Any]:
        """The answer to one call: receipt with signature, and the content when served.

        Raises:
            QiaolianError: when the request has no place in the lane; a refusal with a place comes back as a receipt.
        """
        book = await self._book(call.request.agreement_id)
        if book.terms.agreement.buyer != caller:
            raise Forbidden("agreement_of_others", "The agreement is not with the calling member.")
        if recover(call.request.digest(self._domain), call.signature) != book.terms.agreement.buyer_key:
            raise Forbidden("wrong_signer", "The request is not signed by the agreement's buyer key.")
        state = book.lanes.get(call.request.lane)
        if state is None:
            raise BadInput("wrong_lane", "The agreement has no such lane.")
        async with state.lock:
            if state.last is not None and call.request.seq == state.lane.seq:
                return await self._again(book, state, call)
            require_next(state.lane, call.request, book.terms.agreement)
            return await self._first(book, state, call)

    async def _first(self, book: _Book, state: _LaneState, call: Call) -> dict[str, Any]:
        now = self._context.now()
        agreement = book.terms.agreement
        head = self._context.view.require_fresh()
        content: dict[str, Any] | None = None
        reason = ""
        reserved = False
        try:
            try:
                require_fits(call.request, agreement, units_used=book.units, amount_used=book.amount, now=now)
                await self._authorise(book, call, now)
                book.reserved_units += call.request.max_units
                book.reserved_amount += call.request.max_amount
                reserved = True
                content = await self._read(book, call)
                units = self._units(book, call, content)
            except Unavailable:
                raise
            except QiaolianError as error:
                content, units, reason = None, 0, error.code.replace("_", "-")[:31]
            salt = new_salt()
            receipt = UsageReceipt(
                version=1,
                agreement_id=call.request.agreement_id,
                lane=call.request.lane,
                seq=call.request.seq,
                request=call.request.struct_hash(),
                outcome=Outcome.SERVED if content is not None else Outcome.REFUSED,
                reason=reason,
                response_commitment=commit(salt, RESPONSE_DOMAIN, content) if content is not None else ZERO32,
                units=units,
                amount=price_of(agreement, units),
                total_units=state.lane.units + units,
                total_amount=state.lane.amount + price_of(agreement, units),
                previous_receipt=state.lane.receipt,
                view_height=head.height,
                view_block=head.block_hash,
                policy_version=POLICY_VERSION,
                issued_at=now,
            )
            signature = self._context.sign(receipt)
            answer = _answer(receipt, signature, content, salt)
            row = self._row(call, receipt, signature, answer)
            await self._context.database.awrite(lambda session: self._store(session, row, receipt))
        finally:
            if reserved:
                book.reserved_units -= call.request.max_units
                book.reserved_amount -= call.request.max_amount
        state.lane, state.last = state.lane.after(receipt), ServedCall(**row)
        return answer

    async def _again(self, book: _Book, state: _LaneState, call: Call) -> dict[str, Any]:
        """A retry of the lane's last request: the same bytes, or a void when the right is gone."""
        last = state.last
        assert last is not None
        if loads(last.request) != call.request.to_json() or last.answer is None:
            raise Conflict("place_taken", "That place of the lane is used by another request.", seq=state.lane.seq)
        if last.void is not None:
            return _voided(last)
        if last.outcome == Outcome.SERVED:
            try:
                await self._authorise(book, call, self._context.now())
            except Forbidden as error:
                return await self._void(state, last, error.code)
        answer: dict[str, Any] = loads(last.answer)
        return answer

    async def _void(self, state: _LaneState, last: ServedCall, code: str) -> dict[str, Any]:
        receipt = UsageReceipt.from_json(loads(last.receipt))
        void = ReceiptVoid(
            version=1,
            agreement_id=receipt.agreement_id,
            lane=receipt.lane,
            seq=receipt.seq,
            receipt=receipt.struct_hash(),
            reason=code.replace("_", "-")[:31],
            issued_at=self._context.now(),
        )
        signature = self._context.sign(void)

        def change(session: Session) -> None:
            row = session.get_one(ServedCall, (receipt.agreement_id, receipt.lane, receipt.seq))
            row.void, row.void_signature = dumps(void.to_json()), signature
            append(session, kind="ReceiptVoid", digest=void.digest(self._domain), at=void.issued_at)

        await self._context.database.awrite(change)
        last.void, last.void_signature = dumps(void.to_json()), signature
        state.lane = state.lane.without(receipt)
        return _voided(last)

    async def _authorise(self, book: _Book, call: Call, now: int) -> None:
        """Agreement, grant and consent as the chain shows them now."""
        agreement, query = book.terms.agreement, call.query
        words = [
            self._context.view.word("TradeSettlement", "agreements", call.request.agreement_id, offset=n).value
            for n in range(_STATE_SLOTS)
        ]
        state = AgreementState.decode(*words)
        require_open(
            opened_at=state.opened_at,
            notice_at=state.notice_at,
            closed_at=state.closed_at,
            agreement=agreement,
            now=now,
        )
        if not opens(call.request.request_commitment, salt=call.salt, domain=REQUEST_DOMAIN, record=query):
            raise Forbidden("query_differs", "The query is not what the request commits to.")
        columns, subject, purpose = _query(query)
        require_columns(columns, book.asset.masking)
        grants.authorise(
            self._context,
            book.grant,
            stopped=book.grant.grant_id in self._stops(),
            operation=Operation.USE,
            purpose=purpose,
            columns=columns,
            now=now,
        )
        if purpose in CONSENT_PURPOSES:
            credit.authorise_consent(
                self._context, call.consent, subject=subject, bank=agreement.buyer, purpose=purpose, now=now
            )

    async def _read(self, book: _Book, call: Call) -> dict[str, Any]:
        columns, subject, _ = _query(call.query)
        record = await asyncio.to_thread(book.asset.lookup, subject)
        if record is None:
            raise NotFound("record_unknown", "There is no record of this subject.")
        return {"record": mask(record, columns, book.asset.masking)}

    def _units(self, book: _Book, call: Call, content: Mapping[str, Any]) -> int:
        units = metered_units(book.terms.agreement, rows=1, size=len(dumps(content)))
        if units > call.request.max_units or price_of(book.terms.agreement, units) > call.request.max_amount:
            raise Forbidden("over_request_limit", "The answer is larger than the request allows.")
        return units

    def _row(self, call: Call, receipt: UsageReceipt, signature: bytes, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "agreement_id": receipt.agreement_id,
            "lane": receipt.lane,
            "seq": receipt.seq,
            "request": dumps(call.request.to_json()),
            "request_signature": call.signature,
            "receipt": dumps(receipt.to_json()),
            "receipt_signature": signature,
            "outcome": receipt.outcome,
            "answer": dumps(answer),
        }

    def _store(self, session: Session, row: Mapping[str, Any], receipt: UsageReceipt) -> None:
        session.execute(sa.insert(ServedCall).values(**row))
        if receipt.seq > 1:
            # The request acknowledged the place before: its answer need not be kept any longer.
            session.execute(
                sa.update(ServedCall)
                .where(
                    ServedCall.agreement_id == receipt.agreement_id,
                    ServedCall.lane == receipt.lane,
                    ServedCall.seq == receipt.seq - 1,
                )
                .values(answer=None)
            )
        append(session, kind="UsageReceipt", digest=receipt.digest(self._domain), at=receipt.issued_at)

    def _stops(self) -> set[bytes]:
        """Grants this owner has stopped itself; read anew every 50 ms, so that its own revocation bites at once."""
        if time.monotonic() - self._stopped_read > 0.05:
            with self._context.database.read() as session:
                self._stopped = grants.stopped_grants(session)
            self._stopped_read = time.monotonic()
        return self._stopped

    async def _book(self, agreement_id: bytes) -> _Book:
        book = self._books.get(agreement_id)
        if book is None:
            book = await asyncio.to_thread(self._open_book, agreement_id)
            book = self._books.setdefault(agreement_id, book)
            while len(self._books) > _OPEN_AGREEMENTS:
                self._books.popitem(last=False)
        self._books.move_to_end(agreement_id)
        return book

    def _open_book(self, agreement_id: bytes) -> _Book:
        terms = agreements.load(self._context, agreement_id)
        if terms.agreement.provider != self._context.member:
            raise Forbidden("agreement_of_others", "This node is not the agreement's provider.")
        with self._context.database.read() as session:
            lanes = {n: self._open_lane(session, agreement_id, n) for n in range(terms.agreement.lanes)}
        return _Book(
            terms=terms,
            grant=grants.load(self._context, terms.agreement.grant_id),
            asset=assets.served(self._context, terms.agreement.asset_id, terms.agreement.asset_version),
            lanes=lanes,
        )

    def _open_lane(self, session: Session, agreement_id: bytes, lane: int) -> _LaneState:
        last = last_served(session, agreement_id, lane)
        if last is None:
            return _LaneState(Lane(), None)
        receipt = UsageReceipt.from_json(loads(last.receipt))
        state = Lane().after(receipt)
        return _LaneState(state.without(receipt) if last.void is not None else state, last)


def last_served(session: Session, agreement_id: bytes, lane: int) -> ServedCall | None:
    """The highest place used in a lane."""
    return session.scalars(
        sa.select(ServedCall)
        .where(ServedCall.agreement_id == agreement_id, ServedCall.lane == lane)
        .order_by(ServedCall.seq.desc())
        .limit(1)
    ).first()


def take_voucher(context: Context, caller: str, voucher: Voucher, signature: bytes) -> None:
    """Keep a buyer's closing voucher if it acknowledges exactly what the lane's last receipt says."""
    terms = agreements.load(context, voucher.agreement_id)
    if terms.agreement.buyer != caller:
        raise Forbidden("agreement_of_others", "The agreement is not with the calling member.")
    if recover(voucher.digest(context.domain("TradeSettlement")), signature) != terms.agreement.buyer_key:
        raise Forbidden("wrong_signer", "The voucher is not signed by the agreement's buyer key.")

    def change(session: Session) -> None:
        last = last_served(session, voucher.agreement_id, voucher.lane)
        if last is None:
            raise Conflict("voucher_empty", "Nothing was delivered in this lane.")
        receipt = UsageReceipt.from_json(loads(last.receipt))
        lane = Lane().after(receipt)
        lane = lane.without(receipt) if last.void is not None else lane
        said = (voucher.seq, voucher.acknowledged_units, voucher.acknowledged_amount, voucher.receipt)
        if said != (lane.seq, lane.units, lane.amount, lane.receipt):
            raise Conflict("acknowledgement_differs", "The voucher does not acknowledge exactly what was delivered.")
        session.merge(
            ClosingVoucher(
                agreement_id=voucher.agreement_id,
                lane=voucher.lane,
                seq=voucher.seq,
                voucher=dumps(voucher.to_json()),
                signature=signature,
            )
        )

    context.database.write(change)


def _query(query: Mapping[str, Any]) -> tuple[list[str], str, str]:
    columns, subject, purpose = query.get("columns"), query.get("subject"), query.get("purpose")
    if (
        set(query) != {"columns", "subject", "purpose"}
        or not isinstance(columns, list)
        or not columns
        or not all(isinstance(each, str) for each in columns)
        or not isinstance(subject, str)
        or not isinstance(purpose, str)
    ):
        raise BadInput("query_malformed", "A query names columns, one subject and a purpose.")
    return columns, subject, purpose


def _answer(receipt: UsageReceipt, signature: bytes, content: Mapping[str, Any] | None, salt: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = {"receipt": receipt.to_json(), "signature": "0x" + signature.hex()}
    if content is not None:
        answer |= {"content": dict(content), "salt": "0x" + salt.hex()}
    return answer


def _voided(last: ServedCall) -> dict[str, Any]:
    assert last.void is not None and last.void_signature is not None
    return {
        "receipt": loads(last.receipt),
        "signature": "0x" + last.receipt_signature.hex(),
        "void": loads(last.void),
        "voidSignature": "0x" + last.void_signature.hex(),
    }
