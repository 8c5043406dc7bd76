"""Fines out of a provider's bond, which two governors of different organisations decide.

This node draws up the decision as a proposal of the directory; the governors' administrators sign
it with keys of their own, as any other (``registry.members``). What was taken comes from the
chain's events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.ethereum.ledger import Event, code_text
from chain.ethereum.proved_records import agreement_records, member_record
from exchange.agreements import service as agreements
from exchange.disputes import rules, store
from exchange.disputes.calls import CONTRACT
from exchange.disputes.model import Fine, FineRequest
from exchange.disputes.store import FineRow
from registry.members import service as members
from registry.members.model import SharedProposal
from registry.pages import Page, PageRequest

ACTION = "fineProvider"


async def propose(
    context: Context, agreement_id: bytes, request: FineRequest, *, share_with: Sequence[str] = ()
) -> SharedProposal:
    """Draw up a fine and send it to the other governors' nodes.

    Raises:
        NotFound: ``unknown_agreement``; Conflict: ``agreement_not_open``, ``fine_over_bond``,
            ``fine_decided``; BadInput: ``fine_to_provider``; Forbidden: ``not_active``; what
            ``members.service.propose`` raises.
    """
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    records = await context.view.aproved(
        [*agreement_records(agreement_id), member_record(request.to)]
    )
    rules.require_finable(
        signed.agreement,
        records.agreement(agreement_id),
        records.member(request.to),
        request,
    )
    await asyncio.to_thread(_require_undecided, context, agreement_id, request.reason)
    arguments = {
        "contract": context.domain(CONTRACT).contract,
        "agreement": signed.agreement.to_json(),
        "amount": request.amount,
        "to": request.to,
        "reason": request.reason,
    }
    return await members.propose(context, ACTION, arguments, share_with=share_with)


def _require_undecided(context: Context, agreement_id: bytes, reason: str) -> None:
    with context.database.read() as session:
        rules.require_undecided(store.find_fine(session, agreement_id, reason) is not None, reason)


def listing(context: Context, page: PageRequest) -> Page[Fine]:
    """Fines of all providers, the latest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.fines(session, page).map(_fine)


def _fine(row: FineRow) -> Fine:
    return Fine(row.agreement_id, row.reason, row.provider, row.taken, row.height)


def apply(session: Session, event: Event) -> None:
    """Take a ``Fined`` event; the same again changes nothing."""
    arguments = event.arguments
    row = FineRow(
        agreement_id=arguments["agreementId"],
        reason=code_text(arguments["reason"]),
        provider=arguments["provider"],
        taken=arguments["taken"],
        height=event.height,
    )
    store.put(session, row)
