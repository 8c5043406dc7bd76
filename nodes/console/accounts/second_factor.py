"""The second factor: time-based one-time passwords (RFC 6238) and recovery codes.

A secret is stored encrypted under a key that the node derives, so that a copied database alone
makes no codes. A code counts once: the time step of the last accepted one is stored.
"""

from __future__ import annotations

import secrets

import pyotp
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Unauthorised
from nodes.console.accounts import service, store
from nodes.console.accounts.model import Visit
from nodes.console.accounts.store import ConsoleAccount, ConsoleRecoveryCode

STEP_SECONDS = 30
RECOVERY_CODES = 10
_DRIFT = 1
"""Time steps that a telephone's clock may be off."""
_NONCE = 12
_LABEL = b"qiaolian.console.totp.v1"


def new_secret() -> str:
    """A fresh secret of 160 bits, in base 32."""
    return pyotp.random_base32(32)


def require_secret(secret: str) -> None:
    """Refuse a secret that ``new_secret`` did not make; ``totp_secret_malformed``."""
    if len(secret) != 32 or not set(secret) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
        raise BadInput(
            "totp_secret_malformed", "The secret was changed.", hint="Load the page again."
        )


def provisioning_uri(secret: str, *, login: str, organisation: str) -> str:
    """The ``otpauth:`` address that an authenticator reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=organisation)


def enrol(context: Context, visit: Visit, secret: str, code: str) -> list[str]:
    """Make a secret the account's second factor once its code is shown; the recovery codes.

    Other sessions of the account end.

    Raises:
        Conflict: ``second_factor_set``; BadInput: ``totp_secret_malformed``; Unauthorised:
            ``code_refused``.
    """
    require_secret(secret)
    step = _matching_step(secret, code, context.now(), after=0)
    codes = [f"{secrets.token_hex(4)}-{secrets.token_hex(4)}" for _ in range(RECOVERY_CODES)]

    def change(session: Session) -> None:
        row = _row(session, visit.account.id)
        if row.totp_secret is not None:
            raise Conflict("second_factor_set", "The account has a second factor already.")
        row.totp_secret, row.totp_step = _seal(context, secret), step
        store.end_sessions(session, row.id, but=visit.session)
        store.end_recovery_codes(session, row.id)
        session.add_all(
            ConsoleRecoveryCode(account_id=row.id, digest=service.digest_of(one)) for one in codes
        )

    context.database.write(change)
    return codes


def verify(context: Context, visit: Visit, code: str, *, address: str) -> None:
    """Accept the second factor of a session: an authenticator's code, or a recovery code once.

    Raises:
        Unauthorised: ``code_refused``; RateLimited: ``login_wait``.
    """
    account = visit.account
    service.require_turn(context, account.login, address)
    code = code.strip().lower()

    def change(session: Session) -> None:
        row = _row(session, account.id)
        if row.totp_secret is None:
            return
        if "-" in code:
            used = session.get(ConsoleRecoveryCode, (row.id, service.digest_of(code)))
            if used is None:
                raise _refused()
            session.delete(used)
        else:
            secret = _unseal(context, row.totp_secret)
            row.totp_step = _matching_step(secret, code, context.now(), after=row.totp_step)
        service.clear_failures(session, row.login)
        store.verify_session(session, visit.session)

    try:
        context.database.write(change)
    except Unauthorised:
        service.count_failure(context, account.login, address)
        raise


def remove(context: Context, visit: Visit, code: str, *, address: str) -> None:
    """Take the second factor off an account that shows it once more; raises as ``verify``."""
    verify(context, visit, code, address=address)

    def change(session: Session) -> None:
        row = _row(session, visit.account.id)
        row.totp_secret = None
        store.end_recovery_codes(session, row.id)
        store.end_sessions(session, row.id, but=visit.session)

    context.database.write(change)


def _matching_step(secret: str, code: str, now: int, *, after: int) -> int:
    """The time step whose code this is, later than the last one accepted."""
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    for step in range(now // STEP_SECONDS - _DRIFT, now // STEP_SECONDS + _DRIFT + 1):
        expected = totp.at(step * STEP_SECONDS)
        if secrets.compare_digest(expected.encode(), code.strip().encode()) and step > after:
            return step
    raise _refused()


def _row(session: Session, account_id: str) -> ConsoleAccount:
    row = store.account_row(session, account_id)
    if row is None:
        raise _refused()
    return row


def _seal(context: Context, secret: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(context.derive(_LABEL)).encrypt(nonce, secret.encode(), _LABEL)


def _unseal(context: Context, sealed: bytes) -> str:
    key = AESGCM(context.derive(_LABEL))
    return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _LABEL).decode()


def _refused() -> Unauthorised:
    return Unauthorised(
        "code_refused",
        "The code is not right, or was used.",
        hint="Wait for the next code, and check the telephone's clock.",
    )
