"""Deals and their steps as a projection of PropertyLedger's events."""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from chain.statements.members import Role
from registry.property import store
from registry.property.model import Deal
from registry.property.rules import members_of

log = logging.getLogger("qiaolian.deals")


def apply(session: Session, event: Event, *, member: str, roles: Role) -> None:
    """Store one of PropertyLedger's events that concerns this member, for display and search; a
    supervisor stores all.

    No right follows from it: what allows a step, and whose a home is, comes from proved records
    (``proved``, ``register``).
    """
    arguments, height = event.arguments, event.height
    if event.name == "DealOpened":
        _opened(session, event, member, bool(roles & Role.SUPERVISOR))
        return
    deal_id = arguments.get("dealId")
    if deal_id is None or store.find_deal(session, deal_id) is None:
        return
    if event.name == "DealStepped":
        store.record_step(session, deal_id, arguments["statement"], height)
    elif event.name == "DealRegistered":
        store.set_deal_heights(session, deal_id, registered_at=height)
    elif event.name == "DealExpired":
        store.set_deal_heights(session, deal_id, expired_at=height)


def _opened(session: Session, event: Event, member: str, all_deals: bool) -> None:
    deal_id, terms = event.arguments["dealId"], event.arguments["terms"]
    if terms.struct_hash() != deal_id:
        log.error(
            "an opened deal was not stored: its id is not that of its terms",
            extra={"deal": "0x" + deal_id.hex()},
        )
    elif store.find_deal(session, deal_id) is not None:
        store.set_deal_heights(session, deal_id, opened_at=event.height)
    elif all_deals or member in members_of(terms):
        store.add_deal(session, Deal(terms, None, opened_at=event.height))
