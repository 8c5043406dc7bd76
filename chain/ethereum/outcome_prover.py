"""Outcomes of the transactions of a block, proved under its checked header.

A receipt does not name its transaction. So all transactions of the block are read, and the root of
their trie is compared with the header's; a receipt is of the transaction with the same index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chain.core.errors import ChainUnavailable, QiaolianError, Unavailable
from chain.ethereum.finality import CheckedHeader, FinalityRule
from chain.ethereum.header_chain import HeaderChain
from chain.ethereum.log_prover import checked_receipts
from chain.ethereum.receipts import indexed_root, transaction_hash
from chain.ethereum.rpc import Rpc

MAX_TRANSACTIONS_PER_EXCHANGE = 200


class OutcomeProver:
    """Reads blocks' transactions and receipts, and checks them against the headers' roots."""

    def __init__(self, rpc: Rpc, rule: FinalityRule) -> None:
        self._rpc = rpc
        self._rule = rule
        self._headers = HeaderChain(rpc, rule)

    def outcomes(self, height: int) -> Mapping[bytes, bool]:
        """Whether each transaction of a block succeeded, by its hash. If a node's answer does not
        hold, the next node is asked.

        Raises:
            Unavailable: ``chain_header_refused``, ``chain_receipts_refused``,
                ``chain_transactions_refused`` when no node's answer holds.
        """
        for remaining in reversed(range(len(self._rpc.urls))):
            try:
                return self._outcomes(self._headers.header(height, head=height))
            except QiaolianError:
                self._rpc.switch_node()
                if not remaining:
                    raise
        raise AssertionError("unreachable")

    def _outcomes(self, header: CheckedHeader) -> Mapping[bytes, bool]:
        (answer,) = self._rpc.batch([self._rule.receipts_request(header.height)])
        receipts = checked_receipts(header, answer, self._rule)
        transactions = list(self._transactions(header.height, len(receipts)))
        if indexed_root(transactions) != header.transactions_root:
            raise _transactions_refused(
                f"The chain node's transactions of block {header.height} are not that block's."
            )
        return {
            transaction_hash(transaction): receipt.succeeded
            for transaction, receipt in zip(transactions, receipts, strict=True)
        }

    def _transactions(self, height: int, count: int) -> Iterator[bytes]:
        for start in range(0, count, MAX_TRANSACTIONS_PER_EXCHANGE):
            indexes = range(start, min(start + MAX_TRANSACTIONS_PER_EXCHANGE, count))
            calls = [self._rule.transaction_request(height, index) for index in indexes]
            yield from (_encoding(height, answer) for answer in self._rpc.batch(calls))


def _encoding(height: int, answer: Any) -> bytes:
    try:
        return bytes.fromhex(answer.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise _transactions_refused(
            f"The chain node gives no transactions of block {height}."
        ) from error


def _transactions_refused(sentence: str) -> Unavailable:
    return ChainUnavailable(
        "chain_transactions_refused",
        sentence,
        hint="The chain node is faulty, is behind a proxy that does not pass the request, or lies: "
        "use another one and inform its operator.",
    )
