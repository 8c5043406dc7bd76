"""Tables of offers and agreements, and their queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.statements.trade import Agreement
from exchange.agreements.model import ENDED, PENDING, AgreementSide, AgreementStage
from exchange.columns import Fen
from registry.pages import Page, PageRequest, matching_page_of, page_of

OWN = sa.text("side != 'observer'")
"""Agreements that this node's organisation is a party of."""


class OfferRow(Base):
    """This node's own offer for an asset version."""

    __tablename__ = "exchange_offer"
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    asset_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    offer: Mapped[dict[str, Any]] = mapped_column(JSON)
    changed_at: Mapped[int] = mapped_column(sa.BigInteger)
    withdrawn_at: Mapped[int | None] = mapped_column(sa.BigInteger)


class SeenOfferRow(Base):
    """Another member's offer as this node showed it to its people; an order names it
    by its hash.
    """

    __tablename__ = "exchange_seen_offer"
    terms_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    offer: Mapped[dict[str, Any]] = mapped_column(JSON)
    seen_at: Mapped[int] = mapped_column(sa.BigInteger)
    """Unix seconds."""


class AgreementRow(Base):
    """An agreement: this node's own with signatures, others' as the chain showed them."""

    __tablename__ = "exchange_agreement"
    __table_args__ = (
        sa.Index("ix_exchange_agreement_own", "added", sqlite_where=OWN, postgresql_where=OWN),
        sa.Index("ix_exchange_agreement_state", "state", "added"),
    )
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    added: Mapped[int] = mapped_column(sa.BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    side: Mapped[str] = mapped_column(sa.String(8))
    state: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str | None] = mapped_column(sa.String(64))
    """Code of how a proposal ended, and a sentence; None for every other state."""
    reason_text: Mapped[str | None] = mapped_column(sa.String(600))
    state_since: Mapped[int | None] = mapped_column(sa.BigInteger)
    """Unix seconds of the last change of a proposal's state at this node; what the chain decides
    has heights.
    """
    reported_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    """When the buyer's node reported the end to the provider's, in Unix seconds."""
    provider: Mapped[str] = mapped_column(sa.String(18))
    buyer: Mapped[str] = mapped_column(sa.String(18))
    agreement: Mapped[dict[str, Any]] = mapped_column(JSON)
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    provider_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    buyer_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    proposed_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    opened_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    """Height, as are the next two."""
    notice_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    closed_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    paid: Mapped[int] = mapped_column(Fen, default=0)
    refunded: Mapped[int] = mapped_column(Fen, default=0)


# --- Offers ---------------------------------------------------------------------------------------

_OFFER_ORDER = (OfferRow.asset_id, OfferRow.asset_version)


def offers(session: Session, page: PageRequest) -> Page[OfferRow]:
    """This node's current offers, by asset and version; ``cursor_malformed``."""
    return page_of(session, _current_offers(), _OFFER_ORDER, page, ascending=True)


def matching_offers(
    session: Session, page: PageRequest, matches: Callable[[OfferRow], bool]
) -> Page[OfferRow]:
    """Those of this node's current offers that match; ``cursor_malformed``."""
    return matching_page_of(session, _current_offers(), _OFFER_ORDER, page, matches)


def _current_offers() -> sa.Select[OfferRow]:
    return sa.select(OfferRow).where(OfferRow.withdrawn_at.is_(None))


def find_offer(session: Session, asset_id: bytes, version: int) -> OfferRow | None:
    """The offer for an asset version, withdrawn ones included."""
    return session.get(OfferRow, (asset_id, version))


def store_offer(session: Session, row: OfferRow) -> None:
    """Store an offer in place of an earlier one for the same asset version."""
    session.merge(row)


def seen_offer(session: Session, terms_hash: bytes) -> SeenOfferRow | None:
    """Another member's offer that this node showed to its people."""
    return session.get(SeenOfferRow, terms_hash)


def seen_hashes(session: Session, terms_hashes: Collection[bytes]) -> set[bytes]:
    """Which of these offers this node has stored."""
    query = sa.select(SeenOfferRow.terms_hash)
    return set(session.scalars(query.where(SeenOfferRow.terms_hash.in_(list(terms_hashes)))))


def store_seen_offers(session: Session, rows: Iterable[SeenOfferRow]) -> None:
    """Store other members' offers."""
    for row in rows:
        session.merge(row)


# --- Agreements -----------------------------------------------------------------------------------

_ORDER = (AgreementRow.added, AgreementRow.agreement_id)


def find(session: Session, agreement_id: bytes) -> AgreementRow | None:
    """One agreement."""
    return session.get(AgreementRow, agreement_id)


def get(session: Session, agreement_id: bytes) -> AgreementRow:
    """One agreement that is known to be stored."""
    return session.get_one(AgreementRow, agreement_id)


def add(session: Session, row: AgreementRow) -> None:
    """Store a new agreement."""
    session.add(row)
    session.flush()


