"""Final totals at which both sides end an agreement"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_final_settlement",
        sa.Column("agreement_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.String(length=63), nullable=False),
        sa.Column("settlement", sa.Text(), nullable=False),
        sa.Column("settlement_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("buyer_signature", sa.LargeBinary(length=65), nullable=False),
        sa.Column("provider_signature", sa.LargeBinary(length=65), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agreement_id"),
    )


def downgrade() -> None:
    """Back from this revision."""
    op.drop_table("exchange_final_settlement")
