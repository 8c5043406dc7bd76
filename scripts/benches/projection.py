"""Blocks and events a second that a node takes with proof when it catches up, against
``eth_getLogs`` on trust.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from chain.core.crypto import new_private_key
from chain.engine.network import Network
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.finality import KaiaIbft
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.ethereum.view import ChainView
from chain.keys.files import Secp256k1Signer
from chain.statements.members import Role
from scripts.benches.figure import Figure
from scripts.demo_steps.records import organisation_code

EVENTS = 1_000
IDLE_BLOCKS = 90
RUNS = 5
WAIT_SECONDS = 180.0
Say = Callable[[str], None]


def run(say: Say) -> list[Figure]:
    """Anchor ``EVENTS`` log heads, let the chain idle, and read both intervals each
    way; medians.
    """
    with tempfile.TemporaryDirectory() as directory:
        network = Network.create(Path(directory) / "network", ["one"])
        try:
            network.start(say=say)
            signer = Secp256k1Signer(new_private_key())
            governors = [
                Governor(
                    organisation_code("11", 60 + n),
                    f"governor {n}",
                    Role.OPERATOR,
                    _address(),
                    signer.address if n == 0 else _address(),
                )
                for n in range(3)
            ]
            deployment = deploy(network.rpc_urls[0], new_private_key(), governors)
            ledger = Ledger(network.rpc_urls, deployment)
            first = ledger.height() + 1
            _anchor(ledger, signer)
            busy = ledger.height()
            last = busy + IDLE_BLOCKS
            say(f"{EVENTS} events are in blocks {first} to {busy}; waiting for block {last}")
            network.wait_for_height(last, seconds=WAIT_SECONDS)
            rule = KaiaIbft(network.addresses)
            events = [_compare(ledger, rule, first, busy) for _ in range(RUNS)]
            idle = [_compare(ledger, rule, busy + 1, last) for _ in range(RUNS)]
        finally:
            network.destroy()
    return [
        _figure("events taken with proof", EVENTS, "events/s", events),
        _figure("idle blocks taken with proof", IDLE_BLOCKS, "blocks/s", idle),
    ]


def _anchor(ledger: Ledger, signer: Secp256k1Signer) -> None:
    calls = [
        ledger.encode("EvidenceLog", "anchor", 0, n + 1, hashlib.sha256(b"%d" % n).digest())
        for n in range(EVENTS)
    ]
    chain_id = ledger.deployment.chain_id
    signed = [
        sign_transaction(
            signer, chain_id=chain_id, nonce=nonce, to=address, data=data, gas=gas_for(data)
        )
        for nonce, (address, data) in enumerate(calls)
    ]
    for answer in ledger.send([transaction.raw for transaction in signed]):
        if not isinstance(answer, bytes):
            raise answer
    deadline = time.monotonic() + WAIT_SECONDS
    while ledger.receipt(signed[-1].transaction_hash) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the anchors did not end in time")
        time.sleep(0.05)


def _compare(ledger: Ledger, rule: KaiaIbft, first: int, last: int) -> tuple[float, float]:
    """Seconds with proof, by a view that knows no header yet but its head, and seconds on trust."""
    view = ChainView(ledger.rpc.urls, ledger.deployment, rule)
    view.start(wait_seconds=WAIT_SECONDS)
    view.wait_for_height(last, WAIT_SECONDS)
    try:
        started, height, proved = time.perf_counter(), first - 1, []
        while height < last:
            found = view.logs(height + 1, last)
            proved += [event for block in found.blocks for event in ledger.decode_logs(block)]
            height = found.height
        between = time.perf_counter()
        trusted = ledger.events(first, last)
        ended = time.perf_counter()
    finally:
        view.stop()
    if proved != trusted:
        raise ValueError("the chain node reports other events than its blocks hold")
    return between - started, ended - between


def _figure(name: str, count: int, unit: str, runs: list[tuple[float, float]]) -> Figure:
    proved, trusted = (sorted(seconds)[RUNS // 2] for seconds in zip(*runs, strict=True))
    return Figure(name, count / proved, unit, count / trusted, "eth_getLogs", "≥ 1,000 a second")


def _address() -> str:
    return Secp256k1Signer(new_private_key()).address
