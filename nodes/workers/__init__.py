"""Background workers of a node: event projection, expired proposals, delivery of deal steps,
proposed closings, registrations, claims, checkpoints and anchors, witnessing.

A worker is a coroutine run again and again; a round that fails is reported (once for each new code)
and tried again, with longer pauses while it keeps failing. A round that could not do its work with
some members only returns the error
instead: health shows it, and the others' work goes on at the same pace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chain.core.errors import QiaolianError
from exchange.agreements.proposal_ends import ProposalWorker
from exchange.closing.worker import ClosingWorker
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.rules import ClaimPolicy
from nodes.assembly import AssembledNode
from nodes.metrics import Metrics
from nodes.problems import translate_error
from nodes.restore_guard import RestoreGuardWorker
from nodes.workers.claims import ClaimWorker
from nodes.workers.evidence import EvidenceWorker
from nodes.workers.projector import Projector
from nodes.workers.status import WorkerMonitor
from nodes.workers.witness import WitnessWorker
from registry.property.delivery import StepDelivery
from registry.property.register import RegistrationUpdater

log = logging.getLogger("qiaolian.workers")

_MAX_PAUSE = 10.0
RESTORE_GUARD_SECONDS = 0.1
"""Until it has come out well the node signs nothing, so a start waits for it."""
DELIVERY_SECONDS = 1.0
PROPOSAL_SECONDS = 1.0


@dataclass(frozen=True)
class Worker:
    """A round of work and the pause between rounds."""

    name: str
    seconds: float
    round: Callable[[], Awaitable[object]]
    finished: Callable[[], bool] = lambda: False
    """Whether no further round is needed, asked after each that succeeds."""


class Workers:
    """The workers of one node; belongs to the running event loop."""

    def __init__(
        self, node: AssembledNode, metrics: Metrics, monitor: WorkerMonitor, more: Sequence[Worker]
    ) -> None:
        self._metrics = metrics
        self._monitor = monitor
        self._workers = [*_configured(node), *more]
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._run(worker), name=worker.name) for worker in self._workers
        ]

    async def stop(self) -> None:
        """End after the rounds under way."""
        self._stop.set()
        _, late = await asyncio.wait(self._tasks, timeout=5.0) if self._tasks else (None, set())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, worker: Worker) -> None:
        failing, reported = 0, ""
        while not self._stop.is_set():
            self._monitor.begun(worker.name)
            try:
                incomplete = await worker.round()
                failing, reported = 0, ""
                if isinstance(incomplete, QiaolianError):
                    self._monitor.failed(worker.name, incomplete, partial=True)
                else:
                    self._monitor.succeeded(worker.name)
                if worker.finished():
                    self._monitor.finished(worker.name)
                    return
            except Exception as error:
                # A worker never ends by a failure; it is reported and tried again.
                ours = translate_error(error)
                failing += 1
                self._monitor.failed(worker.name, ours)
                self._metrics.count(
                    "qiaolian_worker_failures_total", {"worker": worker.name, "code": ours.code}
                )
                if ours.code != reported:
                    reported = ours.code
                    unexpected = error if ours.code == "internal_error" else None
                    fields = {"worker": worker.name, "code": ours.code}
                    log.warning("worker: %s", ours.sentence, extra=fields, exc_info=unexpected)
            await self._pause(min(_MAX_PAUSE, worker.seconds * 2 ** min(failing, 6)))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return


def _configured(node: AssembledNode) -> list[Worker]:
    settings = node.config.workers
    workers = [
        Worker(
            "standing",
            RESTORE_GUARD_SECONDS,
            RestoreGuardWorker(node.context, node.restore_guard).round,
            lambda: node.restore_guard.passed,
        )
    ]
    if settings.projector:
        workers.append(
            Worker("projector", settings.projector_seconds, Projector(node.context).round)
        )
        workers.append(Worker("proposals", PROPOSAL_SECONDS, ProposalWorker(node.context).round))
        workers.append(Worker("closings", PROPOSAL_SECONDS, ClosingWorker(node.context).round))
        workers.append(Worker("deals", DELIVERY_SECONDS, StepDelivery(node.context).round))
        workers.append(
            Worker("register", DELIVERY_SECONDS, RegistrationUpdater(node.context).round)
        )
    if settings.evidence:
        workers.append(
            Worker(
                "evidence",
                settings.checkpoint_seconds,
                EvidenceWorker(node.context, anchor_seconds=settings.anchor_seconds).round,
            )
        )
    if settings.claims:
        policy = ClaimPolicy(settings.claim_min_fen, settings.claim_max_age_seconds)
        worker = ClaimWorker(ClaimMonitor(node.context, policy))
        workers.append(Worker("claims", settings.claim_seconds, worker.round))
    if node.config.witnesses:
        members = [member for member, peer in node.config.peers.items() if peer.log is not None]
        workers.append(
            Worker("witness", settings.witness_seconds, WitnessWorker(node.context, members).round)
        )
    return workers
