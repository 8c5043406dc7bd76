"""Consents, credit queries and disputes (``CreditLedger``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chain.ethereum.eip712 import (
    Address,
    Bool,
    Bytes32,
    Code,
    MemberId,
    Statement,
    Uint16,
    Uint32,
    Uint64,
)


@dataclass(frozen=True)
class Consent(Statement):
    """A subject lets one bank query its credit for a purpose and period. Signed by ``authority``, a
    certified one-time key; stays off chain.
    """

    contract: ClassVar[str] = "CreditLedger"
    version: Uint16
    subject: Bytes32
    """The identity commitment of the key's certificate."""
    bank: MemberId
    purpose: Code
    not_before: Uint64
    not_after: Uint64
    authority: Address


@dataclass(frozen=True)
class ConsentRegistration(Statement):
    """Puts a consent's commitment on the chain; signed by the one-time ``authority``, sent by any
    relayer, which cannot alter it.
    """

    contract: ClassVar[str] = "CreditLedger"
    version: Uint16
    commitment: Bytes32
    """Salted commitment to the consent: ``commit(salt, "qiaolian.consent.v1", consent JSON)``. With
    ``authority`` it makes the consent's id.
    """
    authority: Address
    deadline: Uint64


@dataclass(frozen=True)
class ConsentWithdrawal(Statement):
    """Takes a consent back; signed by its authority."""

    contract: ClassVar[str] = "CreditLedger"
    version: Uint16
    consent: Bytes32
    """The consent's id: ``keccak256(abi.encode(commitment, authority))``."""
    deadline: Uint64


@dataclass(frozen=True)
class CreditQuery(Statement):
    """A bank's record of one one-stop report: whom under which consent, and what came back, all
    committed. Signed by its STATEMENT key.
    """

    contract: ClassVar[str] = "CreditLedger"
    VERSIONS: ClassVar[tuple[int, ...]] = (1, 2)
    version: Uint16
    """2: ``report`` lists the report's disputes beside it; 1: it is the commitment to the report
    alone.
    """
    bank: MemberId
    consent: Bytes32
    """The consent's id."""
    report: Bytes32
    """Salted commitment to the report: to the commitment of its content and the ids of its
    disputes.
    """
    receipts_root: Bytes32
    """RFC 9162 root over the struct hashes of the report's usage receipts."""
    issued_at: Uint64


@dataclass(frozen=True)
class CreditDispute(Statement):
    """A subject disputes a record a department holds of it. Signed by its certified key; its struct
    hash is the dispute id.
    """

    contract: ClassVar[str] = "CreditLedger"
    version: Uint16
    department: MemberId
    asset_id: Bytes32
    record: Bytes32
    """The record's commitment under the asset's ``records_root``."""
    claim: Bytes32
    """Salted commitment to what the subject says is wrong."""
    authority: Address
    raised_at: Uint64


@dataclass(frozen=True)
class CreditRepair(Statement):
    """The department's answer to a dispute, old and new record side by side. Signed by its
    STATEMENT key.
    """

    contract: ClassVar[str] = "CreditLedger"
    version: Uint16
    dispute_id: Bytes32
    department: MemberId
    upheld: Bool
    """True when the record was repaired, false when it is unchanged."""
    old_record: Bytes32
    new_record: Bytes32
    asset_version: Uint32
    """The asset version that holds the record after the repair."""
    repaired_at: Uint64
