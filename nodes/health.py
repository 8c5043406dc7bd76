"""``/healthz`` (the process runs), ``/readyz`` (what is down), ``/metrics`` and ``/v1/node`` (who this is)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from chain.context import Context
from chain.errors import QiaolianError, Unavailable
from chain.outbox import Backlog, backlog
from exchange.metering.service import unknown_subjects
from exchange.settlement.claims import ClaimMonitor
from nodes.config import Limits
from nodes.metrics import Metrics
from nodes.problems import CONTENT_TYPE, as_ours, problem
from nodes.sources.monitor import SourceMonitor, SourceStatus
from nodes.standing import Standing
from nodes.store import NodeHeartbeat
from nodes.version import VERSION
from registry.access import Principal, get_context, get_principal, require_local, require_member
from registry.assets import incidents
from registry.evidence.service import log_size
from registry.openapi import LARGE_BODY

MAX_BLOCKS_BEHIND = 30
CHECK_SECONDS = 2.0
"""How long a check may take before what it looks at counts as down."""
_HEARTBEAT_SECONDS = 2.0
SOURCE_PREFIX = "source "
"""How a source is named among the parts of a node."""


class Dependency(BaseModel):
    """One thing the node depends on."""

    name: str
    up: bool
    code: str = ""
    detail: str = ""
    hint: str = ""


class Readiness(BaseModel):
    """Whether the node can do its work, and what is down.

    A source that is down leaves the node ready: its assets are refused with the source's code, everything else is served.
    """

    ready: bool
    dependencies: list[Dependency]


def source_dependency(status: SourceStatus) -> Dependency:
    """A source as a part of the node."""
    return Dependency(
        name=f"{SOURCE_PREFIX}{status.name}",
        up=status.up,
        code=status.code,
        detail=status.detail,
        hint=status.hint,
    )


class NodeIdentity(BaseModel):
    """Who this node is, for anyone."""

    member: str
    name: str
    roles: list[str]
    version: str
    chain_id: int
    genesis_hash: str


class Health:
    """Looks at the node's dependencies."""

    def __init__(
        self,
        *,
        context: Context,
        standing: Standing,
        sources: SourceMonitor,
        data: Path,
        limits: Limits,
        projects: bool = True,
    ) -> None:
        """``projects``: whether this process follows the contracts' events."""
        self._context = context
        self._projects = projects
        self._standing = standing
        self._sources = sources
        self._data = data
        self._limits = limits
        self._written_at = -_HEARTBEAT_SECONDS

        self._checks: dict[str, Callable[[], None]] = {
            "database": self._database,
            "chain": self._chain,
            "projection": self._projection,
            "books": self._standing.require,
            "outbox": self._outbox,
            "disk": self._disk,
            "claims": self._claims,
        }
        self._threads = ThreadPoolExecutor(len(self._checks), "health")
        self._running: dict[str, asyncio.Future[None]] = {}

    async def readiness(self) -> Readiness:
        """Every dependency, looked at now, all at the same time; what does not answer in time is down."""
        found = await asyncio.gather(*(self._dependency(name) for name in self._checks))
        sources = [source_dependency(status) for status in self._sources.statuses()]
        return Readiness(ready=all(dependency.up for dependency in found), dependencies=[*found, *sources])

    def close(self) -> None:
        """Start no further check."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _dependency(self, name: str) -> Dependency:
        """One dependency. A check that still runs is waited for again and never started twice."""
        running = self._running.get(name)
        if running is None or running.done():
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._checks[name])
            running.add_done_callback(_retrieve)
            self._running[name] = running
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await asyncio.shield(running)
        except TimeoutError:
            return Dependency(
                name=name,
                up=False,
                code="check_timed_out",
                detail=f"The check did not answer within {CHECK_SECONDS:g} s.",
                hint="Look at what it depends on: the database, its disk, or the chain node.",
            )
        except Exception as error:  # whatever it is, it is what is down
            ours = as_ours(error)
            return Dependency(name=name, up=False, code=ours.code, detail=ours.sentence, hint=ours.hint)
        return Dependency(name=name, up=True)

    def sources_down(self) -> float | None:
        """Configured sources that cannot be read."""
        return float(sum(not status.up for status in self._sources.statuses()))

    def view_age(self) -> float | None:
        """Seconds since the chain view's head; None before the first."""
        try:
            return self._context.view.age
        except QiaolianError:
            return None

    def blocks_behind(self) -> float | None:
        """Blocks of the view whose events are not in the database yet; None while the view has none."""
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
        """Name, help and value of each gauge of the claims; values are None where the node claims nothing by itself."""
        return [
            (
                "qiaolian_claims_unclaimed_fen",
                "Fen acknowledged by buyers and not claimed on the chain.",
                self._of_claims(lambda monitor: monitor.report.unclaimed),
            ),
            (
                "qiaolian_claims_at_risk_fen",
                "Of these, fen whose claim is late or was refused.",
                self._of_claims(lambda monitor: sum(status.unclaimed for status in monitor.report.at_risk(self._context.now()))),
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
                "Fen delivered under agreements that closed before they were claimed, as far as looked at since the start.",
                self._of_claims(lambda monitor: monitor.report.lost),
            ),
        ]

    def _of_claims(self, value: Callable[[ClaimMonitor], float | None]) -> Callable[[], float | None]:
        def ask() -> float | None:
            monitor = self._context.ports.get("exchange.claims")
            return None if monitor is None else value(monitor)

        return ask

    def _claims(self) -> None:
        monitor = self._context.ports.get("exchange.claims")
        if monitor is not None:
            monitor.require()

    def unknown_subject_refusals(self) -> float | None:
        """Refusals of unknown subjects within the period, over all grants."""
        return float(sum(grant["refusals"] for grant in unknown_subjects(self._context)["grants"]))

    def unknown_subject_grants_refused(self) -> float | None:
        """Grants whose calls are refused for them now."""
        return float(sum(grant["refusedUntil"] is not None for grant in unknown_subjects(self._context)["grants"]))

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
                f"The events of the last {behind} blocks are not in this node's database yet: lists and searches show older state.",
                hint="It catches up by itself. If it does not, the log names the worker `projector` and why it fails.",
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
            raise Unavailable("disk_full", f"The data directory's disk has {free} bytes left.", hint="Free some space.")

    def _backlog(self) -> Backlog:
        with self._context.database.read() as session:
            return backlog(session, self._context.transaction_address)


