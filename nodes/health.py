"""``/healthz`` (the process runs), ``/readyz`` (what fails), ``/metrics`` and ``/v1/node`` (who
this is).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, computed_field
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from chain.core.zone import DAY_SECONDS
from chain.ethereum.proved_records import key_record
from chain.ethereum.records import KeyRecord
from chain.outbox import Backlog, backlog
from chain.statements.members import KeyPurpose
from exchange.metering.service import unknown_subjects
from exchange.settlement.claims import ClaimMonitor
from nodes.clocks import LIMIT_SECONDS, ClockStatus, judge
from nodes.config import NodeLimits
from nodes.findings import (
    Cosigning,
    HealthFinding,
    State,
    of_certificate,
    of_clock,
    of_cosignatures,
    of_keys,
    of_peer_clocks,
    of_peers,
    of_worker,
)
from nodes.metrics import Metrics
from nodes.problems import CONTENT_TYPE, problem, translate_error
from nodes.restore_guard import RestoreGuard
from nodes.sources.monitor import SourceMonitor, SourceStatus
from nodes.store import NodeHeartbeat
from nodes.version import VERSION
from nodes.workers.peers import PeerMonitor
from nodes.workers.status import WorkerMonitor
from registry.access import Principal, get_context, get_principal, require_local, require_member
from registry.assets import incidents
from registry.evidence.checkpoints import cosigned
from registry.evidence.log import log_size
from registry.evidence.supervisors import supervised
from registry.openapi import LARGE_BODY

MAX_BLOCKS_BEHIND = 30
CHECK_SECONDS = 2.0
"""How long a check may take before what it looks at counts as failing."""
_HEARTBEAT_SECONDS = 2.0
SOURCE_PREFIX = "source "
"""How a source is named among the parts of a node."""
WORKER_PREFIX = "worker "


@dataclass(frozen=True)
class Check:
    """One health check: whether its failure makes the node not ready, and its own codes."""

    required: bool
    codes: tuple[str, ...]


CHECKS: Mapping[str, Check] = {
    "database": Check(True, ("database_unavailable", "check_timed_out")),
    "chain": Check(
        True, ("chain_view_stale", "chain_unreachable", "chain_wrong_id", "chain_header_refused")
    ),
    "projection": Check(True, ("projection_behind",)),
    "restore guard": Check(True, ("restore_unchecked", "log_behind_chain", "log_behind_witness")),
    "outbox": Check(True, ("outbox_lagging",)),
    "disk": Check(True, ("disk_full",)),
    "claims": Check(True, ("claims_at_risk", "claims_unchecked", "claims_outbox_stopped")),
    "keys": Check(True, ("key_ended", "key_not_in_directory", "not_admitted")),
    "certificate": Check(True, ("certificate_expired", "certificate_ends_soon")),
    "clock": Check(True, ("clock_off",)),
    "peer clocks": Check(False, ("clock_off", "peer_clock_off", "clocks_differ")),
    "peers": Check(
        False,
        (
            "peer_unreachable",
            "peer_timeout",
            "peer_wrong_certificate",
            "peer_certificate_expired",
            "peer_certificate_ends_soon",
        ),
    ),
    "cosignatures": Check(False, ("cosignature_late",)),
    "source NAME": Check(False, ("source_unreachable", "source_missing", "source_driver_missing")),
    "worker NAME": Check(False, ("worker_stuck", "witness_incomplete", "certificate_not_written")),
}
"""The parts of a node by name, as docs/operations.md lists them."""


class Dependency(BaseModel):
    """One part of the node, or one thing it depends on."""

    name: str
    state: State
    required: bool
    """Whether the node is not ready while this fails."""
    code: str = ""
    detail: str = ""
    hint: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def up(self) -> bool:
        """Whether it does not fail; a warning leaves it up."""
        return self.state != State.FAILING


class Readiness(BaseModel):
    """Whether the node can do its work, and what is wrong.

    A source or a worker that fails leaves the node ready: assets of the source are refused with its
    code, everything else is served. ``state`` is the worst of all parts.
    """

    ready: bool
    state: State
    dependencies: list[Dependency]


class NotReady(Readiness):
    """The same as a problem (RFC 9457), with status 503."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""


