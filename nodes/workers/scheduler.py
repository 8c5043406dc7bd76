"""Runs the background workers: soon after a change of what they watch, else every ``idle_seconds``.

One timer a process compares version numbers and starts the workers whose number has changed since
their last round. No change is lost: the number is read before the round, so a change made during it
differs from that number. Changes that no version number covers are found by the round that follows
after ``idle_seconds``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chain.core.errors import QiaolianError
from nodes.metrics import Metrics
from nodes.problems import translate_error
from nodes.workers.status import WorkerMonitor

log = logging.getLogger("qiaolian.workers")

TICK_SECONDS = 0.25
"""How often versions are compared."""
IDLE_SECONDS = 30.0
MAX_FAILURE_PAUSE = 10.0
STOP_SECONDS = 5.0


Version = Callable[[], object]


def _never() -> bool:
    return False


def _read(version: Version) -> object:
    """A version; one that cannot be read counts as a new one."""
    try:
        return version()
    except Exception:
        # One timer serves all workers, so an error of one version must not reach it. The worker's
        # round then meets the same error and reports it.
        log.debug("a worker's version could not be read", exc_info=True)
        return object()


@dataclass(frozen=True)
class Worker:
    """A round of work and when it runs. Times in seconds."""

    name: str
    seconds: float
    """Shortest pause between two rounds; after a failure twice as long each time, up to
    ``MAX_FAILURE_PAUSE``.
    """
    round: Callable[[], Awaitable[object]]
    finished: Callable[[], bool] = _never
    """Whether no further round is needed; asked after each round that succeeds."""
    version: Version | None = None
    """Returns a value that changes when there may be work. Without it a round follows every
    ``seconds``.
    """
    has_work: Callable[[], bool] = _never
    """Whether work is left although nothing changes, such as a further attempt."""
    idle_seconds: float = IDLE_SECONDS
    """Longest pause between two rounds while nothing changes."""


@dataclass
class _Schedule:
    """When one worker runs next."""

    worker: Worker
    seen: object = None
    """The version read before the last round."""
    due_at: float = float("-inf")
    """When the next round may begin, in the event loop's seconds."""
    idle_until: float = float("-inf")
    """When a round begins even if nothing has changed."""
    failures: int = 0
    """Rounds that failed since the last success."""
    reported: str = ""
    """Code of the failure that was logged last."""
    task: asyncio.Task[None] | None = None
    finished: bool = False

    @property
    def waits(self) -> bool:
        """Whether no round is under way."""
        return not self.finished and (self.task is None or self.task.done())

    def is_due(self, now: float, version: Callable[[Version], object]) -> bool:
        """Whether a round begins now; ``version`` reads a worker's version."""
        if now < self.due_at:
            return False
        worker = self.worker
        return (
            worker.version is None
            or self.failures > 0
            or now >= self.idle_until
            or worker.has_work()
            or version(worker.version) != self.seen
        )


@dataclass
class Scheduler:
    """Runs workers; belongs to the running event loop."""

    workers: Sequence[Worker]
    metrics: Metrics
    monitor: WorkerMonitor
    _schedules: list[_Schedule] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _next_tick: float = 0.0
    _stopping: bool = False

    def start(self) -> None:
        """Begin; every worker's first round follows at once."""
        self._schedules = [_Schedule(worker) for worker in self.workers]
        self._tick()

    async def stop(self) -> None:
        """End after the rounds under way; what takes longer than ``STOP_SECONDS`` is cancelled."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [schedule.task for schedule in self._schedules if schedule.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        """Start the rounds that are due, and look again when the next may be."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        version = functools.cache(_read)
        waiting = [schedule for schedule in self._schedules if schedule.waits]
        for schedule in waiting:
            if schedule.is_due(now, version):
                read = schedule.worker.version
                schedule.seen = None if read is None else version(read)
                schedule.task = loop.create_task(self._round(schedule), name=schedule.worker.name)
        self._tick_at(
            min(
                (schedule.due_at for schedule in waiting if schedule.due_at > now),
                default=now + TICK_SECONDS,
            )
        )

    def _tick_at(self, when: float) -> None:
        """Look again at that time of the event loop, at the latest after ``TICK_SECONDS``."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._next_tick = min(when, loop.time() + TICK_SECONDS)
        self._timer = loop.call_at(self._next_tick, self._tick)

    async def _round(self, schedule: _Schedule) -> None:
        """One round, and when the next one follows."""
        worker = schedule.worker
        self.monitor.begun(worker.name)
        try:
            incomplete = await worker.round()
            schedule.failures, schedule.reported = 0, ""
            if isinstance(incomplete, QiaolianError):
                self.monitor.failed(worker.name, incomplete, partial=True)
            else:
                self.monitor.succeeded(worker.name)
            if worker.finished():
                self.monitor.finished(worker.name)
                schedule.finished = True
        except Exception as error:
            # Any failure, expected or not, is reported and the round repeated after a pause: a
            # worker that ended silently would leave its work undone until the node is restarted.
            schedule.failures += 1
            self._report(schedule, error)
        now = asyncio.get_running_loop().time()
        pause = worker.seconds * 2 ** min(schedule.failures, 6)
        schedule.due_at = now + min(max(MAX_FAILURE_PAUSE, worker.seconds), pause)
        schedule.idle_until = now + max(worker.idle_seconds, worker.seconds)
        if schedule.due_at < self._next_tick and not self._stopping:
            self._tick_at(schedule.due_at)

    def _report(self, schedule: _Schedule, error: Exception) -> None:
        ours, name = translate_error(error), schedule.worker.name
        self.monitor.failed(name, ours)
        self.metrics.count("qiaolian_worker_failures_total", {"worker": name, "code": ours.code})
        if ours.code != schedule.reported:
            schedule.reported = ours.code
            unexpected = error if ours.code == "internal_error" else None
            fields = {"worker": name, "code": ours.code}
            log.warning("worker: %s", ours.sentence, extra=fields, exc_info=unexpected)
