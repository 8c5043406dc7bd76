"""Tables of members: the directory as the chain shows it, and proposals on their way to two
approvals.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy import JSON, Index, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.crypto import keccak256
from chain.core.database import Base, Database, PreparedStatement
from chain.statements.members import KeyPurpose
from registry.list_limits import MAX_ROWS
from registry.members.model import Member, MemberKey, MemberWithKeys, Proposal
from registry.pages import Page, PageRequest, page_of


class MemberRow(Base):
    """A member with the heights its status changed at, according to MemberDirectory's events."""

    __tablename__ = "member_directory"
    member: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    roles: Mapped[int]
    admitted_at: Mapped[int]
    suspended_at: Mapped[int] = mapped_column(default=0)
    lifted_at: Mapped[int] = mapped_column(default=0)
    removed_at: Mapped[int] = mapped_column(default=0)


class MemberKeyRow(Base):
    """A key of a member; ``ended_at`` 0 while it is live."""

    __tablename__ = "member_key"
    __table_args__ = (Index("ix_member_key_member", "member", "fingerprint"),)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    member: Mapped[str]
    purpose: Mapped[int]
    algorithm: Mapped[int]
    from_height: Mapped[int]
    ended_at: Mapped[int] = mapped_column(default=0)


class ProposalRow(Base):
    """A directory action with the approvals that came in; its id is the Approval's struct hash."""

    __tablename__ = "member_proposal"
    proposal_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    proposer: Mapped[str]
    function: Mapped[str]
    arguments: Mapped[dict[str, object]] = mapped_column(JSON)
    call_data: Mapped[bytes] = mapped_column(LargeBinary)
    nonce: Mapped[str]
    """Decimal: it is wider than a database's integer."""
    deadline: Mapped[int] = mapped_column(index=True)
    approvals: Mapped[dict[str, str]] = mapped_column(JSON)
    """Signature by governor."""
    withdrawals: Mapped[dict[str, str]] = mapped_column(JSON)
    """Signature under the withdrawal, by governor; its approval counts no more."""
    operation: Mapped[str] = mapped_column(default="")
    executed_at: Mapped[int] = mapped_column(default=0)
    """Height of the execution; 0 before."""


# --- Members and keys -----------------------------------------------------------------------------


def members_page(session: Session, page: PageRequest) -> Page[Member]:
    """Members by code; ``cursor_malformed``."""
    query, order = sa.select(MemberRow), (MemberRow.member,)
    return page_of(session, query, order, page, ascending=True).map(_member)


def not_removed(session: Session) -> list[Member]:
    """Every member that was not removed, by code."""
    query = sa.select(MemberRow).where(MemberRow.removed_at == 0).order_by(MemberRow.member)
    return list(map(_member, session.scalars(query)))


def codes(session: Session) -> list[str]:
    """The code of every member, also of removed ones."""
    return list(session.scalars(sa.select(MemberRow.member).order_by(MemberRow.member)))


def count_by_status(session: Session) -> dict[str, int]:
    """How many members are active, suspended and removed, as ``rules.status`` says."""
    label = sa.case(
        (MemberRow.removed_at != 0, "removed"),
        (MemberRow.suspended_at > MemberRow.lifted_at, "suspended"),
        else_="active",
    )
    query = sa.select(label, sa.func.count()).group_by(label)
    return {name: count for name, count in session.execute(query)}


def names(session: Session, members: Collection[str]) -> dict[str, str]:
    """The names of those of these members that are known."""
    query = sa.select(MemberRow.member, MemberRow.name).where(MemberRow.member.in_(list(members)))
    return {member: name for member, name in session.execute(query)}


_NAME = PreparedStatement(
    sa.select(MemberRow.name).where(MemberRow.member == sa.bindparam("member"))
)
"""Asked for each row of a list."""


def name_of(database: Database, member: str) -> str | None:
    """A member's name, or None."""
    found = database.fetch(_NAME, {"member": member})
    return str(found[0][0]) if found else None


def suspended(session: Session, *, limit: int) -> list[Member]:
    """Members that are suspended, by code."""
    query = sa.select(MemberRow).where(
        MemberRow.removed_at == 0, MemberRow.suspended_at > MemberRow.lifted_at
    )
    return [_member(row) for row in session.scalars(query.order_by(MemberRow.member).limit(limit))]


def find_member(session: Session, member: str) -> MemberWithKeys | None:
    """A member with at most ``MAX_ROWS`` of its keys, or None."""
    row = session.get(MemberRow, member)
    if row is None:
        return None
    live_first = (MemberKeyRow.ended_at != 0, MemberKeyRow.ended_at.desc(), MemberKeyRow.purpose)
    query = sa.select(MemberKeyRow).where(MemberKeyRow.member == member)
    keys = session.scalars(query.order_by(*live_first).limit(MAX_ROWS))
    return MemberWithKeys(_member(row), [_key(key) for key in keys])


