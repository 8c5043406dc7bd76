"""The rule of two persons. Pure."""

from __future__ import annotations

import dataclasses

from chain.core.errors import Forbidden
from exchange.approvals.model import Approval, Matter

APPROVAL_SECONDS = 7 * 86_400
"""How long a first approval waits for the second."""


def require_named(person: str) -> str:
    """The person's id; ``person_unnamed`` where the caller has none."""
    if not person:
        raise Forbidden(
            "person_unnamed",
            "This needs two persons, and the request names none.",
            hint="Use the console, or an access token of your own.",
        )
    return person


def approved(
    before: Approval | None, matter: Matter, subject: str, digest: bytes, person: str, now: int
) -> Approval:
    """The state after a person approves.

    The first approval of content counts for that content alone, and for a week: of changed content
    this person is the first.

    Raises:
        Forbidden: ``person_unnamed``, ``second_person_needed`` when the same person approves again.
    """
    require_named(person)
    fresh = before is not None and before.digest == digest and not before.complete
    if before is None or not fresh or before.first_at < now - APPROVAL_SECONDS:
        return Approval(matter, subject, digest, person, now)
    if before.first == person:
        raise Forbidden(
            "second_person_needed",
            "You proposed this; another person confirms it.",
            hint="Ask a colleague who may do it to open the same page.",
        )
    return dataclasses.replace(before, second=person, second_at=now)