def agreements(
    session: Session,
    page: PageRequest,
    *,
    state: str | None = None,
    own: bool = False,
    side: AgreementSide | None = None,
    opened: bool = False,
) -> Page[AgreementRow]:
    """Agreements, the newest first; with ``own`` this organisation's, with ``side`` those it is on
    this side of, with ``opened`` those the chain has opened; ``cursor_malformed``.
    """
    query = sa.select(AgreementRow)
    if state is not None:
        query = query.where(AgreementRow.state == state)
    if own or side is not None:
        query = query.where(OWN)
    if side is not None:
        query = query.where(AgreementRow.side == side)
    if opened:
        query = query.where(AgreementRow.opened_at.is_not(None))
    return page_of(session, query, _ORDER, page)


def latest_of_asset(session: Session, asset_id: bytes, buyer: str) -> AgreementRow | None:
    """A buyer's latest agreement or proposal on an asset, or None."""
    query = sa.select(AgreementRow).where(
        OWN,
        AgreementRow.buyer == buyer,
        AgreementRow.agreement["assetId"].as_string() == "0x" + asset_id.hex(),
    )
    return session.scalars(query.order_by(AgreementRow.added.desc()).limit(1)).first()


def count_by_state(session: Session, side: AgreementSide) -> dict[AgreementStage, int]:
    """The number of one side's agreements in each state."""
    query = sa.select(AgreementRow.state, sa.func.count())
    query = query.where(OWN, AgreementRow.side == side).group_by(AgreementRow.state)
    counted = {AgreementStage(state): count for state, count in session.execute(query)}
    return {state: counted.get(state, 0) for state in AgreementStage}


def opened_by(session: Session, member: str) -> list[bytes]:
    """Ids of the opened agreements that a member is a party of, in the order of their opening."""
    query = sa.select(AgreementRow.agreement_id).where(
        _is_party(member), AgreementRow.opened_at.is_not(None)
    )
    return list(session.scalars(query.order_by(AgreementRow.opened_at)))


def unfinished_of(session: Session, member: str) -> Sequence[AgreementRow]:
    """A member's proposals and agreements that are neither closed nor ended."""
    finished = (AgreementStage.CLOSED, *ENDED)
    query = sa.select(AgreementRow).where(_is_party(member), AgreementRow.state.not_in(finished))
    return session.scalars(query).all()


def provided(session: Session) -> list[bytes]:
    """Ids of the opened agreements that this node provides under."""
    query = _provided().where(AgreementRow.opened_at.is_not(None))
    return list(session.scalars(query))


def bought_from(session: Session, provider: str) -> list[bytes]:
    """Ids of the opened agreements that this node buys under from a provider."""
    query = sa.select(AgreementRow.agreement_id).where(
        AgreementRow.side == AgreementSide.BUYER,
        AgreementRow.provider == provider,
        AgreementRow.opened_at.is_not(None),
    )
    return list(session.scalars(query))


def provided_in_notice(session: Session) -> set[bytes]:
    """Ids of those under which notice was given and which are not closed."""
    return set(session.scalars(_provided().where(AgreementRow.state == AgreementStage.NOTICE)))


def terms_of(session: Session, agreement_ids: Collection[bytes]) -> dict[bytes, Agreement]:
    """The terms of these agreements, as far as they are stored."""
    query = sa.select(AgreementRow.agreement_id, AgreementRow.agreement)
    found = session.execute(query.where(AgreementRow.agreement_id.in_(list(agreement_ids))))
    return {agreement_id: Agreement.from_json(terms) for agreement_id, terms in found}


def bought(session: Session) -> Sequence[AgreementRow]:
    """Proposals and agreements that this node is the buyer of."""
    query = sa.select(AgreementRow).where(AgreementRow.side == AgreementSide.BUYER)
    return session.scalars(query).all()


def pending(session: Session, limit: int) -> Sequence[AgreementRow]:
    """This organisation's pending proposals, the earliest first."""
    query = sa.select(AgreementRow).where(
        AgreementRow.state.in_(PENDING), AgreementRow.side != AgreementSide.OBSERVER
    )
    return session.scalars(query.order_by(AgreementRow.proposed_at).limit(limit)).all()


def unreported_ends(session: Session, limit: int) -> Sequence[AgreementRow]:
    """This buyer's ended proposals whose end its provider does not know."""
    query = sa.select(AgreementRow).where(
        AgreementRow.state.in_((AgreementStage.FAILED, AgreementStage.WITHDRAWN)),
        AgreementRow.side == AgreementSide.BUYER,
        AgreementRow.reported_at.is_(None),
    )
    return session.scalars(query.limit(limit)).all()


def _is_party(member: str) -> sa.ColumnElement[bool]:
    return sa.or_(AgreementRow.provider == member, AgreementRow.buyer == member)


def _provided() -> sa.Select[bytes]:
    return sa.select(AgreementRow.agreement_id).where(AgreementRow.side == AgreementSide.PROVIDER)
