"""Priority of outbox calls, and when the outbox worker last reported that it runs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

URGENT = (
    "claimRequests",
    "claimVouchers",
    "giveNotice",
    "revoke",
    "setHold",
    "hold",
    "cancel",
    "execute",
    "anchor",
)
BULK = ("recordConsent", "raiseDispute", "steps")


def upgrade() -> None:
    """To this revision. Calls that wait already get the priority that their like will have."""
    with op.batch_alter_table("outbox_call", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("priority", sa.SmallInteger(), server_default="1", nullable=False)
        )
        batch_op.drop_index("outbox_call_work")
        batch_op.create_index(
            "outbox_call_work", ["sender", "state", "priority", "id"], unique=False
        )
    with op.batch_alter_table("outbox_sender", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_at", sa.Float(), nullable=True))
    calls = sa.table(
        "outbox_call", sa.column("function"), sa.column("state"), sa.column("priority")
    )
    for priority, functions in ((0, URGENT), (2, BULK)):
        waiting = sa.and_(calls.c.state == "queued", calls.c.function.in_(functions))
        op.execute(sa.update(calls).where(waiting).values(priority=priority))


def downgrade() -> None:
    """Back from this revision."""
    with op.batch_alter_table("outbox_sender", schema=None) as batch_op:
        batch_op.drop_column("seen_at")
    with op.batch_alter_table("outbox_call", schema=None) as batch_op:
        batch_op.drop_index("outbox_call_work")
        batch_op.create_index("outbox_call_work", ["sender", "state", "id"], unique=False)
        batch_op.drop_column("priority")