def readiness_of(parts: Sequence[Dependency]) -> Readiness:
    """Return the readiness that follows from all parts."""
    worst = next(
        (
            state
            for state in (State.FAILING, State.WARNING)
            if any(part.state == state for part in parts)
        ),
        State.OK,
    )
    return Readiness(
        ready=all(part.up for part in parts if part.required),
        state=worst,
        dependencies=list(parts),
    )


def dependency(name: str, finding: HealthFinding, *, required: bool) -> Dependency:
    """A finding as a part of the node."""
    return Dependency(
        name=name,
        state=finding.state,
        required=required,
        code=finding.code,
        detail=finding.detail,
        hint=finding.hint,
    )


def source_dependency(status: SourceStatus) -> Dependency:
    """A source as a part of the node."""
    return Dependency(
        name=f"{SOURCE_PREFIX}{status.name}",
        state=State.OK if status.up else State.FAILING,
        required=False,
        code=status.code,
        detail=status.detail,
        hint=status.hint,
    )


@dataclass(frozen=True)
class MonitoredParts:
    """The parts of the node that are checked, beside the context."""

    restore_guard: RestoreGuard
    sources: SourceMonitor
    peers: PeerMonitor
    workers: WorkerMonitor
    certificate_ends: Callable[[], float]
    """When the server's certificate ends, in Unix seconds."""
    keys: Callable[[], Mapping[KeyPurpose, bytes]]
    """Fingerprints of the keys that the node holds."""


class NodeIdentity(BaseModel):
    """Who this node is, for anyone."""

    member: str
    name: str
    roles: list[str]
    version: str
    chain_id: int
    genesis_hash: str


