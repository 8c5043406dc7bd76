"""Approvals in the transaction of what they allow, each with an entry of the node's log."""

from __future__ import annotations

import hashlib

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from exchange.approvals import rules, store
from exchange.approvals.model import Approval, Matter
from exchange.approvals.rules import APPROVAL_SECONDS
from registry.evidence.log import append

ENTRY_KIND = "MoneyApproval"


def approve(
    context: Context, session: Session, matter: Matter, subject: str, digest: bytes, person: str
) -> Approval:
    """Approve as a person; what it allows is done by the caller once it is complete.

    The log's entry names the content and which approval it is, never the person: the acts of the
    node do.

    Raises:
        Forbidden: ``person_unnamed``, ``second_person_needed``.
    """
    now = context.now()
    found = rules.approved(
        store.find(session, matter, subject), matter, subject, digest, person, now
    )
    store.put(session, found)
    step = "second" if found.complete else "first"
    content = [matter.value, subject, "0x" + digest.hex(), step, now]
    append(session, kind=ENTRY_KIND, digest=hashlib.sha256(dumps(content)).digest(), at=now)
    return found


def find(session: Session, matter: Matter, subject: str) -> Approval | None:
    """The latest approval of a matter."""
    return store.find(session, matter, subject)


def waiting(context: Context) -> list[Approval]:
    """What waits for a second person, the oldest first."""
    with context.database.read() as session:
        return store.waiting(session, since=context.now() - APPROVAL_SECONDS)
