"""How the first rows of a source would be delivered, before anything is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from chain.context import Context
from registry.assets.committing import row_content
from registry.assets.rules import schema_to_publish
from registry.assets.serving import source_of
from registry.masking import mask, require_rules, served_columns
from registry.sources import Record, SourceSchema

PREVIEW_ROWS = 10


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row as the source has it, and as a buyer would get it."""

    line: int
    """In the source's file; for tables the row's number."""
    held: Record
    delivered: Record
    """Without the columns that never leave."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a source under types and masking rules."""

    schema: SourceSchema
    masking: Mapping[str, str]
    """The rule of every column."""
    rows: tuple[PreviewRow, ...]


def preview(
    context: Context,
    source: str,
    *,
    masking: Mapping[str, str],
    types: Mapping[str, str],
    rows: int = PREVIEW_ROWS,
) -> Preview:
    """Read the first rows of a source as its publication would; nothing is stored.

    Raises:
        BadInput: what publishing the source raises for these rows, and ``masking_failed`` with the
            column.
    """
    opened = source_of(context, source)
    schema = schema_to_publish(opened.schema(), types)
    rules = require_rules(masking, schema.columns)
    served = served_columns(rules)
    found = []
    for position, row in enumerate(islice(opened.rows(), rows)):
        content = row_content(opened, schema, position, row)
        delivered = mask(content, served, rules)
        found.append(PreviewRow(opened.line_of(position), content, delivered))
    return Preview(schema, rules, tuple(found))
