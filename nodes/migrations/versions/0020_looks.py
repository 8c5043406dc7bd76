"""Whose record a call asked for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TABLES = ("exchange_gateway_call", "exchange_buyer_call")


def upgrade() -> None:
    """To this revision. Earlier calls name no subject; the check of an account says so."""
    for table in _TABLES:
        op.add_column(table, sa.Column("subject", sa.String(256), nullable=True))
        op.create_index(f"ix_{table}_subject", table, ["subject"])
    op.add_column("exchange_gateway_call", sa.Column("opening", sa.Text(), nullable=True))


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("exchange_gateway_call", "opening")
    for table in _TABLES:
        op.drop_index(f"ix_{table}_subject", table)
        op.drop_column(table, "subject")
