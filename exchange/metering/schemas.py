"""Requests and answers of the endpoints for metered calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import Statement as SignedStatement
from exchange.metering import service
from exchange.metering.model import BuyerCall, CallQuery, CallStatus, StoredCall, operation_of
from registry.pages import ListAnswer
from registry.schemas import RefusedByAnswer, SignedStatementAnswer, Statement

MAX_BATCH_CALLS = 1000
_CALL: dict[str, Any] = {
    "agreementId": "0x" + "33" * 32,
    "subject": "92440700MA4WTEYT1T",
    "columns": ["Seniority", "Job"],
    "purpose": "credit-assessment",
    "consentId": "0x" + "44" * 32,
}


class CallBody(BaseModel):
    """One metered call."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _CALL})
    agreementId: str
    subject: Annotated[str, Field(min_length=1, max_length=256)]
    columns: Annotated[list[str], Field(min_length=1, max_length=256)]
    purpose: str
    operation: str = "use"
    consentId: str | None = None

    def query(self) -> CallQuery:
        """The query; ``query_malformed``."""
        made = CallQuery(
            subject=self.subject,
            columns=tuple(self.columns),
            purpose=self.purpose,
            operation=operation_of(self.operation),
            consent=(self.consentId or "").lower(),
        )
        return CallQuery.from_json(made.to_json())


class BatchCall(CallBody):
    """One call of a batch, with its own idempotency key."""

    key: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class BatchBody(BaseModel):
    """Several calls; each ends on its own."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"calls": [{**_CALL, "key": "order-117/1"}]}}
    )
    calls: Annotated[list[BatchCall], Field(min_length=1, max_length=MAX_BATCH_CALLS)]


class StreamCall(CallBody):
    """A line of a stream of calls. Its key makes the line count once, however often it is sent."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {**_CALL, "key": "november.csv/1"}}
    )
    key: Annotated[str, Field(min_length=1, max_length=200)]


class CallRow(BaseModel):
    """A stored call without its content; ``askedAt`` in Unix seconds."""

    idempotencyKey: str | None
    agreementId: str
    lane: int
    seq: int
    outcome: str
    reason: str
    withdrawn: bool
    askedAt: int

    @classmethod
    def of(cls, call: BuyerCall) -> Self:
        """As the API shows it."""
        return cls(
            idempotencyKey=call.key,
            agreementId="0x" + call.agreement_id.hex(),
            lane=call.lane,
            seq=call.seq,
            outcome=service.OUTSTANDING if call.status == CallStatus.ASKED else call.status,
            reason=call.reason,
            withdrawn=call.withdrawn,
            askedAt=call.asked_at,
        )


class CallList(ListAnswer):
    """A page of stored calls."""

    calls: list[CallRow]


class UnknownSubjectRow(BaseModel):
    """Refusals with `subject_unknown` under one grant; times in Unix seconds."""

    grantId: str
    refusals: int
    lastAt: int
    refusedUntil: int | None

    @classmethod
    def of(cls, found: service.UnknownSubjectRefusals) -> UnknownSubjectRow:
        """As the API shows them."""
        return cls(
            grantId="0x" + found.grant_id.hex(),
            refusals=found.refusals,
            lastAt=found.last_at,
            refusedUntil=found.refused_until,
        )


class UnknownSubjectList(ListAnswer):
    """The limit and its period in seconds, and a page of grants."""

    limit: int
    seconds: int
    grants: list[UnknownSubjectRow]


class CallAnswer(BaseModel):
    """The result of a call; the amount in fen."""

    idempotencyKey: str | None
    agreementId: str
    lane: int
    seq: int
    outcome: str
    reason: str
    record: dict[str, Any] | None
    units: int
    amount: int
    receipt: str = Field(description="Struct hash of the receipt")


class FailedCall(BaseModel):
    """A call of a batch without a result."""

    outcome: Literal["failed"]
    reason: str
    detail: str
    hint: str
    refusedBy: RefusedByAnswer
    idempotencyKey: str = Field("", description="Left out where the request is not stored")


class StreamedCall(CallAnswer):
    """The result of a line's call; lines count from 1, without empty ones."""

    line: int


class FailedLine(FailedCall):
    """A line without a result."""

    line: int


class StreamEnd(BaseModel):
    """The last line of an answer: without it the answer is cut off. ``end`` is false where not the
    whole request was read; then ``reason`` says why.
    """

    end: bool
    lines: int = Field(description="Lines that were read")
    reason: str = ""
    detail: str = ""
    hint: str = ""


def failed_call(call: BatchCall | StreamCall | None, error: QiaolianError) -> dict[str, Any]:
    """A call without a result, with the key to ask again under if its request is stored; None for
    a line that is no call.
    """
    reported = {
        "outcome": "failed",
        "reason": error.code,
        "detail": error.sentence,
        "hint": error.hint,
        "refusedBy": error.refused_by.to_json(),
    }
    key = error.context.get("idempotencyKey", None if call is None else call.key)
    return reported if key is None else {**reported, "idempotencyKey": key}


class BatchAnswer(BaseModel):
    """A result for each call, in the order of the calls."""

    results: list[CallAnswer | FailedCall]


class ReceiptAnswer(BaseModel):
    """A receipt, with the content of a served call."""

    content: dict[str, Any] | None
    receipt: Statement = Field(description="`UsageReceipt`; see docs/statements.md")
    salt: str | None
    signature: str


class VoidAnswer(BaseModel):
    """A receipt was voided: its call costs nothing."""

    signature: str
    void: Statement = Field(description="`ReceiptVoid`; see docs/statements.md")


class CallError(BaseModel):
    """A request that was refused before a receipt; an error may add members of its own."""

    model_config = ConfigDict(extra="allow")
    code: str
    detail: str
    status: int
    hint: str


class CallErrorAnswer(BaseModel):
    """In place of a receipt."""

    error: CallError


class PeerCallAnswers(BaseModel):
    """An answer for each request, in the order of the requests."""

    answers: list[ReceiptAnswer | VoidAnswer | CallErrorAnswer]


class VouchersAnswer(BaseModel):
    """The number of accepted vouchers."""

    taken: int


class PositionAnswer(BaseModel):
    """What this node stored of a sequence position."""

    request: SignedStatementAnswer
    receipt: SignedStatementAnswer | None
    void: SignedStatementAnswer | None

    @classmethod
    def of(cls, call: StoredCall) -> Self:
        """As the API shows it."""
        receipt, void = call.receipt, call.void
        return cls(
            request=signed_answer(call.request, call.request_signature),
            receipt=None if receipt is None else signed_answer(receipt, call.receipt_signature),
            void=None if void is None else signed_answer(void, call.void_signature),
        )


def signed_answer(signed: SignedStatement, signature: bytes) -> SignedStatementAnswer:
    return SignedStatementAnswer(statement=signed.to_json(), signature="0x" + signature.hex())


class PositionsAnswer(BaseModel):
    """Positions of a lane, and its closing voucher."""

    positions: list[PositionAnswer]
    voucher: SignedStatementAnswer | None
