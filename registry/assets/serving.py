"""What a node reads of the versions it publishes: sources, salts, commitments, repaired records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from chain.context import Context
from chain.core.database import PreparedStatement
from chain.core.errors import BadInput, NotFound
from registry.assets.rules import (
    DriftKind,
    PublishedRecord,
    RecordDrift,
    SourceDrift,
    published_content,
)
from registry.assets.store import OwnAsset, RecordSalt
from registry.masking import mask
from registry.purposes import ListedPurposes, listed_in
from registry.sources import ConfiguredSources, Record, Source, SourceSchema


def json_object(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def override_of(context: Context, asset_id: bytes, version: int, subject: str) -> Record | None:
    """Return the repaired record that replaces the source's in a version, if there is one."""
    return overrides_of(context, asset_id, version).get(subject)


def overrides_of(context: Context, asset_id: bytes, version: int) -> dict[str, Record]:
    with context.database.read() as session:
        rows = session.scalars(
            sa.select(RecordSalt).where(
                RecordSalt.asset_id == asset_id,
                RecordSalt.asset_version == version,
                RecordSalt.override.is_not(sa.null()),
            )
        )
        return {row.subject: row.override for row in rows if row.override}


@dataclass(frozen=True)
class ServedVersion:
    """What the gateway needs to serve a version of an asset."""

    asset_id: bytes
    asset_version: int
    source: Source
    schema: SourceSchema
    masking: Mapping[str, str]
    purposes: ListedPurposes
    overrides: Mapping[str, Record]

    def lookup(self, subject: str) -> Record | None:
        """Return the repaired record of a subject, or else the source's current one."""
        return self.overrides.get(subject) or self.source.lookup(subject)

    def content(self, subject: str, published: PublishedRecord | None) -> Record:
        """The subject's record, once it is the one that was published.

        Raises:
            NotFound: ``subject_unknown``; SourceDrift: ``source_drift``; Unavailable: the source
                cannot be read now.
        """
        try:
            record = self.lookup(subject)
        except BadInput as error:
            column = error.context.get("column")
            raise self._drift(
                DriftKind.SOURCE_BROKEN, published, *([str(column)] if column else [])
            ) from error
        if record is None and published is None:
            raise NotFound("subject_unknown", "The asset has no record of this subject.")
        if published is None:
            raise self._drift(DriftKind.RECORD_UNPUBLISHED, None)
        if record is None:
            raise self._drift(DriftKind.RECORD_MISSING, published)
        return published_content(record, self.schema, published)

    def answer(
        self, subject: str, columns: Sequence[str], published: PublishedRecord | None
    ) -> dict[str, Any]:
        """The asked columns of the subject's published record, masked; raises as ``content``."""
        record = self.content(subject, published)
        try:
            return mask(record, columns, self.masking)
        except BadInput as error:
            if error.code != "masking_failed":
                raise
            raise self._drift(
                DriftKind.MASKING_FAILED, published, str(error.context["column"])
            ) from error

    def _drift(
        self, kind: DriftKind, published: PublishedRecord | None, *columns: str
    ) -> SourceDrift:
        return SourceDrift(
            RecordDrift(kind, columns, None if published is None else published.position)
        )


def served_version(context: Context, asset_id: bytes, version: int) -> ServedVersion:
    """Return a published version ready to serve; ``asset_not_published``."""
    own = own_published(context, asset_id, version)
    return ServedVersion(
        asset_id=asset_id,
        asset_version=version,
        source=source_of(context, own.source),
        schema=SourceSchema.from_json(json_object(own.asset_metadata["schema"])),
        masking=own.masking,
        purposes=listed_in(own.asset_metadata),
        overrides=overrides_of(context, asset_id, version),
    )


def own_published(context: Context, asset_id: bytes, version: int) -> OwnAsset:
    """A version this node publishes; ``asset_not_published``."""
    own = own_version(context, asset_id, version)
    if own is None or own.state != "published":
        raise NotFound(
            "asset_not_published", "This node does not publish that version of the asset."
        )
    return own


def published_records(
    context: Context, asset_id: bytes, version: int, subjects: Collection[str]
) -> dict[str, PublishedRecord]:
    """The published records of some subjects by subject, in one query for each 256; subjects
    without one are left out.
    """
    found: dict[str, PublishedRecord] = {}
    publication = list(dict.fromkeys(subjects))
    for start in range(0, len(publication), MAX_SUBJECTS):
        part = publication[start : start + MAX_SUBJECTS]
        size = 1 << (len(part) - 1).bit_length()
        values: dict[str, Any] = {
            f"s{index}": part[min(index, len(part) - 1)] for index in range(size)
        }
        rows = context.database.fetch(
            _published_query(size), {"asset_id": asset_id, "asset_version": version, **values}
        )
        found.update(
            {
                subject: PublishedRecord(position, bytes(salt), bytes(commitment))
                for subject, position, salt, commitment in rows
            }
        )
    return found


MAX_SUBJECTS = 256


@cache
def _published_query(size: int) -> PreparedStatement:
    """The query for so many subjects, a power of two; a list with fewer repeats its last one."""
    columns: list[Any] = [
        RecordSalt.subject,
        RecordSalt.position,
        RecordSalt.salt,
        RecordSalt.commitment,
    ]
    return PreparedStatement(
        sa.select(*columns).where(
            RecordSalt.asset_id == sa.bindparam("asset_id"),
            RecordSalt.asset_version == sa.bindparam("asset_version"),
            RecordSalt.subject.in_([sa.bindparam(f"s{index}") for index in range(size)]),
        )
    )


def published_record(context: Context, asset_id: bytes, version: int, subject: str) -> Record:
    """One subject's record as it was published; ``subject_unknown``, ``source_drift``,
    ``asset_not_published``.
    """
    published = published_records(context, asset_id, version, [subject])
    return served_version(context, asset_id, version).content(subject, published.get(subject))


def own_version(context: Context, asset_id: bytes, version: int) -> OwnAsset | None:
    """Return this node's publication of a version, if there is one."""
    with context.database.read() as session:
        return session.get(OwnAsset, (asset_id, version))


def latest_own_version(context: Context, asset_id: bytes) -> OwnAsset:
    """Return this node's newest published version of an asset; ``asset_not_published``."""
    with context.database.read() as session:
        row = session.scalars(
            sa.select(OwnAsset)
            .where(OwnAsset.asset_id == asset_id, OwnAsset.state == "published")
            .order_by(OwnAsset.asset_version.desc())
            .limit(1)
        ).first()
    if row is None:
        raise NotFound("asset_not_published", "This node publishes no such asset.")
    return row


def record_commitment(
    context: Context, asset_id: bytes, version: int, subject: str
) -> tuple[bytes, bytes]:
    """The commitment of a subject's record and its salt; ``record_unknown`` if there is none."""
    with context.database.read() as session:
        row = session.scalars(
            sa.select(RecordSalt).where(
                RecordSalt.asset_id == asset_id,
                RecordSalt.asset_version == version,
                RecordSalt.subject == subject,
            )
        ).first()
    if row is None:
        raise NotFound("record_unknown", "There is no record of this subject.")
    return row.commitment, row.salt


def source_of(context: Context, name: str) -> Source:
    """Return a configured source; ``source_missing``."""
    configured = context.services.find(ConfiguredSources)
    sources: Mapping[str, Source] = {} if configured is None else configured.by_name
    if name not in sources:
        raise NotFound(
            "source_missing",
            f"The node has no source named {name}.",
            hint="Add it to the configuration.",
        )
    return sources[name]
