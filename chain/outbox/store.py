"""The outbox's tables, and the queries of the rest of the node on them.

A call goes ``queued`` (intended) -> ``signed`` (has a nonce and its final bytes, stored) ->
``sent`` (a node accepted it) -> ``done`` or ``reverted`` (both final). The bytes are stored before
they are first sent and never change.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.crypto import require_address
from chain.core.database import Base, Database, PreparedStatement
from chain.core.errors import BadInput, Conflict, NotFound, Unavailable
from chain.ethereum.ledger.abi import Reverted, contract_abi
from chain.outbox.rules import Priority

MAX_CALL_BYTES = 96 * 1024
"""Nodes refuse transactions of more than 128 KiB; one that can never be sent would hold up all
after it.
"""

QUEUED, SIGNED, SENT, DONE, REVERTED = "queued", "signed", "sent", "done", "reverted"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class OutboxCall(Base):
    """One contract call that was promised."""

    __tablename__ = "outbox_call"
    __table_args__ = (
        sa.UniqueConstraint("operation_id"),
        sa.UniqueConstraint("sender", "nonce"),
        sa.Index("outbox_call_work", "sender", "state", "priority", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=True)
    operation_id: Mapped[str] = mapped_column(sa.String(200))
    sender: Mapped[str] = mapped_column(sa.String(42))
    contract: Mapped[str] = mapped_column(sa.String(64))
    function: Mapped[str] = mapped_column(sa.String(64))
    data: Mapped[bytes] = mapped_column(sa.LargeBinary)
    state: Mapped[str] = mapped_column(sa.String(8), default=QUEUED)
    nonce: Mapped[int | None] = mapped_column(_BIG)
    raw: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    """The signed bytes; dropped once the call is final."""
    tx_hash: Mapped[bytes | None] = mapped_column(sa.LargeBinary(32))
    height: Mapped[int | None] = mapped_column(_BIG)
    code: Mapped[str | None] = mapped_column(sa.String(64))
    """Stable code of a revert."""
    context: Mapped[str | None] = mapped_column(sa.Text)
    """A revert's arguments, as JSON."""
    note: Mapped[str | None] = mapped_column(sa.String(200))
    """Why a node last refused to take it; nothing final."""
    created_at: Mapped[float] = mapped_column(sa.Float)
    priority: Mapped[int] = mapped_column(
        sa.SmallInteger, default=int(Priority.NORMAL), server_default=str(int(Priority.NORMAL))
    )
    """A ``Priority``: which call gets the next nonce."""


class OutboxSender(Base):
    """A sending key and its next nonce."""

    __tablename__ = "outbox_sender"

    sender: Mapped[str] = mapped_column(sa.String(42), primary_key=True)
    next_nonce: Mapped[int] = mapped_column(_BIG)
    seen_at: Mapped[float | None] = mapped_column(sa.Float)
    """When its worker last reported that it runs, Unix seconds."""


CALLS = cast(sa.Table, OutboxCall.__table__)
SENDERS = cast(sa.Table, OutboxSender.__table__)


@dataclass(frozen=True)
class OperationStatus:
    """Status of a call."""

    state: str
    """``queued``, ``signed``, ``sent``, ``done`` or ``reverted``."""
    tx_hash: bytes | None
    height: int | None
    code: str | None
    """The revert's code."""
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (DONE, REVERTED)

    def require_done(self) -> OperationStatus:
        """Itself when done; raises ``Reverted`` with the contract's code when the
        contract refused.
        """
        if self.state == REVERTED:
            raise Reverted.of(
                self.code or "reverted", "The contract refused the call.", self.context
            )
        if self.state != DONE:
            raise Unavailable(
                "outbox_pending", "The call is not in a block yet.", hint="Ask again in a second."
            )
        return self


@dataclass(frozen=True)
class Backlog:
    """How much a sender still owes the chain."""

    queued: int
    in_flight: int
    oldest_seconds: float
    """Age of the oldest call that is not final; 0 when there is none."""
    note: str | None
    """The last refusal of a node to take one of them."""


