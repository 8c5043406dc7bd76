"""Data that could not be committed to or served is refused when it is published, by column and
line, and leaves nothing behind.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chain.core.errors import QiaolianError
from nodes.config import SourceEntry
from nodes.sources import open_source
from registry.assets import publication, serving
from registry.assets.model import Description, OwnVersion, Publication
from registry.assets.rules import SourceDrift, asset_id_of
from registry.assets.store import RecordSalt
from tests.registry.conftest import Network
from tests.support.node import sources_of

Make = Callable[[Path], SourceEntry]


def csv(text: str) -> Make:
    def make(directory: Path) -> SourceEntry:
        (directory / "a.csv").write_text(text, encoding="utf-8")
        return SourceEntry(url=f"csv://{directory}/a.csv", key="id")

    return make


def parquet(**columns: Any) -> Make:
    def make(directory: Path) -> SourceEntry:
        pq.write_table(pa.table(columns), directory / "a.parquet")
        return SourceEntry(url=f"parquet://{directory}/a.parquet", key="id")

    return make


def table(columns: str, *rows: tuple[Any, ...]) -> Make:
    def make(directory: Path) -> SourceEntry:
        with sqlite3.connect(directory / "a.db") as connection:
            connection.execute(f"CREATE TABLE people ({columns})")
            connection.executemany(
                f"INSERT INTO people VALUES ({','.join('?' * len(rows[0]))})", rows
            )
        connection.close()
        return SourceEntry(url=f"sqlite:///{directory}/a.db", table="people", key="id")

    return make


def publish(network: Network, directory: Path, make: Make, name: str, **changed: Any) -> OwnVersion:
    node = network["tax"]
    source = open_source(name, make(directory), home=directory, index_dir=directory / name)
    sources_of(node.context)[name] = source
    wanted: dict[str, Any] = {
        "masking": dict.fromkeys(source.schema().names, "keep"),
        "purposes": {"statistics": False},
    }
    description = Description("数据", "Data", "for tests", 3, "test")
    return publication.publish(
        node.context, Publication(name, name, description, **(wanted | changed))
    )


def left_behind(network: Network, name: str) -> int:
    context = network["tax"].context
    asset_id = asset_id_of(context.member, name)
    with context.database.read() as session:
        rows: int = session.query(RecordSalt).filter_by(asset_id=asset_id).count()
    return rows + (serving.own_version(context, asset_id, 1) is not None)


@pytest.mark.parametrize(
    ("make", "code", "column", "line"),
    [
        (csv("id,age\na,31\nb,约30\nc,33\n"), "source_mixed_types", "age", 3),
        (csv('id,note,age\na,"two\nlines",31\nb,x,32\nc,y,n/a\n'), "source_mixed_types", "age", 5),
        (csv("id,price\na,12.50\nb,12\nc,gratis\n"), "source_mixed_types", "price", 4),
        (parquet(id=["a", "b"], rate=[0.5, math.nan]), "source_row_broken", "rate", 2),
        (parquet(id=["a", "b"], rate=[math.inf, 0.5]), "source_row_broken", "rate", 1),
        (parquet(id=["a"], big=[2**53]), "source_row_broken", "big", 1),
        (parquet(id=["a", ""], n=[1, 2]), "source_row_broken", None, 2),
        (table("id TEXT, n INTEGER", ("a", 1), ("b", "约30")), "source_row_broken", "n", 2),
        (table("id TEXT, n NUMERIC(10, 2)", ("a", 1), ("b", "约30")), "source_row_broken", "n", 2),
        (table("id TEXT, n INTEGER", ("a", 1), ("a", 2)), "source_key_repeated", None, None),
        (table("id TEXT, n INTEGER", ("", 1)), "source_row_broken", "id", 1),
        (table("id TEXT, n INTEGER", (None, 1)), "source_row_broken", "id", 1),
        (csv("id,age\na,1\n,2\n"), "source_row_broken", None, 3),
        (csv("id,age\na,1\na,2\n"), "source_key_repeated", None, None),
    ],
)
def test_what_could_not_be_served_is_not_published(
    network: Network, tmp_path: Path, make: Make, code: str, column: str | None, line: int | None
) -> None:
    name = f"broken-{secrets.token_hex(4)}"
    with pytest.raises(QiaolianError) as refused:
        publish(network, tmp_path, make, name)
    error = refused.value
    assert (error.code, error.context.get("column"), error.context.get("line")) == (
        code,
        column,
        line,
    )
    assert left_behind(network, name) == 0
    assert column is None or column in error.sentence


@pytest.mark.parametrize(
    ("make", "rule", "type_"),
    [
        (csv("id,v\na,north\nb,south\n"), "range:10", "text"),
        (csv("id,v\na,north\nb,south\n"), "round:10", "text"),
        (csv("id,v\na,true\nb,false\n"), "prefix:1", "boolean"),
        (csv("id,v\na,1.5\nb,2\n"), "prefix:1", "decimal"),
        (csv("id,v\na,007\nb,12\n"), "range:10", "text"),
    ],
)
def test_a_rule_that_cannot_work_on_its_column_is_not_published(
    network: Network, tmp_path: Path, make: Make, rule: str, type_: str
) -> None:
    name = f"unfit-{secrets.token_hex(4)}"
    with pytest.raises(QiaolianError) as refused:
        publish(network, tmp_path, make, name, masking={"v": rule})
    assert refused.value.code == "masking_rule_unfit"
    assert (type_ in refused.value.sentence, left_behind(network, name)) == (True, 0)


def test_a_column_of_mixed_cells_is_published_as_the_text_its_owner_says_it_is(
    network: Network, tmp_path: Path
) -> None:
    name = f"text-{secrets.token_hex(4)}"
    made = publish(
        network, tmp_path, csv("id,house\na,12\nb,12A\nc,14\n"), name, types={"house": "text"}
    )
    assert {
        column["name"]: column["type"] for column in made.metadata.document["schema"]["columns"]
    }["house"] == "text"
    context, asset_id = network["tax"].context, made.asset_id
    assert serving.published_record(context, asset_id, 1, "a") == {"id": "a", "house": "12"}


@pytest.mark.parametrize(
    ("types", "code"),
    [
        ({"nothing": "text"}, "column_unknown"),
        ({"n": "number"}, "column_type_unknown"),
        ({"id": "integer"}, "key_not_text"),
        ({"n": "boolean"}, None),
    ],
)
def test_a_stated_type_that_cannot_be_is_refused(
    network: Network, tmp_path: Path, types: dict[str, str], code: str | None
) -> None:
    name = f"types-{secrets.token_hex(4)}"
    with pytest.raises(QiaolianError) as refused:
        publish(network, tmp_path, csv("id,n\na,1\n"), name, types=types)
    assert refused.value.code == (code or "source_row_broken")


def test_decimals_are_numbers_with_one_published_form(network: Network, tmp_path: Path) -> None:
    name = f"decimals-{secrets.token_hex(4)}"
    made = publish(
        network,
        tmp_path,
        csv("id,price\na,12.50\nb,-0.0\nc,\n"),
        name,
        masking={"price": "range:10"},
    )
    context, asset_id = network["tax"].context, made.asset_id
    (tmp_path / "a.csv").write_text("id,price\na,12.5\nb,0\nc,\n", encoding="utf-8")
    assert [
        serving.published_record(context, asset_id, 1, subject)["price"] for subject in "abc"
    ] == ["12.5", "0", None]
    found = serving.published_records(context, asset_id, 1, ["a", "b", "c"])
    served = serving.served_version(context, asset_id, 1)
    assert [served.answer(subject, ["price"], found[subject])["price"] for subject in "abc"] == [
        "[10,20)",
        "[0,10)",
        None,
    ]


def test_a_table_with_a_renamed_column_or_a_cell_of_another_type_drifts_and_its_neighbours_do_not(
    network: Network, tmp_path: Path
) -> None:
    name = f"table-{secrets.token_hex(4)}"
    made = publish(network, tmp_path, table("id TEXT, n NUMERIC(10, 2)", ("a", 1), ("b", 2)), name)
    context, asset_id = network["tax"].context, made.asset_id
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as connection:
        connection.execute("UPDATE people SET n = '约30' WHERE id = 'a'")
        assert drift_of(context, asset_id, "a") == ("source_broken", ("n",))
        assert serving.published_record(context, asset_id, 1, "b") == {"id": "b", "n": "2"}
        connection.execute("UPDATE people SET n = 1 WHERE id = 'a'")
        connection.execute("ALTER TABLE people RENAME COLUMN n TO m")
        assert drift_of(context, asset_id, "b") == ("columns_differ", ("m", "n"))
    connection.close()


def drift_of(context: Any, asset_id: bytes, subject: str) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(SourceDrift) as refused:
        serving.published_record(context, asset_id, 1, subject)
    return refused.value.drift.kind.value, refused.value.drift.columns
