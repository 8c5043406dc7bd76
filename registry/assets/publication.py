"""Publishing assets and finding them.

Publishing streams the source once: each record gets a fresh salt and a commitment, the commitments
one RFC 9162 root, and the chain only the root. A publication is whole or not there: rows are stored
in parts under the state ``publishing``, which a repetition starts over, and the registration is
queued in the same transaction that makes it ``published``.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, NotFound
from chain.ethereum.proved_records import asset_record
from chain.log import merkle
from chain.outbox import enqueue, next_attempt, refused
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit, new_salt
from registry.assets.rules import (
    RECORD_DOMAIN,
    asset_id_of,
    content_to_publish,
    require_description,
    schema_to_publish,
)
from registry.assets.serving import (
    json_object,
    latest_own_version,
    overrides_of,
    own_version,
    source_of,
)
from registry.assets.store import OwnAsset, RecordSalt
from registry.masking import require_rules
from registry.pages import Page, PageRequest, page_of
from registry.purposes import ListedPurposes, listed_in, require_purposes
from registry.sources import Record, Source, SourceSchema

ROWS_PER_WRITE = 2_000


class _Publications:
    """A node's publications in progress."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """One publication at a time: two of one asset would take each other's rows for those of
        an abandoned attempt.
        """
        self.running: set[bytes] = set()
        """Assets whose first version is being published or waits for its turn."""

    @classmethod
    def of(cls, context: Context) -> _Publications:
        """The node's own."""
        return context.services.get(cls, cls)


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
    with _one_publication(context, asset_id), publication_lock(context):
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
def _one_publication(context: Context, asset_id: bytes) -> Iterator[None]:
    """Refuse a second try while the first still reads: whoever repeats a slow request must not
    queue up behind it.
    """
    running = _Publications.of(context).running
    if asset_id in running:
        raise Conflict(
            "publication_running",
            "This asset is being published.",
            hint="Look how far it is: qiaolian asset own.",
        )
    running.add(asset_id)
    try:
        yield
    finally:
        running.discard(asset_id)


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
    with publication_lock(context):
        return _correct(context, asset_id, overrides)


def _correct(context: Context, asset_id: bytes, overrides: Mapping[str, Record]) -> dict[str, Any]:
    latest = latest_own_version(context, asset_id)
    return publish_next(context, latest, publication_of(latest), overrides=overrides)


def publication_of(own: OwnAsset) -> Publication:
    """What was asked when a version was published, as the base of the next one."""
    metadata, record = own.asset_metadata, AssetRecord.from_json(own.record)
    schema = SourceSchema.from_json(json_object(metadata["schema"]))
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
    earlier = overrides_of(context, latest.asset_id, latest.asset_version)
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
def publication_lock(context: Context) -> Iterator[None]:
    """Hold off the node's other publications."""
    with _Publications.of(context).lock:
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


@dataclass(frozen=True)
class _RowsToPublish:
    """How the rows of a source become those of a version."""

    overrides: Mapping[str, Record] = field(default_factory=dict)
    """Repaired records by subject; each replaces the source's."""
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
    asset = context.view.proved([asset_record(own.asset_id)]).asset(own.asset_id)
    return asset.latest_version < own.asset_version


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
