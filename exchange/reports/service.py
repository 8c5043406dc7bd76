"""Making a one-stop report (信易贷 一站式查询).

Each part is a metered call under the subject's consent; what the departments say of disputes stands
beside the records; the bank signs a ``CreditQuery`` over consent, report and receipts, and has it
anchored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from chain.ethereum.proved_records import member_record
from chain.statements.members import Role
from chain.statements.trade import UsageReceipt
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering import records
from exchange.metering import service as metering
from exchange.metering.model import CallQuery
from registry.credit import consents, peers, queries
from registry.credit.model import (
    CreditReport,
    DeliveredPart,
    DisputeSearch,
    ReportedDispute,
    SignedReceipt,
)
from registry.idempotency import KeyScope, bind


@dataclass(frozen=True)
class ReportPart:
    """One department's share of a report: which agreement to call under, and which columns."""

    agreement_id: bytes
    columns: tuple[str, ...]


async def make(
    context: Context,
    *,
    subject: str,
    consent: bytes,
    purpose: str,
    parts: Sequence[ReportPart],
    key: str,
) -> CreditReport:
    """Call every department, gather disputes, sign and anchor the query.

    ``key`` stands for the whole report and makes each call idempotent: a report asked for again
    after a crash pays no department twice.

    Raises:
        Conflict: ``idempotency_key_reused`` when the key stands for another report;
        Forbidden: ``provider_not_department`` before anything is asked; with the first refusal's
            code; nothing is recorded then, and refused calls cost nothing.
    """
    if not parts:
        raise BadInput("report_empty", "A report needs at least one department.")
    await asyncio.to_thread(_require_departments, context, parts)
    content = {"subject": subject, "consent": consent, "purpose": purpose, "parts": list(parts)}
    await context.database.awrite(
        lambda session: bind(session, KeyScope.REPORT, key, content, now=context.now())
    )
    answers = await asyncio.gather(
        *(
            _part(context, subject, consent, purpose, part, f"report/{key}/{position}")
            for position, part in enumerate(parts)
        )
    )
    return await asyncio.to_thread(
        queries.record_report,
        context,
        subject=subject,
        consent=consent,
        parts=[part for part, _ in answers],
        disputes=[dispute for _, disputes in answers for dispute in disputes],
    )


def _require_departments(context: Context, parts: Sequence[ReportPart]) -> None:
    """Refuse parts from others than departments: a report's bundle cannot prove them."""
    providers = [agreements.load(context, part.agreement_id).agreement.provider for part in parts]
    proved = context.view.proved(map(member_record, providers))
    for provider in providers:
        if not proved.member(provider).has_role(Role.DEPARTMENT):
            raise Forbidden(
                "provider_not_department",
                "A part of the report would come from a member that is no department.",
            )


async def _part(
    context: Context, subject: str, consent: bytes, purpose: str, part: ReportPart, key: str
) -> tuple[DeliveredPart, list[ReportedDispute]]:
    query = CallQuery(
        subject=subject, columns=part.columns, purpose=purpose, consent="0x" + consent.hex()
    )
    result = await metering.call(context, part.agreement_id, query, idempotency_key=key)
    if result.content is None:
        raise Forbidden(result.reason or "refused", "A department refused; nothing is owed for it.")
    signed = await asyncio.to_thread(agreements.load, context, part.agreement_id)
    agreement = signed.agreement
    search = DisputeSearch(
        subject=subject,
        columns=part.columns,
        purpose=purpose,
        grant_id=agreement.grant_id,
        package=await asyncio.to_thread(consents.stored_package, context, consent),
    )
    disputes = await peers.fetch_disputes(context, agreement.provider, search)
    receipt, signature = await asyncio.to_thread(
        _receipt, context, part.agreement_id, result.lane, result.seq
    )
    delivered = DeliveredPart(
        department=agreement.provider,
        asset_id=agreement.asset_id,
        record=result.content["record"],
        receipt=SignedReceipt(receipt, signature, agreement, signed.provider_signature),
    )
    return delivered, disputes


def _receipt(
    context: Context, agreement_id: bytes, lane: int, seq: int
) -> tuple[UsageReceipt, bytes]:
    """The department's signed receipt of a call, for the query's bundle."""
    call = records.call_at(context, AgreementSide.BUYER, agreement_id, lane, seq)
    assert call is not None
    assert call.receipt is not None
    return call.receipt, call.receipt_signature
