"""Tables of log-in challenges and sessions of subjects, and the queries on them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base


class SubjectChallenge(Base):
    """A challenge that was handed out and not used yet."""

    __tablename__ = "console_subject_challenge"
    challenge: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key: Mapped[str] = mapped_column(String(42))
    browser: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of the token of the browser that asked for it."""
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class SubjectSession(Base):
    """A browser in which a subject is logged in, by the SHA-256 of its token."""

    __tablename__ = "console_subject_session"
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key: Mapped[str] = mapped_column(String(42), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger, index=True)


def count_challenges(session: Session, *, now: int) -> int:
    """Delete challenges that have expired; how many are left."""
    session.execute(sa.delete(SubjectChallenge).where(SubjectChallenge.expires_at < now))
    return session.scalar(sa.select(sa.func.count()).select_from(SubjectChallenge)) or 0


def take_challenge(session: Session, challenge: bytes) -> SubjectChallenge | None:
    """The challenge, which is deleted: it counts once."""
    row = session.get(SubjectChallenge, challenge)
    if row is not None:
        session.delete(row)
    return row


def find_session(session: Session, digest: bytes) -> SubjectSession | None:
    """A session, or None."""
    return session.get(SubjectSession, digest)


def touch_session(session: Session, digest: bytes, now: int) -> None:
    """Note that a session was used."""
    session.execute(
        sa.update(SubjectSession).where(SubjectSession.digest == digest).values(seen_at=now)
    )


def end_session(session: Session, digest: bytes) -> None:
    """End one session."""
    session.execute(sa.delete(SubjectSession).where(SubjectSession.digest == digest))


def end_old_sessions(session: Session, *, seen_before: int) -> None:
    """Delete sessions that were not used for too long."""
    session.execute(sa.delete(SubjectSession).where(SubjectSession.seen_at < seen_before))
