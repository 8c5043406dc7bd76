"""Publishing assets and finding them.

Publishing streams the source once: each record gets a fresh salt and a commitment, the commitments
one RFC 9162 root, and the chain only the root. A publication is whole or not there: rows are stored
in parts under the state ``publishing``, which a repetition starts over, and the registration is
queued in the same transaction that makes it ``published``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.database import PreparedStatement
from chain.core.errors import BadInput, Conflict, NotFound, Unavailable
from chain.ethereum.ledger import Event
from chain.ethereum.ledger.contracts import version_key
from chain.ethereum.proved_records import StorageKey
from chain.log import merkle
from chain.outbox import Priority, enqueue, is_known, next_attempt, outcome, refused
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit, new_salt
from registry import proved
from registry.assets.rules import (
    RECORD_DOMAIN,
    DriftKind,
    PublishedRecord,
    RecordDrift,
    SourceDrift,
    asset_id_of,
    content_to_publish,
    published_content,
    require_description,
    schema_to_publish,
)
from registry.assets.store import CatalogueAsset, OwnAsset, RecordSalt
from registry.masking import mask, require_rules
from registry.pages import Page, PageRequest, page_of
from registry.purposes import ListedPurposes, listed_in, require_purposes
from registry.sources import Record, Source, SourceSchema

ROWS_PER_WRITE = 2_000
REGISTRATION_SECONDS = 15.0
"""How long a version that its holder shows may take to reach the chain."""
_PUBLISHING = threading.Lock()
"""One publication at a time in a process: two of one asset would take each other's rows for an
abandoned try's.
"""
_RUNNING: set[bytes] = set()
"""The assets whose first version is being published or waits for its turn."""


@dataclass(frozen=True)
class Publication:
    """What a clerk asks to publish."""

    name: str
    source: str
    description: Mapping[str, Any]
    masking: Mapping[str, str]
    data_item: str = ""
    parents: tuple[bytes, ...] = ()
    purposes: Mapping[str, bool] = field(default_factory=dict)
    """The purposes the asset may be used for, each with whether the subject's consent is needed."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Column types the owner states instead of the ones guessed from the cells."""


def publish(context: Context, publication: Publication) -> dict[str, Any]:
    """Publish version 1 of an asset from one of the node's sources; the asset as JSON.

    Raises:
        BadInput: ``purposes_missing``, ``purpose_unknown``, ``masking_rule_…``,
            ``asset_description``, ``source_…`` with column and line;
        Conflict: ``asset_known``, ``publication_running``.
    """
    source = source_of(context, publication.source)
    asset_id = asset_id_of(context.member, publication.name)
    with _one_publication(asset_id), _PUBLISHING:
        existing = own_version(context, asset_id, 1)
        if (
            existing is not None
            and existing.state == "published"
            and not was_refused(context, existing)
        ):
            raise Conflict(
                "asset_known",
                "An asset of this name is published.",
                hint="Publish a correction instead.",
            )
        return _publish(context, publication, source, asset_id, version=1, function="register")


@contextmanager
def _one_publication(asset_id: bytes) -> Iterator[None]:
    """Refuse a second try while the first still reads: whoever repeats a slow request must not
    queue up behind it.
    """
    if asset_id in _RUNNING:
        raise Conflict(
            "publication_running",
            "This asset is being published.",
            hint="Look how far it is: qiaolian asset own.",
        )
    _RUNNING.add(asset_id)
    try:
        yield
    finally:
        _RUNNING.discard(asset_id)


