"""Typed reads of each contract, by its own names. See ``Ledger`` for how far such a read may be
trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chain.core.crypto import ZERO_ADDRESS, keccak256
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.eip712 import encode_code, encode_member
from chain.ethereum.records import (
    AccountRecord,
    AgreementRecord,
    AssetStatus,
    ConsentRecord,
    DealRecord,
    DisputeRecord,
    FlagRecord,
    GrantRecord,
    HoldRecord,
    KeyRecord,
    LaneRecord,
    LogRecord,
    MemberRecord,
    TradeDisputeRecord,
    UnitHoldRecord,
    record_at,
)
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement

if TYPE_CHECKING:
    from chain.ethereum.ledger.port import Ledger


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

    def member(self, member: str, *, height: int | None = None) -> MemberRecord:
        """The member's current record."""
        return MemberRecord.decode(self._one("memberWord", member, height=height))

    def member_at(self, member: str, block: int, *, height: int | None = None) -> MemberRecord:
        """The member's record that covers ``block``.

        This is an earlier record if a suspension began after ``block``.
        """
        return record_at(
            self.member(member, height=height),
            block,
            lambda lifted: MemberRecord.decode(
                self._one("earlierMemberWord", member, lifted, height=height)
            ),
        )

    def key(self, fingerprint: bytes, *, height: int | None = None) -> KeyRecord:
        """A key's record by its fingerprint (for secp256k1 the address, left-padded)."""
        return KeyRecord.decode(self._one("keyWord", fingerprint, height=height))

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

    def asset(self, asset_id: bytes, *, height: int | None = None) -> AssetStatus:
        """The asset's current status."""
        return AssetStatus.decode(self._one("assetWord", asset_id, height=height))

    def hold(self, asset_id: bytes, *, height: int | None = None) -> HoldRecord:
        """The asset's dispute hold."""
        return HoldRecord.decode(self._one("holdWord", asset_id, height=height))

    def hold_at(self, asset_id: bytes, block: int, *, height: int | None = None) -> HoldRecord:
        """The asset's hold record that covers ``block``.

        This is an earlier record if a hold began after ``block``.
        """
        return record_at(
            self.hold(asset_id, height=height),
            block,
            lambda lifted: HoldRecord.decode(
                self._one("earlierHoldWord", asset_id, lifted, height=height)
            ),
        )

    def record_hash(self, asset_id: bytes, version: int, *, height: int | None = None) -> bytes:
        """The struct hash of a version's ``AssetRecord``; zero if there is none."""
        return bytes(self._one("recordHash", asset_id, version, height=height))

    def source_of(self, data_item: str, *, height: int | None = None) -> bytes:
        """The asset that is the authoritative source of a data item; zero if none."""
        return bytes(self._one("sourceOf", encode_code(data_item), height=height))


class GrantRegistry(_Contract):
    """Grants and their status."""

    name = "GrantRegistry"

    def grant(self, grant_id: bytes, *, height: int | None = None) -> GrantRecord:
        """The grant's status word."""
        return GrantRecord.decode(self._one("grantWord", grant_id, height=height))

    def is_live(self, grant_id: bytes, *, height: int | None = None) -> bool:
        """Approved and not revoked."""
        return bool(self._one("isLive", grant_id, height=height))


class TradeSettlement(_Contract):
    """Accounts, agreements, claims."""

    name = "TradeSettlement"

    def account(self, member: str, *, height: int | None = None) -> AccountRecord:
        """A member's money."""
        return _account(self._one("accountWords", member, height=height))

    def totals(self, *, height: int | None = None) -> AccountRecord:
        """All members' money together."""
        return _account(self._one("totalWords", height=height))

    def agreement(self, agreement_id: bytes, *, height: int | None = None) -> AgreementRecord:
        """An agreement's amounts and heights."""
        words = self._one("agreementWords", agreement_id, height=height)
        return AgreementRecord.decode(words["sums"], words["security"], words["heights"])

    def lane(self, agreement_id: bytes, lane: int, *, height: int | None = None) -> LaneRecord:
        """What was claimed on a lane: seq, units, amount."""
        return LaneRecord.decode(self._one("laneWord", agreement_id, lane, height=height))

    def min_close_window(self) -> CloseWindow:
        """The shortest closing window that the contract takes."""
        return CloseWindow(
            int(self._one("minWindowBlocks", height=None)),
            int(self._one("minWindowSeconds", height=None)),
        )

    def final_settlement(self, agreement_id: bytes, *, height: int | None = None) -> bytes:
        """Struct hash of the final settlement that closed an agreement; 32 zero bytes
        if none did.
        """
        return bytes(self._one("finalSettlementOf", agreement_id, height=height))

    def reference_used_at(
        self, settlement_bank: str, reference: bytes, *, height: int | None = None
    ) -> int:
        """The height a deposit reference was used at; 0 if never."""
        return int(self._one("referenceUsedAt", settlement_bank, reference, height=height))

    def paid_to(self, agreement_id: bytes, member: str, *, height: int | None = None) -> int:
        """What an agreement has paid a member, in fen."""
        return int(self._one("paidTo", agreement_id, member, height=height))


