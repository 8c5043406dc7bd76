"""Payments are identified by block height and log index, which the block's receipts prove"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    _create(sa.Column("height", sa.BigInteger(), autoincrement=False, nullable=False), "height")
    op.execute(
        "INSERT INTO exchange_payment_new (kind, member, agreement_id, amount, height, log_index)"
        " SELECT kind, member, agreement_id, amount, height, log_index FROM exchange_payment"
    )
    _replace()


def downgrade() -> None:
    """Back to the one before. The rows go: transaction hashes are not stored any more."""
    _create(
        sa.Column("transaction_hash", sa.LargeBinary(length=32), nullable=False),
        "transaction_hash",
        sa.Column("height", sa.BigInteger(), nullable=False),
    )
    _replace()


def _create(first: sa.Column[object], key: str, *more: sa.Column[object]) -> None:
    op.create_table(
        "exchange_payment_new",
        first,
        sa.Column("log_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("member", sa.String(length=18), nullable=False),
        sa.Column("agreement_id", sa.LargeBinary(length=32), nullable=True),
        sa.Column("amount", sa.String(length=39), nullable=False),
        *more,
        sa.PrimaryKeyConstraint(key, "log_index"),
    )


def _replace() -> None:
    """Put the new table, with its indexes, in the place of the old one."""
    op.drop_table("exchange_payment")
    op.rename_table("exchange_payment_new", "exchange_payment")
    with op.batch_alter_table("exchange_payment", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_exchange_payment_agreement_id"), ["agreement_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_exchange_payment_member"), ["member"], unique=False)
