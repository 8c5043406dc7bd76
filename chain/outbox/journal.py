"""The outbox worker's database access: each step in one short transaction, in bulk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.core.database import Database, PreparedStatement
from chain.core.errors import Conflict
from chain.outbox.rules import Priority
from chain.outbox.store import CALLS, DONE, QUEUED, REVERTED, SENDERS, SENT, SIGNED


@dataclass(frozen=True, slots=True)
class QueuedCall:
    """A call that has no nonce yet."""

    id: int
    contract: str
    data: bytes
    priority: int = Priority.NORMAL


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call with its final bytes."""

    id: int
    contract: str
    data: bytes
    nonce: int
    raw: bytes
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class FinalOutcome:
    """Outcome of a call on the chain."""

    id: int
    height: int
    code: str | None = None
    context: Mapping[str, Any] | None = None


class Journal:
    """One sender's rows."""

    def __init__(self, database: Database, sender: str) -> None:
        self._database = database
        self._sender = sender

    def start(self, chain_nonce: int) -> int:
        """The next nonce to use: never below what the chain has seen, nor below what was already
        given out.
        """

        def change(session: Session) -> int:
            known: int | None = session.execute(
                sa.select(SENDERS.c.next_nonce).where(SENDERS.c.sender == self._sender)
            ).scalar_one_or_none()
            if known is None:
                session.execute(
                    sa.insert(SENDERS).values(sender=self._sender, next_nonce=chain_nonce)
                )
                return chain_nonce
            following = max(known, chain_nonce)
            if following != known:
                session.execute(
                    sa.update(SENDERS)
                    .where(SENDERS.c.sender == self._sender)
                    .values(next_nonce=following)
                )
            return following

        return self._database.write(change)

    def version(self) -> int | None:
        """As ``Database.version``: while it stays the same, nothing was queued."""
        return self._database.version()

    def queued(self, limit: int, bulk_limit: int) -> list[QueuedCall]:
        """The oldest ``limit`` calls of each priority that have no nonce; ``bulk_limit`` where only
        bulk calls wait.
        """
        if not self._database.fetch(_QUEUED, {"sender": self._sender, "state": QUEUED})[0][0]:
            return []
        with self._database.read() as session:
            found = [
                call
                for priority in (Priority.URGENT, Priority.NORMAL)
                for call in self._oldest(session, priority, limit)
            ]
            return found + self._oldest(
                session, Priority.BULK, limit if found else min(limit, bulk_limit)
            )

    def _oldest(self, session: Session, priority: Priority, limit: int) -> list[QueuedCall]:
        if limit <= 0:
            return []
        query = (
            sa.select(CALLS.c.id, CALLS.c.contract, CALLS.c.data, CALLS.c.priority)
            .where(
                CALLS.c.sender == self._sender,
                CALLS.c.state == QUEUED,
                CALLS.c.priority == int(priority),
            )
            .order_by(CALLS.c.id)
            .limit(limit)
        )
        return [QueuedCall(*row) for row in session.execute(query)]

    def report_running(self, now: float) -> None:
        """Record that the worker runs, so that others notice when it does not."""
        change = sa.update(SENDERS).where(SENDERS.c.sender == self._sender).values(seen_at=now)
        self._database.write(lambda session: session.execute(change) and None)

    def in_flight(self) -> list[SignedCall]:
        """All calls that have bytes and no ending, by nonce."""
        query = (
            sa.select(
                CALLS.c.id,
                CALLS.c.contract,
                CALLS.c.data,
                CALLS.c.nonce,
                CALLS.c.raw,
                CALLS.c.tx_hash,
            )
            .where(CALLS.c.sender == self._sender, CALLS.c.state.in_((SIGNED, SENT)))
            .order_by(CALLS.c.nonce)
        )
        with self._database.read() as session:
            return [SignedCall(*row) for row in session.execute(query)]

    def store_signed(self, signed: Sequence[SignedCall]) -> None:
        """Make the bytes durable, before any is sent.

        Raises:
            Conflict: ``outbox_second_worker`` when somebody else gave out the nonces meanwhile;
                nothing is stored.
        """
        first, following = signed[0].nonce, signed[-1].nonce + 1
        rows = [
            {
                "row": call.id,
                "nonce": call.nonce,
                "raw": call.raw,
                "tx_hash": call.tx_hash,
                "state": SIGNED,
            }
            for call in signed
        ]

        def change(session: Session) -> None:
            advanced = session.execute(
                sa.update(SENDERS)
                .where(SENDERS.c.sender == self._sender, SENDERS.c.next_nonce == first)
                .values(next_nonce=following)
            )
            if advanced.rowcount != 1:  # type: ignore[attr-defined]
                raise _second_worker()
            stored = session.connection().execute(_SIGN, rows)
            if stored.rowcount != len(rows):
                raise _second_worker()

        self._database.write(change)

    def store_sent(self, ids: Sequence[int]) -> None:
        """A node took these."""
        if ids:
            rows = [{"row": identifier} for identifier in ids]
            self._database.write(lambda session: session.connection().execute(_SENT, rows) and None)

    def store_notes(self, notes: Mapping[int, str]) -> None:
        """A node refused these for now."""
        if notes:
            rows = [{"row": name, "note": note[:200]} for name, note in notes.items()]
            self._database.write(lambda session: session.connection().execute(_NOTE, rows) and None)

    def store_outcomes(self, outcomes: Sequence[FinalOutcome]) -> None:
        """These are final."""
        if not outcomes:
            return
        rows = [
            {
                "row": outcome.id,
                "state": DONE if outcome.code is None else REVERTED,
                "height": outcome.height,
                "code": outcome.code,
                "context": None
                if outcome.context is None
                else json.dumps(outcome.context, default=_plain),
            }
            for outcome in outcomes
        ]
        self._database.write(lambda session: session.connection().execute(_FINISH, rows) and None)

    def requeue(self, ids: Sequence[int], chain_nonce: int) -> int:
        """Give up bytes whose nonce another transaction used, so that they can never enter a block;
        the next nonce.
        """

        def change(session: Session) -> int:
            session.connection().execute(_REQUEUE, [{"row": identifier} for identifier in ids])
            known: int = session.execute(
                sa.select(SENDERS.c.next_nonce).where(SENDERS.c.sender == self._sender)
            ).scalar_one()
            following = max(known, chain_nonce)
            session.execute(
                sa.update(SENDERS)
                .where(SENDERS.c.sender == self._sender)
                .values(next_nonce=following)
            )
            return following

        return self._database.write(change)


