"""The search index of the catalogue, and its queries.

Each asset has a narrow row, whose covering index serves the facets in one pass, and the terms that
it is found by in an inverted index: an ordinary table, the same in SQLite and PostgreSQL, neither
of which has a Chinese tokenizer of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.catalogue.model import (
    UNKNOWN_PRICE,
    AssetState,
    CatalogueDetails,
    CatalogueFilter,
    CatalogueRow,
    OfferSummary,
    PriceBand,
)
from exchange.catalogue.rules import BAND_FEN, index_terms, is_prefix, search_terms
from registry.assets.model import CatalogueEntry
from registry.pages import Page, PageRequest, page_of

MAX_TERM = 64
"""Characters of a stored term."""


class CatalogueIndexRow(Base):
    """An asset as searches find it."""

    __tablename__ = "exchange_catalogue"
    __table_args__ = (
        sa.Index(
            "ix_exchange_catalogue_facets",
            "holder",
            "category",
            "grade",
            "state",
            "unit",
            "price",
            "max_days",
        ),
        sa.Index("ix_exchange_catalogue_order", "registered_at", "asset_id"),
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    registered_at: Mapped[int] = mapped_column(sa.BigInteger)
    holder: Mapped[str] = mapped_column(sa.String(18))
    name: Mapped[str] = mapped_column(sa.Text)
    title_zh: Mapped[str] = mapped_column(sa.Text, default="")
    title_en: Mapped[str] = mapped_column(sa.Text, default="")
    version: Mapped[int]
    category: Mapped[str] = mapped_column(sa.Text)
    grade: Mapped[int]
    rows: Mapped[int] = mapped_column(sa.BigInteger)
    state: Mapped[str] = mapped_column(sa.String(9))
    unit: Mapped[str] = mapped_column(sa.String(8), default="")
    price: Mapped[int] = mapped_column(sa.BigInteger, default=UNKNOWN_PRICE)
    max_days: Mapped[int] = mapped_column(default=0)
    columns: Mapped[list[str]] = mapped_column(JSON, default=list)
    described: Mapped[int] = mapped_column(default=0, index=True)
    """The version whose metadata was read; 0 for none."""


class CatalogueColumnRow(Base):
    """A column that an asset delivers."""

    __tablename__ = "exchange_catalogue_column"
    column: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, index=True)


class CatalogueTermRow(Base):
    """A term that an asset is found by."""

    __tablename__ = "exchange_catalogue_term"
    term: Mapped[str] = mapped_column(
        sa.String(MAX_TERM).with_variant(sa.String(MAX_TERM, collation="C"), "postgresql"),
        primary_key=True,
    )
    """Sorted by code point, so that the beginning of a word is a range."""
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, index=True)


_LAST = "\uffff"
"""Sorts after whatever continues a word of letters and digits."""

INDEX = cast(sa.Table, CatalogueIndexRow.__table__)
_BAND = sa.case(
    *((INDEX.c.price < limit, name.value) for name, (_, limit) in BAND_FEN.items()),
    else_=PriceBand.TEN_AND_MORE.value,
).label("band")


# --- Writing --------------------------------------------------------------------------------------


def save_entry(session: Session, entry: CatalogueEntry) -> None:
    """Store what the chain says of an asset; what its holder says stays."""
    record = entry.record
    row = _find(session, entry.asset_id)
    if row is None:
        row = CatalogueIndexRow(asset_id=entry.asset_id, columns=[], described=0)
        row.unit, row.price, row.max_days, row.title_zh, row.title_en = "", UNKNOWN_PRICE, 0, "", ""
        session.add(row)
    row.registered_at, row.holder, row.name = entry.registered_at, record.holder, record.name
    row.version, row.category, row.grade = record.asset_version, record.category, record.grade
    row.rows, row.state = record.row_count, _state_of(entry).value
    session.flush()
    _save_terms(session, row, "")


def save_details(
    session: Session, asset_id: bytes, version: int, details: CatalogueDetails
) -> None:
    """Store what an asset's holder says of a version."""
    row = _find(session, asset_id)
    if row is None:
        return
    row.title_zh, row.title_en = details.title_zh, details.title_en
    row.columns, row.described = list(details.columns), version
    session.execute(sa.delete(CatalogueColumnRow).where(CatalogueColumnRow.number == row.number))
    names = sorted({column[:128] for column in details.columns})
    session.add_all(CatalogueColumnRow(column=name, number=row.number) for name in names)
    session.flush()
    _save_terms(session, row, details.description)


def set_described(session: Session, asset_id: bytes, version: int) -> None:
    """Note that a version's holder could not be asked for what it says; nothing else changes."""
    query = sa.update(CatalogueIndexRow).where(CatalogueIndexRow.asset_id == asset_id)
    session.execute(query.values(described=version))


