"""One node's database: a single writer with group commit, and any number of readers.

Every change goes through ``Database.write``: the function given runs inside a transaction on one
writer thread; changes that arrive while a commit is under way share the next one, so a hundred
concurrent calls cost one disk flush and each caller still returns only when its own change is
durable. A function that raises is undone alone (a savepoint) and does not disturb its neighbours.
SQLite runs with WAL and ``synchronous=FULL``; PostgreSQL works by URL.

The function given to ``write`` may be run again if its batch failed to commit for a neighbour's
sake, so it must take effect only through the session it is handed.

Statements that run with every metered call are ``PreparedStatement``: compiling an expression and
converting its values costs several times what the database itself does with them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from chain.core.errors import QiaolianError, Unavailable

T = TypeVar("T")

MAX_PER_COMMIT = 256
BUSY_MILLISECONDS = 30_000
"""How long SQLite waits for another process's lock before it refuses."""


class Base(DeclarativeBase):
    """Parent of every table of the node, whichever package owns it."""


class PreparedStatement:
    """A statement compiled once and then given its values as the driver takes them: text, bytes,
    integers, None, and nothing else.
    """

    def __init__(self, statement: sa.ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {}

    def execute(self, session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each row; all rows have the same names."""
        connection = session.connection()
        text, values = self.compile(connection.dialect, rows[0])
        connection.exec_driver_sql(text, [values(row) for row in rows])

    def fetch(self, session: Session, values: Mapping[str, Any]) -> list[Any]:
        """The rows of a query within a transaction, as tuples."""
        connection = session.connection()
        text, made = self.compile(connection.dialect, values)
        return list(connection.exec_driver_sql(text, made(values)).all())

    def compile(
        self, dialect: sa.Dialect, row: Mapping[str, Any]
    ) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
        """The statement's text for a kind of database, and what makes the driver's
        values of a row.
        """
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(row))
            values = dict if compiled.positiontup is None else _row_picker(compiled.positiontup)
            found = self._compiled[dialect.name] = str(compiled), values
        return found


_DATA_VERSION = PreparedStatement(sa.text("PRAGMA data_version"))
"""Counts the commits of other connections than the one that asks, which makes none
(sqlite.org/pragma.html#pragma_data_version).
"""


Change = Callable[[Session], object]
"""A change within a transaction."""


class _Queued(NamedTuple):
    """A change that waits for the writer."""

    change: Callable[[Session], Any]
    future: Future[Any]
    routine: bool


class Database:
    """An open database. ``close`` finishes what was submitted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url, "BEGIN")
        self._writing = _engine(url, "BEGIN IMMEDIATE")
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._connection: sa.Connection | None = None
        """The writer thread's own; kept, because a pool's check-out costs as much as a small
        change.
        """
        self._reader: sa.PoolProxiedConnection | None = None
        """For prepared queries: kept likewise, apart from the pool, and without transactions."""
        self._asks = threading.Lock()
        self.commits = 0
        """Commits of this process so far, the one under way included; without routine ones."""
        self.routine_commits = 0
        """Commits of this process so far that had routine changes only."""
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._writer = threading.Thread(
            target=self._write_forever, name="database-writer", daemon=True
        )
        self._writer.start()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading: sees what was committed when it first looks. Nothing written in it
        is kept.
        """
        with self._readers() as session:
            yield session

    def fetch(self, query: PreparedStatement, values: Mapping[str, Any]) -> list[Any]:
        """The rows of a prepared query, as tuples, by what is committed now;
        ``database_unavailable``.
        """
        text, made = query.compile(self.engine.dialect, values)
        with self._asks:
            try:
                cursor = self._opened_reader().cursor()
                self._set_patience(cursor, BUSY_MILLISECONDS)
                cursor.execute(text, made(values))
                rows = list(cursor.fetchall())
                self._set_patience(cursor, 0)
                cursor.close()
                return rows
            except self.engine.dialect.loaded_dbapi.Error as error:
                self._close_reader()
                raise _unavailable("The node's database does not answer.") from error

    def version(self) -> int | None:
        """A number that differs once anybody, in whichever process, has committed a change.

        None where that is not known without waiting: on PostgreSQL, while the database is locked,
        and before the first prepared query.
        """
        found = self.fetch_at_once(_DATA_VERSION, {})
        return None if found is None else int(found[0][0])

    async def aread(self, query: Callable[[Session], T]) -> T:
        """Run a query in a thread and return its value; for coroutines, which must not wait for a
        database.
        """
        return await asyncio.to_thread(self._in_session, query)

    def _in_session(self, query: Callable[[Session], T]) -> T:
        with self.read() as session:
            return query(session)

    def open_reader(self) -> None:
        """Open the connection for prepared queries, which the first ``fetch`` does otherwise."""
        with self._asks:
            self._opened_reader()

    async def afetch(self, query: PreparedStatement, values: Mapping[str, Any]) -> list[Any]:
        """``fetch`` for coroutines.

        SQLite answers a prepared query from its page cache in less time than a thread takes to
        wake, so it is asked at once, and only in a thread where it would wait for a lock. Any other
        database is asked in a thread.
        """
        found = self.fetch_at_once(query, values)
        return await asyncio.to_thread(self.fetch, query, values) if found is None else found

    def fetch_at_once(
        self, query: PreparedStatement, values: Mapping[str, Any]
    ) -> list[Any] | None:
        """As ``fetch``, or None where the answer would have to be waited for."""
        if self.engine.dialect.name != "sqlite" or not self._asks.acquire(blocking=False):
            return None
        try:
            if self._reader is None:
                return None
            text, made = query.compile(self.engine.dialect, values)
            cursor = self._reader.cursor()
            try:
                cursor.execute(text, made(values))
                return list(cursor.fetchall())
            except self.engine.dialect.loaded_dbapi.Error:
                return None
            finally:
                cursor.close()
        finally:
            self._asks.release()

    def submit(self, change: Callable[[Session], T], *, routine: bool = False) -> Future[T]:
        """Queue a change; the future resolves when it is durable.

        ``routine``: a change that comes with every call and gives background workers nothing to do.
        """
        future: Future[T] = Future()
        self._queue.put(_Queued(change, future, routine))
        return future

    def write(self, change: Callable[[Session], T]) -> T:
        """Run a change and return its value once it is durable.

        Raises:
            QiaolianError: what the change raised; nothing of it is stored; ``database_unavailable``
                when the disk is full or the database cannot be reached.
        """
        return self.submit(change).result()

    async def awrite(self, change: Callable[[Session], T], *, routine: bool = False) -> T:
        """``write`` for coroutines. A cancelled one is written whole or not at all: not at all if
        its turn had not come. ``routine``: as for ``submit``.
        """
        return await asyncio.wrap_future(self.submit(change, routine=routine))

    def close(self) -> None:
        """Finish the queue and close."""
        self._queue.put(None)
        self._writer.join()
        self._disconnect()
        with self._asks:
            self._close_reader()
        self._writing.dispose()
        self.engine.dispose()

    def _write_forever(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            stop = False
            while len(batch) < MAX_PER_COMMIT:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stop = True
                    break
                batch.append(item)
            # From here on nobody can cancel what is being written; what was cancelled while it
            # waited is left out.
            if batch := [item for item in batch if item.future.set_running_or_notify_cancel()]:
                self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[_Queued]) -> None:
        """Commit a batch together; if that fails for a reason outside the changes,
        each one alone.
        """
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], BaseException]] = []
        if all(item.routine for item in batch):
            self.routine_commits += 1
        else:
            self.commits += 1
        try:
            with Session(self._connected(), expire_on_commit=False) as session, session.begin():
                for change, future, _ in batch:
                    try:
                        if len(batch) == 1:
                            value = change(session)
                            session.flush()
                        else:
                            with session.begin_nested():
                                value = change(session)
                        done.append((future, value))
                    except OperationalError:
                        raise
                    except BaseException as error:
                        if len(batch) == 1:
                            raise
                        failed.append((future, error))
        except BaseException as error:
            if isinstance(error, DBAPIError):
                self._disconnect()
            if len(batch) > 1:
                for item in batch:
                    self._commit([item])
                return
            batch[0].future.set_exception(_translated(error))
            return
        for future, value in done:
            future.set_result(value)
        for future, reason in failed:
            future.set_exception(_translated(reason))

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._writing.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened_reader(self) -> sa.PoolProxiedConnection:
        if self._reader is None:
            self._reader = _dedicated_connection(self.engine)
            self._set_patience(self._reader.cursor(), 0)
        return self._reader

    def _set_patience(self, asked: Any, milliseconds: int) -> None:
        """How long the reader waits for a lock; not at all between two calls of ``fetch``."""
        if self.engine.dialect.name == "sqlite":
            asked.execute(f"PRAGMA busy_timeout={milliseconds}")

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _row_picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """Makes a tuple of a row, in the order of the statement's parameters."""
    return lambda row: tuple([row[name] for name in names])


def _dedicated_connection(engine: sa.Engine) -> sa.PoolProxiedConnection:
    """A connection that is no longer the pool's and begins no transaction by itself."""
    connection = engine.raw_connection()
    if engine.dialect.name != "sqlite":
        assert connection.driver_connection is not None
        connection.driver_connection.autocommit = True
    connection.detach()
    return connection


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and not isinstance(error, sa.exc.IntegrityError):
        return _unavailable(
            "The node's database did not accept the change; nothing of it was stored."
        )
    return error


def _unavailable(sentence: str) -> Unavailable:
    hint = "Check the disk's free space and the database's state, then send the same request again."
    return Unavailable("database_unavailable", sentence, hint=hint)


def _engine(url: str, begin: str) -> sa.Engine:
    """An engine; SQLite's write transactions begin IMMEDIATE, so that two processes of one node
    queue instead of failing.
    """
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(
        url, connect_args={"check_same_thread": False, "timeout": BUSY_MILLISECONDS / 1_000}
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: savepoints and readers need BEGIN to be
        # ours.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_MILLISECONDS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


__all__ = ["Base", "Database", "PreparedStatement", "QiaolianError", "Session"]
