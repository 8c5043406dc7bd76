"""Publishing assets and finding them.

Publishing streams the source once: each record gets a fresh salt and a commitment, the commitments one RFC 9162 root, and the chain only the
root. A publication is whole or not there: rows are stored in parts under the state ``publishing``, which a repetition starts over, and the
registration is queued in the same transaction that makes it ``published``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain import merkle
from chain.canonical import dumps
from chain.commitment import commit, new_salt
from chain.context import Context
from chain.errors import Conflict, NotFound
from chain.ledger import Event
from chain.outbox import attempt, enqueue, refused
from chain.statements import AssetRecord
from registry.assets.rules import RECORD_DOMAIN, asset_id_of, require_description
from registry.assets.store import CatalogueAsset, OwnAsset, RecordSalt
from registry.masking import require_rules
from registry.sources import Record, Schema, Source

ROWS_PER_WRITE = 2_000
_PUBLISHING = threading.Lock()
"""One publication at a time in a process: two of one asset would take each other's rows for an abandoned try's."""
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


def publish(context: Context, wanted: Publication) -> dict[str, Any]:
    """Publish version 1 of an asset from one of the node's sources; the asset as JSON.

    Raises:
        BadInput: for masking, description or source problems; Conflict: ``asset_known``, ``publication_running``.
    """
    source = _source(context, wanted.source)
    asset_id = asset_id_of(context.member, wanted.name)
    with _alone(asset_id), _PUBLISHING:
        existing = own_version(context, asset_id, 1)
        if existing is not None and existing.state == "published" and not _refused(context, existing):
            raise Conflict("asset_known", "An asset of this name is published.", hint="Publish a correction instead.")
        return _publish(context, wanted, source, asset_id, version=1, function="register", overrides={})


@contextmanager
def _alone(asset_id: bytes) -> Iterator[None]:
    """Refuse a second try while the first still reads: whoever repeats a slow request must not queue up behind it."""
    if asset_id in _RUNNING:
        raise Conflict("publication_running", "This asset is being published.", hint="Look how far it is: qiaolian asset own.")
    _RUNNING.add(asset_id)
    try:
        yield
    finally:
        _RUNNING.discard(asset_id)


def own_versions(context: Context) -> list[dict[str, Any]]:
    """What this node has published or is publishing, by title and version, with the rows committed so far."""
    with context.database.read() as session:
        rows = session.scalars(sa.select(OwnAsset).order_by(OwnAsset.asset_id, OwnAsset.asset_version)).all()
        return [
            {
                "assetId": "0x" + row.asset_id.hex(),
                "assetVersion": row.asset_version,
                "titleZh": row.asset_metadata["titleZh"],
                "titleEn": row.asset_metadata["titleEn"],
                "source": row.source,
                "state": row.state,
                "rows": _rows_so_far(session, row),
                "operation": row.operation or None,
            }
            for row in rows
        ]


def _rows_so_far(session: Session, row: OwnAsset) -> int:
    if row.state == "published":
        return AssetRecord.from_json(row.record).row_count
    last = session.scalar(
        sa.select(sa.func.max(RecordSalt.position)).where(RecordSalt.asset_id == row.asset_id, RecordSalt.asset_version == row.asset_version)
    )
    return 0 if last is None else last + 1


def correct(context: Context, asset_id: bytes, *, overrides: Mapping[str, Record]) -> dict[str, Any]:
    """Publish the next version, with some subjects' records repaired. Records of unknown subjects are refused."""
    with _PUBLISHING:
        return _correct(context, asset_id, overrides)


def _correct(context: Context, asset_id: bytes, overrides: Mapping[str, Record]) -> dict[str, Any]:
    latest = latest_own(context, asset_id)
    masking, metadata = dict(latest.masking), dict(latest.asset_metadata)
    record = AssetRecord.from_json(latest.record)
    wanted = Publication(
        name=record.name,
        source=latest.source,
        description={key: metadata[key] for key in ("titleZh", "titleEn", "description", "grade", "category")},
        masking=masking,
        data_item=record.data_item,
        parents=record.parents,
    )
    merged = {**_overrides(context, asset_id, latest.asset_version), **overrides}
    return _publish(
        context,
        wanted,
        _source(context, latest.source),
        asset_id,
        version=latest.asset_version if _refused(context, latest) else latest.asset_version + 1,
        function="correct",
        overrides=merged,
    )