def enqueue(
    session: Session,
    *,
    sender: str,
    operation_id: str,
    contract: str,
    function: str,
    arguments: Sequence[Any],
    priority: Priority = Priority.NORMAL,
    follows: str | None = None,
) -> None:
    """Promise a contract call, inside the caller's transaction.

    The same operation again with the same content changes nothing, except that a higher priority is
    taken over.

    Args:
        follows: an operation of the same sender that the contract needs first. While it waits it
            gets this call's priority (priority inheritance), so that the call cannot pass it.

    Raises:
        BadInput: ``call_malformed`` for arguments that do not fit the function; ``call_too_large``.
        Conflict: ``operation_reused`` for an operation id that already belongs to another call.
    """
    data = contract_abi(contract).encode(function, arguments)
    if len(data) > MAX_CALL_BYTES:
        raise BadInput(
            "call_too_large",
            f"The call takes {len(data)} bytes; a transaction can carry {MAX_CALL_BYTES}.",
            hint="Send it as several smaller batches.",
        )
    row = {
        "operation_id": operation_id,
        "sender": require_address(sender),
        "contract": contract,
        "function": function,
        "data": data,
        "state": QUEUED,
        "created_at": time.time(),
        "priority": int(priority),
    }
    if follows is not None:
        _raise_priority(
            session,
            sa.or_(
                CALLS.c.operation_id == follows,
                CALLS.c.operation_id.startswith(f"{follows}/", autoescape=True),
            ),
            priority,
        )
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    result = session.execute(
        insert(CALLS).values(row).on_conflict_do_nothing(index_elements=["operation_id"])
    )
    if result.rowcount:  # type: ignore[attr-defined]
        return
    stored = session.execute(
        sa.select(CALLS.c.sender, CALLS.c.contract, CALLS.c.function, CALLS.c.data).where(
            CALLS.c.operation_id == operation_id
        )
    ).one()
    if tuple(stored) != (row["sender"], contract, function, data):
        raise Conflict(
            "operation_reused",
            "That operation id already belongs to another call.",
            hint="Use a new operation id for a new call.",
            operation_id=operation_id,
        )
    _raise_priority(session, CALLS.c.operation_id == operation_id, priority)


def _raise_priority(session: Session, which: sa.ColumnElement[bool], priority: Priority) -> None:
    """Give calls without a nonce a priority, unless they have a higher one."""
    waiting = sa.and_(which, CALLS.c.state == QUEUED, CALLS.c.priority > int(priority))
    session.execute(sa.update(CALLS).where(waiting).values(priority=int(priority)))


def next_attempt(session: Session, operation_id: str) -> str:
    """The operation's id, or the next one of its series when the chain refused it.

    A revert is final for the call that met it, not for what was wanted: what a suspension, a hold
    or a moment too early stopped may be asked for again. Contract calls are idempotent, so a second
    success has no second effect.
    """
    found, number = operation_id, 1
    while refused(session, found):
        number += 1
        found = f"{operation_id}/{number}"
    return found


def cancel(session: Session, operation_id: str) -> bool:
    """Take back a call that has no nonce yet; whether it was taken back. It ends as refused, with
    the code ``cancelled``.

    A call that was signed may be in a block at any moment, so it is never taken back.
    """
    query = sa.update(CALLS).where(CALLS.c.operation_id == operation_id, CALLS.c.state == QUEUED)
    result = session.execute(query.values(state=REVERTED, code="cancelled"))
    return bool(result.rowcount)  # type: ignore[attr-defined]


def refused(session: Session, operation_id: str) -> bool:
    """Whether the chain refused the call; false for one that is unknown or under way."""
    return _state(session, operation_id) == REVERTED


def last_refusal(session: Session, operation_id: str) -> OperationStatus | None:
    """How the chain refused the last call of an operation's series; None when it refused none, or a
    later one is under way.
    """
    following = next_attempt(session, operation_id)
    if following == operation_id or is_known(session, following):
        return None
    number = int(following.removeprefix(f"{operation_id}/")) - 1
    return outcome(session, operation_id if number == 1 else f"{operation_id}/{number}")


def unfinished(session: Session, prefix: str) -> list[str]:
    """Operations, of whichever sender, that begin so and are neither done nor refused."""
    query = sa.select(CALLS.c.operation_id).where(
        CALLS.c.state.in_((QUEUED, SIGNED, SENT)),
        CALLS.c.operation_id.startswith(prefix, autoescape=True),
    )
    return list(session.scalars(query))


def owed(session: Session, *, sender: str | None = None, until: float | None = None) -> int:
    """How many calls, of one sender or queued up to a time (Unix seconds), are neither done nor
    refused.
    """
    query = (
        sa.select(sa.func.count())
        .select_from(CALLS)
        .where(CALLS.c.state.in_((QUEUED, SIGNED, SENT)))
    )
    if sender is not None:
        query = query.where(CALLS.c.sender == sender)
    if until is not None:
        query = query.where(CALLS.c.created_at <= until)
    return session.scalar(query) or 0


