"""Withdrawals on their way to members' accounts: ordered on the chain, instructed by the operator
in an order that two persons released, confirmed by the settlement bank.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.core.zone import day_bounds, local_day
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import key_record, member_record
from chain.statements.members import KeyPurpose, Role
from chain.statements.payouts import PayoutConfirmation
from exchange.approvals import service as approvals
from exchange.approvals.model import Matter
from exchange.approvals.rules import require_named
from exchange.banking import peers, rules, store
from exchange.banking.iso20022 import order_file
from exchange.banking.model import (
    MAX_PAYMENTS,
    UNPAID,
    MemberAccount,
    OrderState,
    Payment,
    PaymentOrder,
    Payout,
    PayoutState,
)
from exchange.banking.service import CONTRACT, settings_of
from registry import fanout, uscc
from registry.evidence.log import append
from registry.members import service as members
from registry.pages import Page, PageRequest

ALL_PAYOUTS = Role.OPERATOR | Role.SETTLEMENT_BANK | Role.SUPERVISOR
"""Members whose nodes follow everybody's withdrawals; any other follows its own."""
ORDER_KEEPERS = Role.OPERATOR | Role.SETTLEMENT_BANK
RELEASED = "PaymentOrderReleased"
ACCOUNT_SET = "MemberAccount"
FETCH_SECONDS = 10.0
MAX_ASKED = 50
"""Payouts of which one request asks."""


def apply(session: Session, event: Event, context: Context) -> None:
    """Take a withdrawal of the chain; other events are passed over."""
    if event.name != "Withdrawn":
        return
    member, operation_id = event.arguments["member"], event.arguments["operationId"]
    if member != context.member and not context.roles & ALL_PAYOUTS:
        return
    payout = Payout(
        id=rules.payout_id(member, operation_id),
        member=member,
        amount=event.arguments["amount"],
        operation_id=operation_id,
        height=event.height,
        at=event.timestamp,
        state=PayoutState.ORDERED,
        order_id="",
        paid_at=None,
        reason="",
        confirmed_by="",
    )
    store.add_payout(session, payout, log_index=event.log_index)


# --- Reading --------------------------------------------------------------------------------------


def listing(
    context: Context, page: PageRequest, *, state: PayoutState | None = None
) -> Page[Payout]:
    """Withdrawals with their payment, the latest first: everybody's at the operator, the settlement
    bank and the supervisor, else this member's own; ``cursor_malformed``.
    """
    with context.database.read() as session:
        return store.payouts(session, page, state=state)


def of_member(context: Context, member: str, since: int, until: int) -> list[Payout]:
    """A member's withdrawals of a period, in their order."""
    with context.database.read() as session:
        return store.payouts_between(session, member, since, until)


def unpaid(session: Session) -> tuple[int, int]:
    """How many withdrawals are not paid out, and their fen."""
    return store.unpaid(session)


def confirmations(
    context: Context, ids: Sequence[str], *, member: str | None
) -> Mapping[str, tuple[Mapping[str, Any], bytes]]:
    """The signed confirmations of these payouts, as far as the caller may see them."""
    with context.database.read() as session:
        return store.confirmations(session, ids, member=member)


# --- Accounts -------------------------------------------------------------------------------------


def accounts(context: Context, page: PageRequest) -> Page[MemberAccount]:
    """Registered accounts by member; ``not_order_keeper``, ``cursor_malformed``."""
    _require_keeper(context)
    with context.database.read() as session:
        return store.account_page(session, page)


def set_account(
    context: Context, *, member: str, account: str, name: str, bank_code: str, person: str
) -> bool:
    """Register a member's account. Two persons type the same account; the second one's registers
    it. Returns whether it is registered.

    Raises:
        Forbidden: ``not_order_keeper``, ``person_unnamed``, ``second_person_needed``; BadInput:
            ``wrong_check_character``, ``bank_account_malformed``; NotFound: ``member_unknown``.
    """
    _require_keeper(context)
    uscc.require_valid(member)
    members.find(context, member)
    now = context.now()
    wanted = rules.require_account(MemberAccount(member, account, name, bank_code, now))
    digest = rules.account_digest(wanted)

    def change(session: Session) -> bool:
        approval = approvals.approve(context, session, Matter.ACCOUNT, member, digest, person)
        if approval.complete:
            store.put_account(session, wanted)
            append(session, kind=ACCOUNT_SET, digest=_salted(context, digest), at=now)
        return approval.complete

    return context.database.write(change)


