"""Tables of assets: the catalogue as the chain shows it, and this node's own publications."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, Index, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, Database, PreparedStatement
from chain.statements.assets import AssetRecord
from registry.assets.model import (
    AssetMetadata,
    CatalogueEntry,
    CommittedRecord,
    OwnVersion,
    PublicationProgress,
    PublicationState,
)
from registry.assets.rules import PublishedRecord
from registry.pages import Page, PageRequest, page_of
from registry.sources import Record


class CatalogueAsset(Base):
    """An asset of any member, according to AssetRegistry's events."""

    __tablename__ = "asset_catalogue"
    asset_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    holder: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    asset_version: Mapped[int]
    grade: Mapped[int]
    category: Mapped[str]
    data_item: Mapped[str]
    row_count: Mapped[int]
    metadata_hash: Mapped[bytes] = mapped_column(LargeBinary)
    record: Mapped[dict[str, object]] = mapped_column(JSON)
    registered_at: Mapped[int] = mapped_column(index=True)
    changed_at: Mapped[int]
    cancelled_at: Mapped[int | None]
    held: Mapped[bool] = mapped_column(default=False)
    hold_changes: Mapped[int] = mapped_column(default=0)
    """Height of the latest hold or release; distinguishes one hold from the next."""


class OwnAsset(Base):
    """A version of an asset this node publishes: where its records come from and what may leave."""

    __tablename__ = "asset_own"
    asset_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    asset_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    source: Mapped[str]
    state: Mapped[str]
    """``publishing`` while rows are read, then ``published``."""
    masking: Mapped[dict[str, str]] = mapped_column(JSON)
    asset_metadata: Mapped[dict[str, object]] = mapped_column("metadata", JSON)
    record: Mapped[dict[str, object]] = mapped_column(JSON)
    operation: Mapped[str]


class RecordSalt(Base):
    """The salt of one record's commitment; destroying it is erasure. ``override`` is a repaired
    record that replaces the source's.
    """

    __tablename__ = "asset_record"
    __table_args__ = (Index("ix_asset_record_lookup", "asset_id", "asset_version", "subject"),)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    asset_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    subject: Mapped[str]
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    commitment: Mapped[bytes] = mapped_column(LargeBinary)
    override: Mapped[dict[str, object] | None] = mapped_column(JSON)


# --- Catalogue ------------------------------------------------------------------------------------


def catalogue_page(
    session: Session, page: PageRequest, *, text: str = "", holder: str = ""
) -> Page[CatalogueEntry]:
    """Assets by a part of the name or category, newest first; ``cursor_malformed``."""
    query = sa.select(CatalogueAsset)
    if text:
        query = query.where(
            CatalogueAsset.name.contains(text) | CatalogueAsset.category.contains(text)
        )
    if holder:
        query = query.where(CatalogueAsset.holder == holder)
    order = (CatalogueAsset.registered_at, CatalogueAsset.asset_id)
    return page_of(session, query, order, page).map(_entry)


def find_entry(session: Session, asset_id: bytes) -> CatalogueEntry | None:
    """The catalogue's entry of an asset, or None."""
    row = session.get(CatalogueAsset, asset_id)
    return None if row is None else _entry(row)


def names(session: Session, asset_ids: Collection[bytes]) -> dict[bytes, str]:
    """The names of those of these assets that are known, by id."""
    query = sa.select(CatalogueAsset.asset_id, CatalogueAsset.name)
    found = session.execute(query.where(CatalogueAsset.asset_id.in_(list(asset_ids))))
    return {asset_id: name for asset_id, name in found}


_NAME = PreparedStatement(
    sa.select(CatalogueAsset.name).where(CatalogueAsset.asset_id == sa.bindparam("asset_id"))
)
"""Asked for each row of a list."""


def name_of(database: Database, asset_id: bytes) -> str | None:
    """An asset's name, or None."""
    found = database.fetch(_NAME, {"asset_id": asset_id})
    return str(found[0][0]) if found else None


def held(session: Session, *, limit: int) -> list[CatalogueEntry]:
    """Assets on dispute hold, by id."""
    query = sa.select(CatalogueAsset).where(CatalogueAsset.held)
    rows = session.scalars(query.order_by(CatalogueAsset.asset_id).limit(limit))
    return [_entry(row) for row in rows]


