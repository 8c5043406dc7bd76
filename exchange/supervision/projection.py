"""Flows and hours from the settlement contract's events, at nodes that watch the whole network.

An event counts once: the cursor passes each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from chain.core.zone import local_day
from chain.ethereum.ledger import Event
from chain.statements.trade import Agreement
from exchange.supervision import store
from exchange.supervision.model import AgreementFacts
from exchange.supervision.rules import MAX_SUM, LaneTotals, hour_of, month_of


def apply(session: Session, event: Event) -> None:
    """Take an event of TradeSettlement; those that count nothing are passed over."""
    handler = _HANDLERS.get(event.name)
    if handler is not None and store.pass_event(session, event.height, event.log_index):
        handler(session, event)


def _opened(session: Session, event: Event) -> None:
    agreement: Agreement = event.arguments["agreement"]
    facts = AgreementFacts(
        agreement_id=event.arguments["agreementId"],
        provider=agreement.provider,
        buyer=agreement.buyer,
        asset_id=agreement.asset_id,
        grant_id=agreement.grant_id,
        opened_at=event.timestamp,
        closed_at=None,
    )
    store.add_agreement(session, facts)
    store.add_to_hour(session, hour_of(event.timestamp), opened=1)


def _closed(session: Session, event: Event) -> None:
    store.close_agreement(session, event.arguments["agreementId"], event.timestamp)
    store.add_to_hour(session, hour_of(event.timestamp), closed=1)


def _claimed(session: Session, event: Event) -> None:
    arguments = event.arguments
    facts = store.find_agreement(session, arguments["agreementId"])
    if facts is None:
        return
    now = LaneTotals(arguments["seq"], arguments["units"], arguments["amount"])
    added = now.since(store.replace_lane(session, facts.agreement_id, arguments["lane"], now))
    day = local_day(event.timestamp)
    for period in (day, month_of(day)):
        store.add_flow(session, period, facts, added)
    store.add_to_hour(session, hour_of(event.timestamp), calls=added.seq, amount=added.amount)


def _moved(name: str) -> Callable[[Session, Event], None]:
    def apply_to(session: Session, event: Event) -> None:
        amount = min(MAX_SUM, event.arguments["amount"])
        store.add_to_hour(session, hour_of(event.timestamp), **{name: amount})

    return apply_to


_HANDLERS: dict[str, Callable[[Session, Event], None]] = {
    "AgreementOpened": _opened,
    "AgreementClosed": _closed,
    "Claimed": _claimed,
    "Deposited": _moved("deposited"),
    "Paid": _moved("paid"),
    "Withdrawn": _moved("withdrawn"),
}
