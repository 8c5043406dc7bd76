"""Packed words decode as the Solidity sources pack them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.errors import Inconsistent, NotAnchored
from chain.ethereum.records import (
    AccountRecord,
    AgreementRecord,
    AssetStatus,
    ConsentRecord,
    DealRecord,
    DisputeRecord,
    FlagRecord,
    GrantRecord,
    HoldRecord,
    KeyRecord,
    LaneRecord,
    LogRecord,
    MemberRecord,
    TradeDisputeRecord,
    UnitHoldRecord,
    record_at,
)

MEMBER = "11440700MB2C1A000U"
heights = st.integers(0, 2**48 - 1)


def packed(*fields: tuple[int, int]) -> int:
    """Values with their widths, from the least significant bit."""
    word = at = 0
    for value, bits in fields:
        word |= value << at
        at += bits
    assert at <= 256
    return word


@given(heights, heights, st.integers(0, 255), st.integers(0, 255))
def test_a_key_word_gives_back_what_was_packed(
    start: int, end: int, purpose: int, algorithm: int
) -> None:
    member = int.from_bytes(MEMBER.encode(), "big")
    word = packed((start, 48), (end, 48), (purpose, 8), (algorithm, 8), (member, 144))
    assert KeyRecord.decode(word) == KeyRecord(start, end, purpose, algorithm, MEMBER)


def test_a_key_is_live_from_its_adding_block_up_to_its_ending_block() -> None:
    key = KeyRecord(10, 20, 4, 1, MEMBER)
    assert [key.live_at(height) for height in (9, 10, 19, 20, 21)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert not key.live
    assert KeyRecord(10, 0, 4, 1, MEMBER).live
    assert not KeyRecord.decode(0).live


@given(heights, heights, heights, heights, st.integers(0, 0xFFFF), heights)
def test_a_member_word_gives_back_what_was_packed(
    a: int, s: int, lifted: int, r: int, roles: int, valid_from: int
) -> None:
    word = packed((a, 48), (s, 48), (lifted, 48), (r, 48), (roles, 16), (valid_from, 48))
    assert MemberRecord.decode(word) == MemberRecord(a, s, lifted, r, roles, valid_from)


def test_a_suspended_member_is_not_live_until_lifted() -> None:
    assert MemberRecord(5, 0, 0, 0, 2).live
    assert not MemberRecord(5, 9, 0, 0, 2).live
    assert MemberRecord(5, 9, 12, 0, 2).live
    assert not MemberRecord(5, 20, 12, 0, 2).live
    assert not MemberRecord(5, 0, 0, 8, 2).live
    assert not MemberRecord.decode(0).live


def test_a_member_was_active_before_its_suspension_and_after_its_lifting() -> None:
    member = MemberRecord(5, 9, 12, 15, 2)
    assert [member.live_at(height) for height in (4, 5, 8, 9, 11, 12, 14, 15)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_a_member_lifted_in_the_block_of_its_suspension_was_active_in_all() -> None:
    member = MemberRecord(5, 9, 9, 0, 2)
    assert all(member.live_at(height) for height in (5, 8, 9, 10, 100))


def test_a_second_suspension_does_not_make_the_first_unsaid() -> None:
    first, second = MemberRecord(5, 100, 150, 0, 2), MemberRecord(5, 200, 0, 0, 2, valid_from=150)
    assert [first.live_at(height) for height in (99, 120, 150, 199)] == [True, False, True, True]
    assert [second.live_at(height) for height in (4, 150, 199, 200, 201)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    for height in (5, 99, 120, 149):
        with pytest.raises(NotAnchored) as refused:
            second.live_at(height)
        assert refused.value.code == "height_not_covered"
        assert not second.live
        assert record_at(second, height, {150: first}.__getitem__).live_at(height) == (height < 100)
    assert record_at(second, 150, {}.__getitem__) is second


def test_the_word_that_tells_of_a_block_is_found_through_all_between() -> None:
    values = {
        150: MemberRecord(5, 100, 150, 0, 2),
        250: MemberRecord(5, 200, 250, 0, 2, valid_from=150),
    }
    latest = MemberRecord(5, 300, 350, 0, 2, valid_from=250)
    live_at_height = {
        height: record_at(latest, height, values.__getitem__).live_at(height)
        for height in range(5, 400)
    }
    assert [height for height, live in live_at_height.items() if not live] == [
        *range(100, 150),
        *range(200, 250),
        *range(300, 350),
    ]


@pytest.mark.parametrize(
    "false",
    [
        MemberRecord.decode(0),
        MemberRecord(5, 100, 140, 0, 2),
        MemberRecord(5, 100, 150, 0, 2, valid_from=150),
    ],
    ids=["none", "lifted at another height", "names itself"],
)
def test_an_earlier_word_that_does_not_continue_the_later_is_refused(false: MemberRecord) -> None:
    with pytest.raises(Inconsistent) as refused:
        record_at(MemberRecord(5, 200, 0, 0, 2, valid_from=150), 120, lambda lifted: false)
    assert refused.value.code == "earlier_record_wrong"


def test_a_role_is_held_by_any_of_its_bits() -> None:
    assert MemberRecord(1, 0, 0, 0, 0b110).has_role(0b10)
    assert not MemberRecord(1, 0, 0, 0, 0b110).has_role(0b1)


@given(heights, heights, heights, heights)
def test_a_grant_word_gives_back_what_was_packed(
    asked: int, approved: int, refused: int, revoked: int
) -> None:
    word = packed((asked, 48), (approved, 48), (refused, 48), (revoked, 48))
    assert GrantRecord.decode(word) == GrantRecord(asked, approved, refused, revoked)


def test_a_grant_is_live_between_approval_and_revocation() -> None:
    grant = GrantRecord(1, 5, 0, 9)
    assert [grant.live_at(height) for height in (4, 5, 8, 9)] == [False, True, True, False]
    assert not grant.live
    assert not GrantRecord(1, 0, 3, 0).live
    assert GrantRecord(1, 5, 0, 0).live


@given(heights, heights, st.integers(0, 2**160 - 1))
def test_a_consent_word_gives_back_what_was_packed(
    recorded: int, withdrawn: int, authority: int
) -> None:
    word = ConsentRecord.decode(packed((recorded, 48), (withdrawn, 48), (authority, 160)))
    assert word == ConsentRecord(recorded, withdrawn, f"0x{authority:040x}")
    assert word.live == (recorded != 0 and withdrawn == 0)


@given(heights, heights, st.booleans())
def test_a_dispute_word_gives_back_what_was_packed(
    opened: int, answered: int, upheld: bool
) -> None:
    member = int.from_bytes(MEMBER.encode(), "big")
    word = packed((opened, 48), (answered, 48), (upheld, 8), (0, 8), (member, 144))
    assert DisputeRecord.decode(word) == DisputeRecord(opened, answered, upheld, MEMBER)


@given(heights, heights, heights, st.integers(0, 2**32 - 1))
def test_an_asset_word_gives_back_what_was_packed(a: int, b: int, c: int, version: int) -> None:
    assert AssetStatus.decode(packed((a, 48), (b, 48), (c, 48), (version, 32))) == AssetStatus(
        a, b, c, version
    )


@given(heights, heights, st.booleans(), st.integers(0, 2**64 - 1), heights)
def test_a_hold_counts_by_its_own_bit(
    placed: int, lifted: int, held: bool, issued: int, valid_from: int
) -> None:
    word = packed((placed, 48), (lifted, 48), (held, 32), (issued, 64), (0, 16), (valid_from, 48))
    assert HoldRecord.decode(word) == HoldRecord(placed, lifted, held, valid_from)


@given(
    heights, heights, st.booleans(), st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1), heights
)
def test_a_units_hold_also_has_its_orders_time_and_end(
    placed: int, lifted: int, held: bool, issued: int, ends: int, valid_from: int
) -> None:
    value = packed(
        (placed, 48), (lifted, 48), (held, 32), (issued, 40), (ends, 40), (valid_from, 48)
    )
    assert UnitHoldRecord.decode(value) == UnitHoldRecord(
        placed, lifted, held, valid_from, issued, ends
    )


def test_a_hold_stood_from_its_placing_up_to_its_lifting() -> None:
    hold = HoldRecord(10, 20, held=False)
    assert [hold.held_at(height) for height in (9, 10, 19, 20)] == [False, True, True, False]
    assert [HoldRecord(20, 20, held=True).held_at(height) for height in (19, 20, 21)] == [
        False,
        True,
        True,
    ]
    assert not HoldRecord(20, 20, held=False).held_at(20)
    assert not HoldRecord.decode(0).held_at(5)


def test_a_second_hold_does_not_make_the_first_unsaid() -> None:
    first, second = (
        HoldRecord(100, 150, held=False),
        HoldRecord(200, 150, held=True, valid_from=150),
    )
    with pytest.raises(NotAnchored) as refused:
        second.held_at(120)
    assert refused.value.code == "height_not_covered"
    assert record_at(second, 120, {150: first}.__getitem__).held_at(120)
    assert [second.held_at(height) for height in (150, 199, 200)] == [False, False, True]


@given(heights, heights, heights, st.integers(0, 127), heights)
def test_a_deal_word_gives_back_what_was_packed(
    a: int, b: int, c: int, mask: int, last: int
) -> None:
    word = DealRecord.decode(packed((a, 48), (b, 48), (c, 48), (mask, 8), (last, 48)))
    assert word == DealRecord(a, b, c, mask, last)
    assert [step for step in range(1, 8) if word.done(step)] == [
        n + 1 for n in range(7) if mask >> n & 1
    ]


@given(st.integers(0, 2**64 - 1), heights)
def test_a_log_word_gives_back_what_was_packed(size: int, height: int) -> None:
    assert LogRecord.decode(packed((size, 64), (height, 48))) == LogRecord(size, height)


def test_the_settlement_words_give_back_what_was_packed() -> None:
    assert LaneRecord.decode(packed((7, 128), (8, 64), (9, 64))) == LaneRecord(
        amount=7, units=8, seq=9
    )
    account = AccountRecord.decode(
        packed((12, 64), (2, 64), (8, 64), (3, 64)), packed((12, 64), (1, 64), (2, 64))
    )
    assert account == AccountRecord(
        deposited=12, withdrawn=1, free=12, locked=2, earned=8, spent=3, bonded=2
    )
    assert account.balanced
    state = AgreementRecord.decode(
        packed((100, 64), (60, 64), (0, 64), (60, 64)),
        packed((5, 64), (20, 64), (7, 64), (1, 64)),
        packed((3, 48), (0, 48), (0, 48), (0, 48), (11, 64)),
    )
    assert (state.bond_due, state.bond_held, state.bond_taken, state.pending) == (5, 20, 7, 1)
    assert state.acknowledged_units == 11
    assert (state.opened, state.paid, state.refunded, state.acknowledged, state.locked) == (
        100,
        60,
        0,
        60,
        40,
    )
    assert state.live


def test_the_words_of_a_dispute_give_back_what_was_packed() -> None:
    heights = packed((3, 48), (4, 48), (5, 48), (0, 48), (2, 8), (6, 8))
    record = TradeDisputeRecord.decode(heights, packed((7, 48), (8, 48), (9, 48)), 1, 2, 3)
    assert (record.claimed_at, record.contested_at, record.answered_at) == (3, 4, 5)
    assert (record.claimed_time, record.contested_time, record.answered_time) == (7, 8, 9)
    assert (record.reason, record.outcome, record.live) == (2, 6, True)
    assert [value[-1] for value in (record.contest_key, record.sealed_answer, record.ruling)] == [
        1,
        2,
        3,
    ]
    assert FlagRecord.decode(packed((3, 48), (9, 48), (2, 32))) == FlagRecord(3, 9, 2)
