"""Assets: publish, correct, cancel, find."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

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
from registry.assets import catalogue, changes, incidents, peers, publication, serving, status
from registry.pages import ListAnswer, PageRequest
from registry.reasons import reason_code
from registry.schemas import QueuedCall, Statement

router = APIRouter(tags=["assets"])


class Description(BaseModel):
    """What people read of an asset."""

    model_config = ConfigDict(extra="forbid")
    titleZh: str
    titleEn: str
    description: str
    grade: Annotated[int, Field(ge=1, le=5)]
    category: str = "other"


class PurposeDemands(BaseModel):
    """What a use for one purpose demands."""

    model_config = ConfigDict(extra="forbid")
    consent: bool = True
    """Whether the subject's consent is needed."""


class PublishBody(BaseModel):
    """A publication."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "employment-records",
                "source": "records",
                "description": {
                    "titleZh": "从业信息",
                    "titleEn": "Employment records",
                    "description": "Seniority and occupation of insured persons",
                    "grade": 3,
                    "category": "social-security",
                },
                "masking": {"Seniority": "keep", "Age": "range:10"},
                "purposes": {"credit-assessment": {}, "statistics": {"consent": False}},
                "dataItem": "employment",
            }
        },
    )
    name: str
    source: str
    description: Description
    masking: dict[str, str]
    purposes: dict[str, PurposeDemands] = {}
    """At least one; the network's list is in the protocol page."""
    types: dict[str, str] = {}
    """Column types (text, integer, decimal, boolean) instead of the ones guessed from the cells."""
    dataItem: str = ""
    parents: list[str] = []


class ChangesBody(BaseModel):
    """What is to differ from the latest version besides its rows; what is left out
    stays as it is.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"masking": {"Age": "range:5"}}}
    )
    masking: dict[str, str] = {}
    types: dict[str, str] = {}
    purposes: dict[str, PurposeDemands] | None = None

    def wanted(self) -> changes.VersionChanges:
        """As the service takes it."""
        return changes.VersionChanges(
            self.masking, self.types, None if self.purposes is None else _consents(self.purposes)
        )


class RepublishBody(ChangesBody):
    """The changes that were shown, by their fingerprint, and what was asked with them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"fingerprint": "0x" + "66" * 32}}
    )
    fingerprint: str


class CancelBody(BaseModel):
    """Why an asset is cancelled or held, as a code."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "source-replaced"}}
    )

    reason: str


class IncidentRow(BaseModel):
    """A way in which a source departs from a published version; times in Unix seconds."""

    assetId: str
    assetVersion: int
    kind: str
    columns: list[str] = Field(description="What differs; empty where it is not known")
    row: int | None = Field(description="The record in the order of publication, from 1")
    calls: int = Field(description="Calls refused for it")
    firstAt: int
    lastAt: int


class IncidentList(ListAnswer):
    """A page of incidents."""

    incidents: list[IncidentRow]


class PublicationRow(BaseModel):
    """A version that this node has published or is publishing."""

    assetId: str
    assetVersion: int
    titleZh: str
    titleEn: str
    source: str
    state: str = Field(description="`publishing` or `published`")
    rows: int = Field(description="Rows committed so far")
    operation: str | None


class PublicationList(ListAnswer):
    """A page of publications."""

    publications: list[PublicationRow]


class AssetRow(BaseModel):
    """An asset of any member as the chain's events tell it; heights in blocks."""

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


class PublishedVersion(BaseModel):
    """The version to be registered, and its contract call."""

    assetId: str
    assetVersion: int
    rowCount: int
    record: Statement = Field(description="`AssetRecord`; see docs/statements.md")
    metadata: dict[str, Any]
    operation: str


class RowSampleAnswer(BaseModel):
    """How many rows, and the source's lines of the first ones."""

    count: int
    lines: list[int]


