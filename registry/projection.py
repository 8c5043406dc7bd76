"""What the chain's events mean to the registry's books.

Runs in the projector's transaction; an event applied again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event
from registry.assets import projection
from registry.credit import projection as credit_projection
from registry.grants import service as grants
from registry.members import service as members
from registry.property import projection as deal_projection

CONTRACTS = ("MemberDirectory", "AssetRegistry", "GrantRegistry", "CreditLedger", "PropertyLedger")


def apply(session: Session, events: Sequence[Event], context: Context) -> None:
    """Take events in chain order; those of other contracts are passed over."""
    for event in events:
        if event.contract == "MemberDirectory":
            members.apply(session, event)
        elif event.contract == "AssetRegistry":
            projection.apply(session, event)
        elif event.contract == "GrantRegistry":
            grants.apply(session, event, member=context.member, roles=context.roles)
        elif event.contract == "CreditLedger":
            credit_projection.apply(session, event, roles=context.roles)
        elif event.contract == "PropertyLedger":
            deal_projection.apply(session, event, member=context.member, roles=context.roles)
