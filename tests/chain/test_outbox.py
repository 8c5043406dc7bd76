"""A promised call takes effect once: through kills, refusals, forgetful nodes and used nonces."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.crypto import keccak256
from chain.core.database import Base, Database
from chain.core.errors import BadInput, Conflict, NotFound, QiaolianError, Unavailable
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.ledger import Ledger, Reverted, log_id_of
from chain.ethereum.rpc import RpcRefused
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Secp256k1Signer
from chain.outbox import OutboxWorker, Priority, backlog, enqueue, outcome, wait
from chain.outbox.store import CALLS, SENDERS
from tests.chain.conftest import Throwaway

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'node.db'}")
    Base.metadata.create_all(opened.engine)
    yield opened
    opened.close()


@contextmanager
def working(worker: OutboxWorker) -> Iterator[None]:
    """The worker runs in a thread for as long as the block does."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert failures == []


def worker_of(throwaway: Throwaway, database: Database, **settings: Any) -> OutboxWorker:
    options: dict[str, Any] = {
        "poll_seconds": 0.01,
        "block_seconds": 0.02,
        "resend_seconds": 0.2,
        **settings,
    }
    return OutboxWorker(
        database,
        throwaway.ledger,
        throwaway.organisations[2].transaction,
        UnsealedForTestsOnly(),
        **options,
    )


def anchor(
    session: Any,
    throwaway: Throwaway,
    size: int,
    *,
    operation: str | None = None,
    root: bytes = b"\7" * 32,
    log: int = 1,
    priority: Priority = Priority.NORMAL,
    follows: str | None = None,
) -> None:
    enqueue(
        session,
        sender=throwaway.organisations[2].transaction.address,
        operation_id=operation or f"anchor-{size}",
        contract="EvidenceLog",
        function="anchor",
        arguments=[log, size, root],
        priority=priority,
        follows=follows,
    )


def anchored(throwaway: Throwaway) -> list[int]:
    """The sizes of all anchor events, in chain order."""
    events = throwaway.ledger.events(0, throwaway.ledger.height(), ["EvidenceLog"])
    return [event.arguments["size"] for event in events if event.name == "Anchored"]