def own_versions(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """What this node has published or is publishing, by asset and version, with the rows committed
    so far; ``cursor_malformed``.
    """
    order = (OwnAsset.asset_id, OwnAsset.asset_version)
    with context.database.read() as session:
        found = page_of(session, sa.select(OwnAsset), order, page, ascending=True)
        return found.map(lambda row: _own_version(session, row))


def _own_version(session: Session, row: OwnAsset) -> dict[str, Any]:
    return {
        "assetId": "0x" + row.asset_id.hex(),
        "assetVersion": row.asset_version,
        "titleZh": row.asset_metadata["titleZh"],
        "titleEn": row.asset_metadata["titleEn"],
        "source": row.source,
        "state": row.state,
        "rows": _rows_so_far(session, row),
        "operation": row.operation or None,
    }


def _rows_so_far(session: Session, row: OwnAsset) -> int:
    if row.state == "published":
        return AssetRecord.from_json(row.record).row_count
    last = session.scalar(
        sa.select(sa.func.max(RecordSalt.position)).where(
            RecordSalt.asset_id == row.asset_id, RecordSalt.asset_version == row.asset_version
        )
    )
    return 0 if last is None else last + 1


def correct(
    context: Context, asset_id: bytes, *, overrides: Mapping[str, Record]
) -> dict[str, Any]:
    """Publish the next version, with some subjects' records repaired. Records of unknown subjects
    are refused.
    """
    with _PUBLISHING:
        return _correct(context, asset_id, overrides)


def _correct(context: Context, asset_id: bytes, overrides: Mapping[str, Record]) -> dict[str, Any]:
    latest = latest_own_version(context, asset_id)
    return publish_next(context, latest, publication_of(latest), overrides=overrides)


def publication_of(own: OwnAsset) -> Publication:
    """What was asked when a version was published, as the base of the next one."""
    metadata, record = own.asset_metadata, AssetRecord.from_json(own.record)
    schema = SourceSchema.from_json(_mapping(metadata["schema"]))
    return Publication(
        name=record.name,
        source=own.source,
        description={
            key: metadata[key] for key in ("titleZh", "titleEn", "description", "grade", "category")
        },
        masking=dict(own.masking),
        data_item=record.data_item,
        parents=record.parents,
        purposes=listed_in(metadata).consent,
        types={name: type_ for name, type_ in schema.types.items() if name != schema.key},
    )


def publish_next(
    context: Context,
    latest: OwnAsset,
    publication: Publication,
    *,
    overrides: Mapping[str, Record],
    expected: bytes | None = None,
) -> dict[str, Any]:
    """Publish the version after ``latest``; the caller holds ``publication_lock``.

    Repaired records of the latest version stay repaired as long as the source has their subject.

    Args:
        overrides: records repaired now; the source must have their subjects (``record_unknown``).
        expected: the fingerprint the source's rows must have (``source_changed``), as
            ``fingerprint_key`` makes it.
    """
    earlier = _overrides(context, latest.asset_id, latest.asset_version)
    return _publish(
        context,
        publication,
        source_of(context, latest.source),
        latest.asset_id,
        version=latest.asset_version if was_refused(context, latest) else latest.asset_version + 1,
        function="correct",
        rows=_RowsToPublish(
            {**earlier, **overrides},
            frozenset(overrides),
            fingerprint_key(context, latest),
            expected,
        ),
    )


@contextmanager
def publication_lock() -> Iterator[None]:
    """One publication at a time in a process."""
    with _PUBLISHING:
        yield


def fingerprint_key(context: Context, own: OwnAsset) -> bytes:
    """The secret under which rows of a source are compared between two readings: a salt of the
    version, which never leaves the node.
    """
    with context.database.read() as session:
        salt = session.scalar(
            sa.select(RecordSalt.salt).where(
                RecordSalt.asset_id == own.asset_id,
                RecordSalt.asset_version == own.asset_version,
                RecordSalt.position == 0,
            )
        )
    return salt or b""


def _mapping(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def override_of(context: Context, asset_id: bytes, version: int, subject: str) -> Record | None:
    """The repaired record that stands in for the source's in a version, if there is one."""
    return _overrides(context, asset_id, version).get(subject)


@dataclass(frozen=True)
class _RowsToPublish:
    """How the rows of a source become those of a version."""

    overrides: Mapping[str, Record] = field(default_factory=dict)
    """Repaired records by subject; each stands in for the source's."""
    required: frozenset[str] = frozenset()
    """Subjects the source must have."""
    fingerprint_key: bytes = b""
    expected: bytes | None = None
    """The fingerprint of the rows that was confirmed."""


def _publish(
    context: Context,
    publication: Publication,
    source: Source,
    asset_id: bytes,
    *,
    version: int,
    function: str,
    rows: _RowsToPublish = _RowsToPublish(),
) -> dict[str, Any]:
    require_description(dict(publication.description))
    purposes = require_purposes(publication.purposes)
    schema = schema_to_publish(source.schema(), publication.types)
    masking = require_rules(publication.masking, schema.columns)
    metadata = _metadata(publication, schema, masking, purposes)
    started = OwnAsset(
        asset_id=asset_id,
        asset_version=version,
        source=publication.source,
        state="publishing",
        masking=masking,
        asset_metadata=metadata,
        record={},
        operation="",
    )
    context.database.write(lambda session: _start(session, started))
    try:
        root, count = _commit_rows(context, asset_id, version, source, schema, rows)
    except Exception:
        context.database.write(lambda session: _discard(session, asset_id, version))
        raise
    record = AssetRecord(
        version=1,
        holder=context.member,
        processor=context.member,
        operator=context.member,
        data_item=publication.data_item,
        name=publication.name,
        asset_version=version,
        grade=int(publication.description["grade"]),
        category=str(publication.description.get("category", "other")),
        schema_hash=hashlib.sha256(dumps(schema.to_json())).digest(),
        records_root=root,
        row_count=count,
        metadata_hash=hashlib.sha256(dumps(metadata)).digest(),
        parents=publication.parents,
    )

    def finish(session: Session) -> str:
        row = session.get_one(OwnAsset, (asset_id, version))
        operation = next_attempt(session, f"asset/{asset_id.hex()}/{version}")
        row.state, row.record, row.operation = "published", record.to_json(), operation
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=row.operation,
            contract="AssetRegistry",
            function=function,
            arguments=[record],
        )
        return operation

    operation = context.database.write(finish)
    return {
        "assetId": "0x" + asset_id.hex(),
        "assetVersion": version,
        "rowCount": count,
        "record": record.to_json(),
        "metadata": metadata,
        "operation": operation,
    }


def was_refused(context: Context, own: OwnAsset) -> bool:
    """Whether the chain refused to register a version: then it was never published, and the same
    one may be tried again.

    A chain node's word for a refusal is not enough: a new try replaces the salts, with which the
    registered version is proved.
    """
    with context.database.read() as session:
        if not refused(session, own.operation):
            return False
    return proved.asset(context, own.asset_id).latest_version < own.asset_version


def _commit_rows(
    context: Context,
    asset_id: bytes,
    version: int,
    source: Source,
    schema: SourceSchema,
    publication: _RowsToPublish,
) -> tuple[bytes, int]:
    """Commit to every row; the root of the commitments and their count.

    Raises:
        BadInput: ``source_row_broken`` with column and line, ``source_key_repeated`` with both
            lines; NotFound: ``record_unknown``;
        Conflict: ``source_changed``.
    """
    frontier = merkle.Frontier()
    waiting: list[dict[str, Any]] = []
    missing = set(publication.required)
    fingerprint = hmac.new(publication.fingerprint_key, digestmod="sha256")

    def store() -> None:
        batch = list(waiting)
        waiting.clear()
        if batch:
            context.database.write(lambda session: session.execute(sa.insert(RecordSalt), batch))

    for position, row in enumerate(source.rows()):
        content = row_content(source, schema, position, row)
        if publication.expected is not None:
            fingerprint.update(dumps(content))
        subject = content[schema.key]
        override = publication.overrides.get(subject)
        missing.discard(subject)
        if override is not None:
            content = _repaired(schema, override)
        salt = new_salt()
        commitment = commit(salt, RECORD_DOMAIN, content)
        for _ in frontier.append(merkle.leaf_hash(commitment)):
            pass
        waiting.append(
            {
                "asset_id": asset_id,
                "asset_version": version,
                "position": position,
                "subject": subject,
                "salt": salt,
                "commitment": commitment,
                "override": dict(override) if override else None,
            }
        )
        if len(waiting) == ROWS_PER_WRITE:
            store()
    store()
    if missing:
        raise NotFound("record_unknown", "A record to be repaired is not in the source.")
    _require_distinct(context, source, asset_id, version)
    if publication.expected is not None and not hmac.compare_digest(
        fingerprint.digest(), publication.expected
    ):
        raise Conflict(
            "source_changed",
            "The source changed since its changes were shown.",
            hint="Look at the changes again, then confirm.",
        )
    return frontier.root(), frontier.size


def row_content(source: Source, schema: SourceSchema, position: int, row: Record) -> dict[str, Any]:
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


def _repaired(schema: SourceSchema, override: Record) -> dict[str, Any]:
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
    query = (
        sa.select(sa.func.min(RecordSalt.position), sa.func.max(RecordSalt.position))
        .where(RecordSalt.asset_id == asset_id, RecordSalt.asset_version == version)
        .group_by(RecordSalt.subject)
        .having(sa.func.count() > 1)
        .limit(1)
    )
    with context.database.read() as session:
        found = session.execute(query).first()
    if found is not None:
        first, second = (source.line_of(position) for position in found)
        raise BadInput(
            "source_key_repeated",
            f"Two records of source {source.name} have the same key (lines {first} and {second}).",
            hint="One subject has one record; choose another key column or correct the source.",
            lines=[first, second],
        )


def _start(session: Session, row: OwnAsset) -> None:
    _discard_rows(session, row.asset_id, row.asset_version)
    session.merge(row)


def _discard(session: Session, asset_id: bytes, version: int) -> None:
    """Forget a publication that failed."""
    _discard_rows(session, asset_id, version)
    session.execute(
        sa.delete(OwnAsset).where(OwnAsset.asset_id == asset_id, OwnAsset.asset_version == version)
    )


def _discard_rows(session: Session, asset_id: bytes, version: int) -> None:
    session.execute(
        sa.delete(RecordSalt).where(
            RecordSalt.asset_id == asset_id, RecordSalt.asset_version == version
        )
    )


def _metadata(
    publication: Publication,
    schema: SourceSchema,
    masking: Mapping[str, str],
    purposes: ListedPurposes,
) -> dict[str, Any]:
    return {
        "titleZh": publication.description["titleZh"],
        "titleEn": publication.description["titleEn"],
        "description": publication.description["description"],
        "grade": publication.description["grade"],
        "category": publication.description.get("category", "other"),
        "schema": schema.to_json(),
        "masking": dict(masking),
        "purposes": purposes.to_json(),
    }


def _overrides(context: Context, asset_id: bytes, version: int) -> dict[str, Record]:
    with context.database.read() as session:
        rows = session.scalars(
            sa.select(RecordSalt).where(
                RecordSalt.asset_id == asset_id,
                RecordSalt.asset_version == version,
                RecordSalt.override.is_not(sa.null()),
            )
        )
        return {row.subject: row.override for row in rows if row.override}


# --- What the gateway reads -----------------------------------------------------------------------


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
        """What the source holds of a subject now, or the repaired record that stands in for it."""
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
    """The published version; ``asset_not_published`` if there is none."""
    own = own_published(context, asset_id, version)
    return ServedVersion(
        asset_id=asset_id,
        asset_version=version,
        source=source_of(context, own.source),
        schema=SourceSchema.from_json(_mapping(own.asset_metadata["schema"])),
        masking=own.masking,
        purposes=listed_in(own.asset_metadata),
        overrides=_overrides(context, asset_id, version),
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
            f"s{place}": part[min(place, len(part) - 1)] for place in range(size)
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
            RecordSalt.subject.in_([sa.bindparam(f"s{place}") for place in range(size)]),
        )
    )


