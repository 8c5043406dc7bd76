"""A lane as three sources report it: the gateway, the buyer and the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chain.ethereum.eip712 import Statement
from chain.ethereum.records import LaneRecord
from exchange.agreements.model import AgreementSide
from exchange.metering.model import CallStatus, LaneRecords

CONTRADICTIONS = ("gap", "conflict", "unreachable", "price", "revoked_use")
"""Kinds of findings that somebody has to answer for; unclaimed or lost money is none."""


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
    receipt_height: int = 0
    """The block that the gateway saw when it delivered the last call; 0 if that was refused."""


@dataclass(frozen=True)
class ReconciliationFinding:
    """A position at which the sources differ."""

    kind: str
    """``gap``, ``conflict``, ``unreachable``, ``price``, ``revoked_use``, ``unclaimed`` or
    ``lost``.
    """
    sentence: str
    lane: int | None = None
    from_seq: int | None = None
    to_seq: int | None = None
    side: str = ""
    """Who has to answer for it: ``provider`` or ``buyer``; empty for both."""


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


@dataclass(frozen=True, slots=True)
class LaneComparison:
    """A lane by gateway, buyer and chain; None for a side that did not answer."""

    gateway: LaneCount | None
    buyer: LaneCount | None
    chain: LaneRecord


@dataclass
class Comparison:
    """The result for one agreement."""

    agreement_id: bytes
    money: AgreementMoney | None = None
    """None if neither side reported its counts."""
    lanes: dict[int, LaneComparison] = field(default_factory=dict)
    findings: list[ReconciliationFinding] = field(default_factory=list)

    @property
    def agree(self) -> bool:
        """Whether the sources agree; unclaimed or lost money is no contradiction."""
        return not any(finding.kind in CONTRADICTIONS for finding in self.findings)


@dataclass(frozen=True, slots=True)
class SideCounts:
    """A side's counts of an agreement's lanes, with the statements that prove them."""

    side: AgreementSide
    lanes: Mapping[int, LaneRecords]

    def lanes_json(self) -> dict[str, Any]:
        """The counts by lane as they are sent."""
        return {str(lane): _lane_json(stored) for lane, stored in self.lanes.items()}


def _lane_json(stored: LaneRecords) -> dict[str, Any]:
    """A lane's count with its proofs; an unanswered last request is not counted as a position."""
    call, outstanding = stored.last, stored.last.outstanding
    shown: dict[str, Any] = {
        "seq": call.seq - outstanding,
        "units": call.units,
        "amount": call.amount,
        "outstanding": int(outstanding),
        "request": _proof_json("request", call.request, call.request_signature),
    }
    last = stored.previous if outstanding else call
    if last is not None and last.void is not None:
        shown["void"] = _proof_json("void", last.void, last.void_signature)
    elif last is not None and last.receipt is not None:
        shown["receipt"] = _proof_json("receipt", last.receipt, last.receipt_signature)
    for status, count in stored.counts.items():
        shown["void_count" if status == CallStatus.VOID else status.value] = count
    if stored.voucher is not None:
        shown["voucher"] = stored.voucher.to_json()
    return shown


def _proof_json(name: str, statement: Statement, signature: bytes) -> dict[str, Any]:
    return {name: statement.to_json(), "signature": "0x" + signature.hex()}


@dataclass(frozen=True, slots=True)
class ReconciliationReport:
    """A page of agreements compared. Sums are of the agreements in it; whether the money is
    conserved is of all.
    """

    height: int
    """The block that ``conserved`` was proved under."""
    projected_height: int | None
    """The last block whose events this node has taken."""
    agreements: Sequence[Comparison]
    next: str | None
    """The cursor of the following page; None at the end."""
    conserved: bool
    at: int
    """Unix seconds."""

    @property
    def lanes(self) -> int:
        """The number of compared lanes."""
        return sum(len(compared.lanes) for compared in self.agreements)

    @property
    def positions(self) -> int:
        """The number of positions that the gateways counted."""
        return sum(
            lane.gateway.seq
            for compared in self.agreements
            for lane in compared.lanes.values()
            if lane.gateway is not None
        )

    @property
    def lost(self) -> int:
        """Fen delivered and not claimed when their agreements closed."""
        return sum(
            compared.money.lost for compared in self.agreements if compared.money is not None
        )

    @property
    def counters_agree(self) -> bool:
        """Whether no agreement has a contradiction."""
        return all(compared.agree for compared in self.agreements)


class RunState(StrEnum):
    """Status of a run."""

    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ReconciliationRun:
    """A comparison of every agreement on the chain. Times in Unix seconds, money in fen."""

    id: int
    state: RunState
    started_at: int
    finished_at: int | None
    agreements: int
    """Compared so far, as the next two."""
    lanes: int
    positions: int
    findings: int
    """Contradictions found."""
    lost: int
    conserved: bool | None
    """Whether the contract's money added up, by the last page; None before the first."""
    cursor: str
    """Where the next page begins; empty at the start."""


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A finding that is followed from run to run until it is settled. Times in Unix seconds."""

    id: int
    agreement_id: bytes
    provider: str
    buyer: str
    finding: ReconciliationFinding
    first_seen: int
    last_seen: int
    due_at: int
    """Until when the responsible member has to answer."""
    settled_at: int | None

    @property
    def responsible(self) -> tuple[str, ...]:
        """The members that have to answer."""
        sides = {"provider": (self.provider,), "buyer": (self.buyer,)}
        return sides.get(self.finding.side, (self.provider, self.buyer))
