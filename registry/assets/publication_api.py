"""Publications: publishing a source, its changes, and where it departs from what was published."""

from __future__ import annotations

import tempfile
from typing import IO, Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
)
from registry.assets import changes, incidents, model, publication, serving
from registry.assets import preview as previews
from registry.openapi import FILE_BODY, STREAMED_BODY
from registry.pages import ListAnswer, PageRequest
from registry.schemas import Statement
from registry.source_files import FileReport, FileSettings, SourceFiles

router = APIRouter(tags=["assets"])


class Description(BaseModel):
    """The published text of an asset."""

    model_config = ConfigDict(extra="forbid")
    titleZh: str
    titleEn: str
    description: str
    grade: Annotated[int, Field(ge=1, le=5)]
    category: str = "other"

    def value(self) -> model.Description:
        """As the service takes it."""
        return model.Description(
            self.titleZh, self.titleEn, self.description, self.grade, self.category
        )


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


class PreviewBody(BaseModel):
    """What of a source is to be delivered; nothing is published."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"source": "records", "masking": {"Seniority": "keep", "Age": "range:10"}}
        },
    )
    source: str
    masking: dict[str, str]
    """A column without a rule never leaves (``drop``)."""
    types: dict[str, str] = {}


class ColumnAnswer(BaseModel):
    """A column of a source with its type and masking rule."""

    name: str
    type: str
    masking: str


class PreviewRowAnswer(BaseModel):
    """A row as the source has it, and as a buyer would get it."""

    line: int
    held: dict[str, Any]
    delivered: dict[str, Any]


class PreviewAnswer(BaseModel):
    """The first rows of a source, before and after masking."""

    key: str = Field(description="The column that names the subject")
    columns: list[ColumnAnswer]
    rows: list[PreviewRowAnswer]

    @classmethod
    def of(cls, found: previews.Preview) -> Self:
        """As the API shows it."""
        return cls(
            key=found.schema.key,
            columns=[
                ColumnAnswer(name=column.name, type=column.type, masking=found.masking[column.name])
                for column in found.schema.columns
            ],
            rows=[
                PreviewRowAnswer(line=row.line, held=dict(row.held), delivered=dict(row.delivered))
                for row in found.rows
            ],
        )


class SourceList(BaseModel):
    """The configured sources by name."""

    sources: list[str]


class FaultRow(BaseModel):
    """A fault of a file."""

    kind: str = Field(description="A value of `FaultKind`, such as `key_repeated`")
    blocking: bool = Field(description="Whether it keeps the file from being published")
    line: int | None = Field(description="From 1; in Parquet files the row")
    column: str
    cell: str = Field(description="The start of the cell's text")
    detail: str
    place: str = Field(description="The cell's name in a workbook, such as `B7`; else empty")


class InspectionAnswer(BaseModel):
    """What an inspection of a file found."""

    kind: str
    key: str
    encoding: str
    delimiter: str
    rows: int
    sheet: str = Field(description="The sheet of a workbook that was read; else empty")
    faults: list[FaultRow] = Field(description="The first 100")
    faultCount: int
    publishable: bool

    @classmethod
    def of(cls, report: FileReport) -> Self:
        """As the API shows it."""
        return cls(
            kind=report.kind,
            key=report.settings.key,
            encoding=report.settings.encoding,
            delimiter=report.settings.delimiter,
            rows=report.rows,
            sheet=report.sheet,
            faults=[
                FaultRow(blocking=fault.blocking, **fault.to_json()) for fault in report.faults
            ],
            faultCount=report.fault_count,
            publishable=report.publishable,
        )


class UploadAnswer(InspectionAnswer):
    """An uploaded file, which is a source by its name, and what its inspection found."""

    source: str = Field(description="What a publication names as its source")
    sha256: str = Field(description="Of the file, in hex")


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

    def wanted(self) -> model.VersionChanges:
        """As the service takes it."""
        return model.VersionChanges(
            self.masking, self.types, None if self.purposes is None else _consents(self.purposes)
        )


class RepublishBody(ChangesBody):
    """The changes that were shown, by their fingerprint, and what was asked with them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"fingerprint": "0x" + "66" * 32}}
    )
    fingerprint: str


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


def published_version(own: model.OwnVersion) -> PublishedVersion:
    """A version that was published now, as the API shows it."""
    record = own.require_record()
    return PublishedVersion(
        assetId="0x" + own.asset_id.hex(),
        assetVersion=own.asset_version,
        rowCount=record.row_count,
        record=record.to_json(),
        metadata=dict(own.metadata.document),
        operation=own.operation,
    )


def publication_row(progress: model.PublicationProgress) -> PublicationRow:
    """A version with its progress, as the API shows it."""
    own = progress.version
    return PublicationRow(
        assetId="0x" + own.asset_id.hex(),
        assetVersion=own.asset_version,
        titleZh=own.metadata.title_zh,
        titleEn=own.metadata.title_en,
        source=own.source,
        state=own.state,
        rows=progress.rows,
        operation=own.operation or None,
    )


