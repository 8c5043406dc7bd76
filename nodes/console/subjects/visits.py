"""Whose session it is: what every page of subjects asks its services for."""

from __future__ import annotations

from chain.core.errors import Forbidden
from nodes.console.accounts.model import Visit
from registry.subjects.model import SubjectKey


def key_of(visit: Visit) -> SubjectKey:
    """The key that is logged in."""
    assert visit.subject is not None
    return visit.subject


def code_of(visit: Visit) -> str:
    """The subject's code; ``subject_not_known`` where this node knows the key from a deal alone."""
    code = key_of(visit).subject
    if not code:
        raise Forbidden(
            "subject_not_known",
            "This organisation knows the key from a property deal and not whose it is.",
            hint="Log in where the key was certified.",
        )
    return code
