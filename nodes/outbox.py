"""The outbox process: sends what the node owes the chain. It holds the transaction key and nothing else, and imports no web framework."""

from __future__ import annotations

import logging
import threading

from chain.database import Database
from chain.deployment import Deployment
from chain.keys import KeyStore
from chain.ledger import Ledger
from chain.outbox import OutboxWorker
from chain.signals import run_until_signalled
from chain.statements import KeyPurpose
from nodes.config import NodeConfig
from nodes.exclusive import only_process
from nodes.initialise import NODE_KEYS
from nodes.migrate import upgrade

log = logging.getLogger("qiaolian.outbox")


def run(config: NodeConfig) -> int:
    """Send until SIGTERM; the process's exit code."""
    run_until_signalled(lambda stop: _send(config, stop))
    return 0


def _send(config: NodeConfig, stop: threading.Event) -> None:
    deployment = Deployment.load(config.path(config.chain.deployment))
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    signer = store.secp256k1(NODE_KEYS[KeyPurpose.TRANSACTION][0])
    with only_process("outbox", config.database_url):
        upgrade(config.database_url, lock_dir=config.data)
        database = Database(config.database_url)
        ledger = Ledger(config.chain.rpc, deployment)
        log.info("outbox runs")
        try:
            OutboxWorker(database, ledger, signer).run(stop)
        finally:
            database.close()
            ledger.close()
            log.info("outbox ended")
