"""The pages written from code are current."""

from __future__ import annotations

from pathlib import Path

from federated.protocols import _ROOMS
from scripts.statement_pages import PAGE, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_statements_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.statement_pages"


def test_every_protocol_says_how_it_replays() -> None:
    text = (DOCS / "protocols" / "replay.md").read_text()
    assert [name for name in _ROOMS if f"\n| `{name}` |" not in text] == []
