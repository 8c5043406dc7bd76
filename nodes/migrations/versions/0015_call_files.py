"""Files of calls; a buyer's spending by time"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CALLS, SPENT = "exchange_buyer_call", "ix_exchange_buyer_call_spent"


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_call_file",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("added", sa.BigInteger(), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("agreement_id", sa.LargeBinary(32), nullable=False, index=True),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("unused_columns", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False, index=True),
        sa.Column("stop_code", sa.String(64), nullable=False),
        sa.Column("waiting_code", sa.String(64), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
    )
    op.create_table(
        "exchange_call_file_row",
        sa.Column("file_id", sa.String(32), primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("consent", sa.String(66), nullable=False),
        sa.Column("state", sa.String(11), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("column", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    op.create_index(
        "ix_exchange_call_file_row_state", "exchange_call_file_row", ["file_id", "state", "line"]
    )
    op.create_index(SPENT, CALLS, ["agreement_id", "lane", "asked_at", "seq"])


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index(SPENT, CALLS)
    op.drop_table("exchange_call_file_row")
    op.drop_table("exchange_call_file")
