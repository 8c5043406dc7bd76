"""Puts one node together from its configuration: deployment, database, view, keys, peers, sources; the ``Context`` that
services get.

Only what the process needs is opened: the API process holds the statement, token and log keys, the outbox process the
transaction key alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.database import Database
from chain.deployment import Deployment
from chain.finality import FinalityRule, KaiaIbft, UnsealedForTestsOnly
from chain.keys import KeyStore
from chain.ledger import Ledger
from chain.statements import KeyPurpose
from chain.view import ChainView
from exchange.metering.gateway import LIMITS
from exchange.metering.model import GatewayLimits
from nodes.clocks import judge
from nodes.config import UNSEALED_TEST, NodeConfig
from nodes.initialise import NODE_KEYS, public_keys
from nodes.peers import HttpPeers
from nodes.sources import Sources
from nodes.sources.monitor import SourceMonitor
from nodes.standing import HeldLogSigner, HeldSigner, Standing
from nodes.tokens import Issuer, NonceLog, Verifier
from registry.evidence.service import STANDING


@dataclass
class Node:
    """An assembled API process. ``start`` belongs to the running event loop, ``close`` ends everything."""

    config: NodeConfig
    context: Context
    peers: HttpPeers
    verifier: Verifier
    nonces: NonceLog
    sources: Sources
    source_monitor: SourceMonitor
    standing: Standing
    keys: Mapping[KeyPurpose, bytes]
    """Fingerprints of the node's own keys."""

    def start(self) -> None:
        """Begin to follow the chain; does not wait for it."""
        self.context.view.start()
        self.source_monitor.start()

    def close(self) -> None:
        """Stop following and finish what was submitted."""
        self.source_monitor.stop()
        self.peers.close()
        self.context.view.stop()
        self.sources.close()
        self.context.database.close()
        self.context.ledger.close()
        self.nonces.close()


def finality_rule(config: NodeConfig) -> FinalityRule:
    """The configured rule."""
    if config.chain.finality == UNSEALED_TEST:
        return UnsealedForTestsOnly()
    return KaiaIbft(config.chain.validators_at)


def _gateway_limits(config: NodeConfig) -> GatewayLimits:
    limits = config.limits
    return GatewayLimits(
        answer_bytes=limits.answer_bytes,
        unknown_subjects=limits.unknown_subjects,
        unknown_seconds=limits.unknown_subjects_seconds,
    )


def assemble(config: NodeConfig, *, clock: Callable[[], float] = time.time) -> Node:
    """Open everything the API process needs. ``clock`` gives Unix seconds."""
    deployment = Deployment.load(config.path(config.chain.deployment))
    keys_dir = config.path(config.keys.dir)
    public = public_keys(keys_dir)
    store = KeyStore(keys_dir, config.passphrase())
    standing = Standing()
    token_signer = store.secp256k1(NODE_KEYS[KeyPurpose.TOKEN][0])
    signers = {
        KeyPurpose.STATEMENT: HeldSigner(store.secp256k1(NODE_KEYS[KeyPurpose.STATEMENT][0]), standing),
        KeyPurpose.TOKEN: token_signer,
    }
    statement_key = NODE_KEYS[KeyPurpose.STATEMENT][0]
    log_signer = HeldLogSigner(store.ed25519(NODE_KEYS[KeyPurpose.LOG][0]), standing)
    view = ChainView(
        config.chain.rpc,
        deployment,
        finality_rule(config),
        stale_seconds=config.chain.stale_seconds,
        clock=clock,
    )
    issuer = Issuer(member=config.member, signer=token_signer, deployment=deployment, clock=clock)
    peers = HttpPeers(
        peers=config.peers,
        issuer=issuer,
        view=view,
        timeout=config.limits.peer_timeout_seconds,
        clock=clock,
    )
    config.data.mkdir(parents=True, exist_ok=True)
    nonces = NonceLog(config.data / "nonces", clock=clock)
    sources = Sources(config)
    log_keys = {member: peer.log for member, peer in config.peers.items() if peer.log is not None}
    log_keys[config.member] = "0x" + log_signer.public_key.hex()
    context = Context(
        member=config.member,
        roles=config.role,
        database=Database(config.database_url),
        ledger=Ledger(config.chain.rpc, deployment),
        view=view,
        peers=peers,
        signers=signers,
        log_signer=log_signer,
        transaction_address=public[KeyPurpose.TRANSACTION].address,
        earlier_signers=[HeldSigner(store.secp256k1(name), standing) for name in store.replaced(statement_key)],
        earlier_log_keys=[store.ed25519(name).public_key for name in reversed(store.replaced(NODE_KEYS[KeyPurpose.LOG][0]))],
        settings={"log_keys": log_keys, "peers": tuple(config.peers), LIMITS: _gateway_limits(config), **config.settings},
        clock=clock,
        ports={"sources": sources, STANDING: standing.require},
    )
    verifier = Verifier(
        member=config.member,
        view=view,
        nonces=nonces,
        clock=clock,
        clocks=lambda: judge(view.clock_offset, peers.clock_offsets()),
    )
    monitor = SourceMonitor(sources, seconds=config.workers.source_seconds)
    keys = {purpose: entry.fingerprint for purpose, entry in public.items()}
    return Node(config, context, peers, verifier, nonces, sources, monitor, standing, keys)
