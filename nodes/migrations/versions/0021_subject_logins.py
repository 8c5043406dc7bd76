"""Log-ins of firms and citizens, and whose keys consents and deals name"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "console_subject_challenge",
        sa.Column("challenge", sa.LargeBinary(32), primary_key=True),
        sa.Column("key", sa.String(42), nullable=False),
        sa.Column("browser", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False, index=True),
    )
    op.create_table(
        "console_subject_session",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("key", sa.String(42), nullable=False, index=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False, index=True),
    )
    _add_from_json(
        "credit_consent", "commitment", "package", {"authority": ("consent", "authority")}
    )
    _add_from_json(
        "property_deal", "deal_id", "terms", {"seller": ("seller",), "buyer": ("buyer",)}
    )


def downgrade() -> None:
    """Back to the one before."""
    for table, columns in (
        ("property_deal", ("buyer", "seller")),
        ("credit_consent", ("authority",)),
    ):
        for column in columns:
            op.drop_index(f"ix_{table}_{column}", table)
            with op.batch_alter_table(table) as altered:
                altered.drop_column(column)
    op.drop_table("console_subject_session")
    op.drop_table("console_subject_challenge")


def _add_from_json(table: str, key: str, source: str, columns: dict[str, tuple[str, ...]]) -> None:
    """Add text columns with an index, filled from a JSON column of each row."""
    for column in columns:
        op.add_column(table, sa.Column(column, sa.String(), nullable=False, server_default=""))
        op.create_index(f"ix_{table}_{column}", table, [column])
    rows = sa.table(
        table,
        sa.column(key, sa.LargeBinary()),
        sa.column(source, sa.JSON()),
        *(sa.column(column, sa.String()) for column in columns),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(rows.c[key], rows.c[source])).all():
        values = {column: _at(row[1], path) for column, path in columns.items()}
        connection.execute(sa.update(rows).where(rows.c[key] == row[0]).values(**values))
    with op.batch_alter_table(table) as altered:
        for column in columns:
            altered.alter_column(column, existing_type=sa.String(), server_default=None)


def _at(value: Any, path: tuple[str, ...]) -> str:
    found = json.loads(value) if isinstance(value, str) else value
    for name in path:
        found = found[name]
    return str(found)
