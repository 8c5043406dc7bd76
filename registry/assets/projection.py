"""The catalogue as a projection of AssetRegistry's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from chain.statements.assets import AssetRecord
from registry.assets.store import CatalogueAsset


def apply(session: Session, event: Event) -> None:
    """Store an AssetRegistry event in the catalogue."""
    asset_id: bytes = event.arguments["assetId"]
    if event.name in ("AssetRegistered", "AssetCorrected"):
        record: AssetRecord = event.arguments["record"]
        row = session.get(CatalogueAsset, asset_id) or CatalogueAsset(
            asset_id=asset_id, registered_at=event.height
        )
        row.holder, row.name, row.asset_version = record.holder, record.name, record.asset_version
        row.grade, row.category, row.data_item = record.grade, record.category, record.data_item
        row.row_count, row.metadata_hash = record.row_count, record.metadata_hash
        row.record, row.changed_at, row.cancelled_at = record.to_json(), event.height, None
        row.held, row.hold_changes = bool(row.held), row.hold_changes or 0
        session.add(row)
        return
    known = session.get(CatalogueAsset, asset_id)
    if known is None:
        return
    if event.name == "AssetCancelled":
        known.cancelled_at = event.height
    elif event.name in ("AssetHeld", "AssetReleased"):
        known.held = event.name == "AssetHeld"
        known.hold_changes = event.height
