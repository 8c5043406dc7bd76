"""Bundles of a trade. Provider and buyer make them from their own stores; a supervisor gets them
from either party, so that it need not ask the one that it audits.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound, QiaolianError
from chain.ethereum.eip712 import Statement
from chain.ethereum.records import LaneRecord
from chain.statements.members import Role
from chain.statements.trade import UsageReceipt
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import totals
from exchange.closing.model import FinalState
from exchange.metering import records
from exchange.metering.model import CallStatus, ClosingVoucher, StoredCall
from exchange.settlement import peers
from registry.exports import Exporter

CONTRACT = "TradeSettlement"


async def fetch(
    context: Context,
    agreement_id: bytes,
    lane: int,
    seq: int | None = None,
    *,
    party: AgreementSide | None = None,
) -> bytes:
    """The bundle of one call, or of a whole lane: this party's own; for a supervisor the
    provider's, or the buyer's if the provider gives none.

    Args:
        party: the side whose bundle is wanted.

    Raises:
        Forbidden: ``not_party`` at a node that is neither party nor supervisor; what
            ``trade_bundle`` and ``lane_bundle`` raise, and what the last party that was asked
            answers.
    """
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    observes = signed.side == AgreementSide.OBSERVER
    if observes and not context.roles & Role.SUPERVISOR:
        raise _not_party()
    if not observes and party in (None, signed.side):
        return await asyncio.to_thread(own_bundle, context, agreement_id, lane, seq)
    provider, buyer = signed.agreement.provider, signed.agreement.buyer
    if party is None:
        try:
            return await peers.fetch_bundle(context, provider, agreement_id, lane, seq)
        except QiaolianError:
            party = AgreementSide.BUYER
    member = buyer if party == AgreementSide.BUYER else provider
    return await peers.fetch_bundle(context, member, agreement_id, lane, seq)


def own_bundle(context: Context, agreement_id: bytes, lane: int, seq: int | None) -> bytes:
    """This party's bundle of one call, or of a whole lane."""
    if seq is None:
        return lane_bundle(context, agreement_id, lane)
    return trade_bundle(context, agreement_id, lane, seq)


def shown_bundle(
    context: Context, agreement_id: bytes, lane: int, seq: int | None, *, caller: str, may: bool
) -> bytes:
    """This party's bundle for the other party and supervisors (``may``); ``not_party``."""
    agreement = agreements.load(context, agreement_id).agreement
    if not may and caller not in (agreement.provider, agreement.buyer):
        raise _not_party()
    return own_bundle(context, agreement_id, lane, seq)


def trade_bundle(context: Context, agreement_id: bytes, lane: int, seq: int) -> bytes:
    """This party's bundle of one call.

    Raises:
        Forbidden: ``not_party``; NotFound: ``position_unknown``; Conflict: ``not_acknowledged``,
            ``not_claimed``, ``entry_not_anchored`` while the trade is not complete, ``key_ended``
            if a key ended before its signature was anchored.
    """
    signed = _of_party(context, agreement_id)
    call = records.call_at(context, signed.side, agreement_id, lane, seq)
    if call is None or call.receipt is None or call.status == CallStatus.VOID:
        raise NotFound("position_unknown", "The lane has no such position, or it was voided.")
    subject: dict[str, str | int] = {
        "agreementId": "0x" + agreement_id.hex(),
        "lane": lane,
        "seq": seq,
    }
    bundle = TradeExporter(context, signed, "trade", subject)
    bundle.add_call(call)
    if call.status == CallStatus.SERVED:
        _claim(bundle, lane, seq)
    if not _acknowledgement(context, bundle, call) and call.status == CallStatus.SERVED:
        if bundle.buyer_end:
            raise Conflict(
                "key_ended",
                "The buyer's key ended before an anchor showed that it acknowledged the call.",
            )
        raise Conflict("not_acknowledged", "The buyer has not acknowledged the call yet.")
    return bundle.build()


