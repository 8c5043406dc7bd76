"""Workers run when what they watch has changed; no change is lost, and no worker stops another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.core.database import Base, Database
from chain.core.errors import Unavailable
from chain.outbox import enqueue
from chain.outbox.store import CALLS, REVERTED, SENDERS
from nodes.metrics import Metrics
from nodes.workers.changes import DatabaseChanges
from nodes.workers.scheduler import Scheduler, Worker
from nodes.workers.status import WorkerMonitor

SENDER = "0x" + "11" * 20
NEVER = 3_600.0
SECONDS = 60.0


def run(workers: list[Worker], until: Callable[[], bool]) -> WorkerMonitor:
    """Run workers until the condition holds; their statuses."""
    monitor = WorkerMonitor(time.time)

    async def work() -> None:
        scheduler = Scheduler(workers, Metrics(), monitor)
        scheduler.start()
        async with asyncio.timeout(SECONDS):
            while not until():
                await asyncio.sleep(0.005)
        await scheduler.stop()

    asyncio.run(work())
    return monitor


class Counter:
    """A round of work that counts itself."""

    def __init__(self, then: Callable[[int], None] = lambda _rounds: None) -> None:
        self.rounds = 0
        self._then = then

    async def round(self) -> None:
        self.rounds += 1
        self._then(self.rounds)


def test_a_worker_without_a_change_waits_while_others_run() -> None:
    quiet, busy = Counter(), Counter()
    run(
        [
            Worker("quiet", 0.001, quiet.round, version=lambda: 1, idle_seconds=NEVER),
            Worker("busy", 0.001, busy.round),
        ],
        lambda: busy.rounds >= 50,
    )
    assert quiet.rounds == 1


def test_a_change_during_a_round_starts_another_round() -> None:
    changes = [0]

    def change_once(rounds: int) -> None:
        if rounds == 1:
            changes[0] += 1

    watching = Counter(change_once)
    run(
        [Worker("watching", 0.001, watching.round, version=lambda: changes[0], idle_seconds=NEVER)],
        lambda: watching.rounds >= 2,
    )
    assert watching.rounds == 2


def test_what_no_version_tells_is_found_after_the_idle_pause() -> None:
    worker = Counter()
    run(
        [Worker("idle", 0.001, worker.round, version=lambda: 1, idle_seconds=0.01)],
        lambda: worker.rounds >= 3,
    )


def test_work_that_is_left_is_tried_again_without_a_change() -> None:
    worker = Counter()
    run(
        [
            Worker(
                "left",
                0.001,
                worker.round,
                version=lambda: 1,
                has_work=lambda: worker.rounds < 3,
                idle_seconds=NEVER,
            )
        ],
        lambda: worker.rounds >= 3,
    )


def test_a_failing_worker_is_tried_again_and_stops_no_other() -> None:
    def fail_twice(rounds: int) -> None:
        if rounds <= 2:
            raise Unavailable("chain_unreachable", "No chain node answered.")

    failing, other, stuck = Counter(fail_twice), Counter(), asyncio.Event()
    monitor = run(
        [
            Worker("failing", 0.001, failing.round, version=lambda: 1, idle_seconds=NEVER),
            Worker("stuck", 0.001, cast(Callable[[], Awaitable[object]], stuck.wait)),
            Worker("other", 0.001, other.round),
        ],
        lambda: (
            failing.rounds >= 3
            and other.rounds >= 3
            and (stuck.set() is None)  # ends its only round, so that the scheduler can stop
        ),
    )
    statuses = {status.name: status for status in monitor.statuses()}
    assert statuses["failing"].failures == 0
    assert statuses["failing"].last_success is not None


def test_a_version_that_cannot_be_read_fails_its_worker_alone() -> None:
    def unreadable() -> object:
        raise ValueError("no version")

    worker, other = Counter(), Counter()
    run(
        [
            Worker("unreadable", 0.001, worker.round, version=unreadable, idle_seconds=NEVER),
            Worker("other", 0.001, other.round),
        ],
        lambda: worker.rounds >= 3 and other.rounds >= 3,
    )


# --- what counts as a change of the database ------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(f"sqlite:///{tmp_path}/node.db")
    Base.metadata.create_all(opened.engine, tables=[CALLS, SENDERS])
    opened.open_reader()
    return opened


def queue_call(session: Session) -> None:
    enqueue(
        session,
        sender=SENDER,
        operation_id="anchor-1",
        contract="EvidenceLog",
        function="anchor",
        arguments=[1, 1, bytes(32)],
    )


def test_an_own_commit_and_an_outcome_are_changes_and_a_sign_of_life_is_none(
    database: Database,
) -> None:
    changes, outbox = DatabaseChanges(database, SENDER), Database(database.url)
    at_first = changes.version()
    database.write(queue_call)
    queued = changes.version()
    assert queued != at_first

    outbox.write(
        lambda session: (
            session.execute(
                sa.insert(SENDERS).values(sender=SENDER, next_nonce=1, seen_at=time.time())
            )
            and None
        )
    )
    assert changes.version() == queued

    outbox.write(lambda session: session.execute(sa.update(CALLS).values(state=REVERTED)) and None)
    outbox.close()
    assert changes.version() != queued


def test_a_database_that_tells_nothing_yet_counts_as_changed_each_time(
    database: Database,
) -> None:
    unopened = Database(database.url)
    changes = DatabaseChanges(unopened, SENDER)

    async def versions() -> tuple[object, object]:
        first, second = changes.version(), changes.version()
        async with asyncio.timeout(SECONDS):
            while changes.version() != changes.version():
                await asyncio.sleep(0.005)
        return first, second

    first, second = asyncio.run(versions())
    unopened.close()
    assert first != second
