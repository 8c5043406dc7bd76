"""Deals and their steps as a projection of PropertyLedger's events."""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from chain.statements.members import Role
from chain.statements.property import DealStep
from registry.property.rules import (
    members_of,
)
from registry.property.store import DealRow, StepRow

log = logging.getLogger("qiaolian.deals")


def apply(session: Session, event: Event, *, member: str, roles: Role) -> None:
    """Store one of PropertyLedger's events that concerns this member, for display and search; a
    supervisor stores all.

    No right follows from it: what allows a step, and whose a home is, comes from proved records
    (``proved``, ``register``).
    """
    arguments = event.arguments
    if event.name == "DealOpened":
        _opened(session, event, member, bool(roles & Role.SUPERVISOR))
        return
    row = session.get(DealRow, arguments["dealId"]) if "dealId" in arguments else None
    if row is None:
        return
    if event.name == "DealStepped":
        _stepped(session, row, event)
    elif event.name == "DealRegistered":
        row.registered_at = event.height
    elif event.name == "DealExpired":
        row.expired_at = event.height


def _opened(session: Session, event: Event, member: str, all_deals: bool) -> None:
    deal_id, terms = event.arguments["dealId"], event.arguments["terms"]
    if terms.struct_hash() != deal_id:
        log.error(
            "an opened deal was not stored: its id is not that of its terms",
            extra={"deal": "0x" + deal_id.hex()},
        )
        return
    row = session.get(DealRow, deal_id)
    if row is None:
        if not all_deals and member not in members_of(terms):
            return
        row = DealRow(
            deal_id=deal_id,
            unit=terms.unit,
            terms=terms.to_json(),
            certificates=[],
            operation="",
            registered_at=0,
            expired_at=0,
        )
        session.add(row)
    row.opened_at = event.height


def _stepped(session: Session, row: DealRow, event: Event) -> None:
    statement: DealStep = event.arguments["statement"]
    known = session.get(StepRow, (row.deal_id, statement.step))
    if known is None:
        known = StepRow(deal_id=row.deal_id, step=statement.step, operation="")
        session.add(known)
    if known.statement != statement.to_json():
        # The recorded statement is final; a signature under another statement is useless.
        known.statement, known.signature, known.record, known.salt = (
            statement.to_json(),
            None,
            None,
            None,
        )
    known.height = event.height
