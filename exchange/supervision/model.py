"""Flows and hours of the whole network, as the chain's events show them. Money in fen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgreementFacts:
    """Who gives what to whom under an agreement, and when it was opened and closed."""

    agreement_id: bytes
    provider: str
    buyer: str
    asset_id: bytes
    grant_id: bytes
    opened_at: int
    """Unix seconds."""
    closed_at: int | None


@dataclass(frozen=True, slots=True)
class Flow:
    """What one member got of another's asset within a period, as far as it was claimed."""

    provider: str
    buyer: str
    asset_id: bytes
    calls: int
    units: int
    amount: int


@dataclass(frozen=True, slots=True)
class FlowSums:
    """The largest flows of a period, and the sums over all."""

    rows: tuple[Flow, ...]
    total: int
    """How many flows there are; ``rows`` may be fewer."""
    calls: int
    units: int
    amount: int


@dataclass(frozen=True, slots=True)
class Flows(FlowSums):
    """The same with the days that it covers."""

    first_day: str
    last_day: str


@dataclass(frozen=True, slots=True)
class HourCounts:
    """Activity of the network in an hour."""

    hour: int
    """Unix seconds of its start."""
    calls: int = 0
    """Settled on the chain."""
    amount: int = 0
    deposited: int = 0
    paid: int = 0
    withdrawn: int = 0
    opened: int = 0
    """Agreements opened, and closed."""
    closed: int = 0
