"""Committing to the rows of a source: each record gets a fresh salt and a commitment, the
commitments one RFC 9162 root.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, NotFound
from chain.log import merkle
from chain.statements.commitment import commit, new_salt
from registry.assets import store
from registry.assets.model import CommittedRecord
from registry.assets.rules import RECORD_DOMAIN, content_to_publish
from registry.sources import Record, Source, SourceSchema

ROWS_PER_WRITE = 2_000


@dataclass(frozen=True, slots=True)
class RowsToPublish:
    """How the rows of a source become those of a version."""

    overrides: Mapping[str, Record] = field(default_factory=dict)
    """Repaired records by subject; each replaces the source's."""
    required: frozenset[str] = frozenset()
    """Subjects the source must have."""
    fingerprint_key: bytes = b""
    expected: bytes | None = None
    """The fingerprint of the rows that was confirmed."""


def commit_rows(
    context: Context,
    asset_id: bytes,
    version: int,
    source: Source,
    schema: SourceSchema,
    rows: RowsToPublish,
) -> tuple[bytes, int]:
    """Commit to every row; the root of the commitments and their count.

    Raises:
        BadInput: ``source_row_broken`` with column and line, ``source_key_repeated`` with both
            lines; NotFound: ``record_unknown``;
        Conflict: ``source_changed``.
    """
    reading = _Reading(source, schema, rows)
    frontier = merkle.Frontier()
    for records in _batches(reading.records()):
        for record in records:
            for _ in frontier.append(merkle.leaf_hash(record.commitment)):
                pass
        _store(context, asset_id, version, records)
    reading.require_all()
    _require_distinct(context, source, asset_id, version)
    reading.require_expected()
    return frontier.root(), frontier.size


class _Reading:
    """One pass over the rows of a source."""

    def __init__(self, source: Source, schema: SourceSchema, rows: RowsToPublish) -> None:
        self._source, self._schema, self._rows = source, schema, rows
        self._missing = set(rows.required)
        self._fingerprint = hmac.new(rows.fingerprint_key, digestmod="sha256")

    def records(self) -> Iterator[CommittedRecord]:
        """Commit to each row, repaired where it is to be."""
        for position, row in enumerate(self._source.rows()):
            content = row_content(self._source, self._schema, position, row)
            if self._rows.expected is not None:
                self._fingerprint.update(dumps(content))
            subject = content[self._schema.key]
            override = self._rows.overrides.get(subject)
            self._missing.discard(subject)
            if override is not None:
                content = _repaired(self._schema, override)
            salt = new_salt()
            commitment = commit(salt, RECORD_DOMAIN, content)
            yield CommittedRecord(position, subject, salt, commitment, override or None)

    def require_all(self) -> None:
        """The source had every required subject: ``record_unknown``."""
        if self._missing:
            raise NotFound("record_unknown", "A record to be repaired is not in the source.")

    def require_expected(self) -> None:
        """The rows were those that were confirmed: ``source_changed``."""
        expected = self._rows.expected
        if expected is not None and not hmac.compare_digest(self._fingerprint.digest(), expected):
            raise Conflict(
                "source_changed",
                "The source changed since its changes were shown.",
                hint="Look at the changes again, then confirm.",
            )


def _batches(records: Iterable[CommittedRecord]) -> Iterator[list[CommittedRecord]]:
    remaining = iter(records)
    while batch := list(islice(remaining, ROWS_PER_WRITE)):
        yield batch


def _store(context: Context, asset_id: bytes, version: int, records: list[CommittedRecord]) -> None:
    context.database.write(lambda session: store.add_records(session, asset_id, version, records))


def row_content(source: Source, schema: SourceSchema, position: int, row: Record) -> Record:
    """A row of a source in the form that is committed to; ``source_row_broken`` with column and
    line.
    """
    try:
        return content_to_publish(row, schema)
    except ValueError as error:
        column, why = error.args
        line = source.line_of(position)
        raise BadInput(
            "source_row_broken",
            f"Line {line} of source {source.name} cannot be published: the column {column} {why}.",
            hint="Correct that line, or state another type for the column; nothing was published.",
            source=source.name,
            column=column,
            line=line,
        ) from error


def _repaired(schema: SourceSchema, override: Record) -> Record:
    try:
        return content_to_publish(override, schema)
    except ValueError as error:
        column, why = error.args
        raise BadInput(
            "record_malformed",
            f"A repaired record cannot be published: the column {column} {why}.",
            column=column,
        ) from error


def _require_distinct(context: Context, source: Source, asset_id: bytes, version: int) -> None:
    """Refuse a source that has a subject twice: one subject has one record."""
    with context.database.read() as session:
        found = store.repeated_subject(session, asset_id, version)
    if found is not None:
        first, second = (source.line_of(position) for position in found)
        raise BadInput(
            "source_key_repeated",
            f"Two records of source {source.name} have the same key (lines {first} and {second}).",
            hint="One subject has one record; choose another key column or correct the source.",
            lines=[first, second],
        )
