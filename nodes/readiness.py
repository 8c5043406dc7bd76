"""The parts of a node, whether it is ready, and what strangers may read of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, computed_field

from nodes.findings import (
    HealthFinding,
    State,
)
from nodes.sources.monitor import SourceStatus

SOURCE_PREFIX = "source "
"""How a source is named among the parts of a node."""
WORKER_PREFIX = "worker "


@dataclass(frozen=True)
class Check:
    """One health check: whether its failure makes the node not ready, and its own codes."""

    required: bool
    codes: tuple[str, ...]


CHECKS: Mapping[str, Check] = {
    "database": Check(True, ("database_unavailable", "check_timed_out")),
    "chain": Check(
        True, ("chain_view_stale", "chain_unreachable", "chain_wrong_id", "chain_header_refused")
    ),
    "projection": Check(True, ("projection_behind",)),
    "restore guard": Check(True, ("restore_unchecked", "log_behind_chain", "log_behind_witness")),
    "outbox": Check(True, ("outbox_lagging",)),
    "disk": Check(True, ("disk_full",)),
    "claims": Check(True, ("claims_at_risk", "claims_unchecked", "claims_outbox_stopped")),
    "keys": Check(True, ("key_ended", "key_not_in_directory", "not_admitted")),
    "certificate": Check(True, ("certificate_expired", "certificate_ends_soon")),
    "clock": Check(True, ("clock_off",)),
    "peer clocks": Check(False, ("clock_off", "peer_clock_off", "clocks_differ")),
    "peers": Check(
        False,
        (
            "peer_unreachable",
            "peer_timeout",
            "peer_wrong_certificate",
            "peer_certificate_expired",
            "peer_certificate_ends_soon",
        ),
    ),
    "disputes": Check(False, ("dispute_awaits",)),
    "money": Check(False, ("money_differs",)),
    "cosignatures": Check(False, ("cosignature_late",)),
    "source NAME": Check(False, ("source_unreachable", "source_missing", "source_driver_missing")),
    "worker NAME": Check(False, ("worker_stuck", "witness_incomplete", "certificate_not_written")),
}
"""The parts of a node by name, as docs/operations.md lists them."""


class Dependency(BaseModel):
    """One part of the node, or one thing it depends on."""

    name: str
    state: State
    required: bool
    """Whether the node is not ready while this fails."""
    code: str = ""
    detail: str = ""
    hint: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def up(self) -> bool:
        """Whether it does not fail; a warning leaves it up."""
        return self.state != State.FAILING


class Readiness(BaseModel):
    """Whether the node can do its work, and what is wrong.

    A source or a worker that fails leaves the node ready: assets of the source are refused with its
    code, everything else is served. ``state`` is the worst of all parts.
    """

    ready: bool
    state: State
    dependencies: list[Dependency]


class NotReady(Readiness):
    """The same as a problem (RFC 9457), with status 503."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""


def readiness_of(parts: Sequence[Dependency]) -> Readiness:
    """Return the readiness that follows from all parts."""
    worst = next(
        (
            state
            for state in (State.FAILING, State.WARNING)
            if any(part.state == state for part in parts)
        ),
        State.OK,
    )
    return Readiness(
        ready=all(part.up for part in parts if part.required),
        state=worst,
        dependencies=list(parts),
    )


def dependency(name: str, finding: HealthFinding, *, required: bool) -> Dependency:
    """A finding as a part of the node."""
    return Dependency(
        name=name,
        state=finding.state,
        required=required,
        code=finding.code,
        detail=finding.detail,
        hint=finding.hint,
    )


def source_dependency(status: SourceStatus) -> Dependency:
    """A source as a part of the node."""
    return Dependency(
        name=f"{SOURCE_PREFIX}{status.name}",
        state=State.OK if status.up else State.FAILING,
        required=False,
        code=status.code,
        detail=status.detail,
        hint=status.hint,
    )


_CONFIDENTIAL = {
    "claims": "Earned money is not claimed.",
    "peers": "Another member's node does not answer or its certificate ends soon.",
    "peer clocks": "Clocks of members differ.",
}
"""What strangers read where a detail is the organisation's own business: amounts, dates, who deals
with whom.
"""

_ASK = "Ask with an access token of this organisation to see more, and what to do."


def for_strangers(readiness: Readiness) -> Readiness:
    """Without amounts and dates of claims, other members, and the names of sources and workers."""

    def shown(part: Dependency) -> Dependency:
        if part.state == State.OK:
            return part.model_copy(update={"detail": ""})
        if part.name not in _CONFIDENTIAL:
            return part
        return part.model_copy(update={"detail": _CONFIDENTIAL[part.name], "hint": _ASK})

    def of(prefix: str) -> list[Dependency]:
        return [part for part in readiness.dependencies if part.name.startswith(prefix)]

    sources, workers = of(SOURCE_PREFIX), of(WORKER_PREFIX)
    parts = [
        shown(part)
        for part in readiness.dependencies
        if part not in sources and part not in workers
    ]
    parts += _as_one("sources", "source_down", "A source cannot be read.", sources)
    parts += _as_one("workers", "worker_failing", "A background worker fails.", workers)
    return readiness.model_copy(update={"dependencies": parts})


def _as_one(name: str, code: str, detail: str, parts: Sequence[Dependency]) -> list[Dependency]:
    """Merge several parts into one, without names."""
    if not parts:
        return []
    worst = readiness_of(parts).state
    if worst == State.OK:
        return [Dependency(name=name, state=worst, required=False)]
    return [Dependency(name=name, state=worst, required=False, code=code, detail=detail, hint=_ASK)]
