"""The check that an account of looks is complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Gap(StrEnum):
    """Why an account of looks is not complete."""

    POSITION_MISSING = "position_missing"
    """A lane's stored calls have a gap."""
    BEHIND_CHAIN = "behind_chain"
    """The chain has been claimed beyond the last stored call."""
    SUBJECT_NOT_RECORDED = "subject_not_recorded"
    """Delivered calls whose subject was not stored: from before this was recorded, or recovered."""
    NOT_IN_LOG = "not_in_log"
    """Receipts of the subject's calls that this node's log does not hold."""
    BUYER_NAMES_MORE = "buyer_names_more"
    """The buyer lists calls for the subject that this node does not list."""
    BUYER_NAMES_LESS = "buyer_names_less"
    """This node lists calls for the subject that the buyer does not list."""
    BUYER_SILENT = "buyer_silent"
    """The buyer's node did not answer: its account could not be compared."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, for one agreement or buyer."""

    gap: Gap
    buyer: str
    agreement_id: bytes | None
    lane: int | None
    count: int
    """How many calls it concerns; 0 where that is unknown."""


@dataclass(frozen=True, slots=True)
class LaneAccount:
    """A lane as this gateway has stored it, and as the chain has been claimed."""

    agreement_id: bytes
    buyer: str
    lane: int
    calls: int
    last: int
    unnamed: int
    claimed: int
    """The last sequence number that the chain was claimed up to, proved."""


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """What was compared, and the findings."""

    looks: int
    """Delivered calls for the subject."""
    agreements: int
    calls: int
    """Calls of every subject in these agreements' lanes."""
    buyers: int
    height: int
    """The block under which the chain's records were proved."""
    findings: Sequence[Finding]

    @property
    def complete(self) -> bool:
        """Whether receipts, chain, log and buyers show no gap."""
        return not self.findings
