"""One contract's ABI, compiled for speed: calls in, results, events and reverts out.

Values cross in Python form: member ids and codes as text, byte strings as ``bytes``, addresses as
lowercase ``0x`` hex, statements and other structs of ``chain.statements`` as their
dataclasses. ``eth_abi`` (web3.py's codec) does the encoding; the selector and types are worked out
once a function, which makes a call some twenty times cheaper than through a ``web3.contract``
object.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, EncodingError

import contracts
from chain.core.crypto import keccak256
from chain.core.errors import BadInput, QiaolianError, RefusedBy, Refuser
from chain.ethereum.eip712 import Struct, encode_code, encode_member
from chain.statements.catalogue import STATEMENTS, STRUCTS
from chain.statements.trade import Share

Abi = Mapping[str, Any]

_STRUCTS: dict[str, type[Struct]] = {**STATEMENTS, **STRUCTS, "Share": Share}

_ERROR = keccak256(b"Error(string)")[:4]
_PANIC = keccak256(b"Panic(uint256)")[:4]


class Reverted(QiaolianError):
    """A contract refused. ``code`` is the custom error's name in snake case, ``context`` its
    arguments.
    """

    status = 409
    exit_code = 3
    refused_by = RefusedBy(Refuser.CHAIN)

    @classmethod
    def of(cls, code: str, sentence: str, context: Mapping[str, Any]) -> Reverted:
        """With arguments of any names."""
        made = cls(code, sentence)
        made.context.update(context)
        return made


@dataclass(frozen=True)
class Function:
    """A function of a contract."""

    name: str
    selector: bytes
    inputs: tuple[Abi, ...]
    input_types: tuple[str, ...]
    outputs: tuple[Abi, ...]
    output_types: tuple[str, ...]


@dataclass(frozen=True)
class EventType:
    """An event of a contract."""

    name: str
    topic: bytes
    inputs: tuple[Abi, ...]


class ContractAbi:
    """The interface of one of the network's contracts."""

    def __init__(self, contract: str, abi: Sequence[Abi]) -> None:
        self.contract = contract
        self.functions: dict[str, Function] = {}
        self.events: dict[bytes, EventType] = {}
        self.errors: dict[bytes, Abi] = {}
        self.constructor_types: tuple[str, ...] = ()
        self.constructor_inputs: tuple[Abi, ...] = ()
        for item in abi:
            self._add(item)

    def encode(self, function: str, arguments: Sequence[Any]) -> bytes:
        """Call data: selector and encoded arguments.

        Raises:
            BadInput: ``call_malformed`` for an unknown function or arguments that do not fit its
                types.
        """
        found = self.function(function)
        try:
            return found.selector + encode(found.input_types, _to_abi(found.inputs, arguments))
        except (EncodingError, TypeError, ValueError, OverflowError) as error:
            raise BadInput(
                "call_malformed",
                f"The arguments do not fit {self.contract}.{function}.",
                reason=str(error)[:200],
            ) from error

    def decode_call(self, function: str, data: bytes) -> tuple[Any, ...]:
        """The arguments of call data that ``encode`` made, in Python form."""
        found = self.function(function)
        values = decode(found.input_types, data[len(found.selector) :])
        return tuple(
            _from_abi(item, value) for item, value in zip(found.inputs, values, strict=True)
        )

    def encode_constructor(self, arguments: Sequence[Any]) -> bytes:
        """Encoded constructor arguments, to follow the creation bytecode."""
        return encode(self.constructor_types, _to_abi(self.constructor_inputs, arguments))

    def decode(self, function: str, data: bytes) -> tuple[Any, ...]:
        """The results of a call, in Python form."""
        found = self.function(function)
        try:
            values = decode(found.output_types, data)
        except (DecodingError, ValueError, OverflowError) as error:
            raise BadInput(
                "chain_bad_answer", f"{self.contract}.{function} answered with other types."
            ) from error
        return tuple(
            _from_abi(item, value) for item, value in zip(found.outputs, values, strict=True)
        )

    def decode_event(
        self, topics: Sequence[bytes], data: bytes
    ) -> tuple[str, dict[str, Any]] | None:
        """An event's name and arguments by Solidity name, or None for a topic that is not this
        contract's.
        """
        found = self.events.get(topics[0]) if topics else None
        if found is None:
            return None
        plain = [item for item in found.inputs if not item["indexed"]]
        values = dict(
            zip(
                (item["name"] for item in plain),
                decode([abi_type(item) for item in plain], data),
                strict=True,
            )
        )
        for item, topic in zip(
            (item for item in found.inputs if item["indexed"]), topics[1:], strict=True
        ):
            values[item["name"]] = decode([abi_type(item)], topic)[0]
        return found.name, {
            item["name"]: _from_abi(item, values[item["name"]]) for item in found.inputs
        }

    def decode_revert(self, data: bytes) -> Reverted:
        """The decoded data of a revert; see ``decode_revert``."""
        return decode_revert(data, self)

    def function(self, name: str) -> Function:
        """A function by name, or ``call_malformed``."""
        found = self.functions.get(name)
        if found is None:
            raise BadInput("call_malformed", f"{self.contract} has no function {name}.")
        return found

    def _add(self, item: Abi) -> None:
        inputs = tuple(item.get("inputs", ()))
        types = tuple(abi_type(source) for source in inputs)
        kind, name = item["type"], item.get("name", "")
        topic = keccak256(f"{name}({','.join(types)})".encode())
        if kind == "function":
            outputs = tuple(item.get("outputs", ()))
            self.functions[name] = Function(
                name, topic[:4], inputs, types, outputs, tuple(map(abi_type, outputs))
            )
        elif kind == "event":
            self.events[topic] = EventType(name, topic, inputs)
        elif kind == "error":
            self.errors[topic[:4]] = item
        elif kind == "constructor":
            self.constructor_inputs, self.constructor_types = inputs, types


