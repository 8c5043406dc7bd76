"""The Ledger port: typed reads, calls, events and outcomes of the contracts, whatever engine runs
the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chain.core.errors import BadInput
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger.abi import ContractAbi, Reverted, contract_abi, decode_revert
from chain.ethereum.ledger.contracts import (
    AssetRegistry,
    CreditLedger,
    EvidenceLog,
    GrantRegistry,
    MemberDirectory,
    PropertyLedger,
    TradeDisputes,
    TradeSettlement,
)
from chain.ethereum.receipts import BlockLogs
from chain.ethereum.rpc import Call, ChainAnswer, Rpc, RpcRefused

MAX_BLOCKS_PER_QUERY = 2000
"""Events are asked for in ranges of at most this many blocks."""


MAX_SENT_BYTES = 256 * 1024
"""Hexadecimal digits of transactions in one exchange. A Kaia node reads half a megabyte, and
answers a longer request with something that is not JSON-RPC.
"""


@dataclass(frozen=True)
class Event:
    """One event of one of the network's contracts."""

    contract: str
    name: str
    arguments: dict[str, Any]
    """By Solidity name: bytes, ints, bools, member ids as text, lowercase addresses, structs as
    ``chain.statements`` dataclasses. Codes outside structs are ``bytes32``;
    ``chain.ethereum.ledger.code_text`` reads them.
    """
    height: int
    block_hash: bytes
    log_index: int
    """Position among all logs of the block."""
    timestamp: int = 0
    """The block's time in Unix seconds, for events of proved logs; 0 for others."""


@dataclass(frozen=True)
class TransactionReceipt:
    """Outcome of a transaction."""

    transaction_hash: bytes
    height: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    contract_address: str | None
    events: tuple[Event, ...] = field(default=())


@dataclass(frozen=True)
class Block:
    """A block from a chain node, its seals unchecked (``chain.ethereum.view`` checks them)."""

    height: int
    block_hash: bytes
    parent_hash: bytes
    timestamp: int
    transactions: tuple[bytes, ...]
    """Transaction hashes in order."""


