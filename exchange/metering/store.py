"""Tables of calls: one row for each call at each end, written once (gateway) or twice (buyer)."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, TypedDict, cast

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, load_only, mapped_column

from chain.core.database import Base, PreparedStatement
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from exchange.agreements.model import AgreementSide
from exchange.metering.model import (
    MAX_TEXT,
    AcknowledgedAmount,
    CallStatus,
    ClosingVoucher,
    LaneState,
    SignedAcknowledgement,
    StoredCall,
)
from registry.pages import Page, PageRequest, page_of

_UNKNOWN = sa.text("reason = 'subject_unknown'")


class GatewayCallRow(Base):
    """A call that the gateway served or refused. ``units`` and ``amount`` are the lane's totals
    after it, without voided calls.
    """

    __tablename__ = "exchange_gateway_call"
    __table_args__ = (
        sa.Index(
            "ix_exchange_gateway_call_unknown",
            "grant_id",
            "at",
            sqlite_where=_UNKNOWN,
            postgresql_where=_UNKNOWN,
        ),
        sa.Index("ix_exchange_gateway_call_at", "agreement_id", "at"),
    )
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    status: Mapped[str] = mapped_column(sa.String(8))
    reason: Mapped[str] = mapped_column(sa.String(31))
    request: Mapped[str] = mapped_column(sa.Text)
    """The request as JSON, its hash and signature beside it; likewise the receipt."""
    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    request_signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    receipt: Mapped[str] = mapped_column(sa.Text)
    receipt_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    receipt_signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    grant_id: Mapped[bytes] = mapped_column(LargeBinary(32))
    at: Mapped[int] = mapped_column(sa.BigInteger)
    void: Mapped[str | None] = mapped_column(sa.Text)
    void_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    withdrawal: Mapped[str | None] = mapped_column(sa.Text)
    """The buyer's withdrawal that a receipt of zero units answers."""
    withdrawal_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    subject: Mapped[str | None] = mapped_column(sa.String(MAX_TEXT), index=True)
    """Whose record was asked for; None where the query could not be read or is not here."""
    opening: Mapped[str | None] = mapped_column(sa.Text)
    """``query`` and ``salt`` as JSON: what opens the request's commitment."""


class StoredAnswerRow(Base):
    """The unacknowledged last answer of a lane, byte for byte. The next answer replaces it; a
    closing voucher erases it.
    """

    __tablename__ = "exchange_stored_answer"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    answer: Mapped[str] = mapped_column(sa.Text)


class VoucherRow(Base):
    """A buyer's closing voucher, at both ends; the last one of each lane."""

    __tablename__ = "exchange_voucher"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    voucher: Mapped[str] = mapped_column(sa.Text)
    signature: Mapped[bytes] = mapped_column(LargeBinary(65))


class BuyerCallRow(Base):
    """A call as the buyer sent it, with its answer."""

    __tablename__ = "exchange_buyer_call"
    __table_args__ = (
        sa.UniqueConstraint("idempotency_key"),
        sa.Index("ix_exchange_buyer_call_asked_at", "asked_at"),
        sa.Index("ix_exchange_buyer_call_spent", "agreement_id", "lane", "asked_at", "seq"),
        sa.Index("ix_exchange_buyer_call_listed", "agreement_id", "asked_at", "lane", "seq"),
    )
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    idempotency_key: Mapped[str | None] = mapped_column(sa.String(200))
    status: Mapped[str] = mapped_column(sa.String(8))
    reason: Mapped[str] = mapped_column(sa.String(31), default="")
    request: Mapped[str] = mapped_column(sa.Text)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    request_signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    query: Mapped[str] = mapped_column(sa.Text)
    """``query``, ``salt`` and ``consent`` as JSON."""
    subject: Mapped[str | None] = mapped_column(sa.String(MAX_TEXT), index=True)
    """Whose record was asked for; None for a recovered call, whose query is lost."""
    receipt: Mapped[str | None] = mapped_column(sa.Text)
    receipt_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    receipt_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    answer: Mapped[str | None] = mapped_column(sa.Text)
    """``content`` and ``salt`` as JSON; for a conflict, the answer that contradicts the records."""
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    asked_at: Mapped[int] = mapped_column(sa.BigInteger)
    void: Mapped[str | None] = mapped_column(sa.Text)
    void_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    withdrawal: Mapped[str | None] = mapped_column(sa.Text)
    """The withdrawal this organisation signed; after it nothing else is sent for the position."""
    withdrawal_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    withdrawn_by: Mapped[str | None] = mapped_column(sa.String(8))
    """``caller``, or ``node`` before the lane's next call; only the latter frees the key."""


MAX_LANES = 500
"""Lanes of one query."""