def save_offers(session: Session, holder: str, offers: dict[bytes, OfferSummary]) -> None:
    """Store a holder's present offers in place of earlier ones."""
    query = sa.select(CatalogueIndexRow).where(
        CatalogueIndexRow.holder == holder,
        sa.or_(
            CatalogueIndexRow.price != UNKNOWN_PRICE,
            CatalogueIndexRow.asset_id.in_(list(offers)),
        ),
    )
    for row in session.scalars(query):
        offer = offers.get(row.asset_id, OfferSummary("", UNKNOWN_PRICE, 0))
        row.unit, row.price = offer.unit, offer.price
        row.max_days = min(offer.max_seconds // 86_400, 2**31 - 1)


def undescribed(session: Session, limit: int) -> list[tuple[bytes, int]]:
    """Assets whose latest version's metadata was not read, with that version."""
    query = sa.select(CatalogueIndexRow.asset_id, CatalogueIndexRow.version).where(
        CatalogueIndexRow.described != CatalogueIndexRow.version,
        CatalogueIndexRow.state != AssetState.CANCELLED.value,
    )
    return [(row.asset_id, row.version) for row in session.execute(query.limit(limit))]


def known(session: Session, asset_ids: Collection[bytes]) -> set[bytes]:
    """Which of these assets are in the index."""
    query = sa.select(CatalogueIndexRow.asset_id)
    return set(session.scalars(query.where(CatalogueIndexRow.asset_id.in_(list(asset_ids)))))


def holders(session: Session) -> list[str]:
    """The members that hold assets."""
    return list(session.scalars(sa.select(CatalogueIndexRow.holder).distinct()))


def _state_of(entry: CatalogueEntry) -> AssetState:
    if entry.cancelled_at is not None:
        return AssetState.CANCELLED
    return AssetState.HELD if entry.held else AssetState.USABLE


def _find(session: Session, asset_id: bytes) -> CatalogueIndexRow | None:
    query = sa.select(CatalogueIndexRow).where(CatalogueIndexRow.asset_id == asset_id)
    return session.scalars(query).one_or_none()


def _save_terms(session: Session, row: CatalogueIndexRow, description: str) -> None:
    texts = (row.name, row.category, row.title_zh, row.title_en, *row.columns, description)
    session.execute(sa.delete(CatalogueTermRow).where(CatalogueTermRow.number == row.number))
    terms = sorted({term[:MAX_TERM] for term in index_terms(texts)})
    session.add_all(CatalogueTermRow(term=term, number=row.number) for term in terms)
    session.flush()


# --- Searching ------------------------------------------------------------------------------------


def search(session: Session, page: PageRequest, wanted: CatalogueFilter) -> Page[CatalogueRow]:
    """Assets that match, the latest registered first; ``cursor_malformed``."""
    query = sa.select(CatalogueIndexRow).where(*_conditions(wanted))
    order = (CatalogueIndexRow.registered_at, CatalogueIndexRow.asset_id)
    return page_of(session, query, order, page).map(_row)


def groups(
    session: Session, wanted: CatalogueFilter, names: Collection[str]
) -> Sequence[sa.Row[Any]]:
    """How many matching assets have each combination of the values of these facets: columns of the
    index, or ``band`` for that of the price.
    """
    columns: list[Any] = [_BAND if name == "band" else INDEX.c[name] for name in names]
    selected = [*columns, sa.func.count().label("assets")]
    query: sa.Select[Any] = sa.select(*selected).where(*_conditions(wanted))
    return session.execute(query.group_by(*columns)).all()


def _conditions(wanted: CatalogueFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for column, value in (
        (INDEX.c.holder, wanted.holder),
        (INDEX.c.category, wanted.category),
        (INDEX.c.grade, wanted.grade),
        (INDEX.c.state, wanted.state),
        (INDEX.c.unit, wanted.unit),
    ):
        if value:
            found.append(column == value)
    if wanted.price:
        first, limit = BAND_FEN[PriceBand(wanted.price)]
        found += [INDEX.c.price >= first, INDEX.c.price < limit]
    if wanted.min_days:
        found.append(INDEX.c.max_days >= wanted.min_days)
    if wanted.column:
        having = sa.select(CatalogueColumnRow.number).where(
            CatalogueColumnRow.column == wanted.column
        )
        found.append(INDEX.c.number.in_(having))
    if wanted.text:
        found += _has_terms(search_terms(wanted.text))
    return found


def _has_terms(terms: Iterable[str]) -> list[sa.ColumnElement[bool]]:
    """Assets that have every term; one of letters is the beginning of a word."""
    wanted = [term[:MAX_TERM] for term in terms]
    if not wanted:
        return [sa.false()]
    column = CatalogueTermRow.term
    return [
        INDEX.c.number.in_(
            sa.select(CatalogueTermRow.number).where(
                sa.and_(column >= term, column < term + _LAST)
                if is_prefix(term)
                else column == term
            )
        )
        for term in wanted
    ]


def _row(row: CatalogueIndexRow) -> CatalogueRow:
    return CatalogueRow(
        asset_id=row.asset_id,
        holder=row.holder,
        name=row.name,
        title_zh=row.title_zh,
        title_en=row.title_en,
        version=row.version,
        category=row.category,
        grade=row.grade,
        rows=row.rows,
        state=AssetState(row.state),
        unit=row.unit,
        price=row.price,
        max_days=row.max_days,
        columns=tuple(row.columns),
        registered_at=row.registered_at,
    )
