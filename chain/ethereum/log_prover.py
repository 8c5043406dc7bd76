"""The network contracts' logs of checked blocks, proved complete by bloom and receipts root."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.core.errors import ChainUnavailable, Malformed, Unavailable
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import CheckedHeader, FinalityRule
from chain.ethereum.receipts import (
    BlockLogs,
    ProvedLogs,
    Receipt,
    bloom_bits,
    indexed_root,
    may_have_logs,
)
from chain.ethereum.rpc import Rpc, RpcRefused

MAX_LOGS = 5_000
"""Once so many logs are read, the range of blocks ends."""


class LogProver:
    """Reads receipts and checks them against the headers' receipts roots."""

    def __init__(self, rpc: Rpc, rule: FinalityRule, deployment: Deployment) -> None:
        self._rpc = rpc
        self._rule = rule
        self._bloom_bits = [bloom_bits(address) for address in deployment.contracts.values()]

    def may_have(self, header: CheckedHeader) -> bool:
        """Whether the header's bloom admits a log of the network's contracts."""
        return may_have_logs(header.logs_bloom, self._bloom_bits)

    def logs(self, headers: Sequence[CheckedHeader]) -> ProvedLogs:
        """All logs of the network's contracts in consecutive blocks; at least of the first.

        A header's bloom proves that a block has no such log; other blocks are read by all their
        receipts. ``chain_receipts_refused`` when these do not have the header's root.
        """
        ours = [header for header in headers if self.may_have(header)]
        blocks: list[BlockLogs] = []
        for header in ours:
            # One block for each exchange: a block's size is bounded, so its receipts fit an answer.
            (answer,) = self._rpc.batch([self._rule.receipts_request(header.height)])
            blocks.append(self._block_logs(header, answer))
            if sum(len(block.logs) for block in blocks) >= MAX_LOGS:
                return ProvedLogs(header.height, header.block_hash, tuple(blocks))
        return ProvedLogs(headers[-1].height, headers[-1].block_hash, tuple(blocks))

    def _block_logs(self, header: CheckedHeader, answer: Any) -> BlockLogs:
        """A block's logs, once its receipts have the root that the header names."""
        receipts = checked_receipts(header, answer, self._rule)
        return BlockLogs(
            header.height,
            header.block_hash,
            tuple(found for receipt in receipts for found in receipt.logs),
            header.timestamp,
        )


def checked_receipts(header: CheckedHeader, answer: Any, rule: FinalityRule) -> list[Receipt]:
    """A block's receipts in a node's answer, once they have the root that the header names:
    ``chain_receipts_refused``.
    """
    if isinstance(answer, RpcRefused) or not isinstance(answer, list):
        raise _receipts_refused(f"The chain node gives no receipts of block {header.height}.")
    try:
        receipts = [rule.receipt(item) for item in answer]
    except (Malformed, AttributeError) as error:
        raise _receipts_refused(
            f"The chain node's receipts of block {header.height} cannot be read."
        ) from error
    if indexed_root([receipt.encoding for receipt in receipts]) != header.receipts_root:
        raise _receipts_refused(
            f"The chain node's receipts of block {header.height} are not that block's."
        )
    return receipts


def _receipts_refused(sentence: str) -> Unavailable:
    return ChainUnavailable(
        "chain_receipts_refused",
        sentence,
        hint="The chain node is faulty, keeps no old receipts, or lies: "
        "use another one and inform its operator.",
    )
