"""Flows, hours and the clearing book; copied log entries by digest and hour"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_BATCH = 5_000


def upgrade() -> None:
    """To this revision. The projector takes the chain's events once more, for the new sums."""
    _supervision()
    _clearing()
    _reconciliation()
    op.create_table(
        "evidence_copied_hour",
        sa.Column("hour", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("origin", sa.String(), primary_key=True),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
    )
    op.add_column("evidence_copied_entry", sa.Column("digest", sa.LargeBinary(32)))
    _fill_copied()
    op.create_index("ix_evidence_copied_entry_digest", "evidence_copied_entry", ["digest"])
    op.execute("DELETE FROM node_cursor WHERE name = 'projector'")


def _supervision() -> None:
    op.create_table(
        "supervision_agreement",
        sa.Column("agreement_id", sa.LargeBinary(32), primary_key=True),
        sa.Column("provider", sa.String(18), nullable=False, index=True),
        sa.Column("buyer", sa.String(18), nullable=False, index=True),
        sa.Column("asset_id", sa.LargeBinary(32), nullable=False, index=True),
        sa.Column("grant_id", sa.LargeBinary(32), nullable=False, index=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger()),
    )
    op.create_table(
        "supervision_lane",
        sa.Column("agreement_id", sa.LargeBinary(32), primary_key=True),
        sa.Column("lane", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.String(39), nullable=False),
        sa.Column("units", sa.String(39), nullable=False),
        sa.Column("amount", sa.String(39), nullable=False),
    )
    op.create_table(
        "supervision_flow",
        sa.Column("period", sa.String(10), primary_key=True),
        sa.Column("provider", sa.String(18), primary_key=True),
        sa.Column("buyer", sa.String(18), primary_key=True),
        sa.Column("asset_id", sa.LargeBinary(32), primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("calls", "units")),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    counts = ("calls", "amount", "deposited", "paid", "withdrawn", "opened", "closed")
    op.create_table(
        "supervision_hour",
        sa.Column("hour", sa.BigInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
    )
    op.create_table(
        "supervision_cursor",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
    )


def _clearing() -> None:
    op.create_table(
        "exchange_movement",
        sa.Column("height", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("log_index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("member", sa.String(18), nullable=False),
        sa.Column("agreement_id", sa.LargeBinary(32)),
        sa.Column("amount", sa.String(39), nullable=False),
    )
    op.create_index("ix_exchange_movement_day", "exchange_movement", ["day", "height", "log_index"])
    op.create_table(
        "exchange_day_sum",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("member", sa.String(18), primary_key=True),
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("amount", sa.String(39), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "exchange_day",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("amount", sa.String(39), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "exchange_day_closing",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("opening", sa.String(39), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, index=True),
    )


def _reconciliation() -> None:
    op.create_table(
        "reconciliation_run",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("state", sa.String(8), nullable=False, index=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("agreements", "lanes", "positions", "findings")
        ),
        sa.Column("lost", sa.String(39), nullable=False),
        sa.Column("conserved", sa.Boolean()),
        sa.Column("cursor", sa.String(400), nullable=False),
    )
    op.create_table(
        "reconciliation_finding",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("agreement_id", sa.LargeBinary(32), nullable=False),
        sa.Column("provider", sa.String(18), nullable=False),
        sa.Column("buyer", sa.String(18), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("sentence", sa.String(600), nullable=False),
        *(sa.Column(name, sa.BigInteger()) for name in ("lane", "from_seq", "to_seq")),
        sa.Column("side", sa.String(8), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger()),
    )
    op.create_index(
        "ix_reconciliation_finding_open", "reconciliation_finding", ["agreement_id", "settled_at"]
    )
    op.create_index("ix_reconciliation_finding_settled", "reconciliation_finding", ["settled_at"])


def _fill_copied() -> None:
    """Digest and hour of what was copied before."""
    connection = op.get_bind()
    entries = sa.table(
        "evidence_copied_entry",
        sa.column("origin", sa.String()),
        sa.column("entry_index", sa.Integer()),
        sa.column("leaf", sa.LargeBinary()),
        sa.column("digest", sa.LargeBinary()),
    )
    key = sa.tuple_(entries.c.origin, entries.c.entry_index)
    hours: dict[tuple[int, str], list[int]] = {}
    last: tuple[str, int] = ("", -1)
    change = (
        sa.update(entries)
        .where(
            entries.c.origin == sa.bindparam("of"), entries.c.entry_index == sa.bindparam("place")
        )
        .values(digest=sa.bindparam("found"))
    )
    while True:
        query = sa.select(entries.c.origin, entries.c.entry_index, entries.c.leaf).where(
            key > sa.tuple_(sa.literal(last[0]), sa.literal(last[1]))
        )
        rows = connection.execute(query.order_by(*key.clauses).limit(_BATCH)).all()
        if not rows:
            break
        changed = []
        for origin, index, leaf in rows:
            at, receipt, digest = _read(leaf)
            counts = hours.setdefault((at - at % 3_600, origin), [0, 0])
            counts[0] += 1
            counts[1] += receipt
            changed.append({"of": origin, "place": index, "found": digest})
        connection.execute(change, changed)
        last = (rows[-1][0], rows[-1][1])
    table = sa.table(
        "evidence_copied_hour", *map(sa.column, ("hour", "origin", "entries", "receipts"))
    )
    for (hour, origin), (number, receipts) in hours.items():
        values = {"hour": hour, "origin": origin, "entries": number, "receipts": receipts}
        connection.execute(sa.insert(table).values(values))


def _read(leaf: bytes) -> tuple[int, bool, bytes | None]:
    try:
        value = json.loads(leaf)
        at, digest = value["at"], bytes.fromhex(value["digest"].removeprefix("0x"))
        usable = type(at) is int and 0 <= at < 2**53
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0, False, None
    if not usable:
        return 0, False, None
    return at, value.get("kind") == "UsageReceipt", digest if len(digest) == 32 else None


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index("ix_evidence_copied_entry_digest", "evidence_copied_entry")
    with op.batch_alter_table("evidence_copied_entry") as batch:
        batch.drop_column("digest")
    for name in (
        "reconciliation_finding",
        "reconciliation_run",
        "evidence_copied_hour",
        "exchange_day_closing",
        "exchange_day",
        "exchange_day_sum",
        "exchange_movement",
        "supervision_cursor",
        "supervision_hour",
        "supervision_flow",
        "supervision_lane",
        "supervision_agreement",
    ):
        op.drop_table(name)
