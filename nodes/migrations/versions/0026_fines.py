"""Fines out of providers' bonds"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_fine",
        sa.Column("agreement_id", sa.LargeBinary(32), primary_key=True),
        sa.Column("reason", sa.String(32), primary_key=True),
        sa.Column("provider", sa.String(18), nullable=False),
        sa.Column("taken", sa.String(39), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False, index=True),
    )


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_table("exchange_fine")
