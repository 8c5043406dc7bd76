"""Back, refresh, double click and a second tab never do a thing twice.

Each form carries a random key. The first time it is sent, the key is bound to the form's content
before anything is done; sent again, it leads where it led the first time. A run that the node's end
broke off is taken up under the same key, which the services take as their idempotency key.
"""

from __future__ import annotations

import re
import secrets

from sqlalchemy.orm import Session

from chain.core.errors import BadInput, Conflict
from nodes.console.storage import Records
from nodes.console.submissions import store
from nodes.console.submissions.store import ConsoleSubmission
from nodes.process_token import process_token

_KEEP_SECONDS = 7 * 86_400
_KEY = re.compile(r"[0-9a-f]{32}")


def new_key() -> str:
    """A fresh key for a form."""
    return secrets.token_hex(16)


def begin(context: Records, account_id: str, form_key: str, content: bytes) -> str | None:
    """Bind a form's key to its content (32 bytes); where it led if it was carried out before.

    Raises:
        BadInput: ``form_key_malformed``; Conflict: ``form_in_progress``, ``form_key_reused``.
    """
    if _KEY.fullmatch(form_key) is None:
        raise BadInput("form_key_malformed", "The form lacks its key.", hint="Load the page again.")
    now = context.now()

    def change(session: Session) -> str | None:
        store.forget(session, before=now - _KEEP_SECONDS)
        row = session.get(ConsoleSubmission, (account_id, form_key))
        if row is None:
            session.add(
                ConsoleSubmission(
                    account_id=account_id,
                    form_key=form_key,
                    content=content,
                    process=process_token(),
                    at=now,
                )
            )
            return None
        if row.content != content:
            raise Conflict(
                "form_key_reused",
                "This form was sent already, with other content.",
                hint="Load the page again and fill it in again.",
            )
        if row.location is None and row.process == process_token():
            raise Conflict(
                "form_in_progress",
                "This form is being carried out.",
                hint="Wait a moment, then load the page again.",
            )
        row.process = process_token()
        return row.location

    return context.database.write(change)


def finish(context: Records, account_id: str, form_key: str, location: str) -> None:
    """Store where a form led."""

    def change(session: Session) -> None:
        row = session.get(ConsoleSubmission, (account_id, form_key))
        if row is not None:
            row.location = location

    context.database.write(change)


def cancel(context: Records, account_id: str, form_key: str) -> None:
    """A form that was refused may be sent again."""

    def change(session: Session) -> None:
        row = session.get(ConsoleSubmission, (account_id, form_key))
        if row is not None and row.location is None:
            session.delete(row)

    context.database.write(change)
