"""Metered calls a second under one agreement, by its lanes and by how many of the buyer's workers
send batches at once: the figures of the tuning page. The baseline is one lane and one worker.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.benches.calls import TRADERS, small_world
from scripts.benches.figure import Figure
from scripts.demo_steps import trade
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState
from scripts.demo_steps.world import World

LANES = (1, 2, 4, 8, 16, 32, 64)
WORKERS = (1, 2, 3, 4)
CALLS = 480
BATCH = 40
PROVIDER = "tax"
Say = Callable[[str], None]


def run(say: Say) -> list[Figure]:
    """Measure each number of lanes with each number of workers."""
    with tempfile.TemporaryDirectory() as directory:
        screen, state = Screen(), DemoState()
        screen.step(1, "a small network for the bench")
        living = small_world(Path(directory), screen, state)
        try:
            trade.prepare_for_bench(
                living, screen, state, traders=TRADERS, agreements=1, calls=50_000
            )
            trade.offer(living, state, PROVIDER, maxLanes=max(LANES))
            rates = {}
            for lanes in LANES:
                deal = trade.order(
                    living, state, PROVIDER, cap_calls=len(WORKERS) * CALLS + BATCH, lanes=lanes
                )
                trade.wait_open(living, (PROVIDER, "bank"), deal.agreement_id)
                _rate(living, deal, state, workers=1, calls=BATCH, tag="warm-up")
                for workers in WORKERS:
                    rate = _rate(
                        living, deal, state, workers=workers, calls=CALLS, tag=f"{workers}"
                    )
                    rates[lanes, workers] = rate
                    say(f"{lanes} lanes, {workers} workers: {rate:.0f} calls/s")
        finally:
            living.stop()
    base = rates[LANES[0], WORKERS[0]]
    return [
        Figure(
            f"metered calls, {lanes} lanes, {workers} workers",
            rate,
            "calls/s",
            base,
            "one lane, one worker",
            "as the tuning page says",
        )
        for (lanes, workers), rate in rates.items()
    ]


def _rate(
    living: World, deal: DemoAgreement, state: DemoState, *, workers: int, calls: int, tag: str
) -> float:
    """Calls a second with so many workers, each with batches of its own."""
    barrier = threading.Barrier(workers + 1)

    def work(part: int) -> int:
        client = living.organisations["bank"].client("system", timeout=120)
        client.get("/v1/agreements")
        barrier.wait()
        served = 0
        for start in range(part * BATCH, calls, workers * BATCH):
            bodies = [
                {
                    **trade.query(deal, state.traders[number % TRADERS]),
                    "key": f"{deal.agreement_id}/{tag}/{number}",
                }
                for number in range(start, start + BATCH)
            ]
            answers = client.post("/v1/calls/batch", {"calls": bodies})["results"]
            served += sum(answer["outcome"] == "served" for answer in answers)
        client.close()
        return served

    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(work, part) for part in range(workers)]
        barrier.wait()
        started = time.monotonic()
        served = sum(job.result() for job in jobs)
        return served / (time.monotonic() - started)
