"""Final totals as this node has stored them: read, stored with their log entries, and what the
chain says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden, NotFound
from chain.ethereum.ledger import Event
from exchange.agreements import service as agreements
from exchange.closing import store
from exchange.closing.model import FinalState, StoredSettlement
from registry.evidence.log import append_if_missing

CONTRACT = "TradeSettlement"


def view(context: Context, agreement_id: bytes) -> StoredSettlement | None:
    """An agreement's final totals with their state; None if nobody has signed any."""
    with context.database.read() as session:
        return store.find(session, agreement_id)


def views(context: Context, agreement_ids: Collection[bytes]) -> dict[bytes, StoredSettlement]:
    """The final totals of some agreements, by id."""
    with context.database.read() as session:
        return {found.agreement_id: found for found in store.some(session, agreement_ids)}


def shown(context: Context, caller: str, agreement_id: bytes) -> StoredSettlement:
    """The final totals with both signatures, for the parties; ``not_party``,
    ``final_settlement_unknown``.
    """
    signed = agreements.load(context, agreement_id)
    if caller not in (signed.agreement.provider, signed.agreement.buyer):
        raise Forbidden("not_party", "Final totals are for the agreement's parties.")
    found = view(context, agreement_id)
    if found is None:
        raise NotFound(
            "final_settlement_unknown", "Nobody has signed final totals of the agreement."
        )
    return found


def is_final(session: Session, agreement_id: bytes) -> bool:
    """Whether this node signed an agreement's final totals, and the other side has not refused
    them: its lanes take no more calls.
    """
    found = store.find(session, agreement_id)
    return found is not None and found.state != FinalState.REFUSED


def proposed(context: Context) -> list[bytes]:
    """The agreements whose totals wait for the provider's answer."""
    with context.database.read() as session:
        return store.proposed(session)


def settlement_hashes(session: Session) -> list[bytes]:
    """The struct hashes of all final totals stored here."""
    return store.hashes(session)


def record(context: Context, session: Session, stored: StoredSettlement) -> None:
    """Store final totals, and record them in this node's log."""
    store.put(session, stored)
    digest = stored.settlement.digest(context.domain(CONTRACT))
    append_if_missing(session, kind="FinalSettlement", digest=digest, at=stored.at)


def change(
    session: Session,
    agreement_id: bytes,
    alter: Callable[[StoredSettlement], StoredSettlement],
) -> StoredSettlement:
    """Change stored final totals; returns them as changed. ``final_settlement_unknown``."""
    found = store.find(session, agreement_id)
    if found is None:
        raise NotFound(
            "final_settlement_unknown", "Nobody has signed final totals of the agreement."
        )
    altered = alter(found)
    store.put(session, altered)
    return altered


def apply(session: Session, event: Event) -> None:
    """Record how the chain says that an agreement ended."""
    if event.name not in ("CooperativelyClosed", "AgreementClosed"):
        return
    found = store.find(session, event.arguments["agreementId"])
    if found is None:
        return
    if event.name == "AgreementClosed":
        # A cooperative closing says so before, in the same transaction.
        if found.state != FinalState.SETTLED:
            store.put(session, replace(found, state=FinalState.LAPSED))
    elif event.arguments["finalSettlement"] == found.settlement.struct_hash():
        store.put(session, replace(found, state=FinalState.SETTLED))
