"""Agreements, their money and their proofs."""

from __future__ import annotations

from qiaolian_client.models import (
    Accounts,
    AgreementAnswer,
    AgreementBalance,
    AgreementDetail,
    AgreementList,
    AgreementRow,
    ClosingAnswer,
    ClosingBody,
    OperationAnswer,
    OrderBody,
    PaymentList,
    PaymentRow,
)
from qiaolian_client.operation import Operation, Plan, every_page, get, post


def propose(order: OrderBody, *, key: str) -> Operation[AgreementAnswer]:
    """Order an offer: sign it, have it countersigned and open it with its deposit."""
    return post("/v1/agreements", AgreementAnswer, order, idempotency_key=key)


def agreements(*, state: str | None = None) -> Plan[list[AgreementRow]]:
    """This organisation's agreements, the newest first."""
    first = get("/v1/agreements", AgreementList, state=state)
    return every_page(first, lambda page: page.agreements, lambda page: page.next)


def agreement(agreement_id: str) -> Operation[AgreementDetail]:
    """One agreement."""
    return get(f"/v1/agreements/{agreement_id}", AgreementDetail)


def money(agreement_id: str) -> Operation[AgreementBalance]:
    """An agreement's money as the chain has it, in fen."""
    return get(f"/v1/agreements/{agreement_id}/balance", AgreementBalance)


def close(agreement_id: str) -> Operation[ClosingAnswer]:
    """End an agreement: cooperatively, or by notice where that fails. Idempotent."""
    path = f"/v1/agreements/{agreement_id}/closing"
    return Operation("POST", path, ClosingAnswer.model_validate_json, body=ClosingBody())


def accounts() -> Operation[Accounts]:
    """This member's money as the chain has it, in fen."""
    return get("/v1/accounts", Accounts)


def payments(*, agreement_id: str | None = None) -> Plan[list[PaymentRow]]:
    """Payments, deposits and withdrawals, the latest first."""
    first = get("/v1/payments", PaymentList, agreement_id=agreement_id)
    return every_page(first, lambda page: page.payments, lambda page: page.next)


def bundle(agreement_id: str, *, lane: int, seq: int) -> Operation[bytes]:
    """The proof of one call, for ``qiaolian verify``. The provider's node has it."""
    path = f"/v1/agreements/{agreement_id}/bundle"
    return Operation("GET", path, bytes, {"lane": lane, "seq": seq})


def operation(operation_id: str, *, wait: int = 0) -> Operation[OperationAnswer]:
    """Status of a promised contract call; ``wait``: at most so many seconds for its end."""
    return get(f"/v1/operations/{operation_id}", OperationAnswer, wait=wait)
