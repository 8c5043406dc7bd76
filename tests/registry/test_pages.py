"""Pages of a list: no row twice and none missing, whatever is published meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.core.database import Base, Database
from chain.core.errors import BadInput
from registry.assets.store import CatalogueAsset
from registry.pages import PageRequest, page_of

ORDER = (CatalogueAsset.registered_at, CatalogueAsset.asset_id)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'node.db'}")
    Base.metadata.create_all(
        found.engine, tables=[Base.metadata.tables[CatalogueAsset.__tablename__]]
    )
    yield found
    found.close()


def publish(database: Database, heights: list[int], *, first: int = 0) -> None:
    rows = [
        CatalogueAsset(
            asset_id=bytes([number]) * 32,
            holder="m",
            name=f"a{number}",
            asset_version=1,
            grade=1,
            category="other",
            data_item="",
            row_count=1,
            metadata_hash=bytes(32),
            record={},
            registered_at=height,
            changed_at=height,
            held=False,
            hold_changes=0,
        )
        for number, height in enumerate(heights, first)
    ]
    database.write(lambda session: session.add_all(rows))


def page(database: Database, limit: int, cursor: str = "") -> tuple[list[str], str | None]:
    with database.read() as session:
        found = page_of(session, sa.select(CatalogueAsset), ORDER, PageRequest(limit, cursor))
        return [row.name for row in found.rows], found.next


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 5))
def test_the_pages_of_a_list_are_the_list(
    database: Database, heights: list[int], limit: int
) -> None:
    database.write(lambda session: session.execute(sa.delete(CatalogueAsset)) and None)
    publish(database, heights)
    expected, seen, cursor = page(database, 500)[0], [], ""
    while True:
        names, following = page(database, limit, cursor)
        seen += names
        if following is None:
            break
        assert len(names) == limit
        cursor = following
    assert seen == expected
    assert sorted(seen) == sorted(f"a{number}" for number in range(len(heights)))


def test_what_is_published_meanwhile_neither_repeats_nor_hides_a_row(database: Database) -> None:
    publish(database, [1, 2, 3, 4, 5, 6])
    first, cursor = page(database, 2)
    publish(database, [9, 9, 9], first=100)
    assert cursor is not None
    second, cursor = page(database, 2, cursor)
    third, end = page(database, 2, cursor or "")
    assert first + second + third == ["a5", "a4", "a3", "a2", "a1", "a0"]
    assert end is None


def _cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!!",
        "侨",
        _cursor({}),
        _cursor([1]),
        _cursor(["1", {"hex": "00"}]),
        _cursor([1, "00"]),
        _cursor([1, {"hex": "zz"}]),
        _cursor([True, {"hex": "00"}]),
        _cursor([2**64, {"hex": "00"}]),
        _cursor([[[[]]], {"hex": "00"}]),
        _cursor([1, {"hex": "00"}, 1]),
        "W" * 400,
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(BadInput) as refused:
        page(database, 2, cursor)
    assert refused.value.code == "cursor_malformed"
