"""Records acts in the node's own log as they happen, and opens them for auditors.

A leaf of the log holds a salted commitment to the act. The record and its salt are stored encrypted
under a key of the person's own: who holds it can show what a leaf says, and once it is erased
nobody can, while the log still verifies.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from chain.core.canonical import dumps
from chain.statements.commitment import commit, new_salt
from nodes.console.acts import store
from nodes.console.acts.model import Act, ActFilter, Actor, RecordedAct
from nodes.console.acts.store import ActColumns, ConsoleAct
from nodes.console.storage import Records
from registry.evidence import log
from registry.pages import Page, PageRequest

DOMAIN = "qiaolian.act.v1"
LEAF = "Act"
BEGUN, DONE = "begun", "done"
"""Outcomes of a change: a line when it begins, and one when it ends, with ``DONE`` or the code of
the error that it failed with.
"""
_NONCE = 12


def record(context: Records, actor: Actor, act: Act, *, outcome: str = DONE) -> None:
    """Store an act and append its commitment to the log, in one transaction."""
    context.database.write(lambda session: append(session, context, actor, act, outcome=outcome))


def append(
    session: Session, context: Records, actor: Actor, act: Act, *, outcome: str = DONE
) -> None:
    """``record`` within the caller's transaction, so that act and effect are stored together."""
    at, salt = context.now(), new_salt()
    content = {
        "account": actor.account_id,
        "at": at,
        "kind": act.kind.value,
        "login": actor.login,
        "name": actor.name,
        "object": act.object,
        "outcome": outcome,
        "place": actor.place[:200],
        "subject": act.subject[:100],
    }
    digest = commit(salt, DOMAIN, content)
    row: ActColumns = {
        "at": at,
        "account_id": actor.account_id,
        "kind": act.kind.value,
        "object": act.object,
        "subject": act.subject[:100],
        "place": actor.place[:200],
        "outcome": outcome,
        "commitment": digest,
        "sealed": _seal(_key(session, actor.account_id), {"record": content, "salt": salt.hex()}),
    }
    store.insert_act(session, row)
    log.append(session, kind=LEAF, digest=digest, at=at)


def listing(context: Records, wanted: ActFilter, page: PageRequest) -> Page[RecordedAct]:
    """Acts with the persons behind them, newest first."""
    with context.database.read() as session:
        found = store.act_page(session, wanted, page)
        keys = {
            account: store.person_key(session, account)
            for account in {row.account_id for row in found.rows}
        }
    return found.map(lambda row: _opened(row, keys[row.account_id]))


def forget_person(session: Session, account_id: str) -> bool:
    """Erase the key that opens a person in the acts; whether there was one."""
    return store.erase_key(session, account_id)


def _opened(row: ConsoleAct, key: bytes | None) -> RecordedAct:
    content = None if key is None else _unseal(key, row.sealed)
    record = {} if content is None else content["record"]
    return RecordedAct(
        id=row.id,
        at=row.at,
        kind=row.kind,
        object=row.object,
        subject=row.subject,
        place=row.place,
        outcome=row.outcome,
        account_id=row.account_id,
        person=None if content is None else f"{record['name']} ({record['login']})",
        commitment=row.commitment,
    )


def _key(session: Session, account_id: str) -> bytes:
    found = store.person_key(session, account_id)
    return store.make_key(session, account_id) if found is None else found


def _seal(key: bytes, content: dict[str, Any]) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, dumps(content), DOMAIN.encode())


def _unseal(key: bytes, sealed: bytes) -> dict[str, Any] | None:
    """The content; None where the key is not the one it was sealed with."""
    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], DOMAIN.encode())
    except InvalidTag:
        return None
    content: dict[str, Any] = json.loads(plain)
    return content