def published_record(context: Context, asset_id: bytes, version: int, subject: str) -> Record:
    """One subject's record as it was published; ``subject_unknown``, ``source_drift``,
    ``asset_not_published``.
    """
    published = published_records(context, asset_id, version, [subject])
    return served_version(context, asset_id, version).content(subject, published.get(subject))


def own_version(context: Context, asset_id: bytes, version: int) -> OwnAsset | None:
    """This node's publication of a version."""
    with context.database.read() as session:
        return session.get(OwnAsset, (asset_id, version))


def latest_own_version(context: Context, asset_id: bytes) -> OwnAsset:
    """This node's newest published version of an asset."""
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
    """A configured source; ``source_missing``."""
    sources: Mapping[str, Source] = context.ports["sources"]
    if name not in sources:
        raise NotFound(
            "source_missing",
            f"The node has no source named {name}.",
            hint="Add it to the configuration.",
        )
    return sources[name]


# --- Catalogue ------------------------------------------------------------------------------------


def search(
    context: Context, page: PageRequest, *, text: str = "", holder: str = ""
) -> Page[CatalogueAsset]:
    """Assets of all members by a part of the name or category; newest first."""
    query = sa.select(CatalogueAsset)
    if text:
        query = query.where(
            CatalogueAsset.name.contains(text) | CatalogueAsset.category.contains(text)
        )
    if holder:
        query = query.where(CatalogueAsset.holder == holder)
    order = (CatalogueAsset.registered_at, CatalogueAsset.asset_id)
    with context.database.read() as session:
        return page_of(session, query, order, page)


