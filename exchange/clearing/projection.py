"""The book's entries from the settlement contract's events. Applying an event again changes
nothing.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.core.zone import local_day
from chain.ethereum.ledger import Event
from exchange.agreements import service as agreements
from exchange.clearing import store
from exchange.clearing.model import Movement, MovementKind

_KINDS = {
    "Deposited": MovementKind.DEPOSITED,
    "Paid": MovementKind.PAID,
    "Withdrawn": MovementKind.WITHDRAWN,
    "AgreementClosed": MovementKind.REFUNDED,
}


def apply(session: Session, event: Event) -> None:
    """Take a money event; others are passed over, and so is a refund of nothing."""
    kind = _KINDS.get(event.name)
    if kind is None:
        return
    arguments = event.arguments
    refund = kind is MovementKind.REFUNDED
    amount = arguments["refunded" if refund else "amount"]
    if not amount:
        return
    agreement_id: bytes | None = arguments.get("agreementId")
    member = _buyer(session, agreement_id) if refund else arguments["member"]
    store.add_movement(
        session,
        Movement(
            height=event.height,
            log_index=event.log_index,
            at=event.timestamp,
            day=local_day(event.timestamp),
            kind=kind,
            member=member,
            agreement_id=agreement_id,
            amount=amount,
        ),
    )


def _buyer(session: Session, agreement_id: bytes | None) -> str:
    parties = None if agreement_id is None else agreements.parties(session, agreement_id)
    return "" if parties is None else parties.buyer
