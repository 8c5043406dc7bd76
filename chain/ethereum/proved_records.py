"""Contract records proved under one block, the basis of a decision.

A decision names the records it needs (``grant_record(grant_id)``, ``member_record(code)``, …), gets
all of them proved under one block from ``ChainView.proved``, and reads nothing else of the chain.
The result is immutable, so a rule that takes it can be read, tested and repeated without a chain.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chain.core.crypto import keccak256
from chain.core.errors import Unavailable
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
)

Key = bytes | str | int
"""A mapping's key: bytes of a ``bytesN``, a member id as text, or an integer."""


class StorageKey(NamedTuple):
    """Which storage value: ``contract.variable[key][more…]``, plus the position inside a struct of
    several values.

    A tuple, since each call looks some ten of them up and a dataclass takes ten times as long to
    hash.
    """

    contract: str
    variable: str
    keys: tuple[Key, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ProvedRecords:
    """Records of the network's contracts, all proved under one block.

    Every getter raises ``Unavailable`` (``record_not_proved``) for a record that was not asked for:
    nothing is allowed on it.
    """

    height: int
    block_hash: bytes
    timestamp: int
    """Unix seconds of the block."""
    values: Mapping[StorageKey, int]

    def value(self, record: StorageKey) -> int:
        """The storage value of one record."""
        try:
            return self.values[record]
        except KeyError:
            raise Unavailable(
                "record_not_proved",
                f"{record.contract}.{record.variable} was not proved for this decision.",
            ) from None

    def hash(self, record: StorageKey) -> bytes:
        """The storage value of one record that is a ``bytes32``."""
        return self.value(record).to_bytes(32, "big")

    def member(self, code: str) -> MemberRecord:
        """A member's admission, suspension, removal and roles."""
        return MemberRecord.decode(self.value(member_record(code)))

    def governs(self, code: str) -> bool:
        """Whether the member is one of the governors."""
        return bool(self.value(governor_record(code)))

    def key(self, key: str | bytes) -> KeyRecord:
        """Whose a key is, for what, and since when; by its address or its 32-byte fingerprint."""
        return KeyRecord.decode(self.value(key_record(key)))

    def asset(self, asset_id: bytes) -> AssetStatus:
        """An asset's registration, cancellation and latest version; all zero if there is none."""
        return AssetStatus.decode(self.value(asset_record(asset_id)))

    def version_hash(self, asset_id: bytes, version: int) -> bytes:
        """The struct hash of a version's ``AssetRecord``; 32 zero bytes if there is none."""
        return self.hash(version_record(asset_id, version))

    def hold(self, asset_id: bytes) -> HoldRecord:
        """An asset's dispute hold."""
        return HoldRecord.decode(self.value(hold_record(asset_id)))

    def grant(self, grant_id: bytes) -> GrantRecord:
        """A grant's request, decision and revocation."""
        return GrantRecord.decode(self.value(grant_record(grant_id)))

    def consent(self, consent_id: bytes) -> ConsentRecord:
        """A consent's registration and withdrawal."""
        return ConsentRecord.decode(self.value(consent_record(consent_id)))

    def dispute(self, dispute_id: bytes) -> DisputeRecord:
        """A dispute's raising and answer."""
        return DisputeRecord.decode(self.value(dispute_record(dispute_id)))

    def deal(self, deal_id: bytes) -> DealRecord:
        """A property deal's heights and steps."""
        return DealRecord.decode(self.value(deal_record(deal_id)))

    def title_hash(self, deal_id: bytes) -> bytes:
        """Struct hash of the title statement a deal was opened with; 32 zero bytes before that."""
        return self.hash(title_record(deal_id))

    def step_hash(self, deal_id: bytes, step: int) -> bytes:
        """Struct hash of the statement that was taken for a step; 32 zero bytes before that."""
        return self.hash(step_record(deal_id, step))

    def unit_hold(self, registrar: str, unit: bytes) -> UnitHoldRecord:
        """A home's hold."""
        return UnitHoldRecord.decode(self.value(unit_record("holds", registrar, unit)))

    def log(self, log_id: bytes) -> LogRecord:
        """A log's anchored size and the block of the anchor; zero before the first."""
        return LogRecord.decode(self.value(log_record(log_id)))

    def log_root(self, log_id: bytes) -> bytes:
        """The Merkle root that is anchored with ``log``'s size."""
        return self.hash(log_root_record(log_id))

    def agreement(self, agreement_id: bytes) -> AgreementRecord:
        """An agreement's money in fen, and its heights."""
        return AgreementRecord.decode(
            *(self.value(part) for part in agreement_records(agreement_id))
        )

    def account(self, member: str) -> AccountRecord:
        """A member's money in fen."""
        return AccountRecord.decode(*(self.value(part) for part in account_records(member)))

    def totals(self) -> AccountRecord:
        """All members' money together, in fen."""
        return AccountRecord.decode(*(self.value(part) for part in TOTALS_RECORDS))

    def lane(self, agreement_id: bytes, lane: int) -> LaneRecord:
        """What was claimed of a lane so far."""
        return LaneRecord.decode(self.value(lane_record(agreement_id, lane)))

    def paid_to(self, agreement_id: bytes, member: str) -> int:
        """What an agreement has paid a member, in fen."""
        return self.value(paid_to_record(agreement_id, member))

    def final_settlement(self, agreement_id: bytes) -> bytes:
        """Struct hash of the final totals that closed an agreement; 32 zero bytes if none did."""
        return self.hash(final_settlement_record(agreement_id))

    def trade_dispute(self, receipt: bytes) -> TradeDisputeRecord:
        """The dispute over a receipt; all zero if it was never claimed."""
        return TradeDisputeRecord.decode(
            *(self.value(part) for part in trade_dispute_records(receipt))
        )

    def freeze(self, agreement_id: bytes) -> HoldRecord:
        """A supervisor's freeze of an agreement."""
        return HoldRecord.decode(self.value(freeze_record(agreement_id)))

    def flag(self, member: str) -> FlagRecord:
        """A provider's proved equivocations."""
        return FlagRecord.decode(self.value(flag_record(member)))


# --- The names of records -------------------------------------------------------------------------


def governor_record(code: str) -> StorageKey:
    """``MemberDirectory.governor[code]``: 1 for a member that governs."""
    return StorageKey("MemberDirectory", "governor", (code,))


def member_record(code: str) -> StorageKey:
    """``MemberDirectory.members[code]``."""
    return StorageKey("MemberDirectory", "members", (code,))


def key_record(key: str | bytes) -> StorageKey:
    """``MemberDirectory.keys[fingerprint]``, by the fingerprint or by the address of a secp256k1
    key.
    """
    return StorageKey(
        "MemberDirectory", "keys", (fingerprint_of(key) if isinstance(key, str) else key,)
    )


def fingerprint_of(address: str) -> bytes:
    """The fingerprint of a secp256k1 key: its address, left-padded to 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def asset_record(asset_id: bytes) -> StorageKey:
    """``AssetRegistry.assets[assetId]``."""
    return StorageKey("AssetRegistry", "assets", (asset_id,))


def version_record(asset_id: bytes, version: int) -> StorageKey:
    """``AssetRegistry.versions[versionKey]``."""
    return StorageKey("AssetRegistry", "versions", (version_key(asset_id, version),))


def version_key(asset_id: bytes, version: int) -> bytes:
    """The key of ``AssetRegistry.versions``: keccak256(abi.encode(assetId, uint32 version))."""
    return keccak256(asset_id + version.to_bytes(32, "big"))


def hold_record(asset_id: bytes) -> StorageKey:
    """``AssetRegistry.holds[assetId]``."""
    return StorageKey("AssetRegistry", "holds", (asset_id,))


def grant_record(grant_id: bytes) -> StorageKey:
    """``GrantRegistry.grants[grantId]``."""
    return StorageKey("GrantRegistry", "grants", (grant_id,))


def consent_record(consent_id: bytes) -> StorageKey:
    """``CreditLedger.consents[consentId]``."""
    return StorageKey("CreditLedger", "consents", (consent_id,))


def dispute_record(dispute_id: bytes) -> StorageKey:
    """``CreditLedger.disputes[disputeId]``."""
    return StorageKey("CreditLedger", "disputes", (dispute_id,))


def deal_record(deal_id: bytes) -> StorageKey:
    """``PropertyLedger.deals[dealId]``."""
    return StorageKey("PropertyLedger", "deals", (deal_id,))


def title_record(deal_id: bytes) -> StorageKey:
    """``PropertyLedger.titles[dealId]``."""
    return StorageKey("PropertyLedger", "titles", (deal_id,))


def step_record(deal_id: bytes, step: int) -> StorageKey:
    """``PropertyLedger.steps[dealId][step]``."""
    return StorageKey("PropertyLedger", "steps", (deal_id, step))


def unit_record(variable: str, registrar: str, unit: bytes) -> StorageKey:
    """``PropertyLedger.<variable>[registrar][unit]``: ``holds``, ``openDeal`` or
    ``lastRegistration``.
    """
    return StorageKey("PropertyLedger", variable, (registrar, unit))


def log_record(log_id: bytes) -> StorageKey:
    """``EvidenceLog.logs[logId]``."""
    return StorageKey("EvidenceLog", "logs", (log_id,))


def log_root_record(log_id: bytes) -> StorageKey:
    """``EvidenceLog.roots[logId]``."""
    return StorageKey("EvidenceLog", "roots", (log_id,))


def agreement_records(agreement_id: bytes) -> tuple[StorageKey, StorageKey, StorageKey]:
    """The three values of ``TradeSettlement.agreements[agreementId]``: sums, bond and heights."""
    first, second, third = (
        StorageKey("TradeSettlement", "agreements", (agreement_id,), offset) for offset in range(3)
    )
    return first, second, third


def account_records(member: str) -> tuple[StorageKey, StorageKey]:
    """The two values of ``TradeSettlement.accounts[member]``."""
    balance, flow = (
        StorageKey("TradeSettlement", "accounts", (member,), offset) for offset in range(2)
    )
    return balance, flow


TOTALS_RECORDS = (
    StorageKey("TradeSettlement", "totals", ()),
    StorageKey("TradeSettlement", "totals", (), 1),
)
"""The two values of ``TradeSettlement.totals``."""


def lane_record(agreement_id: bytes, lane: int) -> StorageKey:
    """``TradeSettlement.lanes[agreementId][lane]``."""
    return StorageKey("TradeSettlement", "lanes", (agreement_id, lane))


def paid_to_record(agreement_id: bytes, member: str) -> StorageKey:
    """``TradeSettlement.paidTo[agreementId][member]``."""
    return StorageKey("TradeSettlement", "paidTo", (agreement_id, member))


def final_settlement_record(agreement_id: bytes) -> StorageKey:
    """``TradeSettlement.finalSettlements[agreementId]``."""
    return StorageKey("TradeSettlement", "finalSettlements", (agreement_id,))


def trade_dispute_records(receipt: bytes) -> tuple[StorageKey, ...]:
    """The five values of ``TradeDisputes.disputes[receipt]``."""
    return tuple(StorageKey("TradeDisputes", "disputes", (receipt,), offset) for offset in range(5))


def freeze_record(agreement_id: bytes) -> StorageKey:
    """``TradeDisputes.freezes[agreementId]``."""
    return StorageKey("TradeDisputes", "freezes", (agreement_id,))


def flag_record(member: str) -> StorageKey:
    """``TradeDisputes.flags[member]``."""
    return StorageKey("TradeDisputes", "flags", (member,))
