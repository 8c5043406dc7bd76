"""Tables of members: the directory as the chain shows it, and proposals on their way to two
approvals.
"""

from __future__ import annotations

from sqlalchemy import JSON, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


class MemberRow(Base):
    """A member with the heights its status changed at, as MemberDirectory's events tell them."""

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
