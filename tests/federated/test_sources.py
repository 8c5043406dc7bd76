"""A party's rows: CSV and Parquet give the same table, identifiers are unique bounded texts, and a
refusal names file and fault.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from federated.errors import BadInput
from federated.job import ReadReport
from federated.sources import SourceFormat, read
from registry.uscc import with_check_character


def written(tmp_path: Path, text: str, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_parquet_give_the_same_table(tmp_path: Path) -> None:
    path = written(
        tmp_path, "code,age,home,flag\n007,41,owner,true\n12,,rent,false\n0x1,3.5,,true\n"
    )
    parquet.write_table(
        csv.read_csv(
            path,
            convert_options=csv.ConvertOptions(
                column_types={"code": pa.string()}, strings_can_be_null=True
            ),
        ),
        tmp_path / "rows.parquet",
    )
    for source in (path, tmp_path / "rows.parquet"):
        table = read(source, key="code", columns=["home", "age", "flag"])
        assert table.ids.tolist() == [b"007", b"12", b"0x1"]
        assert np.array_equal(table.columns["age"], [41, np.nan, 3.5], equal_nan=True)
        assert table.columns["home"].tolist() == ["owner", "rent", None]
        assert table.columns["flag"].tolist() == [1, 0, 1]


def test_identifiers_of_one_length_keep_their_bytes(tmp_path: Path) -> None:
    table = read(written(tmp_path, "code,x\n001,1\n侨,2\n003,3\n"), key="code", columns=[])
    assert table.ids.tolist() == [b"001", "侨".encode(), b"003"]
    assert table.ids.dtype == "S3"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("code,x\n1,2\n1,3\n", "ids_duplicate"),
        ("code,x\n,2\n1,3\n", "ids_malformed"),
        ("code,x\n" + "a" * 65 + ",2\n", "ids_malformed"),
        ("code,x\n", "ids_empty"),
        ("code,y\n1,2\n", "column_unknown"),
        ("code,x,x\n1,2,3\n", "column_unknown"),
        ("id,x\n1,2\n", "column_unknown"),
        ("code,x\n1,2,3\n", "source_malformed"),
        ("", "source_malformed"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path, text), key="code", columns=["x"])
    assert caught.value.code == code
    assert "rows.csv" in caught.value.sentence


def test_missing_files_doubled_columns_and_files_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as missing:
        read(tmp_path / "none.csv", key="code", columns=["x"])
    with pytest.raises(BadInput) as doubled:
        read(written(tmp_path, "code,x\n1,2\n"), key="code", columns=["x", "x"])
    with pytest.raises(BadInput) as other:
        read(written(tmp_path, "no parquet", "rows.parquet"), key="code", columns=["x"])
    assert (missing.value.code, doubled.value.code, other.value.code) == (
        "source_missing",
        "column_doubled",
        "source_malformed",
    )


# --- Encodings ------------------------------------------------------------------------------------


def encoded(tmp_path: Path, text: str, encoding: str) -> Path:
    path = tmp_path / f"{encoding}.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("gbk", "gb18030"), ("gb18030", "gb18030")],
)
def test_a_chinese_encoding_is_detected_and_reported(
    tmp_path: Path, encoding: str, found: str
) -> None:
    table = read(
        encoded(tmp_path, "code,行业\n甲1,餐饮\n乙2,零售\n", encoding), key="code", columns=["行业"]
    )
    assert table.ids.tolist() == ["甲1".encode(), "乙2".encode()]
    assert table.columns["行业"].tolist() == ["餐饮", "零售"]
    assert table.report is not None
    assert table.report.encoding == found


@pytest.mark.parametrize("declared", ["utf-8", "ascii", "auto"])
def test_a_file_in_another_encoding_is_refused_by_its_line(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"code,x\nA,1\nB\xff\xff,2\n")
    with pytest.raises(
        BadInput,
        check=lambda error: (
            error.code == "source_encoding" and error.sentence.startswith("Line 3 of rows.csv")
        ),
    ):
        read(path, key="code", columns=["x"], source_format=SourceFormat(encoding=declared))


def test_an_unknown_encoding_and_another_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path, "code;x\nA;1\n")
    with pytest.raises(BadInput, check=lambda error: error.code == "source_encoding_unknown"):
        read(path, key="code", columns=["x"], source_format=SourceFormat(encoding="utf-16"))
    assert read(path, key="code", columns=["x"], source_format=SourceFormat(delimiter=";")).columns[
        "x"
    ].tolist() == [1]


# --- Identifiers ----------------------------------------------------------------------------------


def test_identifiers_written_in_other_ways_are_the_same_and_are_counted(tmp_path: Path) -> None:
    code = with_check_character("91350100M000100Y4")
    rows = [code.lower(), " 12\u3000", "１３", "44070319900101123x", "aB-1"]
    table = read(
        written(tmp_path, "code,x\n" + "".join(f"{row},1\n" for row in rows)),
        key="code",
        columns=["x"],
    )
    assert table.ids.tolist() == [code.encode(), b"12", b"13", b"44070319900101123X", b"aB-1"]
    assert table.report is not None
    assert table.report.ids_changed == 4


def test_identifiers_that_become_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput,
        check=lambda error: error.code == "ids_duplicate" and "width and case" in error.sentence,
    ):
        read(written(tmp_path, "code,x\nA1,1\n Ａ１,2\n"), key="code", columns=["x"])


@pytest.mark.parametrize("empty", ["", "   ", "N.A.", "\u3000"])
def test_a_row_without_an_identifier_is_refused_by_its_line(tmp_path: Path, empty: str) -> None:
    with pytest.raises(
        BadInput,
        check=lambda error: (
            error.code == "ids_malformed" and error.sentence.startswith("Line 3 of rows.csv")
        ),
    ):
        read(written(tmp_path, f"code,x\nA,1\n{empty},2\n"), key="code", columns=["x"])


# --- Values ---------------------------------------------------------------------------------------


def column(
    tmp_path: Path, cells: list[str], form: SourceFormat | None = None
) -> tuple[list[object], ReadReport]:
    text = "code,x\n" + "".join(f'c{row},"{cell}"\n' for row, cell in enumerate(cells))
    table = read(written(tmp_path, text), key="code", columns=["x"], source_format=form)
    assert table.report is not None
    return table.columns["x"].tolist(), table.report


def test_numbers_with_separators_blanks_and_full_width_digits_are_numbers(tmp_path: Path) -> None:
    values, report = column(
        tmp_path, ["1,234.5", "１２３", " 7 ", "-12,345,678", "9", "１，２３４．５"]
    )
    assert values == [1234.5, 123, 7, -12345678, 9, 1234.5]
    assert report.numbers_recognised == {"x": 5}


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("12%", "'99%'"),
        ("¥1,200", "'¥9,999'"),
        ("1.234,5", "'9.999,9'"),
        ("12,34", "'99,99'"),
        ("3万元", "'9aa'"),
        ("many", "'aaaa'"),
    ],
)
def test_a_cell_that_is_no_plain_number_is_refused_by_column_line_and_form(
    tmp_path: Path, cell: str, shown: str
) -> None:
    with pytest.raises(BadInput) as caught:
        column(tmp_path, ["1,000", "2", cell, "4"])
    assert caught.value.code == "number_malformed"
    assert caught.value.sentence.startswith(f"Line 4 of rows.csv has {shown} ")
    assert "column x" in caught.value.sentence
    assert cell not in caught.value.sentence + caught.value.hint


def test_declared_cells_are_missing_and_declared_columns_stay_text(tmp_path: Path) -> None:
    values, report = column(tmp_path, ["1", "N.A.", "3", ""])
    assert np.array_equal(values, [1, np.nan, 3, np.nan], equal_nan=True)
    assert report.missing == {"x": 2}
    values, report = column(tmp_path, ["1", "unknown", "3"], SourceFormat(missing=("unknown",)))
    assert report.missing == {"x": 1}
    assert column(tmp_path, ["1,000", "12%"], SourceFormat(texts=("x",)))[0] == ["1,000", "12%"]
    assert column(tmp_path, ["10-20", "1 year", "rent", "7"])[0] == ["10-20", "1 year", "rent", "7"]


def test_a_parquet_file_with_cells_that_arrow_cannot_convert_is_refused_with_a_code(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"code": ["A"], "x": pa.array([2**63], pa.uint64())}), path)
    with pytest.raises(BadInput, check=lambda error: error.code == "column_malformed"):
        read(path, key="code", columns=["x"])
    parquet.write_table(pa.table({"code": pa.array([b"\xff\xfe"]), "x": [1]}), path)
    with pytest.raises(BadInput, check=lambda error: error.code == "source_malformed"):
        read(path, key="code", columns=["x"])
