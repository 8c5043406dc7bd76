"""The network as a whole: flows of a period, counts by hour, members by status."""

from __future__ import annotations

from collections.abc import Sequence

from chain.context import Context
from chain.core.errors import Forbidden
from chain.core.zone import DAY_SECONDS, local_day
from chain.statements.members import Role
from exchange.supervision import store
from exchange.supervision.model import AgreementFacts, Flows, HourCounts
from exchange.supervision.rules import (
    DAILY_DAYS,
    HOUR_SECONDS,
    hour_of,
    month_of,
    require_period,
)

WATCHERS = Role.OPERATOR | Role.SUPERVISOR
"""Members whose nodes keep the sums of the whole network."""
MAX_FLOWS = 100


def require_watcher(context: Context) -> None:
    """Require that this node watches the whole network; ``not_network_watcher``."""
    if not context.roles & WATCHERS:
        raise Forbidden(
            "not_network_watcher", "The whole network is shown at the supervisor and the operator."
        )


def flows(context: Context, *, days: int, limit: int = MAX_FLOWS) -> Flows:
    """Who gave which data to whom in the last days, today included: the largest flows first.

    A period of more than ``DAILY_DAYS`` is counted in whole months.

    Raises:
        BadInput: ``period_malformed``; Forbidden: ``not_network_watcher``.
    """
    require_watcher(context)
    now = context.now()
    last = local_day(now)
    first = local_day(now - (require_period(days) - 1) * DAY_SECONDS)
    bounds = (first, last)
    if days > DAILY_DAYS:
        first = first[:-2] + "01"
        bounds = (month_of(first), month_of(last))
    with context.database.read() as session:
        found = store.flows(session, *bounds, limit=limit)
    return Flows(
        rows=found.rows,
        total=found.total,
        calls=found.calls,
        units=found.units,
        amount=found.amount,
        first_day=first,
        last_day=last,
    )


def hours(context: Context, *, number: int = 24) -> list[HourCounts]:
    """The last hours, the current one last. Hours in which nothing happened have zeros."""
    require_watcher(context)
    last = hour_of(context.now())
    wanted = [last - back * HOUR_SECONDS for back in reversed(range(number))]
    with context.database.read() as session:
        found = {counts.hour: counts for counts in store.hours(session, wanted[0])}
    return [found.get(hour, HourCounts(hour)) for hour in wanted]


def open_agreements(context: Context) -> int:
    """The number of the network's open agreements."""
    require_watcher(context)
    with context.database.read() as session:
        return store.open_agreements(session)


def open_agreements_after(
    context: Context, after: bytes, *, limit: int
) -> Sequence[AgreementFacts]:
    """Open agreements of the network in the order of their ids, from the one after ``after``."""
    require_watcher(context)
    with context.database.read() as session:
        return store.open_agreements_after(session, after, limit=limit)


def find_agreement(context: Context, agreement_id: bytes) -> AgreementFacts | None:
    """An agreement of the network, or None."""
    with context.database.read() as session:
        return store.find_agreement(session, agreement_id)


def agreements_of(
    context: Context,
    *,
    asset_id: bytes | None = None,
    grant_id: bytes | None = None,
    provider: str | None = None,
    buyer: str | None = None,
    limit: int = MAX_FLOWS,
) -> Sequence[AgreementFacts]:
    """Agreements of an asset, under a grant or of parties, the latest first."""
    with context.database.read() as session:
        return store.agreements_of(
            session,
            asset_id=asset_id,
            grant_id=grant_id,
            provider=provider,
            buyer=buyer,
            limit=limit,
        )