def newest_versions(session: Session, asset_ids: Collection[bytes]) -> dict[bytes, int]:
    """The newest registered version of each of some assets, by the catalogue."""
    query = sa.select(CatalogueAsset.asset_id, CatalogueAsset.asset_version).where(
        CatalogueAsset.asset_id.in_(asset_ids)
    )
    return {asset_id: version for asset_id, version in session.execute(query)}


def save_record(session: Session, asset_id: bytes, record: AssetRecord, height: int) -> None:
    """Store an asset's latest registered record."""
    row = session.get(CatalogueAsset, asset_id) or CatalogueAsset(
        asset_id=asset_id, registered_at=height, held=False, hold_changes=0
    )
    row.holder, row.name, row.asset_version = record.holder, record.name, record.asset_version
    row.grade, row.category, row.data_item = record.grade, record.category, record.data_item
    row.row_count, row.metadata_hash = record.row_count, record.metadata_hash
    row.record, row.changed_at, row.cancelled_at = record.to_json(), height, None
    session.add(row)
    session.flush()


def set_cancelled(session: Session, asset_id: bytes, height: int) -> None:
    """Store the height of a cancellation."""
    query = sa.update(CatalogueAsset).where(CatalogueAsset.asset_id == asset_id)
    session.execute(query.values(cancelled_at=height))


def set_held(session: Session, asset_id: bytes, height: int, *, held: bool) -> None:
    """Store a dispute hold or its release."""
    query = sa.update(CatalogueAsset).where(CatalogueAsset.asset_id == asset_id)
    session.execute(query.values(held=held, hold_changes=height))


def _entry(row: CatalogueAsset) -> CatalogueEntry:
    return CatalogueEntry(
        asset_id=row.asset_id,
        record=AssetRecord.from_json(row.record),
        registered_at=row.registered_at,
        cancelled_at=row.cancelled_at,
        held=row.held,
    )


# --- Own versions ---------------------------------------------------------------------------------


def find_version(session: Session, asset_id: bytes, version: int) -> OwnVersion | None:
    """A version that this node has published or is publishing, or None."""
    row = session.get(OwnAsset, (asset_id, version))
    return None if row is None else _version(row)


def latest_published(session: Session, asset_id: bytes) -> OwnVersion | None:
    """The newest published version of an asset, or None."""
    query = (
        sa.select(OwnAsset)
        .where(OwnAsset.asset_id == asset_id, OwnAsset.state == PublicationState.PUBLISHED)
        .order_by(OwnAsset.asset_version.desc())
        .limit(1)
    )
    row = session.scalars(query).first()
    return None if row is None else _version(row)


def versions_page(
    session: Session, page: PageRequest, *, asset_id: bytes | None = None
) -> Page[PublicationProgress]:
    """Versions of all assets or of one, by asset and number, with the rows committed so far;
    ``cursor_malformed``.
    """
    query, order = sa.select(OwnAsset), (OwnAsset.asset_id, OwnAsset.asset_version)
    if asset_id is not None:
        query = query.where(OwnAsset.asset_id == asset_id)
    found = page_of(session, query, order, page, ascending=True)
    return found.map(lambda row: _progress(session, _version(row)))


def sources_in_use(session: Session) -> set[str]:
    """The sources of own versions whose asset is not cancelled."""
    query = (
        sa.select(OwnAsset.source)
        .outerjoin(CatalogueAsset, CatalogueAsset.asset_id == OwnAsset.asset_id)
        .where(CatalogueAsset.cancelled_at.is_(None))
    )
    return set(session.scalars(query))


def own_assets(session: Session) -> list[tuple[str, bytes]]:
    """Name and id of each asset with a published version, by name."""
    query = sa.select(OwnAsset.asset_id, OwnAsset.record).where(OwnAsset.state == "published")
    names = {asset_id: str(record["name"]) for asset_id, record in session.execute(query)}
    return sorted((name, asset_id) for asset_id, name in names.items())


def start_version(session: Session, version: OwnVersion) -> None:
    """Store a version whose rows are about to be read, in place of an abandoned attempt."""
    _delete_records(session, version.asset_id, version.asset_version)
    session.merge(
        OwnAsset(
            asset_id=version.asset_id,
            asset_version=version.asset_version,
            source=version.source,
            state=PublicationState.PUBLISHING,
            masking=dict(version.masking),
            asset_metadata=dict(version.metadata.document),
            record={},
            operation="",
        )
    )


