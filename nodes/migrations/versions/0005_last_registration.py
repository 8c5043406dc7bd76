"""The registration that a unit's owner rests on"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    none = sa.text("X'" + "00" * 32 + "'")
    if op.get_bind().dialect.name == "postgresql":
        none = sa.text("'\\x" + "00" * 32 + "'::bytea")
    column = sa.Column("last_registration", sa.LargeBinary(), nullable=False, server_default=none)
    with op.batch_alter_table("property_unit") as table:
        table.add_column(column)
    with op.batch_alter_table("property_unit") as table:
        table.alter_column("last_registration", server_default=None)
    op.create_index(op.f("ix_property_deal_registered_at"), "property_deal", ["registered_at"])


def downgrade() -> None:
    """Back from this revision."""
    op.drop_index(op.f("ix_property_deal_registered_at"), "property_deal")
    with op.batch_alter_table("property_unit") as table:
        table.drop_column("last_registration")
