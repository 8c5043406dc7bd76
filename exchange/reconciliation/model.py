"""A lane as three sources report it: the gateway, the buyer and the chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LaneCount:
    """The count of a lane by one side."""

    seq: int
    units: int
    amount: int
    acknowledged_seq: int = 0
    """Highest position that a signature of the buyer acknowledges."""
    acknowledged_amount: int = 0
    served: int = 0
    refused: int = 0
    voided: int = 0
    positions: int = 0
    """Stored positions; fewer than ``seq`` means gaps."""
    outstanding: int = 0
    """Unanswered requests (buyer)."""
    receipt: str = ""
    """Struct hash of the last receipt, 0x hex."""


@dataclass(frozen=True)
class ReconciliationFinding:
    """A position at which the sources differ."""

    kind: str
    """``gap``, ``conflict``, ``unreachable``, ``unclaimed`` or ``lost``."""
    sentence: str
    lane: int | None = None
    from_seq: int | None = None
    to_seq: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The report's form."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "lane": self.lane,
            "fromSeq": self.from_seq,
            "toSeq": self.to_seq,
        }


@dataclass(frozen=True)
class SharePayment:
    """One member's part of the split."""

    member: str
    basis_points: int
    due: int
    """Fen the split gives it of what was claimed, rounded down."""
    paid: int
    """Fen the contract has paid it."""


@dataclass(frozen=True)
class AgreementMoney:
    """An agreement's money by its state, in fen."""

    earned: int
    """Delivered, by the receipts."""
    acknowledged: int
    """Of that, acknowledged by the buyer: can be claimed."""
    claimed: int
    """Of that, claimed on the chain."""
    paid: int
    """Of that, paid by the split; the rounding remainder returns to the buyer."""
    closed: bool
    agreed: bool = False
    """Whether both parties signed the final totals it closed with, so that the rest was waived."""
    parts: tuple[SharePayment, ...] = ()

    @property
    def unclaimed(self) -> int:
        """Acknowledged and not claimed yet."""
        return 0 if self.closed else max(0, self.acknowledged - self.claimed)

    @property
    def lost(self) -> int:
        """Delivered, and not claimed when the agreement closed."""
        return max(0, self.earned - self.claimed) if self.closed and not self.agreed else 0

    def to_json(self) -> dict[str, Any]:
        """The report's form."""
        amounts = {
            name: str(getattr(self, name))
            for name in ("earned", "acknowledged", "claimed", "paid", "unclaimed", "lost")
        }
        parts = [
            {
                "member": part.member,
                "basisPoints": part.basis_points,
                "due": str(part.due),
                "paid": str(part.paid),
            }
            for part in self.parts
        ]
        return {**amounts, "closed": self.closed, "agreed": self.agreed, "parts": parts}


@dataclass
class Comparison:
    """The result for one agreement."""

    agreement_id: bytes
    money: AgreementMoney | None = None
    """None if neither side reported its counts."""
    lanes: dict[int, dict[str, Any]] = field(default_factory=dict)
    findings: list[ReconciliationFinding] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether the sources agree; unclaimed or lost money is no contradiction."""
        return not any(
            finding.kind in ("gap", "conflict", "unreachable") for finding in self.findings
        )
