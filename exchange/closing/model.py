"""The final totals of an agreement with their signatures, and the ways in which it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.core.errors import QiaolianError
from chain.statements.trade import FinalSettlement
from exchange.metering.model import ClosingVoucher


class FinalState(StrEnum):
    """State of the cooperative closing of an agreement."""

    PROPOSED = "proposed"
    """The buyer signed the final totals; the provider's answer is not known."""
    REFUSED = "refused"
    """The provider did not sign; the buyer's lanes are open again."""
    SIGNED = "signed"
    """Both sides signed: no more calls are made or served."""
    SETTLED = "settled"
    """The chain has paid, refunded and closed by these totals."""
    LAPSED = "lapsed"
    """The agreement was closed by notice and window instead."""


@dataclass(frozen=True, slots=True)
class StoredSettlement:
    """An agreement's final totals with the signatures so far."""

    settlement: FinalSettlement
    state: FinalState
    buyer_signature: bytes
    provider_signature: bytes | None
    at: int
    """When this node stored them, in Unix seconds."""
    reason: str = ""
    """Why the provider did not sign: a code."""

    @property
    def agreement_id(self) -> bytes:
        """The agreement they end."""
        return self.settlement.agreement_id


class ClosingWay(StrEnum):
    """How an agreement is ended."""

    COOPERATIVE = "cooperative"
    NOTICE = "notice"
    VOUCHERS = "vouchers"
    """The buyer's closing vouchers were sent, and nothing else was asked for."""
    CLOSED = "closed"
    """It was closed before."""


@dataclass(frozen=True, slots=True)
class CooperativeClosing:
    """The contract call that closes by the totals both signed."""

    operation: str
    totals: StoredSettlement


@dataclass(frozen=True, slots=True)
class ClosingOutcome:
    """What ``service.end`` did; what does not belong to the way taken is None."""

    way: ClosingWay
    operation: str | None = None
    """The contract call, or None if another party sent the notice."""
    closed_at: int | None = None
    """Height of an earlier closing."""
    notice_at: int | None = None
    """Height of an earlier notice."""
    refusal: QiaolianError | None = None
    """Why the cooperative way failed."""
    vouchers: Sequence[ClosingVoucher] | None = None
    """What the buyer acknowledged; None at the provider."""
    vouchers_refusal: QiaolianError | None = None
    """Why the provider did not get them."""
    totals: StoredSettlement | None = None
