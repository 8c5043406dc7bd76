"""Disputes and anchored queries as a projection of CreditLedger's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from chain.statements.members import Role
from registry.credit import store
from registry.credit.model import AnchoredQuery


def apply(session: Session, event: Event, *, roles: Role) -> None:
    """Store the heights of own disputes; a supervisor also stores every anchored query."""
    arguments, height = event.arguments, event.height
    if event.name == "QueriesAnchored":
        if roles & Role.SUPERVISOR:
            for query_id in arguments["queries"]:
                query = AnchoredQuery(query_id, arguments["relayer"], height)
                store.add_anchored_query(session, query)
    elif event.name == "DisputeRaised":
        store.set_dispute_heights(session, arguments["disputeId"], opened_at=height)
    elif event.name == "DisputeAnswered":
        store.set_dispute_heights(session, arguments["disputeId"], answered_at=height)
