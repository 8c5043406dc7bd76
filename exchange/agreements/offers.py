"""Offers: what a provider publishes for an asset version, and what a buyer reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, NotFound
from chain.ethereum.deployment import CloseWindow
from exchange.agreements import rules
from exchange.agreements.model import (
    Offer,
)
from exchange.agreements.store import OfferRow, SeenOfferRow
from registry.pages import Page, PageRequest, matching_page_of, page_of, require_next


def offer(context: Context, request: Offer) -> dict[str, Any]:
    """Publish or replace this node's offer for an asset version; agreements already signed keep
    their terms.
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
    row = OfferRow(
        asset_id=request.asset_id,
        asset_version=request.asset_version,
        offer=request.to_json(),
        changed_at=context.now(),
        withdrawn_at=None,
    )
    context.database.write(lambda session: session.merge(row) and None)
    return _offer_json(request)


def offers(
    context: Context, page: PageRequest, *, buyer: str | None = None
) -> Page[dict[str, Any]]:
    """This node's offers with their hashes, by asset and version; with ``buyer``, those made to it,
    without the other buyers' names.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    query = sa.select(OfferRow).where(OfferRow.withdrawn_at.is_(None))
    order = (OfferRow.asset_id, OfferRow.asset_version)
    with context.database.read() as session:
        if buyer is None:
            own = page_of(session, query, order, page, ascending=True)
            return own.map(lambda row: _offer_json(Offer.from_json(row.offer)))
        found = matching_page_of(session, query, order, page, lambda row: _is_made_to(row, buyer))
    return found.map(lambda row: _offer_json(_made_to(Offer.from_json(row.offer), buyer)))


def _is_made_to(row: OfferRow, buyer: str) -> bool:
    buyers = Offer.from_json(row.offer).buyers
    return not buyers or buyer in buyers


async def offers_of(context: Context, provider: str, page: PageRequest) -> Page[dict[str, Any]]:
    """Another member's offers to this one, fetched from its node; ``peer_unknown``,
    ``offer_malformed``, ``cursor_malformed``.

    The offers are stored, so that a later order can be compared with the offer it names.
    """
    asked = {"limit": page.limit} | ({"cursor": page.cursor} if page.cursor else {})
    answer = await context.peers.get(provider, f"/v1/peer/offers?{urlencode(asked)}")
    found, following = _offers_in(answer, page.limit)
    await _store_seen(context, found)
    return Page([_offer_json(shown) for shown in found], following)


def _offers_in(answer: object, limit: int) -> tuple[list[Offer], str | None]:
    reported = answer.get("offers") if isinstance(answer, dict) else None
    try:
        if not isinstance(answer, dict) or not isinstance(reported, list) or len(reported) > limit:
            raise ValueError("offers")
        return [Offer.from_json(offered) for offered in reported], require_next(answer.get("next"))
    except ValueError as error:
        raise BadInput(
            "offer_malformed", "The provider's node does not list its offers in the form expected."
        ) from error


async def _store_seen(context: Context, shown: Sequence[Offer]) -> None:
    by_hash = {seen.terms_hash(): seen for seen in shown}
    known = sa.select(SeenOfferRow.terms_hash)
    known = known.where(SeenOfferRow.terms_hash.in_(list(by_hash)))
    new = set(by_hash) - await context.database.aread(lambda session: set(session.scalars(known)))
    if not new:
        return

    def change(session: Session) -> None:
        for terms_hash in new:
            row = SeenOfferRow(
                terms_hash=terms_hash, offer=by_hash[terms_hash].to_json(), seen_at=context.now()
            )
            session.merge(row)

    await context.database.awrite(change)


def find_offer(
    context: Context, asset_id: bytes, version: int, *, buyer: str | None = None
) -> Offer:
    """The offer for an asset version, with ``buyer`` only one that is made to it;
    ``not_offered``.
    """
    with context.database.read() as session:
        row = session.get(OfferRow, (asset_id, version))
    found = None if row is None or row.withdrawn_at is not None else Offer.from_json(row.offer)
    if found is None or (buyer is not None and found.buyers and buyer not in found.buyers):
        raise NotFound("not_offered", "This member does not offer that version of the asset.")
    return found if buyer is None else _made_to(found, buyer)


def _made_to(found: Offer, buyer: str) -> Offer:
    """The offer as one buyer sees it, without the other buyers' names."""
    return replace(found, buyers=(buyer,) if found.buyers else ())


def _offer_json(found: Offer) -> dict[str, Any]:
    return {**found.to_json(), "offerHash": "0x" + found.terms_hash().hex()}
