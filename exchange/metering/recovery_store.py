"""The table of agreements under recovery, and the queries of recovery."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.ethereum.eip712 import Statement
from chain.statements.trade import Agreement, ReceiptVoid, UsageReceipt, UsageRequest
from exchange.metering.model import CallStatus, LaneState
from exchange.metering.store import BUYER, GATEWAY
from exchange.usage import service as usage
from exchange.usage.model import CountedCall, Counts

LOST = '{"query":null,"salt":null,"consent":null}'
"""Stored in place of a recovered call's query, which the other side does not have."""


class UnrecoveredAgreementRow(Base):
    """An agreement whose calls may be missing since an old backup was restored: nothing is signed
    under it while this row exists.
    """

    __tablename__ = "exchange_recovery"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    log_size: Mapped[int] = mapped_column(sa.BigInteger)
    """Size of this node's evidence log in the backup; later entries name what was signed since."""
    code: Mapped[str] = mapped_column(sa.String(63))
    """The error code of the last recovery."""


def find(session: Session, agreement_id: bytes) -> UnrecoveredAgreementRow | None:
    """An agreement under recovery."""
    return session.get(UnrecoveredAgreementRow, agreement_id)


def some(session: Session, agreement_ids: Collection[bytes]) -> list[UnrecoveredAgreementRow]:
    """Those of these agreements that are under recovery."""
    query = sa.select(UnrecoveredAgreementRow)
    query = query.where(UnrecoveredAgreementRow.agreement_id.in_(list(agreement_ids)))
    return list(session.scalars(query))


def everything(session: Session) -> list[UnrecoveredAgreementRow]:
    """All agreements under recovery."""
    return list(session.scalars(sa.select(UnrecoveredAgreementRow)))


def add(session: Session, row: UnrecoveredAgreementRow) -> None:
    """Hold an agreement."""
    session.add(row)


def remove(session: Session, row: UnrecoveredAgreementRow) -> None:
    """Release an agreement."""
    session.delete(row)


def request_hashes(session: Session) -> set[bytes]:
    """Struct hashes of the requests this buyer has stored."""
    return set(session.scalars(sa.select(BUYER.c.request_hash)))


def receipt_hashes(session: Session) -> set[bytes]:
    """Struct hashes of the receipts and voids this gateway has stored."""
    voids = session.scalars(sa.select(GATEWAY.c.void).where(GATEWAY.c.void.is_not(None)))
    return set(session.scalars(sa.select(GATEWAY.c.receipt_hash))) | {
        ReceiptVoid.from_json(json.loads(void)).struct_hash() for void in voids
    }


@dataclass(frozen=True, slots=True)
class RecoveredCall:
    """A call that the other side showed, with checked signatures."""

    status: CallStatus
    state: LaneState
    """The lane's state after it."""
    request: UsageRequest
    request_signature: bytes
    receipt: UsageReceipt
    receipt_signature: bytes
    void: ReceiptVoid | None
    void_signature: bytes | None


def put_recovered(
    session: Session, table: sa.Table, agreement: Agreement, call: RecoveredCall, *, asked: bool
) -> None:
    """Store a recovered call; with ``asked`` beside its own request, which keeps its key and its
    query.
    """
    columns = _columns(call)
    if table is GATEWAY:
        added = {"grant_id": agreement.grant_id, "at": call.receipt.issued_at}
        session.execute(sa.insert(GATEWAY).values(**columns, **added))
        usage.record(session, [_counted(agreement, call)])
        return
    if call.void is not None:
        columns |= {"receipt": None, "receipt_signature": None}
    if not asked:
        added = {"query": LOST, "asked_at": call.receipt.issued_at}
        session.execute(sa.insert(BUYER).values(**columns, **added))
        return
    request = call.request
    position = (
        BUYER.c.agreement_id == request.agreement_id,
        BUYER.c.lane == request.lane,
        BUYER.c.seq == request.seq,
    )
    session.execute(sa.update(BUYER).where(*position).values(**columns))


def _counted(agreement: Agreement, call: RecoveredCall) -> CountedCall:
    """A recovered call in the counts; its columns are not known, since its query is lost."""
    served = call.status is CallStatus.SERVED
    return CountedCall(
        agreement_id=call.request.agreement_id,
        asset_id=agreement.asset_id,
        buyer=agreement.buyer,
        columns=(),
        at=call.receipt.issued_at,
        counts=Counts(
            served=int(served),
            refused=int(call.status is CallStatus.REFUSED),
            voided=int(call.status is CallStatus.VOID),
            units=call.receipt.units if served else 0,
            amount=call.receipt.amount if served else 0,
        ),
    )


def _columns(call: RecoveredCall) -> dict[str, Any]:
    return {
        "agreement_id": call.request.agreement_id,
        "lane": call.request.lane,
        "seq": call.state.seq,
        "status": call.status.value,
        "reason": call.receipt.reason if call.void is None else call.void.reason,
        "request": _dumps(call.request),
        "request_hash": call.state.request,
        "request_signature": call.request_signature,
        "receipt": _dumps(call.receipt),
        "receipt_hash": call.state.receipt,
        "receipt_signature": call.receipt_signature,
        "units": call.state.units,
        "amount": call.state.amount,
        "void": None if call.void is None else _dumps(call.void),
        "void_signature": call.void_signature,
    }


def _dumps(statement: Statement) -> str:
    return json.dumps(statement.to_json(), ensure_ascii=False, separators=(",", ":"))