def override_of(context: Context, asset_id: bytes, version: int, subject: str) -> Record | None:
    """The repaired record that stands in for the source's in a version, if there is one."""
    return _overrides(context, asset_id, version).get(subject)


def _publish(
    context: Context,
    wanted: Publication,
    source: Source,
    asset_id: bytes,
    *,
    version: int,
    function: str,
    overrides: Mapping[str, Record],
) -> dict[str, Any]:
    require_description(dict(wanted.description))
    schema = source.schema()
    masking = require_rules(wanted.masking, schema.names)
    metadata = _metadata(wanted, schema, masking)
    started = OwnAsset(
        asset_id=asset_id,
        asset_version=version,
        source=wanted.source,
        state="publishing",
        masking=masking,
        asset_metadata=metadata,
        record={},
        operation="",
    )
    context.database.write(lambda session: _start(session, started))
    root, count = _commit_rows(context, asset_id, version, schema, source.rows(), overrides)
    record = AssetRecord(
        version=1,
        holder=context.member,
        processor=context.member,
        operator=context.member,
        data_item=wanted.data_item,
        name=wanted.name,
        asset_version=version,
        grade=int(wanted.description["grade"]),
        category=str(wanted.description.get("category", "other")),
        schema_hash=hashlib.sha256(dumps(schema.to_json())).digest(),
        records_root=root,
        row_count=count,
        metadata_hash=hashlib.sha256(dumps(metadata)).digest(),
        parents=wanted.parents,
    )

    def finish(session: Session) -> str:
        row = session.get_one(OwnAsset, (asset_id, version))
        operation = attempt(session, f"asset/{asset_id.hex()}/{version}")
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


def _refused(context: Context, own: OwnAsset) -> bool:
    """Whether the chain refused to register a version: then it was never published, and the same one may be tried again."""
    with context.database.read() as session:
        return refused(session, own.operation)


def _commit_rows(
    context: Context,
    asset_id: bytes,
    version: int,
    schema: Schema,
    rows: Iterable[Record],
    overrides: Mapping[str, Record],
) -> tuple[bytes, int]:
    frontier = merkle.Frontier()
    waiting: list[dict[str, Any]] = []
    seen = set(overrides)

    def store() -> None:
        batch = list(waiting)
        waiting.clear()
        if batch:
            context.database.write(lambda session: session.execute(sa.insert(RecordSalt), batch))

    for position, row in enumerate(rows):
        subject = str(row[schema.key])
        override = overrides.get(subject)
        seen.discard(subject)
        content, salt = dict(override or row), new_salt()
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
    if seen:
        raise NotFound("record_unknown", "A record to be repaired is not in the source.")
    return frontier.root(), frontier.size


def _start(session: Session, row: OwnAsset) -> None:
    session.execute(sa.delete(RecordSalt).where(RecordSalt.asset_id == row.asset_id, RecordSalt.asset_version == row.asset_version))
    session.merge(row)


