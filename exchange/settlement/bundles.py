"""Bundles of a trade, made at the provider: it holds both sides' signatures, and its own log has the receipts."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.errors import Conflict, Forbidden, NotFound
from chain.statements import ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from chain.view import Key
from chain.words import LaneWord
from exchange.agreements import service as agreements
from exchange.agreements.model import Side, Signed
from exchange.metering.model import Ending
from exchange.metering.store import GATEWAY, VOUCHERS, place
from registry.exports import Exporter

CONTRACT = "TradeSettlement"


def trade_bundle(context: Context, agreement_id: bytes, lane: int, seq: int) -> bytes:
    """The bundle of one call.

    Raises:
        NotFound: ``place_unknown``; Conflict: ``not_acknowledged``, ``not_claimed``, ``entry_not_anchored`` while the story is not over.
    """
    signed = _provided(context, agreement_id)
    with context.database.read() as session:
        row = place(session, GATEWAY, agreement_id, lane, seq)
        if row is None or row.ending == Ending.VOID:
            raise NotFound("place_unknown", "The lane has no such place, or it was voided.")
        subject = {"agreementId": "0x" + agreement_id.hex(), "lane": lane, "seq": seq}
        bundle = _Bundle(context, signed, "trade", subject)
        bundle.place(row)
        if row.ending == Ending.SERVED:
            proved = LaneWord.decode(bundle.word(CONTRACT, "lanes", agreement_id, lane))
            _acknowledgement(bundle, session, agreement_id, lane, seq, proved)
    if row.ending == Ending.SERVED and signed.agreement.price:
        for share in signed.agreement.shares:
            bundle.word(CONTRACT, "paidTo", agreement_id, share.member)
    return bundle.build()


def lane_bundle(context: Context, agreement_id: bytes, lane: int) -> bytes:
    """The bundle of every call of a lane; ``place_unknown`` for a lane never used."""
    signed = _provided(context, agreement_id)
    bundle = _Bundle(context, signed, "lane", {"agreementId": "0x" + agreement_id.hex(), "lane": lane})
    with context.database.read() as session:
        query = sa.select(GATEWAY).where(GATEWAY.c.agreement_id == agreement_id, GATEWAY.c.lane == lane)
        rows = session.execute(query.order_by(GATEWAY.c.seq)).all()
        voucher = session.execute(sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)).one_or_none()
    if not rows:
        raise NotFound("place_unknown", "The lane was never used.")
    for row in rows:
        bundle.place(row)
    if voucher is not None and voucher.seq == rows[-1].seq:
        bundle.by_member(Voucher.from_json(json.loads(voucher.voucher)), voucher.signature)
    bundle.word(CONTRACT, "lanes", agreement_id, lane)
    return bundle.build()


def _acknowledgement(bundle: _Bundle, session: Session, agreement_id: bytes, lane: int, seq: int, proved: LaneWord) -> None:
    """Add the buyer's signature the chain's lane stands at; of a free trade, which claims nothing, the next one."""
    free = bundle.signed.agreement.price == 0
    if not free and proved.seq < seq:
        raise Conflict("not_claimed", "The call has not been claimed yet.", hint="Claim first, then export.")
    voucher = session.execute(sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)).one_or_none()
    if voucher is not None and voucher.seq >= seq and (free or voucher.seq == proved.seq):
        bundle.by_member(Voucher.from_json(json.loads(voucher.voucher)), voucher.signature)
        return
    following = place(session, GATEWAY, agreement_id, lane, seq + 1 if free else proved.seq + 1)
    if following is None:
        raise Conflict("not_acknowledged", "The buyer has not acknowledged the call yet.")
    request = UsageRequest.from_json(json.loads(following.request))
    bundle.by_member(request, following.request_signature)


def _provided(context: Context, agreement_id: bytes) -> Signed:
    signed = agreements.load(context, agreement_id)
    if signed.side != Side.PROVIDER or signed.terms is None:
        raise Forbidden("not_provider", "Bundles of a trade are made at its provider.")
    return signed


class _Bundle(Exporter):
    """A story of one agreement under construction. What the chain shows of it is proved at one height."""

    def __init__(self, context: Context, signed: Signed, story: str, subject: dict[str, Any]) -> None:
        super().__init__(context, story=story, subject=subject)
        self._view = context.view
        self._height: int | None = None
        self.signed = signed
        agreement = signed.agreement
        assert signed.terms is not None
        for offset in range(3):
            self.word(CONTRACT, "agreements", signed.agreement_id, offset=offset)
        self.word("GrantRegistry", "grants", agreement.grant_id)
        self.struct(signed.terms)
        self.by_member(agreement, signed.provider_signature)
        self.by_member(agreement, signed.buyer_signature)
        self.logged(agreement)

    def word(self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0) -> int:
        """Add a proved word, at the height of the first; its value."""
        proved = self._view.proof(contract, variable, key, *more_keys, offset=offset, height=self._height)
        self._height = proved.header.height
        self.builder.storage(proved.proof, proved.header.header_rlp)
        return proved.proof.value

    def place(self, row: Any) -> None:
        """Add a place: request, receipt with its log entry, and the void if there is one."""
        receipt = UsageReceipt.from_json(json.loads(row.receipt))
        self.by_member(UsageRequest.from_json(json.loads(row.request)), row.request_signature)
        self.by_member(receipt, row.receipt_signature)
        self.logged(receipt)
        if row.void is not None:
            self.by_member(ReceiptVoid.from_json(json.loads(row.void)), row.void_signature)
