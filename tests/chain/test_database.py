"""Group commit: each caller's change is complete, isolated and durable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chain.core.database import Database, PreparedStatement
from chain.core.errors import Unavailable


class Base(DeclarativeBase):
    """Apart from the node's tables, which a migration test compares."""


class Note(Base):
    __tablename__ = "test_note"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    Base.metadata.tables["test_note"].create(opened.engine)
    yield opened
    opened.close()


def ids(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(sa.select(Note.id).order_by(Note.id)))


def test_a_change_is_durable_when_write_returns(database: Database) -> None:
    database.write(lambda session: session.add(Note(id=1)))
    assert ids(database) == [1]


def test_a_failing_change_leaves_nothing_and_spares_its_neighbours(database: Database) -> None:
    hold = threading.Event()
    database.submit(lambda session: hold.wait(10))

    def half(session: sa.orm.Session) -> None:
        session.add(Note(id=50))
        session.flush()
        raise ValueError("refused")

    good = [database.submit(lambda session, n=n: session.add(Note(id=n))) for n in range(10)]
    bad = database.submit(half)
    more = [database.submit(lambda session, n=n: session.add(Note(id=n))) for n in range(10, 20)]
    hold.set()
    for future in good + more:
        future.result(10)
    with pytest.raises(ValueError, match="refused"):
        bad.result(10)
    assert ids(database) == list(range(20))


def test_a_cancelled_wait_leaves_the_writer_and_its_neighbours_alone(database: Database) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def change(session: sa.orm.Session) -> None:
        inside.set()
        go_on.wait(10)
        session.add(Note(id=1))

    async def cancelled() -> None:
        written = asyncio.ensure_future(database.awrite(change))
        assert await asyncio.to_thread(inside.wait, 10)
        waiting = asyncio.ensure_future(database.awrite(lambda session: session.add(Note(id=2))))
        after = asyncio.ensure_future(database.awrite(lambda session: session.add(Note(id=3))))
        await asyncio.sleep(0)
        written.cancel()
        waiting.cancel()
        await asyncio.gather(written, waiting, return_exceptions=True)
        go_on.set()
        await asyncio.wait_for(after, 10)

    asyncio.run(cancelled())
    database.submit(lambda session: session.add(Note(id=4))).result(10)
    assert ids(database) == [1, 3, 4]


def test_two_processes_of_one_node_queue_their_writes(database: Database) -> None:
    other = Database(database.url)
    futures = [
        (database if n % 2 else other).submit(lambda session, n=n: session.add(Note(id=n)))
        for n in range(200)
    ]
    for future in futures:
        future.result(30)
    assert ids(database) == list(range(200))
    other.close()
    database.close()


INSERT = PreparedStatement(sa.insert(Note))
BY_ID = PreparedStatement(sa.select(Note.id).where(Note.id == sa.bindparam("wanted")))


def test_a_prepared_query_sees_what_was_committed_and_nothing_else(database: Database) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def change(session: sa.orm.Session) -> None:
        INSERT.execute(session, [{"id": 1}, {"id": 2}])
        inside.set()
        go_on.wait(10)

    future = database.submit(change)
    assert inside.wait(10)
    assert database.fetch(BY_ID, {"wanted": 2}) == []
    go_on.set()
    future.result(10)
    assert database.fetch(BY_ID, {"wanted": 2}) == [(2,)]


def test_a_prepared_change_fails_as_any_other(database: Database) -> None:
    database.write(lambda session: INSERT.execute(session, [{"id": 1}]))
    with pytest.raises(sa.exc.IntegrityError):
        database.write(lambda session: INSERT.execute(session, [{"id": 7}, {"id": 1}]))
    assert ids(database) == [1]


def test_a_query_the_database_cannot_answer_is_told_and_the_next_one_asks_afresh(
    database: Database,
) -> None:
    database.write(
        lambda session: session.execute(sa.text("ALTER TABLE test_note RENAME TO hidden"))
    )
    with pytest.raises(Unavailable) as caught:
        database.fetch(BY_ID, {"wanted": 1})
    assert caught.value.code == "database_unavailable"
    database.write(
        lambda session: session.execute(sa.text("ALTER TABLE hidden RENAME TO test_note"))
    )
    assert database.fetch(BY_ID, {"wanted": 1}) == []
    database.close()


def test_the_version_differs_after_each_commit_of_whichever_process(database: Database) -> None:
    assert database.version() is None, "nothing is known before the reader is open"
    if database.engine.dialect.name == "postgresql":
        database.open_reader()
        assert database.version() is None, "PostgreSQL has no such number"
        return
    database.open_reader()
    versions = [database.version()]
    assert database.version() == versions[0]
    database.write(lambda session: session.add(Note(id=1)))
    versions.append(database.version())
    other = Database(database.url)
    other.write(lambda session: session.add(Note(id=2)))
    versions.append(database.version())
    other.close()
    assert None not in versions
    assert len(set(versions)) == 3
    assert database.commits == 1


def test_a_commit_of_routine_changes_alone_is_counted_apart(database: Database) -> None:
    database.write(lambda session: session.add(Note(id=1)))
    database.submit(lambda session: session.add(Note(id=2)), routine=True).result()
    assert (database.commits, database.routine_commits) == (1, 1)
