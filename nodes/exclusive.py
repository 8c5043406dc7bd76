"""Locks that allow one process of a kind per database: a second node process would use the same
lanes, log and nonces.

The lock is held for the process's life and released by the system when the process ends, however it
ends, so a killed process leaves nothing that blocks the next. For SQLite it is a lock on a file
beside the database, for PostgreSQL an advisory lock of a session.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from chain.core.errors import Conflict, Unavailable

Kind = Literal["node", "outbox"]
_NUMBERS: dict[Kind, int] = {"node": 0x71696170, "outbox": 0x71696171}
_COMMANDS: dict[Kind, str] = {"node": "qiaolian node run", "outbox": "qiaolian node outbox"}


@contextmanager
def exclusive_process(kind: Kind, url: str) -> Iterator[None]:
    """Hold the lock of the one process of this kind on the database.

    Raises:
        Conflict: ``node_running`` or ``outbox_running``, naming the process that holds it.
        Unavailable: ``database_unavailable``.
    """
    holding = _on_file if url.startswith("sqlite") else _on_server
    with holding(kind, url):
        yield


@contextmanager
def _on_file(kind: Kind, url: str) -> Iterator[None]:
    database = sa.make_url(url).database
    assert database
    path = Path(f"{database}.{kind}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unavailable() from error
    with os.fdopen(descriptor, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _running(kind, file.read(20).strip()) from error
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _on_server(kind: Kind, url: str) -> Iterator[None]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    number = {"number": _NUMBERS[kind]}
    try:
        with engine.connect() as connection:
            connection.execute(
                sa.text("SELECT set_config('application_name', :name, false)"),
                {"name": f"process {os.getpid()}"},
            )
            if not connection.execute(
                sa.text("SELECT pg_try_advisory_lock(:number)"), number
            ).scalar():
                holder = connection.execute(sa.text(_HOLDER), number).scalar()
                raise _running(kind, str(holder or "").removeprefix("process "))
            yield
    except DBAPIError as error:
        raise _unavailable() from error
    finally:
        engine.dispose()


_HOLDER = """
SELECT activity.application_name FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objid = :number
"""


def _running(kind: Kind, pid: str) -> Conflict:
    holder = f"Process {pid}" if pid.isdigit() else "Another process"
    return Conflict(
        f"{kind}_running",
        f"{holder} runs `{_COMMANDS[kind]}` on this database.",
        hint="End it first: there is one such process a database.",
        pid=int(pid) if pid.isdigit() else None,
    )


def _unavailable() -> Unavailable:
    return Unavailable(
        "database_unavailable",
        "The node's database could not be opened.",
        hint="Check its URL, the disk's free space and who may write there.",
    )
