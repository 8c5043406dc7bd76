"""The log keys of a member with their proved records."""

from __future__ import annotations

from chain.context import Context
from chain.core.errors import (
    NotFound,
)
from chain.ethereum.proved_records import key_record
from chain.ethereum.records import KeyRecord
from chain.statements.members import Algorithm, KeyPurpose
from registry.members.keys import keys_of


def log_keys(context: Context, member: str) -> dict[bytes, KeyRecord]:
    """Return a member's Ed25519 log keys with their proved records, including ended keys.

    Candidates come from the directory's events and the configuration.

    Raises:
        NotFound: ``log_key_unknown`` when none of them is live.
    """
    configured = context.log_keys
    named = [bytes.fromhex(configured[member][2:])] if member in configured else []
    candidates = list(dict.fromkeys([*named, *keys_of(context, member, KeyPurpose.LOG)]))
    records = context.view.proved(map(key_record, candidates))
    found = {
        key: record
        for key, record in ((key, records.key(key)) for key in candidates)
        if (record.member, record.purpose, record.algorithm)
        == (member, KeyPurpose.LOG, Algorithm.ED25519)
    }
    if not any(record.live for record in found.values()):
        raise NotFound("log_key_unknown", "No live log key of this member is known here.")
    return found
