"""Nothing that may wait runs on the event loop: by the source, and with everything a node waits for
stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import chain.statements.examples
from chain.keys.files import KeyStore
from chain.statements.grants import GrantDecision, GrantRevocation
from nodes import config
from nodes.client import NodeClient
from nodes.provision import Organisation
from nodes.tokens import TokenIssuer
from tests.nodes.blocking import blocking_calls
from tests.nodes.conftest import TestNetwork, eventually
from tests.support.call_graph import sources

PACKAGES = ("chain", "registry", "exchange", "nodes")
ALLOWED = {
    # Accepting a token appends 20 bytes to a file, without a flush; a thread would cost a metered
    # call more than that.
    "nodes.gate.RequestGate._serve: self._accept",
    "nodes.gate.RequestGate._stream: self._accept",
    "nodes.tokens.TokenVerifier.verify: self.consume",
    # Gives up at once where it would wait.
    "chain.core.database.Database.afetch: self._fetch_without_waiting",
    # Small files of the package, each read once in a process.
    "exchange.metering.api.call: _refused",
    "nodes.console.calls.pages.call: call_page",
    "nodes.console.gate.ConsoleGate._static: assets_files.static_file",
}
LOCKED_SECONDS = 25.0
"""The database and the chain are held for at most so long; what hung on them would hang as long."""


def test_no_coroutine_waits_for_database_chain_or_disk_on_the_event_loop() -> None:
    assert [call for call in blocking_calls(sources(PACKAGES)) if call not in ALLOWED] == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("    context.database.write(change)", ["m.serve: context.database.write"]),
        (
            "    with context.database.read() as session:\n        pass",
            ["m.serve: context.database.read"],
        ),
        ("    load(context)", ["m.serve: load"]),
        ("    other.load(context)", ["m.serve: other.load"]),
        (
            "    return context.view.proved([member_record(code)])",
            ["m.serve: context.view.proved"],
        ),
        (
            "    return context.ledger.settlement.totals()",
            ["m.serve: context.ledger.settlement.totals"],
        ),
        ("    path.read_text()", ["m.serve: path.read_text"]),
        ("    time.sleep(1)", ["m.serve: time.sleep"]),
        ("    await context.database.awrite(change)", []),
        ("    await asyncio.to_thread(load, context)", []),
        ("    await asyncio.to_thread(lambda: load(context))", []),
        ("    return await context.view.aproved([member_record(code)])", []),
    ],
)
def test_a_blocking_call_in_a_coroutine_is_found_directly_and_through_functions(
    body: str, found: list[str]
) -> None:
    reading = "def load(context):\n    return row(context)\n\ndef row(context):\n    with context.database.read() as session:\n        return session\n"
    totals = (
        "class Settlement:\n    def totals(self):\n        return self._ledger.read('totals')\n"
    )
    module = f"import asyncio, time\nimport other\n{reading}\nasync def serve(context, path, key, change):\n{body}\n"
    assert blocking_calls({"m": module, "other": reading + totals}) == found


@pytest.fixture
def department(network: TestNetwork) -> Iterator[Any]:
    found = network.of("department")
    yield found
    found.node.wait_ready(found.client(None))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the database's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA busy_timeout=30000")
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that neither run nor end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def asked_while(client: NodeClient, waiting: list[Any]) -> list[float]:
    """Seconds that each of a series of /healthz took during the work."""
    took: list[float] = []
    while len(took) < 20:
        before = time.monotonic()
        assert client.get("/healthz") == {"status": "running"}
        took.append(time.monotonic() - before)
    assert not all(work.done() for work in waiting), "nothing was blocked, so nothing was tested"
    return took


def test_a_locked_database_and_a_stopped_chain_and_peer_do_not_stop_a_node(
    network: TestNetwork, department: Organisation
) -> None:
    """Writes, questions to the chain and calls to a peer hang; the node answers all the same and
    says what is down.
    """
    bank, supervisor = network.of("bank"), network.of("supervisor")
    read = config.load(bank.plan.directory / "node.toml")
    signer = KeyStore(bank.plan.directory / "keys", read.passphrase()).secp256k1("token")
    issuer = TokenIssuer(member=bank.member, signer=signer, deployment=network.deployment)
    database = Path(department.plan.directory / "data" / "node.db")
    unknown = "0x" + "22" * 32
    tried = [
        ("bank", "POST", "/v1/peer/log/cosignatures", {"size": 1, "line": "x"}),
        ("officer", "POST", f"/v1/grants/{unknown}/decision", example("decision")),
        ("officer", "POST", f"/v1/grants/{unknown}/revocation", example("revocation")),
        ("clerk", "GET", f"/v1/operations/{unknown}?wait=1", None),
        ("clerk", "POST", "/v1/assets", publication("people-locked")),
        ("clerk", "POST", "/v1/agreements", {"grantId": unknown, "cap": 5}),
    ]

    def call(role: str, method: str, path: str, body: Any) -> int:
        client = department.client(None)
        raw = b"" if body is None else json.dumps(body).encode()
        token = (
            issuer.issue(audience=department.member, method=method, target=path, body=raw)
            if role == "bank"
            else bearer(department, role)
        )
        try:
            return int(client.raw(method, path, raw, {"authorization": token}).status)
        finally:
            client.close()

    observer = department.client(None)
    with ThreadPoolExecutor(len(tried)) as threads:
        with locked(database), stopped(network.chain.process.pid, supervisor.node.api.pid):
            waiting = [threads.submit(call, *request) for request in tried]
            took = asked_while(observer, waiting)
            assert max(took) < LOCKED_SECONDS / 5, took
            before = time.monotonic()
            down_of(observer)
            assert time.monotonic() - before < LOCKED_SECONDS / 2
            # The check writes every two seconds; until the next write it sees a database that can
            # be read.
            assert eventually(lambda: "database" in down_of(observer))
        assert all(work.result(60) >= 200 for work in waiting)
    observer.close()


def bearer(organisation: Organisation, role: str) -> str:
    return f"Bearer {organisation.token(role)}"


def example(name: str) -> dict[str, Any]:
    statement = {"decision": GrantDecision, "revocation": GrantRevocation}[name]
    return {
        name: chain.statements.examples.example(statement).to_json(),
        "signature": "0x" + "11" * 64 + "1b",
    }


def publication(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "source": "people",
        "description": {
            "titleZh": "人员",
            "titleEn": "People",
            "description": "Test records",
            "grade": 3,
        },
        "masking": {"age": "keep", "area": "keep", "note": "drop"},
        "purposes": {"statistics": {}},
    }


def test_a_check_that_does_not_answer_is_down_and_is_not_started_twice(
    network: TestNetwork, department: Organisation
) -> None:
    """With the database locked, a series of /readyz ends each in time."""
    observer = department.client(None)
    eventually(lambda: down_of(observer) == [])
    with locked(Path(department.plan.directory / "data" / "node.db")):
        codes = eventually(lambda: codes_of(observer).get("database"))
        assert codes in ("check_timed_out", "database_unavailable")
        before = time.monotonic()
        for _ in range(3):
            assert "database" in down_of(observer)
        assert time.monotonic() - before < LOCKED_SECONDS
    eventually(lambda: down_of(observer) == [])
    observer.close()


def codes_of(client: NodeClient) -> dict[str, str]:
    answer = json.loads(client.raw("GET", "/readyz", b"", {}).body)
    return {part["name"]: part["code"] for part in answer["dependencies"] if not part["up"]}


def down_of(client: NodeClient) -> list[str]:
    return list(codes_of(client))
