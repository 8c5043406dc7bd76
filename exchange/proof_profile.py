"""What the bundles of a metered trade must show. Pure: imports no web3, no database, no web
framework.

**trade** proves one call: agreement signed by both sides under a grant, the buyer's request, the
  provider's receipt in a party's anchored log, the buyer's signature that names this receipt with
  its totals, the claim and the payout on the chain. The contract takes a claim with the buyer's
  signature alone, so that the chain's lane itself shows that what was claimed was acknowledged.

**lane** proves the calls of one lane, from position 1 to the last one shown without gaps: each
  receipt continues the one before it, each request acknowledges exactly what was delivered before
  it, and no more was claimed on the chain. No bundle can prove that a lane has no later positions;
  what the chain records of them is reported.

**When a call was served** is the provider's statement: the receipt names the block of its view. The
  log's anchor bounds it from above. A served receipt that the log shows only after the grant's
  revocation is reported as such. One that it shows more than ``MAX_VIEW_LAG`` blocks after its
  view, with the revocation between, is refused: both parties together could have dated it back.

If both sides closed the agreement cooperatively, both profiles show the final totals under both
signatures, and that the chain closed by these totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.bundle.claims import VerifiedClaims
from chain.core.errors import Inconsistent
from chain.ethereum.records import AgreementRecord, LaneRecord
from chain.statements.trade import (
    Agreement,
    ReceiptVoid,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
)
from exchange.metering.model import REQUEST_DOMAIN, RESPONSE_DOMAIN, LaneState
from exchange.metering.rules import (
    require_acknowledged,
    require_receipt,
    state_after,
    state_after_void,
)
from exchange.settlement.rules import split
from exchange.trade_proof import (
    CONTRACT,
    TradeProof,
    by_protocol,
    logged,
    only,
    require_timely,
    viewed,
)

CHAIN_CLOSED = (
    "What was asked and what was answered is not all opened: "
    "what stays closed is only committed to."
)


def check_trade(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """One named call from agreement to payout: subject {agreementId, lane, seq}."""
    trade = TradeProof(claims, subject, "seq")
    seq = subject["seq"]
    _require_acknowledgement(claims, trade, seq)
    request, receipt, sentences = _answered(claims, trade, seq)
    sentences += _disclosed(claims, request, receipt)
    acknowledged = _acknowledged(trade, receipt)
    if receipt.outcome == UsageOutcome.REFUSED:
        seen = (
            "The buyer acknowledged this refusal."
            if acknowledged
            else "The buyer has not acknowledged this refusal: only the provider asserts it."
        )
        return [
            *trade.sentences,
            *sentences,
            f"The call was refused ({receipt.reason}) and costs nothing.",
            seen,
        ]
    if not acknowledged:
        raise Inconsistent("not_acknowledged", "No signature of the buyer acknowledges the call.")
    sentences.append(
        "The buyer's next signature names this receipt and "
        f"acknowledges {receipt.total_amount} fen up to it."
    )
    return [
        *trade.sentences,
        *sentences,
        *_claimed(claims, trade, receipt),
        *_paid(claims, trade, receipt),
    ]


@dataclass(frozen=True)
class CallProof:
    """One call as a bundle proves it, and the sentences on it."""

    agreement: Agreement
    request: UsageRequest
    receipt: UsageReceipt
    sentences: list[str]


def check_call(claims: VerifiedClaims, subject: Mapping[str, Any]) -> CallProof:
    """One named call up to its receipt, acknowledged or not: subject {agreementId, lane, seq}. The
    bundle holds nothing else of the lane.
    """
    trade = TradeProof(claims, subject, "seq")
    seq = subject["seq"]
    others = {*trade.requests, *trade.receipts} - {seq}
    if others or trade.voids or trade.vouchers:
        raise Inconsistent(
            "element_unused", "The bundle carries statements of other positions than its call's."
        )
    request, receipt, sentences = _answered(claims, trade, seq)
    return CallProof(trade.agreement, request, receipt, [*trade.sentences, *sentences])


def _answered(
    claims: VerifiedClaims, trade: TradeProof, seq: int
) -> tuple[UsageRequest, UsageReceipt, list[str]]:
    """A position's request and receipt, which answers it in time, and the sentences on them."""
    request = only(trade.requests, seq, "request")
    receipt = only(trade.receipts, seq, "receipt")
    before = LaneState(
        seq - 1, request.acknowledged_units, request.acknowledged_amount, request.previous_receipt
    )
    by_protocol(
        lambda: require_receipt(trade.agreement, before, request, request.struct_hash(), receipt)
    )
    require_timely(claims, trade, seq)
    sentences = [
        (
            f"The receipt of position {seq} of lane {trade.lane} answers the "
            f"buyer's request, for {receipt.units} units."
        ),
        logged(claims, trade, [trade.signed_receipts[seq]], "receipt"),
        *viewed(claims, trade, [seq]),
    ]
    return request, receipt, sentences


