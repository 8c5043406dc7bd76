"""The committed migrations make exactly the tables that the packages declare, in one transaction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from chain.core.database import Base, Database
from chain.core.errors import QiaolianError
from chain.core.zone import day_start, month_start
from nodes.migrate import MIGRATIONS, current, known_revisions, upgrade, upgrade_apart
from nodes.routers import load_tables

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(url: str) -> Iterator[sa.Connection]:
    """The database itself, apart from the program's own ways to it."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def test_migrations_and_declared_tables_are_the_same(url: str, tmp_path: Path) -> None:
    upgrade(url, lock_dir=tmp_path)
    load_tables()
    with opened(url) as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
        stored = {
            name for name in sa.inspect(connection).get_table_names() if name != "alembic_version"
        }
    assert differences == []
    assert stored == set(Base.metadata.tables)


def test_a_second_upgrade_changes_nothing(url: str, tmp_path: Path) -> None:
    assert (
        upgrade(url, lock_dir=tmp_path)
        == upgrade(url, lock_dir=tmp_path)
        == known_revisions()[-1]
        == current(url)
    )


def test_an_upgraded_database_takes_changes(url: str, tmp_path: Path) -> None:
    upgrade(url, lock_dir=tmp_path)
    database = Database(url)
    database.write(
        lambda session: (
            session.execute(sa.text("INSERT INTO node_heartbeat VALUES (1, 2)")) and None
        )
    )
    with database.read() as session:
        assert session.execute(sa.text("SELECT at FROM node_heartbeat")).scalar() == 2
    database.close()


def test_a_database_of_a_newer_program_is_refused(url: str, tmp_path: Path) -> None:
    upgrade(url, lock_dir=tmp_path)
    with opened(url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(QiaolianError) as caught:
        upgrade(url, lock_dir=tmp_path)
    assert caught.value.code == "database_newer"
    assert "9999" in caught.value.sentence


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(QiaolianError) as caught:
        upgrade(f"sqlite:///{tmp_path}/node.db", lock_dir=tmp_path)
    assert caught.value.code == "database_unavailable"


def test_a_migration_that_fails_leaves_the_former_schema(url: str, tmp_path: Path) -> None:
    # A table in the way of the last ones to be made: the migration fails late, after most of its
    # work.
    last = sorted(Base.metadata.tables)[-1] if Base.metadata.tables else "outbox_sender"
    with opened(url) as connection:
        connection.execute(sa.text(f'CREATE TABLE "{last}" (x INTEGER)'))
    with pytest.raises(QiaolianError) as caught:
        upgrade(url, lock_dir=tmp_path)
    assert caught.value.code == "database_unavailable"
    with opened(url) as connection:
        assert sa.inspect(connection).get_table_names() == [last]
        connection.execute(sa.text(f'DROP TABLE "{last}"'))
    assert upgrade(url, lock_dir=tmp_path) == known_revisions()[-1]


def test_two_processes_that_start_at_once_migrate_once(url: str, tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from nodes.migrate import upgrade; upgrade(sys.argv[1], lock_dir=Path(sys.argv[2]))"
    command = [sys.executable, "-c", program, url, str(tmp_path)]
    both = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for item in both:
        _, errors = item.communicate(timeout=60)
        assert item.returncode == 0, errors
    assert current(url) == known_revisions()[-1]


def test_a_migration_preserves_the_payments_of_an_older_database(url: str, tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    command.upgrade(config, "0003")
    with opened(url) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO exchange_payment"
                " (transaction_hash, log_index, kind, member, agreement_id, amount, height)"
                " VALUES (:hash, 3, 'paid', 'M', NULL, '50', 9)"
            ),
            {"hash": b"\x07"},
        )
    upgrade(url, lock_dir=tmp_path)
    with opened(url) as connection:
        query = sa.text("SELECT height, log_index, kind, member, amount FROM exchange_payment")
        assert [tuple(row) for row in connection.execute(query)] == [(9, 3, "paid", "M", "50")]


def test_a_migration_adds_up_the_days_of_an_older_database_by_month(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/node.db"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    command.upgrade(config, "0026")
    october, november = day_start(1_791_000_000), day_start(1_794_000_000)
    row = "INSERT INTO exchange_usage VALUES (x'07', :day, :columns, x'01', 'buyer', 2, 1, 0, 2, 9)"
    with opened(url) as connection:
        for day in (october, october + 86_400, november):
            for columns in ("[]", '["age"]'):
                connection.execute(sa.text(row), {"day": day, "columns": columns})
    command.upgrade(config, "head")
    with opened(url) as connection:
        found = connection.execute(
            sa.text("SELECT month, served, amount FROM exchange_usage_month ORDER BY month")
        ).all()
    assert [tuple(row) for row in found] == [
        (month_start(october), 8, 36),
        (month_start(november), 4, 18),
    ]
    command.downgrade(config, "0026")
    assert current(url) == "0026"


def test_a_migration_apart_ends_like_one_in_this_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/node.db"
    assert upgrade_apart(url, lock_dir=tmp_path) == known_revisions()[-1] == current(url)
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(QiaolianError) as caught:
        upgrade_apart(url, lock_dir=tmp_path)
    assert caught.value.code == "database_newer"
