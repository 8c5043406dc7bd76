"""The registry's projection of the chain's events, for lists and searches.

It runs in the projector's transaction. Applying an event again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event
from registry.assets import projection as assets
from registry.credit import projection as credit
from registry.grants import projection as grants
from registry.members import projection as members
from registry.property import projection as deals

CONTRACTS = ("MemberDirectory", "AssetRegistry", "GrantRegistry", "CreditLedger", "PropertyLedger")


def apply(session: Session, events: Sequence[Event], context: Context) -> None:
    """Take events in chain order; events of other contracts are ignored."""
    for event in events:
        if event.contract == "MemberDirectory":
            members.apply(session, event)
        elif event.contract == "AssetRegistry":
            assets.apply(session, event)
        elif event.contract == "GrantRegistry":
            grants.apply(session, event, member=context.member, roles=context.roles)
        elif event.contract == "CreditLedger":
            credit.apply(session, event, roles=context.roles)
        elif event.contract == "PropertyLedger":
            deals.apply(session, event, member=context.member, roles=context.roles)
