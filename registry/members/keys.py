"""Members' keys by the directory's events: candidates, each to be proved from the directory before
anything rests on it.
"""

from __future__ import annotations

import sqlalchemy as sa

from chain.context import Context
from chain.statements.members import KeyPurpose
from registry.members.store import MemberKeyRow


def keys_of(context: Context, member: str, purpose: KeyPurpose) -> list[bytes]:
    """Fingerprints of a member's keys of one purpose, ended ones too, newest first."""
    query = sa.select(MemberKeyRow.fingerprint).where(
        MemberKeyRow.member == member, MemberKeyRow.purpose == int(purpose)
    )
    with context.database.read() as session:
        return list(session.scalars(query.order_by(MemberKeyRow.from_height.desc())))
