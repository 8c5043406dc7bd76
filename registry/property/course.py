"""The course of a deal: which step has been taken, which one is due and whose it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.statements.property import StepKind
from registry.property.model import DealOverview, DealStage, StoredStep
from registry.property.rules import party, preceding_steps, steps_of

_OVER = (DealStage.REGISTERED, DealStage.EXPIRED, DealStage.REFUSED)


class StepState(StrEnum):
    """Status of one step of a deal."""

    DONE = "done"
    """The chain has it."""
    SENT = "sent"
    """It is signed and on its way to the chain."""
    NEXT = "next"
    """Its party can sign it now."""
    LATER = "later"
    """Other steps come first."""
    DROPPED = "dropped"
    """The deal ended without it."""


@dataclass(frozen=True, slots=True)
class CourseStep:
    """One step of a deal's course."""

    step: StepKind
    party: str
    """Code of the member that signs it; empty for seller and buyer."""
    state: StepState
    stored: StoredStep | None


def course_of(overview: DealOverview) -> Sequence[CourseStep]:
    """The steps that the deal needs, in order, each with its state."""
    terms = overview.deal.terms
    stored = {step.step: step for step in overview.steps}
    taken = {kind for kind, step in stored.items() if step.height}
    over = overview.stage in _OVER

    def state(kind: StepKind) -> StepState:
        known = stored.get(kind)
        if known is not None and known.height:
            return StepState.DONE
        if over:
            return StepState.DROPPED
        if known is not None and known.signature is not None:
            return StepState.SENT
        due = preceding_steps(kind, mortgaged=bool(terms.bank)) <= taken
        return StepState.NEXT if due else StepState.LATER

    return [
        CourseStep(kind, party(terms, kind), state(kind), stored.get(kind))
        for kind in steps_of(terms)
    ]


def due_steps(course: Sequence[CourseStep]) -> list[CourseStep]:
    """The steps that can be signed now."""
    return [step for step in course if step.state is StepState.NEXT]
