"""Claims of what buyers acknowledged, and accounts and payments as the chain has them.

Deposits and withdrawals are in ``deposits``, claims that the node makes by itself in ``claims``,
closing in ``exchange.closing``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import (
    TOTALS_RECORDS,
    account_records,
    agreement_records,
    lane_record,
)
from chain.statements.trade import Agreement, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering import service as metering
from exchange.metering.model import SignedAcknowledgement
from exchange.settlement import store
from exchange.settlement.calls import send
from exchange.settlement.model import Accounts, ClaimCall, Payment, QueuedClaim
from exchange.settlement.rules import batches, require_claimable, worth_claiming
from exchange.settlement.store import ClaimedLaneRow, PaymentRow
from registry.pages import Page, PageRequest

# --- Claims ---------------------------------------------------------------------------------------


def claim(context: Context, agreement_id: bytes) -> QueuedClaim:
    """Claim the highest acknowledged amount of every lane.

    Raises:
        Forbidden: ``not_provider``; Conflict: ``nothing_to_claim`` when the chain has it all,
            ``agreement_is_closed`` when it is too late.
    """
    signed = agreements.load(context, agreement_id)
    if signed.side != AgreementSide.PROVIDER:
        raise Forbidden("not_provider", "Only the provider claims.")
    acknowledged = metering.acknowledgements(context, agreement_id)
    records = context.view.proved(
        [
            *agreement_records(agreement_id),
            *(lane_record(agreement_id, item.acknowledged.lane) for item in acknowledged),
        ]
    )
    items = [
        item
        for item in acknowledged
        if worth_claiming(item.acknowledged, records.lane(agreement_id, item.acknowledged.lane))
    ]
    require_claimable(records.agreement(agreement_id), lanes=len(items))
    calls = claim_calls(signed.agreement, items)
    return QueuedClaim(queue_claims(context, calls), lanes=len(items))


def claim_calls(agreement: Agreement, items: Sequence[SignedAcknowledgement]) -> list[ClaimCall]:
    """The transactions that claim these acknowledgements."""
    calls: list[ClaimCall] = []
    for function, kind in (("claimRequests", UsageRequest), ("claimVouchers", Voucher)):
        chosen = [item for item in items if isinstance(item.statement, kind)]
        for part in batches(chosen):
            named = hashlib.sha256(
                b"".join(item.statement.struct_hash() for item in part)
            ).hexdigest()
            operation = f"claim/{agreement.struct_hash().hex()}/{named}"
            arguments = [
                agreement,
                [item.statement for item in part],
                [item.signature for item in part],
            ]
            calls.append(ClaimCall(operation, function, arguments))
    return calls


def queue_claims(context: Context, calls: Sequence[ClaimCall]) -> list[str]:
    """Queue a claim's transactions, all or none; the operations sent."""

    def change(session: Session) -> list[str]:
        return [
            send(context, session, call.operation, call.function, call.arguments) for call in calls
        ]

    return context.database.write(change)


def claimed_lanes(context: Context, agreement_id: bytes) -> set[int]:
    """Lanes of an agreement that the chain has paid for, as far as its events were taken here."""
    with context.database.read() as session:
        return store.claimed_lanes(session, agreement_id)


# --- Accounts and payments ------------------------------------------------------------------------


def accounts(context: Context, member: str | None = None) -> Accounts:
    """A member's account (by default this one's) and the totals of all, proved under one block;
    ``chain_view_stale``.
    """
    member = member or context.member
    records = context.view.proved([*account_records(member), *TOTALS_RECORDS])
    return Accounts(member, records.account(member), records.totals())


def payments(
    context: Context, page: PageRequest, agreement_id: bytes | None = None
) -> Page[Payment]:
    """Payments, deposits and withdrawals by the chain's events, the latest first;
    ``cursor_malformed``.
    """
    with context.database.read() as session:
        return store.payments(session, page, agreement_id).map(_payment)


def _payment(row: PaymentRow) -> Payment:
    return Payment(
        kind=row.kind,
        member=row.member,
        agreement_id=row.agreement_id,
        amount=row.amount,
        height=row.height,
        log_index=row.log_index,
    )


def apply(session: Session, event: Event) -> None:
    """Take one of TradeSettlement's money events."""
    handler = _HANDLERS.get(event.name)
    if handler is not None:
        handler(session, event)


def _apply_claim(session: Session, event: Event) -> None:
    arguments = event.arguments
    row = ClaimedLaneRow(
        agreement_id=arguments["agreementId"],
        lane=arguments["lane"],
        seq=arguments["seq"],
        units=arguments["units"],
        amount=arguments["amount"],
        height=event.height,
    )
    store.put(session, row)


def _apply_payment(session: Session, event: Event) -> None:
    row = PaymentRow(
        height=event.height,
        log_index=event.log_index,
        kind=event.name.lower(),
        member=event.arguments["member"],
        agreement_id=event.arguments.get("agreementId"),
        amount=event.arguments["amount"],
    )
    store.put(session, row)


_HANDLERS: dict[str, Callable[[Session, Event], None]] = {
    "Claimed": _apply_claim,
    "Paid": _apply_payment,
    "Deposited": _apply_payment,
    "Withdrawn": _apply_payment,
}
