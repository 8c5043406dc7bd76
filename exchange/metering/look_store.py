"""Queries on calls by the subject whose record they asked for."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session, load_only

from exchange.metering.model import CallStatus
from exchange.metering.store import BUYER, GATEWAY, BuyerCallRow, GatewayCallRow
from registry.pages import Page, PageRequest, page_of

_DELIVERED = (CallStatus.SERVED, CallStatus.VOID)
"""What was answered once, also where the payment was voided later."""
_BOUGHT = (
    BuyerCallRow.agreement_id,
    BuyerCallRow.lane,
    BuyerCallRow.seq,
    BuyerCallRow.asked_at,
    BuyerCallRow.status,
    BuyerCallRow.reason,
    BuyerCallRow.query,
    BuyerCallRow.receipt_hash,
)


def served_looks(session: Session, subject: str, page: PageRequest) -> Page[GatewayCallRow]:
    """The calls at this gateway that asked for a subject, the latest first."""
    query = sa.select(GatewayCallRow).where(GatewayCallRow.subject == subject)
    order = (
        GatewayCallRow.at,
        GatewayCallRow.agreement_id,
        GatewayCallRow.lane,
        GatewayCallRow.seq,
    )
    return page_of(session, query, order, page)


def bought_looks(session: Session, subject: str, page: PageRequest) -> Page[BuyerCallRow]:
    """The calls of this buyer that asked for a subject, the latest first; without answers."""
    query = sa.select(BuyerCallRow).options(load_only(*_BOUGHT, raiseload=True))
    order = (
        BuyerCallRow.asked_at,
        BuyerCallRow.agreement_id,
        BuyerCallRow.lane,
        BuyerCallRow.seq,
    )
    return page_of(session, query.where(BuyerCallRow.subject == subject), order, page)


def look_at(session: Session, agreement_id: bytes, lane: int, seq: int) -> GatewayCallRow | None:
    """One call at this gateway."""
    return session.get(GatewayCallRow, (agreement_id, lane, seq))


def bought_at(session: Session, agreement_id: bytes, lane: int, seq: int) -> BuyerCallRow | None:
    """One call of this buyer, without its answer."""
    options = [load_only(*_BOUGHT, raiseload=True)]
    return session.get(BuyerCallRow, (agreement_id, lane, seq), options=options)


def positions(
    session: Session, table: sa.Table, subject: str, agreement_ids: Collection[bytes]
) -> list[tuple[bytes, int, int]]:
    """Agreement, lane and sequence number of the delivered calls that asked for a subject."""
    columns = (table.c.agreement_id, table.c.lane, table.c.seq)
    query = sa.select(*columns).where(
        table.c.subject == subject,
        table.c.status.in_(_DELIVERED),
        table.c.agreement_id.in_(list(agreement_ids)),
    )
    return [(row.agreement_id, row.lane, row.seq) for row in session.execute(query)]


def receipts_about(session: Session, subject: str) -> list[bytes]:
    """Struct hashes of the receipts of a subject's calls at this gateway."""
    return list(
        session.scalars(sa.select(GATEWAY.c.receipt_hash).where(GATEWAY.c.subject == subject))
    )


def lane_counts(
    session: Session, agreement_ids: Collection[bytes]
) -> list[tuple[bytes, int, int, int, int]]:
    """For each used lane of these agreements at this gateway: agreement, lane, stored calls, last
    sequence number, and how many delivered calls name no subject.
    """
    unnamed = sa.case(
        (sa.and_(GATEWAY.c.subject.is_(None), GATEWAY.c.status.in_(_DELIVERED)), 1), else_=0
    )
    query = (
        sa.select(
            GATEWAY.c.agreement_id,
            GATEWAY.c.lane,
            sa.func.count(),
            sa.func.max(GATEWAY.c.seq),
            sa.func.sum(unnamed),
        )
        .where(GATEWAY.c.agreement_id.in_(list(agreement_ids)))
        .group_by(GATEWAY.c.agreement_id, GATEWAY.c.lane)
        .order_by(GATEWAY.c.agreement_id, GATEWAY.c.lane)
    )
    return [tuple(row) for row in session.execute(query)]


BOUGHT, SERVED = BUYER, GATEWAY
"""The tables ``positions`` takes: this buyer's calls, this gateway's."""
