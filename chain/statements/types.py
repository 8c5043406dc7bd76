"""Every statement of the network, field by field.

Whatever has a legal or monetary effect is one of these, signed under EIP-712 with the chain id and
the contract in its domain. The same types stand in ``contracts/src/Statements.sol``; shared vectors
prove both sides byte-equal. ``version`` is the type's version, 1 today: a changed type is a new
version with a new type string, never a changed meaning. Times are Unix seconds, heights are block
numbers, money is fen.

A struct's hash serves as the id of the thing it describes (a grant, an agreement, a deal), so
contracts store one word of status for it and whoever holds the struct can show that it is the one
meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
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
    Uint256,
)

VERSION = 1


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
    """What a key may sign. A chief data officer's approval key is the person's, never the node's."""

    ADMIN = 1
    APPROVAL = 2
    TRANSACTION = 3
    STATEMENT = 4
    TOKEN = 5
    LOG = 6
    TLS = 7


class Algorithm(IntEnum):
    """Signature algorithm of a key. 4 is kept for SM2."""

    SECP256K1 = 1
    ED25519 = 2
    P256 = 3


class Operation(IntFlag):
    """What a grant allows (数据使用方式)."""

    VIEW = 1
    EXPORT = 2
    USE = 4
    COPY = 8
    TRAIN = 16
    COMPUTE = 32


class MeteredUnit(IntEnum):
    """What is metered."""

    CALL = 0
    ROW = 1
    BYTE = 2


class UsageOutcome(IntEnum):
    """How a usage request ended. A refusal consumes its place in the lane and costs nothing."""

    SERVED = 0
    REFUSED = 1


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


# --- MemberDirectory ------------------------------------------------------------------------------


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


# --- AssetRegistry --------------------------------------------------------------------------------


@dataclass(frozen=True)
class AssetRecord(Struct):
    """One version of a data asset with its three rights (数据资源持有权, 数据加工使用权, 数据产品经营权)."""

    version: Uint16
    holder: MemberId
    processor: MemberId
    operator: MemberId
    data_item: Code
    """The data item whose authoritative source this asset is (一数一源); empty for a derived asset."""
    name: Code
    """The asset's name within its holder; with the holder it makes the asset id."""
    asset_version: Uint32
    grade: Uint8
    """1 to 5 for L1 to L5 (GB/T 43697)."""
    category: Code
    schema_hash: Bytes32
    records_root: Bytes32
    """RFC 9162 root over the per-record salted commitments."""
    row_count: Uint64
    metadata_hash: Bytes32
    parents: tuple[Bytes32, ...]
    """Asset ids this one was made from (lineage)."""


# --- GrantRegistry --------------------------------------------------------------------------------


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


# --- TradeSettlement ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share(Struct):
    """One part of the revenue split; all parts of an agreement add up to 10,000."""

    member: MemberId
    basis_points: Uint16


@dataclass(frozen=True)
class Agreement(Statement):
    """A metered trade, signed by both sides' STATEMENT keys. Its struct hash is the agreement id."""

    contract: ClassVar[str] = "TradeSettlement"
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
    """Place in the lane, from 1, without gaps."""
    max_units: Uint64
    max_amount: Uint128
    acknowledged_units: Uint64
    acknowledged_amount: Uint128
    previous_receipt: Bytes32
    """Struct hash of the receipt of place seq-1; zero for the first."""
    request_commitment: Bytes32
    expiry: Uint64
    """Limits the first service, not a retry nor the acknowledgement."""


@dataclass(frozen=True)
class UsageReceipt(Statement):
    """The gateway's account of one place of a lane, made durable before the answer leaves. Signed
    by the provider's pinned key.
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
    """The last place acknowledged."""
    acknowledged_units: Uint64
    acknowledged_amount: Uint128
    receipt: Bytes32
    """Struct hash of that place's receipt."""


@dataclass(frozen=True)
class LaneTotal(Struct):
    """What a lane came to in all."""

    lane: Uint16
    seq: Uint64
    """Its last place."""
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


# --- CreditLedger ---------------------------------------------------------------------------------


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
    """True when the record was repaired, false when it stands."""
    old_record: Bytes32
    new_record: Bytes32
    asset_version: Uint32
    """The asset version that holds the record after the repair."""
    repaired_at: Uint64


# --- PropertyLedger -------------------------------------------------------------------------------


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


STATEMENTS: dict[str, type[Statement]] = {
    item.__name__: item
    for item in (
        Approval,
        ApprovalWithdrawal,
        SubjectKeyCertificate,
        GrantDecision,
        GrantRevocation,
        Agreement,
        DepositConfirmation,
        UsageRequest,
        UsageReceipt,
        ReceiptVoid,
        RequestWithdrawal,
        Voucher,
        FinalSettlement,
        Consent,
        ConsentRegistration,
        ConsentWithdrawal,
        CreditQuery,
        CreditDispute,
        CreditRepair,
        TitleStatement,
        DealStep,
        UnitHold,
    )
}
"""Signed types by name: what a bundle may contain."""

STRUCTS: dict[str, type[Struct]] = {
    item.__name__: item for item in (AssetRecord, GrantTerms, DealTerms)
}
"""Unsigned types whose hash is an id or a stored word."""
