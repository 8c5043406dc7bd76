"""A buyer's spending: what was delivered and is owed, from this node's own receipts."""

from __future__ import annotations

from collections.abc import Sequence

from chain.context import Context
from chain.core.zone import city_zone
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementStage, AgreementView
from exchange.metering import spent
from exchange.metering.model import SpentTotals
from exchange.spending import rules
from exchange.spending.model import RATE_DAYS, AgreementSpending, Spending
from exchange.spending.months import month_starts
from registry.pages import Page, PageRequest

_RUNNING = (AgreementStage.OPEN, AgreementStage.NOTICE)


def spending(
    context: Context, page: PageRequest, *, months: int = 12
) -> tuple[Spending, str | None]:
    """The spending of a page of agreements that this organisation buys under, the newest first, and
    the cursor of the next page; ``cursor_malformed``.
    """
    found: Page[AgreementView] = agreements.listing(context, page, side=AgreementSide.BUYER)
    return _of(context, found.rows, months), found.next


def of_agreement(context: Context, agreement_id: bytes) -> AgreementSpending | None:
    """The spending under one agreement; None where this organisation does not buy under it or it
    never opened. ``unknown_agreement``.
    """
    shown = agreements.view(context, agreement_id)
    if shown.side is not AgreementSide.BUYER:
        return None
    rows = _of(context, [shown], 1).agreements
    return rows[0] if rows else None


def _of(context: Context, views: Sequence[AgreementView], months: int) -> Spending:
    opened = [view for view in views if view.opened_at is not None]
    now = context.now()
    starts = month_starts(now, city_zone(), months)
    earlier = now - RATE_DAYS * rules.DAY
    lanes = {view.agreement_id: view.agreement.lanes for view in opened}
    used = spent.totals(context, list(lanes))
    before = spent.totals_before(context, lanes, [*(at for _, at in starts), earlier])
    names, rows = [name for name, _ in starts], []
    for view in opened:
        key = view.agreement_id
        by_start = [before[at][key].amount for _, at in starts]
        fen = rules.by_month(names, by_start, used[key].amount)
        rows.append(_row(view, used[key], before[earlier][key], fen, now))
    return Spending(names, rows)


def _row(
    view: AgreementView, used: SpentTotals, earlier: SpentTotals, fen: dict[str, int], now: int
) -> AgreementSpending:
    terms = view.agreement
    expected = rules.forecast(terms, used, earlier=earlier, now=now)
    running = view.state in _RUNNING
    return AgreementSpending(
        agreement_id=view.agreement_id,
        provider=terms.provider,
        asset_id=terms.asset_id,
        state=view.state.value,
        price=terms.price,
        cap=terms.cap,
        max_units=terms.max_units,
        units=used.units,
        amount=used.amount,
        paid=view.paid,
        refunded=view.refunded,
        ends_at=terms.ends_at,
        months=fen,
        forecast=expected,
        alarms=rules.alarms(terms, used, expected, now=now) if running else (),
    )
