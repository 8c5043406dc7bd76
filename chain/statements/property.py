"""Titles, deals and holds of real property (``PropertyLedger``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from chain.ethereum.eip712 import (
    Address,
    Bool,
    Bytes32,
    MemberId,
    Statement,
    Struct,
    Uint8,
    Uint16,
    Uint64,
)


class StepKind(IntEnum):
    """The steps of a property deal, each signed by its own party; 1 to 3 in any order, then in this
    order.
    """

    SELLER = 1
    BUYER = 2
    AGENT = 3
    TAX = 4
    MORTGAGE = 5
    NOTARY = 6
    REGISTER = 7


@dataclass(frozen=True)
class TitleStatement(Statement):
    """The registration centre states who may sell a unit, named by a pseudonym only it can compute.
    Void once the unit is registered again. Signed by its STATEMENT key.
    """

    contract: ClassVar[str] = "PropertyLedger"
    version: Uint16
    registrar: MemberId
    unit: Bytes32
    owner: Bytes32
    """Salted commitment to the owner's identity."""
    owner_key: Address
    last_registration: Bytes32
    """Id of the deal that was registered last for the unit when the title was issued; zero before
    the first.
    """
    issued_at: Uint64
    expires_at: Uint64


@dataclass(frozen=True)
class DealTerms(Struct):
    """A property deal; price, loan and identities stay in the committed content. Its struct hash is
    the deal id.
    """

    version: Uint16
    unit: Bytes32
    seller: Address
    buyer: Address
    agent: MemberId
    bank: MemberId
    """Mortgage bank; empty for a deal without a loan."""
    tax_authority: MemberId
    notary: MemberId
    registrar: MemberId
    content: Bytes32
    expires_at: Uint64
    nonce: Bytes32


@dataclass(frozen=True)
class DealStep(Statement):
    """One party's signature under one step. Seller and buyer sign with their certified keys,
    members with STATEMENT keys.
    """

    contract: ClassVar[str] = "PropertyLedger"
    version: Uint16
    deal_id: Bytes32
    step: Uint8
    content: Bytes32
    """Salted commitment to what the step states (the tax computed, the loan, the certificate
    number).
    """
    signed_at: Uint64


@dataclass(frozen=True)
class UnitHold(Statement):
    """The registration centre places or lifts a hold on a unit, citing an order. Signed by its
    STATEMENT key.
    """

    contract: ClassVar[str] = "PropertyLedger"
    version: Uint16
    registrar: MemberId
    unit: Bytes32
    order: Bytes32
    """Salted commitment to the court's or registry's order."""
    placed: Bool
    issued_at: Uint64
    ends_at: Uint64
    """When anybody may end the hold unless a further order has renewed it; 0 for a lifting."""