def arguments_of(session: Session, contract: str, function: str) -> list[tuple[Any, ...]]:
    """The arguments of every call of a function that was queued here, the latest first."""
    query = sa.select(CALLS.c.data).where(
        CALLS.c.contract == contract, CALLS.c.function == function
    )
    abi = contract_abi(contract)
    found = session.scalars(query.order_by(CALLS.c.id.desc()))
    return [abi.decode_call(function, data) for data in found]


def queued(session: Session, sender: str, prefix: str) -> int:
    """How many operations of a sender begin so and have no nonce yet."""
    waiting = sa.and_(
        CALLS.c.sender == sender,
        CALLS.c.state == QUEUED,
        CALLS.c.operation_id.startswith(prefix, autoescape=True),
    )
    return session.execute(
        sa.select(sa.func.count()).select_from(CALLS).where(waiting)
    ).scalar_one()


def is_known(session: Session, operation_id: str) -> bool:
    """Whether a call was queued under that id."""
    return _state(session, operation_id) is not None


def _state(session: Session, operation_id: str) -> str | None:
    return session.execute(
        sa.select(CALLS.c.state).where(CALLS.c.operation_id == operation_id)
    ).scalar_one_or_none()


def outcome(session: Session, operation_id: str) -> OperationStatus:
    """Status of a call, or ``operation_unknown``."""
    row = session.execute(
        sa.select(
            CALLS.c.state, CALLS.c.tx_hash, CALLS.c.height, CALLS.c.code, CALLS.c.context
        ).where(CALLS.c.operation_id == operation_id)
    ).one_or_none()
    if row is None:
        raise NotFound(
            "operation_unknown",
            "No call was queued under that operation id.",
            operation_id=operation_id,
        )
    return OperationStatus(
        row.state, row.tx_hash, row.height, row.code, json.loads(row.context) if row.context else {}
    )


async def wait(database: Database, operation_id: str, timeout: float) -> OperationStatus:
    """Wait until a call is final, done or reverted.

    Raises:
        Unavailable: ``outbox_timeout`` when it is not final after ``timeout`` seconds; it stays
            promised.
        NotFound: ``operation_unknown``.
    """
    deadline = time.monotonic() + timeout
    pause = 0.02
    while True:
        found = await database.aread(lambda session: outcome(session, operation_id))
        if found.final:
            return found
        if time.monotonic() >= deadline:
            raise Unavailable(
                "outbox_timeout",
                f"The call is still {found.state} after "
                f"{timeout:.0f} s; it is stored and will be sent.",
                hint="Check that the node's outbox process runs and that the chain makes blocks.",
                operation_id=operation_id,
                state=found.state,
            )
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, 0.25)


def worker_seen_at(session: Session, sender: str) -> float | None:
    """When the sender's worker last reported that it runs, Unix seconds; None if it never did."""
    return session.execute(
        sa.select(SENDERS.c.seen_at).where(SENDERS.c.sender == sender)
    ).scalar_one_or_none()


_UNFINISHED = PreparedStatement(
    sa.select(sa.func.count(), sa.func.max(CALLS.c.id)).where(
        CALLS.c.sender == sa.bindparam("sender"),
        sa.or_(*(CALLS.c.state == sa.bindparam(state) for state in (QUEUED, SIGNED, SENT))),
    )
)


def unfinished_mark(database: Database, sender: str) -> object | None:
    """A value that differs once a call of the sender was queued or became final; None where the
    answer would have to be waited for.
    """
    states = {state: state for state in (QUEUED, SIGNED, SENT)}
    found = database.fetch_at_once(_UNFINISHED, {"sender": sender, **states})
    return None if found is None else tuple(found[0])


def backlog(session: Session, sender: str) -> Backlog:
    """What a sender still owes."""
    rows = session.execute(
        sa.select(CALLS.c.state, sa.func.count(), sa.func.min(CALLS.c.created_at))
        .where(CALLS.c.sender == sender, CALLS.c.state.in_((QUEUED, SIGNED, SENT)))
        .group_by(CALLS.c.state)
    ).all()
    note = session.execute(
        sa.select(CALLS.c.note)
        .where(
            CALLS.c.sender == sender, CALLS.c.state.in_((SIGNED, SENT)), CALLS.c.note.is_not(None)
        )
        .order_by(CALLS.c.id)
        .limit(1)
    ).scalar_one_or_none()
    counts = {state: count for state, count, _ in rows}
    oldest = min((since for _, _, since in rows), default=None)
    return Backlog(
        queued=counts.get(QUEUED, 0),
        in_flight=counts.get(SIGNED, 0) + counts.get(SENT, 0),
        oldest_seconds=0.0 if oldest is None else max(0.0, time.time() - oldest),
        note=note,
    )
