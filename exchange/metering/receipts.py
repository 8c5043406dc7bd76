"""Receipts and voids of the gateway: issued (signed), stored in one commit, then applied to the
agreement's state in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.statements.commitment import commit_bytes, new_salt
from chain.statements.trade import ReceiptVoid, UsageReceipt
from exchange.metering import gateway_rules, rules
from exchange.metering.digests import Digest
from exchange.metering.gateway_store import GatewayColumns, insert_calls, store_void
from exchange.metering.model import RESPONSE_DOMAIN, SUBJECT_UNKNOWN, CallStatus
from exchange.metering.pending import PendingRequest
from exchange.metering.store import GATEWAY, AnswerColumns, call_at, store_answers
from exchange.metering.wire import json_text
from exchange.usage import service as usage
from exchange.usage.model import CountedCall, Counts
from registry.assets import incidents
from registry.assets.rules import RecordDrift
from registry.evidence.log import append_all

VersionDrift = tuple[tuple[bytes, int], RecordDrift]
"""An asset version, and how its source departs from it."""


@dataclass
class IssuedReceipt:
    """A signed receipt, ready to be stored."""

    pending: PendingRequest
    receipt: UsageReceipt
    receipt_hash: bytes
    digest: bytes
    row: GatewayColumns
    answer: str
    kind: str = "UsageReceipt"

    def apply(self) -> None:
        """Advance the lane and the totals, and release the answer."""
        pending, receipt = self.pending, self.receipt
        lane, totals = pending.lane, pending.trade.totals
        lane.previous_state = lane.state
        lane.state = rules.state_after(receipt, self.receipt_hash)
        lane.stored_answer, lane.status = self.answer, self.row["status"]
        totals.units += receipt.units
        totals.amount += receipt.amount
        if receipt.units or receipt.reason == SUBJECT_UNKNOWN:
            pending.trade.quota.served += 1
        pending.answer = self.answer


@dataclass
class IssuedVoid:
    """A signed void of a lane's last receipt, ready to be stored."""

    pending: PendingRequest
    void: ReceiptVoid
    digest: bytes
    signature: bytes
    answer: str
    kind: str = "ReceiptVoid"

    def apply(self) -> None:
        """Take the last position out of the totals; its answer is erased."""
        pending = self.pending
        lane, totals = pending.lane, pending.trade.totals
        totals.units -= lane.state.units - lane.previous_state.units
        totals.amount -= lane.state.amount - lane.previous_state.amount
        lane.state = rules.state_after_void(
            lane.previous_state, lane.state.receipt, lane.state.request
        )
        lane.stored_answer, lane.status = self.answer, CallStatus.VOID
        pending.answer = self.answer


Issued = IssuedReceipt | IssuedVoid


def issue(pending: PendingRequest, *, digest: Digest, now: int) -> Issued:
    """Sign the receipt of a served or refused request, or the void of one whose right was
    withdrawn.
    """
    if pending.void:
        return _issue_void(pending, digest=digest, now=now)
    return _issue_receipt(pending, digest=digest, now=now)


def _issue_receipt(pending: PendingRequest, *, digest: Digest, now: int) -> IssuedReceipt:
    assert pending.view_reference is not None
    metered, salt, commitment = pending.metered, b"", {}
    if metered is not None:
        salt = new_salt()
        commitment = {"response_commitment": commit_bytes(salt, RESPONSE_DOMAIN, metered.canonical)}
    receipt = gateway_rules.receipt_for(
        pending.request,
        pending.request_hash,
        pending.lane.state,
        pending.view_reference,
        issued_at=now,
        reason=pending.refusal,
        units=metered.units if metered else 0,
        amount=pending.amount,
        **commitment,
    )
    receipt_hash, receipt_json = receipt.struct_hash(), receipt.to_json()
    receipt_digest = digest(receipt_hash)
    signature = pending.trade.signer.sign_digest(receipt_digest)
    answer = json_text(
        {
            "content": metered.content if metered else None,
            "receipt": receipt_json,
            "salt": "0x" + salt.hex() if metered else None,
            "signature": "0x" + signature.hex(),
        }
    )
    withdrawal, withdrawal_signature = pending.withdrawal or (None, None)
    row: GatewayColumns = {
        "agreement_id": pending.request.agreement_id,
        "lane": pending.request.lane,
        "seq": pending.request.seq,
        "request": json_text(pending.request.to_json()),
        "request_hash": pending.request_hash,
        "request_signature": pending.signature,
        "grant_id": pending.trade.agreement.grant_id,
        "withdrawal": None if withdrawal is None else json_text(withdrawal.to_json()),
        "withdrawal_signature": withdrawal_signature,
        "status": CallStatus.REFUSED if pending.refusal else CallStatus.SERVED,
        "reason": pending.refusal,
        "receipt": json_text(receipt_json),
        "receipt_hash": receipt_hash,
        "receipt_signature": signature,
        "units": receipt.total_units,
        "amount": receipt.total_amount,
        "at": now,
        "subject": None if pending.query is None else pending.query.subject,
        "opening": _opening(pending),
    }
    return IssuedReceipt(pending, receipt, receipt_hash, receipt_digest, row, answer)


