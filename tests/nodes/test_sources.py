"""Sources that are broken, large, or change under the node."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from chain.core.errors import QiaolianError
from nodes.config import SourceEntry
from nodes.sources import open_source

Open = Callable[..., Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def csv(tmp_path: Path) -> Open:
    def make(content: bytes | str, **settings: str) -> Any:
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "a.csv").write_bytes(raw)
        entry = SourceEntry(**{"url": f"csv://{tmp_path}/a.csv", "key": "id", **settings})
        return open_source("a", entry, home=tmp_path, index_dir=tmp_path / "index")

    return make


def code_of(action: Callable[[], Any]) -> tuple[str, Any]:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code, caught.value.context.get("line")


def test_a_csv_gives_its_columns_in_their_narrowest_type(csv: Open) -> None:
    source = csv('id,n,flag,code,t\n1,5,true,007,"a, ""b""\nc"\n2,-6,false,12,\n')
    types = [(column.name, column.type) for column in source.schema().columns]
    assert types == [
        ("id", "text"),
        ("n", "integer"),
        ("flag", "boolean"),
        ("code", "text"),
        ("t", "text"),
    ]
    first = {"id": "1", "n": 5, "flag": True, "code": "007", "t": 'a, "b"\nc'}
    second = {"id": "2", "n": -6, "flag": False, "code": "12", "t": None}
    assert list(source.rows()) == [first, second]
    assert (source.lookup("1"), source.lookup("2"), source.lookup("3")) == (first, second, None)


def test_chinese_encodings_and_byte_order_marks_are_read(csv: Open) -> None:
    assert csv("id,名\n1,税务局\n".encode("gb18030"), encoding="gb18030").lookup("1") == {
        "id": "1",
        "名": "税务局",
    }
    assert csv(b"\xef\xbb\xbfid,a\r\n1,x\r\n").lookup("1") == {"id": "1", "a": "x"}


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "source_empty", None),
        (b"id,a\n", "source_empty", None),
        (b"no,a\n1,2\n", "source_missing_column", None),
        (b"id,a\n1,2\n2\n", "source_row_broken", 3),
        (b"id,a\n1,2,3\n", "source_row_broken", 2),
        (b'id,a\n1,"open\n2,x\n', "source_row_broken", 2),
        (b'id,a\n1,"a"b\n', "source_row_broken", 2),
        (b"id,a\n1,\0\n", "source_row_broken", 2),
        (b"id,a\n,x\n", "source_row_broken", 2),
        (b"id,id\n1,2\n", "source_row_broken", 1),
        (b"id,a\n1,x\n2,\xff\xfe\n", "source_encoding", 3),
        (b"id,a\n1,x\n2,y\n1,z\n", "source_key_repeated", None),
        (b"id,a\n1," + b"x" * (1 << 21) + b"\n", "source_row_broken", 2),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(
    csv: Open, content: bytes, code: str, line: int | None
) -> None:
    source = csv(content)
    assert code_of(source.schema) == (code, line)
    assert code_of(lambda: source.lookup("1")) == (code, line)


def test_a_missing_file_is_refused(csv: Open, tmp_path: Path) -> None:
    source = csv("id\n1\n")
    (tmp_path / "a.csv").unlink()
    assert code_of(source.schema)[0] == "source_missing"


def test_a_changed_file_is_indexed_again(csv: Open, tmp_path: Path) -> None:
    source = csv("id,a\n1,x\n2,y\n")
    assert source.lookup("2") == {"id": "2", "a": "y"}
    (tmp_path / "a.csv").write_text("id,a\n10,long\n2,changed\n")
    assert source.lookup("2") == {"id": "2", "a": "changed"}
    assert source.lookup("1") is None


def test_the_index_holds_no_identifier(csv: Open, tmp_path: Path) -> None:
    source = csv("id,a\n440703199001011234,x\n")
    assert source.lookup("440703199001011234") is not None
    assert b"440703199001011234" not in (tmp_path / "index" / "a.index").read_bytes()


def test_an_index_is_reused_at_the_next_start(csv: Open, tmp_path: Path) -> None:
    assert csv("id,a\n1,x\n").lookup("1") is not None
    before = (tmp_path / "index" / "a.index").stat().st_ino
    entry = SourceEntry(url=f"csv://{tmp_path}/a.csv", key="id")
    again = open_source("a", entry, home=tmp_path, index_dir=tmp_path / "index")
    assert again.lookup("1") == {"id": "1", "a": "x"}
    assert (tmp_path / "index" / "a.index").stat().st_ino == before


READER = """
import json, resource, sys
from pathlib import Path
from nodes.config import SourceEntry
from nodes.sources import open_source
path = Path(sys.argv[1])
source = open_source("big", SourceEntry(url=f"csv://{path}", key="id"), home=Path("/"), index_dir=path.parent / "index")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
columns = len(source.schema().columns)
count = sum(1 for _ in source.rows())
found = source.lookup("id-000150000")
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps([columns, count, found["a"], grown]))
"""


def test_a_large_csv_is_read_in_bounded_memory(tmp_path: Path) -> None:
    rows = 200_000
    with (tmp_path / "big.csv").open("w") as file:
        file.write("id,a,b\n")
        padding = "x" * 980
        file.writelines(f"id-{index:09d},{index},{padding}\n" for index in range(rows))
    assert (tmp_path / "big.csv").stat().st_size > 198_000_000
    # A process of its own, so that what other tests held does not count.
    command = [sys.executable, "-c", READER, str(tmp_path / "big.csv")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=True
    )
    columns, count, found, grown = json.loads(done.stdout)
    assert (columns, count, found) == (3, rows, 150_000)
    assert grown < 60_000_000


def test_parquet_gives_the_same_records(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([f"k{index}" for index in range(10_000)]),
            "n": pa.array(range(10_000), pa.int64()),
            "f": pa.array([0.5] * 10_000),
            "d": pa.array([datetime.date(2024, 1, 2)] * 10_000),
            "b": pa.array([None, True] * 5_000),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=6_000)
    entry = SourceEntry(url=f"parquet://{tmp_path}/a.parquet", key="id")
    source = open_source("p", entry, home=tmp_path, index_dir=tmp_path / "index")
    types = [column.type for column in source.schema().columns]
    assert types == ["text", "integer", "decimal", "text", "boolean"]
    assert source.lookup("k9001") == {
        "id": "k9001",
        "n": 9001,
        "f": "0.5",
        "d": "2024-01-02",
        "b": True,
    }
    assert source.lookup("k5") == {"id": "k5", "n": 5, "f": "0.5", "d": "2024-01-02", "b": True}
    assert source.lookup("nobody") is None
    assert [row["n"] for row in source.rows()] == list(range(10_000))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-10])
    entry = SourceEntry(url=f"parquet://{tmp_path}/a.parquet", key="id")
    assert (
        code_of(open_source("p", entry, home=tmp_path, index_dir=tmp_path / "i").schema)[0]
        == "source_malformed"
    )


def test_a_damaged_parquet_file_is_refused_by_code_wherever_the_damage_lies(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(
        pa.table(
            {"id": [f"k{index}" for index in range(50)], "a": [f"值{index}" for index in range(50)]}
        ),
        whole,
    )
    raw = whole.read_bytes()
    codes = set()
    for index in range(0, len(raw), 3):
        (tmp_path / "a.parquet").write_bytes(
            raw[:index] + bytes([raw[index] ^ 0x91]) + raw[index + 1 :]
        )
        entry = SourceEntry(url=f"parquet://{tmp_path}/a.parquet", key="id")
        source = open_source("p", entry, home=tmp_path, index_dir=tmp_path / "i" / str(index))
        for read in (
            source.schema,
            lambda source=source: list(source.rows()),
            lambda source=source: source.lookup("k7"),
        ):
            try:
                read()
            except QiaolianError as error:
                codes.add(error.code)
        source.close()
    assert codes <= {
        "source_malformed",
        "source_unreadable",
        "source_row_broken",
        "source_missing_column",
        "source_key_repeated",
        "source_empty",
    }
    assert "source_malformed" in codes


def test_an_index_that_could_not_be_written_is_tried_again(csv: Open, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("in the way")
    source = csv("id,a\n1,x\n")
    assert code_of(lambda: source.lookup("1"))[0] in ("disk_unavailable", "source_unreadable")
    (tmp_path / "index").unlink()
    assert source.lookup("1") == {"id": "1", "a": "x"}


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/s.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE people (id TEXT PRIMARY KEY, n INTEGER, price NUMERIC(10, 2), ok BOOLEAN)"
            )
        )
        connection.execute(sa.text("CREATE TABLE twice (id TEXT, n INTEGER)"))
        connection.execute(sa.text("CREATE TABLE numbered (id INTEGER, n INTEGER)"))
        for index in range(2_500):
            values = {"i": f"k{index:05d}", "n": index}
            connection.execute(sa.text("INSERT INTO people VALUES (:i, :n, 1.5, 1)"), values)
        connection.execute(sa.text("INSERT INTO twice VALUES ('a', 1), ('a', 2)"))
        connection.execute(sa.text("INSERT INTO numbered VALUES (7, 1)"))
    engine.dispose()
    return url


def sql(url: str, table: str, key: str = "id") -> Any:
    return open_source(
        "s", SourceEntry(url=url, table=table, key=key), home=Path("/"), index_dir=Path("/")
    )


def test_a_table_streams_and_is_looked_up_by_key(database: str) -> None:
    source = sql(database, "people")
    assert [column.type for column in source.schema().columns] == [
        "text",
        "integer",
        "decimal",
        "boolean",
    ]
    assert source.lookup("k00042") == {"id": "k00042", "n": 42, "price": "1.50", "ok": True}
    assert [row["n"] for row in source.rows()] == list(range(2_500))
    assert sql(database, "numbered").lookup("7") == {"id": "7", "n": 1}
    assert sql(database, "numbered").lookup("07") is None


def test_a_key_in_a_request_never_becomes_sql(database: str) -> None:
    source = sql(database, "people")
    assert source.lookup("x' OR '1'='1") is None
    assert source.lookup("k00001'; DROP TABLE people; --") is None
    assert source.lookup("k00001") is not None


def test_wrong_tables_columns_and_databases_are_refused(database: str) -> None:
    assert code_of(sql(database, "nobody").schema)[0] == "source_missing"
    assert code_of(sql(database, "people", "nothing").schema)[0] == "source_missing_column"
    assert code_of(lambda: sql(database, "twice").lookup("a"))[0] == "source_key_repeated"
    assert code_of(sql("sqlite:////nowhere/at/all.db", "people").schema)[0] == "source_unreachable"
    assert code_of(lambda: sql("nonsense://x/y", "people"))[0] == "source_url_wrong"
