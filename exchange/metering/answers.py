"""Checks the gateway's answers against the request, the agreement and the lane's state, and stores
what came of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from chain.core import schema
from chain.core.canonical import dumps
from chain.core.crypto import recover
from chain.core.errors import Conflict, QiaolianError, RefusedBy, Refuser
from chain.statements.commitment import commit_bytes
from chain.statements.trade import ReceiptVoid, UsageOutcome, UsageReceipt
from exchange.metering import gateway_rules, rules
from exchange.metering.buyer_state import OutgoingRequest
from exchange.metering.buyer_store import CompletedColumns, CompletionColumns, complete
from exchange.metering.digests import Digest
from exchange.metering.model import (
    RECEIVED_RECEIPT,
    RESPONSE_DOMAIN,
    CallResult,
    CallStatus,
    LaneState,
)
from exchange.metering.wire import error_from, json_text
from registry.evidence.log import append_all


@dataclass
class CompletedCall:
    """A checked answer, to be stored and then returned to the caller."""

    request: OutgoingRequest
    values: CompletionColumns
    state: LaneState | None
    """The lane's new state; None if the answer halts it."""
    result: CallResult | QiaolianError

    @property
    def is_served(self) -> bool:
        """Whether it delivers a record."""
        return isinstance(self.result, CallResult) and self.result.status is CallStatus.SERVED

    @classmethod
    def conflict(cls, request: OutgoingRequest, error: QiaolianError, answer: Any) -> CompletedCall:
        """An answer that contradicts the records: it is stored unchanged, and the lane halts."""
        values: CompletionColumns = {
            "status": CallStatus.CONFLICT,
            "reason": error.code[:31],
            "receipt": None,
            "receipt_hash": None,
            "receipt_signature": None,
            "answer": json_text(answer),
            "units": request.lane.state.units,
            "amount": request.lane.state.amount,
            "void": None,
            "void_signature": None,
        }
        error.context["idempotencyKey"] = request.key
        return cls(request, values, None, error)

    def apply(self) -> None:
        """Advance the lane and return the result to the caller."""
        lane, done = self.request.lane, self.request.done
        if lane.outstanding is not self.request:
            return
        if self.state is None:
            lane.halted = str(self.values["reason"])
        else:
            lane.state, lane.outstanding = self.state, None
        if done is None or done.done():
            return
        if isinstance(self.result, CallResult):
            done.set_result(self.result)
        else:
            done.set_exception(self.result)


def check_answer(request: OutgoingRequest, answer: Any, *, digest: Digest) -> CompletedCall:
    """The completed call of an answer; an answer that contradicts the records halts the lane.

    Raises:
        QiaolianError: the gateway's error, after which the request is still outstanding.
    """
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        provider = RefusedBy(Refuser.PEER, request.trade.agreement.provider)
        error = error_from(answer["error"]).by(provider)
        if isinstance(error, Conflict):
            return CompletedCall.conflict(request, error, answer)
        raise error
    try:
        if isinstance(answer, dict) and "void" in answer:
            return _check_void(request, answer, digest)
        return _check_receipt(request, answer, digest)
    except QiaolianError as error:
        return CompletedCall.conflict(request, error, answer)
    except (ValueError, TypeError, KeyError, AttributeError):
        malformed = Conflict("answer_malformed", "The answer cannot be read.")
        return CompletedCall.conflict(request, malformed, answer)


def _check_receipt(
    request: OutgoingRequest, answer: Mapping[str, Any], digest: Digest
) -> CompletedCall:
    trade, lane = request.trade, request.lane
    receipt = UsageReceipt.from_json(answer["receipt"])
    receipt_hash, signature = receipt.struct_hash(), schema.signature(answer["signature"])
    if recover(digest(receipt_hash), signature) != trade.agreement.provider_key:
        raise Conflict(
            "answer_wrong_signer", "The receipt is not signed by the key the agreement pins."
        )
    rules.require_receipt(
        trade.agreement, lane.state, request.request, request.request_hash, receipt
    )
    served = receipt.outcome == UsageOutcome.SERVED
    content = answer["content"] if served else None
    if served:
        _require_content(trade.agreement.unit, receipt, content, schema.salt(answer["salt"]))
    status = CallStatus.SERVED if served else CallStatus.REFUSED
    values: CompletionColumns = {
        "status": status,
        "reason": receipt.reason,
        "receipt": json_text(answer["receipt"]),
        "receipt_hash": receipt_hash,
        "receipt_signature": signature,
        "answer": json_text({"content": content, "salt": answer["salt"]}) if served else None,
        "units": receipt.total_units,
        "amount": receipt.total_amount,
        "void": None,
        "void_signature": None,
    }
    result = CallResult(
        key=request.key,
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
    return CompletedCall(request, values, rules.state_after(receipt, receipt_hash), result)


def _require_content(unit: int, receipt: UsageReceipt, content: Any, salt: bytes) -> None:
    """The content is what the receipt commits to and meters: ``response_differs``,
    ``receipt_wrong_amount``.
    """
    canonical = dumps(content)
    if commit_bytes(salt, RESPONSE_DOMAIN, canonical) != receipt.response_commitment:
        raise Conflict("response_differs", "The answer is not what the receipt commits to.")
    if gateway_rules.units_of(unit, canonical) != receipt.units:
        raise Conflict(
            "receipt_wrong_amount", "The receipt meters another amount than the answer holds."
        )


def _check_void(
    request: OutgoingRequest, answer: Mapping[str, Any], digest: Digest
) -> CompletedCall:
    trade, lane = request.trade, request.lane
    void = ReceiptVoid.from_json(answer["void"])
    signature = schema.signature(answer["signature"])
    if recover(digest(void.struct_hash()), signature) != trade.agreement.provider_key:
        raise Conflict(
            "answer_wrong_signer", "The void is not signed by the key the agreement pins."
        )
    rules.require_void(request.request, void)
    values: CompletionColumns = {
        "status": CallStatus.VOID,
        "reason": void.reason,
        "receipt": None,
        "receipt_hash": void.receipt,
        "receipt_signature": None,
        "answer": None,
        "units": lane.state.units,
        "amount": lane.state.amount,
        "void": json_text(answer["void"]),
        "void_signature": signature,
    }
    result = CallResult(
        key=request.key,
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
    state = rules.state_after_void(lane.state, void.receipt, request.request_hash)
    return CompletedCall(request, values, state, result)


def store_completed(
    session: Session, completed: Sequence[CompletedCall], *, digest: Digest, at: int
) -> None:
    """Store the answers beside their requests, with what the callers store along with a record, and
    name the receipts taken in this node's log, so that its bundles need no log but its own.
    """
    rows: list[CompletedColumns] = [
        {
            "in_agreement": call.request.trade.agreement_id,
            "in_lane": call.request.lane.number,
            "in_seq": call.request.request.seq,
            **call.values,
        }
        for call in completed
    ]
    complete(session, rows)
    received = [
        (RECEIVED_RECEIPT, digest(call.values["receipt_hash"]))
        for call in completed
        if call.values["receipt"] is not None and call.values["receipt_hash"] is not None
    ]
    if received:
        append_all(session, received, at=at)
    for call in completed:
        if call.request.along is not None and call.is_served:
            call.request.along(session)
