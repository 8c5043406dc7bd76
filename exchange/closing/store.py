"""The table of final totals, at both ends."""

from __future__ import annotations

import json
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.statements.trade import FinalSettlement
from exchange.closing.model import FinalState, StoredSettlement


class FinalSettlementRow(Base):
    """The final totals of an agreement with the signatures so far; one for each agreement."""

    __tablename__ = "exchange_final_settlement"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(8))
    reason: Mapped[str] = mapped_column(sa.String(63))
    """Why the provider did not sign: a code."""
    settlement: Mapped[str] = mapped_column(sa.Text)
    settlement_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    buyer_signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    provider_signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))
    at: Mapped[int] = mapped_column(sa.BigInteger)


def find(session: Session, agreement_id: bytes) -> StoredSettlement | None:
    """An agreement's final totals; None if nobody has signed any."""
    row = session.get(FinalSettlementRow, agreement_id)
    return None if row is None else _stored(row)


def some(session: Session, agreement_ids: Collection[bytes]) -> list[StoredSettlement]:
    """The final totals of these agreements, as far as there are any."""
    query = sa.select(FinalSettlementRow)
    query = query.where(FinalSettlementRow.agreement_id.in_(list(agreement_ids)))
    return [_stored(row) for row in session.scalars(query)]


def proposed(session: Session) -> list[bytes]:
    """The agreements whose totals wait for the provider's answer."""
    query = sa.select(FinalSettlementRow.agreement_id)
    return list(session.scalars(query.where(FinalSettlementRow.state == FinalState.PROPOSED)))


def hashes(session: Session) -> list[bytes]:
    """The struct hashes of all stored totals."""
    return list(session.scalars(sa.select(FinalSettlementRow.settlement_hash)))


def put(session: Session, stored: StoredSettlement) -> None:
    """Store an agreement's final totals in place of earlier ones."""
    session.merge(
        FinalSettlementRow(
            agreement_id=stored.agreement_id,
            state=stored.state,
            reason=stored.reason[:63],
            settlement=json.dumps(stored.settlement.to_json()),
            settlement_hash=stored.settlement.struct_hash(),
            buyer_signature=stored.buyer_signature,
            provider_signature=stored.provider_signature,
            at=stored.at,
        )
    )


def _stored(row: FinalSettlementRow) -> StoredSettlement:
    return StoredSettlement(
        settlement=FinalSettlement.from_json(json.loads(row.settlement)),
        state=FinalState(row.state),
        buyer_signature=row.buyer_signature,
        provider_signature=row.provider_signature,
        at=row.at,
        reason=row.reason,
    )
