"""Migrates the database's schema at startup, under a lock.

A database that is newer than the program is refused: an older program would write rows the newer
one cannot read. A current database is only read: Alembic is imported when there is a
migration to run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from chain.core.errors import Conflict, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_NUMBER = 0x7169616F


def known_revisions() -> list[str]:
    """Return the revisions of this program, oldest first: migration files are named by number."""
    return sorted(
        path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")
    )


def upgrade(url: str, *, lock_dir: Path) -> str:
    """Bring a database to this program's schema; the revision it is at.

    Raises:
        Conflict: ``database_newer`` when a newer program has migrated it.
        Unavailable: ``database_unavailable``.
    """
    revisions = known_revisions()
    head = revisions[-1]
    try:
        if current(url) == head:
            return head
        with _locked(url, lock_dir):
            at = current(url)
            if at is not None and at not in revisions:
                raise Conflict(
                    "database_newer",
                    f"The database is at schema {at}, which this program does not know.",
                    hint="Run the newer program that migrated it, or "
                    "restore the backup made before.",
                )
            if at != head:
                _migrate(url)
    except (DBAPIError, OSError) as error:
        raise Unavailable(
            "database_unavailable",
            "The node's database could not be opened or migrated.",
            hint="Check its URL, the disk's free space and who may write there.",
        ) from error
    return head


def upgrade_apart(url: str, *, lock_dir: Path) -> str:
    """As ``upgrade``, with a migration in a process of its own: for processes that run on, and
    would keep what a migration takes in memory.
    """
    # Whatever prevents it is raised by ``upgrade``, which finds the database as it is.
    with contextlib.suppress(DBAPIError, OSError):
        if _is_behind(url):
            # A node's two processes start together; one of them is enough.
            with _file_lock(lock_dir / "migrating.lock"):
                if _is_behind(url):
                    _run_apart(url, lock_dir)
    return upgrade(url, lock_dir=lock_dir)


def _is_behind(url: str) -> bool:
    return current(url) != known_revisions()[-1]


def _run_apart(url: str, lock_dir: Path) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run(
        [sys.executable, "-m", "nodes.migrate", str(lock_dir)],
        input=url,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )


def current(url: str) -> str | None:
    """The revision a database is at; None for an empty one."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.execute(
                sa.text("SELECT version_num FROM alembic_version")
            ).scalar()
            return revision
    finally:
        engine.dispose()


def _migrate(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


@contextmanager
def _locked(url: str, lock_dir: Path) -> Iterator[None]:
    """One migrator at a time: a PostgreSQL advisory lock, or a file lock beside SQLite."""
    if url.startswith("postgresql"):
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:n)"), {"n": _LOCK_NUMBER})
            try:
                yield
            finally:
                connection.execute(sa.text("SELECT pg_advisory_unlock(:n)"), {"n": _LOCK_NUMBER})
        engine.dispose()
        return
    with _file_lock(lock_dir / "migrate.lock"):
        yield


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    upgrade(sys.stdin.read(), lock_dir=Path(sys.argv[1]))