class Health:
    """Checks the node's dependencies."""

    def __init__(
        self,
        *,
        context: Context,
        watched: MonitoredParts,
        data: Path,
        limits: NodeLimits,
        projects: bool = True,
    ) -> None:
        """``projects``: whether this process follows the contracts' events."""
        self._context = context
        self._projects = projects
        self._watched = watched
        self._data = data
        self._limits = limits
        self._written_at = -_HEARTBEAT_SECONDS
        self._checks: dict[str, Callable[[], HealthFinding | None]] = {
            "database": self._database,
            "chain": self._chain,
            "projection": self._projection,
            "restore guard": watched.restore_guard.require,
            "outbox": self._outbox,
            "disk": self._disk,
            "claims": self._claims,
            "keys": self._keys,
            "certificate": self._certificate,
            "clock": self._clock,
            "peer clocks": self._peer_clocks,
            "peers": self._peers,
            "cosignatures": self._cosignatures,
        }
        self._threads = ThreadPoolExecutor(len(self._checks), "health")
        self._running: dict[str, asyncio.Future[HealthFinding | None]] = {}

    async def readiness(self) -> Readiness:
        """Check every part now, concurrently; a check that does not finish in time fails."""
        found = await asyncio.gather(*(self._dependency(name) for name in self._checks))
        sources = [source_dependency(status) for status in self._watched.sources.statuses()]
        return readiness_of([*found, *sources, *self._workers()])

    def close(self) -> None:
        """Start no further check."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _dependency(self, name: str) -> Dependency:
        return dependency(name, await self._finding(name), required=CHECKS[name].required)

    async def _finding(self, name: str) -> HealthFinding:
        """Run a check; one that still runs is awaited again and never started twice."""
        running = self._running.get(name)
        if running is None or running.done():
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._checks[name])
            running.add_done_callback(_retrieve)
            self._running[name] = running
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await asyncio.shield(running) or HealthFinding()
        except TimeoutError:
            late = Unavailable(
                "check_timed_out",
                f"The check did not answer within {CHECK_SECONDS:g} s.",
                hint="Look at what it depends on: the database, its disk, or the chain node.",
            )
            # Keys are proved by the chain: where it does not answer, `chain` fails.
            fails = CHECKS[name].required and name != "keys"
            return HealthFinding.failing(late) if fails else HealthFinding.warning(late)
        except Exception as error:  # whatever it is, it is what is wrong
            return HealthFinding.failing(translate_error(error))

    def _workers(self) -> list[Dependency]:
        now = self._context.clock()
        return [
            dependency(f"{WORKER_PREFIX}{status.name}", of_worker(status, now), required=False)
            for status in self._watched.workers.statuses()
        ]

    def certificate_days(self) -> float | None:
        """Days until this node's certificate ends."""
        return (self._watched.certificate_ends() - self._context.clock()) / DAY_SECONDS

    def peer_certificate_days(self) -> float | None:
        """Days until the first of the peers' certificates ends; None before any was seen."""
        ends = self._watched.peers.certificate_ends().values()
        return (min(ends) - self._context.clock()) / DAY_SECONDS if ends else None

    def clock_offset(self) -> float | None:
        """Seconds that this node's clock is ahead of the time of the blocks, else of most members'
        clocks.
        """
        return self._clocks().own

    def keys_ended(self) -> float | None:
        """Keys of this node that are not live in the directory; None while that
        cannot be proved.
        """
        try:
            return float(sum(not record.live for record in self._key_records().values()))
        except QiaolianError:
            return None

    def uncosigned_seconds(self) -> float | None:
        """How long the first checkpoint has waited for a witness; 0 where none waits."""
        _, since = cosigned(self._context)
        return 0.0 if since is None else max(0.0, self._context.clock() - since)

    def workers_failing(self) -> float | None:
        """Workers whose latest round failed."""
        return float(
            sum(status.failing_since is not None for status in self._watched.workers.statuses())
        )

    def peers_down(self) -> float | None:
        """Members whose nodes do not answer this one."""
        return float(sum(bool(status.code) for status in self._watched.peers.statuses()))

    def sources_down(self) -> float | None:
        """Configured sources that cannot be read."""
        return float(sum(not status.up for status in self._watched.sources.statuses()))

    def view_age(self) -> float | None:
        """Seconds since the chain view's head; None before the first."""
        try:
            return self._context.view.age
        except QiaolianError:
            return None

    def blocks_behind(self) -> float | None:
        """Blocks of the view whose events are not in the database yet; None while the view has
        none.
        """
        return self._context.blocks_behind

    def outbox_depth(self) -> float | None:
        """Calls owed to the chain."""
        waiting = self._backlog()
        return float(waiting.queued + waiting.in_flight)

    def log_size(self) -> float | None:
        """Entries in this node's evidence log."""
        return float(log_size(self._context))

    def source_incidents(self) -> float | None:
        """Calls refused because a source departs from what was published."""
        return float(incidents.total(self._context))

    def claim_gauges(self) -> list[tuple[str, str, Callable[[], float | None]]]:
        """Name, help and value of each gauge of the claims; values are None where the node claims
        nothing by itself.
        """
        return [
            (
                "qiaolian_claims_unclaimed_fen",
                "Fen acknowledged by buyers and not claimed on the chain.",
                self._of_claims(lambda monitor: monitor.report.unclaimed),
            ),
            (
                "qiaolian_claims_at_risk_fen",
                "Of these, fen whose claim is late or was refused.",
                self._of_claims(
                    lambda monitor: sum(
                        status.unclaimed for status in monitor.report.at_risk(self._context.now())
                    )
                ),
            ),
            (
                "qiaolian_claims_window_seconds",
                "Seconds until the first closing window with unclaimed money ends.",
                self._of_claims(lambda monitor: monitor.report.seconds_left),
            ),
            (
                "qiaolian_claims_refused",
                "Claims that the chain refused since the start.",
                self._of_claims(lambda monitor: monitor.refusals),
            ),
            (
                "qiaolian_claims_lost_fen",
                (
                    "Fen delivered under agreements that closed before they were claimed, as far "
                    "as looked at since the start."
                ),
                self._of_claims(lambda monitor: monitor.report.lost),
            ),
        ]

    def _of_claims(
        self, value: Callable[[ClaimMonitor], float | None]
    ) -> Callable[[], float | None]:
        def ask() -> float | None:
            monitor = self._context.services.find(ClaimMonitor)
            return None if monitor is None else value(monitor)

        return ask

    def _claims(self) -> None:
        monitor = self._context.services.find(ClaimMonitor)
        if monitor is not None:
            monitor.require()

    def unknown_subject_refusals(self) -> float | None:
        """Refusals of unknown subjects within the period, over all grants."""
        return float(sum(grant.refusals for grant in unknown_subjects(self._context)))

    def unknown_subject_grants_refused(self) -> float | None:
        """Grants whose calls are refused for them now."""
        return float(
            sum(grant.refused_until is not None for grant in unknown_subjects(self._context))
        )

    def _database(self) -> None:
        with self._context.database.read() as session:
            session.execute(sa.text("SELECT 1"))
        now = time.monotonic()
        if now - self._written_at < _HEARTBEAT_SECONDS:
            return

        def beat(session: Session) -> None:
            session.merge(NodeHeartbeat(id=1, at=int(time.time())))

        self._context.database.write(beat)
        self._written_at = now

    def _chain(self) -> None:
        self._context.view.require_fresh()

    def _projection(self) -> None:
        behind = self._context.blocks_behind
        if self._projects and behind is not None and behind > MAX_BLOCKS_BEHIND:
            raise Unavailable(
                "projection_behind",
                f"The events of the last {behind} blocks are not in this node's database yet: "
                "lists and searches show older state.",
                hint="It catches up by itself. If it does not, the log names the worker "
                "`projector` and why it fails.",
            )

    def _outbox(self) -> None:
        waiting = self._backlog()
        if waiting.oldest_seconds > self._limits.outbox_lag_seconds:
            raise Unavailable(
                "outbox_lagging",
                f"The oldest call owed to the chain has waited {waiting.oldest_seconds:.0f} s.",
                hint="Check that the node's outbox process runs and that the chain makes blocks.",
            )

    def _disk(self) -> None:
        free = shutil.disk_usage(self._data).free
        if free < self._limits.free_disk_bytes:
            raise Unavailable(
                "disk_full",
                f"The data directory's disk has {free} bytes left.",
                hint="Free some space.",
            )

    def _keys(self) -> HealthFinding:
        try:
            return of_keys(self._key_records(), self._context.member)
        except Unavailable as error:  # `chain` fails for the same reason
            return HealthFinding.warning(error)

    def _key_records(self) -> Mapping[KeyPurpose, KeyRecord]:
        """What the directory says of each key, proved."""
        keys = self._watched.keys()
        proved = self._context.view.proved(map(key_record, keys.values()))
        return {purpose: proved.key(key) for purpose, key in keys.items()}

    def _certificate(self) -> HealthFinding:
        return of_certificate(self._watched.certificate_ends(), self._context.clock())

    def _clocks(self) -> ClockStatus:
        return judge(self._context.view.clock_offset, self._watched.peers.clock_offsets())

    def _clock(self) -> HealthFinding:
        by_blocks = self._context.view.clock_offset
        return of_clock(None if by_blocks is None else self._clocks().own, LIMIT_SECONDS)

    def _peer_clocks(self) -> HealthFinding:
        return of_peer_clocks(self._clocks())

    def _peers(self) -> HealthFinding:
        peers = self._watched.peers
        return of_peers(peers.statuses(), peers.certificate_ends(), self._context.clock())

    def _cosignatures(self) -> HealthFinding:
        if not supervised(self._context):
            return HealthFinding(detail="no supervisor among the peers")
        last_at, waiting_since = cosigned(self._context)
        return of_cosignatures(Cosigning(last_at, waiting_since), self._context.clock())

    def _backlog(self) -> Backlog:
        with self._context.database.read() as session:
            return backlog(session, self._context.transaction_address)