def _second_worker() -> Conflict:
    return Conflict(
        "outbox_second_worker",
        "Another worker gave out nonces of this key.",
        hint="Run one outbox process for each sending key.",
    )


_ROW: sa.BindParameter[int] = sa.bindparam("row")
_QUEUED = PreparedStatement(
    sa.select(
        sa.exists().where(
            CALLS.c.sender == sa.bindparam("sender"), CALLS.c.state == sa.bindparam("state")
        )
    )
)
_SIGN = (
    sa.update(CALLS)
    .where(CALLS.c.id == _ROW, CALLS.c.state == QUEUED)
    .values(
        state=sa.bindparam("state"),
        nonce=sa.bindparam("nonce"),
        raw=sa.bindparam("raw"),
        tx_hash=sa.bindparam("tx_hash"),
    )
)
_SENT = (
    sa.update(CALLS)
    .where(CALLS.c.id == _ROW, CALLS.c.state == SIGNED)
    .values(state=SENT, note=None)
)
_NOTE = sa.update(CALLS).where(CALLS.c.id == _ROW).values(note=sa.bindparam("note"))
_FINISH = (
    sa.update(CALLS)
    .where(CALLS.c.id == _ROW, CALLS.c.raw.is_not(None))
    .values(
        state=sa.bindparam("state"),
        height=sa.bindparam("height"),
        code=sa.bindparam("code"),
        context=sa.bindparam("context"),
        raw=None,
        note=None,
    )
)
_REQUEUE = (
    sa.update(CALLS)
    .where(CALLS.c.id == _ROW, CALLS.c.raw.is_not(None))
    .values(
        state=QUEUED, nonce=None, raw=None, tx_hash=None, note="another transaction used its nonce"
    )
)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    raise TypeError(f"{type(value).__name__} has no JSON form")
