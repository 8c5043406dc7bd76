"""Recovers lost calls from the other side of an agreement, and presents to it those it lost.

Each side stores what the other signed, so either can present a lane call by call: the request under
the buyer's key and the receipt under the provider's, each naming the one before it. The recovering
side repeats the checks of the original call (``rules.replayed``) and stores the calls; the lane
continues after the last one. Answers are not recovered: the buyer had them, the provider erased
them.

The other side could present too little, so that a position is signed twice. This node's evidence
log, which is recovered first, names all it signed: every entry of a request, receipt or void must
match a stored call. While an entry is unmatched, or a party does not answer or fails a check,
nothing is signed under the agreements it may belong to (``agreement_unrecovered``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.crypto import keccak256, recover
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError, Unavailable
from chain.ethereum.eip712 import Statement, domain_separator
from chain.ethereum.proved_records import lane_record
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from exchange.agreements import recovery as agreement_recovery
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import totals
from exchange.closing.recovery import recover_final
from exchange.metering import rules
from exchange.metering.model import CallStatus, ClosingVoucher, LaneState
from exchange.metering.store import (
    BUYER,
    GATEWAY,
    UnrecoveredAgreementRow,
    call_at,
    lane_state_of,
    last_calls,
    store_voucher,
    voucher_of,
)
from registry import fanout
from registry.evidence.log import append_if_missing, entries_since
from registry.grants import service as grants

CONTRACT = "TradeSettlement"
MAX_POSITIONS = 200
AGREEMENT_SECONDS = 300.0
"""Time limit for one agreement's recovery; a later recovery continues from what was stored."""
LOST = '{"query":null,"salt":null,"consent":null}'
"""Stored in place of a recovered call's query, which the other side does not have."""
_SIGNED_BY: dict[AgreementSide, tuple[str, ...]] = {
    AgreementSide.BUYER: ("UsageRequest",),
    AgreementSide.PROVIDER: ("UsageReceipt", "ReceiptVoid", "FinalSettlement"),
}


# --- At the presenting side -----------------------------------------------------------------------


def positions(
    context: Context, caller: str, agreement_id: bytes, lane: int, after: int
) -> dict[str, Any]:
    """Completed calls of a lane after one position, at most ``MAX_POSITIONS``, and the lane's
    closing voucher; only for the other party.
    """
    signed = agreements.load(context, agreement_id)
    if signed.side == AgreementSide.OBSERVER or caller not in (
        signed.agreement.provider,
        signed.agreement.buyer,
    ):
        raise Forbidden("not_party", "A lane's positions are for the agreement's parties.")
    table = _table(signed.side)
    here = (table.c.agreement_id == agreement_id, table.c.lane == lane)
    query = sa.select(table).where(
        *here, table.c.seq > after, table.c.status.not_in((CallStatus.ASKED, CallStatus.CONFLICT))
    )
    with context.database.read() as session:
        rows = session.execute(query.order_by(table.c.seq).limit(MAX_POSITIONS)).all()
        voucher = voucher_of(session, agreement_id, lane)
    return {
        "positions": [_shown(row) for row in rows],
        "voucher": None
        if voucher is None
        else {"statement": voucher.voucher.to_json(), "signature": "0x" + voucher.signature.hex()},
    }


def _shown(row: Any) -> dict[str, Any]:
    return {
        "request": _statement(row.request, row.request_signature),
        "receipt": None if row.receipt is None else _statement(row.receipt, row.receipt_signature),
        "void": None if row.void is None else _statement(row.void, row.void_signature),
    }


def _statement(text: str, signature: bytes) -> dict[str, Any]:
    return {"statement": json.loads(text), "signature": "0x" + signature.hex()}


# --- At the recovering side -----------------------------------------------------------------------


def require_recovered(session: Session, agreement_id: bytes) -> None:
    """Nothing is signed under an agreement that may lack calls: ``agreement_unrecovered``."""
    row = session.get(UnrecoveredAgreementRow, agreement_id)
    if row is not None:
        raise Unavailable(
            "agreement_unrecovered",
            "Positions of this agreement may have been lost; nothing is signed under it.",
            hint="Stop the node and run `qiaolian node recover` again, or "
            "give notice and open a new agreement.",
            cause=row.code,
        )


def held(context: Context, agreement_ids: Sequence[bytes]) -> dict[bytes, str]:
    """Which of some agreements are held, with the error code of their last recovery."""
    query = sa.select(UnrecoveredAgreementRow).where(
        UnrecoveredAgreementRow.agreement_id.in_(agreement_ids)
    )
    with context.database.read() as session:
        return {row.agreement_id: row.code for row in session.scalars(query)}


