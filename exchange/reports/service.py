"""Making a one-stop report (信易贷 一站式查询).

Each part is a metered call under the subject's consent; what the departments report of disputes is
beside the records; the bank signs a ``CreditQuery`` over consent, report and receipts, and has it
anchored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import member_record
from chain.outbox import outcome
from chain.statements.members import Role
from chain.statements.trade import Agreement, UsageReceipt
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementStage, AgreementView
from exchange.metering import records, spent
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
from registry.evidence import inclusion
from registry.grants import service as grants
from registry.grants.model import Grant
from registry.idempotency import KeyScope, bind
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest


@dataclass(frozen=True)
class ReportPart:
    """One department's share of a report: which agreement to call under, and which columns."""

    agreement_id: bytes
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportSource:
    """An agreement that answers about subjects for a report's purpose; price in fen."""

    agreement_id: bytes
    department: str
    asset_id: bytes
    columns: tuple[str, ...]
    """Those that the grant covers."""
    price: int
    left: int
    """Fen below the agreement's cap."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where this node's log has a statement."""

    digest: bytes
    index: int | None
    """None until an anchor includes it, within a minute."""
    anchored_at: int | None
    """Height of the block that anchors it."""


@dataclass(frozen=True, slots=True)
class PartEvidence:
    """What proves one department's part."""

    department: str
    asset_id: bytes
    agreement_id: bytes
    lane: int
    seq: int
    receipt: bytes
    """The receipt's struct hash."""
    amount: int
    view_height: int
    """The block under which the department's gateway checked consent, grant and agreement."""
    issued_at: int
    request: LogPlace
    """This bank's signed request."""


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """A report with what proves each part and the query as a whole."""

    report: CreditReport
    parts: Sequence[PartEvidence]
    query: LogPlace
    anchored_at: int | None
    """Height of the block that has the query; None while its call is queued."""


def sources(context: Context, purpose: str) -> list[ReportSource]:
    """The open agreements of this bank with which a report for a purpose can be made, by
    department.
    """
    found, cursor, now = [], "", context.now()
    while True:
        page = PageRequest(MAX_ROWS, cursor)
        shown = agreements.listing(
            context, page, state=AgreementStage.OPEN.value, side=AgreementSide.BUYER
        )
        usable = [view for view in shown.rows if _answers(view.agreement, purpose, now)]
        used = spent.totals(context, [view.agreement_id for view in usable])
        known = grants.find_all(context, [view.agreement.grant_id for view in usable])
        found += [
            _source(view, known.get(view.agreement.grant_id), used[view.agreement_id].amount)
            for view in usable
        ]
        if shown.next is None:
            break
        cursor = shown.next
    return sorted(found, key=lambda source: (source.department, source.agreement_id))


def _answers(agreement: Agreement, purpose: str, now: int) -> bool:
    return agreement.purpose == purpose and agreement.starts_at <= now <= agreement.ends_at


def _source(view: AgreementView, grant: Grant | None, used: int) -> ReportSource:
    terms = view.agreement
    scope = None if grant is None else grant.scope
    return ReportSource(
        agreement_id=view.agreement_id,
        department=terms.provider,
        asset_id=terms.asset_id,
        columns=() if scope is None else scope.columns,
        price=terms.price,
        left=max(0, terms.cap - used),
    )


def evidence(context: Context, query_id: bytes) -> ReportEvidence:
    """A report that this bank made, with what proves it; ``query_unknown``."""
    report = queries.find_report(context, query_id)
    parts = [_part_evidence(context, signed) for signed in report.receipts or ()]
    digest = report.query.digest(context.domain(report.query.contract))
    with context.database.read() as session:
        sent = outcome(session, report.operation)
    return ReportEvidence(report, parts, _place(context, digest), sent.height)


def _part_evidence(context: Context, signed: SignedReceipt) -> PartEvidence:
    receipt, agreement = signed.receipt, signed.agreement
    call = records.call_at(
        context, AgreementSide.BUYER, receipt.agreement_id, receipt.lane, receipt.seq
    )
    digest = b"" if call is None else call.request.digest(context.domain(receipt.contract))
    return PartEvidence(
        department=agreement.provider,
        asset_id=agreement.asset_id,
        agreement_id=receipt.agreement_id,
        lane=receipt.lane,
        seq=receipt.seq,
        receipt=receipt.struct_hash(),
        amount=receipt.amount,
        view_height=receipt.view_height,
        issued_at=receipt.issued_at,
        request=_place(context, digest),
    )


def _place(context: Context, digest: bytes) -> LogPlace:
    try:
        entry = inclusion.anchored_entry(context, digest)
    except (Conflict, NotFound):
        return LogPlace(digest, None, None)
    return LogPlace(digest, entry.index, entry.anchor.anchored_at)


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

    ``key`` identifies the whole report and makes each call idempotent: a report asked for again
    after a crash pays no department twice.

    Raises:
        Conflict: ``idempotency_key_reused`` when the key belongs to another report;
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
        raise Forbidden(
            result.reason or "refused",
            "A department refused; nothing is owed for it.",
            hint="Make the report without this agreement, or correct what it was refused for.",
            agreementId="0x" + part.agreement_id.hex(),
        )
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
