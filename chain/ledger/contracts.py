"""Typed reads of each contract, by its own names. See ``Ledger`` for how far such a read may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chain.crypto import ZERO_ADDRESS, keccak256
from chain.eip712 import encode_code, encode_member
from chain.statements import Agreement, KeyPurpose
from chain.words import (
    AccountWord,
    AssetWord,
    ConsentWord,
    DealWord,
    DisputeWord,
    GrantWord,
    HoldWord,
    KeyWord,
    LaneWord,
    LogWord,
    MemberWord,
)

if TYPE_CHECKING:
    from chain.ledger.port import Ledger


class _Contract:
    """Shared by the typed contracts: one view call with one or several results."""

    name: str

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def address(self) -> str:
        """The contract's address."""
        return self._ledger.deployment.address(self.name)

    def _one(self, function: str, *arguments: Any, height: int | None) -> Any:
        return self._all(function, *arguments, height=height)[0]

    def _all(self, function: str, *arguments: Any, height: int | None) -> tuple[Any, ...]:
        return self._ledger.read(self.name, function, *arguments, height=height)


class MemberDirectory(_Contract):
    """Members, their roles and keys."""

    name = "MemberDirectory"

    def member_of(self, key: str, purpose: KeyPurpose, *, height: int | None = None) -> str:
        """The member whose live key of that purpose an address is; empty if none."""
        return str(self._one("memberOf", key, int(purpose), height=height))

    def is_active(self, member: str, *, height: int | None = None) -> bool:
        """Admitted, not suspended, not removed."""
        return bool(self._one("isActive", member, height=height))

    def has_role(self, member: str, role: int, *, height: int | None = None) -> bool:
        """Whether the member holds the role."""
        return bool(self._one("hasRole", member, int(role), height=height))

    def member(self, member: str, *, height: int | None = None) -> MemberWord:
        """The member's status word."""
        return MemberWord.decode(self._one("memberWord", member, height=height))

    def key(self, fingerprint: bytes, *, height: int | None = None) -> KeyWord:
        """A key's word by its fingerprint (for secp256k1 the address, left-padded)."""
        return KeyWord.decode(self._one("keyWord", fingerprint, height=height))

    def contract_at(self, name: str, *, height: int | None = None) -> str | None:
        """The announced address of a contract, or None."""
        address = str(self._one("contractAt", encode_code(name), height=height))
        return None if address == ZERO_ADDRESS else address

    def is_closed(self, address: str, *, height: int | None = None) -> bool:
        """Whether a contract is closed to new business."""
        return bool(self._one("isClosed", address, height=height))


class AssetRegistry(_Contract):
    """Assets, their versions and status."""

    name = "AssetRegistry"

    def asset(self, asset_id: bytes, *, height: int | None = None) -> AssetWord:
        """The asset's status word."""
        return AssetWord.decode(self._one("assets", asset_id, height=height))

    def hold(self, asset_id: bytes, *, height: int | None = None) -> HoldWord:
        """The asset's dispute hold."""
        return HoldWord.decode(self._one("holds", asset_id, height=height))

    def record_hash(self, asset_id: bytes, version: int, *, height: int | None = None) -> bytes:
        """The struct hash of a version's ``AssetRecord``; zero if there is none."""
        return bytes(self._one("versions", version_key(asset_id, version), height=height))

    def source_of(self, data_item: str, *, height: int | None = None) -> bytes:
        """The asset that is the authoritative source of a data item; zero if none."""
        return bytes(self._one("sources", encode_code(data_item), height=height))


class GrantRegistry(_Contract):
    """Grants and their status."""

    name = "GrantRegistry"

    def grant(self, grant_id: bytes, *, height: int | None = None) -> GrantWord:
        """The grant's status word."""
        return GrantWord.decode(self._one("grants", grant_id, height=height))

    def is_live(self, grant_id: bytes, *, height: int | None = None) -> bool:
        """Approved and not revoked."""
        return bool(self._one("isLive", grant_id, height=height))


@dataclass(frozen=True)
class Account:
    """A member's money in the settlement contract, in fen."""

    deposited: int
    withdrawn: int
    free: int
    locked: int


@dataclass(frozen=True)
class Totals:
    """The contract's money, in fen: deposited = withdrawn + free + locked."""

    deposited: int
    withdrawn: int
    free: int
    locked: int


@dataclass(frozen=True)
class AgreementState:
    """An agreement's books, in fen, and its heights."""

    opened: int
    paid: int
    refunded: int
    opened_at: int
    notice_at: int
    notice_time: int
    closed_at: int

    @property
    def locked(self) -> int:
        """What is still locked for it."""
        return self.opened - self.paid - self.refunded