def lane_bundle(context: Context, agreement_id: bytes, lane: int) -> bytes:
    """This party's bundle of every call of a lane; ``not_party``, ``position_unknown`` for a lane
    never used.

    Refusals that came after a party's key had ended are left out at the lane's end: nothing dates
    them, and they cost nothing.
    """
    signed = _of_party(context, agreement_id)
    bundle = TradeExporter(
        context, signed, "lane", {"agreementId": "0x" + agreement_id.hex(), "lane": lane}
    )
    calls = records.lane_calls(context, signed.side, agreement_id, lane)
    voucher = records.voucher_of(context, agreement_id, lane)
    if not calls:
        raise NotFound("position_unknown", "The lane was never used.")
    while (
        len(calls) > 1
        and calls[-1].status == CallStatus.REFUSED
        and not bundle.is_dated(_receipt(calls[-1]), bundle.end)
    ):
        calls.pop()
    for call in calls:
        bundle.add_call(call)
    if voucher is not None:
        bundle.add_voucher(voucher, calls[-1])
    bundle.add_storage_value(CONTRACT, "lanes", agreement_id, lane)
    return bundle.build()


def _claim(bundle: TradeExporter, lane: int, seq: int) -> None:
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


def _acknowledgement(context: Context, bundle: TradeExporter, call: StoredCall) -> bool:
    """Add the buyer's signature that names this receipt: its request of the next position, or the
    voucher that closed the lane here.

    Whether there is one that a verifier would take.
    """
    agreement_id = call.request.agreement_id
    following = records.call_at(context, bundle.signed.side, agreement_id, call.lane, call.seq + 1)
    voucher = records.voucher_of(context, agreement_id, call.lane)
    if following is not None and (
        not bundle.buyer_end or bundle.is_dated(bundle.dating(following), bundle.end)
    ):
        bundle.add_next_request(following)
        return True
    return voucher is not None and bundle.add_voucher(voucher, call)


def _receipt(call: StoredCall) -> UsageReceipt:
    """The receipt of a call that has one: every call of a gateway, and what a buyer took."""
    assert call.receipt is not None
    return call.receipt


def _of_party(context: Context, agreement_id: bytes) -> SignedAgreement:
    signed = agreements.load(context, agreement_id)
    if signed.side == AgreementSide.OBSERVER or signed.terms is None:
        raise _not_party()
    return signed


def _not_party() -> Forbidden:
    return Forbidden(
        "not_party",
        "Bundles of a trade are for its parties and for supervisors.",
        hint="Ask the provider or the buyer for the bundle.",
    )


class TradeExporter(Exporter):
    """Builds the bundle of one agreement at a party, from its own log."""

    def __init__(
        self, context: Context, signed: SignedAgreement, profile: str, subject: dict[str, str | int]
    ) -> None:
        super().__init__(context, profile=profile, subject=subject)
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

    def dating(self, call: StoredCall) -> Statement:
        """The statement of this node's log that dates a call's request: at the buyer the request,
        at the provider the receipt that names it.
        """
        return call.request if self.signed.side == AgreementSide.BUYER else _receipt(call)

    def add_call(self, call: StoredCall) -> None:
        """Add a call: request, receipt with its log entry, and the void if there is one. A buyer
        that received a void has no receipt.
        """
        if call.receipt is None:
            self.add_member_statement(call.request, call.request_signature)
        else:
            self.add_answered_request(call)
        if call.void is not None:
            self.add_member_statement(call.void, call.void_signature)

    def add_answered_request(self, call: StoredCall) -> None:
        """Add a call's request, and its receipt with the log entry."""
        self._add_request(call)
        self._add_receipt(call)

    def add_next_request(self, call: StoredCall) -> None:
        """Add the next position's request, for what it acknowledges; its receipt only where that
        has to date it.
        """
        self._add_request(call)
        if self.buyer_end and self.signed.side == AgreementSide.PROVIDER:
            self._add_receipt(call)

    def _add_request(self, call: StoredCall) -> None:
        self.add_member_statement(call.request, call.request_signature, named_by=self.dating(call))

    def add_voucher(self, signed: ClosingVoucher, call: StoredCall) -> bool:
        """Add the voucher that closed the lane at a call; returns whether there is one that a
        verifier would take.
        """
        voucher = signed.voucher
        if voucher.seq != call.seq or not self.is_dated(voucher, self.buyer_end):
            return False
        self.add_member_statement(voucher, signed.signature)
        return True

    def _add_receipt(self, call: StoredCall) -> None:
        receipt = _receipt(call)
        self.add_member_statement(receipt, call.receipt_signature)
        self.add_log_entry(receipt)
