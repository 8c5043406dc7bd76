"""Alembic's entry; the URL comes from ``nodes.migrate``.

A migration names its tables itself, so none of the packages is imported. Whoever drafts one with
``alembic.command.revision`` calls ``nodes.routers.load_tables`` before.

A migration is one transaction, also on SQLite, so a kill in its middle leaves the former schema.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from chain.core.database import Base

engine = sa.create_engine(context.config.attributes["url"])

if engine.dialect.name == "sqlite":

    @sa.event.listens_for(engine, "connect")
    def _no_driver_transactions(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _plain_type(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """A migration names plain column types only, so that it works when the packages' own types
    change.
    """
    return (
        f"sa.{item.impl!r}"
        if kind == "type" and isinstance(item, sa.types.TypeDecorator)
        else False
    )


with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        render_item=_plain_type,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
