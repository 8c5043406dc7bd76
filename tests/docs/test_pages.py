"""The pages written from code are current."""

from __future__ import annotations

from scripts.statement_pages import PAGE, page


def test_the_statements_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.statement_pages"
