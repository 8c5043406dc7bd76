"""Cooperative closing: both sides sign the final totals of all lanes, and one transaction pays,
refunds and closes.

The buyer signs first and the provider last, so only the provider's signature ends the agreement:

1. The buyer locks every lane and completes outstanding requests. It stores its closing vouchers and
   the signed totals in one transaction; from then on its lanes take no calls.
2. The provider locks every lane, compares the totals with its receipts, and stores its signature,
   the end of service and the contract call in one transaction. It sends the signature only after
   that, so nothing is served after it. A refusal stores nothing.
3. The buyer stores the provider's signature and queues the same call; the contract accepts it once.

A refusal reopens the buyer's lanes. While the provider's answer is unknown they stay closed: a
repeated request sends the same bytes and gets the same signature. The buyer's ``ClosingWorker``
repeats it, also after a crash. A provider that wants to close asks the buyer's node to begin. If
the cooperative closing fails, the agreement ends by notice and closing window.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from chain.ethereum.ledger import Event
from chain.outbox import refused
from chain.statements.trade import Agreement, FinalSettlement, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.metering.buyer import Buyer
from exchange.metering.buyer_state import BuyerTrade
from exchange.metering.gateway import Gateway
from exchange.metering.model import FinalState, LaneState
from exchange.metering.rules import closing_voucher, require_voucher
from exchange.metering.store import ANSWERS, FinalSettlementRow, store_voucher, voucher_row
from exchange.settlement.rules import (
    closing_records,
    final_settlement,
    require_closable,
    require_final_settlement,
)
from exchange.settlement.service import CONTRACT, _send, acknowledge_all, give_notice
from registry import fanout
from registry.backoff import Backoff
from registry.evidence.log import append_if_missing

log = logging.getLogger("qiaolian.closing")

T = TypeVar("T")
SignedVoucher = tuple[Voucher, bytes]
_REFUSALS = (BadInput, Conflict, Forbidden, NotFound)
"""Errors by which the provider's node refuses to sign; after any other its answer is unknown."""


FIRST_PAUSE, MAX_PAUSE = 1.0, 300.0
"""Seconds between two requests to a provider that does not answer."""
ROUND_SECONDS = 30.0
"""How long one agreement may take in a round."""


# --- Either side ---------------------------------------------------------------------------------


async def end(
    context: Context, agreement_id: bytes, *, cooperative: bool = True, notice: bool = True
) -> dict[str, Any]:
    """End an agreement: cooperatively if the other side agrees, else by notice.

    Args:
        cooperative: whether to try the cooperative way.
        notice: whether to give notice where it is not tried or fails; without it, its failure is
            raised.

    Returns:
        ``way`` (``cooperative``, ``notice``, ``vouchers`` or ``closed``) and what was queued for
        the chain.

    Raises:
        NotFound: ``unknown_agreement``; Forbidden: ``not_party``; Conflict: ``agreement_not_open``;
            what ``close_cooperatively`` raises, unless notice is given instead.
    """
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side == AgreementSide.OBSERVER:
        raise Forbidden("not_party", "This organisation is no party of the agreement.")
    state = await asyncio.to_thread(agreements.proved_state, context, agreement_id)
    if not state.opened_at:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")
    if state.closed_at:
        return {
            "way": "closed",
            "closedAt": state.closed_at,
            "finalSettlement": await asyncio.to_thread(view, context, agreement_id),
        }
    answer: dict[str, Any] = {}
    if cooperative:
        try:
            return {"way": "cooperative", **await close_cooperatively(context, signed)}
        except QiaolianError as error:
            if not notice:
                raise
            answer["refusal"] = _error_text(error)
    if signed.side == AgreementSide.BUYER:
        answer |= await _acknowledged(context, agreement_id, required=not notice)
    if not notice:
        return {"way": "vouchers", **answer}
    return {
        "way": "notice",
        **answer,
        **await asyncio.to_thread(give_notice, context, agreement_id),
    }


async def _acknowledged(context: Context, agreement_id: bytes, *, required: bool) -> dict[str, Any]:
    """Send closing vouchers to the provider; notice does not wait for them."""
    try:
        return await acknowledge_all(context, agreement_id, notice=False)
    except QiaolianError as error:
        if required:
            raise
        return {"vouchers": [], "vouchersRefused": _error_text(error)}