def _retrieve(check: asyncio.Future[HealthFinding | None]) -> None:
    """Take the outcome of a check that nobody waits for any more."""
    if not check.cancelled():
        check.exception()


class Running(BaseModel):
    """The process answers."""

    status: Literal["running"]


class PingAnswer(BaseModel):
    """The member that this node takes the caller for."""

    member: str


class PingBodyAnswer(PingAnswer):
    """The same, and the size of the body."""

    bytes: int


router = APIRouter(tags=["node"])
_MAY_SCRAPE = require_local("system", "administrator", "auditor")


@router.get("/healthz", summary="The process runs", response_model=Running)
async def healthz() -> dict[str, str]:
    return {"status": "running"}


@router.get(
    "/readyz",
    summary="The node can do its work; if not, what fails",
    response_model=Readiness,
    responses={503: {"model": NotReady, "description": "The node is not ready"}},
)
async def readyz(request: Request) -> Response:
    readiness: Readiness = await request.app.state.health.readiness()
    caller = get_principal(request)
    if caller is None or caller.kind != "local":
        readiness = for_strangers(readiness)
    if readiness.ready:
        return JSONResponse(readiness.model_dump(mode="json"))
    down = [part for part in readiness.dependencies if part.required and not part.up]
    _, body = problem(
        Unavailable(
            "not_ready",
            f"Failing: {', '.join(f'{part.name} ({part.code})' for part in down)}.",
            hint=down[0].hint,
            **readiness.model_dump(mode="json"),
        ),
        member=request.app.state.config.member,
    )
    return Response(body, status_code=503, media_type=CONTENT_TYPE.decode())