def hold(session: Session, context: Context, log_size: int) -> None:
    """Hold every agreement of this member until its calls are recovered, in the transaction that
    restores the log's entries.
    """
    for agreement_id in agreement_recovery.of_member(session, context.member):
        if session.get(UnrecoveredAgreementRow, agreement_id) is None:
            session.add(
                UnrecoveredAgreementRow(
                    agreement_id=agreement_id, log_size=log_size, code="not_asked"
                )
            )


@dataclass(frozen=True)
class AgreementRecovery:
    """The result of recovering one agreement."""

    agreement_id: bytes
    positions: int
    """Number of recovered calls."""
    refusal: QiaolianError | None = None
    """Why it remains held."""


async def recover_all(context: Context) -> list[AgreementRecovery]:
    """Recover the lost calls of each of this member's agreements from its other side, and release
    the complete ones.
    """
    own = await context.database.aread(
        lambda session: agreement_recovery.of_member(session, context.member)
    )
    reported = await fanout.for_each(
        own, lambda agreement_id: _recover(context, agreement_id), seconds=AGREEMENT_SECONDS
    )
    outcomes = [
        AgreementRecovery(agreement_id, 0, outcome)
        if isinstance(outcome, QiaolianError)
        else outcome
        for agreement_id, outcome in reported.items()
    ]
    return await context.database.awrite(lambda session: _released(session, context, outcomes))


async def _recover(context: Context, agreement_id: bytes) -> AgreementRecovery:
    taken = 0
    try:
        signed = await agreement_recovery.recover(context, agreement_id)
        await grants.recover_scope(context, signed.agreement.grant_id)
        for lane in range(signed.agreement.lanes):
            taken += await _LaneRecovery(context, signed, lane).recover()
        await recover_final(context, signed)
    except QiaolianError as error:
        return AgreementRecovery(agreement_id, taken, error)
    return AgreementRecovery(agreement_id, taken)


def _released(
    session: Session, context: Context, outcomes: Sequence[AgreementRecovery]
) -> list[AgreementRecovery]:
    """Release recovered agreements; a side with an unmatched entry holds all of its."""
    sides = {
        outcome.agreement_id: agreement_recovery.side_of(
            session, context.member, outcome.agreement_id
        )
        for outcome in outcomes
    }
    held = {row.agreement_id: row for row in session.scalars(sa.select(UnrecoveredAgreementRow))}
    unmatched = (
        {side: _unmatched(session, context, side, held.values()) for side in _SIGNED_BY}
        if held
        else {}
    )
    reported = []
    for outcome in outcomes:
        row, count = held.get(outcome.agreement_id), unmatched.get(sides[outcome.agreement_id], 0)
        if row is not None and outcome.refusal is None and count:
            outcome = AgreementRecovery(outcome.agreement_id, outcome.positions, _missing(count))
        if row is not None and outcome.refusal is None:
            session.delete(row)
        elif row is not None and outcome.refusal is not None:
            row.code = outcome.refusal.code[:63]
        reported.append(outcome)
    return reported


def _missing(count: int) -> Conflict:
    return Conflict(
        "positions_missing",
        f"This node's log names {count} requests or receipts of its own that nobody has shown; "
        "they may belong to any of its agreements.",
        hint="Recover again when every party answers; else give notice and open a new agreement.",
        count=count,
    )


def _unmatched(session: Session, context: Context, side: AgreementSide, held: Any) -> int:
    """Number of statements in the log since the backup that match no stored call."""
    start = min(row.log_size for row in held)
    recorded = {
        digest for kind, digest in entries_since(session, start) if kind in _SIGNED_BY[side]
    }
    if not recorded:
        return 0
    digest = _digester(context)
    if side == AgreementSide.BUYER:
        known = {digest(item) for item in session.scalars(sa.select(BUYER.c.request_hash))}
    else:
        known = {digest(item) for item in session.scalars(sa.select(GATEWAY.c.receipt_hash))}
        voids = session.scalars(sa.select(GATEWAY.c.void).where(GATEWAY.c.void.is_not(None)))
        known |= {digest(value) for value in totals.settlement_hashes(session)}
        known |= {
            digest(ReceiptVoid.from_json(json.loads(void)).struct_hash())
            for void in voids
            if void is not None
        }
    return len(recorded - known)


