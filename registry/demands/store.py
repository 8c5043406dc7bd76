"""Tables of demands: this bank's own with their answers, and those of other members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from registry.demands.model import Demand, DemandAnswer, OwnDemand, ReceivedDemand
from registry.pages import Page, PageRequest, page_of


class DemandRow(Base):
    """A demand of this bank."""

    __tablename__ = "demand_own"
    demand_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    posted_at: Mapped[int] = mapped_column(BigInteger, index=True)
    withdrawn_at: Mapped[int | None] = mapped_column(BigInteger)


class DemandAnswerRow(Base):
    """A department's answer to a demand of this bank; one for each asset."""

    __tablename__ = "demand_answer"
    demand_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    department: Mapped[str] = mapped_column(String(18), primary_key=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    note: Mapped[str]
    answered_at: Mapped[int] = mapped_column(BigInteger)


class ReceivedDemandRow(Base):
    """An open demand of another member, as it was fetched last."""

    __tablename__ = "demand_received"
    bank: Mapped[str] = mapped_column(String(18), primary_key=True)
    demand_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    posted_at: Mapped[int] = mapped_column(BigInteger, index=True)
    answered_with: Mapped[bytes | None] = mapped_column(LargeBinary(32))


# --- This bank's ----------------------------------------------------------------------------------


def find(session: Session, demand_id: str) -> DemandRow | None:
    """A demand of this bank."""
    return session.get(DemandRow, demand_id)


def add(session: Session, demand: Demand) -> None:
    """Store a new demand."""
    session.add(
        DemandRow(
            demand_id=demand.demand_id,
            content=demand.to_json(),
            posted_at=demand.posted_at,
            withdrawn_at=None,
        )
    )


def count_open(session: Session) -> int:
    """The number of this bank's open demands."""
    query = sa.select(sa.func.count()).where(DemandRow.withdrawn_at.is_(None))
    return session.scalar(query) or 0


def own_page(session: Session, page: PageRequest, *, only_open: bool = False) -> Page[OwnDemand]:
    """This bank's demands with their answers, the newest first; ``cursor_malformed``."""
    query = sa.select(DemandRow)
    if only_open:
        query = query.where(DemandRow.withdrawn_at.is_(None))
    found = page_of(session, query, (DemandRow.posted_at, DemandRow.demand_id), page)
    answers = _answers(session, [row.demand_id for row in found.rows])
    return found.map(lambda row: _own(row, answers.get(row.demand_id, ())))


def own(session: Session, row: DemandRow) -> OwnDemand:
    """A demand of this bank with its answers."""
    return _own(row, _answers(session, [row.demand_id]).get(row.demand_id, ()))


def _own(row: DemandRow, answers: Sequence[DemandAnswer]) -> OwnDemand:
    return OwnDemand(Demand.from_json(row.content), row.withdrawn_at, tuple(answers))


def _answers(session: Session, demand_ids: Sequence[str]) -> dict[str, list[DemandAnswer]]:
    query = sa.select(DemandAnswerRow).where(DemandAnswerRow.demand_id.in_(demand_ids))
    found: dict[str, list[DemandAnswer]] = {}
    for row in session.scalars(query.order_by(DemandAnswerRow.answered_at)):
        answer = DemandAnswer(row.department, row.asset_id, row.note, row.answered_at)
        found.setdefault(row.demand_id, []).append(answer)
    return found


def store_answer(session: Session, demand_id: str, answer: DemandAnswer) -> None:
    """Store an answer in place of an earlier one with the same asset."""
    session.merge(
        DemandAnswerRow(
            demand_id=demand_id,
            department=answer.department,
            asset_id=answer.asset_id,
            note=answer.note,
            answered_at=answer.answered_at,
        )
    )


def count_answers(session: Session, demand_id: str, department: str) -> int:
    """The number of assets in a department's answer to a demand."""
    query = sa.select(sa.func.count()).where(
        DemandAnswerRow.demand_id == demand_id, DemandAnswerRow.department == department
    )
    return session.scalar(query) or 0


# --- Other members' -------------------------------------------------------------------------------


def find_received(session: Session, bank: str, demand_id: str) -> ReceivedDemandRow | None:
    """A demand of another member."""
    return session.get(ReceivedDemandRow, (bank, demand_id))


def received_page(session: Session, page: PageRequest) -> Page[ReceivedDemand]:
    """Other members' open demands, the newest first; ``cursor_malformed``."""
    order = (ReceivedDemandRow.posted_at, ReceivedDemandRow.bank, ReceivedDemandRow.demand_id)
    return page_of(session, sa.select(ReceivedDemandRow), order, page).map(received)


def received(row: ReceivedDemandRow) -> ReceivedDemand:
    """The demand of a row."""
    return ReceivedDemand(row.bank, Demand.from_json(row.content), row.answered_with)


def replace_received(session: Session, bank: str, demands: Iterable[Demand]) -> None:
    """Store a member's open demands in place of those fetched before; answers stay."""
    known = {
        row.demand_id: row
        for row in session.scalars(
            sa.select(ReceivedDemandRow).where(ReceivedDemandRow.bank == bank)
        )
    }
    for demand in demands:
        row = known.pop(demand.demand_id, None)
        if row is None:
            row = ReceivedDemandRow(bank=bank, demand_id=demand.demand_id, answered_with=None)
            session.add(row)
        row.content, row.posted_at = demand.to_json(), demand.posted_at
    for gone in known.values():
        session.delete(gone)
