"""What a lane's bundle states, for lanes that both parties signed over a chain made in the test, so
that both can collude.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import coincurve
import pytest

from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.errors import VerificationError
from chain.ethereum.eip712 import Domain
from chain.keys.files import Secp256k1Signer
from chain.statements.trade import ReceiptVoid, UsageOutcome, UsageReceipt, UsageRequest, Voucher
from exchange.proof_profile import check_lane
from exchange.trade_proof import MAX_VIEW_LAG
from scripts.benches import made_chain
from scripts.benches.made_chain import FIRST_BLOCK_TIME
from scripts.benches.made_lane import ANCHORED_AT, HEAD_AT, VIEW_AT, MadeLane, viewed_at
from tests.support.two_verifiers import verify

PROVIDER = Secp256k1Signer(keccak256(b"provider"))


def checked(lane: MadeLane) -> Report:
    return verify(lane.bundle(), made_chain.trust(), {"lane": check_lane})


def refusal(lane: MadeLane) -> str:
    with pytest.raises(VerificationError) as refused:
        checked(lane)
    assert refused.value.exit_code == 16
    return refused.value.code


def limits(lane: MadeLane) -> str:
    return " ".join(checked(lane).limits)


# --- What was left out ----------------------------------------------------------------------------


def test_a_free_lane_cut_short_is_never_called_whole() -> None:
    """Nothing on the chain counts free calls: three of ten positions look like a lane of three."""
    lane = MadeLane(calls=10, price=0, shown=3, closed=False)
    report = checked(lane)
    assert (
        "Lane 0 is shown from position 1 to 3, none missing between: 3 served, 0 refused."
        in report.proved
    )
    assert (
        "Nothing shows whether the lane has positions after 3: the chain keeps no count of free calls."
        in " ".join(report.limits)
    )
    assert not any("hole" in name or "whole" in name for name in report.proved)


def test_a_paid_lane_cut_below_what_the_chain_paid_is_refused() -> None:
    assert refusal(MadeLane(calls=10, shown=3, closed=False)) == "claim_differs"


def test_places_that_the_chain_knows_and_the_bundle_leaves_out_are_named() -> None:
    """Refused calls at the end of a lane may be left out: they cost nothing, and the chain's own
    position says that they were.
    """

    def refused_late(receipt: Any) -> Any:
        if receipt.seq <= 3:
            return receipt
        less = {"total_units": 3, "total_amount": 150, "units": 0, "amount": 0}
        return replace(receipt, outcome=int(UsageOutcome.REFUSED), reason="subject_unknown", **less)

    report = checked(MadeLane(calls=10, shown=3, closed=False, edit_receipt=refused_late))
    assert (
        "The chain has been paid up to position 10: positions 4 to 10 are not in this bundle, and cost nothing."
        in report.proved
    )
    assert "positions after 10: the chain knows a position only once it is claimed" in " ".join(
        report.limits
    )


def test_an_unused_lane_proves_nothing() -> None:
    lane = MadeLane(calls=1, price=0, closed=False)
    lane.shown = 1
    value = made_without(lane.bundle(), "UsageRequest", "UsageReceipt")
    with pytest.raises(VerificationError) as refused:
        verify(value, made_chain.trust(), {"lane": check_lane})
    assert refused.value.code == "profile_incomplete"


def made_without(data: bytes, *kinds: str) -> bytes:
    value = json.loads(data)
    value["statements"] = [
        statement for statement in value["statements"] if statement["type"] not in kinds
    ]
    return dumps(value)


# --- When -----------------------------------------------------------------------------------------


def test_blocks_are_printed_with_their_time_or_the_time_they_had_been_made_by() -> None:
    report = checked(MadeLane(calls=1))
    assert report.time == FIRST_BLOCK_TIME + HEAD_AT
    assert any(
        "opened in block 10 (no later than 2027-01-15 08:02:00 UTC)" in name
        for name in report.proved
    )
    at_the_head = checked(MadeLane(calls=1, anchored_at=HEAD_AT))
    assert any(f"block {HEAD_AT} (2027-01-15 08:02:00 UTC)" in name for name in at_the_head.proved)


def test_a_call_dated_back_before_the_revocation_is_reported_when_the_log_shows_it_only_afterwards() -> (
    None
):
    """Both parties sign a view of block 50; the grant was revoked in block 60; the log shows the
    receipt by block 100.
    """
    stated = limits(MadeLane(calls=3, revoked_at=60))
    assert (
        "The log shows the receipts of 3 positions, 1 to 3, only after the grant's revocation"
        in stated
    )
    assert "only the two parties claim" in stated
    assert any(
        "The grant was revoked in block 60" in name
        for name in checked(MadeLane(calls=3, revoked_at=60)).proved
    )


def test_a_call_that_the_log_shows_before_the_revocation_is_not_doubted() -> None:
    assert "only after the grant's revocation" not in limits(
        MadeLane(calls=3, revoked_at=ANCHORED_AT + 1)
    )


def test_a_call_dated_back_further_than_an_honest_anchor_can_lag_is_refused() -> None:
    code = "served_before_revocation_not_shown"
    assert refusal(MadeLane(calls=2, revoked_at=60, anchored_at=VIEW_AT + MAX_VIEW_LAG + 1)) == code
    assert checked(MadeLane(calls=2, revoked_at=60, anchored_at=VIEW_AT + MAX_VIEW_LAG))
    assert checked(MadeLane(calls=2, anchored_at=VIEW_AT + MAX_VIEW_LAG + 1)), (
        "without a revocation nothing is gained by it"
    )


@pytest.mark.parametrize(
    ("lane", "code"),
    [
        (MadeLane(calls=1, revoked_at=VIEW_AT), "served_without_grant"),
        (MadeLane(calls=1, edit_receipt=viewed_at(1)), "served_without_grant"),
        (MadeLane(calls=1, edit_receipt=viewed_at(9)), "served_while_closed"),
        (MadeLane(calls=1, notice_at=VIEW_AT), "served_while_closed"),
        (MadeLane(calls=1, edit_receipt=viewed_at(ANCHORED_AT + 1)), "view_ahead"),
        (MadeLane(calls=1, anchored_at=HEAD_AT, edit_receipt=viewed_at(HEAD_AT)), "block_differs"),
        (MadeLane(calls=1, edit_receipt=viewed_at(VIEW_AT, issued_at=FIRST_BLOCK_TIME - 1)), "served_outside_period"),
        (MadeLane(calls=1, edit_receipt=viewed_at(VIEW_AT, issued_at=FIRST_BLOCK_TIME + 2 * 10**6)), "served_outside_period"),
        (MadeLane(calls=4, max_uses=3), "grant_used_up"),
    ],
    ids=["after the revocation", "before the approval", "before opening", "after notice", "after its anchor", "on another block",
         "before the period", "after the period", "more often than granted"],
)  # fmt: skip
def test_a_receipt_that_contradicts_what_is_proved_is_refused(lane: MadeLane, code: str) -> None:
    assert refusal(lane) == code


# --- Two statements for one position --------------------------------------------------------------


def test_two_statements_for_one_position_are_refused() -> None:
    first = MadeLane(calls=2)
    first.bundle()
    void = ReceiptVoid(
        1, first.agreement_id, 0, 2, first.voucher.receipt, "grant_revoked", FIRST_BLOCK_TIME
    )
    voids = [
        (receipt_void, PROVIDER) for receipt_void in (void, replace(void, reason="not_active"))
    ]
    assert (
        refusal(MadeLane(calls=2, closed=False, claimed=1, more_statements=voids))
        == "position_twice"
    )
    other = replace(first.voucher, acknowledged_amount=first.voucher.acknowledged_amount - 1)
    assert isinstance(other, Voucher)
    assert refusal(MadeLane(calls=2, more_statements=[(other, first.buyer)])) == "voucher_differs"


def test_one_statement_signed_twice_by_one_key_is_refused() -> None:
    """A signature is not unique: with another nonce the same statement would be there twice, and
    count twice.
    """
    lane = MadeLane(calls=2)
    value = json.loads(lane.bundle())
    receipt = next(
        statement for statement in value["statements"] if statement["type"] == "UsageReceipt"
    )
    digest = UsageReceipt.from_json(receipt["message"]).digest(
        Domain(made_chain.CHAIN_ID, made_chain.CONTRACTS["TradeSettlement"])
    )
    ffi = coincurve.ecdsa.ffi  # type: ignore[attr-defined]
    entropy = ffi.new("unsigned char[32]", b"\7" * 32)
    provider = coincurve.PrivateKey(keccak256(b"provider"))
    again = provider.sign_recoverable(digest, None, (ffi.NULL, entropy))
    signature = "0x" + (again[:64] + bytes([again[64] + 27])).hex()
    assert signature != receipt["signature"]
    value["statements"].append({**receipt, "signature": signature})
    with pytest.raises(VerificationError) as refused:
        verify(dumps(value), made_chain.trust(), {"lane": check_lane})
    assert refused.value.code == "element_twice"


# --- Work -----------------------------------------------------------------------------------------


def test_a_position_far_ahead_costs_no_memory() -> None:
    lane = MadeLane(calls=2)
    lane.bundle()
    ahead = UsageRequest(
        1, lane.agreement_id, 0, 3_000_000, 1, 50, 2, 100, bytes(32), bytes(32), 2**40
    )
    data = replace(lane, more_statements=[(ahead, lane.buyer)]).bundle()
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError) as refused:
            verify(data, made_chain.trust(), {"lane": check_lane})
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert refused.value.code == "lane_has_holes"


def calls_for(data: bytes) -> int:
    """How many functions a verification calls."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        verify(data, made_chain.trust(), {"lane": check_lane})
    finally:
        sys.setprofile(None)
    return count


def test_the_work_of_a_lane_grows_no_faster_than_its_calls() -> None:
    short, long = (
        calls_for(MadeLane(calls=positions).bundle()) / positions for positions in (40, 320)
    )
    assert long < 1.3 * short
