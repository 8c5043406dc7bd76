"""View models of the pages of the node's state."""

from __future__ import annotations

from dataclasses import dataclass

from chain.core.error_codes import error_codes
from nodes.console.i18n import CHINESE, N_
from nodes.findings import State
from nodes.readiness import Dependency, Readiness

STATES = {State.OK: N_("in order"), State.WARNING: N_("warning"), State.FAILING: N_("failing")}

PART_NAMES = {
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
    "sources": N_("data sources"),
    "workers": N_("background tasks"),
    "worker restore-guard": N_("background task: check after a restore"),
    "worker projector": N_("background task: events of the chain"),
    "worker evidence": N_("background task: log and anchors"),
    "worker claims": N_("background task: claims"),
    "worker witness": N_("background task: cosigning other members' logs"),
    "worker proposals": N_("background task: orders without an answer"),
    "worker closings": N_("background task: closing of agreements"),
    "worker deals": N_("background task: steps of property deals"),
    "worker register": N_("background task: register of homes"),
    "worker certificate": N_("background task: certificate"),
    "worker peers": N_("background task: other members' nodes"),
    "worker nodes": N_("background task: state of all nodes"),
    "worker reconciliation": N_("background task: reconciliation"),
    "worker uploads": N_("background task: uploaded files"),
    "worker demands": N_("background task: other members' demands"),
}
"""The parts of ``nodes.health.CHECKS`` and the workers; a source has a name of its own."""


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
        name=PART_NAMES.get(part.name, part.name),
        state=STATES[part.state],
        good=part.state is State.OK,
        required=part.required,
        code=part.code,
        detail=detail,
        next_step=next_step,
    )
