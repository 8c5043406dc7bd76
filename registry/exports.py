"""Builds a bundle from a node's database: statements with their signers' keys, proved storage
values and entries of the node's own log.

All storage values are proved at one height, that of the first proof, as verifiers require. A
statement under a key that has since ended is shown under an anchor from before the end; without
such an anchor no bundle is built, since no verifier would accept it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.bundle.builder import BundleBuilder
from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, NotFound
from chain.ethereum.eip712 import Statement, Struct
from chain.ethereum.proved_records import Key, fingerprint_of
from chain.ethereum.records import KeyRecord
from chain.ethereum.view_snapshot import ProvedStorage
from chain.statements.members import KeyPurpose
from registry.evidence import inclusion
from registry.evidence import log as evidence_log
from registry.members.keys import keys_of


class Exporter:
    """Builds one bundle; adding an element twice includes it once."""

    def __init__(self, context: Context, *, profile: str, subject: Mapping[str, Any]) -> None:
        deployment = context.ledger.deployment
        self._context = context
        self._height = 0
        self._ends: dict[bytes, int] = {}
        """Where each key of the bundle ended, 0 while it is live."""
        self._log_keys: dict[bytes, int] = {}
        self._required_entries: dict[bytes, int] = {}
        """Digests to be shown in this node's log, and the height their anchor must be below, 0 for
        any.
        """
        self.builder = BundleBuilder(
            profile=profile,
            chain_id=deployment.chain_id,
            genesis_hash="0x" + deployment.genesis_hash.hex(),
            subject=subject,
        )

    def add_struct(self, struct: Struct) -> None:
        """Add an unsigned struct."""
        self.builder.add_struct(struct)

    def add_member_statement(
        self,
        statement: Statement,
        signature: bytes,
        *,
        named_by: Statement | None = None,
        accepted: bool = False,
    ) -> None:
        """Add a statement of a member, with its key's record in the directory. If the key has ended
        since, the statement must be dated.

        Args:
            named_by: a statement in this node's log that names this one's hash; without it, the
                statement's own entry dates it.
            taken: nothing has to: the bundle shows that a contract took it under a live key.
        """
        digest = self._digest(statement)
        self.builder.add_statement(statement, signature)
        end = self._key(fingerprint_of(recover(digest, signature)))
        if end and not accepted:
            self._require_entry(digest if named_by is None else self._digest(named_by), end)

    def add_subject_statement(self, statement: Statement, signature: bytes) -> None:
        """Add a statement signed with a certified key; its certificate is added with
        ``add_member_statement``.
        """
        self.builder.add_statement(statement, signature)

    def add_storage_value(
        self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0
    ) -> int:
        """Add a proved storage value and return it."""
        proved = self._proof(contract, variable, key, *more_keys, offset=offset)
        self.builder.add_storage_value(proved.proof, proved.header.header_rlp)
        return proved.proof.value

    def storage_value(self, contract: str, variable: str, key: Key) -> int:
        """Return a storage value at the bundle's height without adding it."""
        return self._proof(contract, variable, key).proof.value

    def add_disclosure(self, commitment: bytes, *, salt: bytes, domain: str, record: Any) -> None:
        """Disclose the record under a commitment."""
        self.builder.add_disclosure(commitment, salt=salt, domain=domain, record=record)

    def add_log_entry(self, statement: Statement, *, required: bool = True) -> None:
        """Add a statement's log entry; ``required=False`` if the profile does not need it."""
        digest = self._digest(statement)
        if required or self.is_anchored(statement, 0):
            self._require_entry(digest, 0)

    def is_anchored(self, statement: Statement, before: int) -> bool:
        """Return whether an anchor, from before a height unless it is 0, includes the statement."""
        try:
            self._entries([self._digest(statement)], before)
        except (NotFound, Conflict):
            return False
        return True

    def key_end(self, address: str) -> int:
        """Return the height at which a key ended, 0 while it is live."""
        return self._key_end(fingerprint_of(address))

    def build(self) -> bytes:
        """Return the bundle's bytes.

        Raises:
            NotFound: ``entry_unknown``; Conflict: ``entry_not_anchored`` when no anchor reaches an
                entry yet, ``key_ended`` when none did before the end of the key that signed it.
        """
        for before in sorted(set(self._required_entries.values())):
            self._add_log(
                [digest for digest, bound in self._required_entries.items() if bound == before],
                before,
            )
        return self.builder.build()

    def _add_log(self, digests: list[bytes], before: int) -> None:
        try:
            entries = self._entries(digests, before)
        except NotFound as error:
            if not before:
                raise
            raise Conflict(
                "key_ended",
                "A key has ended, and this node's log does not show what it had signed.",
            ) from error
        for entry in entries:
            self._key(entry.key)
            self.builder.add_log_entry(
                member=self._context.member,
                log_epoch=evidence_log.LOG_EPOCH,
                key=entry.key,
                note=entry.note,
                size=(entry.anchor.size, entry.anchor.header),
                root=(entry.anchor.root, entry.anchor.header),
                index=entry.index,
                leaf=entry.leaf,
                path=entry.path,
            )

    def _entries(self, digests: list[bytes], before: int) -> list[inclusion.AnchoredEntry]:
        return inclusion.anchored_entries(
            self._context, digests, before=before, up_to=self._height, log_keys=self._own_log_keys()
        )

    def _own_log_keys(self) -> dict[bytes, int]:
        """The keys this node's log is or was signed with; its present one first."""
        if not self._log_keys:
            known = keys_of(self._context, self._context.member, KeyPurpose.LOG)
            keys = dict.fromkeys([*self._context.own_log_keys, *known])
            self._log_keys = {key: self._key_end(key) for key in keys}
        return self._log_keys

    def _require_entry(self, digest: bytes, before: int) -> None:
        """Ask for an entry; of two bounds the nearer one holds."""
        known = self._required_entries.get(digest, 0)
        self._required_entries[digest] = min(known, before) if known and before else known or before

    def _key(self, fingerprint: bytes) -> int:
        """Add a key's record; where it ended."""
        if fingerprint not in self._ends:
            proved = self._proof("MemberDirectory", "keys", fingerprint)
            self.builder.add_key(fingerprint, proved.proof, proved.header.header_rlp)
            self._ends[fingerprint] = KeyRecord.decode(proved.proof.value).end_height
        return self._ends[fingerprint]

    def _key_end(self, fingerprint: bytes) -> int:
        return KeyRecord.decode(
            self._proof("MemberDirectory", "keys", fingerprint).proof.value
        ).end_height

    def _proof(
        self, contract: str, variable: str, key: Key, *more_keys: Key, offset: int = 0
    ) -> ProvedStorage:
        """Prove a storage value at the bundle's height, which the first proof sets."""
        proved = self._context.view.proof(
            contract, variable, key, *more_keys, offset=offset, height=self._height or None
        )
        self._height = proved.header.height
        return proved

    def _digest(self, statement: Statement) -> bytes:
        return statement.digest(self._context.domain(statement.contract))
