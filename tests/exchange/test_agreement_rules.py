"""The states of proposals and agreements, and what an order names: rules without a chain."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.errors import BadInput, Conflict
from chain.ethereum.records import AccountRecord, AgreementRecord
from chain.statements.trade import MeteredUnit, Share
from exchange.agreements import rules, stages
from exchange.agreements.model import (
    ENDED,
    MAX_FEN,
    PENDING,
    AgreementSide,
    AgreementStage,
    Offer,
    StatedTerms,
)

BY_CHAIN = (AgreementStage.OPEN, AgreementStage.NOTICE, AgreementStage.CLOSED)
fen = st.integers(0, MAX_FEN)
small = st.integers(0, 2**31)
offers = st.builds(
    Offer,
    asset_id=st.binary(min_size=32, max_size=32),
    asset_version=st.integers(1, 9),
    unit=st.sampled_from(MeteredUnit),
    price=fen,
    max_cap=fen,
    max_units=fen,
    max_per_call=fen,
    max_lanes=st.integers(1, 256),
    max_seconds=st.integers(1, 2**40),
    close_window_blocks=small,
    close_window_seconds=small,
    shares=st.lists(
        st.builds(
            Share,
            st.sampled_from(("11440700MB2X0C000E", "11440700MB2X0C0012")),
            st.integers(0, 10_000),
        ),
        max_size=3,
    ).map(tuple),
    buyers=st.lists(st.sampled_from(("C", "D")), max_size=2).map(tuple),
)


def test_every_state_has_its_row_and_only_closed_is_without_a_way_on() -> None:
    assert set(stages.NEXT) == set(AgreementStage)
    assert [state for state in AgreementStage if not stages.NEXT[state]] == [AgreementStage.CLOSED]


def test_every_pending_proposal_can_end_and_what_ended_opens_by_the_chain_alone() -> None:
    for state in PENDING:
        assert set(ENDED) | {AgreementStage.OPEN} <= stages.NEXT[state]
    for state in ENDED:
        assert AgreementStage.OPEN in stages.NEXT[state]
        assert not stages.NEXT[state] & set(PENDING), "no proposal begins again"
    for state in BY_CHAIN:
        assert stages.NEXT[state] <= set(BY_CHAIN), (
            "what the chain has opened is nobody's to fail or withdraw"
        )


@given(
    state=st.sampled_from(AgreementStage),
    side=st.sampled_from(AgreementSide),
    open_before=small,
    opened_at=st.integers(0, 9),
    height=small,
    chain_time=small,
    refusal=st.none() | st.tuples(st.just("not_enough_free"), small),
)
def test_a_proposal_ends_only_where_the_chain_cannot_open_it_or_refused_it(
    state: AgreementStage,
    side: AgreementSide,
    open_before: int,
    opened_at: int,
    height: int,
    chain_time: int,
    refusal: tuple[str, int] | None,
) -> None:
    end = stages.end_of(
        state,
        side,
        open_before=open_before,
        opened_at=opened_at,
        height=height,
        chain_time=chain_time,
        refusal=refusal,
    )
    if end is None:
        refused = side is AgreementSide.BUYER and refusal is not None and refusal[1] <= height
        assert state not in PENDING or opened_at or (chain_time <= open_before and not refused)
        return
    assert stages.may_follow(state, end.state)
    assert not opened_at
    if end.state is AgreementStage.FAILED:
        assert (side, end.reason) == (AgreementSide.BUYER, "not_enough_free")
    else:
        assert (end.state, chain_time > open_before) == (AgreementStage.EXPIRED, True)


@pytest.mark.parametrize("state", AgreementStage)
def test_only_a_pending_proposal_is_sent_or_withdrawn(state: AgreementStage) -> None:
    if state in PENDING:
        stages.require_pending(state, None)
        return
    with pytest.raises(Conflict) as refused:
        stages.require_pending(state, "code")
    assert refused.value.code == ("proposal_ended" if state in ENDED else "agreement_open")


@given(offers, offers)
def test_two_offers_have_one_hash_only_if_no_term_differs(one: Offer, other: Offer) -> None:
    assert Offer.from_json(one.to_json()).terms_hash() == one.terms_hash()
    assert (one.terms_hash() == other.terms_hash()) == (rules.offer_changes(one, other) == [])
    assert dataclasses.replace(one, buyers=("X",)).terms_hash() == one.terms_hash()


@given(offers, st.data())
def test_each_single_term_that_changes_changes_the_hash_and_is_named(
    offer: Offer, data: Any
) -> None:
    name = data.draw(
        st.sampled_from(
            [field.name for field in dataclasses.fields(Offer) if field.name != "buyers"]
        )
    )
    drawn = data.draw(offers)
    changed = dataclasses.replace(offer, **{name: getattr(drawn, name)})
    same = getattr(changed, name) == getattr(offer, name)
    assert (changed.terms_hash() == offer.terms_hash()) == same
    assert len(rules.offer_changes(offer, changed)) == (0 if same else 1)


@given(offers)
def test_an_order_that_states_the_offers_own_terms_meets_it_and_any_worse_one_does_not(
    offer: Offer,
) -> None:
    stated = StatedTerms(
        unit=offer.unit,
        price=offer.price,
        shares=offer.shares,
        max_per_call=offer.max_per_call,
        close_window_blocks=offer.close_window_blocks,
        close_window_seconds=offer.close_window_seconds,
    )
    rules.require_named(None, stated)
    assert rules.stated_changes(stated, offer) == []
    worse: dict[str, tuple[str, Any]] = {
        "price": ("price", offer.price + 1),
        "max_per_call": ("maxPerCall", offer.max_per_call + 1),
        "close_window_blocks": ("closeWindowBlocks", offer.close_window_blocks - 1),
        "close_window_seconds": ("closeWindowSeconds", offer.close_window_seconds - 1),
        "unit": ("unit", next(unit for unit in MeteredUnit if unit != offer.unit)),
        "shares": ("shares", (*offer.shares, Share("11440700MB2C62170M", 0))),
    }
    assert set(worse) == {field.name for field in dataclasses.fields(StatedTerms)}
    for field, (name, value) in worse.items():
        changed = dataclasses.replace(stated, **{field: value})
        assert [change.term for change in rules.stated_changes(changed, offer)] == [name]
        with pytest.raises(BadInput) as refused:
            rules.require_named(None, dataclasses.replace(stated, **{field: None}))
        assert (refused.value.code, refused.value.context["missing"]) == ("offer_not_named", [name])


@pytest.mark.parametrize("free", [0, 999])
def test_a_balance_below_the_cap_is_not_enough(free: int) -> None:
    with pytest.raises(Conflict) as refused:
        rules.require_free(AccountRecord(0, 0, free, 10**6, 0, 0), 1000, party="buyer")
    assert (refused.value.code, refused.value.context) == (
        "not_enough_free",
        {"free": free, "needed": 1000},
    )
    rules.require_free(AccountRecord(0, 0, 1000, 0, 0, 0), 1000, party="buyer")


@pytest.mark.parametrize(
    ("opened_at", "closed_at", "code"),
    [(0, 0, "agreement_not_open"), (5, 9, "agreement_is_closed")],
)
def test_only_an_open_agreement_is_claimed_or_ended(
    opened_at: int, closed_at: int, code: str
) -> None:
    with pytest.raises(Conflict) as refused:
        rules.require_running(AgreementRecord(0, 0, 0, 0, opened_at, 0, 0, closed_at))
    assert refused.value.code == code
    rules.require_running(AgreementRecord(0, 0, 0, 0, 5, 6, 7, 0))


def test_a_reported_reason_is_a_code_or_nothing_is_recorded() -> None:
    for state, reason in (
        (AgreementStage.OPEN, "x"),
        (AgreementStage.EXPIRED, "x"),
        (AgreementStage.FAILED, ""),
        (AgreementStage.FAILED, "<b>"),
        (AgreementStage.FAILED, "x" * 65),
    ):
        with pytest.raises(BadInput) as refused:
            stages.reported_end(state, reason)
        assert refused.value.code == "end_malformed"
    assert stages.reported_end(AgreementStage.FAILED, "not_enough_free").reason == "not_enough_free"