def _metadata(wanted: Publication, schema: Schema, masking: Mapping[str, str]) -> dict[str, Any]:
    return {
        "titleZh": wanted.description["titleZh"],
        "titleEn": wanted.description["titleEn"],
        "description": wanted.description["description"],
        "grade": wanted.description["grade"],
        "category": wanted.description.get("category", "other"),
        "schema": schema.to_json(),
        "masking": dict(masking),
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


# --- What the gateway reads -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """What the gateway needs to serve a version of an asset."""

    asset_id: bytes
    asset_version: int
    source: Source
    masking: Mapping[str, str]
    overrides: Mapping[str, Record]

    def lookup(self, subject: str) -> Record | None:
        """The subject's record as of this version."""
        return self.overrides.get(subject) or self.source.lookup(subject)


def served(context: Context, asset_id: bytes, version: int) -> Served:
    """The published version; ``asset_not_published`` if there is none."""
    own = own_version(context, asset_id, version)
    if own is None or own.state != "published":
        raise NotFound("asset_not_published", "This node does not publish that version of the asset.")
    return Served(asset_id, version, _source(context, own.source), own.masking, _overrides(context, asset_id, version))


def own_version(context: Context, asset_id: bytes, version: int) -> OwnAsset | None:
    """This node's publication of a version."""
    with context.database.read() as session:
        return session.get(OwnAsset, (asset_id, version))


def latest_own(context: Context, asset_id: bytes) -> OwnAsset:
    """This node's newest published version of an asset."""
    with context.database.read() as session:
        row = session.scalars(
            sa.select(OwnAsset).where(OwnAsset.asset_id == asset_id, OwnAsset.state == "published").order_by(OwnAsset.asset_version.desc()).limit(1)
        ).first()
    if row is None:
        raise NotFound("asset_not_published", "This node publishes no such asset.")
    return row


def record_commitment(context: Context, asset_id: bytes, version: int, subject: str) -> tuple[bytes, bytes]:
    """The commitment of a subject's record and its salt; ``record_unknown`` if there is none."""
    with context.database.read() as session:
        row = session.scalars(
            sa.select(RecordSalt).where(RecordSalt.asset_id == asset_id, RecordSalt.asset_version == version, RecordSalt.subject == subject)
        ).first()
    if row is None:
        raise NotFound("record_unknown", "There is no record of this subject.")
    return row.commitment, row.salt


def _source(context: Context, name: str) -> Source:
    sources: Mapping[str, Source] = context.ports["sources"]
    if name not in sources:
        raise NotFound("source_missing", f"The node has no source named {name}.", hint="Add it to the configuration.")
    return sources[name]


# --- Catalogue ------------------------------------------------------------------------------------------------------------------


def search(context: Context, *, text: str = "", holder: str = "", limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
    """Assets of all members by a part of the name or category; newest first."""
    query = sa.select(CatalogueAsset).order_by(CatalogueAsset.registered_at.desc(), CatalogueAsset.name)
    if text:
        query = query.where(CatalogueAsset.name.contains(text) | CatalogueAsset.category.contains(text))
    if holder:
        query = query.where(CatalogueAsset.holder == holder)
    with context.database.read() as session:
        return [_listed(row) for row in session.scalars(query.limit(limit).offset(offset))]


async def describe(context: Context, asset_id: bytes) -> dict[str, Any]:
    """One asset with its metadata, fetched from its holder and checked against the hash on the chain."""
    row = catalogue_row(context, asset_id)
    if row.holder == context.member:
        metadata: Any = latest_own(context, asset_id).asset_metadata
    else:
        answer = await context.peers.get(row.holder, f"/v1/peer/assets/0x{asset_id.hex()}")
        metadata = answer["metadata"]
    if hashlib.sha256(dumps(metadata)).digest() != row.metadata_hash:
        raise Conflict("metadata_differs", "The holder's metadata is not what it registered on the chain.")
    return {**_listed(row), "metadata": metadata}


def catalogue_row(context: Context, asset_id: bytes) -> CatalogueAsset:
    """The catalogue's row; ``asset_unknown`` if there is none."""
    with context.database.read() as session:
        row = session.get(CatalogueAsset, asset_id)
    if row is None:
        raise NotFound("asset_unknown", "No such asset is registered.", hint="See GET /v1/assets.")
    return row


def cancel(context: Context, asset_id: bytes, reason: bytes) -> str:
    """Take an own asset off the network; the outbox operation."""
    latest_own(context, asset_id)
    return _send(context, f"asset-cancel/{asset_id.hex()}", "cancel", [asset_id, reason])


def set_hold(context: Context, asset_id: bytes, *, reason: bytes | None) -> str:
    """As a supervisor, put an asset on dispute hold for a reason (a code), or release it (None); the outbox operation."""
    row = catalogue_row(context, asset_id)
    function, arguments = ("release", [asset_id]) if reason is None else ("hold", [asset_id, reason])
    return _send(context, f"asset-{function}/{asset_id.hex()}/{row.hold_changes}", function, arguments)


def _send(context: Context, operation: str, function: str, arguments: list[bytes]) -> str:
    def change(session: Session) -> str:
        sent = attempt(session, operation)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="AssetRegistry",
            function=function,
            arguments=arguments,
        )
        return sent

    return context.database.write(change)


def apply(session: Session, event: Event) -> None:
    """Take one of AssetRegistry's events into the catalogue."""
    asset_id: bytes = event.arguments["assetId"]
    if event.name in ("AssetRegistered", "AssetCorrected"):
        record: AssetRecord = event.arguments["record"]
        row = session.get(CatalogueAsset, asset_id) or CatalogueAsset(asset_id=asset_id, registered_at=event.height)
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


def _listed(row: CatalogueAsset) -> dict[str, Any]:
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
