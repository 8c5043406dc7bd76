"""Decide which statements count although their key has ended.

A statement counts if an anchor from before the key's end shows it, or if a contract that accepts
such statements under live keys alone has accepted it. The policies of a domain define which
contract that is, and which statements a signed root covers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.bundle.claims import LogInclusion, VerifiedClaims, VerifiedStatement
from chain.bundle.signatures import fingerprint_of
from chain.core import schema
from chain.core.errors import BadSignature, VerificationError
from chain.ethereum.eip712 import Statement
from chain.ethereum.records import KeyRecord
from chain.log import merkle

AcceptedByContract = Callable[[Any, VerifiedClaims], bool]
"""Whether a contract has accepted a statement; takes the statement and the verified claims."""


@dataclass(frozen=True)
class EndedKeyPolicies:
    """What the domains know of statements whose key has ended."""

    accepted: Mapping[type[Statement], AcceptedByContract]
    """By type of statement, how its contract shows that it accepted one."""
    under_root: Sequence[type[Statement]]
    """Types whose statements another statement names together by an RFC 9162 root."""


def require_signed_in_time(
    keys: Mapping[bytes, KeyRecord], claims: VerifiedClaims, policies: EndedKeyPolicies
) -> None:
    """Refuse statements of ended keys that nothing shows from before the end: ``key_ended``."""
    if not any(key.end_height for key in keys.values()):
        return
    entries = _entries_by_digest(claims)
    named = _named_hashes(claims, policies)
    for signed in claims.evidence.statements:
        end = keys[fingerprint_of(signed.signer)].end_height if signed.member else 0
        if not end:
            continue
        timely = [
            entry
            for entry in entries.get("0x" + signed.digest.hex(), ())
            if entry.anchored_at < end
        ]
        if not (
            timely
            or named.get(signed.statement.struct_hash(), end) < end
            or _accepted(signed, claims, policies)
        ):
            raise BadSignature(
                "key_ended",
                f"The {type(signed.statement).__name__} is signed by a key that had ended before "
                "an anchor shows the statement.",
            )
        claims.evidence.used.update((entry.member, entry.leaf["digest"]) for entry in timely)


def _entries_by_digest(claims: VerifiedClaims) -> dict[str, list[LogInclusion]]:
    entries: dict[str, list[LogInclusion]] = {}
    for entry in claims.evidence.log_inclusions.values():
        entries.setdefault(entry.leaf["digest"], []).append(entry)
    return entries


def _named_hashes(claims: VerifiedClaims, policies: EndedKeyPolicies) -> dict[bytes, int]:
    """The hashes that logged statements name, with the first block whose anchor shows it.

    A statement that is named by its hash existed before the statement that names it.
    """
    evidence = claims.evidence
    found: dict[bytes, int] = {}
    for signed in evidence.statements:
        entry = evidence.log_inclusions.get((signed.member, "0x" + signed.digest.hex()))
        if entry is None:
            continue
        for value in vars(signed.statement).values():
            if isinstance(value, bytes) and len(value) == schema.HASH_BYTES:
                found[value] = min(found.get(value, entry.anchored_at), entry.anchored_at)
    for statement_type in policies.under_root:
        _add_hashes_under_root(statement_type, claims, found)
    return found


def _add_hashes_under_root(
    statement_type: type[Statement], claims: VerifiedClaims, found: dict[bytes, int]
) -> None:
    hashes = [
        signed.statement.struct_hash()
        for signed in claims.evidence.statements
        if isinstance(signed.statement, statement_type)
    ]
    height = found.get(merkle.root_of([merkle.leaf_hash(data) for data in hashes]))
    if height is not None:
        for data in hashes:
            found[data] = min(found.get(data, height), height)


def _accepted(
    signed: VerifiedStatement[Any], claims: VerifiedClaims, policies: EndedKeyPolicies
) -> bool:
    accepted = policies.accepted.get(type(signed.statement))
    try:
        return accepted is not None and accepted(signed.statement, claims)
    except VerificationError:
        return False
