"""Assets of all members, offers, and requests for grants."""

from __future__ import annotations

from qiaolian_client.models import (
    AssetList,
    AssetRow,
    AssetWithMetadata,
    GrantDetail,
    GrantList,
    GrantRow,
    OfferList,
    OfferRow,
    RequestBody,
    RequestedGrant,
)
from qiaolian_client.operation import Operation, Plan, every_page, get, post


def assets(*, search: str = "", holder: str = "") -> Plan[list[AssetRow]]:
    """The catalogue: assets whose name or data item holds ``search``, of one member or of all."""
    first = get("/v1/assets", AssetList, q=search or None, holder=holder or None)
    return every_page(first, lambda page: page.assets, lambda page: page.next)


def asset(asset_id: str) -> Operation[AssetWithMetadata]:
    """One asset with its columns, masking and terms of use."""
    return get(f"/v1/assets/{asset_id}", AssetWithMetadata)


def offers(*, provider: str | None = None) -> Plan[list[OfferRow]]:
    """The offers of a provider to this organisation; without one, the organisation's own."""
    first = get("/v1/offers", OfferList, provider=provider)
    return every_page(first, lambda page: page.offers, lambda page: page.next)


def grants(*, state: str | None = None) -> Plan[list[GrantRow]]:
    """Grants given or received. ``state``: requested, approved, refused or revoked."""
    first = get("/v1/grants", GrantList, state=state)
    return every_page(first, lambda page: page.grants, lambda page: page.next)


def grant(grant_id: str) -> Operation[GrantDetail]:
    """One grant."""
    return get(f"/v1/grants/{grant_id}", GrantDetail)


def request_grant(request: RequestBody, *, key: str) -> Operation[RequestedGrant]:
    """Ask an asset's owner for a grant; ``key`` makes the request idempotent."""
    return post("/v1/grants", RequestedGrant, request, idempotency_key=key)
