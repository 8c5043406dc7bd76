"""Table of grants this node gave or got."""

from __future__ import annotations

import time
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, Database, PreparedStatement
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from registry.grants.model import DisclosedScope, Grant, GrantState
from registry.pages import Page, PageRequest, page_of


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


_HAS_STATE: dict[GrantState, sa.ColumnElement[bool]] = {
    GrantState.REVOKED: GrantRow.revoked_at.is_not(None) | GrantRow.stopped,
    GrantState.REFUSED: GrantRow.refused_at.is_not(None),
    GrantState.APPROVED: GrantRow.approved_at.is_not(None),
    GrantState.REQUESTED: GrantRow.requested_at.is_not(None),
    GrantState.SENT: sa.true(),
}
"""``Grant.state`` in SQL, from the last state to the first: a grant is in the first of these that
holds.
"""
_STOPPED = PreparedStatement(sa.select(GrantRow.grant_id).where(GrantRow.stopped))
"""Read with every exchange of calls."""


def find_grant(session: Session, grant_id: bytes) -> Grant | None:
    """A grant, or None."""
    row = session.get(GrantRow, grant_id)
    return None if row is None else _grant(row)


def find_grants(session: Session, grant_ids: Collection[bytes]) -> dict[bytes, Grant]:
    """Those of these grants that are stored, by id."""
    query = sa.select(GrantRow).where(GrantRow.grant_id.in_(list(grant_ids)))
    return {row.grant_id: _grant(row) for row in session.scalars(query)}


def latest_of_asset(session: Session, asset_id: bytes, grantee: str) -> Grant | None:
    """The grantee's latest grant on an asset, or None."""
    query = sa.select(GrantRow).where(
        GrantRow.grantee == grantee,
        GrantRow.terms["assetId"].as_string() == "0x" + asset_id.hex(),
    )
    row = session.scalars(query.order_by(GrantRow.added.desc()).limit(1)).first()
    return None if row is None else _grant(row)


def grants_page(
    session: Session,
    page: PageRequest,
    *,
    state: GrantState | None = None,
    owner: str | None = None,
    grantee: str | None = None,
) -> Page[Grant]:
    """Grants, the latest first; ``cursor_malformed``. What is None is not filtered by."""
    query = sa.select(GrantRow).where(*_of_side(owner, grantee))
    if state is not None:
        query = query.where(_in_state(state))
    return page_of(session, query, (GrantRow.added, GrantRow.grant_id), page).map(_grant)


def count_by_state(
    session: Session, *, owner: str | None = None, grantee: str | None = None
) -> dict[GrantState, int]:
    """The number of grants in each state."""
    state = sa.case(*((holds, name.value) for name, holds in _HAS_STATE.items()))
    query = sa.select(state, sa.func.count()).where(*_of_side(owner, grantee)).group_by(state)
    counted = {GrantState(name): count for name, count in session.execute(query)}
    return {name: counted.get(name, 0) for name in GrantState}


def add_grant(session: Session, terms: GrantTerms, scope: DisclosedScope | None) -> None:
    """Store a grant that the chain has not recorded yet, unless this node has it."""
    grant_id = terms.struct_hash()
    if session.get(GrantRow, grant_id) is not None:
        return
    row = GrantRow(
        grant_id=grant_id, owner=terms.owner, grantee=terms.grantee, terms=terms.to_json()
    )
    if scope is not None:
        row.scope, row.scope_salt = dict(scope.record), scope.salt
    session.add(row)
    session.flush()


def set_scope(session: Session, grant_id: bytes, scope: DisclosedScope) -> None:
    """Store the scope of a grant."""
    row = session.get_one(GrantRow, grant_id)
    row.scope, row.scope_salt = dict(scope.record), scope.salt


def set_decision(session: Session, decision: GrantDecision, signature: bytes) -> None:
    """Store the officer's decision on a grant."""
    row = session.get_one(GrantRow, decision.grant_id)
    row.decision, row.decision_signature = decision.to_json(), signature


def set_revocation(session: Session, revocation: GrantRevocation, signature: bytes) -> None:
    """Store the owner's revocation of a grant, which stops it here at once."""
    row = session.get_one(GrantRow, revocation.grant_id)
    row.stopped = True
    row.revocation, row.revocation_signature = revocation.to_json(), signature


def set_requested(session: Session, grant_id: bytes, height: int) -> None:
    """Store the height of a grant's request."""
    _update(session, grant_id, requested_at=height)


def set_approved(session: Session, grant_id: bytes, height: int, reason: str) -> None:
    """Store the height of a grant's approval."""
    _update(session, grant_id, approved_at=height, reason=reason)


def set_refused(session: Session, grant_id: bytes, height: int, reason: str) -> None:
    """Store the height of a grant's refusal."""
    _update(session, grant_id, refused_at=height, reason=reason)


def set_revoked(session: Session, grant_id: bytes, height: int, reason: str) -> None:
    """Store the height of a grant's revocation, which stops it."""
    _update(session, grant_id, revoked_at=height, stopped=True, reason=reason)


def _update(session: Session, grant_id: bytes, **columns: int | str) -> None:
    session.execute(sa.update(GrantRow).where(GrantRow.grant_id == grant_id).values(**columns))


def stopped_grants(database: Database) -> set[bytes]:
    """Grants the owner has stopped, whether the chain has it yet or not."""
    return {grant_id for (grant_id,) in database.fetch(_STOPPED, {})}


async def astopped_grants(database: Database) -> set[bytes]:
    """``stopped_grants`` for coroutines."""
    return {grant_id for (grant_id,) in await database.afetch(_STOPPED, {})}


def _of_side(owner: str | None, grantee: str | None) -> list[sa.ColumnElement[bool]]:
    wanted = ((GrantRow.owner, owner), (GrantRow.grantee, grantee))
    return [column == member for column, member in wanted if member is not None]


def _in_state(state: GrantState) -> sa.ColumnElement[bool]:
    states = list(_HAS_STATE)
    later = (sa.not_(_HAS_STATE[name]) for name in states[: states.index(state)])
    return sa.and_(_HAS_STATE[state], *later)


def _grant(row: GrantRow) -> Grant:
    known = row.scope is not None and row.scope_salt is not None
    return Grant(
        terms=GrantTerms.from_json(row.terms),
        scope=DisclosedScope(row.scope or {}, row.scope_salt or b"") if known else None,
        requested_at=row.requested_at,
        approved_at=row.approved_at,
        refused_at=row.refused_at,
        revoked_at=row.revoked_at,
        reason=row.reason,
        stopped=row.stopped,
        decision=None if row.decision is None else GrantDecision.from_json(row.decision),
        decision_signature=row.decision_signature,
        revocation=None if row.revocation is None else GrantRevocation.from_json(row.revocation),
        revocation_signature=row.revocation_signature,
    )
