"""Demands for data, their answers, and other members' demands"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "demand_own",
        sa.Column("demand_id", sa.String(32), primary_key=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("withdrawn_at", sa.BigInteger()),
    )
    op.create_table(
        "demand_answer",
        sa.Column("demand_id", sa.String(32), primary_key=True),
        sa.Column("department", sa.String(18), primary_key=True),
        sa.Column("asset_id", sa.LargeBinary(32), primary_key=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "demand_received",
        sa.Column("bank", sa.String(18), primary_key=True),
        sa.Column("demand_id", sa.String(32), primary_key=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("answered_with", sa.LargeBinary(32)),
    )


def downgrade() -> None:
    """Back to the one before."""
    for table in ("demand_received", "demand_answer", "demand_own"):
        op.drop_table(table)