class SourceChangesAnswer(BaseModel):
    """How the source departs from the latest version."""

    assetId: str
    latestVersion: int
    nextVersion: int
    added: RowSampleAnswer
    changed: RowSampleAnswer
    removed: int
    unchanged: int
    columnsAdded: list[str]
    columnsRemoved: list[str]
    typesChanged: dict[str, dict[str, str]] = Field(description="`from` and `to` by column")
    repaired: int
    masking: dict[str, str]
    purposes: dict[str, bool]
    fingerprint: str


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


@router.post(
    "/v1/assets",
    status_code=201,
    summary="Publish an asset from a source",
    response_model=PublishedVersion,
)
async def publish(
    body: PublishBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    wanted = publication.Publication(
        name=body.name,
        source=body.source,
        description=body.description.model_dump(),
        masking=body.masking,
        data_item=body.dataItem,
        parents=tuple(hex_bytes(parent) for parent in body.parents),
        purposes=_consents(body.purposes),
        types=body.types,
    )
    return await run_in_threadpool(publication.publish, context, wanted)


def _consents(purposes: dict[str, PurposeDemands]) -> dict[str, bool]:
    return {code: demands.consent for code, demands in purposes.items()}


@router.post(
    "/v1/assets/{asset_id}/changes",
    summary="How the source departs from the latest version; nothing is published",
    response_model=SourceChangesAnswer,
)
async def source_changes(
    asset_id: str,
    body: ChangesBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    found = await run_in_threadpool(changes.compare, context, hex_bytes(asset_id), body.wanted())
    return found.to_json()


@router.post(
    "/v1/assets/{asset_id}/republish",
    status_code=201,
    summary="Publish the changed source as the next version",
    response_model=PublishedVersion,
)
async def republish(
    asset_id: str,
    body: RepublishBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    def run() -> dict[str, Any]:
        return changes.republish(
            context, hex_bytes(asset_id), body.wanted(), fingerprint=hex_bytes(body.fingerprint)
        )

    return await run_in_threadpool(run)


@router.get(
    "/v1/incidents",
    summary="Where this node's sources depart from what it published, and the calls refused for it",
    response_model=IncidentList,
)
def source_incidents(
    asset: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> dict[str, Any]:
    asset_id = None if asset is None else hex_bytes(asset)
    return incidents.listing(context, page, asset_id=asset_id).to_json("incidents")


@router.get(
    "/v1/publications",
    summary="What this node has published or is publishing, with the rows committed so far",
    response_model=PublicationList,
)
def publications(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> dict[str, Any]:
    return publication.own_versions(context, page).to_json("publications")


@router.get("/v1/assets", summary="The catalogue of all members", response_model=AssetList)
def search(
    q: str = "",
    holder: str = "",
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> dict[str, Any]:
    return (
        catalogue.search(context, page, text=q, holder=holder)
        .map(catalogue.catalogue_entry)
        .to_json("assets")
    )


@router.get(
    "/v1/assets/{asset_id}", summary="One asset with its metadata", response_model=AssetWithMetadata
)
async def describe(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> dict[str, Any]:
    return await peers.describe(context, hex_bytes(asset_id))


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
) -> dict[str, Any]:
    return {
        "operation": status.cancel(
            context, hex_bytes(asset_id), encode_code(reason_code(body.reason))
        )
    }


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
) -> dict[str, Any]:
    return {
        "operation": status.set_hold(
            context, hex_bytes(asset_id), reason=encode_code(reason_code(body.reason))
        )
    }


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
) -> dict[str, Any]:
    return {"operation": status.set_hold(context, hex_bytes(asset_id), reason=None)}


@router.get(
    "/v1/peer/assets/{asset_id}",
    summary="Metadata of an asset this node publishes",
    response_model=MetadataAnswer,
)
def metadata(
    asset_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return {"metadata": serving.latest_own_version(context, hex_bytes(asset_id)).asset_metadata}


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
) -> dict[str, Any]:
    own = serving.own_published(context, hex_bytes(asset_id), version)
    return {"metadata": own.asset_metadata, "record": own.record}
