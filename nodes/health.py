"""The checks of a node's parts, run side by side under a deadline, and the figures of ``/metrics``.

``readiness`` names the parts; ``health_api`` has the routes.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from chain.core.zone import DAY_SECONDS
from chain.ethereum.proved_records import key_record
from chain.ethereum.records import KeyRecord
from chain.outbox import Backlog, backlog
from chain.statements.members import KeyPurpose
from exchange.conservation.model import ConservationReport
from exchange.conservation.service import ConservationMonitor
from exchange.disputes import service as disputes
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
from nodes.problems import translate_error
from nodes.readiness import (
    CHECKS,
    WORKER_PREFIX,
    Dependency,
    Readiness,
    dependency,
    readiness_of,
    source_dependency,
)
from nodes.restore_guard import RestoreGuard
from nodes.sources.monitor import SourceMonitor
from nodes.store import NodeHeartbeat
from nodes.workers.peers import PeerMonitor
from nodes.workers.status import WorkerMonitor
from registry.assets import incidents
from registry.evidence.checkpoints import cosigned
from registry.evidence.log import log_size
from registry.evidence.supervisors import supervised

MAX_BLOCKS_BEHIND = 30
CHECK_SECONDS = 2.0
"""How long a check may take before what it looks at counts as failing."""
_HEARTBEAT_SECONDS = 2.0


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
            "disputes": self._disputes,
            "money": self._money,
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

    def _disputes(self) -> HealthFinding | None:
        waiting = disputes.awaiting_persons(self._context)
        if not waiting:
            return None
        return HealthFinding(
            State.WARNING,
            "dispute_awaits",
            f"{len(waiting)} disputes await a decision of this organisation.",
            "Silence decides them: see `qiaolian dispute list --live`.",
        )

    def _money(self) -> None:
        monitor = self._context.services.find(ConservationMonitor)
        if monitor is not None:
            monitor.require()

    def money_gauges(self) -> list[tuple[str, str, Callable[[], float | None]]]:
        """Name, help and value of each gauge of the check of the chain's money; values are None
        where the node does not watch the network.
        """
        return [
            (
                "qiaolian_money_discrepancies",
                "Sums of the chain's money that do not hold; see GET /v1/conservation.",
                self._of_money(lambda report: len(report.discrepancies)),
            ),
            (
                "qiaolian_money_checked_seconds",
                "Unix seconds of the latest check of the chain's money; 0 before the first.",
                self._of_money(lambda report: report.checked_at),
            ),
        ]

    def _of_money(self, value: Callable[[ConservationReport], float]) -> Callable[[], float | None]:
        def ask() -> float | None:
            monitor = self._context.services.find(ConservationMonitor)
            return None if monitor is None else value(monitor.report)

        return ask

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
