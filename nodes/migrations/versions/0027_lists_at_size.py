"""Counts of calls by month, and indexes of lists that grow: acts, deliveries, disputes, calls"""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from alembic import op

from chain.core.zone import city_zone, month_start

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

ACTS = ("account_id", "subject")
"""Had an index that did not say in which order."""
FILE_ROWS = ("ix_exchange_call_file_row_state", "exchange_call_file_row")
INDEXES = (
    ("ix_console_act_account_id", "console_act", ["account_id", "id"]),
    ("ix_console_act_kind", "console_act", ["kind", "id"]),
    ("ix_console_act_object", "console_act", ["object", "id"]),
    ("ix_console_act_subject", "console_act", ["subject", "id"]),
    ("ix_webhook_delivery_newest", "webhook_delivery", ["webhook_id", "id"]),
    (
        "ix_exchange_buyer_call_listed",
        "exchange_buyer_call",
        ["agreement_id", "asked_at", "lane", "seq"],
    ),
    ("ix_exchange_dispute_claimed", "exchange_dispute", ["claimed_at", "receipt_id"]),
)


COUNTED = ("served", "refused", "voided", "units", "amount")


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_usage_month",
        sa.Column("month", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("agreement_id", sa.LargeBinary(32), primary_key=True, index=True),
        sa.Column("asset_id", sa.LargeBinary(32), nullable=False),
        sa.Column("buyer", sa.String(18), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTED),
    )
    _add_up_days()
    for column in ACTS:
        op.drop_index(f"ix_console_act_{column}", "console_act")
    op.drop_index(*FILE_ROWS)
    op.create_index(*FILE_ROWS, ["file_id", "state", "line", "amount"])
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def _add_up_days() -> None:
    """The months of the calls that were counted so far."""
    connection = op.get_bind()
    first, last = connection.execute(sa.text("SELECT min(day), max(day) FROM exchange_usage")).one()
    sums = ", ".join(f"sum({name})" for name in COUNTED)
    month = None if first is None else month_start(first)
    while month is not None and month <= last:
        moment = datetime.datetime.fromtimestamp(month, city_zone()) + datetime.timedelta(days=32)
        following = month_start(moment.timestamp())
        connection.execute(
            sa.text(
                "INSERT INTO exchange_usage_month (month, agreement_id, asset_id, buyer, "  # noqa: S608 - no input in it
                f"{', '.join(COUNTED)}) SELECT CAST(:month AS BIGINT), agreement_id, asset_id, "
                f"buyer, {sums} FROM exchange_usage WHERE day >= :month AND day < :following "
                "GROUP BY agreement_id, asset_id, buyer"
            ),
            {"month": month, "following": following},
        )
        month = following


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("exchange_usage_month")
    for name, table, _ in INDEXES:
        op.drop_index(name, table)
    for column in ACTS:
        op.create_index(f"ix_console_act_{column}", "console_act", [column])
    op.drop_index(*FILE_ROWS)
    op.create_index(*FILE_ROWS, ["file_id", "state", "line"])
