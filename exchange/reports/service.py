"""Making a one-stop report (信易贷 一站式查询).

Each part is a metered call under the subject's consent; what the departments say of disputes stands
beside the records; the bank signs a ``CreditQuery`` over consent, report and receipts, and has it
anchored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core.errors import BadInput, Forbidden, Unavailable
from chain.ethereum.proved_records import member_record
from chain.statements.members import Role
from exchange.agreements import service as agreements
from exchange.metering import service as metering
from exchange.metering.model import CallQuery
from exchange.metering.store import BUYER, call_at
from registry.credit import consents, queries
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
) -> dict[str, Any]:
    """Call every department, gather disputes, sign and anchor the query; the report as JSON.

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
            _part(context, subject, consent, purpose, part, f"report/{key}/{place}")
            for place, part in enumerate(parts)
        )
    )
    disputes = [item for answer in answers for item in answer.pop("disputes")]
    return await asyncio.to_thread(
        queries.record_report,
        context,
        subject=subject,
        consent=consent,
        parts=answers,
        disputes=disputes,
    )


def _require_departments(context: Context, parts: Sequence[ReportPart]) -> None:
    """A report's bundle tells of departments alone, so nothing is bought for one from
    anybody else.
    """
    providers = [agreements.load(context, part.agreement_id).agreement.provider for part in parts]
    records = context.view.proved(map(member_record, providers))
    for provider in providers:
        if not records.member(provider).has_role(Role.DEPARTMENT):
            raise Forbidden(
                "provider_not_department",
                "A part of the report would come from a member that is no department.",
            )


async def _part(
    context: Context, subject: str, consent: bytes, purpose: str, part: ReportPart, key: str
) -> dict[str, Any]:
    query = CallQuery(
        subject=subject, columns=part.columns, purpose=purpose, consent="0x" + consent.hex()
    )
    result = await metering.call(context, part.agreement_id, query, idempotency_key=key)
    if result.content is None:
        raise Forbidden(result.reason or "refused", "A department refused; nothing is owed for it.")
    signed = await asyncio.to_thread(agreements.load, context, part.agreement_id)
    agreement = signed.agreement
    sought = {
        "subject": subject,
        "columns": list(part.columns),
        "purpose": purpose,
        "grantId": "0x" + agreement.grant_id.hex(),
        "consent": await asyncio.to_thread(consents.stored_package, context, consent),
    }
    disputes = _disputes(await context.peers.post(agreement.provider, "/v1/peer/disputes", sought))
    receipt = await asyncio.to_thread(_receipt, context, part.agreement_id, result.lane, result.seq)
    return {
        "department": agreement.provider,
        "assetId": "0x" + agreement.asset_id.hex(),
        "record": result.content["record"],
        **receipt,
        "agreement": agreement.to_json(),
        "agreementSignature": "0x" + signed.provider_signature.hex(),
        "disputes": disputes,
    }


def _disputes(answer: Any) -> list[dict[str, Any]]:
    """The disputes of a department's answer; ``peer_bad_answer``."""
    found = answer.get("disputes") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(dispute, dict) for dispute in found):
        raise Unavailable(
            "peer_bad_answer",
            "A department does not show its disputes in the form expected.",
            hint="Ask again; its operator should look at its log.",
        )
    return found


def _receipt(context: Context, agreement_id: bytes, lane: int, seq: int) -> dict[str, Any]:
    """The department's signed receipt of a call, for the query's bundle."""
    with context.database.read() as session:
        row = call_at(session, BUYER, agreement_id, lane, seq)
    assert row is not None
    return {
        "receipt": json.loads(row.receipt),
        "receiptSignature": "0x" + row.receipt_signature.hex(),
    }
