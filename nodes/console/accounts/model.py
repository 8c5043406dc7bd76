"""Accounts of the organisation's people, and the person behind a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.subjects.model import SubjectKey


class PersonRole(StrEnum):
    """A person's role within the organisation."""

    CHIEF_DATA_OFFICER = "chief_data_officer"
    """Decides on data: grants, publication, what leaves the organisation."""
    CLERK = "clerk"
    """Prepares and carries out daily work."""
    MODELLER = "modeller"
    """Works on joint models."""
    AUDITOR = "auditor"
    """Reads everything, changes nothing."""
    ADMINISTRATOR = "administrator"
    """Manages accounts; decides nothing about data."""


class AccountState(StrEnum):
    """Whether an account may log in."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Account:
    """One person's account; times in Unix seconds."""

    id: str
    login: str
    name: str
    roles: frozenset[PersonRole]
    state: AccountState
    second_factor: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class Visit:
    """The person and session behind a request."""

    account: Account
    session: bytes
    """SHA-256 of the session's token."""
    csrf: str
    verified: bool
    """Whether the second factor was shown, where the account has one."""
    subject: SubjectKey | None = None
    """The certified key of a firm or citizen, who holds no role of the organisation."""

    def holds(self, *roles: PersonRole) -> bool:
        """Whether the person has one of the roles."""
        return not self.account.roles.isdisjoint(roles)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts, in seconds: without a request, and in all."""

    idle: int
    total: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just opened; the token goes into the cookie and is stored nowhere."""

    token: str
    account: Account
    needs_second_factor: bool
