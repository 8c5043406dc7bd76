"""Uploaded files: every fault with its cell, safe storage, and use as a source."""

from __future__ import annotations

import datetime
import io
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chain.core.errors import QiaolianError
from nodes.config import parse
from nodes.sources import Sources
from nodes.sources import workbook as workbooks
from nodes.sources.uploads import UploadedFiles, plain_file_name
from registry.source_files import (
    MAX_FAULTS,
    UNUSED_SECONDS,
    FaultKind,
    FileReport,
    FileSettings,
    UploadedFile,
    unused,
)
from registry.subject_codes import has_hidden_characters, is_official, looks_official
from registry.uscc import with_check_character

FIRMS = [with_check_character(f"92440703MD000001{n}") for n in range(5)]
PERSON = "11010519491231002X"


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "records.csv").write_text("id,a\n1,x\n1,y\n", encoding="utf-8")
    return Sources(
        parse(
            {
                "member": "11440700MB2C62170M",
                "name": "市社保局",
                "roles": ["department"],
                "keys": {"passphrase_file": "passphrase"},
                "chain": {"rpc": ["http://127.0.0.1:9"], "finality": "unsealed-test"},
                "sources": {
                    "records": {"url": "csv://records.csv", "key": "id"},
                    "table": {"url": "sqlite:///a.db", "key": "id", "table": "t"},
                },
                "limits": {"upload_bytes": 20_000},
            },
            home=tmp_path,
        )
    )


def stored(files: UploadedFiles, content: bytes, name: str = "a.csv", **how: str) -> UploadedFile:
    return files.store(name, io.BytesIO(content), FileSettings(**how))


def faults(report: FileReport) -> list[tuple[FaultKind, int | None, str, str]]:
    return [(fault.kind, fault.line, fault.column, fault.cell) for fault in report.faults]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


def test_a_report_names_every_fault_with_its_line_column_and_cell(sources: Sources) -> None:
    content = (
        b"id,age,area\n"
        b"A1,31,south\n"
        b"A1,32,north\n"
        b",33,west\n"
        b"B2,34\n"
        b"C3 ,35,east\n"
        b'D4,36,"a"b\n'
        b"E5,many,x\n"
    )
    report = stored(sources.uploads, content).report
    assert faults(report) == [
        (FaultKind.KEY_REPEATED, 3, "id", "A1"),
        (FaultKind.KEY_EMPTY, 4, "id", ""),
        (FaultKind.CELL_COUNT, 5, "", ""),
        (FaultKind.HIDDEN_CHARACTERS, 6, "id", "C3 "),
        (FaultKind.ROW_BROKEN, 7, "", ""),
        (FaultKind.NOT_A_NUMBER, 8, "age", "many"),
    ]
    assert [fault.detail for fault in report.faults[:1]] == ["2"]
    assert (report.rows, report.fault_count, report.blocking_count) == (7, 6, 5)
    assert not report.publishable


def test_a_cell_in_another_encoding_is_named(sources: Sources) -> None:
    content = "id,名称\n1,".encode() + b"\xff\xfe" + "\n2,侨\n".encode()
    report = stored(sources.uploads, content).report
    assert [(fault.kind, fault.line, fault.column) for fault in report.faults] == [
        (FaultKind.ENCODING, 2, "名称")
    ]
    assert report.settings.encoding == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_encoding_and_delimiter_are_found_out(
    sources: Sources, encoding: str, delimiter: str
) -> None:
    content = f"编号{delimiter}姓名\n1{delimiter}李四\n".encode(encoding)
    file = stored(sources.uploads, content)
    assert file.report.publishable
    assert [column.name for column in file.report.columns] == ["编号", "姓名"]
    assert file.report.settings.delimiter == delimiter
    assert sources[file.source].lookup("1") == {"编号": "1", "姓名": "李四"}


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", b"PK\x03\x04 a workbook", FaultKind.FOREIGN),
        ("a.csv", b"%PDF-1.7", FaultKind.FOREIGN),
        ("a.csv", "id,a\n1,x\n".encode("utf-16"), FaultKind.FOREIGN),
        ("a.parquet", b"id,a\n1,x\n", FaultKind.NOT_AS_NAMED),
        ("a.parquet", b"PAR1 and nothing else", FaultKind.UNREADABLE),
        ("a.csv", b"", FaultKind.EMPTY),
        ("a.csv", b"id,a\n", FaultKind.EMPTY),
        ("a.csv", b"id,id\n1,2\n", FaultKind.COLUMN_NAME),
        ("a.csv", b'id,a\n1,"never closed\n', FaultKind.ROW_BROKEN),
        ("a.csv", b"only one\n1\n", FaultKind.ONE_COLUMN),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    sources: Sources, name: str, content: bytes, kind: FaultKind
) -> None:
    report = stored(sources.uploads, content, name).report
    assert kind in {fault.kind for fault in report.faults}
    assert report.publishable is (kind is FaultKind.ONE_COLUMN)


