"""Grants as a projection of GrantRegistry's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event, code_text
from chain.statements.grants import GrantTerms
from chain.statements.members import Role
from registry.grants import store


def apply(session: Session, event: Event, *, member: str, roles: Role = Role(0)) -> None:
    """Store a GrantRegistry event that concerns this member; a supervisor stores all."""
    grant_id, height, arguments = event.arguments["grantId"], event.height, event.arguments
    if event.name == "GrantRequested":
        terms: GrantTerms = arguments["terms"]
        if member in (terms.owner, terms.grantee) or roles & Role.SUPERVISOR:
            store.add_grant(session, terms, None)
            store.set_requested(session, grant_id, height)
    elif event.name == "GrantApproved":
        store.set_approved(session, grant_id, height, code_text(arguments["reason"]))
    elif event.name == "GrantRefused":
        store.set_refused(session, grant_id, height, code_text(arguments["reason"]))
    elif event.name == "GrantRevoked":
        store.set_revoked(session, grant_id, height, code_text(arguments["reason"]))
