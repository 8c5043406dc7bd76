"""Requests about a dispute to the other parties' nodes, and how their answers are read."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from chain.context import Context
from chain.core.errors import BadInput, Conflict
from exchange.disputes import rules, service
from exchange.disputes.model import AnswerCheck, Dispute, DisputeRole
from exchange.disputes.sealing import unseal


async def check_answer(context: Context, receipt_id: bytes) -> AnswerCheck:
    """Fetch what the provider served again, open it, and compare it with the receipt: at the buyer,
    or at the arbiter once the buyer has opened it.

    Raises:
        Forbidden: ``not_opened``, ``not_buyer``; Conflict: ``sealed_answer_differs`` if it is not
            what the chain has the hash of, ``sealed_answer_unreadable``.
    """
    dispute = await asyncio.to_thread(service.find, context, receipt_id)
    sealed = await _sealed(context, dispute)
    secret = await _secret(context, dispute)
    try:
        check = _compared(dispute, unseal(sealed, secret, receipt_id=receipt_id))
    except Conflict:
        await _keep(context, dispute, sealed)
        raise
    if not check.matches:
        await _keep(context, dispute, sealed)
    return check


async def _keep(context: Context, dispute: Dispute, sealed: bytes) -> None:
    """A buyer stores a wrong answer, for the bundle that shows it."""
    if dispute.role == DisputeRole.BUYER:
        await asyncio.to_thread(service.keep_wrong_answer, context, dispute.receipt_id, sealed)


async def _sealed(context: Context, dispute: Dispute) -> bytes:
    path = f"/v1/peer/call-disputes/0x{dispute.receipt_id.hex()}/answer"
    sealed = _hex(await context.peers.get(dispute.agreement.provider, path), "sealedAnswer")
    if hashlib.sha256(sealed).digest() != dispute.sealed_hash:
        raise Conflict(
            "sealed_answer_differs",
            "The provider serves something else than the chain has the hash of.",
            hint="Tell the arbiter: the call was not served again.",
        )
    return sealed


async def _secret(context: Context, dispute: Dispute) -> bytes:
    if dispute.role != DisputeRole.ARBITER:
        return await asyncio.to_thread(service.contest_secret, context, dispute.receipt_id)
    path = f"/v1/peer/call-disputes/0x{dispute.receipt_id.hex()}/opening"
    return _hex(await context.peers.get(dispute.agreement.buyer, path), "contestSecret")


def _compared(dispute: Dispute, answer: bytes) -> AnswerCheck:
    opened = rules.read_answer(answer)
    if opened is None:
        return AnswerCheck(content=None, salt=b"", matches=False)
    matches = rules.is_committed(answer, dispute.receipt.response_commitment)
    return AnswerCheck(*opened, matches=matches)


def _hex(answer: Any, name: str) -> bytes:
    try:
        return bytes.fromhex(answer[name].removeprefix("0x"))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise BadInput(
            "field_malformed", f"The other node's answer has no {name} in hexadecimal."
        ) from error