def _opening(pending: PendingRequest) -> str | None:
    """What opens the request's commitment, for the subject of a query that could be read."""
    if pending.query is None:
        return None
    return json_text({"query": pending.query_json, "salt": "0x" + pending.salt.hex()})


def _issue_void(pending: PendingRequest, *, digest: Digest, now: int) -> IssuedVoid:
    request = pending.request
    void = ReceiptVoid(
        version=1,
        agreement_id=request.agreement_id,
        lane=request.lane,
        seq=request.seq,
        receipt=pending.lane.state.receipt,
        reason=pending.refusal,
        issued_at=now,
    )
    void_digest = digest(void.struct_hash())
    signature = pending.trade.signer.sign_digest(void_digest)
    answer = json_text({"signature": "0x" + signature.hex(), "void": void.to_json()})
    return IssuedVoid(pending, void, void_digest, signature, answer)


def store_issued(session: Session, issued: Sequence[Issued], *, digest: Digest, at: int) -> None:
    """Store receipts, voids and their answers, and append all statements to the evidence log."""
    receipts = [item for item in issued if isinstance(item, IssuedReceipt)]
    if receipts:
        insert_calls(session, [receipt.row for receipt in receipts])
        store_answers(session, [_answer_row(receipt) for receipt in receipts])
    usage.record(session, [_counted(session, item, at) for item in issued])
    for item in issued:
        if isinstance(item, IssuedVoid):
            previous = item.pending.lane.previous_state
            store_void(session, item.void, item.signature, previous=previous)
            store_answers(session, [_answer_row(item)])
    append_all(session, [(item.kind, item.digest) for item in issued], at=at)
    incidents.record(session, drifts(issued), at=at)
    withdrawals = [
        ("RequestWithdrawal", digest(receipt.pending.withdrawal[0].struct_hash()))
        for receipt in receipts
        if receipt.pending.withdrawal is not None
    ]
    if withdrawals:
        append_all(session, withdrawals, at=at)


def _counted(session: Session, item: Issued, at: int) -> CountedCall:
    """What a receipt or void adds to the counts of its day; a void takes its call out."""
    pending = item.pending
    agreement = pending.trade.agreement
    columns: tuple[str, ...] = ()
    if isinstance(item, IssuedReceipt):
        served = not pending.refusal
        counts = Counts(
            served=int(served),
            refused=int(not served),
            units=item.receipt.units,
            amount=item.receipt.amount,
        )
    else:
        served, state, previous = True, pending.lane.state, pending.lane.previous_state
        counts = Counts(
            served=-1,
            voided=1,
            units=previous.units - state.units,
            amount=previous.amount - state.amount,
        )
        row = call_at(session, GATEWAY, pending.trade.agreement_id, item.void.lane, item.void.seq)
        at = at if row is None else row.at
    if served:
        columns = _columns(pending)
    return CountedCall(
        pending.trade.agreement_id, agreement.asset_id, agreement.buyer, columns, at, counts
    )


def _columns(pending: PendingRequest) -> tuple[str, ...]:
    """The columns of a query that was served, as it names them."""
    names = pending.query_json.get("columns")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def drifts(issued: Sequence[Issued]) -> list[VersionDrift]:
    """The source drifts behind the refusals among these receipts, for the owner."""
    return [
        ((item.pending.trade.served.asset_id, item.pending.trade.served.asset_version), drift)
        for item in issued
        if isinstance(item, IssuedReceipt) and (drift := item.pending.drift) is not None
    ]


def _answer_row(issued: Issued) -> AnswerColumns:
    request = issued.pending.request
    return {
        "agreement_id": request.agreement_id,
        "lane": request.lane,
        "seq": request.seq,
        "answer": issued.answer,
    }
