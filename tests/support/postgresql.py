"""A PostgreSQL server of the test's own, on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from chain.core.loopback import free_ports
from tests.support.real_parts import real_part
from tests.support.waiting import wait_for

USER = "qiaolian"
INITDB_OPTIONS = ("-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")


@dataclass
class PostgresServer:
    """A running server; every database in it is empty at first."""

    port: int
    crash: Callable[[], None]
    """Ends the server without a shutdown and starts it again: what was under way is lost."""
    _made: list[str] = field(default_factory=list)

    def new_database(self) -> str:
        """Create a database; its SQLAlchemy URL."""
        name = f"test_{len(self._made)}"
        self._made.append(name)
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def answers(self) -> bool:
        engine = sa.create_engine(self.url("postgres"), poolclass=sa.NullPool)
        try:
            with engine.connect():
                return True
        except OperationalError:
            return False


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server on a fresh cluster and stop it afterwards.

    PostgreSQL refuses to run as root, so as root it runs as another user of the machine, in a
    folder of that user.
    """
    program = real_part("postgresql")
    user = _unprivileged_user()
    directory = Path(tempfile.mkdtemp(prefix="qiaolian-postgresql-"))
    try:
        if user is not None:
            shutil.chown(directory, user)
        cluster = directory / "cluster"
        subprocess.run(
            [program.with_name("initdb"), "-D", cluster, "-U", USER, *INITDB_OPTIONS],
            user=user,
            cwd=directory,
            check=True,
            capture_output=True,
        )
        with _running(program, cluster, user) as server:
            yield server
    finally:
        shutil.rmtree(directory)


@contextmanager
def _running(program: Path, cluster: Path, user: str | None) -> Iterator[PostgresServer]:
    (port,) = free_ports(1)
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        log = cluster.parent / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [program, "-D", cluster, "-h", "127.0.0.1", "-p", str(port), "-k", ""],
                user=user,
                cwd=cluster,
                stdout=output,
                stderr=output,
            )
        running.append(process)
        wait_for(lambda: process.poll() is not None or server.answers(), "PostgreSQL to answer")
        assert process.poll() is None, log.read_text()

    def crash() -> None:
        running[-1].send_signal(signal.SIGQUIT)  # an immediate shutdown: recovery at the next start
        running[-1].wait(60)
        start()

    server = PostgresServer(port, crash)
    try:
        start()
        yield server
    finally:
        running[-1].send_signal(signal.SIGINT)  # a fast shutdown, which waits for no session
        running[-1].wait(60)


def _unprivileged_user() -> str | None:
    """A user other than root to run the server; None where the tests do not run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
