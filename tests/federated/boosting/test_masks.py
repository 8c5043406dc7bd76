"""Masks are made ahead, each is taken once, and making them stops when nobody wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from federated.boosting import masks
from federated.boosting.he import OU, Ciphertexts
from federated.boosting.masks import Masks


class Numbered:
    """In the place of a key: what it makes are numbers in order, so that it shows which are taken."""

    scheme = OU

    def __init__(self, most: int = 10**9) -> None:
        self.made, self._most = 0, most

    def encrypt(self, zeros: Any) -> Ciphertexts:
        if self.made + len(zeros) > self._most:
            raise ValueError("the library cannot")
        first, self.made = self.made, self.made + len(zeros)
        return np.arange(first, self.made, dtype=np.uint32).view(np.uint8).reshape(-1, 4).repeat(OU.width // 4, axis=1)


def run(key: Numbered, count: int, act: Callable[[Masks], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(60), Masks(key, count) as made:  # type: ignore[arg-type]
            return await act(made)

    return asyncio.run(within())


def test_each_is_taken_once_and_in_order() -> None:
    async def take(made: Masks) -> list[bytes]:
        return [row.tobytes() for count in (1, 300, 0, 700, 24) for row in await made.take(count)]

    key = Numbered()
    taken = run(key, 1025, take)
    assert len(taken) == len(set(taken)) == key.made == 1025
    assert taken == sorted(taken, key=lambda row: int.from_bytes(bytes(row[at] for at in (0, 65, 130, 195)), "little"))


def test_no_more_are_made_than_were_ordered_or_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_AHEAD", 1024)

    async def wait(made: Masks) -> None:
        await made.take(1)
        await asyncio.sleep(0.2)

    key = Numbered()
    run(key, 10**6, wait)
    assert 1024 <= key.made <= 1024 + 3 * 256
    key = Numbered()
    run(key, 300, wait)
    assert key.made == 300


def test_more_than_were_ordered_are_not_given() -> None:
    with pytest.raises(RuntimeError):
        run(Numbered(), 300, lambda made: made.take(301))


def test_what_the_library_cannot_do_is_raised_where_masks_are_taken() -> None:
    with pytest.raises(ValueError, match="cannot"):
        run(Numbered(most=256), 1000, lambda made: made.take(300))
