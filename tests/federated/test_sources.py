"""A party's rows: CSV and Parquet give the same table; identifiers are texts, unique and bounded; refusals say which file and what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from federated.errors import BadInput
from federated.sources import read


def written(tmp_path: Path, text: str, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_parquet_give_the_same_table(tmp_path: Path) -> None:
    path = written(tmp_path, "code,age,home,flag\n007,41,owner,true\n12,,rent,false\n0x1,3.5,,true\n")
    parquet.write_table(
        csv.read_csv(path, convert_options=csv.ConvertOptions(column_types={"code": pa.string()}, strings_can_be_null=True)),
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
        ("code,x\n1,2,3\n", "source_unreadable"),
        ("", "source_unreadable"),
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
    assert (missing.value.code, doubled.value.code, other.value.code) == ("source_missing", "column_doubled", "source_unreadable")
