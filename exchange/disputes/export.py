"""Bundles of disputes, made from this node's own store.

A claim with its end is in the chain's events, so every member can make its bundle. The other cases
need what only a party has: two receipts that it showed the chain, the answer that halted a lane, or
what was served to it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.core.errors import Conflict, NotFound, Unavailable
from chain.ethereum.records import GrantRecord, TradeDisputeRecord
from chain.outbox import arguments_of
from chain.statements.disputes import Ruling
from chain.statements.trade import Agreement, UsageReceipt, UsageRequest
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.disputes import rules, store
from exchange.disputes.calls import CONTRACT as DISPUTES
from exchange.disputes.model import DisputeCase
from exchange.disputes.store import DisputeRow
from exchange.metering import records
from exchange.metering.model import StoredCall
from registry.exports import Exporter

SETTLEMENT = "TradeSettlement"

SignedReceipt = tuple[UsageReceipt, bytes]


@dataclass(frozen=True, slots=True)
class _Call:
    """The call that a bundle is about, as this node has stored it."""

    context: Context
    signed: SignedAgreement
    lane: int
    seq: int

    @property
    def agreement(self) -> Agreement:
        return self.signed.agreement

    def dispute(self) -> DisputeRow:
        """The dispute over it; ``unknown_dispute``."""
        with self.context.database.read() as session:
            row = store.of_call(session, self.signed.agreement_id, self.lane, self.seq)
        if row is None:
            raise NotFound("unknown_dispute", "Nobody has claimed the call by its receipt.")
        return row

    def stored(self) -> StoredCall | None:
        """The call at a party."""
        if self.signed.side == AgreementSide.OBSERVER:
            return None
        return records.call_at(
            self.context, self.signed.side, self.signed.agreement_id, self.lane, self.seq
        )

    def wrong_receipt(self) -> SignedReceipt:
        """The receipt that halted the lane, or that this buyer took; ``case_not_shown``."""
        halting = records.contradicting_answer(
            self.context, self.signed.agreement_id, self.lane, self.seq
        )
        if halting is not None:
            return halting.receipt, halting.signature
        call = self.stored()
        if call is None or call.receipt is None:
            raise not_shown()
        return call.receipt, call.receipt_signature

    def request(self) -> tuple[UsageRequest, bytes]:
        """The buyer's own request; ``case_not_shown`` at another node."""
        call = self.stored()
        if call is None or self.signed.side != AgreementSide.BUYER:
            raise not_shown()
        return call.request, call.request_signature


def bundle(context: Context, case: DisputeCase, agreement_id: bytes, lane: int, seq: int) -> bytes:
    """The bundle of one case about one call.

    Raises:
        NotFound: ``unknown_agreement``, ``unknown_dispute``; Conflict: ``case_not_shown`` if this
            node's records do not show the case, ``entry_not_anchored``, ``key_ended``;
            Unavailable: ``dispute_behind``, ``chain_view_stale``.
    """
    call = _Call(context, agreements.load(context, agreement_id), lane, seq)
    subject = {
        "case": case.value,
        "agreementId": "0x" + agreement_id.hex(),
        "lane": lane,
        "seq": seq,
        **(_opening(call) if case == DisputeCase.ANSWER else {}),
    }
    exporter = Exporter(context, profile="dispute", subject=subject)
    exporter.add_struct(call.agreement)
    for offset in range(3):
        exporter.add_storage_value(SETTLEMENT, "agreements", agreement_id, offset=offset)
    _CASES[case](exporter, call)
    return exporter.build()


def not_shown() -> Conflict:
    """The refusal of a bundle whose case the records here do not show."""
    return Conflict(
        "case_not_shown",
        "This node's records do not show such a case for this call.",
        hint="Ask the party that has the statements, or name another case.",
    )


# --- The cases ------------------------------------------------------------------------------------


def _claim(exporter: Exporter, call: _Call) -> None:
    row = call.dispute()
    record = _add_dispute(exporter, row)
    exporter.add_storage_value(SETTLEMENT, "lanes", call.signed.agreement_id, call.lane)
    if not any(record.ruling):
        return
    if row.ruling is None:
        raise Unavailable("dispute_behind", "This node has not read the ruling's event yet.")
    exporter.add_struct(Ruling.from_json(row.ruling))


