"""Headers from the chain nodes, each checked by the finality rule and linked by parent hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.core.errors import BadInput
from chain.ethereum.finality import CheckedHeader, FinalityRule, header_refused
from chain.ethereum.rpc import Call, Rpc, RpcRefused

MAX_LINKED_HEADERS = 64
"""Missed headers that are fetched to check the links; after a longer absence the seals alone
decide.
"""
MAX_STORED_HEADERS = 512


class HeaderChain:
    """Reads, checks and stores headers. Heights are block numbers."""

    def __init__(self, rpc: Rpc, rule: FinalityRule) -> None:
        self._rpc = rpc
        self._rule = rule
        self._stored: dict[int, CheckedHeader] = {}
        self._latest: tuple[Any, CheckedHeader] | None = None
        """The last answer for the latest block, and its header once it was checked."""

    def stored(self, height: int) -> CheckedHeader | None:
        """The header of a height if it is stored."""
        return self._stored.get(height)

    def store(self, header: CheckedHeader) -> None:
        """Store a checked header; the oldest stored ones are dropped."""
        self._stored[header.height] = header
        while len(self._stored) > MAX_STORED_HEADERS:
            del self._stored[next(iter(self._stored))]

    def latest(self) -> CheckedHeader:
        """The chain's latest header, checked; the same answer as the last one is checked once."""
        answer = self._call(self._rule.request(None))
        if self._latest is None or self._latest[0] != answer:
            self._latest = answer, self._checked(answer, None)
        return self._latest[1]

    def header(self, height: int, *, head: int) -> CheckedHeader:
        """A checked header at or below ``head``.

        Raises:
            Unavailable: ``chain_header_refused`` when it does not check.
            BadInput: ``height_ahead`` for a height above ``head``.
        """
        stored = self._stored.get(height)
        if stored is not None:
            return stored
        if height > head:
            raise BadInput("height_ahead", f"The chain view has not reached block {height}.")
        return self._checked(self._call(self._rule.request(height)), height)

    def headers(self, first: int, last: int, *, head: int) -> list[CheckedHeader]:
        """The headers of consecutive blocks at or below ``head``.

        The last one's seals are checked. Each other is the parent that the next one names by
        hash, which proves it as well at a tenth of the cost.

        Raises:
            Unavailable: ``chain_header_refused`` when one does not check, or the nodes' own
                failures.
            BadInput: ``height_ahead`` for a height above ``head``.
        """
        newest = self.header(last, head=head)
        below = range(last - 1, first - 1, -1)
        known = {
            height: header for height in below if (header := self._stored.get(height)) is not None
        }
        missing = [height for height in below if height not in known]
        answers = self._batch([self._rule.request(height) for height in missing])
        known.update(
            (height, self._read(answer)) for height, answer in zip(missing, answers, strict=True)
        )
        found = [newest]
        for height in below:
            if known[height].height != height or known[height].block_hash != found[-1].parent_hash:
                raise header_refused(
                    f"The chain node's block {height} does not lead to block {height + 1}."
                )
            found.append(known[height])
        return found[::-1]

    def require_linked(self, old: CheckedHeader, new: CheckedHeader) -> None:
        """Check the chain of parent hashes from the last head to the new one."""
        missing = range(old.height + 1, new.height)
        if len(missing) > MAX_LINKED_HEADERS:
            return
        answers = self._rpc.batch([self._rule.request(height) for height in missing])
        between = [
            self._checked(answer, height) for answer, height in zip(answers, missing, strict=True)
        ]
        for parent, child in zip([old, *between], [*between, new], strict=True):
            if child.parent_hash != parent.block_hash:
                raise header_refused(
                    f"The chain node's block {child.height} does not follow block {parent.height}."
                )
        self._stored.update((header.height, header) for header in between)

    def _checked(self, answer: Any, height: int | None) -> CheckedHeader:
        if isinstance(answer, RpcRefused):
            raise answer
        if not isinstance(answer, dict):
            raise header_refused("The chain node gave no header.")
        header = self._rule.check(answer)
        if height is not None and header.height != height:
            raise header_refused(f"The chain node gave block {header.height} for block {height}.")
        return header

    def _read(self, answer: Any) -> CheckedHeader:
        if not isinstance(answer, dict):
            raise header_refused("The chain node gave no header.")
        return self._rule.read(answer)

    def _call(self, call: Call) -> Any:
        return self._rpc.call(call[0], *call[1])

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        return require_answers(self._rpc.batch(calls))


def require_answers(answers: list[Any]) -> list[Any]:
    """The answers of a batch; raises the first refusal among them."""
    for answer in answers:
        if isinstance(answer, RpcRefused):
            raise answer
    return answers
