"""Every field of a signed type with another value of its type, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from chain.ethereum.eip712 import Struct, camel

S = TypeVar("S", bound=Struct)

_OTHER_MEMBERS = ("11440700MB2C62170M", "11440700MB2C62171K")


def changed_messages(kind: type[Struct], message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The JSON form with one field changed, by the field's name in JSON. A list loses its first
    item.
    """
    for name, value in other_values(kind, message).items():
        yield name, {**message, name: value}


def changed(struct: S) -> Iterator[tuple[str, S]]:
    """The struct with one field changed, by the field's name in JSON."""
    for name, message in changed_messages(type(struct), struct.to_json()):
        yield name, type(struct).from_json(message)


def other_values(kind: type[Struct], message: dict[str, Any]) -> dict[str, Any]:
    """Another value for each field of a JSON form; empty lists are left out."""
    forms = {camel(name): (codec.json_form, codec.solidity) for name, codec in kind._codecs()}
    found = {name: _other(*forms[name], value) for name, value in message.items()}
    return {name: value for name, value in found.items() if value is not None}


def _other(form: str, solidity: str, value: Any) -> Any:
    if form == "number":
        return value - 1 if value else 1
    if form == "decimal text":
        return str(int(value) - 1 if int(value) else 1)
    if form == "hex":
        return value[:-1] + ("1" if value[-1] != "1" else "2")
    if form == "boolean":
        return not value
    if form == "code":
        return "other" if value != "other" else "another"
    if form == "member id":
        return next(member for member in _OTHER_MEMBERS if member != value)
    if form == "list":
        return value[1:] if value else None
    raise AssertionError(f"unknown form {form} of {solidity}")
