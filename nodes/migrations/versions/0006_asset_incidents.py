"""Incidents of sources, and records looked up by version and subject"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "asset_incident",
        sa.Column("asset_id", sa.LargeBinary(), nullable=False),
        sa.Column("asset_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=31), nullable=False),
        sa.Column("columns", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", "asset_version", "kind", "columns", "position"),
    )
    with op.batch_alter_table("asset_record", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_asset_record_subject"))
        batch_op.create_index(
            "ix_asset_record_lookup", ["asset_id", "asset_version", "subject"], unique=False
        )


def downgrade() -> None:
    """Back to the one before."""
    with op.batch_alter_table("asset_record", schema=None) as batch_op:
        batch_op.drop_index("ix_asset_record_lookup")
        batch_op.create_index(batch_op.f("ix_asset_record_subject"), ["subject"], unique=False)
    op.drop_table("asset_incident")