async def published_purposes(
    context: Context, holder: str, asset_id: bytes, version: int
) -> ListedPurposes:
    """The purposes a version of any member's asset lists, by metadata that is the one the chain has
    registered.

    Raises:
        NotFound: ``asset_not_published``, ``asset_unknown``; Conflict: ``metadata_differs``;
            Unavailable: the holder cannot be asked.
    """
    if holder == context.member:
        own = await asyncio.to_thread(own_published, context, asset_id, version)
        return listed_in(own.asset_metadata)
    answer = await context.peers.get(
        holder, f"/v1/peer/assets/0x{asset_id.hex()}/versions/{version}"
    )
    try:
        record, metadata = AssetRecord.from_json(answer["record"]), answer["metadata"]
        matching = hashlib.sha256(dumps(metadata)).digest() == record.metadata_hash
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "metadata_malformed",
            "The holder's node does not show the version in the form expected.",
        ) from error
    registered = await _registered(context, asset_id, version)
    if not registered:
        raise NotFound(
            "asset_unknown",
            "No such version of the asset is registered.",
            hint="See GET /v1/assets.",
        )
    if not matching or registered != int.from_bytes(record.struct_hash(), "big"):
        raise Conflict(
            "metadata_differs", "The holder's metadata is not what it registered on the chain."
        )
    return listed_in(metadata)


