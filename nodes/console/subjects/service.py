"""Log-in of a firm or citizen: the certified one-time key signs a challenge of this node.

A challenge is random, names this node and the console's address, belongs to one browser and one
key, lives for five minutes and counts once. Every request of the session asks again whether the
key's certificate holds.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover, require_address
from chain.core.errors import BadSignature, Forbidden, Unauthorised, Unavailable
from chain.statements.login import SubjectLogin, origin_hash
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import Account, AccountState, SessionLimits, Visit
from nodes.console.subjects import store
from registry.subjects import service as subjects
from registry.subjects.model import SubjectKey

CHALLENGE_SECONDS = 300
MAX_CHALLENGES = 10_000
"""Unused challenges at a time: strangers ask for them."""
TOKEN_PREFIX = "subject-"  # noqa: S105
_TOUCH_SECONDS = 30


@dataclass(frozen=True, slots=True)
class SubjectEntry:
    """A session that was just opened; the token goes into the cookie and is stored nowhere."""

    token: str
    visit: Visit


def challenge(context: Context, *, key: str, origin: str, browser: str) -> SubjectLogin:
    """The statement that a key signs to log in. Whether the key is known is not shown before it has
    signed.

    Args:
        browser: the token of the browser's own cookie.

    Raises:
        BadInput: ``address_malformed``; Unavailable: ``login_busy``.
    """
    now = context.now()
    statement = SubjectLogin(
        version=1,
        node=context.member,
        origin=origin_hash(origin),
        challenge=secrets.token_bytes(32),
        key=require_address(key),
        expires_at=now + CHALLENGE_SECONDS,
    )

    def change(session: Session) -> None:
        if store.count_challenges(session, now=now) >= MAX_CHALLENGES:
            raise Unavailable(
                "login_busy",
                "Too many log-ins are under way at this node.",
                hint="Try again in five minutes.",
            )
        session.add(
            store.SubjectChallenge(
                challenge=statement.challenge,
                key=statement.key,
                browser=accounts.digest_of(browser),
                expires_at=statement.expires_at,
            )
        )

    context.database.write(change)
    return statement


def log_in(
    context: Context,
    statement: SubjectLogin,
    signature: bytes,
    *,
    origin: str,
    browser: str,
    address: str,
) -> SubjectEntry:
    """Open a session for the key that signed a challenge of this node.

    Args:
        address: where the request came from; failures are counted by it and by the key.

    Raises:
        RateLimited: ``login_wait``; Unauthorised: ``subject_login_refused`` for a challenge that is
            used, expired, another browser's, node's or site's, for another key's signature and for
            a key this node does not know; Forbidden: what ``subjects.require_valid`` raises, to who
            has shown the key; Unavailable: ``chain_view_stale``.
    """
    accounts.require_turn(context, statement.key, address)
    taken = context.database.write(lambda session: _taken(session, statement.challenge))
    known = subjects.find(context, statement.key)
    if (
        known is None
        or taken is None
        or taken != (statement.key, accounts.digest_of(browser), statement.expires_at)
        or context.now() > statement.expires_at
        or (statement.node, statement.origin) != (context.member, origin_hash(origin))
        or not _signed(context, statement, signature)
    ):
        accounts.count_failure(context, statement.key, address)
        raise _refused()
    subjects.require_valid(context, known)
    token, now = TOKEN_PREFIX + secrets.token_urlsafe(32), context.now()

    def change(session: Session) -> None:
        accounts.clear_failures(session, statement.key)
        session.add(
            store.SubjectSession(
                digest=accounts.digest_of(token), key=known.key, created_at=now, seen_at=now
            )
        )

    context.database.write(change)
    return SubjectEntry(token, _visit(known, token))


def visit_of(context: Context, token: str, limits: SessionLimits) -> Visit | None:
    """The subject behind a session's token; None when the session is over, and when the key is no
    longer known here or its certificate no longer holds.

    Raises:
        Unavailable: ``chain_view_stale``.
    """
    digest, now = accounts.digest_of(token), context.now()
    with context.database.read() as session:
        row = store.find_session(session, digest)
    if row is None:
        return None
    over = now - row.seen_at > limits.idle or now - row.created_at > limits.total
    known = None if over else _valid(context, row.key)
    if known is None:
        context.database.write(lambda session: store.end_session(session, digest))
        return None
    if now - row.seen_at >= min(_TOUCH_SECONDS, limits.idle // 2):
        context.database.write(lambda session: store.touch_session(session, digest, now))
    return _visit(known, token)


def log_out(context: Context, visit: Visit) -> None:
    """End the session."""
    context.database.write(lambda session: store.end_session(session, visit.session))


def end_old_sessions(context: Context, limits: SessionLimits) -> None:
    """Delete sessions that nobody used within their limit."""
    before = context.now() - limits.idle
    context.database.write(lambda session: store.end_old_sessions(session, seen_before=before))


def account_id_of(known: SubjectKey) -> str:
    """The id under which a subject's acts and forms are stored: of the code, or of the key where
    no code is known.
    """
    return "s" + hashlib.sha256((known.subject or known.key).encode()).hexdigest()[:31]


def _taken(session: Session, challenge: bytes) -> tuple[str, bytes, int] | None:
    row = store.take_challenge(session, challenge)
    return None if row is None else (row.key, row.browser, row.expires_at)


def _signed(context: Context, statement: SubjectLogin, signature: bytes) -> bool:
    try:
        digest = statement.digest(context.domain(statement.contract))
        return recover(digest, signature) == statement.key
    except BadSignature:
        return False


def _valid(context: Context, key: str) -> SubjectKey | None:
    known = subjects.find(context, key)
    if known is None:
        return None
    try:
        subjects.require_valid(context, known)
    except Forbidden:
        return None
    return known


def _visit(known: SubjectKey, token: str) -> Visit:
    account = Account(
        id=account_id_of(known),
        login=known.key,
        name=known.name or known.subject or known.key[:10],
        roles=frozenset(),
        state=AccountState.ACTIVE,
        second_factor=False,
        created_at=0,
    )
    return Visit(
        account=account,
        session=accounts.digest_of(token),
        csrf=accounts.csrf_of(token),
        verified=True,
        subject=known,
    )


def _refused() -> Unauthorised:
    return Unauthorised(
        "subject_login_refused",
        "The log-in was refused: the signature, the key or the request is not right.",
        hint="Load the page again, and sign with the key that this organisation knows.",
    )
