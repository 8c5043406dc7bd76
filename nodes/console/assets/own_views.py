"""View models of a holder's pages of its asset: versions, source and incidents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from nodes.console.errors import error_view
from nodes.console.i18n import N_
from registry.assets import incidents, publication, serving
from registry.assets.changes import SourceChanges
from registry.assets.model import Incident, OwnVersion, PublicationState
from registry.assets.rules import DriftKind
from registry.pages import PageRequest


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of an own asset; ``state`` is a marked label."""

    version: int
    state: str
    rows: int
    source: str
    masking: list[tuple[str, str]]
    operation: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    """A way in which the source departs from a version; ``kind`` is a marked label."""

    version: int
    kind: str
    columns: list[str]
    row: int | None
    calls: int
    last_at: int


@dataclass(frozen=True, slots=True)
class OwnView:
    """What only the holder sees of an asset."""

    source: str
    fault: str
    """Why the source cannot be read now; empty if it can."""
    following: str
    versions: list[VersionView]
    incidents: list[IncidentView]


_VERSION_STATES: Mapping[PublicationState, str] = {
    PublicationState.PUBLISHING: N_("being registered"),
    PublicationState.PUBLISHED: N_("registered"),
}
_KINDS: Mapping[str, str] = {
    DriftKind.RECORD_DIFFERS: N_("a value differs"),
    DriftKind.RECORD_MISSING: N_("a record is missing"),
    DriftKind.RECORD_UNPUBLISHED: N_("a record was not registered"),
    DriftKind.COLUMNS_DIFFER: N_("columns differ"),
    DriftKind.TYPE_DIFFERS: N_("a value is of another type"),
    DriftKind.MASKING_FAILED: N_("a value cannot be masked"),
    DriftKind.SOURCE_BROKEN: N_("the source cannot be read"),
}
LISTED = PageRequest(50)


def own_view(context: Context, asset_id: bytes, language: str) -> OwnView | None:
    """What the holder sees of an asset; None where this node did not register it."""
    versions = [
        progress.version
        for progress in publication.own_versions(context, LISTED, asset_id=asset_id).rows
    ]
    if not versions:
        return None
    fault = serving.source_fault(context, versions[-1].source)
    shown = None if fault is None else error_view(fault, language)
    found = incidents.listing(context, LISTED, asset_id=asset_id)
    return OwnView(
        source=versions[-1].source,
        fault="" if shown is None else shown.happened,
        following="" if shown is None else shown.next_step,
        versions=[_version(version) for version in reversed(versions)],
        incidents=[_incident(incident) for incident in found.rows],
    )


@dataclass(frozen=True, slots=True)
class ChangesView:
    """How the source departs from the latest version."""

    next_version: int
    added: int
    changed: int
    removed: int
    unchanged: int
    repaired: int
    lines: list[int]
    """Lines of the first records that are new or changed."""
    columns_added: list[str]
    columns_removed: list[str]
    types_changed: list[tuple[str, str, str]]
    fingerprint: str

    @property
    def differs(self) -> bool:
        """Whether there is something to register."""
        return bool(
            self.added
            or self.changed
            or self.removed
            or self.columns_added
            or self.columns_removed
            or self.types_changed
        )


def changes_view(found: SourceChanges) -> ChangesView:
    """The changes as their page shows them."""
    return ChangesView(
        next_version=found.next_version,
        added=found.added.count,
        changed=found.changed.count,
        removed=found.removed,
        unchanged=found.unchanged,
        repaired=found.repaired,
        lines=sorted({*found.added.lines, *found.changed.lines}),
        columns_added=list(found.columns_added),
        columns_removed=list(found.columns_removed),
        types_changed=[(name, old, new) for name, (old, new) in found.types_changed.items()],
        fingerprint="0x" + found.fingerprint.hex(),
    )


def _version(own: OwnVersion) -> VersionView:
    return VersionView(
        version=own.asset_version,
        state=_VERSION_STATES[own.state],
        rows=0 if own.record is None else own.record.row_count,
        source=own.source,
        masking=list(own.masking.items()),
        operation=own.operation,
    )


def _incident(incident: Incident) -> IncidentView:
    position = incident.position
    return IncidentView(
        version=incident.asset_version,
        kind=_KINDS.get(incident.kind, incident.kind),
        columns=list(incident.columns),
        row=None if position is None else position + 1,
        calls=incident.calls,
        last_at=incident.last_at,
    )
