"""Findings of the health checks. Pure: values in, a finding out; no clock, network or database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.core.errors import QiaolianError
from chain.core.zone import DAY_SECONDS, local_time
from chain.ethereum.records import KeyRecord
from chain.statements.members import KeyPurpose
from nodes.clocks import ClockStatus, shown

CERTIFICATE_WARNING_DAYS = 55
"""A certificate is renewed before it has so few days left; one with fewer could not be renewed."""
PEER_WARNING_DAYS = 30
COSIGNATURE_SECONDS = 60
REPEATED_FAILURES = 3
"""So many failures one after the other are no passing disturbance."""
FAILING_SECONDS = 300
"""A worker that has failed for so long is failing, no longer a warning."""
STUCK_SECONDS = 300
SHOWN_AT_MOST = 5


class State(StrEnum):
    """The state of a part of a node."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True)
class HealthFinding:
    """A part's state; unless it is ok, a stable code, one sentence and what to do."""

    state: State = State.OK
    code: str = ""
    detail: str = ""
    hint: str = ""

    @classmethod
    def failing(cls, error: QiaolianError) -> HealthFinding:
        """Return the finding of an error."""
        return cls(State.FAILING, error.code, error.sentence, error.hint)

    @classmethod
    def warning(cls, error: QiaolianError) -> HealthFinding:
        """Return the finding of an error as a warning."""
        return cls(State.WARNING, error.code, error.sentence, error.hint)


@dataclass(frozen=True)
class WorkerStatus:
    """How a background worker's rounds have gone.

    Times in Unix seconds; None for never or not now.
    """

    name: str
    running_since: float | None = None
    last_success: float | None = None
    failing_since: float | None = None
    failures: int = 0
    """Rounds that failed since the last success."""
    partial: bool = False
    """The latest failed round did all of its work but that with some members."""
    code: str = ""
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Cosigning:
    """How far the witnesses have cosigned this node's log. Times in Unix seconds."""

    last_at: int | None
    """When the latest cosignature was made."""
    waiting_since: int | None
    """When the first checkpoint was made that no witness has followed; None while there is none."""


@dataclass(frozen=True)
class PeerStatus:
    """The last check of another member's node; ``code`` is empty if it answered."""

    member: str
    failing_since: float | None = None
    code: str = ""
    detail: str = ""
    hint: str = ""


def of_keys(records: Mapping[KeyPurpose, KeyRecord], member: str) -> HealthFinding:
    """Whether each of the node's keys is live in the directory."""
    ended = [
        f"{_key(purpose)} ended in block {record.end_height}"
        for purpose, record in records.items()
        if record.end_height
    ]
    if ended:
        return HealthFinding(
            State.FAILING,
            "key_ended",
            f"By the directory, the node's {_listed(ended)}: what it signs is refused.",
            "Replace the key as docs/operations.md says, then restart the node.",
        )
    if records and not any(record.from_height for record in records.values()):
        return HealthFinding(
            State.WARNING,
            "not_admitted",
            f"The directory holds no key of this node: {member} is "
            "not admitted yet, or with other keys.",
            "Two governors admit the member with the node's admission.json.",
        )
    missing = [
        _key(purpose)
        for purpose, record in records.items()
        if not record.live or record.member != member or record.purpose != purpose
    ]
    if missing:
        return HealthFinding(
            State.FAILING,
            "key_not_in_directory",
            f"The directory does not hold the node's {_listed(missing)} as a key of {member}.",
            "Have two governors add it to the directory.",
        )
    return HealthFinding()


def _key(purpose: KeyPurpose) -> str:
    return f"{purpose.name} key"


def of_certificate(ends_at: float, now: float) -> HealthFinding:
    """How long the node's own certificate is valid."""
    days = (ends_at - now) / DAY_SECONDS
    if days <= 0:
        return HealthFinding(
            State.FAILING,
            "certificate_expired",
            "This node's TLS certificate ended at "
            f"{local_time(ends_at)}: other members refuse its answers.",
            "Run `qiaolian node certificate renew`. If the date is "
            "still to come, correct this machine's clock.",
        )
    if days < CERTIFICATE_WARNING_DAYS:
        return HealthFinding(
            State.WARNING,
            "certificate_ends_soon",
            f"This node's TLS certificate ends at {local_time(ends_at)}, "
            f"in {days:.0f} days, and was not renewed.",
            "Run `qiaolian node certificate renew`; the worker "
            "`certificate` shows what prevents it.",
        )
    return HealthFinding(detail=f"{days:.0f} days left")


