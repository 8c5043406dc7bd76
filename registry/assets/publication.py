"""Publishing assets and finding them.

Publishing streams the source once: each record gets a fresh salt and a commitment, the commitments
one RFC 9162 root, and the chain only the root. A publication is whole or not there: rows are stored
in parts under the state ``publishing``, which a repetition starts over, and the registration is
queued in the same transaction that makes it ``published``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import Conflict
from chain.ethereum.proved_records import asset_record
from chain.outbox import enqueue, next_attempt, refused
from chain.statements.assets import AssetRecord
from registry.assets import store
from registry.assets.committing import RowsToPublish, commit_rows
from registry.assets.model import AssetMetadata, OwnVersion, Publication, PublicationProgress
from registry.assets.rules import asset_id_of, require_description, schema_to_publish
from registry.assets.serving import latest_own_version, overrides_of, own_version, source_of
from registry.masking import require_rules
from registry.pages import Page, PageRequest
from registry.purposes import ListedPurposes, require_purposes
from registry.sources import Record, SourceSchema


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


def publish(context: Context, publication: Publication) -> OwnVersion:
    """Publish version 1 of an asset from one of the node's sources.

    Raises:
        BadInput: ``purposes_missing``, ``purpose_unknown``, ``masking_rule_…``,
            ``asset_description``, ``source_…`` with column and line;
        Conflict: ``asset_known``, ``publication_running``.
    """
    source_of(context, publication.source)
    asset_id = asset_id_of(context.member, publication.name)
    with _one_publication(context, asset_id), publication_lock(context):
        existing = own_version(context, asset_id, 1)
        if (
            existing is not None
            and existing.record is not None
            and not was_refused(context, existing)
        ):
            raise Conflict(
                "asset_known",
                "An asset of this name is published.",
                hint="Publish a correction instead.",
            )
        return _publish(context, publication, asset_id, 1, RowsToPublish())


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


def own_versions(
    context: Context, page: PageRequest, *, asset_id: bytes | None = None
) -> Page[PublicationProgress]:
    """What this node has published or is publishing, or the versions of one asset, by asset and
    version, with the rows committed so far; ``cursor_malformed``.
    """
    with context.database.read() as session:
        return store.versions_page(session, page, asset_id=asset_id)


def sources_in_use(context: Context) -> set[str]:
    """The sources of this node's publications, without those of cancelled assets."""
    with context.database.read() as session:
        return store.sources_in_use(session)


def own_assets(context: Context) -> list[tuple[str, bytes]]:
    """Name and id of each asset that this node has published, by name."""
    with context.database.read() as session:
        return store.own_assets(session)


def correct(context: Context, asset_id: bytes, *, overrides: Mapping[str, Record]) -> OwnVersion:
    """Publish the next version, with some subjects' records repaired.

    Raises:
        NotFound: ``asset_not_published``, ``record_unknown`` for a subject that the source does not
            have; BadInput: as ``publish``.
    """
    with publication_lock(context):
        latest = latest_own_version(context, asset_id)
        return publish_next(context, latest, publication_of(latest), overrides=overrides)


def publication_of(own: OwnVersion) -> Publication:
    """The request by which a version was published, as the base of the next one."""
    metadata, record = own.metadata, own.require_record()
    schema = metadata.schema
    return Publication(
        name=record.name,
        source=own.source,
        description=metadata.description,
        masking=dict(own.masking),
        data_item=record.data_item,
        parents=record.parents,
        purposes=metadata.purposes.consent,
        types={name: type_ for name, type_ in schema.types.items() if name != schema.key},
    )


