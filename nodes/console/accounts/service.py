"""Accounts: invitations, log-in and log-out, sessions, roles.

A failed log-in does not show whether the name exists. Whatever ends a right (a new password,
another role, a disabled account) ends the account's sessions in the same transaction.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, Unauthorised
from nodes.console.accounts import passwords, store
from nodes.console.accounts.model import (
    Account,
    AccountState,
    NewSession,
    PersonRole,
    SessionLimits,
    Visit,
)
from nodes.console.accounts.rules import (
    MAX_ACCOUNT_WAIT,
    MAX_ADDRESS_WAIT,
    MAX_NAME,
    is_login,
    require_login,
    require_name,
    require_password,
    wait_after,
)
from nodes.console.accounts.store import (
    ConsoleAccount,
    ConsoleFailure,
    ConsoleInvitation,
    ConsoleSession,
    account_of,
)
from nodes.console.storage import Records
from nodes.rates import RateLimited
from registry.pages import Page, PageRequest
from registry.text import is_plain

INVITATION_SECONDS = 3 * 86_400
_FAILURE_SECONDS = 86_400
_TOUCH_SECONDS = 60


def listing(context: Records) -> Sequence[Account]:
    """Every account, by log-in name."""
    with context.database.read() as session:
        return [account_of(row) for row in store.account_rows(session)]


def page(context: Records, request: PageRequest) -> Page[Account]:
    """Accounts by log-in name; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.account_page(session, request).map(account_of)


def account(context: Records, account_id: str) -> Account:
    """One account; ``account_unknown``."""
    with context.database.read() as session:
        return account_of(_required(session, account_id))


def new_account_id() -> str:
    """A fresh id for an account. It names nobody, and so may occur in acts."""
    return secrets.token_hex(16)


def invite(
    context: Records,
    *,
    login: str,
    name: str,
    roles: Iterable[PersonRole],
    account_id: str | None = None,
) -> str:
    """Create an account that waits for its password; the token of its one-time link.

    Args:
        account_id: from ``new_account_id``, for a caller that records the act first.

    Raises:
        BadInput: ``login_malformed``, ``person_name_malformed``, ``person_roles_missing``.
        Conflict: ``login_taken``.
    """
    login, name, held = require_login(login), require_name(name), _require_roles(roles)
    token = secrets.token_urlsafe(32)
    now = context.now()

    def change(session: Session) -> None:
        if store.account_by_login(session, login) is not None:
            raise Conflict(
                "login_taken",
                "Another account has this log-in name.",
                hint="Choose another name, or reset that account.",
            )
        row = ConsoleAccount(
            id=account_id or new_account_id(),
            login=login,
            name=name,
            roles=held,
            state=AccountState.INVITED,
            totp_step=0,
            created_at=now,
        )
        session.add(row)
        _add_invitation(session, row.id, token, now)

    context.database.write(change)
    return token


def reset(context: Records, account_id: str) -> str:
    """End an account's sessions, password and second factor; the token of a new one-time link.

    Raises:
        NotFound: ``account_unknown``; Conflict: ``account_forgotten``.
    """
    token = secrets.token_urlsafe(32)

    def change(session: Session) -> None:
        row = _living(session, account_id)
        row.password_hash, row.totp_secret, row.state = None, None, AccountState.INVITED
        store.end_sessions(session, account_id)
        store.end_invitations(session, account_id)
        store.end_recovery_codes(session, account_id)
        clear_failures(session, row.login)
        _add_invitation(session, account_id, token, context.now())

    context.database.write(change)
    return token


def set_roles(context: Records, account_id: str, roles: Iterable[PersonRole]) -> None:
    """Give an account other roles; its sessions end.

    Raises:
        BadInput: ``person_roles_missing``; NotFound: ``account_unknown``; Conflict:
            ``account_forgotten``, ``last_administrator``.
    """
    held = _require_roles(roles)

    def change(session: Session) -> None:
        row = _living(session, account_id)
        if PersonRole.ADMINISTRATOR not in held:
            store.require_another_administrator(session, account_id)
        row.roles = held
        store.end_sessions(session, account_id)

    context.database.write(change)


def disable(context: Records, account_id: str) -> None:
    """Let an account log in no more.

    Raises:
        NotFound: ``account_unknown``; Conflict: ``account_forgotten``, ``last_administrator``.
    """

    def change(session: Session) -> None:
        row = _living(session, account_id)
        store.require_another_administrator(session, account_id)
        row.state = AccountState.DISABLED
        store.end_sessions(session, account_id)
        store.end_invitations(session, account_id)

    context.database.write(change)


def invited(context: Records, token: str) -> Account:
    """The account that a one-time link is for; ``invitation_unknown``."""
    with context.database.read() as session:
        return account_of(_invited(session, token, context.now()))


