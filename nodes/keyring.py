"""The files of a node's own keys while one is replaced.

``NAME.next`` is made, registered in the directory, put in use; what was in use becomes ``NAME.1``,
``NAME.2`` … and gets the block of its end into its name. Each step is one rename and may be
repeated after a crash; ``public.json`` is rewritten from the key files after each.
"""

from __future__ import annotations

import json

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chain.core.errors import NotFound
from chain.keys.files import KeyStore, tls_certificate, tls_fingerprint, write_private
from chain.statements.members import KeyPurpose
from nodes.config import NodeConfig
from nodes.initialise import CERTIFICATE_FILE, NODE_KEYS, PUBLIC_FILE, KeyEntry


class Keyring:
    """A node's key files; needs their passphrase. Fingerprints are those of MemberDirectory, 32
    bytes.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._member = config.member
        self._directory = config.path(config.keys.dir)
        self._store = KeyStore(self._directory, config.passphrase())

    def in_use(self, purpose: KeyPurpose) -> bytes:
        """The fingerprint of the key the node uses from its next start on."""
        return self._store.fingerprint(*NODE_KEYS[purpose])

    def next(self, purpose: KeyPurpose) -> bytes | None:
        """The fingerprint of the key that waits to be put in use."""
        name, algorithm = NODE_KEYS[purpose]
        return (
            self._store.fingerprint(f"{name}.next", algorithm)
            if self._store.holds(f"{name}.next")
            else None
        )

    def replaced(self, purpose: KeyPurpose) -> list[bytes]:
        """The fingerprints of replaced keys that are not marked as ended, oldest first."""
        name, algorithm = NODE_KEYS[purpose]
        return [
            self._store.fingerprint(text, algorithm)
            for text in self._store.replaced(name, ended=False)
        ]

    def make_next(self, purpose: KeyPurpose) -> KeyEntry:
        """Make the next key unless there is one; its public record. It is durable before anything
        names it.
        """
        name, algorithm = NODE_KEYS[purpose]
        if not self._store.holds(f"{name}.next"):
            self._store.create(f"{name}.next", algorithm)
        self.publish()
        return KeyEntry(self._store.fingerprint(f"{name}.next", algorithm), purpose, algorithm)

    def put_in_use(self, purpose: KeyPurpose) -> None:
        """Make the next key the one in use, from the node's next start on."""
        self._store.put_in_use(*NODE_KEYS[purpose])
        self.publish()

    def mark_ended(self, purpose: KeyPurpose, fingerprint: bytes, height: int) -> None:
        """Note in a replaced key's name where it ended; ``key_missing``."""
        name, algorithm = NODE_KEYS[purpose]
        for text in self._store.replaced(name, ended=False):
            if self._store.fingerprint(text, algorithm) == fingerprint:
                self._store.mark_ended(text, height)
                self.publish()
                return
        raise NotFound(
            "key_missing",
            "The key store holds no replaced key of that fingerprint that has not ended.",
        )

    def publish(self) -> None:
        """Write the public records, and a certificate of the TLS key in use, if they are not those
        of the key files.
        """
        parts: dict[str, list[dict[str, object]]] = {"keys": [], "next": [], "replaced": []}
        for purpose, (name, algorithm) in NODE_KEYS.items():
            names = [
                ("keys", name),
                ("next", f"{name}.next"),
                *(("replaced", text) for text in self._store.replaced(name)),
            ]
            for part, held in names:
                if self._store.holds(held):
                    entry = KeyEntry(self._store.fingerprint(held, algorithm), purpose, algorithm)
                    parts[part].append({**entry.to_json(), "name": held})
        write_private(self._directory / PUBLIC_FILE, json.dumps(parts, indent=1).encode() + b"\n")
        self._certify()

    def _certify(self) -> None:
        key = self._store.p256(NODE_KEYS[KeyPurpose.TLS][0])
        file = self._directory / CERTIFICATE_FILE
        held = (
            x509.load_pem_x509_certificate(file.read_bytes()).public_key()
            if file.exists()
            else None
        )
        if not isinstance(held, ec.EllipticCurvePublicKey) or tls_fingerprint(
            held
        ) != tls_fingerprint(key.public_key()):
            write_private(file, tls_certificate(key, self._member))
