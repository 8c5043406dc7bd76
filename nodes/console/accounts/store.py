"""Tables of accounts, sessions and invitations, and the queries on them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.core.errors import Conflict
from nodes.console.accounts.model import Account, AccountState, PersonRole
from registry.pages import Page, PageRequest, page_of


class ConsoleAccount(Base):
    """A person of the organisation. ``login`` and ``name`` are cleared when the person is
    forgotten.
    """

    __tablename__ = "console_account"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    login: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None]
    """Argon2id in its PHC string form."""
    totp_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Encrypted under a key that the node derives."""
    totp_step: Mapped[int] = mapped_column(BigInteger, default=0)
    """The last time step whose code was accepted: no code counts twice."""
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    """The person at the organisation's OpenID provider."""
    created_at: Mapped[int] = mapped_column(BigInteger)


class ConsoleSession(Base):
    """A browser that is logged in, by the SHA-256 of its token."""

    __tablename__ = "console_session"
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[int] = mapped_column(BigInteger)
    verified: Mapped[bool]


class ConsoleInvitation(Base):
    """A one-time link with which a person sets a password, by the SHA-256 of its token."""

    __tablename__ = "console_invitation"
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)


class ConsoleRecoveryCode(Base):
    """A code that replaces the second factor once, by its SHA-256."""

    __tablename__ = "console_recovery_code"
    account_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)


class ConsoleFailure(Base):
    """Failed log-ins in a row, of an account or from an address."""

    __tablename__ = "console_failure"
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    failures: Mapped[int]
    wait_until: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[int] = mapped_column(BigInteger, index=True)


def account_of(row: ConsoleAccount) -> Account:
    """The row as the services return it."""
    return Account(
        id=row.id,
        login=row.login,
        name=row.name,
        roles=frozenset(PersonRole(role) for role in row.roles),
        state=AccountState(row.state),
        second_factor=row.totp_secret is not None,
        created_at=row.created_at,
    )


def account_row(session: Session, account_id: str) -> ConsoleAccount | None:
    """The account with this id."""
    return session.get(ConsoleAccount, account_id)


def account_by_login(session: Session, login: str) -> ConsoleAccount | None:
    """The account with this log-in name."""
    return session.scalars(sa.select(ConsoleAccount).where(ConsoleAccount.login == login)).first()


def account_by_subject(session: Session, issuer: str, subject: str) -> ConsoleAccount | None:
    """The account of a person at an OpenID provider."""
    return session.scalars(
        sa.select(ConsoleAccount).where(
            ConsoleAccount.issuer == issuer, ConsoleAccount.subject == subject
        )
    ).first()


def account_rows(session: Session) -> Sequence[ConsoleAccount]:
    """All accounts by log-in name."""
    return session.scalars(sa.select(ConsoleAccount).order_by(ConsoleAccount.login)).all()


def account_page(session: Session, page: PageRequest) -> Page[ConsoleAccount]:
    """Accounts by log-in name; ``cursor_malformed``."""
    query = sa.select(ConsoleAccount)
    return page_of(session, query, (ConsoleAccount.login,), page, ascending=True)


def require_another_administrator(session: Session, account_id: str) -> None:
    """An organisation keeps an administrator who can log in; ``last_administrator``."""
    for other in account_rows(session):
        if (
            other.id != account_id
            and PersonRole.ADMINISTRATOR in other.roles
            and other.state == AccountState.ACTIVE
        ):
            return
    row = account_row(session, account_id)
    if row is not None and PersonRole.ADMINISTRATOR in row.roles:
        raise Conflict(
            "last_administrator",
            "This is the organisation's only administrator.",
            hint="Make another person administrator first.",
        )


def session_row(session: Session, digest: bytes) -> tuple[ConsoleSession, ConsoleAccount] | None:
    """A session with its account."""
    row = session.execute(
        sa.select(ConsoleSession, ConsoleAccount)
        .join(ConsoleAccount, ConsoleAccount.id == ConsoleSession.account_id)
        .where(ConsoleSession.digest == digest)
    ).first()
    return None if row is None else (row[0], row[1])


def touch_session(session: Session, digest: bytes, now: int) -> None:
    """Note that a session was used."""
    session.execute(
        sa.update(ConsoleSession).where(ConsoleSession.digest == digest).values(seen_at=now)
    )


def end_session(session: Session, digest: bytes) -> None:
    """End one session."""
    session.execute(sa.delete(ConsoleSession).where(ConsoleSession.digest == digest))


def end_sessions(session: Session, account_id: str, *, but: bytes = b"") -> None:
    """End every session of an account, except one."""
    session.execute(
        sa.delete(ConsoleSession).where(
            ConsoleSession.account_id == account_id, ConsoleSession.digest != but
        )
    )


def verify_session(session: Session, digest: bytes) -> None:
    """Note that a session's second factor was shown."""
    session.execute(
        sa.update(ConsoleSession).where(ConsoleSession.digest == digest).values(verified=True)
    )


def end_old_sessions(session: Session, *, seen_before: int, created_before: int) -> None:
    """Delete sessions over their limits."""
    session.execute(
        sa.delete(ConsoleSession).where(
            (ConsoleSession.seen_at < seen_before) | (ConsoleSession.created_at < created_before)
        )
    )


def end_invitation(session: Session, digest: bytes) -> None:
    """Make one one-time link worth nothing."""
    session.execute(sa.delete(ConsoleInvitation).where(ConsoleInvitation.digest == digest))


def end_invitations(session: Session, account_id: str) -> None:
    """Make every open link of an account useless."""
    session.execute(sa.delete(ConsoleInvitation).where(ConsoleInvitation.account_id == account_id))


def end_recovery_codes(session: Session, account_id: str) -> None:
    """Delete an account's recovery codes."""
    session.execute(
        sa.delete(ConsoleRecoveryCode).where(ConsoleRecoveryCode.account_id == account_id)
    )


def forget_failures(session: Session, *, before: int) -> None:
    """Delete counts of failures that are over."""
    session.execute(sa.delete(ConsoleFailure).where(ConsoleFailure.last_at < before))