class _LaneRecovery:
    """Recovers one lane of an agreement, page by page."""

    def __init__(self, context: Context, signed: SignedAgreement, lane: int) -> None:
        self._context = context
        self._agreement = signed.agreement
        self._id = signed.agreement_id
        self._lane = lane
        self._table = _table(signed.side)
        self._other = (
            signed.agreement.provider
            if signed.side == AgreementSide.BUYER
            else signed.agreement.buyer
        )
        self._digest = _digester(context)

    async def recover(self) -> int:
        """Store the calls that the other side presents after this side's state; returns how many.

        Raises:
            Conflict: what ``rules.replayed`` raises, ``wrong_signer``, ``lane_halted``,
                ``lane_history_short`` (less than the chain has paid for); BadInput:
                ``history_malformed``; Unavailable: when the other side cannot be asked.
        """
        taken = 0
        head, waiting = await asyncio.to_thread(self._stand)
        while True:
            lane = f"lane={self._lane}&after={head.seq}"
            path = f"/v1/peer/agreements/0x{self._id.hex()}/positions?{lane}"
            shown, voucher = self._read(await self._context.peers.get(self._other, path))
            last = len(shown) < MAX_POSITIONS
            rows: list[dict[str, Any]] = []
            for position, item in enumerate(shown):
                before, head = head, self._checked(head, item, rows)
                if waiting is not None and position == 0 and waiting.request_hash != head.request:
                    raise Conflict(
                        "position_taken",
                        "The other side shows another request for a "
                        "position than the one stored here.",
                        seq=head.seq,
                    )
                if (
                    waiting is not None
                    and position == 0
                    and last
                    and len(shown) == 1
                    and voucher is None
                ):
                    # The lane's last position, requested and unanswered here: a repetition
                    # brings the answer.
                    rows, head = [], before
            await self._context.database.awrite(self._storing(rows, waiting))
            taken, waiting = taken + len(rows), None
            if last:
                break
        await self._close(head, voucher)
        return taken

    def _stand(self) -> tuple[LaneState, Any]:
        """This side's lane state, and its own request without an answer."""
        with self._context.database.read() as session:
            row = last_calls(session, self._table, self._id).get(self._lane)
            if row is None:
                return LaneState(), None
            if row.status not in (CallStatus.ASKED, CallStatus.CONFLICT):
                return lane_state_of(row), None
            before = call_at(session, self._table, self._id, self._lane, row.seq - 1)
        if row.status == CallStatus.CONFLICT:
            raise Conflict(
                "lane_halted",
                "The other side's answers contradict this node's records of a lane.",
                hint="Ask the arbiter.",
            )
        return LaneState() if before is None else lane_state_of(before), row

    def _read(self, answer: Any) -> tuple[list[dict[str, Any]], Any]:
        shown = answer.get("positions") if isinstance(answer, dict) else None
        if (
            not isinstance(shown, list)
            or len(shown) > MAX_POSITIONS
            or not all(isinstance(item, dict) for item in shown)
        ):
            raise _malformed()
        return shown, answer.get("voucher")

    def _checked(
        self, head: LaneState, shown: dict[str, Any], rows: list[dict[str, Any]]
    ) -> LaneState:
        """One position: both signatures, the rules; its row joins ``rows``. The head after it."""
        buyer, provider = self._agreement.buyer_key, self._agreement.provider_key
        request, request_signature = self._signed(UsageRequest, shown.get("request"), buyer)
        receipt, receipt_signature = self._signed(UsageReceipt, shown.get("receipt"), provider)
        void, void_signature = self._signed(ReceiptVoid, shown.get("void"), provider)
        if request is None or (request.agreement_id, request.lane) != (self._id, self._lane):
            raise Conflict("receipt_of_other", "What is shown belongs to another lane.")
        status, after = rules.replayed(self._agreement, head, request, receipt, void)
        assert receipt is not None
        row = {
            "agreement_id": self._id,
            "lane": self._lane,
            "seq": after.seq,
            "status": status.value,
            "reason": void.reason if void is not None else receipt.reason,
            "request": _dumps(request),
            "request_hash": after.request,
            "request_signature": request_signature,
            "receipt": _dumps(receipt),
            "receipt_hash": after.receipt,
            "receipt_signature": receipt_signature,
            "units": after.units,
            "amount": after.amount,
            "void": None if void is None else _dumps(void),
            "void_signature": void_signature,
        }
        if self._table is GATEWAY:
            row |= {"grant_id": self._agreement.grant_id, "at": receipt.issued_at}
        else:
            row |= {"query": LOST, "asked_at": receipt.issued_at}
            if void is not None:
                row |= {"receipt": None, "receipt_signature": None}
        rows.append(row)
        return after

    def _signed(self, kind: type[Statement], shown: Any, key: str) -> tuple[Any, bytes | None]:
        if shown is None:
            return None, None
        try:
            statement, signature = (
                kind.from_json(shown["statement"]),
                schema.signature(shown["signature"]),
            )
        except (QiaolianError, KeyError, TypeError, ValueError) as error:
            raise _malformed() from error
        if recover(self._digest(statement.struct_hash()), signature) != key:
            raise Conflict(
                "wrong_signer",
                "What is shown of a lane is not signed by the key the agreement pins.",
            )
        return statement, signature

    def _storing(self, rows: Sequence[dict[str, Any]], waiting: Any) -> Callable[[Session], None]:
        """The recovered positions; the one that was requested here keeps its key and query."""
        table, now, here = (
            self._table,
            self._context.now(),
            (self._table.c.agreement_id == self._id, self._table.c.lane == self._lane),
        )

        def change(session: Session) -> None:
            for row in rows:
                if waiting is not None and row["seq"] == waiting.seq:
                    stored = {
                        name: value
                        for name, value in row.items()
                        if name not in ("query", "asked_at")
                    }
                    session.execute(
                        sa.update(table).where(*here, table.c.seq == waiting.seq).values(**stored)
                    )
                else:
                    session.execute(sa.insert(table).values(**row))
                for kind, struct_hash in self._own(row):
                    append_if_missing(session, kind=kind, digest=self._digest(struct_hash), at=now)

        return change

    def _own(self, row: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The entries of this side's log for a position."""
        if self._table is BUYER:
            yield "UsageRequest", row["request_hash"]
            return
        yield "UsageReceipt", row["receipt_hash"]
        if row["void"] is not None:
            yield "ReceiptVoid", ReceiptVoid.from_json(json.loads(row["void"])).struct_hash()

    async def _close(self, head: LaneState, shown: Any) -> None:
        """The closing voucher, if it fits a position on record; and the chain's count, which no
        history may fall short of.
        """
        voucher, signature = self._signed(Voucher, shown, self._agreement.buyer_key)
        if voucher is not None and signature is not None:
            await self._context.database.awrite(
                lambda session: self._keep(session, voucher, signature)
            )
        records = await self._context.view.aproved([lane_record(self._id, self._lane)])
        claimed = records.lane(self._id, self._lane)
        if claimed.seq > head.seq or claimed.amount > head.amount:
            raise Conflict(
                "lane_history_short",
                f"The chain has paid for positions of a lane up to {claimed.seq}; the other side "
                f"shows them up to {head.seq}.",
                hint="Ask it again; else give notice and open a new agreement.",
                lane=self._lane,
            )

    def _keep(self, session: Session, voucher: Voucher, signature: bytes) -> None:
        row = call_at(session, self._table, self._id, self._lane, voucher.seq)
        recorded = (
            voucher.agreement_id,
            voucher.lane,
            voucher.acknowledged_units,
            voucher.acknowledged_amount,
            voucher.receipt,
        )
        if row is None or recorded != (
            self._id,
            self._lane,
            row.units,
            row.amount,
            row.receipt_hash,
        ):
            raise Conflict(
                "acknowledgement_differs",
                "A closing voucher does not acknowledge what the lane's positions say.",
            )
        mine = voucher_of(session, self._id, self._lane)
        if mine is None or mine.voucher.seq < voucher.seq:
            store_voucher(session, ClosingVoucher(voucher, signature))
            append_if_missing(
                session,
                kind="Voucher",
                digest=self._digest(voucher.struct_hash()),
                at=self._context.now(),
            )


def _table(side: AgreementSide) -> sa.Table:
    return GATEWAY if side == AgreementSide.PROVIDER else BUYER


def _digester(context: Context) -> Callable[[bytes], bytes]:
    """What is signed of a struct hash of the settlement contract's statements."""
    separator = domain_separator(context.domain(CONTRACT))
    return lambda struct_hash: keccak256(b"\x19\x01" + separator + struct_hash)


def _malformed() -> BadInput:
    return BadInput("history_malformed", "What the other side shows of a lane cannot be read.")


def _dumps(statement: Statement) -> str:
    return json.dumps(statement.to_json(), ensure_ascii=False, separators=(",", ":"))


__all__ = ["AgreementRecovery", "hold", "positions", "recover_all", "require_recovered"]
