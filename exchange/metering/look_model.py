"""Calls by the subject whose record they asked for, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exchange.metering.model import CallQuery, CallStatus


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A call's position: its agreement, lane and sequence number."""

    agreement_id: bytes
    lane: int
    seq: int


@dataclass(frozen=True, slots=True)
class Look:
    """A call that asked for a subject's record."""

    position: Position
    query: CallQuery
    status: CallStatus
    reason: str
    """Code of a refusal; empty for an answer."""
    at: int
    """Unix seconds."""
    receipt: bytes
    """Struct hash of the receipt; empty while a buyer waits for it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a request's commitment."""

    query: dict[str, Any]
    salt: bytes


@dataclass(frozen=True, slots=True)
class LaneCount:
    """What a gateway has stored of a lane."""

    agreement_id: bytes
    lane: int
    calls: int
    last: int
    """The last sequence number."""
    unnamed: int
    """Delivered calls whose subject this gateway does not know."""
