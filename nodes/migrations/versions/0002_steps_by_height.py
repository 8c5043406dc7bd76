"""Steps of deals by height"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    with op.batch_alter_table("property_step", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_property_step_height"), ["height"], unique=False)


def downgrade() -> None:
    """Back to the one before."""
    with op.batch_alter_table("property_step", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_property_step_height"))
