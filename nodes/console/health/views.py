"""What the page of the node's state shows."""

from __future__ import annotations

from dataclasses import dataclass

from chain.core.error_codes import error_codes
from nodes.console.i18n import CHINESE, N_
from nodes.findings import State
from nodes.health import Dependency

_STATES = {State.OK: N_("in order"), State.WARNING: N_("warning"), State.FAILING: N_("failing")}


@dataclass(frozen=True, slots=True)
class PartView:
    """One part of the node; ``state`` is a marked label."""

    name: str
    state: str
    good: bool
    required: bool
    code: str
    detail: str
    next_step: str


def part_view(part: Dependency, language: str) -> PartView:
    """A part as the page shows it; what a code means comes from the registry of errors."""
    detail, next_step = part.detail, part.hint
    entry = error_codes().get(part.code)
    if entry is not None and language == CHINESE:
        detail, next_step = entry.sentence.zh, entry.next_step.zh
    return PartView(
        name=part.name,
        state=_STATES[part.state],
        good=part.state is State.OK,
        required=part.required,
        code=part.code,
        detail=detail,
        next_step=next_step,
    )