def _retrieve(check: asyncio.Future[None]) -> None:
    """Take the outcome of a check that nobody waits for any more."""
    if not check.cancelled():
        check.exception()


router = APIRouter(tags=["node"])
_MAY_SCRAPE = require_local("system", "administrator", "auditor")


@router.get("/healthz", summary="The process runs")
async def healthz() -> dict[str, str]:
    return {"status": "running"}


@router.get("/readyz", summary="The node can do its work; if not, what is down", response_model=Readiness)
async def readyz(request: Request) -> Response:
    readiness: Readiness = await request.app.state.health.readiness()
    caller = get_principal(request)
    if caller is None or caller.kind != "local":
        readiness = for_strangers(readiness)
    if readiness.ready:
        return JSONResponse(readiness.model_dump())
    down = [each for each in readiness.dependencies if not each.up]
    _, body = problem(
        Unavailable(
            "not_ready",
            f"Down: {', '.join(f'{each.name} ({each.code})' for each in down)}.",
            hint=down[0].hint,
            **readiness.model_dump(),
        ),
        member=request.app.state.config.member,
    )
    return Response(body, status_code=503, media_type=CONTENT_TYPE.decode())


def for_strangers(readiness: Readiness) -> Readiness:
    """Amounts and dates of claims, and the names of sources, are the organisation's own business."""

    def shown(dependency: Dependency) -> Dependency:
        if dependency.name != "claims" or dependency.up:
            return dependency
        hint = "Ask with an access token of this organisation to see how much, and until when."
        return dependency.model_copy(update={"detail": "Earned money is not claimed.", "hint": hint})

    parts = [part for part in readiness.dependencies if not part.name.startswith(SOURCE_PREFIX)]
    sources = [part for part in readiness.dependencies if part.name.startswith(SOURCE_PREFIX)]
    return readiness.model_copy(update={"dependencies": [*map(shown, parts), *_sources_for_strangers(sources)]})


def _sources_for_strangers(sources: list[Dependency]) -> list[Dependency]:
    """All sources as one part, without names."""
    if not sources:
        return []
    if all(source.up for source in sources):
        return [Dependency(name="sources", up=True)]
    hint = "Ask with an access token of this organisation to see which, and what to do."
    return [Dependency(name="sources", up=False, code="source_down", detail="A source cannot be read.", hint=hint)]


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
def metrics(request: Request, _caller: Annotated[Principal, Depends(_MAY_SCRAPE)]) -> Response:
    series: Metrics = request.app.state.metrics
    return PlainTextResponse(series.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/node", summary="Who this node is", response_model=NodeIdentity)
async def node(request: Request, context: Annotated[Context, Depends(get_context)]) -> dict[str, Any]:
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


@router.get("/v1/peer/ping", summary="A member's node asks whether it is heard")
async def ping(request: Request) -> dict[str, str]:
    return {"member": (await require_member(request)).member}


@router.post("/v1/peer/ping", summary="The same with a body", openapi_extra=LARGE_BODY)
async def ping_body(request: Request) -> dict[str, Any]:
    return {"member": (await require_member(request)).member, "bytes": len(await request.body())}