async def _registered(context: Context, asset_id: bytes, version: int) -> int:
    """The struct hash of a version's record on the chain, or 0. Its holder may have published it
    this moment: it is waited for a little.
    """
    word = StorageKey("AssetRegistry", "versions", (version_key(asset_id, version),))
    deadline = time.monotonic() + REGISTRATION_SECONDS
    while True:
        (found,) = await context.view.aproved_values([word])
        if found.value or time.monotonic() > deadline:
            return found.value
        await asyncio.sleep(0.2)


def newest_versions(session: Session, asset_ids: Collection[bytes]) -> dict[bytes, int]:
    """The newest registered version of each of some assets, by the catalogue."""
    query = sa.select(CatalogueAsset.asset_id, CatalogueAsset.asset_version).where(
        CatalogueAsset.asset_id.in_(asset_ids)
    )
    return {asset_id: version for asset_id, version in session.execute(query)}


async def describe(context: Context, asset_id: bytes) -> dict[str, Any]:
    """One asset with its metadata, fetched from its holder and checked against the record that the
    chain has.

    Raises:
        NotFound: ``asset_unknown``; Conflict: ``metadata_differs``;
        Unavailable: ``projection_behind`` while the catalogue lacks the latest version,
            ``chain_view_stale``.
    """
    row = await asyncio.to_thread(catalogue_row, context, asset_id)
    await asyncio.to_thread(_require_latest, context, row)
    if row.holder == context.member:
        metadata: Any = (
            await asyncio.to_thread(latest_own_version, context, asset_id)
        ).asset_metadata
    else:
        answer = await context.peers.get(row.holder, f"/v1/peer/assets/0x{asset_id.hex()}")
        metadata = answer["metadata"]
    if hashlib.sha256(dumps(metadata)).digest() != row.metadata_hash:
        raise Conflict(
            "metadata_differs", "The holder's metadata is not what it registered on the chain."
        )
    return {**catalogue_entry(row), "metadata": metadata}


def _require_latest(context: Context, row: CatalogueAsset) -> None:
    """The catalogue's record is the one that the chain has of the asset's latest version."""
    latest = proved.asset(context, row.asset_id).latest_version
    record = AssetRecord.from_json(row.record)
    if record.asset_version != latest or record.struct_hash() != proved.record_hash(
        context, row.asset_id, latest
    ):
        raise Unavailable(
            "projection_behind",
            "The catalogue of this node lacks the asset's latest version.",
            hint="Ask again in a moment; GET /readyz says how far this node has read the chain.",
        )


