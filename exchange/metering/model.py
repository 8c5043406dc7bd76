"""Values shared by both ends of a lane.

A **lane** is a numbered sequence of calls of one agreement. Each **position** holds one usage
request and its receipt; at most one request of a lane is in progress. Both ends must agree on the
**lane state** before the next position. The **totals** of an agreement add up all its lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chain.core.errors import BadInput, QiaolianError, Unavailable
from chain.ethereum.eip712 import ZERO32
from chain.statements.grants import Operation
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest, Voucher

REQUEST_DOMAIN = "qiaolian.request.v1"
RESPONSE_DOMAIN = "qiaolian.response.v1"
RECEIVED_RECEIPT = "ReceivedReceipt"
"""Kind of the entry of a receipt in the log of the buyer that took it."""
MAX_COLUMNS = 256
MAX_TEXT = 256

# Size limits, each no larger than the next one on the way; `tests/nodes/test_call_limits.py` holds
# them together.
MAX_REQUEST_BYTES = 500_000
"""Largest request with its query, salt and consent, in JSON: checked before it is signed."""
MIN_BODY_BYTES = 1_000_000
"""Every node accepts a request body of this size; the requests of one exchange stay below it."""
MAX_ANSWER_BYTES = 32_000_000
"""Upper bound of a gateway's configured answer limit."""
MAX_EXCHANGE_BYTES = 48_000_000
"""Answers of one exchange together; below what a node's HTTP client reads."""
WITHDRAWN = "withdrawn"
"""Reason of the receipt of a request that its buyer withdrew."""
SUBJECT_UNKNOWN = "subject_unknown"


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """A gateway's own limits, from ``[limits]`` of the node's configuration."""

    answer_bytes: int = 4_000_000
    """Largest canonical content of one answer."""
    unknown_subjects: int = 100
    """Refusals with ``subject_unknown`` under one grant within ``unknown_seconds``."""
    unknown_seconds: int = 86_400

    def __post_init__(self) -> None:
        if not 0 < self.answer_bytes <= MAX_ANSWER_BYTES:
            raise ValueError("answer_bytes")


class CallStatus(StrEnum):
    """Outcome of the call at a position."""

    ASKED = "asked"
    SERVED = "served"
    REFUSED = "refused"
    VOID = "void"
    CONFLICT = "conflict"
    """The answer contradicts the buyer's records; the lane halts; both statements are stored."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """State of a lane after its last position."""

    seq: int = 0
    units: int = 0
    """Total units delivered, without voided ones."""
    amount: int = 0
    """Total fen owed, without voided calls."""
    receipt: bytes = ZERO32
    """Struct hash of the last position's receipt."""
    request: bytes = ZERO32
    """Struct hash of the last position's request."""


@dataclass(frozen=True, slots=True)
class ClosingVoucher:
    """A buyer's signed voucher for all that a lane delivered."""

    voucher: Voucher
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        """The form in which it is sent."""
        return {"voucher": self.voucher.to_json(), "signature": "0x" + self.signature.hex()}


@dataclass(frozen=True)
class AcknowledgedAmount:
    """The highest amount a buyer acknowledged on a lane, in fen."""

    lane: int
    seq: int
    units: int
    amount: int


@dataclass(frozen=True)
class SignedAcknowledgement:
    """A buyer's signed acknowledgement of a lane: its latest request, or its closing voucher."""

    acknowledged: AcknowledgedAmount
    statement: UsageRequest | Voucher
    signature: bytes


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as one side has stored it, with what both sides signed."""

    lane: int
    seq: int
    status: CallStatus
    request: UsageRequest
    request_signature: bytes
    receipt: UsageReceipt | None
    receipt_signature: bytes
    """Empty without a receipt."""
    void: ReceiptVoid | None
    void_signature: bytes
    """Empty without a void."""
    units: int
    """The lane's totals after it, without voided calls; the amount in fen."""
    amount: int

    @property
    def outstanding(self) -> bool:
        """Whether the position has no accepted answer."""
        return self.status in (CallStatus.ASKED, CallStatus.CONFLICT)


@dataclass(frozen=True, slots=True)
class LaneRecords:
    """One side's stored state of a lane."""

    last: StoredCall
    previous: StoredCall | None
    """The position before an outstanding last one; None otherwise."""
    counts: Mapping[CallStatus, int]
    """How many of its calls have each status."""
    voucher: ClosingVoucher | None


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """A call that this gateway answered, without its query."""

    lane: int
    seq: int
    status: CallStatus
    reason: str
    units: int
    """The lane's totals after it, without voided calls; the amount in fen."""
    amount: int
    at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call that this gateway answered, with its receipt's own units and fen."""

    call: GatewayCall
    units: int
    amount: int
    digest: bytes
    """Of the signed receipt, which the node's log has."""