def another_link(context: Records, account_id: str) -> str:
    """The token of one more one-time link beside those an account has; ``account_unknown``,
    ``account_forgotten``.
    """
    token = secrets.token_urlsafe(32)

    def change(session: Session) -> None:
        _add_invitation(session, _living(session, account_id).id, token, context.now())

    context.database.write(change)
    return token


def follow_link(context: Records, token: str) -> NewSession:
    """Log in by a one-time link alone, where ``console.links_log_in`` allows it; this link ends.
    ``invitation_unknown``.
    """

    def change(session: Session) -> str:
        row = _invited(session, token, context.now())
        row.state = AccountState.ACTIVE
        store.end_invitation(session, digest_of(token))
        return row.id

    return open_session(context, context.database.write(change))


def accept_invitation(context: Records, token: str, password: str) -> None:
    """Set the password of a one-time link's account; the link ends.

    Raises:
        NotFound: ``invitation_unknown``; BadInput: ``password_weak``.
    """
    person = invited(context, token)
    require_password(password, login=person.login, name=person.name)
    stored = passwords.hashed(password)

    def change(session: Session) -> None:
        row = _invited(session, token, context.now())
        row.password_hash, row.state = stored, AccountState.ACTIVE
        store.end_sessions(session, row.id)
        store.end_invitations(session, row.id)

    context.database.write(change)


def require_repeated(password: str, repeated: str) -> None:
    """Refuse a new password that was typed in two ways; ``password_repeated_wrong``."""
    if password != repeated:
        raise BadInput(
            "password_repeated_wrong", "The two passwords differ.", hint="Type the new one twice."
        )


def change_password(context: Records, account_id: str, *, current: str, new: str) -> None:
    """Replace a password; every session of the account ends.

    Raises:
        Unauthorised: ``login_refused`` when ``current`` is wrong; BadInput: ``password_weak``.
    """
    with context.database.read() as session:
        row = _living(session, account_id)
        person, stored = account_of(row), row.password_hash
    if not passwords.matches(stored, current):
        raise _refused()
    require_password(new, login=person.login, name=person.name)
    replaced = passwords.hashed(new)

    def change(session: Session) -> None:
        _living(session, account_id).password_hash = replaced
        store.end_sessions(session, account_id)

    context.database.write(change)


def log_in(context: Records, *, login: str, password: str, address: str) -> NewSession:
    """Open a session for whoever knows the password.

    Raises:
        Unauthorised: ``login_refused`` for whatever is wrong; RateLimited: ``login_wait``.
    """
    login = login.strip().lower()[:64]
    require_turn(context, login, address)
    with context.database.read() as session:
        row = store.account_by_login(session, login)
        stored = row.password_hash if row is not None and row.state == AccountState.ACTIVE else None
    if not passwords.matches(stored, password):
        count_failure(context, login, address)
        raise _refused()
    assert row is not None
    return open_session(context, row.id)


def open_session(context: Records, account_id: str) -> NewSession:
    """Open a session for a person whose identity was established; a fresh token each time.

    Raises:
        Unauthorised: ``login_refused`` unless the account is active.
    """
    token, now = secrets.token_urlsafe(32), context.now()

    def change(session: Session) -> Account:
        row = store.account_row(session, account_id)
        if row is None or row.state != AccountState.ACTIVE:
            raise _refused()
        found = account_of(row)
        session.add(
            ConsoleSession(
                digest=digest_of(token),
                account_id=account_id,
                created_at=now,
                seen_at=now,
                verified=not found.second_factor,
            )
        )
        if not found.second_factor:
            clear_failures(session, row.login)
        return found

    person = context.database.write(change)
    return NewSession(token, person, person.second_factor)


def log_in_identified(
    context: Records,
    *,
    issuer: str,
    subject: str,
    username: str,
    name: str,
    roles: Iterable[PersonRole],
) -> NewSession:
    """Open a session for a person whom an OpenID provider vouches for. The account is created at
    the first log-in, and has the roles of the person's groups from each log-in on.

    Raises:
        Forbidden: ``openid_no_role``; Unauthorised: ``login_refused`` for a disabled account.
    """
    held = sorted({role.value for role in roles if role is not PersonRole.ADMINISTRATOR})
    if not held:
        raise Forbidden(
            "openid_no_role",
            "None of your groups has a role at this console.",
            hint="Ask your administrator.",
        )
    fallback = f"openid-{digest_of(issuer + ' ' + subject).hex()[:16]}"

    def change(session: Session) -> str:
        row = store.account_by_subject(session, issuer, subject)
        if row is None:
            login = username.strip().lower()
            if not is_login(login) or store.account_by_login(session, login) is not None:
                login = fallback
            row = ConsoleAccount(
                id=new_account_id(),
                login=login,
                name=name if is_plain(name, limit=MAX_NAME) else login,
                roles=held,
                state=AccountState.ACTIVE,
                issuer=issuer,
                subject=subject,
                totp_step=0,
                created_at=context.now(),
            )
            session.add(row)
        elif row.roles != held:
            row.roles = held
            store.end_sessions(session, row.id)
        return row.id

    return open_session(context, context.database.write(change))


