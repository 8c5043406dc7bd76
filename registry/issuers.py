"""Issuers: the members that say whose a one-time key is. Pure.

A department knows people and firms by its issuer. What a bank, an agency or the operator says of a
key is its own word in its own matter, and counts
nowhere: any member could make a key and call it a firm's.
"""

from __future__ import annotations

from collections.abc import Callable

from chain.bundle.claims import VerifiedClaims
from chain.core.errors import Forbidden, Inconsistent
from chain.ethereum.records import MemberRecord, record_at
from chain.statements.members import Role

ISSUER_ROLE = Role.DEPARTMENT
"""Roles are given at admission and never changed, so that an issuer was one as long as it was a
member.
"""


def require_issuer(record: MemberRecord) -> None:
    """Refuse the word of a member that is no active department: ``issuer_not_department``."""
    if not record.live or not record.has_role(ISSUER_ROLE):
        raise Forbidden(
            "issuer_not_department",
            "The key is not certified by an active department.",
            hint="Whose a key is, the department that knows the person says.",
        )


def require_proved_issuer(claims: VerifiedClaims, member: str, *, at: int) -> None:
    """The same of a bundle: ``member`` was an active department in block ``at``;
    ``issuer_not_department``, ``state_not_proved``.
    """
    record = member_at(lambda *names: claims.storage_value(*names).value, member, at)
    if not record.live_at(at) or not record.has_role(ISSUER_ROLE):
        raise Inconsistent(
            "issuer_not_department",
            f"A subject's key is certified by {member}, which was no active department then.",
        )


def member_at(read: Callable[..., int], member: str, at: int) -> MemberRecord:
    """The word that tells of a member's standing in block ``at``.

    ``read`` gives a word by contract, variable and keys; that of a bundle in the making also adds
    it.
    """

    def record(variable: str, *keys: str | int) -> MemberRecord:
        return MemberRecord.decode(read("MemberDirectory", variable, *keys))

    return record_at(
        record("members", member), at, lambda lifted: record("earlierMembers", member, lifted)
    )


def proved_member(claims: VerifiedClaims, member: str) -> MemberRecord:
    """What a bundle proves of a member's standing; ``state_not_proved``."""
    return MemberRecord.decode(claims.storage_value("MemberDirectory", "members", member).value)
