"""What the RPC proxy passes to a validator: methods, transactions and rates. No I/O, no clock.

A free-gas chain has no other protection: anyone who reaches a validator could fill its pool, deploy
contracts, or send Kaia's own transaction types, one of which replaces an account's key. Requests
are parsed here and encoded again for the validator, so that both cannot read one differently.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from chain.core.crypto import keccak256, recover
from chain.core.errors import BadInput, Forbidden, QiaolianError, Unavailable
from chain.ethereum import rlp
from chain.ethereum.transactions import MAX_GAS

SEND = "eth_sendRawTransaction"
METHODS = frozenset(
    {
        SEND,
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getLogs",
        "eth_getProof",
        "eth_getRawTransactionByBlockNumberAndIndex",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "kaia_getBlockByNumber",
        "kaia_getBlockReceipts",
        "kaia_getRawTransactionByBlockNumberAndIndex",
        "net_version",
    }
)
"""The methods that nodes use."""
MAX_BODY_BYTES = 4_000_000
MAX_CALLS = 1_000
"""Calls of one batch."""
MAX_SENDS = 300
"""Transactions of one batch: as many as a node's outbox has on their way at a time."""
SENDS_PER_SECOND = 100.0
"""Of one sender, on average; a full outbox may go out at once."""

_TYPED_FIELDS = {1: 11, 2: 12}
"""Fields of a signed transaction by its type (EIP-2930, EIP-1559)."""
_LEGACY_FIELDS = 9


@dataclass(frozen=True)
class RpcCall:
    """One call of a request; ``id`` is the caller's, returned with the answer."""

    id: int | str
    method: str
    params: tuple[Any, ...]


@dataclass(frozen=True)
class Transaction:
    """What the rules ask of a signed transaction."""

    sender: str
    to: str | None
    value: int
    gas: int


def read_request(body: bytes) -> tuple[list[RpcCall], bool]:
    """The calls of a JSON-RPC request, and whether it is a batch.

    Raises:
        BadInput: ``request_malformed``, ``batch_too_large``.
    """
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput("request_malformed", "The request is not JSON-RPC 2.0.") from error
    items = value if isinstance(value, list) else [value]
    if not items:
        raise BadInput("request_malformed", "The request holds no call.")
    calls = [_call(item) for item in items[: MAX_CALLS + 1]]
    if len(calls) > MAX_CALLS or sum(call.method == SEND for call in calls) > MAX_SENDS:
        raise BadInput(
            "batch_too_large",
            f"A batch holds at most {MAX_CALLS} calls and {MAX_SENDS} transactions.",
        )
    return calls, isinstance(value, list)


def require_method(call: RpcCall) -> None:
    """The proxy passes what nodes use; ``method_refused``."""
    if call.method not in METHODS:
        raise Forbidden("method_refused", "The proxy does not pass this method.")


def read_transaction(raw: Any, *, chain_id: int) -> Transaction:
    """A signed Ethereum transaction of type 0, 1 or 2 of this chain, with the sender that its
    signature recovers to.

    Raises:
        BadInput: ``transaction_malformed``, ``transaction_type`` (Kaia's own types, blobs),
            ``transaction_chain``.
    """
    data = _hex(raw)
    kind = data[0]
    if kind >= 0xC0:
        return _legacy(data, chain_id)
    if kind not in _TYPED_FIELDS:
        raise BadInput(
            "transaction_type",
            f"Transactions of type 0x{kind:02x} do not pass.",
            hint="Send an Ethereum transaction of type 0, 1 or 2.",
        )
    return _typed(kind, data, chain_id)


def require_allowed(transaction: Transaction, *, contracts: Collection[str]) -> None:
    """A call of one of the network's contracts, without value, under the gas cap.

    Raises:
        Forbidden: ``contract_creation``, ``foreign_contract``, ``value_refused``, ``gas_over_cap``.
    """
    if transaction.to is None:
        raise Forbidden(
            "contract_creation", "Contracts are created by the network's founders alone."
        )
    if transaction.to not in contracts:
        raise Forbidden("foreign_contract", "The transaction calls no contract of this network.")
    if transaction.value:
        raise Forbidden("value_refused", "The network has no currency; a call carries no value.")
    if transaction.gas > MAX_GAS:
        raise Forbidden("gas_over_cap", f"A transaction takes at most {MAX_GAS} gas.")


