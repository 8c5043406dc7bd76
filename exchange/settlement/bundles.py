"""Bundles of a trade, built by the provider, which has both signatures and the log of receipts."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound
from chain.ethereum.eip712 import Statement
from chain.ethereum.records import LaneRecord
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import totals
from exchange.closing.model import FinalState
from exchange.metering.model import CallStatus
from exchange.metering.store import GATEWAY, VOUCHERS, call_at
from registry.exports import Exporter

CONTRACT = "TradeSettlement"


def trade_bundle(context: Context, agreement_id: bytes, lane: int, seq: int) -> bytes:
    """The bundle of one call.

    Raises:
        NotFound: ``position_unknown``; Conflict: ``not_acknowledged``, ``not_claimed``,
            ``entry_not_anchored`` while the trade is not complete, ``key_ended`` if a key ended
            before its signature was anchored.
    """
    signed = _provided(context, agreement_id)
    with context.database.read() as session:
        row = call_at(session, GATEWAY, agreement_id, lane, seq)
        if row is None or row.status == CallStatus.VOID:
            raise NotFound("position_unknown", "The lane has no such position, or it was voided.")
        subject = {"agreementId": "0x" + agreement_id.hex(), "lane": lane, "seq": seq}
        bundle = _TradeExporter(context, signed, "trade", subject)
        bundle.add_call(row)
        if row.status == CallStatus.SERVED:
            _claim(bundle, lane, seq)
        if not _acknowledgement(bundle, session, row) and row.status == CallStatus.SERVED:
            if bundle.buyer_end:
                raise Conflict(
                    "key_ended",
                    "The buyer's key ended before an anchor showed that it acknowledged the call.",
                )
            raise Conflict("not_acknowledged", "The buyer has not acknowledged the call yet.")
    return bundle.build()


def lane_bundle(context: Context, agreement_id: bytes, lane: int) -> bytes:
    """The bundle of every call of a lane; ``position_unknown`` for a lane never used.

    Refusals that came after a party's key had ended are left out at the lane's end: nothing dates
    them, and they cost nothing.
    """
    signed = _provided(context, agreement_id)
    bundle = _TradeExporter(
        context, signed, "lane", {"agreementId": "0x" + agreement_id.hex(), "lane": lane}
    )
    with context.database.read() as session:
        query = sa.select(GATEWAY).where(
            GATEWAY.c.agreement_id == agreement_id, GATEWAY.c.lane == lane
        )
        rows = list(session.execute(query.order_by(GATEWAY.c.seq)).all())
        voucher = _voucher(session, agreement_id, lane)
    if not rows:
        raise NotFound("position_unknown", "The lane was never used.")
    while (
        len(rows) > 1
        and rows[-1].status == CallStatus.REFUSED
        and not bundle.is_dated(_receipt(rows[-1]), bundle.end)
    ):
        rows.pop()
    for row in rows:
        bundle.add_call(row)
    if (
        voucher is not None
        and voucher[0].seq == rows[-1].seq
        and bundle.is_dated(voucher[0], bundle.buyer_end)
    ):
        bundle.add_member_statement(*voucher)
    bundle.add_storage_value(CONTRACT, "lanes", agreement_id, lane)
    return bundle.build()


def _claim(bundle: _TradeExporter, lane: int, seq: int) -> None:
    """Add what the chain's lane was claimed up to, and who got what; a free trade
    claims nothing.
    """
    agreement_id, agreement = bundle.signed.agreement_id, bundle.signed.agreement
    proved = LaneRecord.decode(bundle.add_storage_value(CONTRACT, "lanes", agreement_id, lane))
    if agreement.price == 0:
        return
    if proved.seq < seq:
        raise Conflict(
            "not_claimed", "The call has not been claimed yet.", hint="Claim first, then export."
        )
    for share in agreement.shares:
        bundle.add_storage_value(CONTRACT, "paidTo", agreement_id, share.member)


def _acknowledgement(bundle: _TradeExporter, session: Session, row: Any) -> bool:
    """Add the buyer's signature that names this receipt: its request of the next position, or the
    voucher that closed the lane here.

    Whether there is one that a verifier would take.
    """
    following = call_at(session, GATEWAY, row.agreement_id, row.lane, row.seq + 1)
    voucher = _voucher(session, row.agreement_id, row.lane)
    if following is not None and (
        not bundle.buyer_end or bundle.is_dated(_receipt(following), bundle.end)
    ):
        bundle.add_next_request(following)
        return True
    if (
        voucher is not None
        and voucher[0].seq == row.seq
        and bundle.is_dated(voucher[0], bundle.buyer_end)
    ):
        bundle.add_member_statement(*voucher)
        return True
    return False


def _voucher(session: Session, agreement_id: bytes, lane: int) -> tuple[Voucher, bytes] | None:
    found = session.execute(
        sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)
    ).one_or_none()
    return (
        None if found is None else (Voucher.from_json(json.loads(found.voucher)), found.signature)
    )


def _request(row: Any) -> UsageRequest:
    return UsageRequest.from_json(json.loads(row.request))


def _receipt(row: Any) -> UsageReceipt:
    return UsageReceipt.from_json(json.loads(row.receipt))


def _provided(context: Context, agreement_id: bytes) -> SignedAgreement:
    signed = agreements.load(context, agreement_id)
    if signed.side != AgreementSide.PROVIDER or signed.terms is None:
        raise Forbidden("not_provider", "Bundles of a trade are made at its provider.")
    return signed


class _TradeExporter(Exporter):
    """Builds the bundle of one agreement."""

    def __init__(
        self, context: Context, signed: SignedAgreement, story: str, subject: dict[str, Any]
    ) -> None:
        super().__init__(context, story=story, subject=subject)
        self.signed = signed
        agreement = signed.agreement
        assert signed.terms is not None
        for offset in range(3):
            self.add_storage_value(CONTRACT, "agreements", signed.agreement_id, offset=offset)
        self.add_storage_value("GrantRegistry", "grants", agreement.grant_id)
        self.add_struct(signed.terms)
        self.add_member_statement(agreement, signed.provider_signature, accepted=True)
        self.add_member_statement(agreement, signed.buyer_signature, accepted=True)
        self.add_log_entry(agreement)
        self._final_settlement()
        self.buyer_end = self.key_end(agreement.buyer_key)
        self.end = min(
            filter(None, (self.key_end(agreement.provider_key), self.buyer_end)), default=0
        )
        """Where the first of both parties' keys ended, 0 while both are live."""

    def _final_settlement(self) -> None:
        """Add the final totals by which the chain closed the agreement, if it closed
        cooperatively.
        """
        found = totals.view(self._context, self.signed.agreement_id)
        if found is None or found.state != FinalState.SETTLED or found.provider_signature is None:
            return
        settlement = found.settlement
        self.add_member_statement(settlement, found.provider_signature, accepted=True)
        self.add_member_statement(settlement, found.buyer_signature, accepted=True)
        self.add_storage_value(CONTRACT, "finalSettlements", self.signed.agreement_id)
        self.add_log_entry(settlement)

    def is_dated(self, statement: Statement, end: int) -> bool:
        """Whether this node's log shows the statement from before a key's end; true while the key
        is live.
        """
        return not end or self.is_anchored(statement, end)

    def add_call(self, row: Any) -> None:
        """Add a call: request, receipt with its log entry, and the void if there is one."""
        receipt = _receipt(row)
        self.add_member_statement(_request(row), row.request_signature, named_by=receipt)
        self._receipt(row)
        if row.void is not None:
            self.add_member_statement(
                ReceiptVoid.from_json(json.loads(row.void)), row.void_signature
            )

    def add_next_request(self, row: Any) -> None:
        """Add the next position's request, for what it acknowledges; its receipt only where that
        has to date it.
        """
        self.add_member_statement(_request(row), row.request_signature, named_by=_receipt(row))
        if self.buyer_end:
            self._receipt(row)

    def _receipt(self, row: Any) -> None:
        receipt = _receipt(row)
        self.add_member_statement(receipt, row.receipt_signature)
        self.add_log_entry(receipt)
