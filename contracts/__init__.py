"""Solidity sources and their compiled ABI and bytecode.

``artifact(name)`` gives what a deployment needs. The artifacts are committed; ``python -m
contracts.compile --check`` proves that the sources compile to exactly them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARTIFACTS = Path(__file__).parent / "artifacts"

NAMES = (
    "MemberDirectory",
    "AssetRegistry",
    "GrantRegistry",
    "TradeSettlement",
    "TradeDisputes",
    "EvidenceLog",
    "CreditLedger",
    "PropertyLedger",
)
"""Every contract, in deployment order: each is given the address of those it asks."""


@dataclass(frozen=True)
class Artifact:
    """One compiled contract: its ABI, creation bytecode, and the storage slot of each state
    variable (without leading underscore).
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    storage: Mapping[str, int]


@functools.cache
def artifact(name: str) -> Artifact:
    """The artifact of one of ``NAMES``."""
    value = json.loads((ARTIFACTS / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(name, value["abi"], bytes.fromhex(value["bytecode"][2:]), value["storage"])