_CONFIDENTIAL = {
    "claims": "Earned money is not claimed.",
    "peers": "Another member's node does not answer or its certificate ends soon.",
    "peer clocks": "Clocks of members differ.",
}
"""What strangers read where a detail is the organisation's own business: amounts, dates, who deals
with whom.
"""
_ASK = "Ask with an access token of this organisation to see more, and what to do."


def for_strangers(readiness: Readiness) -> Readiness:
    """Without amounts and dates of claims, other members, and the names of sources and workers."""

    def shown(part: Dependency) -> Dependency:
        if part.state == State.OK:
            return part.model_copy(update={"detail": ""})
        if part.name not in _CONFIDENTIAL:
            return part
        return part.model_copy(update={"detail": _CONFIDENTIAL[part.name], "hint": _ASK})

    def of(prefix: str) -> list[Dependency]:
        return [part for part in readiness.dependencies if part.name.startswith(prefix)]

    sources, workers = of(SOURCE_PREFIX), of(WORKER_PREFIX)
    parts = [
        shown(part)
        for part in readiness.dependencies
        if part not in sources and part not in workers
    ]
    parts += _as_one("sources", "source_down", "A source cannot be read.", sources)
    parts += _as_one("workers", "worker_failing", "A background worker fails.", workers)
    return readiness.model_copy(update={"dependencies": parts})


def _as_one(name: str, code: str, detail: str, parts: Sequence[Dependency]) -> list[Dependency]:
    """Merge several parts into one, without names."""
    if not parts:
        return []
    worst = readiness_of(parts).state
    if worst == State.OK:
        return [Dependency(name=name, state=worst, required=False)]
    return [Dependency(name=name, state=worst, required=False, code=code, detail=detail, hint=_ASK)]


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
def metrics(request: Request, _caller: Annotated[Principal, Depends(_MAY_SCRAPE)]) -> Response:
    series: Metrics = request.app.state.metrics
    return PlainTextResponse(series.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/node", summary="Who this node is", response_model=NodeIdentity)
async def node(
    request: Request, context: Annotated[Context, Depends(get_context)]
) -> dict[str, Any]:
    config = request.app.state.config
    deployment = context.ledger.deployment
    return {
        "member": config.member,
        "name": config.name,
        "roles": list(config.roles),
        "version": VERSION,
        "chain_id": deployment.chain_id,
        "genesis_hash": "0x" + deployment.genesis_hash.hex(),
    }


@router.get(
    "/v1/peer/ping",
    summary="A member's node asks whether it is heard",
    response_model=PingAnswer,
)
async def ping(request: Request) -> dict[str, str]:
    return {"member": (await require_member(request)).member}


@router.post(
    "/v1/peer/ping",
    summary="The same with a body",
    response_model=PingBodyAnswer,
    openapi_extra=LARGE_BODY,
)
async def ping_body(request: Request) -> dict[str, Any]:
    return {"member": (await require_member(request)).member, "bytes": len(await request.body())}
