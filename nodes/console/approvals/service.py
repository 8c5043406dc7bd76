"""Two-person approval, for the actions that the configuration names.

The first person's form is recorded as a proposal and does nothing else. It is carried out when
another person sends the same action on the same object within a week.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.core.errors import Forbidden
from nodes.console.approvals import store
from nodes.console.approvals.store import ConsoleProposal
from nodes.console.storage import Records

PROPOSAL_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Proposal:
    """An act that waits for a second person; ``page`` is where to do it."""

    action: str
    subject: str
    account_id: str
    page: str
    at: int


def propose_or_confirm(
    context: Records, account_id: str, *, action: str, subject: str, page: str
) -> bool:
    """Whether another person proposed this, so that it may be done now; else it is proposed.

    A confirmed proposal is used up.

    Raises:
        Forbidden: ``second_person_needed`` when the same person sends it again.
    """
    now = context.now()

    def change(session: Session) -> bool:
        row = store.proposal_row(session, action, subject)
        if row is not None and row.at >= now - PROPOSAL_SECONDS:
            if row.account_id == account_id:
                raise Forbidden(
                    "second_person_needed",
                    "You proposed this; another person confirms it.",
                    hint="Ask a colleague who may do it to open the same page.",
                )
            session.delete(row)
            return True
        proposed = ConsoleProposal(
            action=action, subject=subject, account_id=account_id, page=page[:300], at=now
        )
        session.merge(proposed)
        return False

    return context.database.write(change)


def restore(context: Records, proposal: Proposal) -> None:
    """Put a proposal back whose confirmation was refused by the service."""
    row = ConsoleProposal(
        action=proposal.action,
        subject=proposal.subject,
        account_id=proposal.account_id,
        page=proposal.page,
        at=proposal.at,
    )
    context.database.write(lambda session: session.merge(row))


def find(context: Records, action: str, subject: str) -> Proposal | None:
    """The proposal of an action on an object, if there is one."""
    with context.database.read() as session:
        row = store.proposal_row(session, action, subject)
        return None if row is None else _proposal(row)


def waiting(context: Records) -> Sequence[Proposal]:
    """Proposals that wait for a second person, oldest first."""
    with context.database.read() as session:
        rows = store.open_rows(session, since=context.now() - PROPOSAL_SECONDS)
        return [_proposal(row) for row in rows]


def _proposal(row: ConsoleProposal) -> Proposal:
    return Proposal(row.action, row.subject, row.account_id, row.page, row.at)
