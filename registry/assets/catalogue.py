"""The catalogue of all members' assets, for lists and searches."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm import Session

from chain.context import Context
from registry.assets import store
from registry.assets.model import CatalogueEntry
from registry.assets.rules import unknown_asset
from registry.list_limits import MAX_ROWS
from registry.pages import Page, PageRequest


def search(
    context: Context, page: PageRequest, *, text: str = "", holder: str = ""
) -> Page[CatalogueEntry]:
    """Assets of all members, newest first; ``cursor_malformed``.

    Args:
        text: a part of the name or category.
        holder: a member's code.
    """
    with context.database.read() as session:
        return store.catalogue_page(session, page, text=text, holder=holder)


def newest_versions(session: Session, asset_ids: Collection[bytes]) -> dict[bytes, int]:
    """The newest registered version of each of some assets, by the catalogue."""
    return store.newest_versions(session, asset_ids)


def find_in(session: Session, asset_id: bytes) -> CatalogueEntry | None:
    """The catalogue's entry of an asset, or None."""
    return store.find_entry(session, asset_id)


def names(context: Context, asset_ids: Collection[bytes]) -> dict[bytes, str]:
    """The names of those of these assets that this node knows, by id."""
    with context.database.read() as session:
        return store.names(session, asset_ids)


def name(context: Context, asset_id: bytes) -> str | None:
    """An asset's name; None where this node does not know the asset."""
    return store.name_of(context.database, asset_id)


def held(context: Context) -> list[CatalogueEntry]:
    """Assets that a supervisor has put on dispute hold, ``MAX_ROWS`` at most."""
    with context.database.read() as session:
        return store.held(session, limit=MAX_ROWS)


def find(context: Context, asset_id: bytes) -> CatalogueEntry:
    """The catalogue's entry of an asset; ``asset_unknown``."""
    with context.database.read() as session:
        entry = store.find_entry(session, asset_id)
    if entry is None:
        raise unknown_asset()
    return entry
