"""What the chain's events mean to the exchange. Runs in the projector's transaction; applying an
event again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event
from exchange.agreements import service as agreements
from exchange.banking import payouts
from exchange.catalogue import service as catalogue
from exchange.clearing import projection as clearing
from exchange.clearing.service import KEEPERS
from exchange.closing import totals
from exchange.disputes import fines
from exchange.disputes import service as disputes
from exchange.settlement import service as settlement
from exchange.supervision import projection as supervision


def apply(session: Session, events: Sequence[Event], context: Context) -> None:
    """Take events in chain order; those of other contracts are passed over."""
    for event in events:
        if event.contract == "AssetRegistry":
            catalogue.apply(session, event)
        elif event.contract == "TradeSettlement":
            agreements.apply(session, event)
            settlement.apply(session, event)
            totals.apply(session, event)
            clearing.apply(session, event, context)
            payouts.apply(session, event, context)
            if context.roles & KEEPERS:
                supervision.apply(session, event)
        elif event.contract == "TradeDisputes":
            disputes.apply(session, event)
            clearing.apply(session, event, context)
            if event.name == "Fined":
                fines.apply(session, event)
