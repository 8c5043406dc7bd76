"""Members and their keys: roles, key purposes, governors' approvals, subjects' one-time keys
(``MemberDirectory``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar

from chain.ethereum.eip712 import (
    Address,
    Bytes32,
    Code,
    MemberId,
    Statement,
    Uint16,
    Uint64,
    Uint256,
)


class Role(IntFlag):
    """What an organisation is admitted as; a member may hold several."""

    OPERATOR = 1
    DEPARTMENT = 2
    BANK = 4
    SUPERVISOR = 8
    SETTLEMENT_BANK = 16
    AGENCY = 32
    SUBJECT = 64


class KeyPurpose(IntEnum):
    """What a key may sign.

    A chief data officer's approval key is the person's, never the node's.
    """

    ADMIN = 1
    APPROVAL = 2
    TRANSACTION = 3
    STATEMENT = 4
    TOKEN = 5
    LOG = 6
    TLS = 7


class Algorithm(IntEnum):
    """Signature algorithm of a key. 4 is reserved for SM2."""

    SECP256K1 = 1
    ED25519 = 2
    P256 = 3


@dataclass(frozen=True)
class Approval(Statement):
    """One governor's approval of a directory action: two of different organisations execute it.
    Signed by an ADMIN key.
    """

    contract: ClassVar[str] = "MemberDirectory"
    version: Uint16
    call_hash: Bytes32
    """keccak256 of the ABI-encoded call the directory makes to itself."""
    nonce: Uint256
    deadline: Uint64


@dataclass(frozen=True)
class ApprovalWithdrawal(Statement):
    """A governor takes back its approval of an action that was not executed yet. Signed by an ADMIN
    key; the fields are the approval's.
    """

    contract: ClassVar[str] = "MemberDirectory"
    version: Uint16
    call_hash: Bytes32
    nonce: Uint256
    deadline: Uint64


@dataclass(frozen=True)
class SubjectKeyCertificate(Statement):
    """A department that knows a person or trader certifies the subject's one-time key. Signed by
    the issuer's STATEMENT key; stays off chain.
    """

    contract: ClassVar[str] = "MemberDirectory"
    version: Uint16
    issuer: MemberId
    subject: Bytes32
    """Salted commitment to the subject's identity."""
    key: Address
    purpose: Code
    """What the key may sign: ``consent``, ``deal`` or ``dispute``."""
    not_before: Uint64
    not_after: Uint64
