"""Accounts, sessions, sent forms and acts of the console"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "console_account",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("login", sa.String(64), nullable=False, unique=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("totp_secret", sa.LargeBinary(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("issuer", "subject"),
    )
    op.create_table(
        "console_session",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("account_id", sa.String(32), nullable=False, index=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "console_invitation",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("account_id", sa.String(32), nullable=False, index=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "console_recovery_code",
        sa.Column("account_id", sa.String(32), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    )
    op.create_table(
        "console_failure",
        sa.Column("key", sa.String(100), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("wait_until", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False, index=True),
    )
    op.create_table(
        "console_submission",
        sa.Column("account_id", sa.String(32), primary_key=True),
        sa.Column("form_key", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary(32), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("location", sa.String(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False, index=True),
    )
    _create_acts()


def downgrade() -> None:
    """Back to the one before."""
    for table in (
        "console_act",
        "console_person_key",
        "console_submission",
        "console_failure",
        "console_recovery_code",
        "console_invitation",
        "console_session",
        "console_account",
    ):
        op.drop_table(table)


def _create_acts() -> None:
    op.create_table(
        "console_person_key",
        sa.Column("account_id", sa.String(64), primary_key=True),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "console_act",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger(), nullable=False, index=True),
        sa.Column("account_id", sa.String(64), nullable=False, index=True),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("object", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False, index=True),
        sa.Column("place", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("commitment", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
    )
