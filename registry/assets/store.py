"""Tables of assets: the catalogue as the chain shows it, and this node's own publications."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


class CatalogueAsset(Base):
    """An asset of any member, as AssetRegistry's events tell it."""

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
    """Height of the latest hold or release; tells one hold from the next."""


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
    record that stands in for the source's.
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


class AssetIncident(Base):
    """A way in which a source departs from a published version, and how often calls were refused
    for it. Holds no value and no identifier.
    """

    __tablename__ = "asset_incident"
    __table_args__ = (UniqueConstraint("asset_id", "asset_version", "kind", "columns", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary)
    asset_version: Mapped[int]
    kind: Mapped[str] = mapped_column(String(31))
    columns: Mapped[str]
    """The columns that differ as a JSON list; empty where the commitment of the whole record cannot
    tell.
    """
    position: Mapped[int]
    """The record's place in the published version, from 0; -1 where it has none."""
    calls: Mapped[int]
    first_at: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[int] = mapped_column(BigInteger)
