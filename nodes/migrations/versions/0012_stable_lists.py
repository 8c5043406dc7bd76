"""What lists are ordered by, with indexes: no list is read whole to show a page of it"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

OWN = sa.text("side != 'observer'")
INCIDENT = ("asset_id", "asset_version", "kind", "columns", "position")
BEFORE = {
    "grants": "coalesce(requested_at, 0)",
    "property_deal": "opened_at",
    "credit_query": "0",
    "exchange_agreement": "coalesce(proposed_at * 1000000000, opened_at, 0)",
}
"""The order of the rows that are there already, as near as the recorded data gives it."""
INDEXES = (
    ("asset_catalogue", "registered_at"),
    ("credit_dispute", "raised_at"),
    ("credit_anchored_query", "height"),
    ("member_proposal", "deadline"),
    ("exchange_buyer_call", "asked_at"),
)


def upgrade() -> None:
    """To this revision."""
    for table, order in BEFORE.items():
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(
                sa.Column("added", sa.BigInteger(), nullable=False, server_default="0")
            )
        op.execute(f"UPDATE {table} SET added = {order}")  # noqa: S608
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column("added", existing_type=sa.BigInteger(), server_default=None)
            batch_op.create_index(f"ix_{table}_added", ["added"])
    for table, column in INDEXES:
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.drop_index("ix_exchange_agreement_state", "exchange_agreement")
    op.create_index("ix_exchange_agreement_state", "exchange_agreement", ["state", "added"])
    op.create_index(
        "ix_exchange_agreement_own",
        "exchange_agreement",
        ["added"],
        sqlite_where=OWN,
        postgresql_where=OWN,
    )
    op.drop_index("ix_member_key_member", "member_key")
    op.create_index("ix_member_key_member", "member_key", ["member", "fingerprint"])
    op.drop_index("ix_exchange_payment_agreement_id", "exchange_payment")
    op.create_index(
        "ix_exchange_payment_agreement",
        "exchange_payment",
        ["agreement_id", "height", "log_index"],
    )
    _end_holds()
    _number_incidents()


def downgrade() -> None:
    """Back to the one before."""
    _unnumber_incidents()
    op.drop_index("ix_property_hold_ends_at", "property_hold")
    with op.batch_alter_table("property_hold") as batch_op:
        batch_op.drop_column("ends_at")
    op.drop_index("ix_member_key_member", "member_key")
    op.create_index("ix_member_key_member", "member_key", ["member"])
    op.drop_index("ix_exchange_payment_agreement", "exchange_payment")
    op.create_index("ix_exchange_payment_agreement_id", "exchange_payment", ["agreement_id"])
    op.drop_index("ix_exchange_agreement_own", "exchange_agreement")
    op.drop_index("ix_exchange_agreement_state", "exchange_agreement")
    op.create_index("ix_exchange_agreement_state", "exchange_agreement", ["state"])
    for table, column in INDEXES:
        op.drop_index(f"ix_{table}_{column}", table)
    for table in BEFORE:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_index(f"ix_{table}_added")
            batch_op.drop_column("added")


def _end_holds() -> None:
    """Write when each unit's latest hold ends beside it."""
    op.add_column("property_hold", sa.Column("ends_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_property_hold_ends_at", "property_hold", ["ends_at", "hold_hash"])
    holds = sa.table(
        "property_hold",
        sa.column("hold_hash", sa.LargeBinary()),
        sa.column("unit", sa.LargeBinary()),
        sa.column("statement", sa.JSON()),
        sa.column("ends_at", sa.BigInteger()),
    )
    connection = op.get_bind()
    latest: dict[bytes, tuple[int, bytes, int | None]] = {}
    for row in connection.execute(sa.select(holds.c.hold_hash, holds.c.unit, holds.c.statement)):
        statement = row.statement if isinstance(row.statement, dict) else json.loads(row.statement)
        ends_at = int(statement["endsAt"]) if statement["placed"] else None
        order = (int(statement["issuedAt"]), row.hold_hash, ends_at)
        latest[row.unit] = max(latest.get(row.unit, (-1, b"", None)), order)
    for _, hold_hash, ends_at in latest.values():
        connection.execute(
            holds.update().where(holds.c.hold_hash == hold_hash).values(ends_at=ends_at)
        )


def _number_incidents() -> None:
    """Give incidents a number: their columns' names are too long to name a row by."""
    op.rename_table("asset_incident", "asset_incident_before")
    _create_incidents(
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.UniqueConstraint(*INCIDENT),
    )
    _copy_incidents()


def _unnumber_incidents() -> None:
    op.rename_table("asset_incident", "asset_incident_before")
    _create_incidents(sa.PrimaryKeyConstraint(*INCIDENT))
    _copy_incidents()


def _create_incidents(*parts: sa.Column[int] | sa.Constraint) -> None:
    op.create_table(
        "asset_incident",
        sa.Column("asset_id", sa.LargeBinary(), nullable=False),
        sa.Column("asset_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(31), nullable=False),
        sa.Column("columns", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        *parts,
    )


def _copy_incidents() -> None:
    names = ", ".join((*INCIDENT, "calls", "first_at", "last_at"))
    names = names.replace("position", '"position"').replace("columns", '"columns"')
    op.execute(
        f"INSERT INTO asset_incident ({names}) SELECT {names} "  # noqa: S608
        "FROM asset_incident_before ORDER BY first_at"
    )
    op.drop_table("asset_incident_before")