def wait_until(holds: Callable[[], bool], timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def final(database: Database, operation: str) -> Any:
    return asyncio.run(wait(database, operation, PATIENCE))


def code_of(action: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


# --- promising ------------------------------------------------------------------------------------


def test_a_call_is_queued_only_if_its_change_commits(
    throwaway: Throwaway, database: Database
) -> None:
    def change(session: Any) -> None:
        anchor(session, throwaway, 1)
        raise Conflict("no", "The domain change is refused.")

    assert code_of(lambda: database.write(change)) == "no"
    with database.read() as session:
        assert code_of(lambda: outcome(session, "anchor-1")) == "operation_unknown"


def test_the_same_operation_is_queued_once(throwaway: Throwaway, database: Database) -> None:
    for _ in range(3):
        database.write(lambda session: anchor(session, throwaway, 1))
    with database.read() as session:
        assert backlog(session, throwaway.organisations[2].transaction.address).queued == 1


def test_an_operation_id_used_for_another_call_is_refused(
    throwaway: Throwaway, database: Database
) -> None:
    database.write(lambda session: anchor(session, throwaway, 1, operation="one"))
    with pytest.raises(Conflict) as caught:
        database.write(lambda session: anchor(session, throwaway, 2, operation="one"))
    assert caught.value.code == "operation_reused"


def test_a_call_that_cannot_be_encoded_is_refused_at_once(
    throwaway: Throwaway, database: Database
) -> None:
    assert (
        code_of(lambda: database.write(lambda session: anchor(session, throwaway, -1)))
        == "call_malformed"
    )


def test_a_call_over_the_nodes_limits_is_refused_at_once(
    throwaway: Throwaway, database: Database
) -> None:
    def change(session: Any) -> None:
        enqueue(
            session,
            sender=throwaway.organisations[2].transaction.address,
            operation_id="large",
            contract="CreditLedger",
            function="anchorQueries",
            arguments=[[bytes(32)] * 4000],
        )

    with pytest.raises(BadInput) as caught:
        database.write(change)
    assert caught.value.code == "call_too_large"


def test_an_operation_that_was_not_queued_is_unknown(database: Database) -> None:
    with pytest.raises(NotFound):
        asyncio.run(wait(database, "nothing", 1))


def test_waiting_times_out_and_the_call_stays_queued(
    throwaway: Throwaway, database: Database
) -> None:
    database.write(lambda session: anchor(session, throwaway, 1))
    with pytest.raises(Unavailable) as caught:
        asyncio.run(wait(database, "anchor-1", 0.05))
    assert caught.value.code == "outbox_timeout"
    with database.read() as session:
        found = outcome(session, "anchor-1")
        assert (found.state, found.final) == ("queued", False)
        assert code_of(found.require_done) == "outbox_pending"


# --- sending --------------------------------------------------------------------------------------


def test_queued_calls_enter_the_chain_once_each_in_order(
    throwaway: Throwaway, database: Database
) -> None:
    def change(session: Any) -> None:
        for size in range(1, 301):
            anchor(session, throwaway, size)

    with working(worker_of(throwaway, database)):
        database.write(change)
        found = final(database, "anchor-300")
        wait_until(lambda: len(anchored(throwaway)) == 300)
    assert anchored(throwaway) == list(range(1, 301))
    assert found.state == "done"
    receipt = throwaway.ledger.receipt(found.tx_hash)
    assert (receipt.succeeded, receipt.height) == (True, found.height)


def test_a_claim_overtakes_a_thousand_bulk_calls(throwaway: Throwaway, database: Database) -> None:
    def flood(session: Any) -> None:
        for number in range(1, 1_201):
            bulk = {"operation": f"bulk-{number}", "log": 1_000 + number, "priority": Priority.BULK}
            anchor(session, throwaway, 1, **bulk)

    def index(operation: str) -> int | None:
        with database.read() as session:
            found: int | None = session.scalar(
                sa.select(CALLS.c.nonce).where(CALLS.c.operation_id == operation)
            )
        return found

    throwaway.rpc("evm_setAutomine", False)
    start = throwaway.ledger.nonce(throwaway.organisations[2].transaction.address)
    database.write(flood)
    database.write(lambda session: anchor(session, throwaway, 1, priority=Priority.URGENT))
    with working(worker_of(throwaway, database, batch=20, max_bulk_in_flight=40)):
        wait_until(lambda: index("bulk-39") is not None)
        assert index("anchor-1") in (start, start + 1), "it was queued last and goes first"
        # No block comes: what is in flight now is all that a second one may have before it.
        database.write(lambda session: anchor(session, throwaway, 2, priority=Priority.URGENT))
        wait_until(lambda: index("anchor-2") is not None)
        assert index("anchor-2") <= start + 40 + 1
        assert index("bulk-1200") is None


def test_a_call_does_not_overtake_one_that_the_contract_needs_first(
    throwaway: Throwaway, database: Database
) -> None:
    def change(session: Any) -> None:
        anchor(session, throwaway, 1, operation="other", log=7, priority=Priority.NORMAL)
        anchor(session, throwaway, 1, priority=Priority.BULK)
        anchor(session, throwaway, 2, priority=Priority.URGENT, follows="anchor-1")

    database.write(change)
    with working(worker_of(throwaway, database, batch=1)):
        # The contract refuses the smaller size after the larger one (``log_shrinks``).
        assert [final(database, f"anchor-{size}").state for size in (1, 2)] == ["done", "done"]


def test_a_refusal_of_the_contract_is_final_and_has_its_code(
    throwaway: Throwaway, database: Database
) -> None:
    with working(worker_of(throwaway, database)):
        database.write(lambda session: anchor(session, throwaway, 5))
        assert final(database, "anchor-5").state == "done"
        database.write(lambda session: anchor(session, throwaway, 4))
        refused = final(database, "anchor-4")
    assert (refused.state, refused.code) == ("reverted", "log_shrinks")
    assert refused.context == {"by": "EvidenceLog", "anchored": 5, "offered": 4}
    with pytest.raises(Reverted) as caught:
        refused.require_done()
    assert caught.value.code == "log_shrinks"


def test_a_refused_call_does_not_block_later_ones(throwaway: Throwaway, database: Database) -> None:
    def change(session: Any) -> None:
        anchor(session, throwaway, 5)
        anchor(session, throwaway, 5, operation="conflict", root=b"\1" * 32)
        anchor(session, throwaway, 6)

    database.write(change)
    with working(worker_of(throwaway, database)):
        assert final(database, "anchor-6").state == "done"
        assert final(database, "conflict").code == "root_conflict"


def test_the_bytes_are_stored_before_a_node_sees_them(
    throwaway: Throwaway, database: Database
) -> None:
    seen: list[bool] = []
    send = throwaway.ledger.send

    def spying(raw_transactions: Sequence[bytes]) -> list[bytes | RpcRefused]:
        with database.read() as session:
            stored = set(session.execute(sa.select(CALLS.c.raw)).scalars())
        seen.append(all(raw in stored for raw in raw_transactions))
        return send(raw_transactions)

    throwaway.ledger.send = spying
    with working(worker_of(throwaway, database)):
        database.write(lambda session: anchor(session, throwaway, 1))
        final(database, "anchor-1")
    assert seen
    assert all(seen)


def test_waking_the_worker_sends_a_call_before_the_next_poll(
    throwaway: Throwaway, database: Database
) -> None:
    worker, stop = worker_of(throwaway, database, poll_seconds=3_600.0), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        database.write(lambda session: anchor(session, throwaway, 1))
        worker.wake()
        asyncio.run(wait(database, "anchor-1", PATIENCE))
    finally:
        stop.set()
        worker.wake()
        thread.join(PATIENCE)
    assert anchored(throwaway) == [1]


def test_calls_wait_while_the_chain_is_down_and_are_sent_afterwards(
    throwaway: Throwaway, database: Database, serve: Callable[[Any], str]
) -> None:
    away = threading.Event()
    away.set()

    def relay(body: Any) -> bytes:
        return b"bad gateway" if away.is_set() else relayed(throwaway, body)

    ledger = Ledger(serve(relay), throwaway.deployment)
    worker = OutboxWorker(
        database,
        ledger,
        throwaway.organisations[2].transaction,
        UnsealedForTestsOnly(),
        poll_seconds=0.01,
        block_seconds=0.02,
    )
    database.write(lambda session: anchor(session, throwaway, 1))
    with working(worker):
        with pytest.raises(Unavailable):
            asyncio.run(wait(database, "anchor-1", 0.3))
        away.clear()
        assert final(database, "anchor-1").state == "done"
    assert anchored(throwaway) == [1]


def relayed(throwaway: Throwaway, body: Any, **instead: Any) -> bytes:
    """The chain's own answer, except for the methods named in ``instead``."""
    calls = [body] if isinstance(body, dict) else body
    answers = throwaway.ledger.rpc.batch([(call["method"], call["params"]) for call in calls])
    items = [
        {"id": call["id"], "result": instead.get(call["method"], answer)}
        for call, answer in zip(calls, answers, strict=True)
    ]
    return json.dumps(items[0] if isinstance(body, dict) else items).encode()


def test_calls_go_through_another_node_when_the_first_stalls(
    throwaway: Throwaway, database: Database, serve: Callable[[Any], str]
) -> None:
    height = hex(throwaway.ledger.height())

    def stopped(body: Any) -> bytes:
        if isinstance(body, dict) and body["method"] == "eth_sendRawTransaction":
            return json.dumps(
                {
                    "id": body["id"],
                    "result": "0x" + keccak256(bytes.fromhex(body["params"][0][2:])).hex(),
                }
            ).encode()
        return relayed(throwaway, body, eth_blockNumber=height)

    ledger = Ledger([serve(stopped), throwaway.url], throwaway.deployment)
    worker = OutboxWorker(
        database,
        ledger,
        throwaway.organisations[2].transaction,
        UnsealedForTestsOnly(),
        poll_seconds=0.01,
        block_seconds=0.02,
        resend_seconds=0.2,
    )
    database.write(lambda session: anchor(session, throwaway, 1))
    with working(worker):
        assert final(database, "anchor-1").state == "done"
    assert anchored(throwaway) == [1]


# --- what a chain node says of an outcome ---------------------------------------------------------


def altering(
    throwaway: Any, alter: Callable[[dict[str, Any], Callable[[], Any]], Any]
) -> Callable[[Any], bytes]:
    """A node that answers each request by ``alter``, whose second argument asks the chain."""

    def answer(body: Any) -> bytes:
        items = [
            {
                "id": call["id"],
                "result": alter(
                    call, lambda call=call: json.loads(relayed(throwaway, call))["result"]
                ),
            }
            for call in ([body] if isinstance(body, dict) else body)
        ]
        return json.dumps(items[0] if isinstance(body, dict) else items).encode()

    return answer


def worker_at(throwaway: Any, database: Database, url: str) -> OutboxWorker:
    return OutboxWorker(
        database,
        Ledger(url, throwaway.deployment),
        throwaway.organisations[2].transaction,
        UnsealedForTestsOnly(),
        poll_seconds=0.01,
        block_seconds=0.02,
        resend_seconds=0.1,
    )


def state_of(database: Database, operation: str) -> str:
    with database.read() as session:
        return outcome(session, operation).state


def test_a_call_that_a_node_reports_done_and_never_sent_is_not_done(
    throwaway: Any, database: Database, serve: Callable[[Any], str]
) -> None:
    lying, answered = threading.Event(), threading.Semaphore(0)
    latest = hex(throwaway.ledger.height())
    ((receipt, *_),) = throwaway.ledger.rpc.batch([("eth_getBlockReceipts", (latest,))])
    lying.set()

    def alter(call: dict[str, Any], honest: Callable[[], Any]) -> Any:
        if lying.is_set() and call["method"] == "eth_sendRawTransaction":
            return "0x" + keccak256(bytes.fromhex(call["params"][0][2:])).hex()
        if lying.is_set() and call["method"] == "eth_getTransactionReceipt":
            answered.release()
            return {**receipt, "transactionHash": call["params"][0], "status": "0x1"}
        return honest()

    database.write(lambda session: anchor(session, throwaway, 1))
    with working(worker_at(throwaway, database, serve(altering(throwaway, alter)))):
        for _ in range(3):
            assert answered.acquire(timeout=PATIENCE)
        assert state_of(database, "anchor-1") == "sent"
        assert anchored(throwaway) == []
        lying.clear()
        assert final(database, "anchor-1").state == "done"
    assert anchored(throwaway) == [1]


def test_a_call_that_a_node_reports_refused_and_was_executed_is_done(
    throwaway: Any, database: Database, serve: Callable[[Any], str]
) -> None:
    lying, answered = threading.Event(), threading.Semaphore(0)
    lying.set()

    def alter(call: dict[str, Any], honest: Callable[[], Any]) -> Any:
        result = honest()
        if lying.is_set() and call["method"] == "eth_getBlockReceipts":
            answered.release()
            return [{**receipt, "status": "0x0"} for receipt in result]
        return result

    database.write(lambda session: anchor(session, throwaway, 1))
    with working(worker_at(throwaway, database, serve(altering(throwaway, alter)))):
        for _ in range(2):
            assert answered.acquire(timeout=PATIENCE)
        assert state_of(database, "anchor-1") in ("signed", "sent")
        assert anchored(throwaway) == [1]
        lying.clear()
        assert final(database, "anchor-1").state == "done"


# --- what goes wrong between the steps ------------------------------------------------------------


def test_bytes_that_a_node_dropped_are_sent_again_unchanged(
    throwaway: Throwaway, database: Database
) -> None:
    throwaway.rpc("evm_setAutomine", False)
    with working(worker_of(throwaway, database)):
        database.write(lambda session: anchor(session, throwaway, 1))

        def sent() -> bytes | None:
            with database.read() as session:
                found = outcome(session, "anchor-1")
            return found.tx_hash if found.state == "sent" else None

        wait_until(lambda: sent() is not None)
        first = sent()
        throwaway.rpc("anvil_dropAllTransactions")
        assert throwaway.rpc("txpool_status")["pending"] == "0x0"
        wait_until(lambda: throwaway.rpc("txpool_status")["pending"] == "0x1")
        throwaway.rpc("evm_setAutomine", True)
        throwaway.rpc("evm_mine")
        found = final(database, "anchor-1")
    assert found.tx_hash == first
    assert anchored(throwaway) == [1]


def test_a_call_whose_nonce_another_transaction_used_is_signed_again(
    throwaway: Throwaway, database: Database
) -> None:
    """As after a restore from an old backup, or with the key used elsewhere."""
    throwaway.rpc("evm_setAutomine", False)
    signer = throwaway.organisations[2].transaction
    foreign = sign_transaction(
        signer,
        chain_id=throwaway.deployment.chain_id,
        nonce=0,
        to=signer.address,
        data=b"",
        gas=gas_for(b""),
    )
    with working(worker_of(throwaway, database)):
        database.write(lambda session: anchor(session, throwaway, 1))
        wait_until(lambda: throwaway.rpc("txpool_status")["pending"] == "0x1")
        throwaway.rpc("anvil_dropAllTransactions")
        throwaway.ledger.send([foreign.raw])
        throwaway.rpc("evm_mine")
        throwaway.rpc("evm_setAutomine", True)
        found = final(database, "anchor-1")
    assert found.state == "done"
    assert anchored(throwaway) == [1]
    assert throwaway.ledger.nonce(signer.address) == 2


def test_a_database_restored_from_an_old_backup_does_not_reuse_a_nonce(
    throwaway: Throwaway, database: Database
) -> None:
    for size in (1, 2):
        throwaway.send(throwaway.organisations[2], "EvidenceLog", "anchor", 1, size, b"\7" * 32)
    sender = throwaway.organisations[2].transaction.address
    database.write(
        lambda session: (
            session.execute(sa.insert(SENDERS).values(sender=sender, next_nonce=0)) and None
        )
    )
    database.write(lambda session: anchor(session, throwaway, 3))
    with working(worker_of(throwaway, database)):
        assert final(database, "anchor-3").state == "done"
    assert anchored(throwaway) == [1, 2, 3]


def test_two_workers_of_one_key_send_no_call_twice(
    throwaway: Throwaway, database: Database
) -> None:
    def change(session: Any) -> None:
        for size in range(1, 101):
            anchor(session, throwaway, size)

    with (
        working(worker_of(throwaway, database, batch=7)),
        working(worker_of(throwaway, database, batch=5)),
    ):
        database.write(change)
        wait_until(lambda: backlog_of(database, throwaway) == 0, timeout=4 * PATIENCE)
    assert sorted(anchored(throwaway)) == anchored(throwaway)
    assert len(set(anchored(throwaway))) == len(anchored(throwaway))
    assert throwaway.ledger.nonce(throwaway.organisations[2].transaction.address) == 100


def backlog_of(database: Database, throwaway: Throwaway) -> int:
    with database.read() as session:
        owed = backlog(session, throwaway.organisations[2].transaction.address)
    return owed.queued + owed.in_flight


PROGRAM = """
import sys, threading
from chain.core.database import Database
from chain.ethereum.deployment import Deployment
from chain.keys.files import Secp256k1Signer
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.ledger import Ledger
from chain.outbox import OutboxWorker
url, deployment, database, key = sys.argv[1:]
worker = OutboxWorker(Database(database), Ledger(url, Deployment.load(deployment)), Secp256k1Signer(bytes.fromhex(key)),
    UnsealedForTestsOnly(), batch=10, poll_seconds=0.005, block_seconds=0.01, resend_seconds=0.3)
print("up", flush=True)
worker.run(threading.Event())
"""


def test_kill_9_loses_no_call_and_sends_none_twice(throwaway: Throwaway, tmp_path: Path) -> None:
    """The worker is a process of its own, killed over and over while calls are promised."""
    throwaway.rpc("evm_setAutomine", False)
    throwaway.rpc("evm_setIntervalMining", 1)
    database = Database(f"sqlite:///{tmp_path / 'node.db'}")
    Base.metadata.create_all(database.engine)
    throwaway.deployment.save(tmp_path / "deployment.json")
    # A key of our own, admitted for this test, whose bytes can be handed to the process.
    private = bytes(range(1, 33))
    signer = Secp256k1Signer(private)
    bank = throwaway.organisations[2]
    throwaway.execute("addKey", bank.member, (signer.fingerprint, 3, 1))
    arguments = [
        throwaway.url,
        str(tmp_path / "deployment.json"),
        f"sqlite:///{tmp_path / 'node.db'}",
        private.hex(),
    ]
    chance = random.Random(20210916)
    promised = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"

            def change(session: Any, start: int = promised) -> None:
                for size in range(start + 1, start + 41):
                    enqueue(
                        session,
                        sender=signer.address,
                        operation_id=f"anchor-{size}",
                        contract="EvidenceLog",
                        function="anchor",
                        arguments=[1, size, b"\7" * 32],
                    )

            database.write(change)
            promised += 40
            time.sleep(chance.uniform(0.0, 0.4))  # the moment of the kill is what is being varied
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    stop = threading.Event()
    worker = OutboxWorker(
        database,
        Ledger(throwaway.url, throwaway.deployment),
        signer,
        UnsealedForTestsOnly(),
        resend_seconds=0.5,
    )
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        found = [final(database, f"anchor-{size}") for size in range(1, promised + 1)]
    finally:
        stop.set()
        thread.join()
        database.close()
    assert {item.state for item in found} == {"done"}
    # In order and once each: a doubled call would have been refused or shown as a repeated size.
    assert anchored(throwaway) == list(range(1, promised + 1))
    assert throwaway.ledger.nonce(signer.address) == promised
    assert throwaway.ledger.evidence.log(log_id_of(f"qiaolian/{bank.member}/1")).size == promised