def is_known_member(session: Session, member: str) -> bool:
    """Whether a member was ever admitted."""
    return session.get(MemberRow, member) is not None


def keys_page(session: Session, member: str, page: PageRequest) -> Page[MemberKey]:
    """Every key a member ever had, by fingerprint; ``cursor_malformed``."""
    query = sa.select(MemberKeyRow).where(MemberKeyRow.member == member)
    return page_of(session, query, (MemberKeyRow.fingerprint,), page, ascending=True).map(_key)


def key_fingerprints(session: Session, member: str, purpose: KeyPurpose) -> list[bytes]:
    """Fingerprints of a member's keys of one purpose, ended ones too, newest first."""
    query = sa.select(MemberKeyRow.fingerprint).where(
        MemberKeyRow.member == member, MemberKeyRow.purpose == int(purpose)
    )
    return list(session.scalars(query.order_by(MemberKeyRow.from_height.desc())))


def admit(session: Session, member: str, *, name: str, roles: int, height: int) -> None:
    """Store an admission; of a member that was removed, the new one."""
    session.merge(
        MemberRow(
            member=member,
            name=name,
            roles=roles,
            admitted_at=height,
            suspended_at=0,
            lifted_at=0,
            removed_at=0,
        )
    )


def set_member_heights(session: Session, member: str, **heights: int) -> None:
    """Set columns of a member that is known."""
    session.execute(sa.update(MemberRow).where(MemberRow.member == member).values(**heights))


def add_key(session: Session, member: str, key: MemberKey) -> None:
    """Store a key of a member."""
    session.merge(
        MemberKeyRow(
            fingerprint=key.fingerprint,
            member=member,
            purpose=key.purpose,
            algorithm=key.algorithm,
            from_height=key.from_height,
            ended_at=key.ended_at,
        )
    )


def end_key(session: Session, fingerprint: bytes, height: int) -> None:
    """Store the height at which a key ended."""
    query = sa.update(MemberKeyRow).where(MemberKeyRow.fingerprint == fingerprint)
    session.execute(query.values(ended_at=height))


def _member(row: MemberRow) -> Member:
    return Member(
        member=row.member,
        name=row.name,
        roles=row.roles,
        admitted_at=row.admitted_at,
        suspended_at=row.suspended_at,
        lifted_at=row.lifted_at,
        removed_at=row.removed_at,
    )


def _key(row: MemberKeyRow) -> MemberKey:
    return MemberKey(
        fingerprint=row.fingerprint,
        purpose=row.purpose,
        algorithm=row.algorithm,
        from_height=row.from_height,
        ended_at=row.ended_at,
    )


# --- Proposals ------------------------------------------------------------------------------------


def proposals_page(session: Session, page: PageRequest) -> Page[Proposal]:
    """Proposals, the last to end first; ``cursor_malformed``."""
    order = (ProposalRow.deadline, ProposalRow.proposal_id)
    return page_of(session, sa.select(ProposalRow), order, page).map(_proposal)


def find_proposal(session: Session, proposal_id: bytes) -> Proposal | None:
    """A proposal, or None."""
    row = session.get(ProposalRow, proposal_id)
    return None if row is None else _proposal(row)


def save_proposal(session: Session, proposal: Proposal) -> None:
    """Store a proposal, new or changed."""
    session.merge(
        ProposalRow(
            proposal_id=proposal.proposal_id,
            proposer=proposal.proposer,
            function=proposal.function,
            arguments=dict(proposal.arguments),
            call_data=proposal.call_data,
            nonce=str(proposal.nonce),
            deadline=proposal.deadline,
            approvals=_hexed(proposal.approvals),
            withdrawals=_hexed(proposal.withdrawals),
            operation=proposal.operation,
            executed_at=proposal.executed_at,
        )
    )
    session.flush()


def set_executed(session: Session, *, nonce: int, call_hash: bytes, height: int) -> None:
    """Store the height at which a proposal was executed, if this node knows it."""
    for row in session.scalars(sa.select(ProposalRow).where(ProposalRow.nonce == str(nonce))):
        if keccak256(row.call_data) == call_hash:
            row.executed_at = height


def _proposal(row: ProposalRow) -> Proposal:
    return Proposal(
        proposer=row.proposer,
        function=row.function,
        arguments=row.arguments,
        call_data=row.call_data,
        nonce=int(row.nonce),
        deadline=row.deadline,
        approvals=_bytes(row.approvals),
        withdrawals=_bytes(row.withdrawals),
        operation=row.operation,
        executed_at=row.executed_at,
    )


def _hexed(signatures: Mapping[str, bytes]) -> dict[str, str]:
    return {member: "0x" + signature.hex() for member, signature in signatures.items()}


def _bytes(signatures: Mapping[str, str]) -> dict[str, bytes]:
    return {member: bytes.fromhex(signature[2:]) for member, signature in signatures.items()}