def test_wrong_check_characters_are_reported_where_codes_are_official(sources: Sources) -> None:
    wrong = FIRMS[0][:17] + ("A" if FIRMS[0][17] != "A" else "B")
    rows = "".join(f"{code},x\n" for code in (*FIRMS[1:], PERSON, wrong))
    report = stored(sources.uploads, f"code,a\n{rows}".encode()).report
    assert faults(report) == [(FaultKind.IDENTIFIER, 7, "code", wrong)]
    assert report.publishable
    others = "".join(f"{n},x\n" for n in range(7)) + f"{wrong},x\n"
    assert stored(sources.uploads, f"code,a\n{others}".encode()).report.faults == ()


def test_official_codes_are_known_by_their_check_character() -> None:
    assert all(map(is_official, (*FIRMS, PERSON)))
    assert not is_official("110105194912310021")
    assert looks_official("110105194912310021")
    assert not looks_official("A1")
    assert all(map(has_hidden_characters, ("A1 ", "Ａ1", "A\u200b1", "\tA1")))
    assert not has_hidden_characters("编号-A1")


def test_a_parquet_file_is_inspected_by_row(sources: Sources, tmp_path: Path) -> None:
    table = pa.table({"id": ["1", "2", "1", None], "n": [1, 2, 3, 4], "l": [[1], [2], [], []]})
    path = tmp_path / "made.parquet"
    pq.write_table(table, path)
    report = stored(sources.uploads, path.read_bytes(), "made.parquet").report
    assert [(fault.kind, fault.line) for fault in report.faults] == [
        (FaultKind.COLUMN_TYPE, None),
        (FaultKind.KEY_REPEATED, 3),
        (FaultKind.KEY_EMPTY, 4),
    ]


def test_a_report_lists_some_faults_and_counts_all(sources: Sources) -> None:
    rows = "".join("A,1\n" for _ in range(MAX_FAULTS + 51))
    report = stored(sources.uploads, f"id,n\n{rows}".encode()).report
    assert (len(report.faults), report.fault_count) == (MAX_FAULTS, MAX_FAULTS + 50)
    assert FileReport.from_json(report.to_json()) == report


def test_files_are_private_and_their_names_harmless(sources: Sources, tmp_path: Path) -> None:
    file = stored(sources.uploads, b"id,a\n1,x\n", "../../etc/pass\u202ewd.csv")
    folder = tmp_path / "data" / "uploads" / file.source
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())]
    assert modes[0] == 0o700
    assert set(modes[1:]) == {0o600}
    assert file.file_name == "passwd.csv"
    assert plain_file_name("\n") == "file"
    assert len(plain_file_name("x" * 500 + ".csv")) == 120


def test_a_file_over_the_limit_leaves_nothing_behind(sources: Sources, tmp_path: Path) -> None:
    before = stored(sources.uploads, b"id,a\n1,x\n")
    large = io.BytesIO(b"id,a\n" + b"1,x\n" * 10_000)
    assert code_of(lambda: sources.uploads.store("b.csv", large, FileSettings())) == (
        "upload_too_large"
    )
    large.seek(0)
    replacing = lambda: sources.uploads.store(  # noqa: E731
        "b.csv", large, FileSettings(), source=before.source
    )
    assert code_of(replacing) == "upload_too_large"
    assert list(sources.uploads.names()) == [before.source]
    assert [path.name for path in (tmp_path / "data" / "uploads").iterdir()] == [before.source]
    assert sources[before.source].lookup("1") == {"id": "1", "a": "x"}


