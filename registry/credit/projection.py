"""Disputes and anchored queries as a projection of CreditLedger's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from chain.statements.members import Role
from registry.credit.store import (
    AnchoredQueryRow,
    DisputeRow,
)


def apply(session: Session, event: Event, *, roles: Role) -> None:
    """Store the heights of own disputes; a supervisor also stores every anchored query."""
    if event.name == "QueriesAnchored":
        if roles & Role.SUPERVISOR:
            for query_hash in event.arguments["queries"]:
                if session.get(AnchoredQueryRow, query_hash) is None:
                    session.add(
                        AnchoredQueryRow(
                            query_hash=query_hash,
                            bank=event.arguments["relayer"],
                            height=event.height,
                        )
                    )
        return
    row = (
        session.get(DisputeRow, event.arguments["disputeId"])
        if "disputeId" in event.arguments
        else None
    )
    if row is None:
        return
    if event.name == "DisputeRaised":
        row.opened_at = event.height
    elif event.name == "DisputeAnswered":
        row.answered_at = event.height
