"""The context of a node's services: identity, database, chain view, keys and peers.

Domain packages take a ``Context`` and never build one; ``nodes`` builds it from the configuration.
It contains no rules.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chain.core.crypto import keccak256
from chain.core.database import Database
from chain.core.errors import QiaolianError, Unavailable
from chain.ethereum.eip712 import Domain, Statement
from chain.ethereum.ledger import Ledger
from chain.ethereum.view import ChainView
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.services import Services
from chain.statements.members import KeyPurpose, Role


class Peers(Protocol):
    """Other members' nodes, reached over TLS with a short-lived token. Errors of the peer come back
    as our own, by code.
    """

    async def post(
        self, member: str, path: str, body: Any, *, idempotency_key: str | None = None
    ) -> Any:
        """POST a JSON body, or the bytes of one; the decoded JSON answer."""

    async def get(self, member: str, path: str) -> Any:
        """GET; the decoded JSON answer."""


@dataclass
class Context:
    """One running node."""

    member: str
    roles: Role
    database: Database
    ledger: Ledger
    view: ChainView
    peers: Peers
    signers: Mapping[KeyPurpose, Secp256k1Signer]
    """STATEMENT and TOKEN here; the TRANSACTION key is in the outbox worker's process only."""
    log_signer: Ed25519Signer
    transaction_address: str
    """Address of the node's TRANSACTION key, which the outbox worker owns."""
    earlier_signers: Sequence[Secp256k1Signer] = ()
    """STATEMENT keys that were replaced, oldest first: what pins one of them is signed with it to
    its end.
    """
    earlier_log_keys: Sequence[bytes] = ()
    """Public keys that this node's log was signed with before the present one."""
    log_keys: Mapping[str, str] = field(default_factory=dict)
    """Configured Ed25519 log key of each member, 0x-prefixed hex, by member id."""
    witness_peers: Sequence[str] = ()
    """Configured members, among them the supervisors that are asked to cosign."""
    require_current_database: Callable[[], None] | None = None
    """The restore guard: raises while this database may be older than what others hold of it."""
    clock: Callable[[], float] = time.time
    services: Services = field(default_factory=Services)
    """What the node has one of, by type: the configured sources, its gateway, its buyer."""
    projected_height: int | None = None
    """The last block whose events are in the database; None until the projector has looked."""

    @property
    def blocks_behind(self) -> int | None:
        """How many blocks of the view are not in the database yet; None while the view has none."""
        try:
            head = self.view.head.height
        except QiaolianError:
            return None
        return max(0, head - (self.projected_height or 0))

    def now(self) -> int:
        """Unix seconds."""
        return int(self.clock())

    def domain(self, contract: str) -> Domain:
        """The EIP-712 domain of a deployed contract."""
        return self.ledger.deployment.domain(contract)

    def pinned_signer(self, address: str) -> Secp256k1Signer:
        """The STATEMENT key, in use or replaced, that an agreement pins;
        ``pinned_key_not_held``.
        """
        for signer in (self.signers.get(KeyPurpose.STATEMENT), *self.earlier_signers):
            if signer is not None and signer.address == address:
                return signer
        raise Unavailable(
            "pinned_key_not_held",
            "The agreement pins a statement key that this node does not hold.",
            hint="Put the key's file back (`qiaolian node key show`), or give notice: what was "
            "signed before is still paid.",
        )

    def derive(self, message: bytes) -> bytes:
        """32 bytes that only this node computes, the same each time: also after its STATEMENT key
        was replaced.

        They are the hash of a deterministic signature (RFC 6979) by the oldest STATEMENT key held.
        """
        signer = (
            self.earlier_signers[0] if self.earlier_signers else self.signers[KeyPurpose.STATEMENT]
        )
        return hashlib.sha256(signer.sign_digest(keccak256(message))).digest()

    @property
    def own_log_keys(self) -> list[bytes]:
        """Public keys this node's log is or was signed with, the present one first."""
        return [self.log_signer.public_key, *self.earlier_log_keys]

    def sign(self, statement: Statement, purpose: KeyPurpose = KeyPurpose.STATEMENT) -> bytes:
        """Sign a statement with the node's key of that purpose: 65 bytes."""
        signer = self.signers.get(purpose)
        if signer is None:
            raise Unavailable(
                "key_not_held", f"This process does not hold the {purpose.name.lower()} key."
            )
        statement.require_json_safe()
        return signer.sign_digest(statement.digest(self.domain(statement.contract)))