GATEWAY = cast(sa.Table, GatewayCallRow.__table__)
ANSWERS = cast(sa.Table, StoredAnswerRow.__table__)
VOUCHERS = cast(sa.Table, VoucherRow.__table__)
BUYER = cast(sa.Table, BuyerCallRow.__table__)


def last_calls(session: Session, table: sa.Table, agreement_id: bytes) -> dict[int, sa.Row[Any]]:
    """The last row of every lane of an agreement, by one index look-up for each lane."""
    here = table.c.agreement_id == agreement_id
    used = (
        sa.select(sa.func.min(table.c.lane).label("lane")).where(here).cte("used", recursive=True)
    )
    following = sa.select(sa.func.min(table.c.lane)).where(here, table.c.lane > used.c.lane)
    after = sa.select(following.correlate(used).scalar_subquery()).where(used.c.lane.is_not(None))
    used = used.union_all(after)
    last = sa.select(sa.func.max(table.c.seq)).where(here, table.c.lane == used.c.lane)
    ends = sa.select(used.c.lane, last.correlate(used).scalar_subquery().label("seq")).subquery()
    query = sa.select(table).join(
        ends, sa.and_(here, table.c.lane == ends.c.lane, table.c.seq == ends.c.seq)
    )
    return {row.lane: row for row in session.execute(query)}


def last_requests(session: Session, agreement_id: bytes) -> list[SignedAcknowledgement]:
    """The last request of each lane at the gateway, by what it acknowledges."""
    found = []
    for lane, row in last_calls(session, GATEWAY, agreement_id).items():
        request = UsageRequest.from_json(json.loads(row.request))
        acknowledged = AcknowledgedAmount(
            lane, request.seq - 1, request.acknowledged_units, request.acknowledged_amount
        )
        found.append(SignedAcknowledgement(acknowledged, request, row.request_signature))
    return found


def last_totals(session: Session, agreement_ids: Collection[bytes]) -> list[tuple[bytes, int, int]]:
    """Agreement, units and fen of each used lane by the buyer's last call, by index look-ups."""
    found: list[tuple[bytes, int, int]] = []
    ids = list(agreement_ids)
    for start in range(0, len(ids), MAX_LANES):
        rows = session.execute(_last_totals(ids[start : start + MAX_LANES]))
        found += [(row.agreement_id, row.units, row.amount) for row in rows]
    return found


def _last_totals(agreement_ids: Sequence[bytes]) -> sa.Select[Any]:
    """The last row of every lane of some agreements: from lane to lane, then to its end."""
    call = BUYER.alias("call")
    wanted = (
        sa.values(sa.column("agreement_id", LargeBinary(32)), name="wanted")
        .data([(agreement_id,) for agreement_id in agreement_ids])
        .cte("wanted")
    )
    lanes, ends = sa.func.min(call.c.lane), sa.func.max(call.c.seq)
    first = sa.select(lanes).where(call.c.agreement_id == wanted.c.agreement_id)
    used = sa.select(
        wanted.c.agreement_id, first.correlate(wanted).scalar_subquery().label("lane")
    ).cte("used", recursive=True)
    of_agreement = call.c.agreement_id == used.c.agreement_id
    following = sa.select(lanes).where(of_agreement, call.c.lane > used.c.lane)
    used = used.union_all(
        sa.select(used.c.agreement_id, following.correlate(used).scalar_subquery()).where(
            used.c.lane.is_not(None)
        )
    )
    of_agreement = call.c.agreement_id == used.c.agreement_id
    last = sa.select(ends).where(of_agreement, call.c.lane == used.c.lane)
    place = sa.select(
        used.c.agreement_id, used.c.lane, last.correlate(used).scalar_subquery().label("seq")
    ).subquery()
    return sa.select(BUYER.c.agreement_id, BUYER.c.units, BUYER.c.amount).join(
        place,
        sa.and_(
            BUYER.c.agreement_id == place.c.agreement_id,
            BUYER.c.lane == place.c.lane,
            BUYER.c.seq == place.c.seq,
        ),
    )


def totals_before(
    session: Session, lanes: Sequence[tuple[bytes, int]], times: Sequence[int]
) -> list[tuple[int, bytes, int, int]]:
    """Time, agreement, units and fen of each lane that was used before some times, by the buyer's
    last call asked before them; one index look-up for each lane and time.
    """
    found: list[tuple[int, bytes, int, int]] = []
    for start in range(0, len(lanes), MAX_LANES):
        rows = session.execute(_totals_before(lanes[start : start + MAX_LANES], times))
        found += [(row.at, row.agreement_id, row.units, row.amount) for row in rows]
    return found