@functools.cache
def contract_abi(contract: str) -> ContractAbi:
    """The compiled ABI of a contract of this network, by name."""
    return ContractAbi(contract, contracts.artifact(contract).abi)


def decode_revert(data: bytes, *abis: ContractAbi) -> Reverted:
    """Decode revert data with the first ABI that knows the error; data of no known form is
    ``unknown_revert``.
    """
    if not data:
        return Reverted("reverted", "The contract refused without a reason.")
    try:
        known = _known_revert(data[:4], data[4:], abis)
    except (DecodingError, ValueError, OverflowError):
        known = None
    return known or Reverted(
        "unknown_revert",
        "The contract refused with an error that is not in its interface.",
        data="0x" + data[:1024].hex(),
    )


def _known_revert(selector: bytes, rest: bytes, abis: Sequence[ContractAbi]) -> Reverted | None:
    for abi in abis:
        item = abi.errors.get(selector)
        if item is not None:
            values = decode([abi_type(source) for source in item["inputs"]], rest)
            context = {
                entry["name"] or str(index): _from_abi(entry, value)
                for index, (entry, value) in enumerate(zip(item["inputs"], values, strict=True))
            }
            sentence = f"{abi.contract} refused: {snake_case(item['name']).replace('_', ' ')}."
            return Reverted.of(snake_case(item["name"]), sentence, {"by": abi.contract, **context})
    if selector == _ERROR:
        return Reverted(
            "reverted", "The contract refused.", reason=str(decode(["string"], rest)[0])[:200]
        )
    if selector == _PANIC:
        (number,) = decode(["uint256"], rest)
        return Reverted("panicked", "The contract stopped at a broken assumption.", number=number)
    return None


def abi_type(item: Abi) -> str:
    """The canonical type of an ABI input, tuples expanded."""
    kind: str = item["type"]
    if kind.startswith("tuple"):
        return (
            "(" + ",".join(abi_type(component) for component in item["components"]) + ")" + kind[5:]
        )
    return kind


def snake_case(name: str) -> str:
    """``VoucherNotHigher`` as ``voucher_not_higher``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _to_abi(items: Sequence[Abi], values: Sequence[Any]) -> list[Any]:
    if len(items) != len(values):
        raise ValueError(f"{len(values)} arguments for {len(items)} parameters")
    return [
        _one_to_abi(item["type"], item, value) for item, value in zip(items, values, strict=True)
    ]


def _one_to_abi(kind: str, item: Abi, value: Any) -> Any:
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return [_one_to_abi(inner, item, entry) for entry in value]
    if isinstance(value, Struct):
        return value.to_contract()
    if kind == "tuple":
        return tuple(_to_abi(item["components"], value))
    if isinstance(value, str):
        if kind == "bytes18":
            return encode_member(value)
        if kind == "bytes32":
            return encode_code(value)
    if isinstance(value, bytes) and kind not in ("bytes", f"bytes{len(value)}"):
        # The codec would pad a short value, which is another value.
        raise ValueError(f"{len(value)} bytes for a {kind}")
    return value


def _from_abi(item: Abi, value: Any) -> Any:
    return _one_from_abi(item["type"], item, value)


def _one_from_abi(kind: str, item: Abi, value: Any) -> Any:
    if kind.endswith("]"):
        inner = kind[: kind.rindex("[")]
        return tuple(_one_from_abi(inner, item, entry) for entry in value)
    if kind == "tuple":
        struct = _STRUCTS.get(
            str(item.get("internalType", ""))
            .removeprefix("struct ")
            .split(".")[-1]
            .removesuffix("[]")
        )
        if struct is not None:
            return struct.from_contract(value)
        return {
            component["name"]: _from_abi(component, inner)
            for component, inner in zip(item["components"], value, strict=True)
        }
    if kind == "bytes18":
        return bytes(value).rstrip(b"\0").decode("ascii", "replace")
    if kind == "address":
        return str(value).lower()
    return value
