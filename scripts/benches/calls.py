"""Metered calls over real nodes: one lane's time, and the rate over eight agreements, against a
stripped prototype.

The prototype does what no design can leave out, in this process and without a network: both sides
sign and check, and each makes one durable insert.

Times and rates depend on the load of the machine as much as on the code; the processor time
of a call does not.
"""

from __future__ import annotations

import asyncio
import json
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
import uvloop

from chain.core.crypto import address_of, new_private_key, recover, sign_digest
from chain.ethereum.eip712 import Domain
from chain.statements.members import KeyPurpose
from chain.statements.trade import UsageRequest
from nodes.answers import node_refusal
from nodes.http import ConnectionLost, Endpoint, ShownCertificate, client_tls
from nodes.provision import Organisation
from scripts.benches.figure import Figure
from scripts.demo_steps import catalogue, records, trade, world
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState
from scripts.demo_steps.world import ORGANISATIONS

WARM_UP = 20
ONE_LANE = 300
TOGETHER = 2_400
AGREEMENTS = 8
TRADERS = 20
Say = Callable[[str], None]
KEYS = ("operator", "supervisor", "tax", "bank", "settlement")


def run(say: Say) -> list[Figure]:
    """Lay out five nodes and one validator, then measure."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        base_ms, base_rate, base_cpu = _prototype(root / "prototype.db")
        screen, state = Screen(), DemoState()
        screen.step(1, "a small network for the bench")
        living = small_world(root, screen, state)
        try:
            deals = trade.prepare_for_bench(
                living, screen, state, traders=TRADERS, agreements=AGREEMENTS, calls=TOGETHER
            )
            say("one lane")
            processes = [psutil.Process(pid) for pid in living.pids()]
            before = _spent(living, processes)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                times = runner.run(_one_lane(living.organisations["bank"], deals[0], state))
            alone = _per_call(before, _spent(living, processes), WARM_UP + ONE_LANE)
            say("eight agreements at once")
            rate, shared = _together(living, deals, state, processes)
        finally:
            living.stop()
    return [
        Figure(
            "metered call, one lane, p50",
            statistics.median(times),
            "ms",
            base_ms,
            "prototype without a network",
            "≤ 6 ms",
        ),
        Figure(
            "metered calls, eight agreements at once",
            rate,
            "calls/s",
            base_rate,
            "prototype, one thread",
            "≥ 600/s",
        ),
        *(
            Figure(
                f"processor time a call, {how}, {whose}",
                spent[whose],
                "ms",
                base_cpu,
                "prototype, both sides",
                aim,
            )
            for how, spent, aim in (
                ("one lane", alone, "part of 6 ms"),
                ("eight agreements", shared, "3.3 ms for everything: 600/s on two cores"),
            )
            for whose in spent
        ),
    ]


def small_world(root: Path, screen: Screen, state: DemoState) -> world.World:
    """Five nodes and one validator, with the tax bureau's asset granted to the bank."""
    cast = [
        replace(organisation, validator=organisation.key == "operator")
        for organisation in ORGANISATIONS
        if organisation.key in KEYS
    ]
    sources = records.write_sources(root / "sources", records.loans())
    living = world.build(root, sources, screen, cast=cast)
    try:
        catalogue.publish_for_bench(living, screen, state)
    except BaseException:
        living.stop()
        raise
    return living


async def _one_lane(bank: Organisation, deal: DemoAgreement, state: DemoState) -> list[float]:
    """One call after another. The nodes' own HTTP client asks: a general one would add half a
    millisecond of its own to each.
    """

    async def check(shown: ShownCertificate) -> None:
        if shown.fingerprint != bank.admission.key(KeyPurpose.TLS).fingerprint:
            raise ConnectionLost("another node")

    endpoint = Endpoint(host=bank.plan.host, port=bank.plan.port, tls=client_tls(), check=check)
    headers = [
        ("authorization", f"Bearer {bank.token('system')}"),
        ("content-type", "application/json"),
    ]
    times = []
    for number in range(WARM_UP + ONE_LANE):
        body = trade.query(deal, state.traders[number % TRADERS])
        key = [("idempotency-key", f"lane-{body.pop('key')}-{number}")]
        raw = json.dumps(body).encode()
        started = time.perf_counter()
        answer = await endpoint.request("POST", "/v1/calls", headers + key, raw)
        times.append((time.perf_counter() - started) * 1_000)
        if answer.status != 200:
            raise node_refusal(f"{bank.plan.host}:{bank.plan.port}", answer)
    endpoint.close()
    return times[WARM_UP:]


def _together(
    living: world.World,
    deals: list[DemoAgreement],
    state: DemoState,
    processes: list[psutil.Process],
) -> tuple[float, dict[str, float]]:
    """Two systems of the bank, each with batches that run over all agreements: calls a second, and
    milliseconds of processor time a call.
    """
    barrier = threading.Barrier(3)

    def work(part: int) -> int:
        client = living.organisations["bank"].client("system", timeout=120)
        client.get("/v1/agreements")
        barrier.wait()
        served = 0
        for start in range(0, TOGETHER // 2, 40):
            bodies = []
            for number in range(start, start + 40):
                body = trade.query(deals[number % len(deals)], state.traders[number % TRADERS])
                bodies.append({**body, "key": f"together-{part}-{number}"})
            answers = client.post("/v1/calls/batch", {"calls": bodies})["results"]
            served += sum(answer["outcome"] == "served" for answer in answers)
        client.close()
        return served

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(work, part) for part in range(2)]
        barrier.wait()
        started, before = time.monotonic(), _spent(living, processes)
        served = sum(job.result() for job in jobs)
        seconds, after = time.monotonic() - started, _spent(living, processes)
    return served / seconds, _per_call(before, after, served)


def _per_call(before: dict[str, float], after: dict[str, float], calls: int) -> dict[str, float]:
    """Milliseconds of processor time a call."""
    return {whose: (after[whose] - before[whose]) / calls * 1_000 for whose in after}


def _spent(living: world.World, processes: list[psutil.Process]) -> dict[str, float]:
    """Seconds of processor time so far: of both nodes that a call goes through, and of everything
    that runs here for it.
    """
    by_pid = {process.pid: sum(process.cpu_times()[:2]) for process in processes}
    nodes = {
        whose: living.organisations[key].node.api
        for whose, key in (("buyer's node", "bank"), ("gateway", "tax"))
    }
    spent = {whose: by_pid[api.pid] for whose, api in nodes.items() if api is not None}
    return {**spent, "everything": sum(by_pid.values()) + time.process_time()}


def _prototype(path: Path) -> tuple[float, float, float]:
    """Sign, check and one durable insert on each side: milliseconds a call, calls a second,
    milliseconds of processor time a call.
    """
    databases = [
        sqlite3.connect(path.with_suffix(f".{side}"), isolation_level=None) for side in range(2)
    ]
    for database in databases:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE call (seq INTEGER PRIMARY KEY, signature BLOB)")
    key, domain = new_private_key(), Domain(1, "0x" + "11" * 20)
    address = address_of(key)
    started, spent = time.perf_counter(), time.process_time()
    for seq in range(500):
        request = UsageRequest(1, bytes(32), 0, seq, 1, 1, seq, seq, bytes(32), bytes(32), 1)
        for database in databases:
            digest = request.digest(domain)
            signature = sign_digest(key, digest)
            if recover(digest, signature) != address:
                raise ValueError("signature")
            database.execute("INSERT INTO call VALUES (?, ?)", (seq, signature))
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    for database in databases:
        database.close()
    return seconds / 500 * 1_000, 500 / seconds, spent / 500 * 1_000
