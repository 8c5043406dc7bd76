"""Limits of calls as pure rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.errors import Forbidden
from exchange.metering.gateway_rules import UnknownSubjects
from exchange.metering.model import GatewayLimits


@given(
    limit=st.integers(1, 5),
    seconds=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 30), max_size=40),
)
def test_no_period_has_more_unknown_subjects_than_the_limit(
    limit: int, seconds: int, gaps: list[int]
) -> None:
    limits = GatewayLimits(unknown_subjects=limit, unknown_seconds=seconds)
    unknown, now, answered = UnknownSubjects.of(limits), 0, []
    for gap in gaps:
        now += gap
        try:
            unknown.require_below(now)
        except Forbidden:
            assert now < unknown.refused_until(now) <= now + seconds
            continue
        unknown.add(now)
        answered.append(now)
    for start in answered:
        assert sum(start <= number < start + seconds for number in answered) <= limit
    again = UnknownSubjects.of(limits, answered[-limit:])
    assert again.refused_until(now) == unknown.refused_until(now)


@pytest.mark.parametrize("size", [0, 32_000_001])
def test_an_answer_limit_beyond_what_nodes_accept_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="answer_bytes"):
        GatewayLimits(answer_bytes=size)
