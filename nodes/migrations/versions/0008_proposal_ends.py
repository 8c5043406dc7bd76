"""How proposals end, offers that were shown, and idempotency keys bound to their requests"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("exchange_agreement", schema=None) as batch_op:
        batch_op.alter_column(
            "state",
            existing_type=sa.String(length=8),
            type_=sa.String(length=16),
            existing_nullable=False,
        )
        batch_op.add_column(sa.Column("reason", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("reason_text", sa.String(length=600), nullable=True))
        batch_op.add_column(sa.Column("state_since", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("reported_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "exchange_seen_offer",
        sa.Column("terms_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("offer", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("terms_hash"),
    )
    op.create_table(
        "request_key",
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.Column("commitment", sa.LargeBinary(length=32), nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("request_key")
    op.drop_table("exchange_seen_offer")
    with op.batch_alter_table("exchange_agreement", schema=None) as batch_op:
        for name in ("reported_at", "state_since", "reason_text", "reason"):
            batch_op.drop_column(name)
        batch_op.alter_column(
            "state",
            existing_type=sa.String(length=16),
            type_=sa.String(length=8),
            existing_nullable=False,
        )