def _totals_before(
    lanes: Sequence[tuple[bytes, int]], times: Sequence[int]
) -> sa.Select[tuple[Any, ...]]:
    """The lanes come as a table of their own: SQLite finds no row of a list of several columns by
    an index.
    """
    last = BUYER.alias("last")
    wanted = (
        sa.values(
            sa.column("agreement_id", LargeBinary(32)), sa.column("lane", sa.Integer), name="wanted"
        )
        .data(list(lanes))
        .cte("wanted")
    )
    moments = (
        sa.values(sa.column("at", sa.BigInteger), name="moments")
        .data([(at,) for at in times])
        .cte("moments")
    )
    newest = (
        sa.select(last.c.seq)
        .where(
            last.c.agreement_id == wanted.c.agreement_id,
            last.c.lane == wanted.c.lane,
            last.c.asked_at < moments.c.at,
        )
        .order_by(last.c.asked_at.desc(), last.c.seq.desc())
        .limit(1)
        .correlate(wanted, moments)
        .scalar_subquery()
    )
    each = wanted.join(moments, sa.true())
    ends = sa.select(wanted, moments.c.at, newest.label("seq")).select_from(each).subquery()
    return sa.select(ends.c.at, BUYER.c.agreement_id, BUYER.c.units, BUYER.c.amount).join(
        ends,
        sa.and_(
            BUYER.c.agreement_id == ends.c.agreement_id,
            BUYER.c.lane == ends.c.lane,
            BUYER.c.seq == ends.c.seq,
        ),
    )


def lane_state_of(row: sa.Row[Any]) -> LaneState:
    """The lane's state after a completed row."""
    return LaneState(row.seq, row.units, row.amount, row.receipt_hash, row.request_hash)


def unknown_subject_times(
    session: Session, grant_id: bytes, *, since: int, limit: int
) -> list[int]:
    """When the latest refusals with ``subject_unknown`` under a grant were, in Unix seconds."""
    query = sa.select(GATEWAY.c.at).where(
        GATEWAY.c.grant_id == grant_id, _UNKNOWN, GATEWAY.c.at > since
    )
    return list(session.scalars(query.order_by(GATEWAY.c.at.desc()).limit(limit)))


def unknown_subjects_by_grant(session: Session, *, since: int) -> list[Any]:
    """Grants with such refusals: ``grant_id``, their number, the time of the latest."""
    columns = (
        GATEWAY.c.grant_id,
        sa.func.count().label("refusals"),
        sa.func.max(GATEWAY.c.at).label("last_at"),
    )
    query = sa.select(*columns).where(_UNKNOWN, GATEWAY.c.at > since).group_by(GATEWAY.c.grant_id)
    return list(session.execute(query))


CALL_ORDER = (BuyerCallRow.asked_at, BuyerCallRow.agreement_id, BuyerCallRow.lane, BuyerCallRow.seq)
"""The order of the buyer's calls."""
_LISTED = (
    *CALL_ORDER,
    BuyerCallRow.idempotency_key,
    BuyerCallRow.status,
    BuyerCallRow.reason,
    BuyerCallRow.withdrawal,
)


def calls(
    session: Session, page: PageRequest, *, agreement_id: bytes | None, status: str | None
) -> Page[BuyerCallRow]:
    """The buyer's calls as lists show them: queries and answers, which can be large,
    are left out.
    """
    query = sa.select(BuyerCallRow).options(load_only(*_LISTED, raiseload=True))
    if agreement_id is not None:
        query = query.where(BuyerCallRow.agreement_id == agreement_id)
    if status is not None:
        query = query.where(BuyerCallRow.status == status)
    return page_of(session, query, CALL_ORDER, page)


def call_at(
    session: Session, table: sa.Table, agreement_id: bytes, lane: int, seq: int
) -> sa.Row[Any] | None:
    """The row at one position."""
    return session.execute(
        sa.select(table).where(
            table.c.agreement_id == agreement_id, table.c.lane == lane, table.c.seq == seq
        )
    ).one_or_none()


def stored_call(row: sa.Row[Any]) -> StoredCall:
    """The call of a row of either side."""
    return StoredCall(
        lane=row.lane,
        seq=row.seq,
        status=CallStatus(row.status),
        request=UsageRequest.from_json(json.loads(row.request)),
        request_signature=row.request_signature,
        receipt=None if row.receipt is None else UsageReceipt.from_json(json.loads(row.receipt)),
        receipt_signature=row.receipt_signature or b"",
        void=None if row.void is None else ReceiptVoid.from_json(json.loads(row.void)),
        void_signature=row.void_signature or b"",
        units=row.units,
        amount=row.amount,
    )


def calls_table(side: AgreementSide) -> sa.Table:
    """The calls of the provider's gateway, or of the buyer."""
    return GATEWAY if side == AgreementSide.PROVIDER else BUYER


