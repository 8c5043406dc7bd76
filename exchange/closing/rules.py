"""When an agreement may be closed, and its final totals by the states of its lanes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from chain.core.errors import Conflict
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    agreement_records,
    key_record,
)
from chain.ethereum.records import AgreementRecord
from chain.statements.trade import Agreement, FinalSettlement, LaneTotal
from exchange.agreements.rules import require_running
from exchange.metering.model import LaneState


def closing_records(agreement: Agreement) -> tuple[StorageKey, ...]:
    """The chain's records that ``require_closable`` asks."""
    return (
        *agreement_records(agreement.struct_hash()),
        key_record(agreement.provider_key),
        key_record(agreement.buyer_key),
    )


def require_closable(agreement: Agreement, records: ProvedRecords) -> None:
    """Both sides may sign final totals: the agreement is open, and the chain takes them by live
    keys alone.

    Args:
        records: ``closing_records``, proved under one block.

    Raises:
        Conflict: ``agreement_not_open``, ``agreement_is_closed``, ``claim_pending``, ``key_ended``.
    """
    state = records.agreement(agreement.struct_hash())
    require_running(state)
    require_nothing_pending(state)
    if not all(records.key(key).live for key in (agreement.provider_key, agreement.buyer_key)):
        raise Conflict(
            "key_ended",
            "A key that the agreement pins, the buyer's or the provider's, has ended.",
            hint="Give notice; claims continue with what was signed before.",
        )


def require_nothing_pending(state: AgreementRecord) -> None:
    """No claim of an unacknowledged receipt is undecided: ``claim_pending``."""
    if state.pending:
        raise Conflict(
            "claim_pending",
            f"{state.pending} claims of unacknowledged receipts are not decided yet.",
            hint="End the disputes first: `qiaolian dispute list --live`.",
            pending=state.pending,
        )


def final_settlement(agreement_id: bytes, lane_states: Mapping[int, LaneState]) -> FinalSettlement:
    """The final totals of an agreement from the states of its used lanes."""
    lanes = [
        LaneTotal(lane=number, seq=state.seq, units=state.units, amount=state.amount)
        for number, state in sorted(lane_states.items())
        if state.seq
    ]
    return FinalSettlement(
        version=1,
        agreement_id=agreement_id,
        units=sum(lane.units for lane in lanes),
        amount=sum(lane.amount for lane in lanes),
        lanes=tuple(lanes),
    )


def require_final_settlement(
    settlement: FinalSettlement, lane_states: Mapping[int, LaneState]
) -> None:
    """The final totals are exactly those of this node's own records, lane by lane:
    ``final_totals_differ``.
    """
    own = final_settlement(settlement.agreement_id, lane_states)
    if settlement == own:
        return
    stated, recorded = ({lane.lane: lane for lane in totals.lanes} for totals in (settlement, own))
    differing = [
        number
        for number in sorted({*stated, *recorded})
        if stated.get(number) != recorded.get(number)
    ]
    raise Conflict(
        "final_totals_differ",
        f"The final totals are {settlement.units} units and "
        f"{settlement.amount} fen; the provider's "
        f"receipts come to {own.units} units and {own.amount} fen"
        + (f", lane {differing[0]} is the first that differs." if differing else "."),
        hint="Compare the lanes with `qiaolian reconcile`; until they agree, give notice instead.",
        stated_units=settlement.units,
        stated_amount=str(settlement.amount),
        recorded_units=own.units,
        recorded_amount=str(own.amount),
    )


def require_window_over(agreement: Agreement, records: ProvedRecords) -> None:
    """An agreement in notice may be closed and the rest refunded, by its records and the block they
    were proved under: ``agreement_not_open``, ``agreement_is_closed``, ``no_notice``,
    ``claim_pending``, ``window_open``.
    """
    state = records.agreement(agreement.struct_hash())
    require_running(state)
    if state.notice_at == 0:
        raise Conflict(
            "no_notice",
            "Nobody has given notice.",
            hint="Give notice; the window for claims begins with it.",
        )
    require_nothing_pending(state)
    blocks = state.notice_at + agreement.close_window_blocks - records.height
    seconds = state.notice_time + agreement.close_window_seconds - records.timestamp
    if blocks >= 0 or seconds >= 0:
        raise Conflict(
            "window_open",
            "The window for claims has not passed.",
            hint="Ask again when both counts have run down.",
            blocks=max(0, blocks + 1),
            seconds=max(0, seconds + 1),
        )
