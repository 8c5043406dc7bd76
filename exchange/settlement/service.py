"""Deposits, claims, closing and withdrawals. Each contract call goes through the outbox under an
operation id that makes it idempotent.

Amounts are clearing instructions in fen between members, backed by the settlement bank's signed
confirmations.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import (
    TOTALS_RECORDS,
    account_records,
    agreement_records,
    lane_record,
    member_record,
)
from chain.ethereum.records import AccountRecord
from chain.outbox import Priority, enqueue, is_known, next_attempt
from chain.statements.commitment import commit
from chain.statements.members import Role
from chain.statements.trade import Agreement, DepositConfirmation, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.agreements.rules import require_running
from exchange.metering import service as metering
from exchange.metering.store import GATEWAY, VOUCHERS, last_calls
from exchange.settlement.rules import (
    AcknowledgedAmount,
    batches,
    require_claimable,
    require_window_over,
    worth_claiming,
)
from exchange.settlement.store import ClaimedLaneRow, DepositRow, PaymentRow
from registry.evidence.log import append_statement
from registry.idempotency import KeyScope, bind, key_reused
from registry.pages import Page, PageRequest, page_of

CONTRACT = "TradeSettlement"
DEPOSIT_DOMAIN = "qiaolian.deposit.v1"
CONFIRMATION_SECONDS = 86_400
_URGENT = ("claimRequests", "claimVouchers", "giveNotice", "closeCooperatively")
"""Their delay costs money: a window runs out, or does not begin."""

# --- Money in and out -----------------------------------------------------------------------------


def confirm_deposit(
    context: Context, *, member: str, amount: int, reference: str
) -> dict[str, Any]:
    """Confirm a deposit, as the settlement bank; the same reference with the same content is
    the same deposit.

    On the chain the reference is a commitment whose salt only this bank can recompute, so neither a
    repetition nor a restored database can record it twice.
    """
    own = context.view.proved([member_record(context.member)]).member(context.member)
    if not (own.live and own.has_role(Role.SETTLEMENT_BANK)):
        raise Forbidden("not_settlement_bank", "Only an active settlement bank confirms deposits.")
    if amount <= 0:
        raise BadInput("amount_missing", "A deposit is more than 0 fen.")
    if not 1 <= len(reference) <= 128:
        raise BadInput("reference_malformed", "A bank reference has 1 to 128 characters.")
    confirmation = DepositConfirmation(
        version=1,
        settlement_bank=context.member,
        member=member,
        amount=amount,
        bank_reference=commit(_reference_salt(context, reference), DEPOSIT_DOMAIN, reference),
        deadline=context.now() + CONFIRMATION_SECONDS,
    )
    signature = context.sign(confirmation)

    operation = _deposit_operation(reference)

    def change(session: Session) -> tuple[dict[str, Any], str]:
        content = {"member": member, "amount": amount}
        bind(session, KeyScope.DEPOSIT, reference, content, now=context.now())
        stored = session.get(DepositRow, reference)
        if stored is not None:
            if (stored.member, stored.amount) != (member, amount):
                # Confirmed before references were bound to their content.
                raise key_reused(KeyScope.DEPOSIT)
            # A confirmation the chain refused (the member was suspended, its deadline had passed)
            # is signed again for the same money.
            last = next_attempt(session, operation)
            if is_known(session, last):
                return stored.confirmation, last
        row = DepositRow(
            reference=reference,
            member=member,
            amount=amount,
            confirmation=confirmation.to_json(),
            signature=signature,
            at=context.now(),
        )
        session.merge(row)
        append_statement(session, confirmation, context.domain(CONTRACT), at=context.now())
        return row.confirmation, _send(
            context, session, operation, "deposit", [confirmation, signature]
        )

    stored, sent = context.database.write(change)
    return {"confirmation": stored, "operation": sent}


def _reference_salt(context: Context, reference: str) -> bytes:
    """A salt only this node can compute, the same each time."""
    return context.derive(DEPOSIT_DOMAIN.encode() + b"\0" + reference.encode())


def _deposit_operation(reference: str) -> str:
    return f"deposit/{hashlib.sha256(reference.encode()).hexdigest()}"


def withdraw(context: Context, *, amount: int, order: str) -> dict[str, Any]:
    """Withdraw free money in fen. An order is executed once, and keeps its amount even if the chain
    refuses it.

    Raises:
        BadInput: ``amount_missing``; Conflict: ``idempotency_key_reused``.
    """
    if amount <= 0:
        raise BadInput("amount_missing", "A withdrawal is more than 0 fen.")
    operation_id = hashlib.sha256(order.encode()).digest()
    operation = f"withdraw/{operation_id.hex()}"

    def change(session: Session) -> str:
        bind(session, KeyScope.WITHDRAWAL, order, {"amount": amount}, now=context.now())
        return _send(context, session, operation, "withdraw", [amount, operation_id])

    return {"operation": context.database.write(change)}


# --- Claims ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignedAcknowledgement:
    """A buyer's signed acknowledgement of a lane."""

    acknowledged: AcknowledgedAmount
    statement: UsageRequest | Voucher
    signature: bytes