def publish_next(
    context: Context,
    latest: OwnVersion,
    publication: Publication,
    *,
    overrides: Mapping[str, Record],
    expected: bytes | None = None,
) -> OwnVersion:
    """Publish the version after ``latest``; the caller holds ``publication_lock``.

    Repaired records of the latest version stay repaired as long as the source has their subject.

    Args:
        overrides: records repaired now; the source must have their subjects (``record_unknown``).
        expected: the fingerprint the source's rows must have (``source_changed``), as
            ``fingerprint_key`` makes it.
    """
    earlier = overrides_of(context, latest.asset_id, latest.asset_version)
    rows = RowsToPublish(
        {**earlier, **overrides},
        frozenset(overrides),
        fingerprint_key(context, latest),
        expected,
    )
    version = latest.asset_version if was_refused(context, latest) else latest.asset_version + 1
    return _publish(context, publication, latest.asset_id, version, rows)


@contextmanager
def publication_lock(context: Context) -> Iterator[None]:
    """Hold off the node's other publications."""
    with _Publications.of(context).lock:
        yield


def fingerprint_key(context: Context, own: OwnVersion) -> bytes:
    """The secret under which rows of a source are compared between two readings: a salt of the
    version, which never leaves the node.
    """
    with context.database.read() as session:
        return store.first_salt(session, own.asset_id, own.asset_version) or b""


def _publish(
    context: Context,
    publication: Publication,
    asset_id: bytes,
    version: int,
    rows: RowsToPublish,
) -> OwnVersion:
    require_description(publication.description)
    source = source_of(context, publication.source)
    purposes = require_purposes(publication.purposes)
    schema = schema_to_publish(source.schema(), publication.types)
    masking = require_rules(publication.masking, schema.columns)
    started = OwnVersion(
        asset_id=asset_id,
        asset_version=version,
        source=publication.source,
        masking=masking,
        metadata=_metadata(publication, schema, masking, purposes),
    )
    context.database.write(lambda session: store.start_version(session, started))
    try:
        root, count = commit_rows(context, asset_id, version, source, schema, rows)
    except Exception:
        context.database.write(lambda session: store.delete_version(session, asset_id, version))
        raise
    record = _record(context, publication, started, schema, root, count)
    operation = context.database.write(lambda session: _register(context, session, started, record))
    return replace(started, record=record, operation=operation)


def _record(
    context: Context,
    publication: Publication,
    started: OwnVersion,
    schema: SourceSchema,
    root: bytes,
    count: int,
) -> AssetRecord:
    return AssetRecord(
        version=1,
        holder=context.member,
        processor=context.member,
        operator=context.member,
        data_item=publication.data_item,
        name=publication.name,
        asset_version=started.asset_version,
        grade=publication.description.grade,
        category=publication.description.category,
        schema_hash=hashlib.sha256(dumps(schema.to_json())).digest(),
        records_root=root,
        row_count=count,
        metadata_hash=started.metadata.hash,
        parents=publication.parents,
    )


def _register(context: Context, session: Session, started: OwnVersion, record: AssetRecord) -> str:
    """Store a version as published and queue its registration; the operation."""
    asset_id, version = started.asset_id, started.asset_version
    operation = next_attempt(session, f"asset/{asset_id.hex()}/{version}")
    store.finish_version(session, asset_id, version, record, operation)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=operation,
        contract="AssetRegistry",
        function="register" if version == 1 else "correct",
        arguments=[record],
    )
    return operation


def was_refused(context: Context, own: OwnVersion) -> bool:
    """Whether the chain refused to register a version: then it was never published, and the same
    one may be tried again.

    A refused call is not enough, since another one may have registered the version: a new try
    replaces the salts, with which the registered version is proved.
    """
    with context.database.read() as session:
        if not refused(session, own.operation):
            return False
    asset = context.view.proved([asset_record(own.asset_id)]).asset(own.asset_id)
    return asset.latest_version < own.asset_version


def _metadata(
    publication: Publication,
    schema: SourceSchema,
    masking: Mapping[str, str],
    purposes: ListedPurposes,
) -> AssetMetadata:
    description = publication.description
    document: dict[str, Any] = {
        "titleZh": description.title_zh,
        "titleEn": description.title_en,
        "description": description.description,
        "grade": description.grade,
        "category": description.category,
        "schema": schema.to_json(),
        "masking": dict(masking),
        "purposes": purposes.to_json(),
    }
    return AssetMetadata(document)