def lane_calls(
    session: Session,
    table: sa.Table,
    agreement_id: bytes,
    lane: int,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[StoredCall]:
    """The completed calls of a lane after a position, in order."""
    outstanding = (CallStatus.ASKED, CallStatus.CONFLICT)
    query = sa.select(table).where(
        table.c.agreement_id == agreement_id,
        table.c.lane == lane,
        table.c.seq > after,
        table.c.status.not_in(outstanding),
    )
    found = session.execute(query.order_by(table.c.seq).limit(limit))
    return [stored_call(row) for row in found]


def lane_page(
    session: Session, page: PageRequest, agreement_id: bytes, lane: int
) -> Page[GatewayCallRow]:
    """The gateway's calls of a lane, the latest first; ``cursor_malformed``."""
    query = sa.select(GatewayCallRow).where(
        GatewayCallRow.agreement_id == agreement_id, GatewayCallRow.lane == lane
    )
    return page_of(session, query, (GatewayCallRow.seq,), page)


def gateway_page(
    session: Session, page: PageRequest, agreement_id: bytes, *, since: int, until: int
) -> Page[GatewayCallRow]:
    """The gateway's calls under an agreement within a period, the latest first;
    ``cursor_malformed``.
    """
    query = sa.select(GatewayCallRow).where(
        GatewayCallRow.agreement_id == agreement_id,
        GatewayCallRow.at >= since,
        GatewayCallRow.at < until,
    )
    order = (GatewayCallRow.at, GatewayCallRow.lane, GatewayCallRow.seq)
    return page_of(session, query, order, page)


def status_counts(
    session: Session, table: sa.Table, agreement_id: bytes
) -> dict[int, dict[CallStatus, int]]:
    """The number of calls by lane and status."""
    query = sa.select(table.c.lane, table.c.status, sa.func.count())
    query = query.where(table.c.agreement_id == agreement_id)
    found: dict[int, dict[CallStatus, int]] = {}
    for lane, status, count in session.execute(query.group_by(table.c.lane, table.c.status)):
        found.setdefault(lane, {})[CallStatus(status)] = count
    return found


class AnswerColumns(TypedDict):
    """The columns of a lane's last answer."""

    agreement_id: bytes
    lane: int
    seq: int
    answer: str


def store_answers(session: Session, rows: Sequence[AnswerColumns]) -> None:
    """Replace the lanes' last answers."""
    (
        _STORE_POSTGRESQL if session.get_bind().dialect.name == "postgresql" else _STORE_SQLITE
    ).execute(session, rows)


def _upsert(insert: Any) -> PreparedStatement:
    values = {"seq": insert.excluded.seq, "answer": insert.excluded.answer}
    return PreparedStatement(
        insert.on_conflict_do_update(index_elements=["agreement_id", "lane"], set_=values)
    )


_STORE_POSTGRESQL = _upsert(postgresql.insert(ANSWERS))
_STORE_SQLITE = _upsert(sqlite.insert(ANSWERS))


def erase_answers(session: Session, agreement_id: bytes, lane: int | None = None) -> None:
    """Erase the stored answer of a lane, or of every lane of an agreement."""
    here = [ANSWERS.c.agreement_id == agreement_id]
    if lane is not None:
        here.append(ANSWERS.c.lane == lane)
    session.execute(sa.delete(ANSWERS).where(*here))


def store_voucher(session: Session, signed: ClosingVoucher) -> None:
    """Replace a lane's closing voucher."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(VOUCHERS)
    stored = {
        name: statement.excluded[name]
        for name in ("seq", "units", "amount", "voucher", "signature")
    }
    session.execute(
        statement.on_conflict_do_update(index_elements=["agreement_id", "lane"], set_=stored),
        [_voucher_row(signed)],
    )


def vouchers(session: Session, agreement_id: bytes) -> dict[int, ClosingVoucher]:
    """The closing vouchers of an agreement's lanes."""
    query = sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id)
    return {row.lane: _signed_voucher(row) for row in session.execute(query)}


def voucher_of(session: Session, agreement_id: bytes, lane: int) -> ClosingVoucher | None:
    """A lane's closing voucher."""
    query = sa.select(VOUCHERS)
    query = query.where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)
    row = session.execute(query).one_or_none()
    return None if row is None else _signed_voucher(row)


def _signed_voucher(row: sa.Row[Any]) -> ClosingVoucher:
    return ClosingVoucher(Voucher.from_json(json.loads(row.voucher)), row.signature)


def _voucher_row(signed: ClosingVoucher) -> dict[str, Any]:
    voucher = signed.voucher
    return {
        "agreement_id": voucher.agreement_id,
        "lane": voucher.lane,
        "seq": voucher.seq,
        "units": voucher.acknowledged_units,
        "amount": voucher.acknowledged_amount,
        "voucher": json.dumps(voucher.to_json(), separators=(",", ":")),
        "signature": signed.signature,
    }
