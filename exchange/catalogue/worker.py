"""Reads what other members' nodes say of their assets into the search index: titles, columns and
offers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from exchange.agreements import offers
from exchange.catalogue import store
from exchange.catalogue.model import CatalogueDetails, OfferSummary
from registry.assets import catalogue, peers
from registry.assets.model import AssetMetadata, CatalogueEntry
from registry.list_limits import MAX_ROWS
from registry.masking import served_columns
from registry.pages import PageRequest

Entries = Mapping[bytes, CatalogueEntry]

ASSETS = 32
"""Assets that one round reads metadata of."""
OFFER_SECONDS = 30
"""How old the offers in the index may be."""
MAX_PAGES = 50


class CatalogueReader:
    """A round reads some assets' metadata, and every half minute every holder's offers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._offers_read_at = 0
        self._filled = False
        self.has_work = False

    async def round(self) -> QiaolianError | None:
        """One round; the error of a holder that could not be asked."""
        database = self._context.database
        if not self._filled:
            await asyncio.to_thread(self._fill)
            self._filled = True
        assets = await database.aread(lambda session: store.undescribed(session, ASSETS))
        failures = [await self._describe(asset_id, version) for asset_id, version in assets]
        if self._context.now() - self._offers_read_at >= OFFER_SECONDS:
            holders = await database.aread(store.holders)
            failures += await asyncio.gather(*map(self._read_offers, holders))
            self._offers_read_at = self._context.now()
        failed = [failure for failure in failures if failure is not None]
        self.has_work = len(assets) == ASSETS and not failed
        return failed[0] if failed else None

    def _fill(self) -> None:
        """Take in assets that were registered before this node had the index."""
        database, cursor = self._context.database, ""
        while True:
            found = catalogue.search(self._context, PageRequest(MAX_ROWS, cursor))
            entries = {entry.asset_id: entry for entry in found.rows}

            def change(session: Session, entries: Entries = entries) -> None:
                for asset_id in entries.keys() - store.known(session, entries):
                    store.save_entry(session, entries[asset_id])

            database.write(change)
            if found.next is None:
                return
            cursor = found.next

    async def _describe(self, asset_id: bytes, version: int) -> QiaolianError | None:
        """An asset's titles and columns; what its holder cannot show as registered is not tried
        again before its next version.
        """
        database = self._context.database
        try:
            described = await peers.describe(self._context, asset_id)
            details = _details(described.metadata)
        except Unavailable as error:
            return error
        except QiaolianError:
            await database.awrite(lambda session: store.set_described(session, asset_id, version))
            return None
        await database.awrite(
            lambda session: store.save_details(session, asset_id, version, details)
        )
        return None

    async def _read_offers(self, holder: str) -> QiaolianError | None:
        if holder == self._context.member:
            return None
        found, cursor = dict[bytes, OfferSummary](), ""
        try:
            for _ in range(MAX_PAGES):
                page = PageRequest(MAX_ROWS, cursor)
                shown = await offers.offers_of(self._context, holder, page)
                for offer in shown.rows:
                    found[offer.asset_id] = OfferSummary(
                        offer.unit.name.lower(), offer.price, offer.max_seconds
                    )
                if shown.next is None:
                    break
                cursor = shown.next
        except QiaolianError as error:
            return error
        await self._context.database.awrite(
            lambda session: store.save_offers(session, holder, found)
        )
        return None


def _details(metadata: AssetMetadata) -> CatalogueDetails:
    description = metadata.description
    return CatalogueDetails(
        title_zh=description.title_zh,
        title_en=description.title_en,
        description=description.description,
        columns=served_columns(metadata.document["masking"]),
    )
