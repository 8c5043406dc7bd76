"""Tables of property deals and their steps, as each party stores them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.list_limits import MAX_ROWS
from registry.pages import Page, PageRequest, page_of
from registry.property.model import (
    CertifiedKey,
    Deal,
    DealDisclosure,
    DealSearch,
    DealStage,
    MissingStep,
    StoredStep,
)


class DealRow(Base):
    """A deal this member is a party of (or sees as supervisor, then without content)."""

    __tablename__ = "property_deal"
    deal_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    added: Mapped[int] = mapped_column(BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    unit: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    seller: Mapped[str] = mapped_column(index=True)
    """The seller's key, and the buyer's."""
    buyer: Mapped[str] = mapped_column(index=True)
    terms: Mapped[dict[str, object]] = mapped_column(JSON)
    content: Mapped[dict[str, object] | None] = mapped_column(JSON)
    content_salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    title: Mapped[dict[str, object] | None] = mapped_column(JSON)
    title_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    certificates: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """Seller's, then buyer's: ``certificate`` and ``signature``."""
    operation: Mapped[str] = mapped_column(default="")
    """The agent's call that opens it."""
    opened_at: Mapped[int] = mapped_column(default=0)
    registered_at: Mapped[int] = mapped_column(default=0, index=True)
    expired_at: Mapped[int] = mapped_column(default=0)


class StepRow(Base):
    """One step's statement; ``height`` 0 until the chain has it, ``signature`` and ``record`` empty
    until its party sent them.
    """

    __tablename__ = "property_step"
    deal_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    record: Mapped[dict[str, object] | None] = mapped_column(JSON)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    operation: Mapped[str] = mapped_column(default="")
    height: Mapped[int] = mapped_column(default=0, index=True)


# --- Deals ----------------------------------------------------------------------------------------


def find_deal(session: Session, deal_id: bytes) -> Deal | None:
    """A deal, or None."""
    row = session.get(DealRow, deal_id)
    return None if row is None else _deal(row)


def deals_page(session: Session, page: PageRequest, search: DealSearch) -> Page[Deal]:
    """The deals that a search finds, the latest drawn up first; ``cursor_malformed``."""
    order = (DealRow.added, DealRow.deal_id)
    query = sa.select(DealRow).where(*_matching(search))
    return page_of(session, query, order, page).map(_deal)


def deals_of_key(session: Session, key: str) -> list[Deal]:
    """The deals whose seller or buyer signs with a key, the latest first, ``MAX_ROWS`` at most."""
    query = sa.select(DealRow).where(sa.or_(DealRow.seller == key, DealRow.buyer == key))
    rows = session.scalars(query.order_by(DealRow.added.desc()).limit(MAX_ROWS))
    return list(map(_deal, rows))


_STAGES: Mapping[DealStage, tuple[sa.ColumnElement[bool], ...]] = {
    DealStage.DRAFT: (DealRow.opened_at == 0, DealRow.expired_at == 0),
    DealStage.OPEN: (
        DealRow.opened_at > 0,
        DealRow.registered_at == 0,
        DealRow.expired_at == 0,
    ),
    DealStage.REGISTERED: (DealRow.registered_at > 0,),
    DealStage.EXPIRED: (DealRow.expired_at > 0,),
}


def _matching(search: DealSearch) -> list[sa.ColumnElement[bool]]:
    found = list(_STAGES[search.stage]) if search.stage is not None else []
    if not search.text:
        return found
    identifier = _identifier(search.text)
    if identifier is not None:
        return [*found, sa.or_(DealRow.deal_id == identifier, DealRow.unit == identifier)]
    number = DealRow.content["unit"].as_string()
    return [*found, number.contains(search.text, autoescape=True)]


def _identifier(text: str) -> bytes | None:
    """32 bytes in 0x hexadecimal; None for anything else."""
    if len(text) != 66 or not text.startswith("0x"):
        return None
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        return None


def deals_of_unit(session: Session, unit: bytes) -> list[Deal]:
    """A unit's deals, the latest drawn up first, ``MAX_ROWS`` at most."""
    query = sa.select(DealRow).where(DealRow.unit == unit)
    rows = session.scalars(query.order_by(DealRow.added.desc()).limit(MAX_ROWS))
    return list(map(_deal, rows))


def add_deal(session: Session, deal: Deal) -> None:
    """Store a new deal."""
    row = DealRow(
        deal_id=deal.deal_id,
        unit=deal.terms.unit,
        seller=deal.terms.seller,
        buyer=deal.terms.buyer,
        terms=deal.terms.to_json(),
        certificates=[],
        operation=deal.operation,
        opened_at=deal.opened_at,
        registered_at=deal.registered_at,
        expired_at=deal.expired_at,
    )
    if deal.disclosed is not None:
        _disclose(row, deal.disclosed)
    session.add(row)
    session.flush()


