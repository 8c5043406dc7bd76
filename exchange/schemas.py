"""Parts that several endpoints' answers share, as the API describes them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from registry.schemas import Statement


class FinalTotals(BaseModel):
    """The totals of a cooperative closing; fen as text, ``at`` in Unix seconds."""

    state: str
    reason: str
    units: int
    amount: str
    hash: str
    at: int


class FinalSettlementAnswer(FinalTotals):
    """The totals as they were signed."""

    settlement: Statement = Field(description="`FinalSettlement`; see docs/statements.md")
    buyerSignature: str
    providerSignature: str | None


class SignedVoucher(BaseModel):
    """A voucher with the buyer's signature."""

    voucher: Statement = Field(description="`Voucher`; see docs/statements.md")
    signature: str
