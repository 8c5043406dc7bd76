"""The settlement bank's confirmation of a payment. No contract reads it and no bundle holds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chain.ethereum.eip712 import Bytes32, MemberId, Statement, Uint16, Uint64, Uint128


@dataclass(frozen=True)
class PayoutConfirmation(Statement):
    """A member's withdrawal was paid to its account. Signed by the settlement bank's STATEMENT
    key, and an entry of its log.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    settlement_bank: MemberId
    member: MemberId
    amount: Uint128
    operation_id: Bytes32
    """The withdrawal's id on the chain."""
    bank_reference: Bytes32
    """A commitment to the bank's reference, whose salt only the bank can compute."""
    paid_at: Uint64
