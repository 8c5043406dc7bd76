"""Assets that somebody prepares to publish in the console"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "console_draft",
        sa.Column("draft_id", sa.String(32), primary_key=True),
        sa.Column("source", sa.String(63), nullable=False, index=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("asset_id", sa.LargeBinary(32)),
        sa.Column("operation", sa.String(200), nullable=False),
        sa.Column("failure", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("console_draft")
