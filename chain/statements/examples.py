"""Deterministic examples of statements and structs, for their pages and the API's description."""

from __future__ import annotations

from typing import Any, TypeVar

from chain.core.errors import BadInput
from chain.ethereum.eip712 import Struct, camel
from chain.statements.disputes import LogPosition
from chain.statements.trade import LaneTotal, Share

T = TypeVar("T", bound=Struct)
_MEMBER = "11440703QL00000177"


def example(struct: type[T]) -> T:
    """A deterministic instance with a different value in every field."""
    values: dict[str, Any] = {}
    for position, (name, codec) in enumerate(struct._codecs(), start=1):
        is_version = name == "version"
        values[name] = struct.VERSIONS[0] if is_version else _example_value(name, codec, position)
    return struct(**values)


def _example_value(name: str, codec: Any, position: int) -> Any:
    if codec.solidity == "Share[]":
        return (Share(_MEMBER, 7_000), Share("", 3_000))
    if codec.solidity == "LaneTotal[]":
        return (LaneTotal(0, 3, 2, 100), LaneTotal(1, 5, 5, 250))
    if codec.solidity == "LogPosition[]":
        return (LogPosition("11440700MB2C62170M", 7),)
    if codec.solidity == "bytes32[]":
        return (bytes([position]) * 32, bytes([position + 1]) * 32)
    if codec.solidity == "bool":
        return True
    if codec.solidity == "address":
        return "0x" + f"{position:02x}" * 20
    if codec.solidity.startswith("uint"):
        return position
    if codec.solidity == "bytes18":
        return _MEMBER
    try:
        codec.encode(bytes(32))
    except BadInput:
        return camel(name).lower()
    return bytes([position]) * 32
