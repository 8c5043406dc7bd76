"""The guided path from a file or a source to a registered asset."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field
from starlette.responses import Response

from chain.core.errors import QiaolianError
from chain.statements.members import Role
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.errors import error_view
from nodes.console.forms import ConsoleForm, FileForm, file_name, submit
from nodes.console.i18n import N_
from nodes.console.names import purpose_name
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.publishing import service, views
from nodes.console.publishing.model import Draft, DraftContent, DraftState, SaleTerms
from nodes.console.rendering import render
from registry.assets import serving
from registry.assets.model import Description
from registry.pages import PageRequest
from registry.purposes import KNOWN_PURPOSES
from registry.source_files import FileSettings

router = APIRouter()
_PROVIDERS = Role.DEPARTMENT
_ROLES = (PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER)
NAVIGATION = (Entry("/publish", N_("Publish data"), _ROLES, _PROVIDERS),)

_editor = require(*_ROLES, nodes=_PROVIDERS)
Columns = Annotated[list[str], Field(default_factory=list, max_length=1_000)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Yuan = Annotated[Decimal, Field(ge=0, le=10**12, decimal_places=2)]


class SourceForm(ConsoleForm):
    """A configured source."""

    source: Annotated[str, Field(min_length=1, max_length=63)]


class ReadingForm(ConsoleForm):
    """How an uploaded file is read."""

    model_config = ConfigDict(str_strip_whitespace=False)
    key: Annotated[str, Field(max_length=1_000)]
    encoding: Annotated[str, Field(max_length=20)] = "auto"
    delimiter: Annotated[str, Field(max_length=1)] = ""


class ColumnsForm(ConsoleForm):
    """Type and masking of each column; the lists run side by side."""

    model_config = ConfigDict(str_strip_whitespace=False)
    columns: Columns
    types: Columns
    rules: Columns
    numbers: Columns


class DescriptionForm(ConsoleForm):
    """The published text of the asset, its purposes and its terms."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    title_zh: Annotated[str, Field(min_length=1, max_length=400)]
    title_en: Annotated[str, Field(min_length=1, max_length=400)]
    description: Annotated[str, Field(min_length=1, max_length=400)]
    grade: Annotated[int, Field(ge=1, le=5)]
    category: Annotated[str, Field(max_length=32)] = "other"
    data_item: Annotated[str, Field(max_length=32)] = ""
    purposes: Annotated[list[str], Field(default_factory=list)]
    no_consent: Annotated[list[str], Field(default_factory=list)]
    offered: Literal["yes", "no"] = "no"
    unit: Literal["call", "row", "byte"] = "call"
    price: Yuan = Decimal(0)
    max_cap: Yuan = Decimal(0)
    max_per_call: Yuan = Decimal(0)
    max_units: Count = 0
    max_days: Annotated[int, Field(ge=1, le=3_650)] = 365
    buyers: Annotated[str, Field(max_length=2_000)] = ""

    def content(self) -> DraftContent:
        """As the draft stores it."""
        return DraftContent(
            name=self.name,
            description=Description(
                self.title_zh,
                self.title_en,
                self.description.replace("\r\n", "\n"),
                self.grade,
                self.category,
            ),
            data_item=self.data_item,
            purposes={code: code not in self.no_consent for code in self.purposes},
            terms=self._terms() if self.offered == "yes" else None,
        )

    def _terms(self) -> SaleTerms:
        return SaleTerms(
            unit=self.unit,
            price=int(self.price * 100),
            max_cap=int(self.max_cap * 100),
            max_units=self.max_units,
            max_per_call=int(self.max_per_call * 100),
            max_days=self.max_days,
            buyers=tuple(self.buyers.split()),
        )


# --- The data -------------------------------------------------------------------------------------


@router.get("/publish")
def drafts(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "drafts"))
    found = service.listing(context, page)
    return render(
        request,
        "publishing/list.html",
        rows=[views.draft_row(draft, service.file_of(context, draft)) for draft in found.rows],
        next=found.next,
        sources=serving.source_names(context),
        max_bytes=request.app.state.config.limits.upload_bytes,
    )


