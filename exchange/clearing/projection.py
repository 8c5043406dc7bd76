"""The book's entries from the events of settlement and disputes. Applying an event again changes
nothing.

The operator's and the supervisor's books have everybody's entries; any other member's node keeps
its own, from which it makes its own account statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.zone import local_day
from chain.ethereum.ledger import Event
from chain.statements.disputes import DisputeOutcome
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementParties
from exchange.clearing import rules, store
from exchange.clearing.model import Movement, MovementKind
from exchange.clearing.service import KEEPERS
from exchange.disputes import service as disputes


@dataclass(frozen=True, slots=True)
class _Money:
    """What an event moved."""

    kind: MovementKind
    member: str
    amount: int
    payer: str = ""


def apply(session: Session, event: Event, context: Context) -> None:
    """Take a money event, in chain order and after the agreements' and disputes' own; others are
    passed over, and so is a refund of nothing.
    """
    read = _READERS.get(event.name)
    money = None if read is None else read(session, event)
    if money is None or not money.amount:
        return
    own = context.member in (money.member, money.payer)
    if not (own or context.roles & KEEPERS):
        return
    day = rules.book_day(
        local_day(event.timestamp), store.last_closed_before(session, event.height)
    )
    movement = Movement(
        height=event.height,
        log_index=event.log_index,
        at=event.timestamp,
        day=day,
        kind=money.kind,
        member=money.member,
        agreement_id=event.arguments.get("agreementId"),
        amount=money.amount,
        payer=money.payer,
    )
    store.add_movement(session, movement)


def _deposited(_session: Session, event: Event) -> _Money:
    return _Money(MovementKind.DEPOSITED, event.arguments["member"], event.arguments["amount"])


def _withdrawn(_session: Session, event: Event) -> _Money:
    return _Money(MovementKind.WITHDRAWN, event.arguments["member"], event.arguments["amount"])


def _paid(session: Session, event: Event) -> _Money:
    parties = _parties(session, event)
    buyer = "" if parties is None else parties.buyer
    return _Money(
        MovementKind.PAID, event.arguments["member"], event.arguments["amount"], payer=buyer
    )


def _refunded(session: Session, event: Event) -> _Money:
    parties = _parties(session, event)
    buyer = "" if parties is None else parties.buyer
    return _Money(MovementKind.REFUNDED, buyer, event.arguments["refunded"])


def _bond_taken(session: Session, event: Event) -> _Money | None:
    parties, to = _parties(session, event), event.arguments["to"]
    if parties is None or parties.provider == to:
        return None
    return _Money(MovementKind.PENALTY, to, event.arguments["amount"], payer=parties.provider)


def _stake_lost(session: Session, event: Event) -> _Money | None:
    """A buyer that contested a call for which the arbiter ruled that it is paid."""
    parties = _parties(session, event)
    ruled = event.arguments["outcome"] == DisputeOutcome.RULED
    if parties is None or not (
        ruled and disputes.ruled_to_pay(session, event.arguments["receipt"])
    ):
        return None
    return _Money(MovementKind.PENALTY, parties.provider, parties.stake, payer=parties.buyer)


def _parties(session: Session, event: Event) -> AgreementParties | None:
    return agreements.parties(session, event.arguments["agreementId"])


_READERS: dict[str, Callable[[Session, Event], _Money | None]] = {
    "Deposited": _deposited,
    "Withdrawn": _withdrawn,
    "Paid": _paid,
    "AgreementClosed": _refunded,
    "BondTaken": _bond_taken,
    "DisputeEnded": _stake_lost,
}
