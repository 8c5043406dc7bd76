"""Grants as a projection of GrantRegistry's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event, code_text
from chain.statements.grants import GrantTerms
from chain.statements.members import Role
from registry.grants.store import GrantRow, grant_row


def apply(session: Session, event: Event, *, member: str, roles: Role = Role(0)) -> None:
    """Store a GrantRegistry event that concerns this member; a supervisor stores all."""
    grant_id: bytes = event.arguments["grantId"]
    row = session.get(GrantRow, grant_id)
    if event.name == "GrantRequested":
        terms: GrantTerms = event.arguments["terms"]
        if member not in (terms.owner, terms.grantee) and not roles & Role.SUPERVISOR:
            return
        if row is None:
            row = grant_row(grant_id, terms, None, None)
            session.add(row)
        row.requested_at = event.height
        return
    if row is None:
        return
    if event.name == "GrantApproved":
        row.approved_at = event.height
    elif event.name == "GrantRefused":
        row.refused_at = event.height
    elif event.name == "GrantRevoked":
        row.revoked_at, row.stopped = event.height, True
    row.reason = code_text(event.arguments["reason"])
