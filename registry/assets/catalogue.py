"""The catalogue of all members' assets, for lists and searches."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from registry.assets.rules import unknown_asset
from registry.assets.store import CatalogueAsset
from registry.pages import Page, PageRequest, page_of


def search(
    context: Context, page: PageRequest, *, text: str = "", holder: str = ""
) -> Page[CatalogueAsset]:
    """Assets of all members by a part of the name or category; newest first."""
    query = sa.select(CatalogueAsset)
    if text:
        query = query.where(
            CatalogueAsset.name.contains(text) | CatalogueAsset.category.contains(text)
        )
    if holder:
        query = query.where(CatalogueAsset.holder == holder)
    order = (CatalogueAsset.registered_at, CatalogueAsset.asset_id)
    with context.database.read() as session:
        return page_of(session, query, order, page)


def newest_versions(session: Session, asset_ids: Collection[bytes]) -> dict[bytes, int]:
    """The newest registered version of each of some assets, by the catalogue."""
    query = sa.select(CatalogueAsset.asset_id, CatalogueAsset.asset_version).where(
        CatalogueAsset.asset_id.in_(asset_ids)
    )
    return {asset_id: version for asset_id, version in session.execute(query)}


def catalogue_row(context: Context, asset_id: bytes) -> CatalogueAsset:
    """The catalogue's row; ``asset_unknown`` if there is none."""
    with context.database.read() as session:
        row = session.get(CatalogueAsset, asset_id)
    if row is None:
        raise unknown_asset()
    return row


def catalogue_entry(row: CatalogueAsset) -> dict[str, Any]:
    """A catalogue row as the API shows it."""
    return {
        "assetId": "0x" + row.asset_id.hex(),
        "holder": row.holder,
        "name": row.name,
        "assetVersion": row.asset_version,
        "grade": row.grade,
        "category": row.category,
        "dataItem": row.data_item,
        "rowCount": row.row_count,
        "registeredAt": row.registered_at,
        "cancelledAt": row.cancelled_at,
        "held": row.held,
    }
