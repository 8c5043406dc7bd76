"""View models of the pages of credit reports, and the report as a PDF. Money in fen, times in Unix
seconds, heights in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core.zone import local_time
from exchange.reports.service import LogPlace, PartEvidence, ReportEvidence, ReportSource
from nodes.console.consents.views import ConsentView
from nodes.console.formatting import yuan
from nodes.console.i18n import N_, gettext
from nodes.console.names import asset_name, member_name
from nodes.console.pdf import Block, Document, Facts, Heading, Paragraph, Table
from registry.credit.model import OwnQuery


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report of the list."""

    id: str
    subject: str
    issued_at: int
    departments: int


@dataclass(frozen=True, slots=True)
class SourceView:
    """An agreement that a report can be made with."""

    agreement_id: str
    asset: str
    department: str
    columns: tuple[str, ...]
    price: int
    affordable: bool


@dataclass(frozen=True, slots=True)
class PlaceView:
    """A statement's place in this node's log."""

    digest: str
    index: int | None
    anchored_at: int | None


@dataclass(frozen=True, slots=True)
class PartView:
    """One department's part with what proves it."""

    department: str
    asset_id: str
    asset: str
    values: list[tuple[str, str, str]]
    """Column, delivered value, and the repaired value where there is one."""
    disputed: bool
    agreement_id: str
    lane: int
    seq: int
    receipt: str
    amount: int
    view_height: int
    issued_at: int
    request: PlaceView


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A report with what proves it."""

    id: str
    subject: str
    issued_at: int
    consent: str
    parts: list[PartView]
    query: PlaceView
    anchored_at: int | None
    amount: int

    @property
    def command(self) -> str:
        """What re-checks the report elsewhere."""
        return (
            f"qiaolian credit bundle {self.id} --out report.json && "
            "qiaolian verify report.json --trust TRUST.json"
        )


def report_row(query: OwnQuery) -> ReportRow:
    """A report as the list shows it."""
    return ReportRow(
        id="0x" + query.query_id.hex(),
        subject=str(query.report["subject"]),
        issued_at=query.issued_at,
        departments=len({part["department"] for part in query.report["records"]}),
    )


def source_view(context: Context, source: ReportSource) -> SourceView:
    """An agreement as the form shows it."""
    return SourceView(
        agreement_id="0x" + source.agreement_id.hex(),
        asset=asset_name(context, source.asset_id),
        department=member_name(context, source.department),
        columns=source.columns,
        price=source.price,
        affordable=source.left >= source.price,
    )


def report_page(context: Context, found: ReportEvidence) -> ReportPage:
    """A report as page and PDF show it."""
    report, query = found.report, found.report.query
    records = report.report["records"]
    parts = [
        _part_view(context, evidence, record)
        for evidence, record in zip(found.parts, records, strict=False)
    ]
    return ReportPage(
        id="0x" + report.query_id.hex(),
        subject=report.subject,
        issued_at=query.issued_at,
        consent="0x" + query.consent.hex(),
        parts=parts,
        query=_place_view(found.query),
        anchored_at=found.anchored_at,
        amount=sum(part.amount for part in parts),
    )


def _part_view(context: Context, evidence: PartEvidence, record: Mapping[str, Any]) -> PartView:
    repaired = record.get("repaired") or {}
    return PartView(
        department=member_name(context, evidence.department),
        asset_id="0x" + evidence.asset_id.hex(),
        asset=asset_name(context, evidence.asset_id),
        values=[
            (column, _text(value), _text(repaired[column]) if column in repaired else "")
            for column, value in record["record"].items()
        ],
        disputed=bool(record.get("disputed")),
        agreement_id="0x" + evidence.agreement_id.hex(),
        lane=evidence.lane,
        seq=evidence.seq,
        receipt="0x" + evidence.receipt.hex(),
        amount=evidence.amount,
        view_height=evidence.view_height,
        issued_at=evidence.issued_at,
        request=_place_view(evidence.request),
    )


def _place_view(place: LogPlace) -> PlaceView:
    return PlaceView("0x" + place.digest.hex(), place.index, place.anchored_at)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)


def usable(consents: Sequence[ConsentView]) -> list[ConsentView]:
    """The consents under which a report could be made now."""
    return [consent for consent in consents if not consent.code]


PURPOSE_NOTE = N_("Viewed for the assessment of credit, under the subject's consent.")


def report_document(
    page: ReportPage, *, organisation: str, language: str, person: str, now: int
) -> Document:
    """The report as a PDF; messages are in the language of the request."""
    blocks: list[Block] = [
        Facts(
            [
                (gettext("Subject"), page.subject),
                (gettext("Made at"), local_time(page.issued_at)),
                (gettext("Consent"), page.consent),
                (gettext("Report's number"), page.id),
                (gettext("Spent (yuan)"), yuan(page.amount)),
                (gettext("Viewed by"), f"{person} · {local_time(now)}"),
            ]
        ),
        Paragraph(gettext(PURPOSE_NOTE), quiet=True),
    ]
    for part in page.parts:
        blocks += _part_blocks(part, page.command)
    blocks += [
        Heading(gettext("What proves this report")),
        Facts(
            [
                (gettext("Signed query's digest"), page.query.digest),
                (gettext("Position in this bank's log"), _position(page.query)),
                (gettext("Query anchored in block"), _block(page.anchored_at)),
                (gettext("Check it with"), page.command),
            ]
        ),
    ]
    return Document(
        title=gettext("One-stop credit report"),
        organisation=organisation,
        language=language,
        made_at=now,
        blocks=blocks,
        watermark=f"{person} {local_time(now)}",
    )


def _part_blocks(part: PartView, command: str) -> list[Block]:
    headers = [gettext("Item"), gettext("Value")]
    repaired = any(after for _, _, after in part.values)
    if repaired:
        headers.append(gettext("Repaired value"))
    rows = [[name, value, after][: len(headers)] for name, value, after in part.values]
    blocks: list[Block] = [Heading(f"{part.department} · {part.asset}")]
    if part.disputed:
        blocks.append(
            Paragraph(gettext("The subject disputes this record; it is not decided yet."))
        )
    return [
        *blocks,
        Table(headers, rows),
        Facts(
            [
                (gettext("Receipt's hash"), part.receipt),
                (gettext("Agreement"), part.agreement_id),
                (gettext("Lane and position"), f"{part.lane} / {part.seq}"),
                (gettext("Checked under block"), _block(part.view_height)),
                (gettext("Position in this bank's log"), _position(part.request)),
                (gettext("Amount (yuan)"), yuan(part.amount)),
                (gettext("Check it with"), command),
            ]
        ),
    ]


def _position(place: PlaceView) -> str:
    if place.index is None:
        return gettext("not anchored yet")
    return f"{place.index} · {_block(place.anchored_at)}"


def _block(height: int | None) -> str:
    return gettext("not anchored yet") if height is None else f"#{height:,}"
