"""Publishing a changed source as the next version: first what changed, then the publication of
exactly that.

The comparison returns a fingerprint of the source's rows. The publication takes the fingerprint
and fails if the rows are others by then (``source_changed``), so that only reviewed
changes are published.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chain.context import Context
from chain.core.canonical import dumps
from registry.assets import publication as asset_publication
from registry.assets import serving
from registry.assets.committing import row_content
from registry.assets.model import OwnVersion, Publication, VersionChanges
from registry.assets.rules import PublishedRecord, SourceDrift, published_content, schema_to_publish
from registry.masking import require_rules
from registry.purposes import require_purposes
from registry.sources import Record, Source, SourceSchema

MAX_EXAMPLES = 20
_BATCH_ROWS = 256


@dataclass
class RowSample:
    """Rows of one kind: how many, and the lines of the first ones in the source."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, source: Source, position: int) -> None:
        """One more, at this position of the source."""
        self.count += 1
        if len(self.lines) < MAX_EXAMPLES:
            self.lines.append(source.line_of(position))


@dataclass(frozen=True)
class SourceChanges:
    """How the source departs from the latest version."""

    asset_id: bytes
    latest_version: int
    next_version: int
    added: RowSample
    changed: RowSample
    removed: int
    unchanged: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    types_changed: Mapping[str, tuple[str, str]]
    """Old and new type by column."""
    repaired: int
    """Records repaired after disputes, which continue to replace the source's."""
    masking: Mapping[str, str]
    purposes: Mapping[str, bool]
    fingerprint: bytes


def compare(context: Context, asset_id: bytes, version_changes: VersionChanges) -> SourceChanges:
    """Read the source once and compare it with the latest version.

    Raises:
        NotFound: ``asset_not_published``; BadInput: what publishing it would raise.
    """
    latest = serving.latest_own_version(context, asset_id)
    publication, old, new = _next(context, latest, version_changes)
    masking = require_rules(publication.masking, new.columns)
    purposes = require_purposes(publication.purposes)
    served = serving.served_version(context, asset_id, latest.asset_version)
    added, changed, unchanged, known = RowSample(), RowSample(), 0, 0
    fingerprint = hmac.new(asset_publication.fingerprint_key(context, latest), digestmod="sha256")
    for rows in _batches(served.source.rows()):
        subjects = [str(row[new.key]) for _, row in rows]
        published = serving.published_records(context, asset_id, latest.asset_version, subjects)
        for (position, row), subject in zip(rows, subjects, strict=True):
            fingerprint.update(dumps(row_content(served.source, new, position, row)))
            found = published.get(subject)
            known += found is not None
            if found is None:
                added.add(served.source, position)
            elif _is_published(served.overrides.get(subject) or row, old, found):
                unchanged += 1
            else:
                changed.add(served.source, position)
    refused = asset_publication.was_refused(context, latest)
    return SourceChanges(
        asset_id=asset_id,
        latest_version=latest.asset_version,
        next_version=latest.asset_version + (0 if refused else 1),
        added=added,
        changed=changed,
        removed=latest.require_record().row_count - known,
        unchanged=unchanged,
        columns_added=tuple(name for name in new.names if name not in old.names),
        columns_removed=tuple(name for name in old.names if name not in new.names),
        types_changed={
            name: (old.types[name], new.types[name])
            for name in new.names
            if old.types.get(name, new.types[name]) != new.types[name]
        },
        repaired=len(served.overrides),
        masking=masking,
        purposes=purposes.consent,
        fingerprint=fingerprint.digest(),
    )


def republish(
    context: Context, asset_id: bytes, version_changes: VersionChanges, *, fingerprint: bytes
) -> OwnVersion:
    """Publish the source, whose changes were confirmed, as the next version.

    Raises:
        Conflict: ``source_changed``; NotFound: ``asset_not_published``; BadInput: as
            ``publication.publish``.
    """
    with asset_publication.publication_lock(context):
        latest = serving.latest_own_version(context, asset_id)
        publication, _, _ = _next(context, latest, version_changes)
        return asset_publication.publish_next(
            context, latest, publication, overrides={}, expected=fingerprint
        )


def _next(
    context: Context, latest: OwnVersion, version_changes: VersionChanges
) -> tuple[Publication, SourceSchema, SourceSchema]:
    """The next publication, the latest version's schema and the next one's. Columns that are gone
    take their rule and type along.
    """
    before = asset_publication.publication_of(latest)
    old, source = (
        serving.served_version(context, latest.asset_id, latest.asset_version).schema,
        serving.source_of(context, latest.source).schema(),
    )
    common_columns = set(old.names) & set(source.names)
    types = {name: type_ for name, type_ in before.types.items() if name in common_columns} | dict(
        version_changes.types
    )
    masking = {
        name: rule for name, rule in before.masking.items() if name in common_columns
    } | dict(version_changes.masking)
    if not latest.metadata.lists_purposes:
        # Published before versions listed their purposes: the owner lists them now.
        before = replace(before, purposes={})
    purposes = before.purposes if version_changes.purposes is None else version_changes.purposes
    publication = replace(before, types=types, masking=masking, purposes=purposes)
    return publication, old, schema_to_publish(source, types)


def _batches(rows: Iterator[Record]) -> Iterator[Sequence[tuple[int, Record]]]:
    numbered = enumerate(rows)
    while batch := list(itertools.islice(numbered, _BATCH_ROWS)):
        yield batch


def _is_published(row: Record, schema: SourceSchema, published: PublishedRecord) -> bool:
    try:
        published_content(row, schema, published)
    except SourceDrift:
        return False
    return True
