"""Withdrawn approvals of governance proposals"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("member_proposal", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("withdrawals", sa.JSON(), nullable=False, server_default="{}")
        )
    with op.batch_alter_table("member_proposal", schema=None) as batch_op:
        batch_op.alter_column("withdrawals", existing_type=sa.JSON(), server_default=None)


def downgrade() -> None:
    """Back to the one before."""
    with op.batch_alter_table("member_proposal", schema=None) as batch_op:
        batch_op.drop_column("withdrawals")
