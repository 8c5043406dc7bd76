"""Reasons: a code on the chain and its Chinese name, never empty and never free text."""

from __future__ import annotations

import pytest

from chain.core.errors import BadInput
from registry.grants.signing import decision_of, revocation_of
from registry.reasons import REASONS, reason_code

GRANT = bytes(32)


@pytest.mark.parametrize(("code", "name"), REASONS.items())
def test_a_reason_is_given_as_its_code_or_its_chinese_name(code: str, name: str) -> None:
    assert reason_code(code) == reason_code(f" {name} ") == code


def test_a_network_may_use_further_codes() -> None:
    assert reason_code("supervision-2026.7") == "supervision-2026.7"


@pytest.mark.parametrize("text", ["张三的数据有误", "Data Error", "x" * 32, "a\nb"])
def test_free_text_is_refused_with_the_codes_that_are_known(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        reason_code(text)
    assert refused.value.code == "reason_malformed"
    assert "data-error (数据有误)" in refused.value.hint


def test_a_revocation_and_a_refusal_need_a_reason_and_an_approval_does_not() -> None:
    for made in (
        lambda: revocation_of(GRANT, reason=" ", now=1),
        lambda: decision_of(GRANT, approved=False, reason="", now=1),
    ):
        with pytest.raises(BadInput) as refused:
            made()
        assert refused.value.code == "reason_missing"
    assert decision_of(GRANT, approved=True, reason="", now=1).reason == ""
    assert revocation_of(GRANT, reason="违规使用", now=1).reason == "misuse"