@dataclass(frozen=True, slots=True)
class BuyerCall:
    """A buyer's call without its query and answer, as lists show it."""

    key: str | None
    """The idempotency key; None once it was released or where it was lost."""
    agreement_id: bytes
    lane: int
    seq: int
    status: CallStatus
    reason: str
    withdrawn: bool
    asked_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class SpentTotals:
    """Units and fen that a buyer has spent under an agreement, without voided calls."""

    units: int = 0
    amount: int = 0


@dataclass(slots=True)
class AgreementTotals:
    """An agreement's totals over its lanes, and the reservations of calls in progress."""

    units: int = 0
    amount: int = 0
    reserved_units: int = 0
    reserved_amount: int = 0


@dataclass(slots=True)
class GrantQuota:
    """Calls under a grant over all its agreements, bounded by its ``max_uses``."""

    served: int = 0
    """Voided calls included."""
    reserved: int = 0
    """In progress."""


@dataclass(frozen=True, slots=True)
class CallQuery:
    """The query of a call. The request commits to its canonical JSON; only the two nodes see it."""

    subject: str
    columns: tuple[str, ...]
    purpose: str
    operation: Operation = Operation.USE
    consent: str = ""
    """Commitment of the subject's consent in 0x hex; empty where none is needed."""

    def to_json(self) -> dict[str, Any]:
        """The committed form."""
        return {
            "columns": list(self.columns),
            "consent": self.consent,
            "operation": self.operation.name.lower() if self.operation.name else "",
            "purpose": self.purpose,
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, value: Any) -> CallQuery:
        """Read the committed form; ``query_malformed``."""
        if not isinstance(value, dict) or set(value) != {
            "columns",
            "consent",
            "operation",
            "purpose",
            "subject",
        }:
            raise _malformed("does not have exactly its five fields")
        columns, texts = (
            value["columns"],
            [value[name] for name in ("consent", "operation", "purpose", "subject")],
        )
        if (
            not isinstance(columns, list)
            or not 0 < len(columns) <= MAX_COLUMNS
            or len(set(map(str, columns))) != len(columns)
        ):
            raise _malformed("names no columns, too many, or one twice")
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in (*columns, *texts)):
            raise _malformed("has a field that is no short text")
        if not value["subject"]:
            raise _malformed("names no subject")
        return cls(
            subject=value["subject"],
            columns=tuple(columns),
            purpose=value["purpose"],
            operation=operation_of(value["operation"]),
            consent=value["consent"],
        )


OPERATIONS = {str(operation.name).lower(): operation for operation in Operation}
"""The single operations by name."""


def operation_of(name: str) -> Operation:
    """An operation by its exact name; ``query_malformed``."""
    if name not in OPERATIONS:
        raise BadInput(
            "query_malformed",
            "The query names no known operation.",
            hint=f"One of: {', '.join(OPERATIONS)}.",
        )
    return OPERATIONS[name]


def _malformed(what: str) -> BadInput:
    return BadInput(
        "query_malformed",
        f"The query {what}.",
        hint="Compare it with POST /v1/calls in /openapi.json.",
    )


@dataclass(frozen=True, slots=True)
class MeteredContent:
    """The masked content for a query, and its metered units."""

    content: dict[str, Any]
    canonical: bytes
    """The content in RFC 8785 form."""
    units: int


@dataclass(frozen=True, slots=True)
class ViewReference:
    """The chain view and policy a decision was made on."""

    height: int
    block_hash: bytes
    policy_version: int


class CallOutstanding(Unavailable):
    """A stored request has no answer of the gateway: it may still be served, and billed then.

    An error of the transport, a proxy or the peer's token check is the ``cause``, never the call's
    refusal.
    """

    def __init__(self, key: str, cause: QiaolianError) -> None:
        super().__init__(
            "call_outstanding",
            f"The request is stored and has no answer yet ({cause.code}): {cause.sentence}",
            hint=f"Ask again with `qiaolian call fetch {key}` (GET /v1/calls/KEY), or end it "
            f"unserved with `qiaolian call withdraw {key}` (POST /v1/calls/KEY/withdraw).",
            idempotencyKey=key,
            cause=cause.code,
        )
        self.refused_by = cause.refused_by


@dataclass(frozen=True)
class CallResult:
    """A completed call, as returned to the buyer's own systems."""

    key: str
    """The idempotency key it was made under."""
    agreement_id: bytes
    lane: int
    seq: int
    status: CallStatus
    reason: str
    content: dict[str, Any] | None
    units: int
    amount: int
    receipt: bytes
    """Struct hash of the receipt."""

    def to_json(self) -> dict[str, Any]:
        """The API's form."""
        return {
            "idempotencyKey": self.key,
            "agreementId": "0x" + self.agreement_id.hex(),
            "lane": self.lane,
            "seq": self.seq,
            "outcome": self.status,
            "reason": self.reason,
            "record": None if self.content is None else self.content.get("record"),
            "units": self.units,
            "amount": self.amount,
            "receipt": "0x" + self.receipt.hex(),
        }
