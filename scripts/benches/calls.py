"""Metered calls over real nodes: one lane's time, and the rate over eight agreements, against a stripped prototype.

The prototype does what no design can leave out, in this process and without a network: both sides sign and check, and each makes one durable insert.

Times and rates tell how busy the machine is as much as how quick the calls are; the processor time of a call does not.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil

from chain.crypto import address_of, new_private_key, recover, sign_digest
from chain.eip712 import Domain
from chain.statements import UsageRequest
from scripts.benches.figure import Figure
from scripts.demo_steps import catalogue, records, trade, world
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import Deal, State
from scripts.demo_steps.world import CAST

ONE_LANE = 300
TOGETHER = 2_400
AGREEMENTS = 8
TRADERS = 20
Say = Callable[[str], None]
_KEYS = ("operator", "supervisor", "tax", "bank", "settlement")


def run(say: Say) -> list[Figure]:
    """Lay out five nodes and one validator, then measure."""
    cast = [replace(each, validator=each.key == "operator") for each in CAST if each.key in _KEYS]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        base_ms, base_rate, base_cpu = _prototype(root / "prototype.db")
        screen, state = Screen(), State()
        screen.step(1, "a small network for the bench")
        sources = records.write_sources(root / "sources", records.loans())
        living = world.build(root, sources, screen, cast=cast)
        try:
            catalogue.publish_for_bench(living, screen, state)
            deals = trade.prepare_for_bench(living, screen, state, traders=TRADERS, agreements=AGREEMENTS, calls=TOGETHER)
            say("one lane")
            times = _one_lane(living, deals[0], state)
            say("eight agreements at once")
            rate, cpu = _together(living, deals, state)
        finally:
            living.stop()
    return [
        Figure("metered call, one lane, p50", statistics.median(times), "ms", base_ms, "prototype without a network", "≤ 6 ms"),
        Figure("metered calls, eight agreements at once", rate, "calls/s", base_rate, "prototype, one thread", "≥ 600/s"),
        *(
            Figure(f"processor time of such a call, {whose}", cpu[whose], "ms", base_cpu, "prototype, both sides", aim)
            for whose, aim in (("buyer's node", "≤ 1.4 ms"), ("gateway", "≤ 1.4 ms"), ("everything on the machine", "≤ 3.3 ms: 600/s on two cores"))
        ),
    ]


def _one_lane(living: world.World, deal: Deal, state: State) -> list[float]:
    client = living.client("bank")
    times = []
    for place in range(ONE_LANE + 20):
        body = trade.query(deal, state.traders[place % TRADERS])
        body.pop("key")
        started = time.perf_counter()
        client.post("/v1/calls", body, idempotency_key=f"lane-{place}")
        times.append((time.perf_counter() - started) * 1_000)
    return times[20:]


def _together(living: world.World, deals: list[Deal], state: State) -> tuple[float, dict[str, float]]:
    """Two systems of the bank, each with batches that run over all agreements: calls a second, and milliseconds of processor time a call."""
    barrier = threading.Barrier(3)
    processes = [psutil.Process(pid) for pid in living.pids()]

    def work(part: int) -> int:
        client = living.organisations["bank"].client("system", timeout=120)
        client.get("/v1/agreements")
        barrier.wait()
        served = 0
        for start in range(0, TOGETHER // 2, 40):
            bodies = []
            for place in range(start, start + 40):
                body = trade.query(deals[place % len(deals)], state.traders[place % TRADERS])
                bodies.append({**body, "key": f"together-{part}-{place}"})
            answers = client.post("/v1/calls/batch", {"calls": bodies})["results"]
            served += sum(each["outcome"] == "served" for each in answers)
        client.close()
        return served

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(work, part) for part in range(2)]
        barrier.wait()
        started, before = time.monotonic(), _spent(living, processes)
        served = sum(job.result() for job in jobs)
        seconds, after = time.monotonic() - started, _spent(living, processes)
    return served / seconds, {whose: (after[whose] - before[whose]) / served * 1_000 for whose in after}


def _spent(living: world.World, processes: list[psutil.Process]) -> dict[str, float]:
    """Seconds of processor time so far: of both nodes that a call goes through, and of everything that runs here for it."""
    by_pid = {each.pid: sum(each.cpu_times()[:2]) for each in processes}
    nodes = {whose: living.organisations[key].node.api for whose, key in (("buyer's node", "bank"), ("gateway", "tax"))}
    spent = {whose: by_pid[api.pid] for whose, api in nodes.items() if api is not None}
    return {**spent, "everything on the machine": sum(by_pid.values()) + time.process_time()}


def _prototype(path: Path) -> tuple[float, float, float]:
    """Sign, check and one durable insert on each side: milliseconds a call, calls a second, milliseconds of processor time a call."""
    databases = [sqlite3.connect(path.with_suffix(f".{side}"), isolation_level=None) for side in range(2)]
    for each in databases:
        each.execute("PRAGMA journal_mode=WAL")
        each.execute("PRAGMA synchronous=FULL")
        each.execute("CREATE TABLE call (seq INTEGER PRIMARY KEY, signature BLOB)")
    key, domain = new_private_key(), Domain(1, "0x" + "11" * 20)
    address = address_of(key)
    started, spent = time.perf_counter(), time.process_time()
    for seq in range(500):
        request = UsageRequest(1, bytes(32), 0, seq, 1, 1, seq, seq, bytes(32), bytes(32), 1)
        for each in databases:
            digest = request.digest(domain)
            signature = sign_digest(key, digest)
            if recover(digest, signature) != address:
                raise ValueError("signature")
            each.execute("INSERT INTO call VALUES (?, ?)", (seq, signature))
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    for each in databases:
        each.close()
    return seconds / 500 * 1_000, 500 / seconds, spent / 500 * 1_000