async def close_cooperatively(context: Context, signed: SignedAgreement) -> dict[str, Any]:
    """Sign the final totals with the other side, and queue the closing.

    Raises:
        Conflict: ``final_totals_differ``, ``lane_halted``, ``key_ended``,
            ``closing_not_begun``, ``cooperative_close_refused``; Unavailable: when the other side
            cannot be asked.
    """
    agreement_id, agreement = signed.agreement_id, signed.agreement
    if signed.side == AgreementSide.BUYER:
        await _uncancelled(_close_as_buyer(context, signed))
    elif (await asyncio.to_thread(_row, context, agreement_id)) is None:
        path = f"/v1/peer/agreements/0x{agreement_id.hex()}/closing"
        await context.peers.post(agreement.buyer, path, {})
    row = await asyncio.to_thread(_row, context, agreement_id)
    if row is None or row.provider_signature is None:
        raise Conflict("closing_not_begun", "The other side's node did not send its final totals.")
    settlement, signatures = _settlement(row), (row.provider_signature, row.buyer_signature)
    queued = _operation(agreement_id, row.settlement_hash)

    def change(session: Session) -> str:
        if refused(session, queued):
            raise Conflict(
                "cooperative_close_refused",
                "The chain refused the final totals that both sides signed.",
                hint="Give notice: claims go on with what was acknowledged.",
            )
        return _queue(context, session, agreement, settlement, *signatures)

    operation = await context.database.awrite(change)
    return {
        "operation": operation,
        "finalSettlement": await asyncio.to_thread(view, context, agreement_id),
    }


def view(context: Context, agreement_id: bytes) -> dict[str, Any] | None:
    """An agreement's final totals with their state; None if nobody has signed any."""
    row = _row(context, agreement_id)
    return None if row is None else _shown(row)


