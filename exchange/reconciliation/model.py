"""What the three tellers say of a lane: the gateway's books, the buyer's books, the chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Count:
    """One teller's count of a lane."""

    seq: int
    units: int
    amount: int
    acknowledged_seq: int = 0
    """Highest place a signature of the buyer acknowledges."""
    acknowledged_amount: int = 0
    served: int = 0
    refused: int = 0
    voided: int = 0
    places: int = 0
    """Places on record; fewer than ``seq`` means holes."""
    outstanding: int = 0
    """Places asked for and not answered (buyer)."""
    receipt: str = ""
    """Struct hash of the last receipt, 0x hex."""


@dataclass(frozen=True)
class Finding:
    """A place where the tellers part."""

    kind: str
    """``gap``, ``conflict``, ``unreachable`` or ``unclaimed``."""
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


@dataclass
class Compared:
    """One agreement's outcome."""

    agreement_id: bytes
    lanes: dict[int, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether nothing contradicts; money delivered and not claimed yet is no contradiction."""
        return not any(each.kind in ("gap", "conflict", "unreachable") for each in self.findings)
