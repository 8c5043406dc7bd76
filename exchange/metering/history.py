"""A lane's history between its two sides: shown to the one that lost it, checked call by call, and
stored.

The recovering side repeats the checks of the original call (``rules.replayed``); the lane continues
after the last one. Answers are not recovered: the buyer had them, the provider erased them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, Forbidden
from chain.ethereum.eip712 import Statement
from chain.ethereum.proved_records import lane_record
from chain.statements.trade import Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.metering import peers, records, rules, store
from exchange.metering.digests import settlement_digest
from exchange.metering.model import (
    RECEIVED_RECEIPT,
    CallStatus,
    ClosingVoucher,
    LaneState,
    StoredCall,
)
from exchange.metering.peers import Shown, ShownLane, ShownPosition
from exchange.metering.recovery_store import RecoveredCall, put_recovered
from registry.evidence.log import append_if_missing

CONTRACT = "TradeSettlement"
S = TypeVar("S", bound=Statement)


def positions(
    context: Context, caller: str, agreement_id: bytes, lane: int, after: int
) -> tuple[Sequence[StoredCall], ClosingVoucher | None]:
    """Completed calls of a lane after one position, at most ``peers.MAX_POSITIONS``, and the lane's
    closing voucher; ``not_party`` for anybody but the other party.
    """
    signed = agreements.load(context, agreement_id)
    if signed.side == AgreementSide.OBSERVER or caller not in (
        signed.agreement.provider,
        signed.agreement.buyer,
    ):
        raise Forbidden("not_party", "A lane's positions are for the agreement's parties.")
    calls = records.lane_calls(
        context, signed.side, agreement_id, lane, after=after, limit=peers.MAX_POSITIONS
    )
    return calls, records.voucher_of(context, agreement_id, lane)


class LaneRecovery:
    """Recovers one lane of an agreement, page by page."""

    def __init__(self, context: Context, signed: SignedAgreement, lane: int) -> None:
        self._context = context
        self._agreement = signed.agreement
        self._id = signed.agreement_id
        self._lane = lane
        self._side = signed.side
        self._table = store.calls_table(signed.side)
        self._other = (
            signed.agreement.provider
            if signed.side == AgreementSide.BUYER
            else signed.agreement.buyer
        )
        self._digest = settlement_digest(context)

    async def recover(self) -> int:
        """Store the calls that the other side presents after this side's state; returns how many.

        Raises:
            Conflict: what ``rules.replayed`` raises, ``lane_halted``, ``answer_wrong_signer``,
                ``lane_history_short`` (less than the chain has paid for); BadInput:
                ``history_malformed``; Unavailable: when the other side cannot be asked.
        """
        taken = 0
        state, asked = await asyncio.to_thread(self._stored)
        while True:
            shown = await peers.lane_after(
                self._context, self._other, self._id, self._lane, after=state.seq
            )
            calls = self._checked(state, asked, shown)
            await self._context.database.awrite(self._storing(calls, asked))
            state = calls[-1].state if calls else state
            taken, asked = taken + len(calls), None
            if shown.is_last:
                break
        await self._close(state, shown.voucher)
        return taken

    def _stored(self) -> tuple[LaneState, StoredCall | None]:
        """This side's lane state, and its own request without an answer."""
        with self._context.database.read() as session:
            row = store.last_calls(session, self._table, self._id).get(self._lane)
            if row is None:
                return LaneState(), None
            last = store.stored_call(row)
            if not last.outstanding:
                return store.lane_state_of(row), None
            before = store.call_at(session, self._table, self._id, self._lane, last.seq - 1)
        if last.status == CallStatus.CONFLICT:
            raise Conflict(
                "lane_halted",
                "The other side's answers contradict this node's records of a lane.",
                hint="Ask the arbiter.",
            )
        return LaneState() if before is None else store.lane_state_of(before), last

    def _checked(
        self, state: LaneState, asked: StoredCall | None, shown: ShownLane
    ) -> list[RecoveredCall]:
        """The calls shown after a state, with both signatures and the rules checked."""
        calls: list[RecoveredCall] = []
        for position in shown.positions:
            calls.append(self._checked_position(state, position))
            state = calls[-1].state
        if asked is None or not calls:
            return calls
        if asked.request.struct_hash() != calls[0].state.request:
            raise Conflict(
                "position_taken",
                "The other side shows another request for a position than the one stored here.",
                seq=calls[0].state.seq,
            )
        if len(calls) == 1 and shown.voucher is None:
            # The lane's last position, requested and unanswered here: a repetition brings the
            # answer.
            return []
        return calls

    def _checked_position(self, state: LaneState, shown: ShownPosition) -> RecoveredCall:
        buyer, provider = self._agreement.buyer_key, self._agreement.provider_key
        request = self._signed_by(buyer, shown.request)
        receipt = self._signed_by(provider, shown.receipt)
        void = self._signed_by(provider, shown.void)
        if request is None or (request.agreement_id, request.lane) != (self._id, self._lane):
            raise Conflict("receipt_of_other", "What is shown belongs to another lane.")
        status, after = rules.replayed(self._agreement, state, request, receipt, void)
        assert shown.request is not None
        assert shown.receipt is not None
        return RecoveredCall(
            status=status,
            state=after,
            request=request,
            request_signature=shown.request.signature,
            receipt=shown.receipt.statement,
            receipt_signature=shown.receipt.signature,
            void=void,
            void_signature=None if shown.void is None else shown.void.signature,
        )

    def _signed_by(self, key: str, shown: Shown[S] | None) -> S | None:
        if shown is None:
            return None
        if recover(self._digest(shown.statement.struct_hash()), shown.signature) != key:
            raise Conflict(
                "answer_wrong_signer",
                "What is shown of a lane is not signed by the key the agreement pins.",
            )
        return shown.statement

    def _storing(
        self, calls: Sequence[RecoveredCall], asked: StoredCall | None
    ) -> Callable[[Session], None]:
        """Store calls as they are recovered, and name them in this node's log."""
        now = self._context.now()

        def change(session: Session) -> None:
            for call in calls:
                is_asked = asked is not None and asked.seq == call.state.seq
                put_recovered(session, self._table, self._agreement, call, asked=is_asked)
                for kind, statement in self._log_entries(call):
                    digest = self._digest(statement.struct_hash())
                    append_if_missing(session, kind=kind, digest=digest, at=now)

        return change

    def _log_entries(self, call: RecoveredCall) -> Iterator[tuple[str, Statement]]:
        """What this side's log names of a call, by kind."""
        if self._side == AgreementSide.BUYER:
            yield "UsageRequest", call.request
            yield RECEIVED_RECEIPT, call.receipt
            return
        yield "UsageReceipt", call.receipt
        if call.void is not None:
            yield "ReceiptVoid", call.void

    async def _close(self, state: LaneState, shown: Shown[Voucher] | None) -> None:
        """Store the closing voucher, if it fits a stored position; and compare with the chain's
        count, which no history may fall short of.
        """
        voucher = self._signed_by(self._agreement.buyer_key, shown)
        if voucher is not None and shown is not None:
            signed = ClosingVoucher(voucher, shown.signature)
            await self._context.database.awrite(
                lambda session: self._store_voucher(session, signed)
            )
        proved = await self._context.view.aproved([lane_record(self._id, self._lane)])
        claimed = proved.lane(self._id, self._lane)
        if claimed.seq > state.seq or claimed.amount > state.amount:
            raise Conflict(
                "lane_history_short",
                f"The chain has paid for positions of a lane up to {claimed.seq}; "
                f"the other side shows them up to {state.seq}.",
                hint="Ask it again; else give notice and open a new agreement.",
                lane=self._lane,
            )

    def _store_voucher(self, session: Session, signed: ClosingVoucher) -> None:
        voucher = signed.voucher
        row = store.call_at(session, self._table, self._id, self._lane, voucher.seq)
        acknowledged = (
            voucher.agreement_id,
            voucher.lane,
            voucher.acknowledged_units,
            voucher.acknowledged_amount,
            voucher.receipt,
        )
        if row is None or acknowledged != (
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
        mine = store.voucher_of(session, self._id, self._lane)
        if mine is None or mine.voucher.seq < voucher.seq:
            store.store_voucher(session, signed)
            append_if_missing(
                session,
                kind="Voucher",
                digest=self._digest(voucher.struct_hash()),
                at=self._context.now(),
            )
