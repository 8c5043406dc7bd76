"""Agreements, metered calls and their settlement (``TradeSettlement``).

A buyer's requests form lanes: consecutive sequence numbers from 1. Each request acknowledges all
calls before it, each receipt names its request and the receipt before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from chain.ethereum.eip712 import (
    Address,
    Bool,
    Bytes32,
    Code,
    MemberId,
    Statement,
    Struct,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Uint128,
)


class MeteredUnit(IntEnum):
    """What is metered."""

    CALL = 0
    ROW = 1
    BYTE = 2
    JOB = 3
    """A run of a joint model; metered by the job, not by the gateway."""
    SCORE = 4
    """A score of a joint model; metered by the job, not by the gateway."""


GATEWAY_UNITS = (MeteredUnit.CALL, MeteredUnit.ROW, MeteredUnit.BYTE)
"""What a gateway meters."""


class UsageOutcome(IntEnum):
    """Outcome of a usage request. A refusal consumes its position in the lane and costs nothing."""

    SERVED = 0
    REFUSED = 1


@dataclass(frozen=True)
class Share(Struct):
    """One part of the revenue split; all parts of an agreement add up to 10,000."""

    member: MemberId
    basis_points: Uint16


@dataclass(frozen=True)
class Agreement(Statement):
    """A metered trade, signed by both sides' STATEMENT keys.

    Its struct hash is the agreement id.
    """

    contract: ClassVar[str] = "TradeSettlement"
    VERSIONS: ClassVar[tuple[int, ...]] = (2,)
    version: Uint16
    grant_id: Bytes32
    asset_id: Bytes32
    asset_version: Uint32
    provider: MemberId
    buyer: MemberId
    provider_key: Address
    buyer_key: Address
    purpose: Code
    unit: Uint8
    price: Uint128
    """Fen per unit; 0 with a count cap is free sharing."""
    cap: Uint128
    """Most the buyer can owe, in fen; locked at opening."""
    max_units: Uint64
    """Most units that may be served; 0 means the money cap alone limits."""
    max_per_call: Uint128
    """Most one call may cost, in fen."""
    lanes: Uint16
    starts_at: Uint64
    ends_at: Uint64
    open_before: Uint64
    close_window_blocks: Uint32
    close_window_seconds: Uint32
    arbiter: MemberId
    """Decides contested calls; neither party. Empty: receipts that the buyer does not acknowledge
    cannot be claimed.
    """
    bond: Uint128
    """The provider's security in fen, until the agreement closes."""
    bond_from_earnings: Bool
    """Whether the bond is withheld from the first earnings and not bonded at opening."""
    stake: Uint128
    """What a contest costs whoever loses it, in fen."""
    shares: tuple[Share, ...]
    nonce: Bytes32


@dataclass(frozen=True)
class DepositConfirmation(Statement):
    """The settlement bank confirms money received for a member. Signed by its STATEMENT key; the
    reference counts once.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    settlement_bank: MemberId
    member: MemberId
    amount: Uint128
    bank_reference: Bytes32
    deadline: Uint64


@dataclass(frozen=True)
class UsageRequest(Statement):
    """The buyer asks for one metered call and acknowledges all that was delivered before: it is the
    voucher for that.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    lane: Uint16
    seq: Uint64
    """Position in the lane, from 1, without gaps."""
    max_units: Uint64
    max_amount: Uint128
    acknowledged_units: Uint64
    acknowledged_amount: Uint128
    previous_receipt: Bytes32
    """Struct hash of the receipt of position seq-1; zero for the first."""
    request_commitment: Bytes32
    expiry: Uint64
    """Limits the first service, not a retry nor the acknowledgement."""


@dataclass(frozen=True)
class UsageReceipt(Statement):
    """The gateway's account of one position of a lane, made durable before the answer leaves.
    Signed by the provider's pinned key.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    lane: Uint16
    seq: Uint64
    request: Bytes32
    """Struct hash of the usage request."""
    outcome: Uint8
    reason: Code
    """Empty when served; else the stable code of the refusal."""
    response_commitment: Bytes32
    units: Uint64
    amount: Uint128
    total_units: Uint64
    total_amount: Uint128
    previous_receipt: Bytes32
    view_height: Uint64
    """Chain view the authorisation was read at."""
    view_block: Bytes32
    policy_version: Uint32
    issued_at: Uint64


@dataclass(frozen=True)
class ReceiptVoid(Statement):
    """The provider voids a served but unacknowledged receipt; nothing is owed for it.

    The right was revoked meanwhile, or the answer is larger than any node accepts.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    lane: Uint16
    seq: Uint64
    receipt: Bytes32
    reason: Code
    issued_at: Uint64


@dataclass(frozen=True)
class RequestWithdrawal(Statement):
    """The buyer no longer wants an unanswered request served. Signed by the buyer's pinned key.

    The provider answers with a receipt of zero units, or with the served answer if it had served
    the request before.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    lane: Uint16
    seq: Uint64
    request: Bytes32
    """Struct hash of the usage request."""
    issued_at: Uint64


@dataclass(frozen=True)
class Voucher(Statement):
    """The buyer's closing acknowledgement of a lane, without asking for more."""

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    lane: Uint16
    seq: Uint64
    """The last position acknowledged."""
    acknowledged_units: Uint64
    acknowledged_amount: Uint128
    receipt: Bytes32
    """Struct hash of that position's receipt."""


@dataclass(frozen=True)
class LaneTotal(Struct):
    """The final totals of a lane."""

    lane: Uint16
    seq: Uint64
    """Its last position."""
    units: Uint64
    amount: Uint128
    """Fen owed for them."""


@dataclass(frozen=True)
class FinalSettlement(Statement):
    """The totals at which both parties end an agreement: paid, refunded and closed in one
    transaction.

    Signed by both pinned keys, the buyer's first.
    """

    contract: ClassVar[str] = "TradeSettlement"
    version: Uint16
    agreement_id: Bytes32
    units: Uint64
    """Over all lanes."""
    amount: Uint128
    """Fen owed over all lanes; the revenue split is paid of it."""
    lanes: tuple[LaneTotal, ...]
    """Every used lane, in ascending order."""
