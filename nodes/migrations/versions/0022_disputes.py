"""Disputes over metered calls, and proved equivocations"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_dispute",
        sa.Column("receipt_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("agreement_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("receipt", sa.JSON(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("contested_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("paid", sa.String(length=39), nullable=False),
        sa.Column("contest_key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("sealed_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("ruling", sa.JSON(), nullable=True),
        sa.Column("contest_secret", sa.LargeBinary(length=32), nullable=True),
        sa.Column("opened", sa.Boolean(), nullable=False),
        sa.Column("sealed_answer", sa.LargeBinary(), nullable=True),
        sa.Column("opinion", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("receipt_id"),
    )
    with op.batch_alter_table("exchange_dispute", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_exchange_dispute_agreement_id"), ["agreement_id"], unique=False
        )
    op.create_table(
        "exchange_equivocation",
        sa.Column("agreement_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.String(length=18), nullable=False),
        sa.Column("taken", sa.String(length=39), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agreement_id", "lane", "seq"),
    )


def downgrade() -> None:
    """Back from this revision."""
    op.drop_table("exchange_equivocation")
    op.drop_table("exchange_dispute")