class Ledger:
    """The contracts of one deployment, over any of several chain nodes.

    Typed reads are ``ledger.members``, ``.assets``, ``.grants``, ``.settlement``, ``.evidence``,
    ``.credit`` and
    ``.property``: plain ``eth_call``s that trust the node asked. What allows something is read
        through ``chain.ethereum.view`` instead. Every read takes ``height``.
    """

    def __init__(
        self, rpc_urls: str | Sequence[str], deployment: Deployment, *, timeout: float = 10.0
    ) -> None:
        urls = (rpc_urls,) if isinstance(rpc_urls, str) else tuple(rpc_urls)
        self.deployment = deployment
        self.rpc = Rpc(
            urls,
            chain_id=deployment.chain_id,
            genesis_hash=deployment.genesis_hash,
            timeout=timeout,
        )
        self.members = MemberDirectory(self)
        self.assets = AssetRegistry(self)
        self.grants = GrantRegistry(self)
        self.settlement = TradeSettlement(self)
        self.disputes = TradeDisputes(self)
        self.evidence = EvidenceLog(self)
        self.credit = CreditLedger(self)
        self.property = PropertyLedger(self)
        self._traces = True
        self._names = {address: name for name, address in deployment.contracts.items()}

    def close(self) -> None:
        """Drop the connections."""
        self.rpc.close()

    def encode(self, contract: str, function: str, *arguments: Any) -> tuple[str, bytes]:
        """The address and call data of a call. Structs of ``chain.statements`` go in as they
        are.
        """
        return self.deployment.address(contract), contract_abi(contract).encode(function, arguments)

    def read(
        self, contract: str, function: str, *arguments: Any, height: int | None = None
    ) -> tuple[Any, ...]:
        """Call a view function.

        Raises:
            Reverted: the contract's custom error, by name.
            Unavailable: ``chain_unreachable``, ``chain_wrong_id``, ``chain_bad_answer``.
        """
        address, data = self.encode(contract, function, *arguments)
        return contract_abi(contract).decode(function, self.simulate(address, data, height=height))

    def simulate(
        self, address: str, data: bytes, *, sender: str | None = None, height: int | None = None
    ) -> bytes:
        """Run a call against a block's state without sending it: what it returns, or
        ``Reverted``.
        """
        request = {"to": address, "data": "0x" + data.hex(), "gas": "0x5f5e100"}
        if sender is not None:
            request["from"] = sender
        try:
            answer = self.rpc.call("eth_call", request, _tag(height))
        except RpcRefused as refused:
            revert = self._revert_of(refused)
            if revert is None:
                raise
            raise revert from refused
        return _bytes(answer)

    def height(self) -> int:
        """The number of the latest block."""
        return _int(self.rpc.call("eth_blockNumber"))

    def block(self, height: int) -> Block | None:
        """A block, or None if it does not exist yet."""
        return self.blocks([height])[0]

    def blocks(self, heights: Iterable[int]) -> list[Block | None]:
        """Several blocks in one exchange."""
        calls: list[Call] = [("eth_getBlockByNumber", (hex(height), False)) for height in heights]
        return [
            None if answer is None else _block(answer)
            for answer in map(_raise_refusal, self.rpc.batch(calls))
        ]

    def receipt(self, transaction_hash: bytes) -> TransactionReceipt | None:
        """Outcome of a transaction, or None while it is in no block."""
        return self.receipts([transaction_hash])[0]

    def receipts(self, transaction_hashes: Sequence[bytes]) -> list[TransactionReceipt | None]:
        """Several receipts in one exchange."""
        calls: list[Call] = [
            ("eth_getTransactionReceipt", ("0x" + transaction_digest.hex(),))
            for transaction_digest in transaction_hashes
        ]
        answers = map(_raise_refusal, self.rpc.batch(calls))
        return [None if answer is None else self._receipt(answer) for answer in answers]

    def nonce(self, address: str) -> int:
        """The number of an account's transactions in blocks."""
        return _int(self.rpc.call("eth_getTransactionCount", address, "latest"))

    def send(self, raw_transactions: Sequence[bytes]) -> list[bytes | RpcRefused]:
        """Send signed transactions to a node, in as few exchanges as it reads whole: each one's
        hash, or the node's refusal. If an exchange fails, those before it have been sent.
        """
        answers: list[Any] = []
        for part in _exchanges(raw_transactions):
            answers += self.rpc.batch(
                [("eth_sendRawTransaction", ("0x" + raw.hex(),)) for raw in part]
            )
        return [answer if isinstance(answer, RpcRefused) else _bytes(answer) for answer in answers]

    def decode_logs(self, block: BlockLogs) -> list[Event]:
        """The events of the network's contracts among a block's proved logs, in chain order."""
        found = (
            self._decoded(log.address, log.topics, log.data, block.height, block.block_hash, index)
            for index, log in enumerate(block.logs)
        )
        return [replace(event, timestamp=block.timestamp) for event in found if event is not None]

    def events(
        self, from_height: int, to_height: int, contracts: Sequence[str] | None = None
    ) -> list[Event]:
        """Events of the named contracts (all, if None), both heights included, in chain order, as
        the node reports them.

        Nothing shows that they are in their blocks or that none is missing: for counts and
        displays. What is stored comes from ``ChainView.logs`` and ``decode_logs``.
        """
        names = tuple(self.deployment.contracts) if contracts is None else contracts
        addresses = [self.deployment.address(name) for name in names]
        found: list[Event] = []
        for start in range(from_height, to_height + 1, MAX_BLOCKS_PER_QUERY):
            end = min(start + MAX_BLOCKS_PER_QUERY - 1, to_height)
            query = {"fromBlock": hex(start), "toBlock": hex(end), "address": addresses}
            found.extend(self._events(self.rpc.call("eth_getLogs", query)))
        return found

    def revert_reason(
        self,
        address: str,
        data: bytes,
        sender: str,
        height: int,
        *,
        transaction_hash: bytes | None = None,
    ) -> Reverted:
        """The reason of a transaction that failed in block ``height``.

        Exact where the engine traces transactions. Elsewhere the same call is run again on the
        state after and before that block (and on the latest, where the engine keeps no other): a
        reason that other transactions of the block changed may then come back as another, or as
        plain ``reverted``. That it failed is certain either way.
        """
        traced = None if transaction_hash is None else self._traced_revert(transaction_hash)
        if traced is not None:
            return traced
        for state in (height, height - 1, None):
            try:
                self.simulate(address, data, sender=sender, height=state)
            except Reverted as reverted:
                return reverted
            except RpcRefused:
                continue
        return Reverted(
            "reverted", "The contract refused, for a reason that held only inside its block."
        )

    def _traced_revert(self, transaction_hash: bytes) -> Reverted | None:
        if not self._traces:
            return None
        quiet = {"disableStack": True, "disableStorage": True, "enableMemory": False, "limit": 1}
        try:
            answer = self.rpc.call("debug_traceTransaction", "0x" + transaction_hash.hex(), quiet)
        except RpcRefused:
            self._traces = False
            return None
        output = answer.get("returnValue") if isinstance(answer, dict) else None
        return decode_revert(_bytes(output), *self._abis()) if output else None

    def _revert_of(self, refused: RpcRefused) -> Reverted | None:
        """The revert in a node's refusal of an ``eth_call``, or None when it is about something
        else.
        """
        data = refused.data.get("data") if isinstance(refused.data, dict) else refused.data
        if isinstance(data, str) and data.startswith("0x"):
            try:
                raw = bytes.fromhex(data[2:])
            except ValueError:
                return None
            return decode_revert(raw, *self._abis())
        if "revert" in refused.message.lower():
            return decode_revert(b"")
        return None

    def _abis(self) -> list[ContractAbi]:
        return [contract_abi(name) for name in self.deployment.contracts]

    def _receipt(self, answer: dict[str, Any]) -> TransactionReceipt:
        try:
            created = answer.get("contractAddress")
            return TransactionReceipt(
                transaction_hash=_bytes(answer["transactionHash"]),
                height=_int(answer["blockNumber"]),
                block_hash=_bytes(answer["blockHash"]),
                succeeded=_int(answer["status"]) == 1,
                gas_used=_int(answer["gasUsed"]),
                contract_address=created.lower() if created else None,
                events=tuple(self._events(answer.get("logs") or [])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad_answer() from error

    def _events(self, logs: Sequence[dict[str, Any]]) -> list[Event]:
        try:
            decoded = (self._event(log) for log in logs)
            return [event for event in decoded if event is not None]
        except (KeyError, TypeError, ValueError) as error:
            raise _bad_answer() from error

    def _event(self, log: dict[str, Any]) -> Event | None:
        topics = [_bytes(topic) for topic in log["topics"]]
        block = _int(log["blockNumber"]), _bytes(log["blockHash"])
        return self._decoded(
            log["address"].lower(), topics, _bytes(log["data"]), *block, _int(log["logIndex"])
        )

    def _decoded(
        self,
        address: str,
        topics: Sequence[bytes],
        data: bytes,
        height: int,
        block_hash: bytes,
        log_index: int,
    ) -> Event | None:
        contract = self._names.get(address)
        found = None if contract is None else contract_abi(contract).decode_event(topics, data)
        if contract is None or found is None:
            return None
        name, arguments = found
        return Event(contract, name, arguments, height, block_hash, log_index)


def code_text(value: bytes) -> str:
    """A code (``bytes32``) as text."""
    return value.rstrip(b"\0").decode("ascii", "replace")


def _raise_refusal(answer: Any) -> Any:
    if isinstance(answer, RpcRefused):
        raise answer
    return answer


def _block(answer: dict[str, Any]) -> Block:
    try:
        return Block(
            height=_int(answer["number"]),
            block_hash=_bytes(answer["hash"]),
            parent_hash=_bytes(answer["parentHash"]),
            timestamp=_int(answer["timestamp"]),
            transactions=tuple(_bytes(transaction) for transaction in answer["transactions"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_answer() from error


def _int(value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise _bad_answer() from error


def _bytes(value: Any) -> bytes:
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise _bad_answer() from error


def _tag(height: int | None) -> str:
    if height is not None and height < 0:
        raise BadInput("height_malformed", "A height is not below zero.")
    return "latest" if height is None else hex(height)


def _bad_answer() -> ChainAnswer:
    return ChainAnswer(
        "chain_bad_answer", "The chain node's answer does not have the form that JSON-RPC fixes."
    )


def _exchanges(raw_transactions: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The transactions in order, in parts of at most ``MAX_SENT_BYTES``; a larger one alone."""
    start, size = 0, 0
    for index, raw in enumerate(raw_transactions):
        if size and size + 2 * len(raw) > MAX_SENT_BYTES:
            yield raw_transactions[start:index]
            start, size = index, 0
        size += 2 * len(raw)
    if size:
        yield raw_transactions[start:]
