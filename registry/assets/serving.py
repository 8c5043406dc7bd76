"""What a node reads of the versions it publishes: sources, salts, commitments, repaired records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.errors import BadInput, NotFound, QiaolianError
from registry.assets import store
from registry.assets.model import OwnVersion, not_published
from registry.assets.rules import (
    DriftKind,
    PublishedRecord,
    RecordDrift,
    SourceDrift,
    published_content,
)
from registry.masking import mask
from registry.purposes import ListedPurposes
from registry.source_files import SourceFiles
from registry.sources import ConfiguredSources, Record, Source, SourceSchema


def override_of(context: Context, asset_id: bytes, version: int, subject: str) -> Record | None:
    """Return the repaired record that replaces the source's in a version, if there is one."""
    return overrides_of(context, asset_id, version).get(subject)


def overrides_of(context: Context, asset_id: bytes, version: int) -> dict[str, Record]:
    """The repaired records of a version, by subject."""
    with context.database.read() as session:
        return store.overrides(session, asset_id, version)


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
    ) -> Record:
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
        schema=own.metadata.schema,
        masking=own.masking,
        purposes=own.metadata.purposes,
        overrides=overrides_of(context, asset_id, version),
    )


def own_published(context: Context, asset_id: bytes, version: int) -> OwnVersion:
    """A version this node publishes; ``asset_not_published``."""
    own = own_version(context, asset_id, version)
    if own is None or own.record is None:
        raise not_published()
    return own


def published_records(
    context: Context, asset_id: bytes, version: int, subjects: Collection[str]
) -> dict[str, PublishedRecord]:
    """The published records of some subjects by subject, in one query for each 256; subjects
    without one are left out.
    """
    found: dict[str, PublishedRecord] = {}
    wanted = list(dict.fromkeys(subjects))
    for start in range(0, len(wanted), store.MAX_SUBJECTS):
        part = wanted[start : start + store.MAX_SUBJECTS]
        found.update(store.published_records(context.database, asset_id, version, part))
    return found


def published_record(context: Context, asset_id: bytes, version: int, subject: str) -> Record:
    """One subject's record as it was published; ``subject_unknown``, ``source_drift``,
    ``asset_not_published``.
    """
    published = published_records(context, asset_id, version, [subject])
    return served_version(context, asset_id, version).content(subject, published.get(subject))


def own_version(context: Context, asset_id: bytes, version: int) -> OwnVersion | None:
    """Return this node's publication of a version, if there is one."""
    with context.database.read() as session:
        return store.find_version(session, asset_id, version)


def latest_own_version(context: Context, asset_id: bytes) -> OwnVersion:
    """Return this node's newest published version of an asset; ``asset_not_published``."""
    with context.database.read() as session:
        own = store.latest_published(session, asset_id)
    if own is None:
        raise NotFound("asset_not_published", "This node publishes no such asset.")
    return own


def record_commitment(
    context: Context, asset_id: bytes, version: int, subject: str
) -> tuple[bytes, bytes]:
    """The commitment of a subject's record and its salt; ``record_unknown`` if there is none."""
    with context.database.read() as session:
        found = store.find_commitment(session, asset_id, version, subject)
    if found is None:
        raise NotFound("record_unknown", "There is no record of this subject.")
    return found


def source_names(context: Context) -> list[str]:
    """The node's configured sources."""
    configured = context.services.find(ConfiguredSources)
    return [] if configured is None else list(configured.by_name)


def source_files(context: Context) -> SourceFiles:
    """The node's files; ``source_missing`` where the process reads no sources."""
    configured = context.services.find(ConfiguredSources)
    if configured is None or configured.files is None:
        raise BadInput("source_missing", "This node reads no files.")
    return configured.files


def source_fault(context: Context, name: str) -> QiaolianError | None:
    """Why a source cannot be read now; None if it can. A look-up of nobody answers in seconds even
    while a large file is being indexed.
    """
    try:
        source_of(context, name).lookup("")
    except QiaolianError as error:
        return error
    return None


def source_of(context: Context, name: str) -> Source:
    """Return a configured or uploaded source; ``source_missing``."""
    configured = context.services.find(ConfiguredSources)
    sources: Mapping[str, Source] = {} if configured is None else configured.by_name
    if name not in sources:
        raise BadInput(
            "source_missing",
            f"The node has no source named {name}.",
            hint="Add it to the configuration.",
        )
    return sources[name]
