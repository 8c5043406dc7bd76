"""Searching the catalogue with facets, and an asset's course for this organisation."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, QiaolianError
from chain.ethereum.ledger import Event
from exchange.agreements import offers
from exchange.agreements import service as agreements
from exchange.catalogue import rules, store
from exchange.catalogue.model import (
    AssetState,
    CatalogueFilter,
    CatalogueRow,
    Course,
    Facet,
    Facets,
    OwnAgreement,
    OwnGrant,
    PriceBand,
)
from exchange.metering import service as metering
from registry.assets import catalogue
from registry.grants import service as grants
from registry.grants.model import GrantState
from registry.list_limits import MAX_ROWS
from registry.pages import Page, PageRequest

MAX_VALUES = 30
"""Values of a facet that are shown, the most frequent ones."""
MAX_OFFER_PAGES = 20


def search(context: Context, page: PageRequest, wanted: CatalogueFilter) -> Page[CatalogueRow]:
    """Assets that match, the latest registered first; ``cursor_malformed``, ``facet_unknown``."""
    _require_known(wanted)
    with context.database.read() as session:
        return store.search(session, page, wanted)


def facets(context: Context, wanted: CatalogueFilter) -> Facets:
    """How many matching assets have each value of each facet; ``facet_unknown``."""
    _require_known(wanted)
    counts: dict[str, Counter[str]] = {name: Counter() for name in _FACETS}
    total = 0
    with context.database.read() as session:
        for names in _GROUPED:
            total = 0
            for group in store.groups(session, wanted, [_FACETS[name] for name in names]):
                total += group.assets
                for name in names:
                    counts[name][str(getattr(group, _FACETS[name]))] += group.assets
    return Facets(
        total,
        {
            name: [Facet(value, count) for value, count in counted.most_common(MAX_VALUES)]
            for name, counted in counts.items()
        },
    )


_FACETS = {
    "holder": "holder",
    "category": "category",
    "grade": "grade",
    "state": "state",
    "price": "band",
    "unit": "unit",
}
_GROUPED = (("holder",), ("category", "grade", "state", "price", "unit"))
"""Facets that are counted in one pass; holders are many, and their combinations more."""


def _require_known(wanted: CatalogueFilter) -> None:
    for value, known in (
        (wanted.state, [state.value for state in AssetState]),
        (wanted.price, [band.value for band in PriceBand]),
    ):
        if value and value not in known:
            raise BadInput(
                "facet_unknown", f"There is no value {value}.", hint=f"One of: {', '.join(known)}."
            )


async def course(context: Context, asset_id: bytes) -> Course:
    """This organisation's access to an asset, and whose turn it is; ``asset_unknown``.

    The provider is asked for its offers only where nothing else decides the next step.
    """
    grant, agreement = await context.database.aread(
        lambda session: _own(context, session, asset_id)
    )
    offered = None
    if agreement is None and grant is not None and grant.state is GrantState.APPROVED:
        offered = await _is_offered(context, grant)
    return rules.course(grant, agreement, offered=offered, now=context.now())


def _own(
    context: Context, session: Session, asset_id: bytes
) -> tuple[OwnGrant | None, OwnAgreement | None]:
    catalogue.find(context, asset_id)
    grant = grants.latest_of_asset(session, asset_id, context.member)
    view = agreements.latest_of_asset(session, asset_id, context.member)
    own = None
    if grant is not None:
        own = OwnGrant(grant.grant_id, grant.terms, grant.state, grant.reason)
    if view is None:
        return own, None
    called = metering.calls(context, PageRequest(1), agreement_id=view.agreement_id).rows
    ends_at = view.agreement.ends_at
    return own, OwnAgreement(view.agreement_id, view.state, ends_at, bool(called))


async def _is_offered(context: Context, grant: OwnGrant) -> bool | None:
    """Whether the grant's asset version is on offer; None where the owner cannot be asked."""
    cursor = ""
    for _ in range(MAX_OFFER_PAGES):
        try:
            page = PageRequest(MAX_ROWS, cursor)
            shown = await offers.offers_of(context, grant.terms.owner, page)
        except QiaolianError:
            return None
        wanted = (grant.terms.asset_id, grant.terms.asset_version)
        if any((offer.asset_id, offer.asset_version) == wanted for offer in shown.rows):
            return True
        if shown.next is None:
            return False
        cursor = shown.next
    return None


def apply(session: Session, event: Event) -> None:
    """Store in the search index what an event of the AssetRegistry changed; the registry's own
    catalogue has it already.
    """
    entry = catalogue.find_in(session, event.arguments["assetId"])
    if entry is not None:
        store.save_entry(session, entry)
