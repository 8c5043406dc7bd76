"""Values of a dispute. Money is in fen, ``…_at`` are heights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.statements.disputes import ContestReason, DisputeOutcome, LogPosition
from chain.statements.trade import Agreement, UsageReceipt


class DisputeRole(StrEnum):
    """This organisation's role in a dispute."""

    PROVIDER = "provider"
    BUYER = "buyer"
    ARBITER = "arbiter"
    OBSERVER = "observer"


class DisputeCase(StrEnum):
    """What a dispute's bundle shows of a call."""

    CLAIM = "claim"
    """A last receipt was claimed without an acknowledgement, and how that ended."""
    EQUIVOCATION = "equivocation"
    """The provider signed two receipts for one position."""
    REQUEST = "request"
    """The receipt is for a request that the buyer did not make."""
    AMOUNT = "amount"
    """Price or units are not as agreed."""
    REVOKED = "revoked"
    """The right had been revoked, or the receipt was voided."""
    ANSWER = "answer"
    """What was served again is not what the receipt commits to."""


class DisputeStep(StrEnum):
    """Whose turn it is."""

    CLAIMED = "claimed"
    """The buyer's: it acknowledges or contests, or the call is paid."""
    CONTESTED = "contested"
    """The provider's: it serves the answer again, or the call is unpaid."""
    ANSWERED = "answered"
    """The arbiter's: it rules, or the call is unpaid."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as the chain's events have it."""

    receipt_id: bytes
    """Struct hash of the receipt: the dispute's name."""
    receipt: UsageReceipt
    agreement: Agreement
    role: DisputeRole
    step: DisputeStep
    reason: ContestReason | None
    claimed_at: int
    contested_at: int | None
    answered_at: int | None
    ended_at: int | None
    outcome: DisputeOutcome
    paid: int
    contest_key: bytes
    """The X25519 key for the answer; empty before a contest."""
    sealed_hash: bytes
    """SHA-256 of the sealed answer; empty before the provider answered."""
    opened: bool
    """Whether this buyer shows the answer to the arbiter."""


@dataclass(frozen=True, slots=True)
class ContestLimits:
    """What this buyer's node may stake in a contest by itself."""

    stake: int | None = None
    """Fen; None for no more than the call costs, which silence would cost for certain."""

    def allow(self, dispute: Dispute) -> bool:
        """Whether a contest needs no person's approval."""
        most = dispute.receipt.amount if self.stake is None else self.stake
        return dispute.agreement.stake <= most


@dataclass(frozen=True, slots=True)
class Deadline:
    """When the present step is over: after this block and this time."""

    block: int
    time: int
    """Unix seconds."""
    over: bool


@dataclass(frozen=True, slots=True)
class DisputeView:
    """A dispute, its deadline while it is open, and the bond that the chain still holds."""

    dispute: Dispute
    deadline: Deadline | None
    bond_held: int
    wrong: ContestReason | None = None
    """Why this buyer's own records show the receipt to be wrong; None if nothing does."""


@dataclass(frozen=True, slots=True)
class DisputeCall:
    """A contract call that was queued."""

    receipt_id: bytes
    """The dispute; of a freeze, the agreement."""
    operation: str


@dataclass(frozen=True, slots=True)
class RulingRequest:
    """An arbiter's decision."""

    amount: int
    """What is paid of the call, in fen."""
    opinion: str
    """The reasons in words; the ruling commits to them."""
    evidence: Sequence[LogPosition]


@dataclass(frozen=True, slots=True)
class FineRequest:
    """What two governors are asked to take out of a provider's bond."""

    amount: int
    """Fen."""
    to: str
    """The member that gets it."""
    reason: str
    """The decision's number or code; it counts once for an agreement."""


@dataclass(frozen=True, slots=True)
class Fine:
    """A fine that the chain carried out."""

    agreement_id: bytes
    reason: str
    provider: str
    taken: int
    """Fen; less than the fine if less was held."""
    height: int


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """The answer that a provider served again, opened and compared with its receipt."""

    content: object
    salt: bytes
    matches: bool
    """Whether it is what the receipt commits to."""
