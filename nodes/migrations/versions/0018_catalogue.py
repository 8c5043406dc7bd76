"""The catalogue's search index"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision. The node fills the index at its first start."""
    op.create_table(
        "exchange_catalogue",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("asset_id", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(18), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("unit", sa.String(8), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("max_days", sa.Integer(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("described", sa.Integer(), nullable=False, index=True),
    )
    op.create_index(
        "ix_exchange_catalogue_facets",
        "exchange_catalogue",
        ["holder", "category", "grade", "state", "unit", "price", "max_days"],
    )
    op.create_index(
        "ix_exchange_catalogue_order", "exchange_catalogue", ["registered_at", "asset_id"]
    )
    # Terms are sorted by code point, so that the beginning of a word is a range.
    term = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    for name, key in (("column", sa.String(128)), ("term", term)):
        op.create_table(
            f"exchange_catalogue_{name}",
            sa.Column(name, key, primary_key=True),
            sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False, index=True),
        )


def downgrade() -> None:
    """Back to the one before."""
    for name in ("exchange_catalogue_term", "exchange_catalogue_column", "exchange_catalogue"):
        op.drop_table(name)
