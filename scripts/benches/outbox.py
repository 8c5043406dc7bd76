"""Contract transactions a second through the outbox and the Ledger port, against raw JSON-RPC
batches to the same four validators.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from chain.core.crypto import new_private_key
from chain.core.database import Base, Database
from chain.engine.network import Network
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.finality import KaiaIbft
from chain.ethereum.ledger import Ledger
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Secp256k1Signer
from chain.outbox import OutboxWorker, backlog, enqueue
from chain.statements.members import Role
from scripts.benches.figure import Figure
from scripts.demo_steps.records import organisation_code

CALLS = 2_000
RUNS = 3
"""The median of so many pairs counts: a validator that misses blocks under load costs a round
change of ten seconds, whoever sends.
"""
BATCH = 200
WAIT_SECONDS = 180.0
Say = Callable[[str], None]


def run(say: Say) -> list[Figure]:
    """Anchor ``CALLS`` log heads each way."""
    with tempfile.TemporaryDirectory() as directory:
        network = Network.create(Path(directory) / "network", ["one", "two", "three", "four"])
        try:
            network.start(say=say)
            signers = [Secp256k1Signer(new_private_key()) for _ in range(3)]
            governors = [
                Governor(
                    organisation_code("11", 50 + n),
                    f"governor {n}",
                    Role.OPERATOR,
                    _address(),
                    signer.address,
                )
                for n, signer in enumerate(signers)
            ]
            deployment = deploy(network.rpc_urls[0], new_private_key(), governors)
            ledger = Ledger(network.rpc_urls, deployment)
            runs = []
            for number in range(RUNS):
                raw = CALLS / raw_batches(ledger, signers[0], number)
                ours = CALLS / _outbox(
                    KaiaIbft(network.addresses),
                    ledger,
                    signers[1],
                    Path(directory) / f"outbox-{number}.db",
                    number,
                )
                say(f"{CALLS} calls: {raw:.0f}/s as raw batches, {ours:.0f}/s through the outbox")
                runs.append((ours / raw, ours, raw))
        finally:
            network.destroy()
    _, ours, raw = sorted(runs)[RUNS // 2]
    return [
        Figure(
            "contract calls through the outbox, four validators",
            ours,
            "calls/s",
            raw,
            "raw JSON-RPC batches",
            "≥ 70 %",
        )
    ]


def raw_batches(ledger: Ledger, signer: Secp256k1Signer, log: int) -> float:
    """Seconds until ``CALLS`` anchors of a log, sent as JSON-RPC batches, are in a block."""
    signed, nonce = [], ledger.nonce(signer.address)
    for number in range(CALLS):
        address, data = ledger.encode("EvidenceLog", "anchor", log, number + 1, _root(number))
        signed.append(
            sign_transaction(
                signer,
                chain_id=ledger.deployment.chain_id,
                nonce=nonce + number,
                to=address,
                data=data,
                gas=gas_for(data),
            )
        )
    started = time.monotonic()
    for start in range(0, CALLS, BATCH):
        for answer in ledger.send(
            [transaction.raw for transaction in signed[start : start + BATCH]]
        ):
            if not isinstance(answer, bytes):
                raise answer
    wait(lambda: ledger.receipt(signed[-1].transaction_hash) is not None)
    return time.monotonic() - started


def _outbox(rule: KaiaIbft, ledger: Ledger, signer: Secp256k1Signer, path: Path, log: int) -> float:
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.engine)

    def fill(session: Session) -> None:
        for number in range(CALLS):
            enqueue(
                session,
                sender=signer.address,
                operation_id=f"anchor/{number}",
                contract="EvidenceLog",
                function="anchor",
                arguments=[log, number + 1, _root(number)],
            )

    database.write(fill)
    stop = threading.Event()
    worker = threading.Thread(target=OutboxWorker(database, ledger, signer, rule).run, args=(stop,))
    started = time.monotonic()
    worker.start()
    try:
        wait(lambda: _empty(database, signer.address))
        return time.monotonic() - started
    finally:
        stop.set()
        worker.join()
        database.close()


def _empty(database: Database, sender: str) -> bool:
    with database.read() as session:
        left = backlog(session, sender)
    return left.queued + left.in_flight == 0


def wait(check: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError("the calls did not end in time")
        time.sleep(0.05)


def _root(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _address() -> str:
    return Secp256k1Signer(new_private_key()).address
