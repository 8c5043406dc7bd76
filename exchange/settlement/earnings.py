"""What a provider earned: delivered, claimed on the chain, and not claimed yet."""

from __future__ import annotations

from dataclasses import dataclass

from chain.context import Context
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementView
from exchange.settlement import store
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.claims_report import ClaimsReport
from exchange.usage import service as usage
from exchange.usage.model import Counts
from registry.pages import Page, PageRequest


@dataclass(frozen=True, slots=True)
class AgreementEarnings:
    """An agreement that this organisation provides under, with its money in fen."""

    agreement: AgreementView
    counts: Counts
    """Of all its calls; ``amount`` is what was delivered."""
    claimed: int
    """Acknowledged and claimed, by the chain's events."""
    unclaimed: int
    """Acknowledged and not claimed yet, as of the last round of claims."""

    @property
    def unacknowledged(self) -> int:
        """Delivered, and the buyer has not acknowledged it yet."""
        return max(0, self.counts.amount - self.claimed - self.unclaimed)


@dataclass(frozen=True, slots=True)
class EarningsTotals:
    """The same of all agreements."""

    delivered: int
    claimed: int
    unclaimed: int
    lost: int
    """Delivered under closed agreements and never claimed."""


def listing(context: Context, page: PageRequest) -> Page[AgreementEarnings]:
    """The agreements that this organisation provides under, the newest first;
    ``cursor_malformed``.
    """
    found = agreements.listing(context, page, side=AgreementSide.PROVIDER)
    ids = [view.agreement_id for view in found.rows]
    counts = usage.by_agreement(context, ids)
    unclaimed = {status.agreement_id: status.unclaimed for status in _report(context).statuses}
    with context.database.read() as session:
        claimed = store.claimed_amounts(session, ids)
    return found.map(
        lambda view: AgreementEarnings(
            view,
            counts.get(view.agreement_id, Counts()),
            claimed.get(view.agreement_id, 0),
            unclaimed.get(view.agreement_id, 0),
        )
    )


def totals(context: Context) -> EarningsTotals:
    """Earnings of all agreements."""
    report, delivered = _report(context), usage.total(context).amount
    with context.database.read() as session:
        claimed = store.total_claimed(session, agreements.provided(context))
    return EarningsTotals(delivered, claimed, report.unclaimed, report.lost)


def _report(context: Context) -> ClaimsReport:
    """The last round of claims; an empty one where nothing is claimed by itself."""
    monitor = context.services.find(ClaimMonitor)
    return ClaimsReport() if monitor is None else monitor.report