def _salted(context: Context, digest: bytes) -> bytes:
    """An account's digest in the log: nobody can try account numbers against it."""
    return hashlib.sha256(context.derive(digest) + digest).digest()


def _require_keeper(context: Context) -> None:
    if not context.roles & ORDER_KEEPERS:
        raise Forbidden(
            "not_order_keeper", "Payments are ordered by the operator or the settlement bank."
        )


# --- Orders of payments ---------------------------------------------------------------------------


def orders(context: Context, page: PageRequest) -> Page[PaymentOrder]:
    """Orders of payments, the latest first; ``not_order_keeper``, ``cursor_malformed``."""
    _require_keeper(context)
    with context.database.read() as session:
        return store.orders(session, page)


def order(context: Context, order_id: str) -> PaymentOrder:
    """One order; ``payment_order_unknown``."""
    _require_keeper(context)
    with context.database.read() as session:
        return _order(session, order_id)


def order_payouts(context: Context, order_id: str, page: PageRequest) -> Page[Payout]:
    """The withdrawals that an order pays; ``payment_order_unknown``, ``cursor_malformed``."""
    _require_keeper(context)
    with context.database.read() as session:
        _order(session, order_id)
        return store.payouts(session, page, order_id=order_id)


def propose(context: Context, *, day: str, person: str) -> PaymentOrder:
    """Put the withdrawals that wait into an order of payments, as the first of two persons. Those
    of members without a registered account stay.

    Args:
        day: when the bank is to pay; empty for today.

    Raises:
        Forbidden: ``not_order_keeper``, ``person_unnamed``; BadInput: ``day_malformed``; Conflict:
            ``nothing_to_pay``; Unavailable: ``bank_account_unset``.
    """
    _require_keeper(context)
    require_named(person)
    settings = rules.require_settings(settings_of(context))
    now = context.now()
    wanted_day = day or local_day(now)
    day_bounds(wanted_day)
    order_id = "QL" + secrets.token_hex(15)

    def change(session: Session) -> PaymentOrder:
        payments = _payments(session)
        if not payments:
            raise Conflict(
                "nothing_to_pay",
                "No withdrawal waits that could be paid.",
                hint="Register the accounts of the members that have withdrawn money.",
            )
        content = order_file(order_id, settings, payments, at=now, day=wanted_day)
        made = PaymentOrder(
            id=order_id,
            day=wanted_day,
            payments=len(payments),
            total=sum(payment.amount for payment in payments),
            state=OrderState.PROPOSED,
            digest=hashlib.sha256(content).digest(),
            made_at=now,
            made_by=person,
            released_at=None,
            released_by="",
        )
        store.add_order(session, made, content)
        ids = [payment.id for payment in payments]
        store.set_payouts(session, ids, PayoutState.PROPOSED, order_id)
        approvals.approve(context, session, Matter.PAYOUT_ORDER, order_id, made.digest, person)
        return made

    return context.database.write(change)


def _payments(session: Session) -> list[Payment]:
    accounts = {one.member: one for one in store.accounts(session)}
    waiting = store.payouts_in(session, [PayoutState.ORDERED], MAX_PAYMENTS)
    return [
        Payment(payout.id, payout.amount, accounts[payout.member])
        for payout in waiting
        if payout.member in accounts
    ]


def release(context: Context, order_id: str, *, person: str) -> PaymentOrder:
    """Release an order to the bank, as the second of two persons.

    Raises:
        Forbidden: ``not_order_keeper``, ``person_unnamed``, ``second_person_needed``; NotFound:
            ``payment_order_unknown``; Conflict: ``payment_order_over``.
    """
    _require_keeper(context)

    def change(session: Session) -> PaymentOrder:
        found = _require_proposed(_order(session, order_id))
        approval = approvals.approve(
            context, session, Matter.PAYOUT_ORDER, order_id, found.digest, person
        )
        if approval.complete:
            now = context.now()
            store.set_order(session, order_id, OrderState.RELEASED, by=person, at=now)
            store.set_order_payouts(session, order_id, PayoutState.INSTRUCTED)
            append(session, kind=RELEASED, digest=found.digest, at=now)
        return _order(session, order_id)

    return context.database.write(change)


