"""Issuers: the departments that certify whose a one-time key is. Pure.

Only departments are issuers. A bank, an agency or the operator could make a key and, in its
own interest, claim that it is a firm's.
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
    """Require that an issuer is an active department: ``issuer_not_department``."""
    if not record.live or not record.has_role(ISSUER_ROLE):
        raise Forbidden(
            "issuer_not_department",
            "The key is not certified by an active department.",
            hint="Whose a key is, the department that knows the person says.",
        )


def require_proved_issuer(claims: VerifiedClaims, member: str, *, at: int) -> None:
    """Require that a bundle proves ``member`` an active department in block ``at``.

    Raises:
        Inconsistent: ``issuer_not_department``, ``state_not_proved``.
    """
    record = member_at(lambda *names: claims.storage_value(*names).value, member, at)
    if not record.live_at(at) or not record.has_role(ISSUER_ROLE):
        raise Inconsistent(
            "issuer_not_department",
            f"A subject's key is certified by {member}, which was no active department then.",
        )


def member_at(read: Callable[..., int], member: str, at: int) -> MemberRecord:
    """Return the record that shows a member's status in block ``at``.

    ``read`` returns a storage value by contract, variable and keys; while a bundle is built it also
    adds the value to the bundle.
    """

    def record(variable: str, *keys: str | int) -> MemberRecord:
        return MemberRecord.decode(read("MemberDirectory", variable, *keys))

    return record_at(
        record("members", member), at, lambda lifted: record("earlierMembers", member, lifted)
    )


def proved_member(claims: VerifiedClaims, member: str) -> MemberRecord:
    """Return a member's record as a bundle proves it; ``state_not_proved``."""
    return MemberRecord.decode(claims.storage_value("MemberDirectory", "members", member).value)