def log_out(context: Records, visit: Visit) -> None:
    """End the session."""
    context.database.write(lambda session: store.end_session(session, visit.session))


def visit_of(context: Records, token: str, limits: SessionLimits) -> Visit | None:
    """The person behind a session's token; None when the session is over."""
    digest, now = digest_of(token), context.now()
    with context.database.read() as session:
        found = store.session_row(session, digest)
    if found is None:
        return None
    opened, row = found
    over = now - opened.seen_at > limits.idle or now - opened.created_at > limits.total
    if over or row.state != AccountState.ACTIVE:
        context.database.write(lambda session: store.end_session(session, digest))
        return None
    if now - opened.seen_at >= min(_TOUCH_SECONDS, limits.idle // 2):
        context.database.write(lambda session: store.touch_session(session, digest, now))
    return Visit(account_of(row), digest, csrf_of(token), opened.verified)


def csrf_of(token: str) -> str:
    """The anti-forgery token of a cookie: only who holds the cookie can work it out."""
    return hashlib.sha256(b"qiaolian console form\0" + token.encode()).hexdigest()


def digest_of(token: str) -> bytes:
    """What is stored of a random token."""
    return hashlib.sha256(token.encode()).digest()


def _require_roles(roles: Iterable[PersonRole]) -> list[str]:
    held = sorted({PersonRole(role).value for role in roles})
    if not held:
        raise BadInput("person_roles_missing", "A person has at least one role.")
    return held


def _required(session: Session, account_id: str) -> ConsoleAccount:
    row = store.account_row(session, account_id)
    if row is None:
        raise NotFound("account_unknown", "There is no such account.")
    return row


def _living(session: Session, account_id: str) -> ConsoleAccount:
    row = _required(session, account_id)
    if row.state == AccountState.FORGOTTEN:
        raise Conflict(
            "account_forgotten",
            "This person was forgotten; the account cannot be used again.",
            hint="Invite the person under a new account.",
        )
    return row


def _add_invitation(session: Session, account_id: str, token: str, now: int) -> None:
    session.add(
        ConsoleInvitation(
            digest=digest_of(token), account_id=account_id, expires_at=now + INVITATION_SECONDS
        )
    )


def _invited(session: Session, token: str, now: int) -> ConsoleAccount:
    invitation = session.get(ConsoleInvitation, digest_of(token))
    row = None if invitation is None else store.account_row(session, invitation.account_id)
    if (
        invitation is None
        or row is None
        or invitation.expires_at < now
        or row.state == AccountState.DISABLED
    ):
        raise NotFound(
            "invitation_unknown",
            "This link was used, is too old or was replaced.",
            hint="Ask your administrator for a new one.",
        )
    return row


def _failure_keys(login: str, address: str) -> dict[str, int]:
    """What failures are counted by, and the longest wait of each."""
    hashed = hashlib.sha256(login.encode()).hexdigest()[:40]
    return {f"account:{hashed}": MAX_ACCOUNT_WAIT, f"address:{address[:64]}": MAX_ADDRESS_WAIT}


def require_turn(context: Records, login: str, address: str) -> None:
    """Refuse an attempt during the wait that follows failures; ``login_wait``."""
    now = context.now()
    with context.database.read() as session:
        rows = [session.get(ConsoleFailure, key) for key in _failure_keys(login, address)]
    wait = max((row.wait_until - now for row in rows if row is not None), default=0)
    if wait > 0:
        raise RateLimited(
            "login_wait",
            "Too many log-ins failed.",
            hint=f"Try again in {wait} s.",
            seconds=wait,
        )


def count_failure(context: Records, login: str, address: str) -> None:
    """Count a failed attempt of an account and from an address."""
    now = context.now()

    def change(session: Session) -> None:
        store.forget_failures(session, before=now - _FAILURE_SECONDS)
        for key, longest in _failure_keys(login, address).items():
            row = session.get(ConsoleFailure, key)
            if row is None:
                row = ConsoleFailure(key=key, failures=0, wait_until=0, last_at=now)
                session.add(row)
            row.failures += 1
            row.wait_until, row.last_at = now + wait_after(row.failures, longest), now

    context.database.write(change)


def clear_failures(session: Session, login: str) -> None:
    """Forget an account's failures after a success."""
    key = next(iter(_failure_keys(login, "")))
    row = session.get(ConsoleFailure, key)
    if row is not None:
        session.delete(row)


def _refused() -> Unauthorised:
    return Unauthorised(
        "login_refused",
        "Log-in name, password or code is not right.",
        hint="Check both; after several failures there is a wait.",
    )