def catalogue_row(context: Context, asset_id: bytes) -> CatalogueAsset:
    """The catalogue's row; ``asset_unknown`` if there is none."""
    with context.database.read() as session:
        row = session.get(CatalogueAsset, asset_id)
    if row is None:
        raise _unknown_asset()
    return row


def _unknown_asset() -> NotFound:
    return NotFound("asset_unknown", "No such asset is registered.", hint="See GET /v1/assets.")


def cancel(context: Context, asset_id: bytes, reason: bytes) -> str:
    """Take an own asset off the network; the outbox operation."""
    published = latest_own_version(context, asset_id).operation
    return _send(
        context, f"asset-cancel/{asset_id.hex()}", "cancel", [asset_id, reason], follows=published
    )


def set_hold(context: Context, asset_id: bytes, *, reason: bytes | None) -> str:
    """As a supervisor, put an asset on dispute hold for a reason (a code), or release it (None);
    the outbox operation.

    The operation is named by the block of the last change, as the chain has it now: named by an
    older one, it would be taken for a repetition and never sent.

    Raises:
        NotFound: ``asset_unknown``; Unavailable: ``hold_changing`` while the view lacks this node's
            last change, ``chain_view_stale``.
    """
    word = proved.hold(context, asset_id)
    if not proved.asset(context, asset_id).registered_at:
        raise _unknown_asset()
    function, arguments = (
        ("release", [asset_id]) if reason is None else ("hold", [asset_id, reason])
    )
    operation = f"asset-{function}/{asset_id.hex()}/{max(word.placed_at, word.lifted_at)}"
    if word.held == (reason is None):
        _require_not_done(context, operation)
    return _send(context, operation, function, arguments)


def _require_not_done(context: Context, operation: str) -> None:
    """A change that is done and not in the view yet may have been followed by its opposite."""
    with context.database.read() as session:
        if is_known(session, operation) and outcome(session, operation).state == "done":
            raise Unavailable(
                "hold_changing", "The hold was just changed.", hint="Ask again in a second."
            )


def _send(
    context: Context,
    operation: str,
    function: str,
    arguments: list[bytes],
    *,
    follows: str | None = None,
) -> str:
    def change(session: Session) -> str:
        sent = next_attempt(session, operation)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="AssetRegistry",
            function=function,
            arguments=arguments,
            priority=Priority.URGENT,
            follows=follows,
        )
        return sent

    return context.database.write(change)


def apply(session: Session, event: Event) -> None:
    """Take one of AssetRegistry's events into the catalogue."""
    asset_id: bytes = event.arguments["assetId"]
    if event.name in ("AssetRegistered", "AssetCorrected"):
        record: AssetRecord = event.arguments["record"]
        row = session.get(CatalogueAsset, asset_id) or CatalogueAsset(
            asset_id=asset_id, registered_at=event.height
        )
        row.holder, row.name, row.asset_version = record.holder, record.name, record.asset_version
        row.grade, row.category, row.data_item = record.grade, record.category, record.data_item
        row.row_count, row.metadata_hash = record.row_count, record.metadata_hash
        row.record, row.changed_at, row.cancelled_at = record.to_json(), event.height, None
        row.held, row.hold_changes = bool(row.held), row.hold_changes or 0
        session.add(row)
        return
    known = session.get(CatalogueAsset, asset_id)
    if known is None:
        return
    if event.name == "AssetCancelled":
        known.cancelled_at = event.height
    elif event.name in ("AssetHeld", "AssetReleased"):
        known.held = event.name == "AssetHeld"
        known.hold_changes = event.height


def catalogue_entry(row: CatalogueAsset) -> dict[str, Any]:
    """A catalogue row as the API shows it."""
    return {
        "assetId": "0x" + row.asset_id.hex(),
        "holder": row.holder,
        "name": row.name,
        "assetVersion": row.asset_version,
        "grade": row.grade,
        "category": row.category,
        "dataItem": row.data_item,
        "rowCount": row.row_count,
        "registeredAt": row.registered_at,
        "cancelledAt": row.cancelled_at,
        "held": row.held,
    }
