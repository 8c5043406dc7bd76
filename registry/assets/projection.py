"""The catalogue as a projection of AssetRegistry's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from registry.assets import store


def apply(session: Session, event: Event) -> None:
    """Store an AssetRegistry event in the catalogue."""
    asset_id: bytes = event.arguments["assetId"]
    if event.name in ("AssetRegistered", "AssetCorrected"):
        store.save_record(session, asset_id, event.arguments["record"], event.height)
    elif event.name == "AssetCancelled":
        store.set_cancelled(session, asset_id, event.height)
    elif event.name in ("AssetHeld", "AssetReleased"):
        store.set_held(session, asset_id, event.height, held=event.name == "AssetHeld")