def _equivocation(exporter: Exporter, call: _Call) -> None:
    for receipt, signature in _two_receipts(call):
        exporter.add_member_statement(receipt, signature)
    place = rules.place_key(call.lane, call.seq)
    exporter.add_storage_value(DISPUTES, "equivocations", call.signed.agreement_id, place)
    exporter.add_storage_value(DISPUTES, "flags", call.agreement.provider)


def _two_receipts(call: _Call) -> tuple[SignedReceipt, SignedReceipt]:
    """The two receipts for the position that this node has shown the chain."""
    place = (call.signed.agreement_id, call.lane, call.seq)
    with call.context.database.read() as session:
        shown = arguments_of(session, DISPUTES, "proveEquivocation")
    for _, first, first_signature, second, second_signature in shown:
        if (first.agreement_id, first.lane, first.seq) == place:
            return (first, first_signature), (second, second_signature)
    raise not_shown()


def _request(exporter: Exporter, call: _Call) -> None:
    (receipt, signature), (request, own_signature) = call.wrong_receipt(), call.request()
    if receipt.request == request.struct_hash():
        raise not_shown()
    exporter.add_member_statement(receipt, signature)
    exporter.add_member_statement(request, own_signature)
    exporter.add_log_entry(request)


def _amount(exporter: Exporter, call: _Call) -> None:
    (receipt, signature), (request, own_signature) = call.wrong_receipt(), call.request()
    if receipt.request != request.struct_hash() or not rules.amount_faults(
        call.agreement, request, receipt
    ):
        raise not_shown()
    exporter.add_member_statement(receipt, signature)
    exporter.add_member_statement(request, own_signature)


def _revoked(exporter: Exporter, call: _Call) -> None:
    grant_id, stored = call.agreement.grant_id, call.stored()
    proved = exporter.add_storage_value("GrantRegistry", "grants", grant_id)
    if stored is not None and stored.receipt is not None:
        receipt = stored.receipt
        exporter.add_member_statement(receipt, stored.receipt_signature)
    else:
        row = call.dispute()
        receipt = UsageReceipt.from_json(row.receipt)
        _add_dispute(exporter, row)
    voided = stored is not None and stored.void is not None
    if not voided and not rules.served_after_revocation(receipt, GrantRecord.decode(proved)):
        raise not_shown()
    if stored is not None and stored.void is not None:
        exporter.add_member_statement(stored.void, stored.void_signature)


def _answer(exporter: Exporter, call: _Call) -> None:
    _add_dispute(exporter, call.dispute())


def _opening(call: _Call) -> Mapping[str, str]:
    """What was served again to this buyer and is wrong, and the key that opens it."""
    row = call.dispute()
    if row.sealed_answer is None or row.contest_secret is None:
        raise Conflict(
            "case_not_shown",
            "This node has not found the answer that was served again to be wrong.",
            hint="As the buyer, compare it first: `qiaolian dispute check RECEIPT`.",
        )
    return {
        "contestSecret": "0x" + row.contest_secret.hex(),
        "sealedAnswer": "0x" + row.sealed_answer.hex(),
    }


def _add_dispute(exporter: Exporter, row: DisputeRow) -> TradeDisputeRecord:
    """Add a claimed receipt with the chain's record of its dispute."""
    exporter.add_struct(UsageReceipt.from_json(row.receipt))
    words = [
        exporter.add_storage_value(DISPUTES, "disputes", row.receipt_id, offset=offset)
        for offset in range(5)
    ]
    record = TradeDisputeRecord.decode(*words)
    if not record.claimed_at:
        raise Unavailable("dispute_behind", "This node's view of the chain has no such claim yet.")
    return record


_CASES: Mapping[DisputeCase, Callable[[Exporter, _Call], None]] = {
    DisputeCase.CLAIM: _claim,
    DisputeCase.EQUIVOCATION: _equivocation,
    DisputeCase.REQUEST: _request,
    DisputeCase.AMOUNT: _amount,
    DisputeCase.REVOKED: _revoked,
    DisputeCase.ANSWER: _answer,
}
