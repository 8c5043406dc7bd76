"""View models of the pages of consents. Heights in blocks, times in Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass

from chain.context import Context
from chain.core.zone import local_time
from nodes.console.calls.views import meaning_of
from nodes.console.exports import Cell, identifier_cell
from nodes.console.i18n import N_
from nodes.console.names import member_name, purpose_name
from registry.credit.model import ReviewedConsent

SOON_SECONDS = 14 * 86_400


@dataclass(frozen=True, slots=True)
class ConsentView:
    """A consent with what a call under it would be refused for."""

    id: str
    subject: str
    name: str
    purpose: str
    issuer: str
    begins_at: int
    ends_at: int
    ends_soon: bool
    recorded_at: int | None
    withdrawn_at: int | None
    code: str
    """Empty where a call would be served as far as the consent goes."""
    refusal: str


def consent_view(context: Context, shown: ReviewedConsent, language: str) -> ConsentView:
    """A consent as the page shows it."""
    package, status = shown.stored.package, shown.stored.status
    left = shown.ends_at - context.now()
    return ConsentView(
        id="0x" + status.consent_id.hex(),
        subject=package.subject(),
        name=str(package.identity.get("name", "")),
        purpose=purpose_name(package.consent.purpose, language),
        issuer=member_name(context, package.certificate.issuer),
        begins_at=shown.begins_at,
        ends_at=shown.ends_at,
        ends_soon=not shown.refusal and 0 <= left < SOON_SECONDS,
        recorded_at=status.recorded_at or None,
        withdrawn_at=status.withdrawn_at or None,
        code=shown.refusal,
        refusal=meaning_of(shown.refusal, language) if shown.refusal else "",
    )


EXPORT_COLUMNS = (
    N_("Subject"),
    N_("Name"),
    N_("Purpose"),
    N_("Begins"),
    N_("Ends"),
    N_("Recorded in block"),
    N_("Withdrawn in block"),
    N_("A call would be refused for"),
    N_("Id"),
)


def export_cells(row: ConsentView) -> list[Cell]:
    """One line of the export."""
    return [
        identifier_cell(row.subject),
        row.name,
        row.purpose,
        local_time(row.begins_at),
        local_time(row.ends_at),
        row.recorded_at,
        row.withdrawn_at,
        row.code,
        row.id,
    ]
