"""Grants, their approval and their revocation (``GrantRegistry``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar

from chain.ethereum.eip712 import (
    Bool,
    Bytes32,
    Code,
    MemberId,
    Statement,
    Struct,
    Uint16,
    Uint32,
    Uint64,
)


class Operation(IntFlag):
    """What a grant allows (数据使用方式)."""

    VIEW = 1
    EXPORT = 2
    USE = 4
    COPY = 8
    TRAIN = 16
    COMPUTE = 32


@dataclass(frozen=True)
class GrantTerms(Struct):
    """Who may do what with which asset version, for what, when and how often. Its struct hash is
    the grant id.
    """

    version: Uint16
    asset_id: Bytes32
    asset_version: Uint32
    owner: MemberId
    grantee: MemberId
    operations: Uint16
    scene: Code
    purpose: Code
    scope: Bytes32
    """Salted commitment to the scope (columns and row rule)."""
    not_before: Uint64
    not_after: Uint64
    max_uses: Uint64
    nonce: Bytes32


@dataclass(frozen=True)
class GrantDecision(Statement):
    """The chief data officer approves or refuses. Signed by an APPROVAL key of the owner."""

    contract: ClassVar[str] = "GrantRegistry"
    version: Uint16
    grant_id: Bytes32
    approved: Bool
    reason: Code
    deadline: Uint64


@dataclass(frozen=True)
class GrantRevocation(Statement):
    """The owner takes the grant back, at once and for good. Signed by an APPROVAL or STATEMENT key
    of the owner.
    """

    contract: ClassVar[str] = "GrantRegistry"
    version: Uint16
    grant_id: Bytes32
    reason: Code
    deadline: Uint64