def of_clock(offset: float | None, limit: float) -> HealthFinding:
    """This node's clock against the time of the blocks (positive: ahead, in seconds)."""
    if offset is None or abs(offset) <= limit:
        return HealthFinding()
    return HealthFinding(
        State.FAILING,
        "clock_off",
        f"This node's clock is {shown(offset)} of the time of the blocks.",
        "Set this machine's clock by a time server.",
    )


def of_peer_clocks(status: ClockStatus) -> HealthFinding:
    """This node's clock against other members'."""
    if status.own is not None and status.own_off:
        return HealthFinding(
            State.FAILING,
            "clock_off",
            f"This node's clock is {shown(status.own)} of most "
            "members' clocks: they refuse its requests.",
            "Set this machine's clock by a time server.",
        )
    if status.peers:
        named = [f"{member} ({shown(offset)})" for member, offset in status.peers.items()]
        return HealthFinding(
            State.WARNING,
            "peer_clock_off",
            f"These members' clocks are off: {_listed(named)}. Requests "
            "between their nodes and this one are refused.",
            "Ask their operators to set their clocks by a time server.",
        )
    if status.undecided is not None:
        member, offset = status.undecided
        return HealthFinding(
            State.WARNING,
            "clocks_differ",
            f"This node's clock is {shown(offset)} of that of {member}; "
            "nothing shows which of the two is off.",
            "Compare both with a time server.",
        )
    return HealthFinding()


def of_peers(
    statuses: Sequence[PeerStatus], certificate_ends: Mapping[str, float], now: float
) -> HealthFinding:
    """Whether the other members' nodes answer, and how long their certificates are valid."""
    down = [status for status in statuses if status.code]
    if down:
        named = [
            f"{status.member} ({status.code}, for {_age(status.failing_since, now)})"
            for status in down
        ]
        return HealthFinding(
            State.WARNING,
            down[0].code,
            f"These members' nodes do not answer: {_listed(named)}. {down[0].detail}",
            down[0].hint,
        )
    ending = {
        member: ends_at
        for member, ends_at in certificate_ends.items()
        if ends_at - now < PEER_WARNING_DAYS * DAY_SECONDS
    }
    if ending:
        named = [f"{member} (at {local_time(ends_at)})" for member, ends_at in ending.items()]
        return HealthFinding(
            State.WARNING,
            "peer_certificate_ends_soon",
            f"The TLS certificates of these members' nodes end soon: {_listed(named)}.",
            "Tell their operators: `qiaolian node certificate renew`.",
        )
    return HealthFinding()


def of_cosignatures(cosigning: Cosigning, now: float) -> HealthFinding:
    """Whether the log is cosigned in time."""
    last = "never" if cosigning.last_at is None else f"{_age(cosigning.last_at, now)} ago"
    since = cosigning.waiting_since
    if since is not None and now - since > COSIGNATURE_SECONDS:
        return HealthFinding(
            State.WARNING,
            "cosignature_late",
            "Checkpoints of this node's log have waited "
            f"{_age(since, now)} for a witness; cosigned last: {last}.",
            "Ask the supervisor whether its node runs and reaches this one.",
        )
    return HealthFinding(detail="" if cosigning.last_at is None else f"cosigned last: {last}")


def of_worker(status: WorkerStatus, now: float) -> HealthFinding:
    """Whether a worker does its work."""
    success = (
        "no success yet"
        if status.last_success is None
        else f"last success {_age(status.last_success, now)} ago"
    )
    since = status.failing_since
    if since is not None and status.failures >= REPEATED_FAILURES:
        lasting = now - since > FAILING_SECONDS and not status.partial
        return HealthFinding(
            State.FAILING if lasting else State.WARNING,
            status.code,
            f"It has failed {status.failures} times in "
            f"{_age(since, now)} ({success}): {status.detail}",
            status.hint,
        )
    if status.running_since is not None and now - status.running_since > STUCK_SECONDS:
        return HealthFinding(
            State.WARNING,
            "worker_stuck",
            f"Its round has gone on for {_age(status.running_since, now)} ({success}).",
            "If it does not end, restart the node and report it with the node's log.",
        )
    return HealthFinding(detail=success)


def _age(since: float | None, now: float) -> str:
    seconds = 0.0 if since is None else max(0.0, now - since)
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _listed(items: list[str]) -> str:
    rest = len(items) - SHOWN_AT_MOST
    return ", ".join(items[:SHOWN_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
