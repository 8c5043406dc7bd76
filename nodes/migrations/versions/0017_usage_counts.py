"""Calls counted by day, with those that were answered before"""

from __future__ import annotations

import datetime
import json

import sqlalchemy as sa
from alembic import op

from chain.core.zone import city_zone

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_USAGE = sa.table(
    "exchange_usage",
    sa.column("agreement_id", sa.LargeBinary),
    sa.column("day", sa.BigInteger),
    sa.column("columns", sa.Text),
    sa.column("asset_id", sa.LargeBinary),
    sa.column("buyer", sa.String),
    *(
        sa.column(name, sa.BigInteger)
        for name in ("served", "refused", "voided", "units", "amount")
    ),
)


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "exchange_usage",
        sa.Column("agreement_id", sa.LargeBinary(32), primary_key=True),
        sa.Column("day", sa.BigInteger(), primary_key=True, autoincrement=False, index=True),
        sa.Column("columns", sa.Text(), primary_key=True),
        sa.Column("asset_id", sa.LargeBinary(32), nullable=False),
        sa.Column("buyer", sa.String(18), nullable=False),
        sa.Column("served", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("voided", sa.BigInteger(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_exchange_usage_asset", "exchange_usage", ["asset_id", "day"])
    op.create_index("ix_exchange_gateway_call_at", "exchange_gateway_call", ["agreement_id", "at"])
    _count_earlier_calls()


def _count_earlier_calls() -> None:
    """Which columns they delivered was not stored."""
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    field = "(receipt::json->>'{0}')" if postgresql else "json_extract(receipt, '$.{0}')"
    offset = datetime.datetime.now(city_zone()).utcoffset() or datetime.timedelta()
    seconds = int(offset.total_seconds())
    day = f"at - ((at + {seconds}) % 86400)"
    sums = ", ".join(
        f"SUM(CASE WHEN status = '{status}' THEN {value} ELSE 0 END)"
        for status, value in (
            ("served", "1"),
            ("refused", "1"),
            ("void", "1"),
            ("served", f"CAST({field.format('units')} AS BIGINT)"),
            ("served", f"CAST({field.format('amount')} AS BIGINT)"),
        )
    )
    counted = connection.execute(
        sa.text(
            f"SELECT agreement_id, {day} AS day, {sums} "  # noqa: S608 - no input in it
            f"FROM exchange_gateway_call GROUP BY agreement_id, {day}"
        )
    ).all()
    terms = {
        bytes(agreement_id): json.loads(text) if isinstance(text, str) else text
        for agreement_id, text in connection.execute(
            sa.text("SELECT agreement_id, agreement FROM exchange_agreement")
        )
    }
    rows = [
        {
            "agreement_id": bytes(agreement_id),
            "day": int(first),
            "columns": "[]",
            "asset_id": bytes.fromhex(terms[bytes(agreement_id)]["assetId"].removeprefix("0x")),
            "buyer": terms[bytes(agreement_id)]["buyer"],
            "served": int(served),
            "refused": int(refused),
            "voided": int(voided),
            "units": int(units),
            "amount": int(amount),
        }
        for agreement_id, first, served, refused, voided, units, amount in counted
        if bytes(agreement_id) in terms
    ]
    if rows:
        connection.execute(sa.insert(_USAGE), rows)


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index("ix_exchange_gateway_call_at", "exchange_gateway_call")
    op.drop_table("exchange_usage")