class TradeSettlement(_Contract):
    """Accounts, agreements, claims."""

    name = "TradeSettlement"

    def account(self, member: str, *, height: int | None = None) -> Account:
        """A member's money."""
        return Account(*self._all("account", member, height=height))

    def totals(self, *, height: int | None = None) -> Totals:
        """All members' money together."""
        return Totals(*self._all("totals", height=height))

    def agreement(self, agreement_id: bytes, *, height: int | None = None) -> AgreementState:
        """An agreement's books."""
        return AgreementState(*_fields(AgreementState, self._one("agreementState", agreement_id, height=height)))

    def lane(self, agreement_id: bytes, lane: int, *, height: int | None = None) -> LaneWord:
        """What was claimed on a lane: seq, units, amount."""
        seq, units, amount = self._all("laneState", agreement_id, lane, height=height)
        return LaneWord(amount=amount, units=units, seq=seq)

    def reference_used_at(self, settlement_bank: str, reference: bytes, *, height: int | None = None) -> int:
        """The height a deposit reference was used at; 0 if never."""
        key = keccak256(encode_member(settlement_bank).ljust(32, b"\0") + reference)
        return int(self._one("references", key, height=height))


class EvidenceLog(_Contract):
    """Anchored log heads."""

    name = "EvidenceLog"

    def log(self, log_id: bytes, *, height: int | None = None) -> LogWord:
        """A log's anchored size."""
        return LogWord.decode(self._one("logs", log_id, height=height))

    def root(self, log_id: bytes, *, height: int | None = None) -> bytes:
        """A log's anchored root; zero if never anchored."""
        return bytes(self._one("roots", log_id, height=height))


class CreditLedger(_Contract):
    """Consents, queries, disputes."""

    name = "CreditLedger"

    def consent(self, commitment: bytes, *, height: int | None = None) -> ConsentWord:
        """A consent's status word."""
        return ConsentWord.decode(self._one("consents", commitment, height=height))

    def query_anchored_at(self, query: bytes, *, height: int | None = None) -> int:
        """The height a credit query's struct hash was anchored at; 0 if never."""
        return int(self._one("queries", query, height=height))

    def dispute(self, dispute_id: bytes, *, height: int | None = None) -> DisputeWord:
        """A dispute's status word."""
        return DisputeWord.decode(self._one("disputes", dispute_id, height=height))

    def repair(self, dispute_id: bytes, *, height: int | None = None) -> bytes:
        """The struct hash of a dispute's answer; zero if none."""
        return bytes(self._one("repairs", dispute_id, height=height))


class PropertyLedger(_Contract):
    """Deals and holds."""

    name = "PropertyLedger"

    def deal(self, deal_id: bytes, *, height: int | None = None) -> DealWord:
        """A deal's status word."""
        return DealWord.decode(self._one("deals", deal_id, height=height))

    def open_deal(self, unit: bytes, *, height: int | None = None) -> bytes:
        """The unit's open deal; zero if none."""
        return bytes(self._one("openDeal", unit, height=height))

    def hold(self, unit: bytes, *, height: int | None = None) -> HoldWord:
        """The unit's hold."""
        return HoldWord.decode(self._one("holds", unit, height=height))

    def step_hash(self, deal_id: bytes, step: int, *, height: int | None = None) -> bytes:
        """The struct hash of a step's statement; zero if not signed yet."""
        return bytes(self._one("steps", deal_id, step, height=height))


def asset_id_of(holder: str, name: str) -> bytes:
    """keccak256(abi.encode(bytes18 holder, bytes32 name))."""
    return keccak256(encode_member(holder).ljust(32, b"\0") + encode_code(name))


def version_key(asset_id: bytes, version: int) -> bytes:
    """The key of ``AssetRegistry.versions``: keccak256(abi.encode(assetId, uint32 version))."""
    return keccak256(asset_id + version.to_bytes(32, "big"))


def log_id_of(origin: str) -> bytes:
    """The key of ``EvidenceLog.logs``: keccak256 of a log's origin string."""
    return keccak256(origin.encode("ascii"))


def agreement_id_of(agreement: Agreement) -> bytes:
    """An agreement's id: its struct hash."""
    return agreement.struct_hash()


def _fields(kind: type, value: Any) -> list[Any]:
    """The values of a struct the ABI gives by camelCase name, in a dataclass's order."""
    from dataclasses import fields

    from chain.eip712 import camel

    return [value[camel(each.name)] for each in fields(kind)]
