"""Every custom error of the contracts is reached by a forge test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CONTRACTS = Path(__file__).parents[2] / "contracts"
TESTS = "".join(path.read_text() for path in sorted((CONTRACTS / "test").glob("*.t.sol")))


def declared(path: Path) -> set[str]:
    """The errors that a source declares, each with its contract's name."""
    return {
        f"{path.stem}.{name}"
        for name in re.findall(r"^    error (\w+)\(", path.read_text(), flags=re.MULTILINE)
    }


@pytest.mark.parametrize(
    "path", sorted((CONTRACTS / "src").glob("*.sol")), ids=lambda path: path.stem
)
def test_every_error_is_expected_by_a_test(path: Path) -> None:
    expected = set(re.findall(r"(?:fails|failsSomehow)\(\s*(\w+\.\w+)\.selector", TESTS))
    only_by_hand = {"MemberDirectory.OnlyGovernance"}
    assert declared(path) - expected - only_by_hand == set()