def test_a_replaced_file_is_read_anew(sources: Sources) -> None:
    file = stored(sources.uploads, b"id,a\n1,x\n")
    assert sources[file.source].lookup("1") == {"id": "1", "a": "x"}
    sources.uploads.store(
        "b.csv", io.BytesIO(b"a,id\ny,1\n"), FileSettings("id"), source=file.source
    )
    assert sources[file.source].lookup("1") == {"id": "1", "a": "y"}
    changed = sources.uploads.configure(file.source, FileSettings("a"))
    assert changed.report.settings.key == "a"
    assert sources[file.source].lookup("y") == {"id": 1, "a": "y"}
    sources.uploads.remove(file.source)
    assert file.source not in sources
    assert code_of(lambda: sources.uploads.configure(file.source, FileSettings())) == (
        "upload_unknown"
    )


@pytest.mark.parametrize("name", ["../records", "upload-../../etc", "upload-0", "", "records"])
def test_only_a_generated_name_reaches_a_file(sources: Sources, name: str) -> None:
    assert sources.uploads.find(name) is None
    sources.uploads.remove(name)
    assert code_of(lambda: sources.uploads.configure(name, FileSettings())) == "upload_unknown"


def test_a_configured_file_is_inspected_where_it_lies(sources: Sources) -> None:
    report = sources.uploads.inspect("records")
    assert faults(report) == [(FaultKind.KEY_REPEATED, 3, "id", "1")]
    assert code_of(lambda: sources.uploads.inspect("table")) == "source_not_a_file"
    assert code_of(lambda: sources.uploads.inspect("nothing")) == "source_missing"


def test_a_configuration_takes_no_name_of_an_upload(sources: Sources, tmp_path: Path) -> None:
    value = sources._config.model_dump(mode="json", exclude_none=True)
    value["sources"] = {"upload-a": {"url": "csv://a.csv", "key": "id"}}
    assert code_of(lambda: parse(value, home=tmp_path)) == "config_invalid"


def test_only_old_files_that_nothing_uses_are_unused(sources: Sources) -> None:
    file = stored(sources.uploads, b"id,a\n1,x\n")
    old = replace(file, uploaded_at=0)
    now = UNUSED_SECONDS + 1
    assert unused([old], used=[], now=now) == [old]
    assert unused([old], used=[file.source], now=now) == []
    assert unused([replace(old, uploaded_at=5)], used=[], now=now) == []


# --- Workbooks ------------------------------------------------------------------------------------


