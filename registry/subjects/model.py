"""A one-time key that this node knows, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass

from chain.statements.members import SubjectKeyCertificate


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """A certified key of a firm or citizen."""

    certificate: SubjectKeyCertificate
    signature: bytes
    """The issuer's, under the certificate."""
    subject: str
    """The subject's code; empty where this node knows the key from a property deal alone."""
    name: str
    """The name in the subject's identity; empty where there is none."""

    @property
    def key(self) -> str:
        """The key's address."""
        return self.certificate.key

    @property
    def purpose(self) -> str:
        """What the key is certified for: ``consent``, ``deal`` or ``dispute``."""
        return self.certificate.purpose