def views(context: Context, agreement_ids: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
    """The final totals of some agreements, by id, without signatures."""
    query = sa.select(FinalSettlementRow)
    query = query.where(FinalSettlementRow.agreement_id.in_(agreement_ids))
    with context.database.read() as session:
        return {row.agreement_id: _summary(row) for row in session.scalars(query)}


def shown(context: Context, caller: str, agreement_id: bytes) -> dict[str, Any]:
    """The final totals with both signatures, for the other party; ``not_party``,
    ``final_settlement_unknown``.
    """
    signed = agreements.load(context, agreement_id)
    if caller not in (signed.agreement.provider, signed.agreement.buyer):
        raise Forbidden("not_party", "Final totals are for the agreement's parties.")
    found = view(context, agreement_id)
    if found is None:
        raise NotFound(
            "final_settlement_unknown", "Nobody has signed final totals of the agreement."
        )
    return found


# --- Buyer ---------------------------------------------------------------------------------------


async def requested(context: Context, caller: str, agreement_id: bytes) -> dict[str, Any]:
    """Begin the closing at the provider's request, at no cost; ``not_provider``."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side != AgreementSide.BUYER or caller != signed.agreement.provider:
        raise Forbidden("not_provider", "Only the agreement's provider asks its buyer to close.")
    return await close_cooperatively(context, signed)


async def _close_as_buyer(context: Context, signed: SignedAgreement) -> None:
    async with _asking(context, signed.agreement_id):
        row = await asyncio.to_thread(_row, context, signed.agreement_id)
        if row is None or row.state == FinalState.REFUSED:
            row = await _propose(context, signed)
        if row.provider_signature is None:
            await _ask(context, signed, row)


async def _ask_again(context: Context, agreement_id: bytes) -> None:
    """Send a stored proposal again, unless it was answered meanwhile."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    async with _asking(context, agreement_id):
        row = await asyncio.to_thread(_row, context, agreement_id)
        if row is not None and row.state == FinalState.PROPOSED:
            await _ask(context, signed, row)


def _asking(context: Context, agreement_id: bytes) -> asyncio.Lock:
    """One request at a time: a late refusal of earlier totals must not reopen lanes whose later
    totals were signed.
    """
    locks = context.services.get(ClosingLocks, ClosingLocks)
    return locks.by_agreement.setdefault(agreement_id, asyncio.Lock())


@dataclass(frozen=True)
class ClosingLocks:
    """One lock per agreement that closes."""

    by_agreement: dict[bytes, asyncio.Lock] = field(default_factory=dict)


class ClosingWorker:
    """Repeats proposals that providers have not answered, also after a crash. Belongs to one event
    loop.
    """

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._pauses = Backoff(first=FIRST_PAUSE, longest=MAX_PAUSE)

    async def round(self) -> None:
        """Send again every proposal whose pause is over."""
        now = self._clock()
        due = [
            agreement_id
            for agreement_id in await asyncio.to_thread(self._proposed)
            if self._pauses.is_due(agreement_id, now)
        ]
        outcomes = await fanout.for_each(due, self._answered, seconds=ROUND_SECONDS)
        for agreement_id, outcome in outcomes.items():
            if isinstance(outcome, QiaolianError):
                self._pauses.failed(agreement_id, now)
                log.info(
                    "a proposed closing has no signature: %s",
                    outcome.sentence,
                    extra={"code": outcome.code},
                )
            else:
                self._pauses.succeeded(agreement_id)

    async def _answered(self, agreement_id: bytes) -> None:
        await _uncancelled(_ask_again(self._context, agreement_id))

    def _proposed(self) -> list[bytes]:
        with self._context.database.read() as session:
            query = sa.select(FinalSettlementRow.agreement_id).where(
                FinalSettlementRow.state == FinalState.PROPOSED
            )
            return list(session.scalars(query))


async def _propose(context: Context, signed: SignedAgreement) -> FinalSettlementRow:
    """Close the lanes, and store the signed totals with a closing voucher for each lane."""
    agreement_id, agreement = signed.agreement_id, signed.agreement
    signer = context.pinned_signer(agreement.buyer_key)
    require_closable(agreement, await context.view.aproved(closing_records(agreement)))
    buyer = Buyer.of(context)
    async with buyer.idle_lanes(agreement_id) as trade:
        if any(lane.halted for lane in trade.lanes):
            raise Conflict(
                "lane_halted",
                "The provider's answers contradict this node's records "
                "in a lane; its total is not agreed.",
                hint="Give notice, and ask the arbiter or the supervisor.",
            )
        lane_states = {lane.number: lane.state for lane in trade.lanes if lane.state.seq}
        settlement = final_settlement(agreement_id, lane_states)
        vouchers = _vouchers(context, agreement, lane_states)
        row = FinalSettlementRow(
            agreement_id=agreement_id,
            state=FinalState.PROPOSED,
            reason="",
            settlement=json.dumps(settlement.to_json()),
            settlement_hash=settlement.struct_hash(),
            buyer_signature=signer.sign(settlement, context.domain(CONTRACT)),
            provider_signature=None,
            at=context.now(),
        )
        await context.database.awrite(
            lambda session: _store(context, session, row, settlement, vouchers)
        )
        trade.final = True
    return row


def _vouchers(
    context: Context, agreement: Agreement, lane_states: dict[int, LaneState]
) -> list[SignedVoucher]:
    vouchers = [
        closing_voucher(agreement.struct_hash(), number, state)
        for number, state in sorted(lane_states.items())
    ]
    signer, domain = context.pinned_signer(agreement.buyer_key), context.domain(CONTRACT)
    return [(voucher, signer.sign(voucher, domain)) for voucher in vouchers]


async def _ask(context: Context, signed: SignedAgreement, row: FinalSettlementRow) -> None:
    """Send the stored totals to the provider and store its signature, or its refusal."""
    agreement, settlement = signed.agreement, _settlement(row)
    trade = await Buyer.of(context).trade(signed.agreement_id)
    lane_states = {lane.number: lane.state for lane in trade.lanes if lane.state.seq}
    vouchers = _vouchers(context, agreement, lane_states)
    body = {
        "settlement": settlement.to_json(),
        "signature": _hex(row.buyer_signature),
        "vouchers": [
            {"voucher": voucher.to_json(), "signature": _hex(signature)}
            for voucher, signature in vouchers
        ],
    }
    path = f"/v1/peer/agreements/0x{signed.agreement_id.hex()}/final-settlement"
    try:
        answer = await context.peers.post(agreement.provider, path, body)
    except _REFUSALS as error:
        await _refused(context, signed.agreement_id, trade, error)
        raise
    signature = _signature(answer)
    digest = settlement.digest(context.domain(CONTRACT))
    if recover(digest, signature) != agreement.provider_key:
        raise Forbidden(
            "wrong_signer", "The final totals are not signed by the key the agreement pins."
        )

    def change(session: Session) -> None:
        stored = session.get_one(FinalSettlementRow, signed.agreement_id)
        stored.provider_signature = signature
        if stored.state == FinalState.PROPOSED:
            stored.state = FinalState.SIGNED
        _queue(context, session, agreement, settlement, signature, stored.buyer_signature)

    await context.database.awrite(change)


async def _refused(
    context: Context, agreement_id: bytes, trade: BuyerTrade, error: QiaolianError
) -> None:
    """The provider did not sign: the lanes take calls again."""

    def change(session: Session) -> None:
        stored = session.get_one(FinalSettlementRow, agreement_id)
        if stored.state == FinalState.PROPOSED:
            stored.state, stored.reason = FinalState.REFUSED, error.code[:63]

    await context.database.awrite(change)
    trade.final = False


# --- Provider ------------------------------------------------------------------------------------


async def countersign(
    context: Context,
    caller: str,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[SignedVoucher],
) -> dict[str, Any]:
    """Sign the buyer's final totals if they are those of this node's receipts; the same totals get
    the same signature.

    Raises:
        Forbidden: ``not_provider``, ``not_buyer``, ``wrong_signer``;
        BadInput: ``wrong_version``, ``vouchers_differ``;
        Conflict: ``final_totals_differ``, ``final_settlement_exists``, ``agreement_not_open``,
            ``agreement_is_closed``, ``key_ended``; Unavailable: ``chain_view_stale``,
            ``pinned_key_not_held``.
    """
    signed = await asyncio.to_thread(agreements.load, context, settlement.agreement_id)
    _require_proposal(context, caller, signed, settlement, signature)
    return await _uncancelled(_countersign(context, signed, settlement, signature, vouchers))


def _require_proposal(
    context: Context,
    caller: str,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
) -> None:
    agreement = signed.agreement
    if signed.side != AgreementSide.PROVIDER:
        raise Forbidden("not_provider", "This node is not the agreement's provider.")
    if caller != agreement.buyer:
        raise Forbidden("not_buyer", "The final totals are not from the agreement's buyer.")
    if settlement.version != 1:
        raise BadInput(
            "wrong_version", "The final settlement is of a version this node does not know."
        )
    if recover(settlement.digest(context.domain(CONTRACT)), signature) != agreement.buyer_key:
        raise Forbidden(
            "wrong_signer", "The final totals are not signed by the key the agreement pins."
        )


async def _countersign(
    context: Context,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[SignedVoucher],
) -> dict[str, Any]:
    gateway = Gateway.of(context)
    trade = await gateway.trade(signed.agreement_id)
    async with gateway.paused(trade) as lane_states:
        row = await asyncio.to_thread(_row, context, signed.agreement_id)
        if row is None:
            trade.final = True
            try:
                row = await _sign(context, signed, settlement, signature, vouchers, lane_states)
            except BaseException:
                trade.final = (
                    await asyncio.to_thread(_row, context, signed.agreement_id)
                ) is not None
                raise
            for lane in trade.lanes.values():
                lane.stored_answer = None
        elif row.settlement_hash != settlement.struct_hash():
            raise Conflict(
                "final_settlement_exists",
                "Other final totals of the agreement are signed already.",
                hint="The chain closes the agreement by those.",
            )
    assert row.provider_signature is not None
    return {"signature": _hex(row.provider_signature)}


async def _sign(
    context: Context,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[SignedVoucher],
    lane_states: dict[int, LaneState],
) -> FinalSettlementRow:
    """Check and store everything in one transaction; the lanes are held."""
    agreement = signed.agreement
    signer = context.pinned_signer(agreement.provider_key)
    require_closable(agreement, await context.view.aproved(closing_records(agreement)))
    require_final_settlement(settlement, lane_states)
    _require_vouchers(context, agreement, lane_states, vouchers)
    row = FinalSettlementRow(
        agreement_id=signed.agreement_id,
        state=FinalState.SIGNED,
        reason="",
        settlement=json.dumps(settlement.to_json()),
        settlement_hash=settlement.struct_hash(),
        buyer_signature=signature,
        provider_signature=signer.sign(settlement, context.domain(CONTRACT)),
        at=context.now(),
    )

    def change(session: Session) -> None:
        _store(context, session, row, settlement, vouchers)
        session.execute(sa.delete(ANSWERS).where(ANSWERS.c.agreement_id == signed.agreement_id))
        assert row.provider_signature is not None
        _queue(context, session, agreement, settlement, row.provider_signature, signature)

    await context.database.awrite(change)
    return row


def _require_vouchers(
    context: Context,
    agreement: Agreement,
    lane_states: dict[int, LaneState],
    vouchers: Sequence[SignedVoucher],
) -> None:
    """One closing voucher for every used lane: it names the lane's last receipt, which the totals
    do not.
    """
    if sorted(voucher.lane for voucher, _ in vouchers) != sorted(lane_states):
        raise BadInput(
            "vouchers_differ",
            "The final totals come without a closing voucher for every used lane.",
        )
    domain = context.domain(CONTRACT)
    for voucher, signature in vouchers:
        if voucher.agreement_id != agreement.struct_hash():
            raise BadInput("vouchers_differ", "A closing voucher is of another agreement.")
        if recover(voucher.digest(domain), signature) != agreement.buyer_key:
            raise Forbidden(
                "wrong_signer", "A voucher is not signed by the key the agreement pins."
            )
        require_voucher(agreement, lane_states[voucher.lane], voucher)


# --- Both ----------------------------------------------------------------------------------------


def _store(
    context: Context,
    session: Session,
    row: FinalSettlementRow,
    settlement: FinalSettlement,
    vouchers: Sequence[SignedVoucher],
) -> None:
    """Store final totals and vouchers, and record both in this node's log."""
    domain = context.domain(CONTRACT)
    session.merge(row)
    for voucher, signature in vouchers:
        store_voucher(session, voucher_row(voucher, signature))
        append_if_missing(session, kind="Voucher", digest=voucher.digest(domain), at=row.at)
    append_if_missing(session, kind="FinalSettlement", digest=settlement.digest(domain), at=row.at)


def _queue(
    context: Context,
    session: Session,
    agreement: Agreement,
    settlement: FinalSettlement,
    provider_signature: bytes,
    buyer_signature: bytes,
) -> str:
    """Queue the closing; the operation sent."""
    arguments = [agreement, settlement, provider_signature, buyer_signature]
    operation = _operation(settlement.agreement_id, settlement.struct_hash())
    return _send(context, session, operation, "closeCooperatively", arguments)


def _operation(agreement_id: bytes, settlement_hash: bytes) -> str:
    return f"final/{agreement_id.hex()}/{settlement_hash.hex()[:16]}"


def apply(session: Session, event: Event) -> None:
    """Take the chain's word on how an agreement ended."""
    if event.name not in ("CooperativelyClosed", "AgreementClosed"):
        return
    row = session.get(FinalSettlementRow, event.arguments["agreementId"])
    if row is None:
        return
    if event.name == "AgreementClosed":
        # A cooperative closing says so before, in the same transaction.
        if row.state != FinalState.SETTLED:
            row.state = FinalState.LAPSED
    elif event.arguments["finalSettlement"] == row.settlement_hash:
        row.state = FinalState.SETTLED


async def _uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end even if the caller goes away: memory and database must agree on whether lanes
    are shut.
    """
    return await asyncio.shield(asyncio.ensure_future(work))


def _row(context: Context, agreement_id: bytes) -> FinalSettlementRow | None:
    with context.database.read() as session:
        return session.get(FinalSettlementRow, agreement_id)


def _settlement(row: FinalSettlementRow) -> FinalSettlement:
    return FinalSettlement.from_json(json.loads(row.settlement))


def _summary(row: FinalSettlementRow) -> dict[str, Any]:
    settlement = _settlement(row)
    return {
        "state": row.state,
        "reason": row.reason,
        "units": settlement.units,
        "amount": str(settlement.amount),
        "hash": _hex(row.settlement_hash),
        "at": row.at,
    }


def _shown(row: FinalSettlementRow) -> dict[str, Any]:
    return {
        **_summary(row),
        "settlement": json.loads(row.settlement),
        "buyerSignature": _hex(row.buyer_signature),
        "providerSignature": None
        if row.provider_signature is None
        else _hex(row.provider_signature),
    }


def _signature(answer: Any) -> bytes:
    value = answer.get("signature") if isinstance(answer, dict) else None
    try:
        signature = bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else b""
    except ValueError:
        signature = b""
    if len(signature) != 65:
        raise BadInput(
            "field_malformed", "The provider's signature is not 0x hexadecimal of 65 bytes."
        )
    return signature


def _error_text(error: QiaolianError) -> dict[str, Any]:
    return {
        "code": error.code,
        "detail": error.sentence,
        "hint": error.hint,
        "refusedBy": error.refused_by.to_json(),
    }


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


__all__ = [
    "ClosingWorker",
    "apply",
    "close_cooperatively",
    "countersign",
    "end",
    "requested",
    "shown",
    "view",
    "views",
]