def drop(context: Context, order_id: str, *, person: str) -> PaymentOrder:
    """Drop an order that is not released; its withdrawals wait for another one.

    Raises:
        Forbidden: ``not_order_keeper``, ``person_unnamed``; NotFound: ``payment_order_unknown``;
            Conflict: ``payment_order_over``.
    """
    _require_keeper(context)
    require_named(person)

    def change(session: Session) -> PaymentOrder:
        _require_proposed(_order(session, order_id))
        now = context.now()
        store.set_order(session, order_id, OrderState.DROPPED, by=person, at=now)
        store.set_order_payouts(session, order_id, PayoutState.ORDERED)
        return _order(session, order_id)

    return context.database.write(change)


def order_content(context: Context, order_id: str) -> bytes:
    """The file of a released order (``pain.001``).

    Raises:
        NotFound: ``payment_order_unknown``; Conflict: ``payment_order_not_released``.
    """
    _require_keeper(context)
    with context.database.read() as session:
        found = _order(session, order_id)
        content = store.order_content(session, order_id)
    if found.state is not OrderState.RELEASED or content is None:
        raise Conflict(
            "payment_order_not_released",
            "The order has no file for the bank: two persons have not released it.",
            hint="Another person releases it first.",
        )
    return content


def _order(session: Session, order_id: str) -> PaymentOrder:
    found = store.find_order(session, order_id)
    if found is None:
        raise NotFound("payment_order_unknown", "There is no such order of payments here.")
    return found


def _require_proposed(found: PaymentOrder) -> PaymentOrder:
    if found.state is not OrderState.PROPOSED:
        raise Conflict("payment_order_over", f"The order is {found.state.value} already.")
    return found


# --- Confirmations of the settlement bank ---------------------------------------------------------


async def fetch_confirmations(context: Context) -> dict[str, QiaolianError]:
    """Ask the settlement banks for the confirmations of payouts that are not paid here; the
    failures by bank.
    """
    waiting = await context.database.aread(
        lambda session: store.payouts_in(session, UNPAID, MAX_ASKED)
    )
    if not waiting:
        return {}
    banks = await asyncio.to_thread(members.active, context, Role.SETTLEMENT_BANK)

    async def fetch(bank: str) -> None:
        answers = await peers.confirmations(context, bank, [payout.id for payout in waiting])
        for payout in waiting:
            if payout.id in answers:
                statement, signature = answers[payout.id]
                await asyncio.to_thread(
                    require_confirmation, context, bank, payout, statement, signature
                )
                await context.database.awrite(_paid(payout, statement, signature))

    others = [bank for bank in banks if bank != context.member]
    outcomes = await fanout.for_each(others, fetch, seconds=FETCH_SECONDS)
    return {
        bank: outcome for bank, outcome in outcomes.items() if isinstance(outcome, QiaolianError)
    }


def _paid(
    payout: Payout, statement: PayoutConfirmation, signature: bytes
) -> Callable[[Session], None]:
    def change(session: Session) -> None:
        found = store.find_payouts(session, [payout.id])
        if found[payout.id].state in UNPAID:
            store.set_paid(session, payout.id, statement.to_json(), signature, at=statement.paid_at)

    return change


def require_confirmation(
    context: Context, bank: str, payout: Payout, statement: PayoutConfirmation, signature: bytes
) -> None:
    """Require that an active settlement bank signed the payment of exactly this withdrawal;
    ``confirmation_differs``, ``chain_view_stale``.
    """
    stated = (statement.settlement_bank, statement.member, statement.amount, statement.operation_id)
    signer = _signer(context, statement, signature)
    if signer and stated == (bank, payout.member, payout.amount, payout.operation_id):
        proved = context.view.proved([key_record(signer), member_record(bank)])
        key = proved.key(signer)
        own = key.live and key.member == bank and key.purpose == KeyPurpose.STATEMENT
        if own and proved.member(bank).has_role(Role.SETTLEMENT_BANK):
            return
    raise Unavailable(
        "confirmation_differs",
        f"{bank} shows a confirmation that is not of this withdrawal, or not signed by it.",
        hint="Ask the settlement bank; the payout stays unpaid here.",
    )


def _signer(context: Context, statement: PayoutConfirmation, signature: bytes) -> str:
    """Who signed a confirmation; empty where the signature is of nobody."""
    try:
        return recover(statement.digest(context.domain(CONTRACT)), signature)
    except QiaolianError:
        return ""