def workbook(*rows: list[Any], change: Callable[[Any], object] = lambda _book: None) -> bytes:
    """An Excel file of one sheet with these rows, and with what ``change`` does to it."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "人员"
    for row in rows:
        book.active.append(row)
    change(book)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def places(report: FileReport) -> list[tuple[FaultKind, int | None, str, str]]:
    return [(fault.kind, fault.line, fault.column, fault.place) for fault in report.faults]


def test_a_workbook_is_read_by_the_reader_of_csv_files(sources: Sources) -> None:
    content = workbook(
        ["编号", "年龄", "比率", "日期", "在职", "备注"],
        ["007", 31, 0.1, datetime.date(2026, 1, 2), True, "两\n行"],
        [],
        ["B2", 42, 1e-7, datetime.datetime(2026, 1, 2, 3, 4), False, "+北"],
    )
    file = stored(sources.uploads, content, "人员.xlsx")
    report = file.report
    assert (report.kind, report.sheet, report.rows, report.faults) == ("excel", "人员", 2, ())
    assert [column.type for column in report.columns] == [
        "text", "integer", "decimal", "text", "boolean", "text",
    ]  # fmt: skip
    found = sources[file.source].lookup("007")
    assert found is not None
    assert list(found.values()) == ["007", 31, "0.1", "2026-01-02", True, "两\n行"]
    read_again = sources.uploads.configure(file.source, FileSettings("备注"))
    assert (read_again.report.kind, read_again.report.settings.key) == ("excel", "备注")


def test_faults_of_a_workbook_name_its_cells(sources: Sources) -> None:
    def change(book: Any) -> None:
        book.active["B3"] = "=1+1"
        book.active["C5"] = "#N/A"
        book.active.merge_cells("A9:B9")

    rows = [["id", "n", "note"], ["A1", 1, "two\nlines"], ["B2", 2, ""], ["A1", 3, ""]]
    content = workbook(*rows, [440701199001010010, 4, "x"], ["C3", "many", ""], change=change)
    report = stored(sources.uploads, content, "a.xlsx").report
    assert places(report) == [
        (FaultKind.MERGED_CELLS, None, "", "A9:B9"),
        (FaultKind.FORMULA_RESULT, 3, "n", "B3"),
        (FaultKind.KEY_REPEATED, 4, "id", "A4"),
        (FaultKind.ROUNDED, 5, "id", "A5"),
        (FaultKind.CELL_ERROR, 5, "note", "C5"),
        (FaultKind.NOT_A_NUMBER, 6, "n", "B6"),
    ]
    assert [fault.detail for fault in report.faults if fault.kind is FaultKind.KEY_REPEATED] == [
        "2"
    ]
    assert not report.publishable


def test_a_second_sheet_with_cells_is_refused_unless_it_is_hidden(sources: Sources) -> None:
    def add(book: Any, state: str) -> None:
        book.create_sheet("旧").append(["x"])
        book["旧"].sheet_state = state

    rows = [["id", "a"], ["1", "x"]]
    report = stored(
        sources.uploads, workbook(*rows, change=lambda book: add(book, "visible")), "a.xlsx"
    ).report
    assert [(fault.kind, fault.detail) for fault in report.faults] == [
        (FaultKind.SEVERAL_SHEETS, "人员、旧")
    ]
    hidden = workbook(*rows, change=lambda book: add(book, "hidden"))
    assert stored(sources.uploads, hidden, "a.xlsx").report.publishable


def repacked(content: bytes, name: str, part: bytes) -> bytes:
    """A workbook with one of its parts in another form."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for item in old.namelist():
            new.writestr(item, part if item == name else old.read(item))
    return out.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
CELLS = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
ENTITY = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]>' + CELLS + "&b;</sheetData></worksheet>"


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("<not xml", FaultKind.UNREADABLE),
        (ENTITY, FaultKind.UNREADABLE),
        (CELLS + "</sheetData></worksheet>", FaultKind.EMPTY),
        (CELLS + '<row r="1"><c r="XFD1"><v>1</v></c></row></sheetData></worksheet>', "too_wide"),
        (CELLS + '<row r="1"><c r="A9999999"><v>1</v></c></row></sheetData></worksheet>', "too_wide"),
        (CELLS + '<row r="1"><c r="?"><v>1</v></c></row></sheetData></worksheet>', "too_wide"),
    ],
)  # fmt: skip
def test_a_hostile_workbook_is_refused(sources: Sources, part: str, kind: str) -> None:
    content = repacked(workbook(["id", "a"], ["1", "x"]), SHEET, part.encode())
    report = stored(sources.uploads, content, "a.xlsx").report
    assert kind in {fault.kind for fault in report.faults}
    assert not report.publishable


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "MAX_UNPACKED_BYTES", 1_000_000)
    rows = b'<row r="1"><c r="A1"><v>1</v></c></row>' * 30_000
    bomb = repacked(workbook(["id", "a"]), SHEET, CELLS.encode() + rows)
    assert len(bomb) < 20_000
    file = sources.uploads.store("a.xlsx", io.BytesIO(bomb[:]), FileSettings())
    assert [fault.kind for fault in file.report.faults] == [FaultKind.UNPACKED_SIZE]


@pytest.mark.parametrize(("name", "content"), [("a.csv", None), ("a.xlsx", b"id,a\n1,x\n")])
def test_a_workbook_and_its_name_agree(sources: Sources, name: str, content: bytes | None) -> None:
    report = stored(sources.uploads, content or workbook(["id", "a"], ["1", "x"]), name).report
    assert FaultKind.NOT_AS_NAMED in {fault.kind for fault in report.faults}
    assert not report.publishable