def _account(words: dict[str, int]) -> AccountRecord:
    return AccountRecord.decode(words["balance"], words["flow"])


class TradeDisputes(_Contract):
    """Disputes over metered calls, penalties and freezes."""

    name = "TradeDisputes"

    def dispute(self, receipt: bytes, *, height: int | None = None) -> TradeDisputeRecord:
        """The dispute over a receipt; all zero if it was never claimed."""
        words = self._one("disputeWords", receipt, height=height)
        hashes = (words["contestKey"], words["sealedAnswer"], words["ruling"])
        return TradeDisputeRecord.decode(
            words["heights"], words["times"], *(int.from_bytes(value, "big") for value in hashes)
        )

    def flag(self, member: str, *, height: int | None = None) -> FlagRecord:
        """A provider's proved equivocations."""
        return FlagRecord.decode(self._one("flagWord", member, height=height))

    def freeze(self, agreement_id: bytes, *, height: int | None = None) -> HoldRecord:
        """A supervisor's freeze of an agreement."""
        return HoldRecord.decode(self._one("freezeWord", agreement_id, height=height))


class EvidenceLog(_Contract):
    """Anchored log heads."""

    name = "EvidenceLog"

    def log(self, log_id: bytes, *, height: int | None = None) -> LogRecord:
        """A log's anchored size."""
        size, anchored_at, _ = self._all("logState", log_id, height=height)
        return LogRecord(size, anchored_at)

    def root(self, log_id: bytes, *, height: int | None = None) -> bytes:
        """A log's anchored root; zero if never anchored."""
        return bytes(self._all("logState", log_id, height=height)[2])


class CreditLedger(_Contract):
    """Consents, queries, disputes."""

    name = "CreditLedger"

    def consent(self, commitment: bytes, *, height: int | None = None) -> ConsentRecord:
        """A consent's status word."""
        return ConsentRecord.decode(self._one("consentWord", commitment, height=height))

    def query_anchored_at(self, query: bytes, *, height: int | None = None) -> int:
        """The height a credit query's struct hash was anchored at; 0 if never."""
        return int(self._one("queryAnchoredAt", query, height=height))

    def dispute(self, dispute_id: bytes, *, height: int | None = None) -> DisputeRecord:
        """A dispute's status word."""
        return DisputeRecord.decode(self._one("disputeWord", dispute_id, height=height))

    def repair(self, dispute_id: bytes, *, height: int | None = None) -> bytes:
        """The struct hash of a dispute's answer; zero if none."""
        return bytes(self._one("repairOf", dispute_id, height=height))


class PropertyLedger(_Contract):
    """Deals and holds."""

    name = "PropertyLedger"

    def deal(self, deal_id: bytes, *, height: int | None = None) -> DealRecord:
        """A deal's status word."""
        return DealRecord.decode(self._one("dealWord", deal_id, height=height))

    def open_deal(self, registrar: str, unit: bytes, *, height: int | None = None) -> bytes:
        """The unit's open deal; zero if none."""
        return bytes(self._one("openDealOf", registrar, unit, height=height))

    def last_registration(self, registrar: str, unit: bytes, *, height: int | None = None) -> bytes:
        """The deal that was registered last for the unit; zero before the first."""
        return bytes(self._one("lastRegistrationOf", registrar, unit, height=height))

    def title_hash(self, deal_id: bytes, *, height: int | None = None) -> bytes:
        """The struct hash of the title statement that the deal was opened with."""
        return bytes(self._one("titleHash", deal_id, height=height))

    def hold(self, registrar: str, unit: bytes, *, height: int | None = None) -> UnitHoldRecord:
        """The unit's hold."""
        return UnitHoldRecord.decode(self._one("holdWord", registrar, unit, height=height))

    def hold_at(
        self, registrar: str, unit: bytes, block: int, *, height: int | None = None
    ) -> UnitHoldRecord:
        """The unit's hold as the record of block ``block`` shows it, which a later hold may have
        hidden.
        """
        return record_at(
            self.hold(registrar, unit, height=height),
            block,
            lambda lifted: UnitHoldRecord.decode(
                self._one("earlierHoldWord", registrar, unit, lifted, height=height)
            ),
        )

    def step_hash(self, deal_id: bytes, step: int, *, height: int | None = None) -> bytes:
        """The struct hash of a step's statement; zero if not signed yet."""
        return bytes(self._one("stepHash", deal_id, step, height=height))


def asset_id_of(holder: str, name: str) -> bytes:
    """keccak256(abi.encode(bytes18 holder, bytes32 name))."""
    return keccak256(encode_member(holder).ljust(32, b"\0") + encode_code(name))


def log_id_of(origin: str) -> bytes:
    """The key of ``EvidenceLog.logs``: keccak256 of a log's origin string."""
    return keccak256(origin.encode("ascii"))


def agreement_id_of(agreement: Agreement) -> bytes:
    """An agreement's id: its struct hash."""
    return agreement.struct_hash()
