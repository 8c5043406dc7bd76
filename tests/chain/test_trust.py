"""A trust file over time: whose seals count at which height."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.bundle.trust import Trust, read
from chain.core.errors import WrongTrust

RECORDED = Path(__file__).parents[1] / "data" / "bundles" / "trust.json"
NEW = ["0x" + "ab" * 20, "0x" + "cd" * 20]


@pytest.fixture
def held() -> Trust:
    return read(RECORDED.read_bytes())


def test_other_validators_seal_from_their_height_on_and_no_earlier(held: Trust) -> None:
    changed = held.with_validators(100, NEW)
    assert changed.validators_at(99) == held.validators_at(99)
    assert changed.validators_at(100) == frozenset(NEW)
    assert changed.with_validators(200, NEW[:1]).validators_at(150) == frozenset(NEW)


def test_a_changed_trust_file_is_read_again(held: Trust) -> None:
    changed = held.with_validators(100, NEW)
    assert read(json.dumps(changed.to_json()).encode()) == changed


@pytest.mark.parametrize("height", [0, 100])
def test_validators_do_not_change_before_the_last_set_begins(held: Trust, height: int) -> None:
    with pytest.raises(WrongTrust) as caught:
        held.with_validators(100, NEW).with_validators(height, NEW)
    assert caught.value.code == "trust_height"
