"""Gathers a story's bundle from what a node keeps: statements with their signers' keys, proved words, its own log's entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.bundle import BundleBuilder
from chain.context import Context
from chain.crypto import recover
from chain.eip712 import Statement, Struct
from chain.errors import Conflict, NotFound
from chain.view import Key
from registry.evidence import service as evidence
from registry.signers import fingerprint_of


class Exporter:
    """One bundle in the making. What is added twice is carried once."""

    def __init__(self, context: Context, *, story: str, subject: dict[str, Any]) -> None:
        deployment = context.ledger.deployment
        self._context = context
        self._keys: set[bytes] = set()
        self._digests: list[bytes] = []
        self.builder = BundleBuilder(
            story=story,
            chain_id=deployment.chain_id,
            genesis_hash="0x" + deployment.genesis_hash.hex(),
            subject=subject,
        )

    def struct(self, struct: Struct) -> None:
        """Add an unsigned struct."""
        self.builder.struct(struct)

    def by_member(self, statement: Statement, signature: bytes) -> None:
        """Add a statement of a member, with its key's record in the directory."""
        digest = statement.digest(self._context.domain(statement.contract))
        self.builder.statement(statement, signature)
        self._key(fingerprint_of(recover(digest, signature)))

    def by_subject(self, statement: Statement, signature: bytes) -> None:
        """Add a statement signed with a certified key; its certificate is added with ``by_member``."""
        self.builder.statement(statement, signature)

    def word(self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0) -> int:
        """Add a proved word; its value."""
        proved = self._context.view.proof(contract, variable, key, *more_keys, offset=offset)
        self.builder.storage(proved.proof, proved.header.header_rlp)
        return proved.proof.value

    def disclose(self, commitment: bytes, *, salt: bytes, domain: str, record: Any) -> None:
        """Open a commitment."""
        self.builder.disclose(commitment, salt=salt, domain=domain, record=record)

    def logged(self, statement: Statement, *, required: bool = True) -> None:
        """Ask for a statement's place in this node's log; ``required=False`` for statements the story does not need logged."""
        digest = statement.digest(self._context.domain(statement.contract))
        if required or self._is_anchored(digest):
            self._digests.append(digest)

    def build(self) -> bytes:
        """The bundle's bytes.

        Raises:
            NotFound: ``entry_unknown``; Conflict: ``entry_not_anchored`` when the log's newest anchor does not reach an entry yet.
        """
        if self._digests:
            self._add_log(evidence.anchored_entries(self._context, self._digests))
        return self.builder.build()

    def _add_log(self, entries: Sequence[evidence.AnchoredEntry]) -> None:
        context = self._context
        key = context.log_signer.public_key
        self._key(key)
        for entry in entries:
            size, root = entry.proofs
            self.builder.log_entry(
                member=context.member,
                incarnation=evidence.INCARNATION,
                key=key,
                note=entry.note,
                size=(size, entry.header),
                root=(root, entry.header),
                index=entry.index,
                leaf=entry.leaf,
                path=entry.path,
            )

    def _key(self, fingerprint: bytes) -> None:
        if fingerprint in self._keys:
            return
        self._keys.add(fingerprint)
        proved = self._context.view.proof("MemberDirectory", "keys", fingerprint)
        self.builder.key(fingerprint, proved.proof, proved.header.header_rlp)

    def _is_anchored(self, digest: bytes) -> bool:
        try:
            evidence.anchored_entries(self._context, [*self._digests, digest])
        except (NotFound, Conflict):
            return False
        return True
