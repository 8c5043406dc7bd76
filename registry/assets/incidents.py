"""Incidents: in which ways a node's sources depart from what it published, and how many calls were
refused for it.

An incident holds no value and no identifier. Its row number, in the order of publication, leads the
owner to the record; nobody else sees it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chain.context import Context
from registry.assets.rules import RecordDrift
from registry.assets.store import AssetIncident
from registry.pages import Page, PageRequest, page_of

_KEY = ("asset_id", "asset_version", "kind", "columns", "position")
log = logging.getLogger("qiaolian.sources")

Version = tuple[bytes, int]
"""Asset id and version."""


def record(session: Session, drifts: Sequence[tuple[Version, RecordDrift]], *, at: int) -> None:
    """Count refused calls; each kind, list of columns and record of a version is one incident."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    for (version, drift), calls in Counter(drifts).items():
        statement = insert(AssetIncident).values(
            asset_id=version[0],
            asset_version=version[1],
            kind=drift.kind.value,
            columns=json.dumps(drift.columns, ensure_ascii=False),
            position=-1 if drift.position is None else drift.position,
            calls=calls,
            first_at=at,
            last_at=at,
        )
        changed = {"calls": AssetIncident.calls + calls, "last_at": at}
        session.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=changed))


def report(drifts: Sequence[tuple[Version, RecordDrift]]) -> None:
    """One log line for each version and kind among the drifts of an exchange."""
    for ((asset_id, version), kind), calls in Counter(
        (version, drift.kind) for version, drift in drifts
    ).items():
        fields = {
            "asset": "0x" + asset_id.hex(),
            "version": version,
            "kind": kind.value,
            "calls": calls,
        }
        log.warning(
            "source: calls refused, the source departs from the published version", extra=fields
        )


def listing(
    context: Context, page: PageRequest, *, asset_id: bytes | None = None
) -> Page[dict[str, Any]]:
    """The incidents of this node's assets, the last one found first; ``cursor_malformed``."""
    query = sa.select(AssetIncident)
    if asset_id is not None:
        query = query.where(AssetIncident.asset_id == asset_id)
    with context.database.read() as session:
        return page_of(session, query, (AssetIncident.id,), page).map(_listed)


def total(context: Context) -> int:
    """How many calls were refused in all because a source departs from what was published."""
    with context.database.read() as session:
        return session.scalar(sa.select(sa.func.sum(AssetIncident.calls))) or 0


def _listed(row: AssetIncident) -> dict[str, Any]:
    return {
        "assetId": "0x" + row.asset_id.hex(),
        "assetVersion": row.asset_version,
        "kind": row.kind,
        "columns": json.loads(row.columns),
        "row": None if row.position < 0 else row.position + 1,
        "calls": row.calls,
        "firstAt": row.first_at,
        "lastAt": row.last_at,
    }
