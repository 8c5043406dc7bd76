"""What the catalogue's pages show of an asset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nodes.console.i18n import N_


class CatalogueRow(Protocol):
    """A row of the catalogue, as ``registry.assets.catalogue`` gives it."""

    asset_id: bytes
    holder: str
    name: str
    asset_version: int
    grade: int
    category: str
    data_item: str
    row_count: int
    registered_at: int
    cancelled_at: int | None
    held: bool


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


def asset_view(row: CatalogueRow) -> AssetView:
    """A catalogue row as the pages show it."""
    state = N_("usable")
    if row.cancelled_at is not None:
        state = N_("cancelled")
    elif row.held:
        state = N_("on dispute hold")
    return AssetView(
        id="0x" + row.asset_id.hex(),
        holder=row.holder,
        name=row.name,
        version=row.asset_version,
        grade=row.grade,
        category=row.category,
        data_item=row.data_item,
        rows=row.row_count,
        registered_at=row.registered_at,
        cancelled_at=row.cancelled_at,
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
