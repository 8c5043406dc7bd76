"""Bank files, payouts, orders of payments, approvals by two persons, members' positions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_FEN = sa.String(39)


def upgrade() -> None:
    """To this revision. The projector takes the chain's events once more: entries now say who paid,
    and every member's node has its own.
    """
    _approvals()
    _bank_files()
    _payouts()
    _orders()
    _clearing()
    for name in ("exchange_movement", "exchange_day_sum", "exchange_day"):
        op.execute(sa.delete(sa.table(name)))
    with op.batch_alter_table("exchange_movement") as batch:
        batch.add_column(sa.Column("payer", sa.String(18), nullable=False))
    # Events up to here have reached the webhooks, and do not reach them once more.
    op.execute("UPDATE node_cursor SET name = 'webhooks' WHERE name = 'projector'")


def _approvals() -> None:
    op.create_table(
        "exchange_approval",
        sa.Column("matter", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(100), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("first", sa.String(64), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("second", sa.String(64), nullable=False),
        sa.Column("second_at", sa.BigInteger()),
    )


def _bank_files() -> None:
    op.create_table(
        "exchange_bank_file",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("message_id", sa.String(140), nullable=False),
        sa.Column("statement_id", sa.String(140), nullable=False),
        sa.Column("account", sa.String(140), nullable=False),
        sa.Column("opening", _FEN, nullable=False),
        sa.Column("closing", _FEN, nullable=False),
        sa.Column("state", sa.String(8), nullable=False, index=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("taken_by", sa.String(64), nullable=False),
        sa.Column("booked_at", sa.BigInteger()),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.create_index(
        "ix_exchange_bank_file_statement",
        "exchange_bank_file",
        ["message_id", "statement_id"],
        unique=True,
    )
    op.create_table(
        "exchange_bank_entry",
        sa.Column("file_id", sa.String(64), primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("direction", sa.String(6), nullable=False),
        sa.Column("amount", _FEN, nullable=False),
        sa.Column("reference", sa.String(150), nullable=False, index=True),
        sa.Column("end_to_end_id", sa.String(140), nullable=False),
        sa.Column("booked", sa.Boolean(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("member", sa.String(18), nullable=False),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("payout", sa.String(32), nullable=False),
        sa.Column("problem", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("operation", sa.String(100), nullable=False),
    )


def _payouts() -> None:
    op.create_table(
        "exchange_payout",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("member", sa.String(18), nullable=False, index=True),
        sa.Column("amount", _FEN, nullable=False),
        sa.Column("operation_id", sa.LargeBinary(32), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("order_id", sa.String(35), nullable=False, index=True),
        sa.Column("paid_at", sa.BigInteger()),
        sa.Column("reason", sa.String(140), nullable=False),
        sa.Column("confirmation", sa.JSON()),
        sa.Column("signature", sa.LargeBinary(65)),
    )
    op.create_index("ix_exchange_payout_order", "exchange_payout", ["height", "log_index"])


def _orders() -> None:
    op.create_table(
        "exchange_payment_order",
        sa.Column("id", sa.String(35), primary_key=True),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("payments", sa.Integer(), nullable=False),
        sa.Column("total", _FEN, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(64), nullable=False),
        sa.Column("released_at", sa.BigInteger()),
        sa.Column("released_by", sa.String(64), nullable=False),
    )
    op.create_index("ix_exchange_payment_order_made", "exchange_payment_order", ["made_at", "id"])
    op.create_table(
        "exchange_member_account",
        sa.Column("member", sa.String(18), primary_key=True),
        sa.Column("account", sa.String(34), nullable=False, index=True),
        sa.Column("name", sa.String(70), nullable=False),
        sa.Column("bank_code", sa.String(12), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )


def _clearing() -> None:
    sums = ("opening", "deposited", "earned", "spent", "withdrawn")
    whole = ("all_deposited", "all_earned", "all_spent", "all_withdrawn")
    op.create_table(
        "exchange_day_position",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("member", sa.String(18), primary_key=True),
        *(sa.Column(name, _FEN, nullable=False) for name in (*sums, *whole)),
    )
    op.create_table(
        "exchange_split_rule",
        sa.Column("effective_from", sa.String(10), primary_key=True),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("holding", "processing", "operating")
        ),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.execute("DELETE FROM node_cursor WHERE name = 'webhooks'")
    with op.batch_alter_table("exchange_movement") as batch:
        batch.drop_column("payer")
    for name in (
        "exchange_split_rule",
        "exchange_day_position",
        "exchange_member_account",
        "exchange_payment_order",
        "exchange_payout",
        "exchange_bank_entry",
        "exchange_bank_file",
        "exchange_approval",
    ):
        op.drop_table(name)