class Rate:
    """How many transactions each sender may send: a bucket of ``MAX_SENDS`` that fills by
    ``SENDS_PER_SECOND``.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, sender: str, now: float) -> None:
        """Count one transaction at ``now`` (seconds of a steady clock); ``rate_exceeded``."""
        left, since = self._buckets.get(sender, (float(MAX_SENDS), now))
        left = min(float(MAX_SENDS), left + (now - since) * SENDS_PER_SECOND)
        if left < 1:
            self._buckets[sender] = (left, now)
            raise Unavailable(
                "rate_exceeded",
                "The sender sends too many transactions.",
                hint="Send it again after a second.",
            )
        self._buckets[sender] = (left - 1, now)


def _call(item: Any) -> RpcCall:
    if (
        not isinstance(item, dict)
        or set(item) - {"jsonrpc", "id", "method", "params"}
        or item.get("jsonrpc") != "2.0"
    ):
        raise BadInput("request_malformed", "A call is not JSON-RPC 2.0.")
    number, method, params = item.get("id"), item.get("method"), item.get("params", [])
    if (
        not isinstance(method, str)
        or not isinstance(params, list)
        or type(number) not in (int, str)
    ):
        raise BadInput(
            "request_malformed", "A call lacks its id or method, or its parameters are no list."
        )
    assert isinstance(number, int | str)
    return RpcCall(number, method, tuple(params))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _hex(value: Any) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise _malformed()
    try:
        data = bytes.fromhex(value[2:])
    except ValueError as error:
        raise _malformed() from error
    if not data or len(value) != 2 + 2 * len(data):
        raise _malformed()
    return data


def _legacy(data: bytes, chain_id: int) -> Transaction:
    fields = _fields(data, _LEGACY_FIELDS)
    v = _integer(fields[6])
    if v not in (2 * chain_id + 35, 2 * chain_id + 36):
        raise _other_chain()
    digest = keccak256(rlp.encode([*fields[:6], rlp.integer(chain_id), b"", b""]))
    return _transaction(
        digest, v - 2 * chain_id - 35, fields[7:], to=fields[3], value=fields[4], gas=fields[2]
    )


def _typed(kind: int, data: bytes, chain_id: int) -> Transaction:
    fields = _fields(data[1:], _TYPED_FIELDS[kind])
    if _integer(fields[0]) != chain_id:
        raise _other_chain()
    digest = keccak256(bytes([kind]) + rlp.encode(fields[:-3]))
    gas, to, value = fields[-8:-5]
    return _transaction(digest, _integer(fields[-3]), fields[-2:], to=to, value=value, gas=gas)


def _transaction(
    digest: bytes,
    parity: int,
    signature: list[rlp.Item],
    *,
    to: rlp.Item,
    value: rlp.Item,
    gas: rlp.Item,
) -> Transaction:
    r, s = (_integer(part) for part in signature)
    target = rlp.as_bytes(to)
    if parity > 1 or max(r, s) >= 2**256 or len(target) not in (0, 20):
        raise _malformed()
    try:
        sender = recover(
            digest, r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
        )
    except QiaolianError as error:
        raise _malformed() from error
    return Transaction(
        sender, "0x" + target.hex() if target else None, _integer(value), _integer(gas)
    )


def _fields(data: bytes, count: int) -> list[rlp.Item]:
    try:
        fields = rlp.decode_list(data)
    except (QiaolianError, RecursionError) as error:
        raise _malformed() from error
    if len(fields) != count:
        raise _malformed()
    return fields


def _integer(item: rlp.Item) -> int:
    try:
        return rlp.as_integer(item)
    except QiaolianError as error:
        raise _malformed() from error


def _malformed() -> BadInput:
    return BadInput("transaction_malformed", "It is not a signed Ethereum transaction.")


def _other_chain() -> BadInput:
    return BadInput("transaction_chain", "The transaction is not signed for this chain.")