def finish_version(
    session: Session, asset_id: bytes, version: int, record: AssetRecord, operation: str
) -> None:
    """Store that a version is published."""
    row = session.get_one(OwnAsset, (asset_id, version))
    row.state, row.record, row.operation = PublicationState.PUBLISHED, record.to_json(), operation


def delete_version(session: Session, asset_id: bytes, version: int) -> None:
    """Forget a publication that failed."""
    _delete_records(session, asset_id, version)
    session.execute(
        sa.delete(OwnAsset).where(OwnAsset.asset_id == asset_id, OwnAsset.asset_version == version)
    )


def _version(row: OwnAsset) -> OwnVersion:
    published = row.state == PublicationState.PUBLISHED
    return OwnVersion(
        asset_id=row.asset_id,
        asset_version=row.asset_version,
        source=row.source,
        masking=row.masking,
        metadata=AssetMetadata(row.asset_metadata),
        record=AssetRecord.from_json(row.record) if published else None,
        operation=row.operation,
    )


def _progress(session: Session, version: OwnVersion) -> PublicationProgress:
    if version.record is not None:
        return PublicationProgress(version, version.record.row_count)
    query = sa.select(sa.func.max(RecordSalt.position)).where(
        *_of_version(version.asset_id, version.asset_version)
    )
    last = session.scalar(query)
    return PublicationProgress(version, 0 if last is None else last + 1)


# --- Records --------------------------------------------------------------------------------------

MAX_SUBJECTS = 256
"""Subjects of one query."""


def add_records(
    session: Session, asset_id: bytes, version: int, records: Sequence[CommittedRecord]
) -> None:
    """Store records of a version that is being published."""
    rows = [
        {
            "asset_id": asset_id,
            "asset_version": version,
            "position": record.position,
            "subject": record.subject,
            "salt": record.salt,
            "commitment": record.commitment,
            "override": None if record.override is None else dict(record.override),
        }
        for record in records
    ]
    session.execute(sa.insert(RecordSalt), rows)


def repeated_subject(session: Session, asset_id: bytes, version: int) -> tuple[int, int] | None:
    """The first and last position of a subject that a version has twice, or None."""
    query = (
        sa.select(sa.func.min(RecordSalt.position), sa.func.max(RecordSalt.position))
        .where(*_of_version(asset_id, version))
        .group_by(RecordSalt.subject)
        .having(sa.func.count() > 1)
        .limit(1)
    )
    found = session.execute(query).first()
    return None if found is None else (found[0], found[1])


def first_salt(session: Session, asset_id: bytes, version: int) -> bytes | None:
    """The salt of a version's first record; None of an empty version."""
    query = sa.select(RecordSalt.salt).where(
        *_of_version(asset_id, version), RecordSalt.position == 0
    )
    return session.scalar(query)


def overrides(session: Session, asset_id: bytes, version: int) -> dict[str, Record]:
    """The repaired records of a version, by subject."""
    query = sa.select(RecordSalt).where(
        *_of_version(asset_id, version), RecordSalt.override.is_not(sa.null())
    )
    return {row.subject: row.override for row in session.scalars(query) if row.override}


def find_commitment(
    session: Session, asset_id: bytes, version: int, subject: str
) -> tuple[bytes, bytes] | None:
    """The commitment of a subject's record and its salt, or None."""
    query = sa.select(RecordSalt.commitment, RecordSalt.salt).where(
        *_of_version(asset_id, version), RecordSalt.subject == subject
    )
    found = session.execute(query).first()
    return None if found is None else (found[0], found[1])


def published_records(
    database: Database, asset_id: bytes, version: int, subjects: Sequence[str]
) -> dict[str, PublishedRecord]:
    """The published records of up to ``MAX_SUBJECTS`` different subjects; those without one are
    left out.
    """
    size = 1 << (len(subjects) - 1).bit_length()
    values: dict[str, Any] = {
        f"s{index}": subjects[min(index, len(subjects) - 1)] for index in range(size)
    }
    rows = database.fetch(
        _published_query(size), {"asset_id": asset_id, "asset_version": version, **values}
    )
    return {
        subject: PublishedRecord(position, bytes(salt), bytes(commitment))
        for subject, position, salt, commitment in rows
    }


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


def _of_version(asset_id: bytes, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (RecordSalt.asset_id == asset_id, RecordSalt.asset_version == version)


def _delete_records(session: Session, asset_id: bytes, version: int) -> None:
    session.execute(sa.delete(RecordSalt).where(*_of_version(asset_id, version)))
