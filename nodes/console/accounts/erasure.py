"""Forgetting a person (PIPL, article 47)."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.core.errors import NotFound
from nodes.console.accounts import store
from nodes.console.accounts.model import AccountState
from nodes.console.acts import service as acts
from nodes.console.storage import Records


def forget_person(context: Records, account_id: str) -> None:
    """Erase a person's name, log-in name, password and the key that opens their acts. The acts
    themselves stay, under the account's id; their commitments in the log still verify.

    Raises:
        NotFound: ``account_unknown``; Conflict: ``last_administrator``.
    """

    def change(session: Session) -> None:
        row = store.account_row(session, account_id)
        if row is None:
            raise NotFound("account_unknown", "There is no such account.")
        store.require_another_administrator(session, account_id)
        row.login, row.name = f"forgotten-{row.id}", "–"
        row.password_hash = row.totp_secret = row.issuer = row.subject = None
        row.state, row.roles = AccountState.FORGOTTEN, []
        store.end_sessions(session, account_id)
        store.end_invitations(session, account_id)
        store.end_recovery_codes(session, account_id)
        acts.forget_person(session, account_id)

    context.database.write(change)
