"""Money in and out: confirmed deposits and ordered withdrawals.

Amounts are clearing instructions in fen between members, backed by the settlement bank's signed
confirmations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from chain.ethereum.proved_records import member_record
from chain.ethereum.records import MemberRecord
from chain.statements.commitment import commit
from chain.statements.members import Role
from chain.statements.trade import DepositConfirmation
from exchange.settlement import store
from exchange.settlement.calls import CONTRACT, last_sent, send
from exchange.settlement.model import ConfirmedDeposit
from exchange.settlement.store import DepositRow
from registry.evidence.log import append_statement
from registry.idempotency import KeyScope, bind, key_reused

DEPOSIT_DOMAIN = "qiaolian.deposit.v1"
CONFIRMATION_SECONDS = 86_400


def confirm_deposit(
    context: Context, *, member: str, amount: int, reference: str
) -> ConfirmedDeposit:
    """Confirm a deposit, as the settlement bank; the same reference with the same content is
    the same deposit.

    On the chain the reference is a commitment whose salt only this bank can recompute, so neither a
    repetition nor a restored database can record it twice.

    Raises:
        Forbidden: ``not_settlement_bank``; BadInput: ``amount_missing``, ``reference_malformed``;
            Conflict: ``idempotency_key_reused``; Unavailable: ``chain_view_stale``.
    """
    proved = context.view.proved([member_record(context.member)])
    require_settlement_bank(proved.member(context.member))
    require_deposit(amount, reference)
    return context.database.write(
        lambda session: store_deposit(
            context, session, member=member, amount=amount, reference=reference
        )
    )


def require_settlement_bank(own: MemberRecord) -> None:
    """Require that this member's proved record is an active settlement bank's;
    ``not_settlement_bank``.
    """
    if not (own.live and own.has_role(Role.SETTLEMENT_BANK)):
        raise Forbidden("not_settlement_bank", "Only an active settlement bank confirms deposits.")


def require_deposit(amount: int, reference: str) -> None:
    """Require an amount and a reference: ``amount_missing``, ``reference_malformed``."""
    if amount <= 0:
        raise BadInput("amount_missing", "A deposit is more than 0 fen.")
    if not 1 <= len(reference) <= 128:
        raise BadInput("reference_malformed", "A bank reference has 1 to 128 characters.")


def store_deposit(
    context: Context, session: Session, *, member: str, amount: int, reference: str
) -> ConfirmedDeposit:
    """Sign, store and queue a deposit in the caller's transaction; the same reference with the
    same content is the same deposit. ``idempotency_key_reused``.
    """
    now = context.now()
    content = {"member": member, "amount": amount}
    bind(session, KeyScope.DEPOSIT, reference, content, now=now)
    found = _sent_before(session, reference, member=member, amount=amount)
    if found is not None:
        return found
    confirmation = DepositConfirmation(
        version=1,
        settlement_bank=context.member,
        member=member,
        amount=amount,
        bank_reference=commit(_reference_salt(context, reference), DEPOSIT_DOMAIN, reference),
        deadline=now + CONFIRMATION_SECONDS,
    )
    signature = context.sign(confirmation)
    store.put_deposit(session, reference, confirmation, signature, at=now)
    append_statement(session, confirmation, context.domain(CONTRACT), at=now)
    operation = _deposit_operation(reference)
    sent = send(context, session, operation, "deposit", [confirmation, signature])
    return ConfirmedDeposit(confirmation, sent)


def confirmed_before(session: Session, references: Collection[str]) -> dict[str, tuple[str, int]]:
    """Member and amount of the deposits that were confirmed under these references."""
    return store.deposits_of(session, references)


def _sent_before(
    session: Session, reference: str, *, member: str, amount: int
) -> ConfirmedDeposit | None:
    """The deposit that was confirmed under a reference. A confirmation that the chain refused (the
    member was suspended, its deadline had passed) is signed again for the same money.
    """
    stored: DepositRow | None = store.find_deposit(session, reference)
    if stored is None:
        return None
    if (stored.member, stored.amount) != (member, amount):
        # Confirmed before references were bound to their content.
        raise key_reused(KeyScope.DEPOSIT)
    sent = last_sent(session, _deposit_operation(reference))
    if sent is None:
        return None
    return ConfirmedDeposit(DepositConfirmation.from_json(stored.confirmation), sent)


def _reference_salt(context: Context, reference: str) -> bytes:
    """A salt only this node can compute, the same each time."""
    return context.derive(DEPOSIT_DOMAIN.encode() + b"\0" + reference.encode())


def _deposit_operation(reference: str) -> str:
    return f"deposit/{hashlib.sha256(reference.encode()).hexdigest()}"


def withdraw(context: Context, *, amount: int, order: str) -> str:
    """Withdraw free money in fen; the operation queued. An order is executed once, and keeps its
    amount even if the chain refuses it.

    Raises:
        BadInput: ``amount_missing``; Conflict: ``idempotency_key_reused``.
    """
    if amount <= 0:
        raise BadInput("amount_missing", "A withdrawal is more than 0 fen.")
    operation_id = hashlib.sha256(order.encode()).digest()
    operation = f"withdraw/{operation_id.hex()}"

    def change(session: Session) -> str:
        bind(session, KeyScope.WITHDRAWAL, order, {"amount": amount}, now=context.now())
        return send(context, session, operation, "withdraw", [amount, operation_id])

    return context.database.write(change)
