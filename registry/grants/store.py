"""Table of grants this node gave or got."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base
from chain.statements.grants import GrantTerms


class GrantRow(Base):
    """A grant with its terms, the scope opened to both sides, and the heights the chain gave it."""

    __tablename__ = "grants"
    grant_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    added: Mapped[int] = mapped_column(BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    owner: Mapped[str]
    grantee: Mapped[str]
    terms: Mapped[dict[str, object]] = mapped_column(JSON)
    scope: Mapped[dict[str, object] | None] = mapped_column(JSON)
    scope_salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    requested_at: Mapped[int | None]
    approved_at: Mapped[int | None]
    refused_at: Mapped[int | None]
    revoked_at: Mapped[int | None]
    reason: Mapped[str] = mapped_column(default="")
    stopped: Mapped[bool] = mapped_column(default=False)
    """The owner's own stop: set with its revocation, before the chain has it."""
    decision: Mapped[dict[str, object] | None] = mapped_column(JSON)
    decision_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    revocation: Mapped[dict[str, object] | None] = mapped_column(JSON)
    revocation_signature: Mapped[bytes | None] = mapped_column(LargeBinary)


def grant_row(
    grant_id: bytes, terms: GrantTerms, scope: dict[str, Any] | None, salt: bytes | None
) -> GrantRow:
    """A grant that the chain has not recorded yet; scope and salt where this node knows them."""
    return GrantRow(
        grant_id=grant_id,
        owner=terms.owner,
        grantee=terms.grantee,
        terms=terms.to_json(),
        scope=scope,
        scope_salt=salt,
    )
