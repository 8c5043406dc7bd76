"""Requests and answers of the endpoints that end agreements."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from chain.core.errors import QiaolianError
from exchange.closing import model
from exchange.closing.notice import PartyCall
from exchange.metering.model import ClosingVoucher
from registry.schemas import RefusedByAnswer, Statement


class FinalTotals(BaseModel):
    """The totals of a cooperative closing; fen as text, ``at`` in Unix seconds."""

    state: str
    reason: str
    units: int
    amount: str
    hash: str
    at: int

    @classmethod
    def of(cls, stored: model.StoredSettlement) -> FinalTotals:
        """As the API shows them."""
        return FinalTotals(**_totals(stored))


class FinalSettlementAnswer(FinalTotals):
    """The totals as they were signed."""

    settlement: Statement = Field(description="`FinalSettlement`; see docs/statements.md")
    buyerSignature: str
    providerSignature: str | None

    @classmethod
    def of(cls, stored: model.StoredSettlement) -> FinalSettlementAnswer:
        """As the API shows them."""
        provider = stored.provider_signature
        return FinalSettlementAnswer(
            **_totals(stored),
            settlement=stored.settlement.to_json(),
            buyerSignature="0x" + stored.buyer_signature.hex(),
            providerSignature=None if provider is None else "0x" + provider.hex(),
        )


def _totals(stored: model.StoredSettlement) -> dict[str, Any]:
    settlement = stored.settlement
    return {
        "state": stored.state,
        "reason": stored.reason,
        "units": settlement.units,
        "amount": str(settlement.amount),
        "hash": "0x" + settlement.struct_hash().hex(),
        "at": stored.at,
    }


class SignedVoucher(BaseModel):
    """A voucher with the buyer's signature."""

    voucher: Statement = Field(description="`Voucher`; see docs/statements.md")
    signature: str

    @classmethod
    def of(cls, signed: ClosingVoucher) -> Self:
        """As the API shows it."""
        return cls(**signed.to_json())


class ClosingBody(BaseModel):
    """Ways to end: cooperatively if the other side agrees, else by notice on the chain."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"cooperative": True, "notice": True}}
    )
    cooperative: bool = True
    notice: bool = True


class ClosingRefusal(BaseModel):
    """Why a way to close failed."""

    code: str
    detail: str
    hint: str
    refusedBy: RefusedByAnswer

    @classmethod
    def of(cls, error: QiaolianError) -> Self:
        """As the API shows it."""
        refused_by = RefusedByAnswer(**error.refused_by.to_json())
        return cls(code=error.code, detail=error.sentence, hint=error.hint, refusedBy=refused_by)


class ClosingAnswer(BaseModel):
    """How an agreement is ended; what does not belong to the way taken is left out."""

    way: str = Field(description="`cooperative`, `notice`, `vouchers` or `closed`")
    closedAt: int = Field(default=0, description="Height")
    refusal: ClosingRefusal | None = Field(
        default=None, description="Why the cooperative way failed"
    )
    vouchers: list[SignedVoucher] = []
    vouchersRefused: ClosingRefusal | None = Field(
        default=None, description="Why no vouchers were delivered"
    )
    operation: str | None = None
    noticeAt: int = Field(default=0, description="Height of an earlier notice")
    finalSettlement: FinalSettlementAnswer | None = None

    @classmethod
    def of(cls, outcome: model.ClosingOutcome) -> Self:
        """As the API shows it."""
        fields: dict[str, Any] = {}
        if outcome.closed_at is not None:
            fields["closedAt"] = outcome.closed_at
        if outcome.refusal is not None:
            fields["refusal"] = ClosingRefusal.of(outcome.refusal)
        if outcome.vouchers is not None:
            fields["vouchers"] = [SignedVoucher.of(signed) for signed in outcome.vouchers]
        if outcome.vouchers_refusal is not None:
            fields["vouchersRefused"] = ClosingRefusal.of(outcome.vouchers_refusal)
        if outcome.way in (model.ClosingWay.COOPERATIVE, model.ClosingWay.NOTICE):
            fields["operation"] = outcome.operation
        if outcome.notice_at is not None:
            fields["noticeAt"] = outcome.notice_at
        if outcome.way in (model.ClosingWay.COOPERATIVE, model.ClosingWay.CLOSED):
            totals = outcome.totals
            fields["finalSettlement"] = None if totals is None else FinalSettlementAnswer.of(totals)
        return cls(way=outcome.way, **fields)


class CooperativeClosing(BaseModel):
    """The contract call that closes with the totals both signed."""

    operation: str
    finalSettlement: FinalSettlementAnswer | None

    @classmethod
    def of(cls, closing: model.CooperativeClosing) -> Self:
        """As the API shows it."""
        totals = FinalSettlementAnswer.of(closing.totals)
        return cls(operation=closing.operation, finalSettlement=totals)


class Countersignature(BaseModel):
    """This member's signature of the final totals."""

    signature: str


class NoticeAnswer(BaseModel):
    """The contract call; with the height of a notice that was given before."""

    operation: str | None
    noticeAt: int = 0

    @classmethod
    def of(cls, call: PartyCall) -> Self:
        """As the API shows it."""
        if call.done_at is None:
            return cls(operation=call.operation)
        return cls(operation=call.operation, noticeAt=call.done_at)


class CloseAnswer(BaseModel):
    """The contract call; with the height of a closing that happened before."""

    operation: str | None
    closedAt: int = 0

    @classmethod
    def of(cls, call: PartyCall) -> Self:
        """As the API shows it."""
        if call.done_at is None:
            return cls(operation=call.operation)
        return cls(operation=call.operation, closedAt=call.done_at)
