"""What the page of the node's state shows."""

from __future__ import annotations

from dataclasses import dataclass

from chain.core.error_codes import error_codes
from nodes.console.i18n import CHINESE, N_
from nodes.findings import State
from nodes.readiness import Dependency, Readiness

_STATES = {State.OK: N_("in order"), State.WARNING: N_("warning"), State.FAILING: N_("failing")}

_PARTS = {
    "database": N_("database"),
    "chain": N_("chain"),
    "projection": N_("lists from the chain"),
    "restore guard": N_("restore guard"),
    "outbox": N_("outbox"),
    "disk": N_("disk"),
    "claims": N_("claims"),
    "keys": N_("keys"),
    "certificate": N_("certificate"),
    "clock": N_("clock"),
    "peer clocks": N_("other members' clocks"),
    "peers": N_("other members"),
    "disputes": N_("disputes"),
    "cosignatures": N_("cosignatures"),
}
"""The parts of ``nodes.health.CHECKS``; sources and workers have names of their own."""


@dataclass(frozen=True, slots=True)
class PartView:
    """One part of the node; ``name`` and ``state`` are labels."""

    name: str
    state: str
    good: bool
    required: bool
    code: str
    detail: str
    next_step: str


def part_views(found: Readiness, language: str) -> list[PartView]:
    """Every part as the page shows it. Reads the registry of errors from its files once."""
    return [part_view(part, language) for part in found.dependencies]


def part_view(part: Dependency, language: str) -> PartView:
    """A part as the page shows it; what a code means comes from the registry of errors."""
    detail, next_step = part.detail, part.hint
    entry = error_codes().get(part.code)
    if entry is not None and language == CHINESE:
        detail, next_step = entry.sentence.zh, entry.next_step.zh
    return PartView(
        name=_PARTS.get(part.name, part.name),
        state=_STATES[part.state],
        good=part.state is State.OK,
        required=part.required,
        code=part.code,
        detail=detail,
        next_step=next_step,
    )
