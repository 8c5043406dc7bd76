"""What the catalogue's pages show of an asset."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.console.i18n import N_
from registry.assets.model import CatalogueEntry


@dataclass(frozen=True, slots=True)
class AssetView:
    """An asset; heights in blocks."""

    id: str
    holder: str
    name: str
    version: int
    grade: int
    category: str
    data_item: str
    rows: int
    registered_at: int
    cancelled_at: int | None
    state: str
    """A label of the menu's language: usable, on hold or cancelled."""


def asset_view(entry: CatalogueEntry) -> AssetView:
    """A catalogue entry as the pages show it."""
    state, record = N_("usable"), entry.record
    if entry.cancelled_at is not None:
        state = N_("cancelled")
    elif entry.held:
        state = N_("on dispute hold")
    return AssetView(
        id="0x" + entry.asset_id.hex(),
        holder=record.holder,
        name=record.name,
        version=record.asset_version,
        grade=record.grade,
        category=record.category,
        data_item=record.data_item,
        rows=record.row_count,
        registered_at=entry.registered_at,
        cancelled_at=entry.cancelled_at,
        state=state,
    )


EXPORT_COLUMNS = (
    N_("Name"),
    N_("Holder"),
    N_("Version"),
    N_("Grade"),
    N_("Category"),
    N_("Data item"),
    N_("Records"),
    N_("Registered in block"),
    N_("Cancelled in block"),
    N_("Id"),
)


def export_cells(asset: AssetView) -> list[str | int | None]:
    """One line of the export."""
    return [
        asset.name,
        asset.holder,
        asset.version,
        asset.grade,
        asset.category,
        asset.data_item,
        asset.rows,
        asset.registered_at,
        asset.cancelled_at,
        asset.id,
    ]
