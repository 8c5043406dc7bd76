"""A chain that moves on after every proved read, so that two reads are of two blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chain.context import Context
from chain.ethereum.proved_records import ProvedRecords
from tests.support.waiting import SECONDS


@contextmanager
def decided_on_one_block(*contexts: Context) -> Iterator[None]:
    """What runs meanwhile decides on records of one block at each node, although the chain makes a
    block, which the node's view sees, after every read.
    """
    reads: list[list[ProvedRecords]] = [[] for _ in contexts]
    for context, found in zip(contexts, reads, strict=True):
        _move_after_each_read(context, found)
    try:
        yield
    finally:
        for context in contexts:
            del context.view.proved, context.view.aproved
    blocks = [{records.block_hash for records in found} for found in reads]
    assert [len(found) for found in blocks] == [1] * len(contexts)


def _move_after_each_read(context: Context, found: list[ProvedRecords]) -> None:
    view: Any = context.view
    proved = view.proved

    def read(*wanted: Any, **options: Any) -> ProvedRecords:
        records: ProvedRecords = proved(*wanted, **options)
        found.append(records)
        context.ledger.rpc.call("anvil_mine", "0x1")
        view.wait_for_height(records.height + 1, SECONDS)
        return records

    async def aread(*wanted: Any, **options: Any) -> ProvedRecords:
        return await asyncio.to_thread(read, *wanted, **options)

    view.proved, view.aproved = read, aread
