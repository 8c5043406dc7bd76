"""Withdrawn requests, and refusals of unknown subjects by grant"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    for table in ("exchange_gateway_call", "exchange_buyer_call"):
        op.add_column(table, sa.Column("withdrawal", sa.Text(), nullable=True))
        op.add_column(
            table, sa.Column("withdrawal_signature", sa.LargeBinary(length=65), nullable=True)
        )
    op.add_column(
        "exchange_buyer_call", sa.Column("withdrawn_by", sa.String(length=8), nullable=True)
    )
    where = sa.text("reason = 'subject_unknown'")
    op.create_index(
        "ix_exchange_gateway_call_unknown",
        "exchange_gateway_call",
        ["grant_id", "at"],
        sqlite_where=where,
        postgresql_where=where,
    )


def downgrade() -> None:
    """Back from this revision."""
    op.drop_index("ix_exchange_gateway_call_unknown", "exchange_gateway_call")
    op.drop_column("exchange_buyer_call", "withdrawn_by")
    for table in ("exchange_buyer_call", "exchange_gateway_call"):
        op.drop_column(table, "withdrawal_signature")
        op.drop_column(table, "withdrawal")
