"""View models of the pages of publishing. Labels are marked for translation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.core.error_codes import error_codes
from nodes.console.i18n import CHINESE, N_
from nodes.console.publishing.model import Draft, DraftState
from registry.assets.preview import Preview
from registry.source_files import FaultKind, FileFault, UploadedFile
from registry.sources import BOOLEAN, DECIMAL, INTEGER, TEXT, SourceSchema

STATES: Mapping[DraftState, str] = {
    DraftState.OPEN: N_("being prepared"),
    DraftState.REGISTERING: N_("being registered"),
    DraftState.REGISTERED: N_("sent to the chain"),
    DraftState.FAILED: N_("not registered"),
}
FAULTS: Mapping[FaultKind, str] = {
    FaultKind.NOT_AS_NAMED: N_("The content is not what the file's name says"),
    FaultKind.FOREIGN: N_("This kind of file cannot be read; save it as CSV (UTF-8)"),
    FaultKind.UNREADABLE: N_("The file is damaged or not whole"),
    FaultKind.EMPTY: N_("The file has no records"),
    FaultKind.ENCODING: N_("A character is not in the file's encoding"),
    FaultKind.ONE_COLUMN: N_("Only one column was found; check the delimiter"),
    FaultKind.COLUMN_NAME: N_("A column's name is empty or occurs twice"),
    FaultKind.KEY_COLUMN: N_("The subject's column is not in the file"),
    FaultKind.ROW_BROKEN: N_("Quotation marks of this row are wrong or never closed"),
    FaultKind.CELL_COUNT: N_("The row has more or fewer cells than the first line"),
    FaultKind.KEY_EMPTY: N_("The subject is missing"),
    FaultKind.KEY_REPEATED: N_("The same subject occurs twice; first in line"),
    FaultKind.IDENTIFIER: N_("The check character of the code is wrong"),
    FaultKind.HIDDEN_CHARACTERS: N_("The code has blanks, full-width or invisible characters"),
    FaultKind.NOT_A_NUMBER: N_("Most cells of the column are numbers; this one is not"),
    FaultKind.COLUMN_TYPE: N_("The column holds lists or nested records"),
    FaultKind.SEVERAL_SHEETS: N_("Several sheets have cells; leave one, or hide the others"),
    FaultKind.MERGED_CELLS: N_("Cells are merged; take the merging back"),
    FaultKind.FORMULA_RESULT: N_(
        "The formula's result is not stored; open and save the file in Excel"
    ),
    FaultKind.CELL_ERROR: N_("The cell shows an error instead of a value"),
    FaultKind.ROUNDED: N_("Excel has rounded this number; enter it as text"),
    FaultKind.TOO_WIDE: N_("The sheet has too many columns or rows, or a cell without a place"),
    FaultKind.UNPACKED_SIZE: N_("The workbook is too large once it is unpacked; save it as CSV"),
}
TYPES: Mapping[str, str] = {
    TEXT: N_("text"),
    INTEGER: N_("whole number"),
    DECIMAL: N_("decimal number"),
    BOOLEAN: N_("yes or no"),
}
RULES: Mapping[str, str] = {
    "drop": N_("never leaves"),
    "keep": N_("as it is"),
    "prefix": N_("first characters only"),
    "range": N_("interval"),
    "round": N_("rounded"),
    "constant": N_("only whether there is a value"),
}
"""Masking rules; three of them take a number."""
WITH_NUMBER = ("prefix", "range", "round")
STEPS = (
    ("", N_("1. Data")),
    ("columns", N_("2. Columns and masking")),
    ("preview", N_("3. Preview")),
    ("description", N_("4. Description and terms")),
    ("registration", N_("5. Registration")),
)
DELIMITERS = ((",", N_("comma")), ("\t", N_("tab")), (";", N_("semicolon")), ("|", "|"))
CATEGORIES = (
    ("social-security", N_("social security")),
    ("tax", N_("tax")),
    ("housing-fund", N_("housing fund")),
    ("market-regulation", N_("market regulation")),
    ("real-estate", N_("real estate")),
    ("utilities", N_("utilities")),
    ("other", N_("other")),
)


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A draft of the list."""

    id: str
    name: str
    source: str
    state: str
    changed_at: int


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault of a file."""

    label: str
    blocking: bool
    line: int | None
    column: str
    cell: str
    detail: str
    place: str


@dataclass(frozen=True, slots=True)
class FileView:
    """An uploaded file with its faults."""

    name: str
    size: int
    rows: int
    sheet: str
    key: str
    encoding: str
    delimiter: str
    delimited: bool
    columns: list[str]
    faults: list[FaultView]
    fault_count: int
    publishable: bool


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column as the form shows it."""

    name: str
    type: str
    rule: str
    number: str
    key: bool


@dataclass(frozen=True, slots=True)
class PreviewView:
    """The first rows: what the clerk sees beside what a buyer gets."""

    columns: list[str]
    served: list[str]
    rows: list[tuple[int, list[str], list[str]]]
    """Line, cells as held, cells as delivered."""
    withheld: list[str]


def draft_row(draft: Draft, file: UploadedFile | None) -> DraftRow:
    """A draft as the list shows it."""
    about = draft.content.description
    return DraftRow(
        id=draft.id,
        name="" if about is None else about.title_zh,
        source=draft.source if file is None else file.file_name,
        state=STATES[draft.state],
        changed_at=draft.changed_at,
    )


def file_view(file: UploadedFile) -> FileView:
    """An uploaded file as its page shows it."""
    report = file.report
    return FileView(
        name=file.file_name,
        size=file.size,
        rows=report.rows,
        sheet=report.sheet,
        key=report.settings.key,
        encoding=report.settings.encoding,
        delimiter=report.settings.delimiter,
        delimited=report.kind == "csv",
        columns=[column.name for column in report.columns],
        faults=list(map(_fault, report.faults)),
        fault_count=report.fault_count,
        publishable=report.publishable,
    )


def _fault(fault: FileFault) -> FaultView:
    return FaultView(
        label=FAULTS[fault.kind],
        blocking=fault.blocking,
        line=fault.line,
        column=fault.column,
        cell=fault.cell,
        detail=fault.detail,
        place=fault.place,
    )


def column_views(schema: SourceSchema, draft: Draft) -> list[ColumnView]:
    """The columns with what was chosen before; a new one never leaves."""
    content = draft.content
    shown = []
    for column in schema.columns:
        rule, _, number = content.masking.get(column.name, "drop").partition(":")
        type_ = content.types.get(column.name, column.type)
        shown.append(ColumnView(column.name, type_, rule, number, column.name == schema.key))
    return shown


def preview_view(found: Preview) -> PreviewView:
    """The first rows as the page shows them."""
    names = list(found.schema.names)
    served = [name for name in names if found.masking[name] != "drop"]
    return PreviewView(
        columns=names,
        served=served,
        rows=[
            (
                row.line,
                [_cell(row.held[name]) for name in names],
                [_cell(row.delivered[name]) for name in served],
            )
            for row in found.rows
        ],
        withheld=[name for name in names if name not in served],
    )


def failure_text(code: str, language: str) -> tuple[str, str]:
    """What a code means and what to do next."""
    entry = error_codes().get(code)
    if entry is None:
        return code, ""
    sentence, following = entry.sentence, entry.next_step
    chinese = language == CHINESE
    return (sentence.zh, following.zh) if chinese else (sentence.en, following.en)


def _cell(value: str | int | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
