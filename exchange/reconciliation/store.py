"""Tables of the supervisor's runs, and of findings followed from run to run."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.columns import Fen
from exchange.reconciliation.model import (
    OpenFinding,
    ReconciliationFinding,
    ReconciliationRun,
    RunState,
)
from registry.pages import Page, PageRequest, page_of

MAX_SENTENCE = 600


class RunRow(Base):
    """A comparison of every agreement on the chain."""

    __tablename__ = "reconciliation_run"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    state: Mapped[str] = mapped_column(sa.String(8), index=True)
    started_at: Mapped[int] = mapped_column(sa.BigInteger)
    finished_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    agreements: Mapped[int] = mapped_column(sa.BigInteger)
    lanes: Mapped[int] = mapped_column(sa.BigInteger)
    positions: Mapped[int] = mapped_column(sa.BigInteger)
    findings: Mapped[int] = mapped_column(sa.BigInteger)
    lost: Mapped[int] = mapped_column(Fen)
    conserved: Mapped[bool | None]
    cursor: Mapped[str] = mapped_column(sa.String(400))


class FindingRow(Base):
    """A finding of an agreement; ``settled_at`` is None while it is open."""

    __tablename__ = "reconciliation_finding"
    __table_args__ = (
        sa.Index("ix_reconciliation_finding_open", "agreement_id", "settled_at"),
        sa.Index("ix_reconciliation_finding_settled", "settled_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32))
    provider: Mapped[str] = mapped_column(sa.String(18))
    buyer: Mapped[str] = mapped_column(sa.String(18))
    kind: Mapped[str] = mapped_column(sa.String(16))
    sentence: Mapped[str] = mapped_column(sa.String(MAX_SENTENCE))
    lane: Mapped[int | None] = mapped_column(sa.BigInteger)
    from_seq: Mapped[int | None] = mapped_column(sa.BigInteger)
    to_seq: Mapped[int | None] = mapped_column(sa.BigInteger)
    side: Mapped[str] = mapped_column(sa.String(8))
    first_seen: Mapped[int] = mapped_column(sa.BigInteger)
    last_seen: Mapped[int] = mapped_column(sa.BigInteger)
    due_at: Mapped[int] = mapped_column(sa.BigInteger)
    settled_at: Mapped[int | None] = mapped_column(sa.BigInteger)


# --- Runs -----------------------------------------------------------------------------------------


def start_run(session: Session, at: int) -> ReconciliationRun:
    """Store a new run."""
    row = RunRow(
        state=RunState.RUNNING,
        started_at=at,
        agreements=0,
        lanes=0,
        positions=0,
        findings=0,
        lost=0,
        cursor="",
    )
    session.add(row)
    session.flush()
    return _run(row)


def running(session: Session) -> ReconciliationRun | None:
    """The run that is under way, if any."""
    query = sa.select(RunRow).where(RunRow.state == RunState.RUNNING).order_by(RunRow.id).limit(1)
    row = session.scalars(query).first()
    return None if row is None else _run(row)


def save_run(session: Session, run: ReconciliationRun) -> None:
    """Store how far a run is."""
    session.merge(
        RunRow(
            id=run.id,
            state=run.state,
            started_at=run.started_at,
            finished_at=run.finished_at,
            agreements=run.agreements,
            lanes=run.lanes,
            positions=run.positions,
            findings=run.findings,
            lost=run.lost,
            conserved=run.conserved,
            cursor=run.cursor,
        )
    )


def runs_page(session: Session, page: PageRequest) -> Page[ReconciliationRun]:
    """Runs, the latest first; ``cursor_malformed``."""
    return page_of(session, sa.select(RunRow), (RunRow.id,), page).map(_run)


# --- Findings -------------------------------------------------------------------------------------


def open_of(session: Session, agreement_id: bytes) -> Sequence[OpenFinding]:
    """The open findings of an agreement."""
    query = sa.select(FindingRow).where(
        FindingRow.agreement_id == agreement_id, FindingRow.settled_at.is_(None)
    )
    return [_finding(row) for row in session.scalars(query.order_by(FindingRow.id))]


def add_finding(session: Session, item: OpenFinding) -> None:
    """Store a new finding; its id is given by the database."""
    found = item.finding
    session.add(
        FindingRow(
            agreement_id=item.agreement_id,
            provider=item.provider,
            buyer=item.buyer,
            kind=found.kind,
            sentence=found.sentence[:MAX_SENTENCE],
            lane=found.lane,
            from_seq=found.from_seq,
            to_seq=found.to_seq,
            side=found.side,
            first_seen=item.first_seen,
            last_seen=item.last_seen,
            due_at=item.due_at,
        )
    )


def seen_again(session: Session, finding_id: int, found: ReconciliationFinding, at: int) -> None:
    """Store that a finding was seen again, and as what."""
    query = sa.update(FindingRow).where(FindingRow.id == finding_id)
    session.execute(
        query.values(
            last_seen=at,
            sentence=found.sentence[:MAX_SENTENCE],
            from_seq=found.from_seq,
            to_seq=found.to_seq,
        )
    )


def settle(session: Session, finding_id: int, at: int) -> None:
    """Store that a finding was not seen any more."""
    query = sa.update(FindingRow).where(FindingRow.id == finding_id)
    session.execute(query.values(settled_at=at))


def findings_page(
    session: Session, page: PageRequest, *, settled: bool, kinds: Sequence[str]
) -> Page[OpenFinding]:
    """Findings of some kinds, the latest first; ``cursor_malformed``."""
    ended = FindingRow.settled_at.is_not(None) if settled else FindingRow.settled_at.is_(None)
    query = sa.select(FindingRow).where(ended)
    if kinds:
        query = query.where(FindingRow.kind.in_(kinds))
    return page_of(session, query, (FindingRow.id,), page).map(_finding)


def count_open(session: Session, *, due_before: int | None = None) -> int:
    """The numbers of open and of overdue findings."""
    query = sa.select(sa.func.count()).where(FindingRow.settled_at.is_(None))
    if due_before is not None:
        query = query.where(FindingRow.due_at < due_before)
    return session.scalars(query).one()


def _run(row: RunRow) -> ReconciliationRun:
    return ReconciliationRun(
        id=row.id,
        state=RunState(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        agreements=row.agreements,
        lanes=row.lanes,
        positions=row.positions,
        findings=row.findings,
        lost=row.lost,
        conserved=row.conserved,
        cursor=row.cursor,
    )


def _finding(row: FindingRow) -> OpenFinding:
    return OpenFinding(
        id=row.id,
        agreement_id=row.agreement_id,
        provider=row.provider,
        buyer=row.buyer,
        finding=ReconciliationFinding(
            kind=row.kind,
            sentence=row.sentence,
            lane=row.lane,
            from_seq=row.from_seq,
            to_seq=row.to_seq,
            side=row.side,
        ),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        due_at=row.due_at,
        settled_at=row.settled_at,
    )
