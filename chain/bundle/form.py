"""The form of a bundle: its sections, its limits, and readers of single values.

Readers raise ``Malformed`` with ``bundle_malformed``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from chain.core import schema
from chain.core.errors import BadInput, Malformed
from chain.ethereum.eip712 import Struct

FORMAT = "qiaolian-bundle/1"
SECTIONS = ("headers", "storage", "keys", "statements", "structs", "logs", "disclosures")
MAX_BYTES = 64_000_000
MAX_ELEMENTS = 200_000

T = TypeVar("T")
U = TypeVar("U", bound=Struct)


def require_form(value: Any) -> tuple[str, Mapping[str, Any]]:
    """Check the sections, their number of elements and that no element is repeated.

    Returns:
        The name of the proof profile, and its subject.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _malformed("This is not a bundle of a known format.")
    if set(value) != {"format", "story", "subject", "chain", *SECTIONS}:
        raise _malformed("The bundle does not have exactly the sections of its format.")
    if not isinstance(value["story"], str) or not isinstance(value["subject"], dict):
        raise _malformed("The bundle names no proof profile, or no subject.")
    if not all(isinstance(value[name], list) for name in SECTIONS):
        raise _malformed("A section of the bundle is not a list.")
    if sum(len(value[name]) for name in SECTIONS) > MAX_ELEMENTS:
        raise _malformed("The bundle has too many elements.")
    if any(_has_duplicates(value[name]) for name in SECTIONS):
        raise _malformed("The bundle says something twice.")
    return value["story"], value["subject"]


def _has_duplicates(elements: Sequence[Any]) -> bool:
    return len({_element_key(element) for element in elements}) < len(elements)


def _element_key(element: Any) -> bytes:
    """A hash equal for equal elements: the bytes are canonical, so members have one order."""
    return hashlib.sha256(json.dumps(element).encode()).digest()


def require_fields(value: Any, *names: str) -> None:
    """Require an object with exactly these members."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise _malformed("An element of the bundle does not have exactly the fields of its kind.")


def read_list(value: Any) -> list[Any]:
    """The value, if it is a list."""
    if not isinstance(value, list):
        raise _malformed("An element of the bundle is not a list where one belongs.")
    return value


def read_bytes(value: Any, *, length: int | None = None) -> bytes:
    """The bytes of lowercase ``0x`` hex, of ``length`` bytes if given."""
    try:
        return schema.hex_bytes(value, length)
    except ValueError as error:
        raise _malformed(f"Bytes in the bundle are {error}.") from error


def is_count(value: Any) -> bool:
    """Whether the value is an integer from 0."""
    return type(value) is int and value >= 0


def read_reference(index: Any, elements: Sequence[T]) -> T:
    """The element that an index in the bundle refers to."""
    if type(index) is not int or not 0 <= index < len(elements):
        raise _malformed("An element of the bundle refers to one that is not there.")
    return elements[index]


def read_struct(value: Any, types: Mapping[str, type[U]], *more: str) -> U:
    """The struct or statement of an element with ``type``, ``message`` and the fields ``more``."""
    require_fields(value, "type", "message", *more)
    struct_type = types.get(value["type"]) if isinstance(value["type"], str) else None
    if struct_type is None:
        raise _malformed("The bundle carries a statement of an unknown type.")
    try:
        struct = struct_type.from_json(value["message"])
        struct.require_known_version()
        return struct
    except BadInput as error:
        raise Malformed(error.code, error.sentence) from error


def _malformed(sentence: str) -> Malformed:
    return Malformed("bundle_malformed", sentence)
