"""The outbox process: sends the node's queued contract calls. It holds the transaction keys and
nothing else, and imports no web framework.

A key that was replaced still sends what was queued for it; nothing moves from one key to another,
so nothing is sent twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from chain.core.database import Database
from chain.core.memory import return_freed_memory
from chain.core.signals import run_until_signalled
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger import Ledger
from chain.keys.files import KeyStore
from chain.outbox import OutboxWorker
from chain.statements.members import KeyPurpose
from nodes.config import NodeConfig
from nodes.exclusive import exclusive_process
from nodes.finality import finality_rule
from nodes.initialise import NODE_KEYS
from nodes.migrate import upgrade_apart

log = logging.getLogger("qiaolian.outbox")


def run(config: NodeConfig) -> int:
    """Send until SIGTERM; the process's exit code."""
    run_until_signalled(lambda stop: _send(config, stop))
    return 0


def _send(config: NodeConfig, stop: threading.Event) -> None:
    deployment = Deployment.load(config.path(config.chain.deployment))
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    name = NODE_KEYS[KeyPurpose.TRANSACTION][0]
    signers = [store.secp256k1(text) for text in (name, *store.replaced(name, ended=False))]
    with exclusive_process("outbox", config.database_url):
        upgrade_apart(config.database_url, lock_dir=config.data)
        database = Database(config.database_url)
        ledger, rule = Ledger(config.chain.rpc, deployment), finality_rule(config)
        return_freed_memory()
        log.info("outbox runs")
        try:
            _run_all([OutboxWorker(database, ledger, signer, rule) for signer in signers], stop)
        finally:
            database.close()
            ledger.close()
            log.info("outbox ended")


def _run_all(workers: Sequence[OutboxWorker], stop: threading.Event) -> None:
    """Run one worker per key until ``stop``; an error of one ends all and is raised."""

    def run(worker: OutboxWorker) -> None:
        try:
            worker.run(stop)
        finally:
            stop.set()

    with ThreadPoolExecutor(len(workers), "outbox") as pool:
        for ended in [pool.submit(run, worker) for worker in workers]:
            ended.result()