def changes_answer(found: changes.SourceChanges) -> SourceChangesAnswer:
    """The changes of a source, as the API shows them."""
    types = found.types_changed.items()
    return SourceChangesAnswer(
        assetId="0x" + found.asset_id.hex(),
        latestVersion=found.latest_version,
        nextVersion=found.next_version,
        added=row_sample(found.added),
        changed=row_sample(found.changed),
        removed=found.removed,
        unchanged=found.unchanged,
        columnsAdded=list(found.columns_added),
        columnsRemoved=list(found.columns_removed),
        typesChanged={column: {"from": old, "to": new} for column, (old, new) in types},
        repaired=found.repaired,
        masking=dict(found.masking),
        purposes=dict(found.purposes),
        fingerprint="0x" + found.fingerprint.hex(),
    )


def row_sample(sample: changes.RowSample) -> RowSampleAnswer:
    """Rows of one kind, as the API shows them."""
    return RowSampleAnswer(count=sample.count, lines=sample.lines)


def incident_row(incident: model.Incident) -> IncidentRow:
    """An incident as the API shows it; rows count from 1."""
    position = incident.position
    return IncidentRow(
        assetId="0x" + incident.asset_id.hex(),
        assetVersion=incident.asset_version,
        kind=incident.kind,
        columns=list(incident.columns),
        row=None if position is None else position + 1,
        calls=incident.calls,
        firstAt=incident.first_at,
        lastAt=incident.last_at,
    )


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
) -> PublishedVersion:
    wanted = model.Publication(
        name=body.name,
        source=body.source,
        description=body.description.value(),
        masking=body.masking,
        data_item=body.dataItem,
        parents=tuple(hex_bytes(parent) for parent in body.parents),
        purposes=_consents(body.purposes),
        types=body.types,
    )
    return published_version(await run_in_threadpool(publication.publish, context, wanted))


@router.get(
    "/v1/sources",
    summary="The sources that this node can publish from",
    response_model=SourceList,
)
def sources(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> SourceList:
    return SourceList(sources=serving.source_names(context))


@router.post(
    "/v1/uploads",
    summary="Upload a CSV, Excel or Parquet file as a new source and inspect it",
    response_model=UploadAnswer,
    openapi_extra={**FILE_BODY, **STREAMED_BODY},
)
async def upload(
    request: Request,
    name: Annotated[
        str, Query(min_length=1, max_length=255, description="Its ending says what the file is")
    ],
    key: Annotated[
        str, Query(max_length=256, description="The subject's column; the first one if empty")
    ] = "",
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> UploadAnswer:
    """A file that nothing uses is deleted after seven days."""
    files = serving.source_files(context)
    with tempfile.TemporaryFile() as content:
        await _receive(request, content, files)
        stored = await run_in_threadpool(files.store, name, content, FileSettings(key))
    found = InspectionAnswer.of(stored.report)
    return UploadAnswer(**found.model_dump(), source=stored.source, sha256=stored.digest)


async def _receive(request: Request, content: IO[bytes], files: SourceFiles) -> None:
    """Take in the body of a request, up to the size that is stored; ``upload_too_large``."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        files.require_size(size)
        await run_in_threadpool(content.write, chunk)
    await run_in_threadpool(content.seek, 0)


@router.post(
    "/v1/sources/{source}/inspection",
    summary="Every fault of a source's file, with line, column and cell",
    response_model=InspectionAnswer,
)
async def inspection(
    source: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> InspectionAnswer:
    files = serving.source_files(context)
    return InspectionAnswer.of(await run_in_threadpool(files.inspect, source))


@router.post(
    "/v1/assets/preview",
    summary="The first ten rows of a source as they would be delivered; nothing is published",
    response_model=PreviewAnswer,
)
async def preview(
    body: PreviewBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> PreviewAnswer:
    def run() -> previews.Preview:
        return previews.preview(context, body.source, masking=body.masking, types=body.types)

    return PreviewAnswer.of(await run_in_threadpool(run))


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
) -> SourceChangesAnswer:
    found = await run_in_threadpool(changes.compare, context, hex_bytes(asset_id), body.wanted())
    return changes_answer(found)


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
) -> PublishedVersion:
    def run() -> model.OwnVersion:
        return changes.republish(
            context, hex_bytes(asset_id), body.wanted(), fingerprint=hex_bytes(body.fingerprint)
        )

    return published_version(await run_in_threadpool(run))


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
) -> IncidentList:
    asset_id = None if asset is None else hex_bytes(asset)
    found = incidents.listing(context, page, asset_id=asset_id)
    return IncidentList(incidents=list(map(incident_row, found.rows)), next=found.next)


@router.get(
    "/v1/publications",
    summary="What this node has published or is publishing, with the rows committed so far",
    response_model=PublicationList,
)
def publications(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> PublicationList:
    found = publication.own_versions(context, page)
    return PublicationList(publications=list(map(publication_row, found.rows)), next=found.next)
