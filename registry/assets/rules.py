"""Rules of assets, without I/O."""

from __future__ import annotations

from typing import Any

from chain.crypto import keccak256
from chain.eip712 import encode_code, encode_member
from chain.errors import BadInput
from registry.text import is_plain

RECORD_DOMAIN = "qiaolian.record.v1"
"""Label of per-record commitments."""


def asset_id_of(holder: str, name: str) -> bytes:
    """The asset's id: keccak256(abi.encode(holder, name)), as AssetRegistry computes it."""
    return keccak256(encode_member(holder).ljust(32, b"\0") + encode_code(name))


def require_description(description: dict[str, Any]) -> None:
    """Check what a clerk says of an asset: title in both languages, category, grade."""
    for name in ("titleZh", "titleEn", "description"):
        text = description.get(name)
        # A description may have several lines; each is plain text.
        if not isinstance(text, str) or not is_plain(text.replace("\n", " ") if name == "description" else text, most=400):
            raise BadInput("asset_description", f"The asset's {name} is missing, longer than 400 characters, or holds characters nobody can see.")
    grade = description.get("grade")
    if not isinstance(grade, int) or not 1 <= grade <= 5:
        raise BadInput("wrong_grade", "An asset's grade is 1 to 5 (L1 to L5).")