def claim(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """Claim the highest acknowledged amount of every lane.

    Raises:
        Forbidden: ``not_provider``; Conflict: ``nothing_to_claim`` when the chain has it all,
            ``agreement_is_closed`` when it is too late.
    """
    signed = agreements.load(context, agreement_id)
    if signed.side != AgreementSide.PROVIDER:
        raise Forbidden("not_provider", "Only the provider claims.")
    acknowledged = highest_acknowledged(context, agreement_id)
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
    return {"operations": queue_claims(context, calls), "lanes": len(items)}


@dataclass(frozen=True)
class ClaimCall:
    """One transaction of a claim. Its operation id names what it claims, so it is idempotent."""

    operation: str
    function: str
    arguments: Sequence[Any]


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
            _send(context, session, call.operation, call.function, call.arguments) for call in calls
        ]

    return context.database.write(change)


def highest_acknowledged(context: Context, agreement_id: bytes) -> list[SignedAcknowledgement]:
    """The buyer's highest acknowledgement on each lane: its latest request or a closing voucher."""
    found: dict[int, SignedAcknowledgement] = {}
    with context.database.read() as session:
        for lane, row in last_calls(session, GATEWAY, agreement_id).items():
            request = UsageRequest.from_json(json.loads(row.request))
            acknowledged = AcknowledgedAmount(
                lane, request.seq - 1, request.acknowledged_units, request.acknowledged_amount
            )
            found[lane] = SignedAcknowledgement(acknowledged, request, row.request_signature)
        for row in session.execute(
            sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id)
        ):
            acknowledged = AcknowledgedAmount(row.lane, row.seq, row.units, row.amount)
            if row.lane not in found or acknowledged.seq > found[row.lane].acknowledged.seq:
                found[row.lane] = SignedAcknowledgement(
                    acknowledged, Voucher.from_json(json.loads(row.voucher)), row.signature
                )
    return [found[lane] for lane in sorted(found)]


def claimed_lanes(context: Context, agreement_id: bytes) -> set[int]:
    """Lanes of an agreement that the chain has paid for, as far as its events were taken here."""
    with context.database.read() as session:
        return set(
            session.scalars(
                sa.select(ClaimedLaneRow.lane).where(ClaimedLaneRow.agreement_id == agreement_id)
            )
        )


# --- Closing --------------------------------------------------------------------------------------


async def acknowledge_all(context: Context, agreement_id: bytes, *, notice: bool) -> dict[str, Any]:
    """Send the provider a closing voucher for every lane, and give notice if requested."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side != AgreementSide.BUYER:
        raise Forbidden("not_buyer", "Only the buyer sends closing vouchers.")
    vouchers = await metering.close_lanes(context, agreement_id)
    if vouchers:
        await context.peers.post(
            signed.agreement.provider, "/v1/peer/vouchers", {"vouchers": vouchers}
        )
    answer: dict[str, Any] = {"vouchers": vouchers}
    if notice:
        answer |= await asyncio.to_thread(give_notice, context, agreement_id)
    return answer


def give_notice(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """Give notice: gateways stop once it is on the chain, and the closing window begins. If notice
    was given before, nothing is sent.

    Raises:
        Forbidden: ``not_party``; Conflict: ``agreement_not_open``, ``agreement_is_closed``;
            Unavailable: ``chain_view_stale``.
    """
    agreement = _of_party(context, agreement_id)
    state = agreements.proved_state(context, agreement_id)
    require_running(state)
    if state.notice_at:
        return {**_last(context, "notice", agreement_id), "noticeAt": state.notice_at}
    return _party_call(context, agreement, "notice", "giveNotice")


def close(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """Close and refund the rest once the window has passed in the node's view. If the agreement is
    closed, nothing is sent.

    Raises:
        Forbidden: ``not_party``; Conflict: ``agreement_not_open``, ``no_notice``, ``window_open``;
            Unavailable: ``chain_view_stale``.
    """
    agreement = _of_party(context, agreement_id)
    records = context.view.proved(agreement_records(agreement_id))
    closed_at = records.agreement(agreement_id).closed_at
    if closed_at:
        return {**_last(context, "close", agreement_id), "closedAt": closed_at}
    require_window_over(agreement, records)
    return _party_call(context, agreement, "close", "close")


def _of_party(context: Context, agreement_id: bytes) -> Agreement:
    signed = agreements.load(context, agreement_id)
    if signed.side == AgreementSide.OBSERVER:
        raise Forbidden("not_party", "This organisation is no party of the agreement.")
    return signed.agreement


def _party_call(context: Context, agreement: Agreement, name: str, function: str) -> dict[str, Any]:
    operation = f"{name}/{agreement.struct_hash().hex()}"

    def change(session: Session) -> str:
        return _send(context, session, operation, function, [agreement])

    return {"operation": context.database.write(change)}


def _last(context: Context, name: str, agreement_id: bytes) -> dict[str, Any]:
    """This node's own call that led to the state on the chain; None if another party sent it."""
    operation = f"{name}/{agreement_id.hex()}"
    with context.database.read() as session:
        sent = next_attempt(session, operation)
        return {"operation": sent if is_known(session, sent) else None}


