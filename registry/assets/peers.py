"""Descriptions of other members' assets, fetched from the holder and checked against the chain."""

from __future__ import annotations

import asyncio
import time

from chain.context import Context
from chain.core.errors import BadInput, Conflict
from chain.ethereum.proved_records import ProvedRecords, asset_record, version_record
from chain.statements.assets import AssetRecord
from registry.assets import catalogue
from registry.assets.model import AssetMetadata, DescribedAsset, ShownVersion
from registry.assets.rules import require_latest, require_registered
from registry.assets.serving import latest_own_version, own_published
from registry.purposes import ListedPurposes

REGISTRATION_SECONDS = 15.0
"""How long a version that its holder shows may take to reach the chain."""


async def published_purposes(
    context: Context, holder: str, asset_id: bytes, version: int
) -> ListedPurposes:
    """The purposes a version of any member's asset lists, by metadata that is the one the chain has
    registered.

    Raises:
        NotFound: ``asset_not_published``, ``asset_unknown``; Conflict: ``metadata_differs``;
            Unavailable: the holder cannot be asked.
    """
    if holder == context.member:
        own = await asyncio.to_thread(own_published, context, asset_id, version)
        return own.metadata.purposes
    shown = await shown_version(context, holder, asset_id, version)
    require_registered(shown, await _registered(context, asset_id, version))
    return shown.metadata.purposes


async def shown_version(
    context: Context, holder: str, asset_id: bytes, version: int
) -> ShownVersion:
    """A version as another member's node shows it. Nothing is checked against the chain yet.

    Raises:
        NotFound: ``asset_not_published``; BadInput: ``metadata_malformed``; Unavailable: the holder
            cannot be asked.
    """
    answer = await context.peers.get(
        holder, f"/v1/peer/assets/0x{asset_id.hex()}/versions/{version}"
    )
    try:
        shown = ShownVersion(
            asset_id,
            version,
            AssetRecord.from_json(answer["record"]),
            AssetMetadata(answer["metadata"]),
        )
        # Metadata without a canonical form has no hash.
        _ = shown.metadata.hash
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "metadata_malformed",
            "The holder's node does not show the version in the form expected.",
        ) from error
    return shown


async def _registered(context: Context, asset_id: bytes, version: int) -> ProvedRecords:
    """A version's proved record. Its holder may have published it this moment: it is waited for a
    little.
    """
    deadline = time.monotonic() + REGISTRATION_SECONDS
    while True:
        records = await context.view.aproved([version_record(asset_id, version)])
        if any(records.version_hash(asset_id, version)) or time.monotonic() > deadline:
            return records
        await asyncio.sleep(0.2)


async def describe(context: Context, asset_id: bytes) -> DescribedAsset:
    """One asset with its metadata, fetched from its holder and checked against the record that the
    chain has.

    Raises:
        NotFound: ``asset_unknown``; Conflict: ``metadata_differs``;
        Unavailable: ``projection_behind`` while the catalogue lacks the latest version,
            ``chain_view_stale``.
    """
    entry = await asyncio.to_thread(catalogue.find, context, asset_id)
    record = entry.record
    records = await context.view.aproved(
        [asset_record(asset_id), version_record(asset_id, record.asset_version)]
    )
    require_latest(asset_id, record, records)
    if record.holder == context.member:
        metadata = (await asyncio.to_thread(latest_own_version, context, asset_id)).metadata
    else:
        answer = await context.peers.get(record.holder, f"/v1/peer/assets/0x{asset_id.hex()}")
        metadata = AssetMetadata(answer["metadata"])
    if metadata.hash != record.metadata_hash:
        raise Conflict(
            "metadata_differs", "The holder's metadata is not what it registered on the chain."
        )
    return DescribedAsset(entry, metadata)
