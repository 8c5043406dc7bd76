"""Table of incidents: in which ways sources depart from what was published."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy import BigInteger, LargeBinary, String, UniqueConstraint
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from registry.assets.model import Incident
from registry.assets.rules import RecordDrift
from registry.pages import Page, PageRequest, page_of

_INCIDENT_KEY = ("asset_id", "asset_version", "kind", "columns", "position")


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
    """The columns that differ as a JSON list; empty where only the commitment of the whole
    record is known.
    """
    position: Mapped[int]
    """The record's place in the published version, from 0; -1 where it has none."""
    calls: Mapped[int]
    first_at: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[int] = mapped_column(BigInteger)


def count_incidents(
    session: Session, calls: Mapping[tuple[tuple[bytes, int], RecordDrift], int], *, at: int
) -> None:
    """Add refused calls, by asset id and version and by drift, to their incidents."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    for ((asset_id, version), drift), count in calls.items():
        statement = insert(AssetIncident).values(
            asset_id=asset_id,
            asset_version=version,
            kind=drift.kind.value,
            columns=json.dumps(drift.columns, ensure_ascii=False),
            position=-1 if drift.position is None else drift.position,
            calls=count,
            first_at=at,
            last_at=at,
        )
        changed = {"calls": AssetIncident.calls + count, "last_at": at}
        session.execute(statement.on_conflict_do_update(index_elements=_INCIDENT_KEY, set_=changed))


def incidents_page(
    session: Session, page: PageRequest, *, asset_id: bytes | None = None
) -> Page[Incident]:
    """Incidents of all assets or of one, the last one found first; ``cursor_malformed``."""
    query = sa.select(AssetIncident)
    if asset_id is not None:
        query = query.where(AssetIncident.asset_id == asset_id)
    return page_of(session, query, (AssetIncident.id,), page).map(_incident)


def refused_calls(session: Session) -> int:
    """The number of calls refused because a source departs from what was published."""
    return session.scalar(sa.select(sa.func.sum(AssetIncident.calls))) or 0


def _incident(row: AssetIncident) -> Incident:
    return Incident(
        asset_id=row.asset_id,
        asset_version=row.asset_version,
        kind=row.kind,
        columns=tuple(json.loads(row.columns)),
        position=None if row.position < 0 else row.position,
        calls=row.calls,
        first_at=row.first_at,
        last_at=row.last_at,
    )