def _send(
    context: Context, session: Session, operation: str, function: str, arguments: Sequence[Any]
) -> str:
    """Queue a call under its operation id, or under the next of its series if the chain refused it
    before; returns the id.
    """
    sent = next_attempt(session, operation)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=sent,
        contract=CONTRACT,
        function=function,
        arguments=arguments,
        priority=Priority.URGENT if function in _URGENT else Priority.NORMAL,
    )
    return sent


# --- Books ----------------------------------------------------------------------------------------


def accounts(context: Context, member: str | None = None) -> dict[str, Any]:
    """A member's account and the totals, proved under one block, with the conservation checks;
    ``chain_view_stale``."""
    own, totals = proved_accounts(context, member or context.member)
    return {
        "member": member or context.member,
        "account": _money(own),
        "totals": _money(totals),
        "conserved": totals.deposited == totals.withdrawn + totals.free + totals.locked,
    }


def proved_accounts(context: Context, member: str) -> tuple[AccountRecord, AccountRecord]:
    """A member's account and the totals of all members, proved under one block."""
    records = context.view.proved([*account_records(member), *TOTALS_RECORDS])
    return records.account(member), records.totals()


def books(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """An agreement's money, proved; ``chain_view_stale``."""
    state = agreements.proved_state(context, agreement_id)
    money = {
        name: str(getattr(state, name)) for name in ("opened", "paid", "refunded", "acknowledged")
    }
    return {
        **money,
        "locked": str(state.locked),
        "openedAt": state.opened_at,
        "closedAt": state.closed_at,
    }


def payments(
    context: Context, page: PageRequest, agreement_id: bytes | None = None
) -> Page[dict[str, Any]]:
    """Payments, deposits and withdrawals by the chain's events, the latest first;
    ``cursor_malformed``.
    """
    query = sa.select(PaymentRow)
    if agreement_id is not None:
        query = query.where(PaymentRow.agreement_id == agreement_id)
    order = (PaymentRow.height, PaymentRow.log_index)
    with context.database.read() as session:
        return page_of(session, query, order, page).map(_payment)


def _payment(row: PaymentRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "member": row.member,
        "agreementId": None if row.agreement_id is None else "0x" + row.agreement_id.hex(),
        "amount": str(row.amount),
        "height": row.height,
        "logIndex": row.log_index,
    }


def apply(session: Session, event: Event) -> None:
    """Take one of TradeSettlement's money events."""
    handler = _HANDLERS.get(event.name)
    if handler is not None:
        handler(session, event)


def _apply_claim(session: Session, event: Event) -> None:
    arguments = event.arguments
    session.merge(
        ClaimedLaneRow(
            agreement_id=arguments["agreementId"],
            lane=arguments["lane"],
            seq=arguments["seq"],
            units=arguments["units"],
            amount=arguments["amount"],
            height=event.height,
        )
    )


def _apply_payment(session: Session, event: Event) -> None:
    session.merge(
        PaymentRow(
            height=event.height,
            log_index=event.log_index,
            kind=event.name.lower(),
            member=event.arguments["member"],
            agreement_id=event.arguments.get("agreementId"),
            amount=event.arguments["amount"],
        )
    )


_HANDLERS: dict[str, Callable[[Session, Event], None]] = {
    "Claimed": _apply_claim,
    "Paid": _apply_payment,
    "Deposited": _apply_payment,
    "Withdrawn": _apply_payment,
}


def _money(account: Any) -> dict[str, str]:
    names = ("deposited", "withdrawn", "free", "locked", "earned", "spent")
    return {name: str(getattr(account, name)) for name in names}


__all__ = [
    "ClaimCall",
    "SignedAcknowledgement",
    "accounts",
    "acknowledge_all",
    "apply",
    "books",
    "claim",
    "claim_calls",
    "claimed_lanes",
    "close",
    "confirm_deposit",
    "give_notice",
    "highest_acknowledged",
    "payments",
    "queue_claims",
    "withdraw",
]
