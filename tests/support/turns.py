"""Values in turn: each place of many meets some of them, and all places together meet all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")


def turns(of: int) -> pytest.MarkDecorator:
    """A test whose places each get every value of this number; all values in the long run."""
    return pytest.mark.parametrize("of", [of, pytest.param(1, marks=pytest.mark.long)])


def in_turn(values: Sequence[T], turn: int, of: int) -> Sequence[T]:
    """The values of this turn; ``of`` turns have them all."""
    return values[turn % of :: of]
