"""Acts of the console that wait for a second person"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "console_proposal",
        sa.Column("action", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(100), primary_key=True),
        sa.Column("account_id", sa.String(32), nullable=False, index=True),
        sa.Column("page", sa.String(300), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False, index=True),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("console_proposal")
