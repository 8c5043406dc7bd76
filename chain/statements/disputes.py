"""Disputes over metered calls (``TradeDisputes``): an arbiter's ruling, and the numbers that the
contract uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from chain.ethereum.eip712 import (
    Bytes32,
    MemberId,
    Statement,
    Struct,
    Uint8,
    Uint16,
    Uint64,
    Uint128,
)


class ContestReason(IntEnum):
    """Why a buyer contests a claimed receipt."""

    NO_ANSWER = 1
    """No answer came."""
    ANSWER_DIFFERS = 2
    """The answer is not what the receipt commits to."""
    RECORD_DIFFERS = 3
    """The answer departs from the record that the provider published."""
    NOT_REQUESTED = 4
    """The buyer did not make the request."""
    PRICE_DIFFERS = 5
    """Price or units are not as agreed."""
    RIGHT_REVOKED = 6
    """The right had been revoked, or the receipt was voided."""


class DisputeOutcome(IntEnum):
    """Outcome of a dispute."""

    OPEN = 0
    """It has not ended."""
    PAID_UNCONTESTED = 1
    """The buyer neither acknowledged nor contested."""
    ACKNOWLEDGED = 2
    """The buyer acknowledged the call after all."""
    UNPAID_UNANSWERED = 3
    """The provider did not serve the answer again."""
    UNPAID_UNRULED = 4
    """The arbiter did not rule."""
    RULED = 5
    """The arbiter ruled."""
    UNPAID_OVER_CAP = 6
    """The agreement's caps left no room for the call."""


class RulingOutcome(IntEnum):
    """The order of a ruling."""

    REFUND = 0
    PAY = 1
    SPLIT = 2


@dataclass(frozen=True)
class LogPosition(Struct):
    """An entry of a member's log, which a ruling cites as evidence."""

    member: MemberId
    index: Uint64


@dataclass(frozen=True)
class Ruling(Statement):
    """The arbiter's decision on a contested call. Signed by its STATEMENT key."""

    contract: ClassVar[str] = "TradeDisputes"
    version: Uint16
    agreement_id: Bytes32
    receipt: Bytes32
    """Struct hash of the contested receipt."""
    outcome: Uint8
    amount: Uint128
    """What is paid of the call, in fen: all, nothing or a part."""
    opinion: Bytes32
    """Commitment to the reasons in words."""
    deadline: Uint64
    evidence: tuple[LogPosition, ...]
    """1 to 16 entries of the parties' logs."""
