"""Files of calls, for the organisation's own systems."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from exchange.call_files import service
from exchange.call_files.model import CallFile as StoredFile
from exchange.call_files.model import (
    CallFileRequest,
    FileProgress,
    FileView,
    RowResult,
    RowState,
)
from registry.access import Principal, get_context, hex_bytes, page_request, require_local
from registry.openapi import LARGE_BODY
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["calls"])
_system = require_local("system", "clerk")
FileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
MAX_CSV = 8_000_000


class CallFileBody(BaseModel):
    """A file of subjects, each row one metered call."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "2026-11 review",
                "agreementId": "0x" + "33" * 32,
                "columns": ["Seniority", "Job"],
                "csv": "subject,consent\n92440703MD00000168,0x" + "44" * 32 + "\n",
            }
        },
    )
    name: Annotated[str, Field(min_length=1, max_length=100)]
    agreementId: str
    columns: Annotated[list[str], Field(min_length=1, max_length=256)]
    csv: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_CSV,
            description="CSV with a heading line: `subject` and, where needed, `consent`",
        ),
    ]


class CostAnswer(BaseModel):
    """What the rows that are left can cost, in fen, beside what the caps still allow."""

    rows: int
    least: int
    most: int
    cap: int
    capLeft: int
    unitsLeft: int | None
    callsLeft: int
    fits: bool


class CallFileAnswer(BaseModel):
    """A file of calls; times in Unix seconds, money in fen."""

    fileId: str
    name: str
    agreementId: str
    columns: list[str]
    unusedColumns: list[str]
    state: str = Field(description="`ready`, `running`, `stopped`, `done`")
    stopCode: str = Field(description="Why it stopped; empty where a person stopped it")
    waitingCode: str = Field(description="Why the provider could not be asked; it is asked again")
    madeAt: int
    startedAt: int | None
    endedAt: int | None
    rows: dict[str, int] = Field(description="How many rows are in each state")
    amount: int

    @classmethod
    def of(cls, file: StoredFile, progress: FileProgress) -> Self:
        """As the API shows it."""
        return cls(
            fileId=file.id,
            name=file.name,
            agreementId="0x" + file.agreement_id.hex(),
            columns=list(file.columns),
            unusedColumns=list(file.unused_columns),
            state=file.state.value,
            stopCode=file.stop_code,
            waitingCode=file.waiting_code,
            madeAt=file.made_at,
            startedAt=file.started_at,
            endedAt=file.ended_at,
            rows={state.value: count for state, count in progress.counts.items()},
            amount=progress.amount,
        )


class CallFileDetail(BaseModel):
    """A file with the cost of what is left."""

    file: CallFileAnswer
    cost: CostAnswer

    @classmethod
    def of(cls, shown: FileView) -> Self:
        """As the API shows it."""
        cost = shown.preview
        return cls(
            file=CallFileAnswer.of(shown.file, shown.progress),
            cost=CostAnswer(
                rows=cost.rows,
                least=cost.least,
                most=cost.most,
                cap=cost.cap,
                capLeft=cost.cap_left,
                unitsLeft=cost.units_left,
                callsLeft=cost.calls_left,
                fits=cost.fits,
            ),
        )


class CallFileList(ListAnswer):
    """A page of files."""

    files: list[CallFileAnswer]


class CallFileRowAnswer(BaseModel):
    """A row with its record; the receipt is a struct hash in 0x hex."""

    line: int
    subject: str
    state: str = Field(description="`invalid`, `waiting`, `outstanding`, `served`, `refused`, …")
    code: str
    column: str = Field(description="The column of a cell that is not what it must be")
    units: int
    amount: int
    idempotencyKey: str
    record: dict[str, Any] | None
    receipt: str

    @classmethod
    def of(cls, result: RowResult) -> Self:
        """As the API shows it."""
        row = result.row
        return cls(
            line=row.line,
            subject=row.subject,
            state=row.state.value,
            code=row.code,
            column=row.column,
            units=row.units,
            amount=row.amount,
            idempotencyKey=row.key,
            record=result.record,
            receipt="0x" + result.receipt.hex() if result.receipt else "",
        )


class CallFileRows(ListAnswer):
    """A page of rows, in the file's order."""

    rows: list[CallFileRowAnswer]


class CallFileRemoved(BaseModel):
    """The file is deleted with its subjects."""

    removed: bool


@router.post(
    "/v1/call-files",
    status_code=201,
    summary="Upload a file of subjects, which is checked and priced; nothing is called",
    openapi_extra=LARGE_BODY,
    response_model=CallFileDetail,
)
def add(
    body: CallFileBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileDetail:
    request = CallFileRequest(
        body.name, hex_bytes(body.agreementId), body.columns, body.csv.encode()
    )
    return CallFileDetail.of(service.add(context, request))


@router.get(
    "/v1/call-files", summary="Files of calls, the newest first", response_model=CallFileList
)
def listing(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileList:
    found = service.listing(context, page)
    rows = [CallFileAnswer.of(file, progress) for file, progress in found.rows]
    return CallFileList(files=rows, next=found.next)


@router.get(
    "/v1/call-files/{file_id}",
    summary="A file with its progress and the cost of what is left",
    response_model=CallFileDetail,
)
def show(
    file_id: FileId,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileDetail:
    return CallFileDetail.of(service.view(context, file_id))


@router.get(
    "/v1/call-files/{file_id}/rows",
    summary="The rows of a file with their records and receipts",
    response_model=CallFileRows,
)
def rows(
    file_id: FileId,
    state: Annotated[list[RowState] | None, Query()] = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileRows:
    found = service.rows(context, file_id, page, states=state or ())
    results = service.with_results(context, found.rows)
    return CallFileRows(rows=[CallFileRowAnswer.of(row) for row in results], next=found.next)


@router.post(
    "/v1/call-files/{file_id}/start",
    summary="Start a file, or resume a stopped one; no row is billed twice",
    response_model=CallFileDetail,
)
def start(
    file_id: FileId,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileDetail:
    return CallFileDetail.of(service.start(context, file_id))


@router.post(
    "/v1/call-files/{file_id}/stop",
    summary="Stop a running file; the calls under way still end",
    response_model=CallFileDetail,
)
def stop(
    file_id: FileId,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileDetail:
    return CallFileDetail.of(service.stop(context, file_id))


@router.post(
    "/v1/call-files/{file_id}/remove",
    summary="Delete a file with its subjects; its calls stay",
    response_model=CallFileRemoved,
)
def remove(
    file_id: FileId,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallFileRemoved:
    service.remove(context, file_id)
    return CallFileRemoved(removed=True)
