"""Assets: find, cancel, hold; ``publication_api`` has the endpoints of publications."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.ethereum.eip712 import encode_code
from registry.access import (
    NonNegativeInt,
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.assets import catalogue, model, peers, serving, status
from registry.pages import ListAnswer, PageRequest
from registry.reasons import reason_code
from registry.schemas import QueuedCall, Statement

router = APIRouter(tags=["assets"])


class CancelBody(BaseModel):
    """Why an asset is cancelled or held, as a code."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "source-replaced"}}
    )

    reason: str


class AssetRow(BaseModel):
    """An asset of any member according to the chain's events; heights in blocks."""

    assetId: str
    holder: str
    name: str
    assetVersion: int
    grade: int
    category: str
    dataItem: str
    rowCount: int
    registeredAt: int
    cancelledAt: int | None
    held: bool


class AssetList(ListAnswer):
    """A page of the catalogue."""

    assets: list[AssetRow]


class AssetWithMetadata(AssetRow):
    """An asset with the metadata that its holder publishes."""

    metadata: dict[str, Any]


class MetadataAnswer(BaseModel):
    """The metadata of the latest version."""

    metadata: dict[str, Any]


class VersionAnswer(BaseModel):
    """A version's metadata and record."""

    metadata: dict[str, Any]
    record: Statement = Field(description="`AssetRecord`; see docs/statements.md")


def asset_row(entry: model.CatalogueEntry) -> AssetRow:
    """An asset of the catalogue, as the API shows it."""
    record = entry.record
    return AssetRow(
        assetId="0x" + entry.asset_id.hex(),
        holder=record.holder,
        name=record.name,
        assetVersion=record.asset_version,
        grade=record.grade,
        category=record.category,
        dataItem=record.data_item,
        rowCount=record.row_count,
        registeredAt=entry.registered_at,
        cancelledAt=entry.cancelled_at,
        held=entry.held,
    )


@router.get("/v1/assets", summary="The catalogue of all members", response_model=AssetList)
def search(
    q: str = "",
    holder: str = "",
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> AssetList:
    found = catalogue.search(context, page, text=q, holder=holder)
    return AssetList(assets=list(map(asset_row, found.rows)), next=found.next)


@router.get(
    "/v1/assets/{asset_id}", summary="One asset with its metadata", response_model=AssetWithMetadata
)
async def describe(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> AssetWithMetadata:
    found = await peers.describe(context, hex_bytes(asset_id))
    return AssetWithMetadata(
        **asset_row(found.entry).model_dump(), metadata=dict(found.metadata.document)
    )


@router.post(
    "/v1/assets/{asset_id}/cancel",
    status_code=202,
    summary="Cancel an own asset",
    response_model=QueuedCall,
)
def cancel(
    asset_id: str,
    body: CancelBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> QueuedCall:
    reason = encode_code(reason_code(body.reason))
    return QueuedCall(operation=status.cancel(context, hex_bytes(asset_id), reason))


@router.post(
    "/v1/assets/{asset_id}/hold",
    status_code=202,
    summary="As a supervisor, put an asset on dispute hold",
    response_model=QueuedCall,
)
def hold(
    asset_id: str,
    body: CancelBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("officer")),
) -> QueuedCall:
    reason = encode_code(reason_code(body.reason))
    return QueuedCall(operation=status.set_hold(context, hex_bytes(asset_id), reason=reason))


@router.post(
    "/v1/assets/{asset_id}/release",
    status_code=202,
    summary="As a supervisor, release an asset from its hold",
    response_model=QueuedCall,
)
def release(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("officer")),
) -> QueuedCall:
    return QueuedCall(operation=status.set_hold(context, hex_bytes(asset_id), reason=None))


@router.get(
    "/v1/peer/assets/{asset_id}",
    summary="Metadata of an asset this node publishes",
    response_model=MetadataAnswer,
)
def metadata(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> MetadataAnswer:
    own = serving.latest_own_version(context, hex_bytes(asset_id))
    return MetadataAnswer(metadata=dict(own.metadata.document))


@router.get(
    "/v1/peer/assets/{asset_id}/versions/{version}",
    summary="Metadata and record of a version this node publishes",
    response_model=VersionAnswer,
)
def version_metadata(
    asset_id: str,
    version: NonNegativeInt,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> VersionAnswer:
    own = serving.own_published(context, hex_bytes(asset_id), version)
    return VersionAnswer(
        metadata=dict(own.metadata.document), record=own.require_record().to_json()
    )
