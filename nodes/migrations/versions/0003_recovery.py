"""Copies of witnessed logs, and agreements whose places are still to be recovered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "evidence_copied_log",
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_table(
        "evidence_copied_entry",
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("entry_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("origin", "entry_index"),
    )
    op.create_table(
        "exchange_recovery",
        sa.Column("agreement_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("log_size", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=63), nullable=False),
        sa.PrimaryKeyConstraint("agreement_id"),
    )


def downgrade() -> None:
    """Back from this revision."""
    op.drop_table("exchange_recovery")
    op.drop_table("evidence_copied_entry")
    op.drop_table("evidence_copied_log")
