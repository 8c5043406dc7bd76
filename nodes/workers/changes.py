"""What was committed to a node's database, as a version that workers compare."""

from __future__ import annotations

import asyncio
import contextlib

from sqlalchemy.exc import DBAPIError

from chain.core.database import Database
from chain.outbox import unfinished_mark


class DatabaseChanges:
    """Belongs to the running event loop, and never waits for the database."""

    def __init__(self, database: Database, sender: str) -> None:
        """``sender``: the address whose calls the outbox process sends."""
        self._database = database
        self._sender = sender
        self._seen: int | None = None
        self._mark: object = None
        self._opening: asyncio.Future[None] | None = None

    def version(self) -> object:
        """A value that differs once this process committed a change, or the outbox process an
        outcome. Where this is unknown, as on PostgreSQL or while the database is locked, it differs
        every time.

        That the outbox process runs is stored as well, and is no change for anybody here.
        """
        seen = self._database.version()
        if seen is None:
            self._open()
            return object()
        if seen != self._seen:
            # Read before the calls: a commit under way is counted already, and changes ``seen``
            # once it is done.
            commits = self._database.commits
            mark = unfinished_mark(self._database, self._sender)
            if mark is None:
                return object()
            self._seen, self._mark = seen, (commits, mark)
        return self._mark

    def _open(self) -> None:
        """Open the connection that reads versions, in a thread."""
        if self._database.engine.dialect.name != "sqlite":
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._try_to_open))

    def _try_to_open(self) -> None:
        with contextlib.suppress(DBAPIError):
            self._database.open_reader()