@router.post("/publish/upload")
async def upload(
    request: Request,
    form: Annotated[FileForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        file = serving.source_files(context).store(
            file_name(form.file), form.file.file, FileSettings()
        )
        return f"/publish/{service.create(context, file.source).id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "file"), work)


@router.post("/publish/source")
async def from_source(
    request: Request,
    form: Annotated[SourceForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        return f"/publish/{service.create(context, form.source).id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", form.source), work)


@router.get("/publish/{draft_id}")
def data(request: Request, draft_id: str, visit: Annotated[Visit, Depends(_editor)]) -> Response:
    context = get_context(request)
    draft = service.find(context, draft_id)
    record(request, visit, Act(ActKind.VIEW, "draft", draft_id))
    file = service.file_of(context, draft)
    return _step(
        request,
        draft,
        "data",
        file=None if file is None else views.file_view(file),
        delimiters=views.DELIMITERS,
        max_bytes=request.app.state.config.limits.upload_bytes,
    )


@router.post("/publish/upload/{draft_id}")
async def replace_file(
    request: Request,
    draft_id: str,
    form: Annotated[FileForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.replace_file(context, draft_id, file_name(form.file), form.file.file)
        return f"/publish/{draft_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", draft_id), work)


@router.post("/publish/{draft_id}/reading")
async def reading(
    request: Request,
    draft_id: str,
    form: Annotated[ReadingForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        settings = FileSettings(form.key, form.encoding, form.delimiter)
        service.read_file_as(context, draft_id, settings)
        return f"/publish/{draft_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", draft_id), work)


@router.post("/publish/{draft_id}/discard")
async def discard(
    request: Request,
    draft_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.discard(context, draft_id)
        return "/publish"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", draft_id), work)


# --- Columns --------------------------------------------------------------------------------------


@router.get("/publish/{draft_id}/columns")
def columns(request: Request, draft_id: str, visit: Annotated[Visit, Depends(_editor)]) -> Response:
    context = get_context(request)
    draft = service.find(context, draft_id)
    record(request, visit, Act(ActKind.VIEW, "draft", draft_id))
    schema = service.schema(context, draft)
    return _step(
        request,
        draft,
        "columns",
        columns=views.column_views(schema, draft),
        types=views.TYPES,
        rules=views.RULES,
    )


@router.post("/publish/{draft_id}/columns")
async def save_columns(
    request: Request,
    draft_id: str,
    form: Annotated[ColumnsForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.save_columns(context, draft_id, types=_types(form), masking=_masking(form))
        return f"/publish/{draft_id}/preview"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", draft_id), work)


@router.get("/publish/{draft_id}/preview")
def preview(request: Request, draft_id: str, visit: Annotated[Visit, Depends(_editor)]) -> Response:
    context = get_context(request)
    draft = service.find(context, draft_id)
    record(request, visit, Act(ActKind.VIEW, "draft", draft_id))
    shown, error = None, None
    try:
        shown = views.preview_view(service.preview(context, draft))
    except QiaolianError as refused:
        error = error_view(refused, request.state.language)
    return _step(request, draft, "preview", preview=shown, error=error)


# --- Description ----------------------------------------------------------------------------------


@router.get("/publish/{draft_id}/description")
def description(
    request: Request, draft_id: str, visit: Annotated[Visit, Depends(_editor)]
) -> Response:
    draft = service.find(get_context(request), draft_id)
    record(request, visit, Act(ActKind.VIEW, "draft", draft_id))
    language = request.state.language
    return _step(
        request,
        draft,
        "description",
        content=draft.content,
        categories=views.CATEGORIES,
        purposes=[
            (code, purpose_name(code, language), purpose.always_needs_consent)
            for code, purpose in KNOWN_PURPOSES.items()
        ],
    )


@router.post("/publish/{draft_id}/description")
async def save_description(
    request: Request,
    draft_id: str,
    form: Annotated[DescriptionForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.save_description(context, draft_id, form.content())
        return f"/publish/{draft_id}/registration"

    return await submit(request, visit, Act(ActKind.CHANGE, "draft", draft_id), work)


# --- Registration ---------------------------------------------------------------------------------


@router.get("/publish/{draft_id}/registration")
def registration(
    request: Request, draft_id: str, visit: Annotated[Visit, Depends(_editor)]
) -> Response:
    context = get_context(request)
    draft = service.find(context, draft_id)
    follows = request.headers.get("hx-request") == "true"
    if not follows:
        record(request, visit, Act(ActKind.VIEW, "draft", draft_id))
    happened, following = views.failure_text(draft.failure, request.state.language)
    return _step(
        request,
        draft,
        "progress" if follows else "registration",
        content=draft.content,
        purposes=[
            (purpose_name(code, request.state.language), needed)
            for code, needed in draft.content.purposes.items()
        ],
        rules=views.RULES,
        rows=service.rows_committed(context, draft) if draft.content.name else 0,
        happened=happened,
        following=following,
        operation=_operation(draft),
        two_persons="asset.publish" in request.app.state.settings.two_persons,
    )


@router.post("/publish/{draft_id}/registration")
async def register(
    request: Request,
    draft_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_editor)],
) -> Response:
    context = get_context(request)
    draft = await run_in_threadpool(service.find, context, draft_id)
    shown = await run_in_threadpool(service.fingerprint, context, draft)

    def work(_key: str) -> str:
        service.register(context, draft_id)
        return f"/publish/{draft_id}/registration"

    act = Act(ActKind.PUBLISH, "draft", shown)
    return await submit(request, visit, act, work, action="asset.publish")


def _step(request: Request, draft: Draft, template: str, **values: Any) -> Response:
    """A page of the path, with the steps above it."""
    editable = draft.state in (DraftState.OPEN, DraftState.FAILED)
    return render(
        request,
        f"publishing/{template}.html",
        draft=draft,
        state=views.STATES[draft.state],
        steps=views.STEPS,
        step="" if template == "data" else template,
        editable=editable,
        **values,
    )


def _operation(draft: Draft) -> str:
    """The page that follows the registration's contract call."""
    if draft.state is not DraftState.REGISTERED or draft.asset_id is None:
        return ""
    return operation_path(draft.operation, back=f"/assets/0x{draft.asset_id.hex()}")


def _types(form: ColumnsForm) -> dict[str, str]:
    return dict(zip(form.columns, form.types, strict=False))


def _masking(form: ColumnsForm) -> dict[str, str]:
    chosen = zip(form.columns, form.rules, form.numbers, strict=False)
    return {
        column: f"{rule}:{number.strip()}" if rule in views.WITH_NUMBER else rule
        for column, rule, number in chosen
    }
