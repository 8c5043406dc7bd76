"""Builds one node from its configuration: deployment, database, view, keys, peers, sources, and the
``Context`` that services get.

Only what the process needs is opened: the API process holds the statement, token and log keys, the
outbox process the transaction key alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.database import Database
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger import Ledger
from chain.ethereum.view import ChainView
from chain.keys.files import KeyStore, Secp256k1Signer
from chain.statements.members import KeyPurpose
from exchange.banking.model import ClearingSettings
from exchange.disputes.model import ContestLimits
from exchange.metering.model import GatewayLimits
from nodes.clocks import judge
from nodes.config import NodeConfig
from nodes.finality import finality_rule
from nodes.initialise import NODE_KEYS, public_keys
from nodes.peers import HttpPeers
from nodes.restore_guard import GuardedLogSigner, GuardedSigner, RestoreGuard
from nodes.sources import Sources
from nodes.sources.monitor import SourceMonitor
from nodes.tokens import NonceLog, TokenIssuer, TokenVerifier
from registry.sources import ConfiguredSources


@dataclass
class AssembledNode:
    """An assembled API process. ``start`` belongs to the running event loop, ``close`` ends
    everything.
    """

    config: NodeConfig
    context: Context
    peers: HttpPeers
    verifier: TokenVerifier
    nonces: NonceLog
    sources: Sources
    source_monitor: SourceMonitor
    restore_guard: RestoreGuard
    keys: Mapping[KeyPurpose, bytes]
    """Fingerprints of the node's own keys."""

    def start(self) -> None:
        """Start to follow the chain, without waiting for it."""
        self.context.view.start()
        self.source_monitor.start()

    def close(self) -> None:
        """Stop the threads and close every connection."""
        self.source_monitor.stop()
        self.peers.close()
        self.context.view.stop()
        self.sources.close()
        self.context.database.close()
        self.context.ledger.close()
        self.nonces.close()


def _gateway_limits(config: NodeConfig) -> GatewayLimits:
    limits = config.limits
    return GatewayLimits(
        answer_bytes=limits.answer_bytes,
        unknown_subjects=limits.unknown_subjects,
        unknown_seconds=limits.unknown_subjects_seconds,
    )


@dataclass(frozen=True)
class _OpenedKeys:
    """The node's own keys, opened; those that sign statements and the log are guarded."""

    statement: GuardedSigner
    token: Secp256k1Signer
    log: GuardedLogSigner
    earlier_statement: Sequence[GuardedSigner]
    earlier_log: Sequence[bytes]


def _open_keys(config: NodeConfig, guard: RestoreGuard) -> _OpenedKeys:
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    statement, token, log = (
        NODE_KEYS[purpose][0]
        for purpose in (KeyPurpose.STATEMENT, KeyPurpose.TOKEN, KeyPurpose.LOG)
    )
    return _OpenedKeys(
        statement=GuardedSigner(store.secp256k1(statement), guard),
        token=store.secp256k1(token),
        log=GuardedLogSigner(store.ed25519(log), guard),
        earlier_statement=[
            GuardedSigner(store.secp256k1(name), guard) for name in store.replaced(statement)
        ],
        earlier_log=[store.ed25519(name).public_key for name in reversed(store.replaced(log))],
    )


def _log_keys(config: NodeConfig, own: bytes) -> dict[str, str]:
    """Return the configured log keys by member, with this node's own."""
    found = {member: peer.log for member, peer in config.peers.items() if peer.log is not None}
    return {**found, config.member: "0x" + own.hex()}


def assemble(config: NodeConfig, *, clock: Callable[[], float] = time.time) -> AssembledNode:
    """Open everything the API process needs. ``clock`` gives Unix seconds."""
    deployment = Deployment.load(config.path(config.chain.deployment))
    public = public_keys(config.path(config.keys.dir))
    restore_guard = RestoreGuard()
    keys = _open_keys(config, restore_guard)
    view = ChainView(
        config.chain.rpc,
        deployment,
        finality_rule(config),
        stale_seconds=config.chain.stale_seconds,
        clock=clock,
    )
    peers = HttpPeers(
        peers=config.peers,
        issuer=TokenIssuer(
            member=config.member, signer=keys.token, deployment=deployment, clock=clock
        ),
        view=view,
        timeout=config.limits.peer_timeout_seconds,
        clock=clock,
    )
    config.data.mkdir(parents=True, exist_ok=True)
    nonces = NonceLog(config.data / "nonces", clock=clock)
    sources = Sources(config)
    context = Context(
        member=config.member,
        roles=config.role,
        database=Database(config.database_url),
        ledger=Ledger(config.chain.rpc, deployment),
        view=view,
        peers=peers,
        signers={KeyPurpose.STATEMENT: keys.statement, KeyPurpose.TOKEN: keys.token},
        log_signer=keys.log,
        transaction_address=public[KeyPurpose.TRANSACTION].address,
        earlier_signers=keys.earlier_statement,
        earlier_log_keys=keys.earlier_log,
        log_keys=_log_keys(config, keys.log.public_key),
        witness_peers=tuple(config.peers),
        require_current_database=restore_guard.require,
        clock=clock,
    )
    context.services.put(
        ConfiguredSources(sources, sources.uploads),
        _gateway_limits(config),
        ContestLimits(config.disputes.contest_stake_fen),
        ClearingSettings(**config.clearing.model_dump()),
    )
    verifier = TokenVerifier(
        member=config.member,
        view=view,
        nonces=nonces,
        clock=clock,
        clocks=lambda: judge(view.clock_offset, peers.clock_offsets()),
    )
    monitor = SourceMonitor(sources, seconds=config.workers.source_seconds)
    fingerprints = {purpose: entry.fingerprint for purpose, entry in public.items()}
    return AssembledNode(
        config, context, peers, verifier, nonces, sources, monitor, restore_guard, fingerprints
    )