def disclose_deal(session: Session, deal_id: bytes, disclosed: DealDisclosure) -> None:
    """Store what the parties know of a deal that the events reported first."""
    _disclose(session.get_one(DealRow, deal_id), disclosed)


def set_deal_operation(session: Session, deal_id: bytes, operation: str) -> None:
    """Store the call that opens a deal."""
    session.get_one(DealRow, deal_id).operation = operation


def set_deal_heights(session: Session, deal_id: bytes, **heights: int) -> None:
    """Set columns of a deal that is known."""
    session.execute(sa.update(DealRow).where(DealRow.deal_id == deal_id).values(**heights))


def _disclose(row: DealRow, disclosed: DealDisclosure) -> None:
    row.content, row.content_salt = dict(disclosed.content), disclosed.salt
    row.title, row.title_signature = disclosed.title.to_json(), disclosed.title_signature
    row.certificates = [disclosed.seller.to_json(), disclosed.buyer.to_json()]


def _deal(row: DealRow) -> Deal:
    return Deal(
        terms=DealTerms.from_json(row.terms),
        disclosed=_disclosed(row),
        operation=row.operation,
        opened_at=row.opened_at,
        registered_at=row.registered_at,
        expired_at=row.expired_at,
    )


def _disclosed(row: DealRow) -> DealDisclosure | None:
    if row.content is None or row.content_salt is None:
        return None
    if row.title is None or row.title_signature is None:
        return None
    seller, buyer = map(CertifiedKey.from_json, row.certificates)
    return DealDisclosure(
        content=row.content,
        salt=row.content_salt,
        title=TitleStatement.from_json(row.title),
        title_signature=row.title_signature,
        seller=seller,
        buyer=buyer,
    )


# --- Steps ----------------------------------------------------------------------------------------


def find_step(session: Session, deal_id: bytes, step: int) -> StoredStep | None:
    """A deal's step, or None."""
    row = session.get(StepRow, (deal_id, step))
    return None if row is None else _step(row)


def steps_of_deal(session: Session, deal_id: bytes) -> list[StoredStep]:
    """The steps of a deal that are known, in order."""
    query = sa.select(StepRow).where(StepRow.deal_id == deal_id).order_by(StepRow.step)
    return [_step(row) for row in session.scalars(query)]


def save_step(session: Session, deal_id: bytes, step: StoredStep) -> None:
    """Store a step, new or changed."""
    session.merge(
        StepRow(
            deal_id=deal_id,
            step=int(step.step),
            statement=step.statement.to_json(),
            signature=step.signature,
            record=None if step.record is None else dict(step.record),
            salt=step.salt,
            operation=step.operation,
            height=step.height,
        )
    )
    session.flush()


def record_step(session: Session, deal_id: bytes, statement: DealStep, height: int) -> None:
    """Store that the chain has a step. Its statement is final: a signature under another one is
    dropped.
    """
    known = find_step(session, deal_id, statement.step)
    if known is None or known.statement != statement:
        operation = "" if known is None else known.operation
        known = StoredStep(StepKind(statement.step), statement, operation=operation)
    save_step(session, deal_id, replace(known, height=height))


def last_step_height(session: Session) -> int:
    """The height of the last step that an event reported, 0 without one."""
    return session.scalar(sa.select(sa.func.max(StepRow.height))) or 0


def missing_steps(session: Session, *, above: int, up_to: int) -> list[MissingStep]:
    """Steps that the chain has from one height to another, without their signatures, of deals that
    this node is a party of. A supervisor has every deal's steps and is party to none.
    """
    query = (
        sa.select(StepRow.deal_id, StepRow.step, DealRow.terms)
        .join(DealRow, DealRow.deal_id == StepRow.deal_id)
        .where(
            StepRow.height > above,
            StepRow.height <= up_to,
            StepRow.signature.is_(None),
            DealRow.content_salt.is_not(None),
        )
    )
    return [
        MissingStep(deal_id, StepKind(step), DealTerms.from_json(terms))
        for deal_id, step, terms in session.execute(query)
    ]


def _step(row: StepRow) -> StoredStep:
    return StoredStep(
        step=StepKind(row.step),
        statement=DealStep.from_json(row.statement),
        signature=row.signature,
        record=row.record,
        salt=row.salt,
        operation=row.operation,
        height=row.height,
    )
