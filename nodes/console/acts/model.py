"""Acts of persons and named systems."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActKind(StrEnum):
    """The kinds that the city's audit distinguishes, and those of the console itself."""

    VIEW = "view"
    EXPORT = "export"
    USE = "use"
    COPY = "copy"
    REQUEST = "request"
    APPROVE = "approve"
    REFUSE = "refuse"
    REVOKE = "revoke"
    PUBLISH = "publish"
    CHANGE = "change"
    LOG_IN = "log-in"
    LOG_OUT = "log-out"
    LOG_IN_REFUSED = "log-in-refused"


@dataclass(frozen=True, slots=True)
class Act:
    """What was done to which object. ``subject`` is the object's id as the network knows it, never
    the name of a person.
    """

    kind: ActKind
    object: str
    """Kind of the object: ``asset``, ``grant``, ``agreement``, ``account`` …"""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, and where: an account at a page, or a named system at a command or route."""

    account_id: str
    login: str
    name: str
    place: str


@dataclass(frozen=True, slots=True)
class RecordedAct:
    """A stored act; ``person`` is None once the person was forgotten."""

    id: int
    at: int
    kind: str
    object: str
    subject: str
    place: str
    outcome: str
    account_id: str
    person: str | None
    commitment: bytes


@dataclass(frozen=True, slots=True)
class ActFilter:
    """Which acts are asked for; empty fields match everything."""

    account_id: str = ""
    kind: str = ""
    object: str = ""
    subject: str = ""
