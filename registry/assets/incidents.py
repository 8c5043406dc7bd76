"""Incidents: in which ways a node's sources depart from what it published, and how many calls were
refused for it.

An incident holds no value and no identifier. Its row number, in the order of publication, leads the
owner to the record; nobody else sees it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from registry.assets import incident_store
from registry.assets.model import Incident
from registry.assets.rules import RecordDrift
from registry.pages import Page, PageRequest

log = logging.getLogger("qiaolian.sources")

Version = tuple[bytes, int]
"""Asset id and version."""


def record(session: Session, drifts: Sequence[tuple[Version, RecordDrift]], *, at: int) -> None:
    """Count refused calls; each kind, list of columns and record of a version is one incident."""
    incident_store.count_incidents(session, Counter(drifts), at=at)


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
) -> Page[Incident]:
    """The incidents of this node's assets, the last one found first; ``cursor_malformed``."""
    with context.database.read() as session:
        return incident_store.incidents_page(session, page, asset_id=asset_id)


def total(context: Context) -> int:
    """The number of calls refused because a source departs from what was published."""
    with context.database.read() as session:
        return incident_store.refused_calls(session)
