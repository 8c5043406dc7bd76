"""Members' keys by the directory's events: candidates, each to be proved from the directory before
anything rests on it.
"""

from __future__ import annotations

from chain.context import Context
from chain.statements.members import KeyPurpose
from registry.members import store


def keys_of(context: Context, member: str, purpose: KeyPurpose) -> list[bytes]:
    """Fingerprints of a member's keys of one purpose, ended ones too, newest first."""
    with context.database.read() as session:
        return store.key_fingerprints(session, member, purpose)