def check_lane(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """Every call of one lane: subject {agreementId, lane}."""
    trade = TradeProof(claims, subject)
    voids = {item.seq: item for item in trade.voids}
    if len(voids) != len(trade.voids):
        raise Inconsistent("position_twice", "Two voids name one position.")
    last = _last_position(trade, voids)
    state, refused = LaneState(), 0
    for seq in range(1, last + 1):
        request = trade.requests[seq]
        by_protocol(lambda state=state, request=request: require_acknowledged(state, request))
        state = _state_after(claims, trade, state, request, voids.get(seq))
        receipt = trade.receipts.get(seq)
        refused += receipt is not None and receipt.outcome == UsageOutcome.REFUSED
    if any(seq > last for seq in voids):
        raise Inconsistent("void_of_other", "A void names a position the lane does not have.")
    if last - refused > trade.terms.max_uses:
        raise Inconsistent(
            "grant_used_up", "The lane has more served calls than the grant allows in all."
        )
    sentences = [
        *trade.sentences,
        (
            f"Lane {trade.lane} is shown from position 1 to {last}, none missing between: "
            f"{last - refused} served, {refused} refused."
        ),
        (
            f"{len(trade.voids)} of them were voided; {state.units} units "
            f"for {state.amount} fen were delivered in all."
        ),
        "Every receipt is in a party's anchored log and continues the one before it.",
        *viewed(claims, trade, sorted(trade.receipts)),
        _acknowledged_positions(trade, last),
    ]
    return sentences + _lane_claims(claims, trade, state)


def _last_position(trade: TradeProof, voids: Mapping[int, ReceiptVoid]) -> int:
    """The last position of a lane that is shown whole: each has a request, and a receipt unless the
    provider voided it: a buyer that received the void never got the receipt.
    """
    last = max(trade.requests, default=0)
    if not last:
        raise Inconsistent("profile_incomplete", "The bundle shows no position of the lane.")
    # Compared by number first: a range up to a stranger's position would not fit into memory.
    whole = len(trade.requests) == last and trade.requests.keys() == set(range(1, last + 1))
    answered = trade.receipts.keys() | voids.keys()
    if not whole or not trade.receipts.keys() <= trade.requests.keys() <= answered:
        raise Inconsistent(
            "lane_has_holes", "Positions of the lane are missing, or lack a request or receipt."
        )
    return last


def _state_after(
    claims: VerifiedClaims,
    trade: TradeProof,
    state: LaneState,
    request: UsageRequest,
    void: ReceiptVoid | None,
) -> LaneState:
    """The lane state after a position, whose receipt answers the request in time."""
    request_hash, receipt = request.struct_hash(), trade.receipts.get(request.seq)
    if receipt is not None:
        by_protocol(lambda: require_receipt(trade.agreement, state, request, request_hash, receipt))
        require_timely(claims, trade, request.seq)
        receipt_hash = receipt.struct_hash()
        if void is None:
            return state_after(receipt, receipt_hash)
        if void.receipt != receipt_hash:
            raise Inconsistent("void_of_other", "A void names another receipt than its position's.")
    assert void is not None
    return state_after_void(state, void.receipt, request_hash)


def _acknowledged_positions(trade: TradeProof, last: int) -> str:
    if trade.vouchers:
        return f"The buyer acknowledged every position up to {last}."
    return f"The buyer acknowledged every position up to {last - 1}, the last one not."


# --- Acknowledgement, claim and payout ------------------------------------------------------------


def _require_acknowledgement(claims: VerifiedClaims, trade: TradeProof, seq: int) -> None:
    """Besides the call itself, the bundle contains only its acknowledgement: the next request,
    with its receipt if that is needed to date it, or the closing voucher.
    """
    if trade.voids:
        raise Inconsistent("call_voided", "The bundle holds a void: a voided call is owed nothing.")
    if {*trade.requests, *trade.receipts} - {seq, seq + 1} or any(
        voucher.seq != seq for voucher in trade.vouchers
    ):
        raise Inconsistent(
            "element_unused",
            "The bundle carries statements of other positions than its call's and the next one's.",
        )
    following = trade.receipts.get(seq + 1)
    if following is not None:
        if following.request != only(trade.requests, seq + 1, "next request").struct_hash():
            raise Inconsistent(
                "receipt_of_other", "The receipt of the next position answers another request."
            )
        trade.inclusion(claims, seq + 1)


def _acknowledged(trade: TradeProof, receipt: UsageReceipt) -> bool:
    """Whether the bundle holds the buyer's next signature. It must name this receipt with its
    totals: neither another receipt for the position nor a voided one.
    """
    acknowledgements = [
        (request.previous_receipt, request.acknowledged_units, request.acknowledged_amount)
        for seq, request in trade.requests.items()
        if seq > receipt.seq
    ]
    acknowledgements += [
        (voucher.receipt, voucher.acknowledged_units, voucher.acknowledged_amount)
        for voucher in trade.vouchers
    ]
    for named, *totals in acknowledgements:
        if named != receipt.struct_hash():
            raise Inconsistent(
                "acknowledgement_differs", "The buyer acknowledged another receipt of the position."
            )
        if totals != [receipt.total_units, receipt.total_amount]:
            raise Inconsistent(
                "acknowledgement_differs",
                "The buyer acknowledged other totals than the receipt's, as after a void.",
            )
    return bool(acknowledgements)


def _claimed(claims: VerifiedClaims, trade: TradeProof, receipt: UsageReceipt) -> list[str]:
    """The chain's lane is at the call or beyond it."""
    record = LaneRecord.decode(
        claims.storage_value(CONTRACT, "lanes", trade.agreement_id, trade.lane).value
    )
    if trade.agreement.price == 0:
        if record.amount:
            raise Inconsistent("claim_differs", "The chain shows a claim on a free agreement.")
        return ["The agreement is free: there is nothing to claim."]
    if (
        record.seq < receipt.seq
        or record.units < receipt.total_units
        or record.amount < receipt.total_amount
    ):
        raise Inconsistent(
            "claim_differs", "The chain's lane does not reach the call: it was not claimed."
        )
    return [
        (
            f"The chain's lane is at {record.amount} fen up to position {record.seq}, which "
            "takes the buyer's signature: the call was claimed."
        )
    ]


def _paid(claims: VerifiedClaims, trade: TradeProof, receipt: UsageReceipt) -> list[str]:
    """What each share got is the split of what was claimed; nothing is paid beyond it."""
    state, due = (
        trade.state,
        split(trade.state.acknowledged, {s.member: s.basis_points for s in trade.agreement.shares}),
    )
    if trade.agreement.price == 0:
        return []
    if state.acknowledged < receipt.total_amount or state.acknowledged > state.opened:
        raise Inconsistent(
            "payout_differs",
            "The agreement's record shows less than the call, or more than its cap.",
        )
    sentences = []
    for member, amount in due.items():
        paid = claims.storage_value(CONTRACT, "paidTo", trade.agreement_id, member)
        if paid.value != amount:
            raise Inconsistent(
                "payout_differs", f"The chain does not show {member}'s part of the split."
            )
        sentences.append(f"{member} was paid {amount} fen.")
    if state.paid != sum(due.values()):
        raise Inconsistent(
            "payout_differs", "The parts of the split do not add up to what was paid."
        )
    return [*sentences, closing(claims, state)]


def _lane_claims(claims: VerifiedClaims, trade: TradeProof, state: LaneState) -> list[str]:
    for voucher in trade.vouchers:
        acknowledged = (
            voucher.seq,
            voucher.acknowledged_units,
            voucher.acknowledged_amount,
            voucher.receipt,
        )
        if acknowledged != (state.seq, state.units, state.amount, state.receipt):
            raise Inconsistent("voucher_differs", "The closing voucher is not of the lane's state.")
    record = LaneRecord.decode(
        claims.storage_value(CONTRACT, "lanes", trade.agreement_id, trade.lane).value
    )
    if record.amount > state.amount or record.units > state.units:
        raise Inconsistent("claim_differs", "The chain paid for more than was delivered.")
    claims.limits.append(_later_positions(trade, state, record))
    left_out = (
        [
            (
                "The chain has been paid up to position "
                f"{record.seq}: positions {state.seq + 1} to "
                f"{record.seq} are not in this bundle, and cost nothing."
            )
        ]
        if record.seq > state.seq
        else []
    )
    return [
        (
            f"The chain's lane is at {record.amount} of "
            f"{state.amount} fen, never more than delivered."
        ),
        *left_out,
        closing(claims, trade.state),
    ]


def _later_positions(trade: TradeProof, state: LaneState, record: LaneRecord) -> str:
    """The limit of every lane bundle: it cannot prove that the lane has no later positions."""
    last = max(state.seq, record.seq)
    why = (
        "the chain keeps no count of free calls"
        if trade.agreement.price == 0
        else "the chain knows a position only once it is claimed"
    )
    return (
        f"Nothing shows whether the lane has positions after {last}: "
        f"{why}. The other party may hold later receipts."
    )


def closing(claims: VerifiedClaims, state: AgreementRecord) -> str:
    """How the agreement's money stands; ``payout_differs``."""
    if state.refunded + state.paid > state.opened or (state.closed_at and state.locked):
        raise Inconsistent("payout_differs", "The agreement's amounts do not add up.")
    if state.closed_at:
        block = claims.block(state.closed_at)
        return (
            f"Of {state.opened} fen opened, {state.paid} were paid "
            f"and {state.refunded} refunded when it closed in {block}."
        )
    return (
        f"Of {state.opened} fen opened, {state.paid} were paid "
        f"so far and {state.locked} are locked."
    )


def _disclosed(claims: VerifiedClaims, request: UsageRequest, receipt: UsageReceipt) -> list[str]:
    sentences = []
    if claims.is_disclosed(request.request_commitment, REQUEST_DOMAIN):
        claims.disclosed(request.request_commitment, REQUEST_DOMAIN)
        sentences.append("What was asked is shown and is what the request committed to.")
    if claims.is_disclosed(receipt.response_commitment, RESPONSE_DOMAIN):
        claims.disclosed(receipt.response_commitment, RESPONSE_DOMAIN)
        sentences.append("What was answered is shown and is what the receipt committed to.")
    if len(sentences) < 2:
        claims.limits.append(CHAIN_CLOSED)
    return sentences
