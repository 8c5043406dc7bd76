"""Offers: what a provider publishes for an asset version, and what a buyer reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chain.context import Context
from chain.core.errors import BadInput, NotFound
from chain.ethereum.deployment import CloseWindow
from exchange.agreements import peers, rules, store
from exchange.agreements.model import Offer
from exchange.agreements.store import OfferRow, SeenOfferRow
from registry.pages import Page, PageRequest


def require_offer(context: Context, request: Offer) -> None:
    """Check an offer's terms.

    Raises:
        BadInput: ``offer_malformed``, ``no_cap``, ``bond_without_price``, and
            what ``rules.require_shares`` and ``rules.require_window`` raise.
    """
    rules.require_shares(request.shares, buyers=request.buyers)
    window = CloseWindow(request.close_window_blocks, request.close_window_seconds)
    rules.require_window(window, context.ledger.deployment.min_close_window)
    if request.price < 0 or min(request.max_lanes, request.max_seconds) < 1:
        raise BadInput(
            "offer_malformed",
            "An offer has a price of 0 or more, and at least one lane and one second.",
        )
    if request.price == 0 and request.max_units == 0:
        raise BadInput("no_cap", "A free offer limits the count.")
    rules.require_security(price=request.price, bond=request.bond, stake=request.stake)


def offer(context: Context, request: Offer) -> None:
    """Publish or replace this node's offer for an asset version; agreements already signed keep
    their terms. Raises as ``require_offer``.
    """
    require_offer(context, request)
    row = OfferRow(
        asset_id=request.asset_id,
        asset_version=request.asset_version,
        offer=request.to_json(),
        changed_at=context.now(),
        withdrawn_at=None,
    )
    context.database.write(lambda session: store.store_offer(session, row))


def offers(context: Context, page: PageRequest, *, buyer: str | None = None) -> Page[Offer]:
    """This node's offers, by asset and version; with ``buyer``, those made to it, without the other
    buyers' names.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    with context.database.read() as session:
        if buyer is None:
            return store.offers(session, page).map(lambda row: Offer.from_json(row.offer))
        found = store.matching_offers(session, page, lambda row: _is_made_to(row, buyer))
    return found.map(lambda row: _made_to(Offer.from_json(row.offer), buyer))


def _is_made_to(row: OfferRow, buyer: str) -> bool:
    buyers = Offer.from_json(row.offer).buyers
    return not buyers or buyer in buyers


async def offers_of(context: Context, provider: str, page: PageRequest) -> Page[Offer]:
    """Another member's offers to this one, fetched from its node; ``peer_unknown``,
    ``offer_malformed``, ``cursor_malformed``.

    The offers are stored, so that a later order can be compared with the offer it names.
    """
    found = await peers.offers_of(context, provider, page)
    await _store_seen(context, found.rows)
    return found


async def _store_seen(context: Context, shown: Sequence[Offer]) -> None:
    by_hash = {seen.terms_hash(): seen for seen in shown}
    known = await context.database.aread(lambda session: store.seen_hashes(session, by_hash))
    rows = [
        SeenOfferRow(terms_hash=terms_hash, offer=seen.to_json(), seen_at=context.now())
        for terms_hash, seen in by_hash.items()
        if terms_hash not in known
    ]
    if rows:
        await context.database.awrite(lambda session: store.store_seen_offers(session, rows))


def find_offer(
    context: Context, asset_id: bytes, version: int, *, buyer: str | None = None
) -> Offer:
    """The offer for an asset version, with ``buyer`` only one that is made to it;
    ``not_offered``.
    """
    with context.database.read() as session:
        row = store.find_offer(session, asset_id, version)
    found = None if row is None or row.withdrawn_at is not None else Offer.from_json(row.offer)
    if found is None or (buyer is not None and found.buyers and buyer not in found.buyers):
        raise NotFound("not_offered", "This member does not offer that version of the asset.")
    return found if buyer is None else _made_to(found, buyer)


def _made_to(found: Offer, buyer: str) -> Offer:
    """The offer as one buyer sees it, without the other buyers' names."""
    return replace(found, buyers=(buyer,) if found.buyers else ())
