"""Contract records proved under one block: what a decision rests on.

A decision names the records it needs (``grant_record(grant_id)``, ``member_record(code)``, …), gets all of them proved under one
block from ``ChainView.proved``, and reads nothing else of the chain. The result is immutable, so that a rule which is passed it can
be read, tested and repeated without a chain.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chain.errors import Unavailable
from chain.words import (
    Account,
    AgreementState,
    AssetWord,
    ConsentWord,
    DealWord,
    DisputeWord,
    GrantWord,
    HoldWord,
    KeyWord,
    LaneWord,
    MemberWord,
    UnitHoldRecord,
)

Key = bytes | str | int
"""A mapping's key: bytes of a ``bytesN``, a member id as text, or an integer."""


class Word(NamedTuple):
    """Which storage value: ``contract.variable[key][more…]``, plus the position inside a struct of several values.

    A tuple, since each call looks some ten of them up and a dataclass takes ten times as long to hash.
    """

    contract: str
    variable: str
    keys: tuple[Key, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ProvedRecords:
    """Records of the network's contracts, all proved under one block.

    Every getter raises ``Unavailable`` (``record_not_proved``) for a record that was not asked for: nothing is allowed on it.
    """

    height: int
    block_hash: bytes
    timestamp: int
    """Unix seconds of the block."""
    values: Mapping[Word, int]

    def value(self, record: Word) -> int:
        """The storage value of one record."""
        try:
            return self.values[record]
        except KeyError:
            raise Unavailable("record_not_proved", f"{record.contract}.{record.variable} was not proved for this decision.") from None

    def hash(self, record: Word) -> bytes:
        """The storage value of one record that is a ``bytes32``."""
        return self.value(record).to_bytes(32, "big")

    def member(self, code: str) -> MemberWord:
        """A member's admission, suspension, removal and roles."""
        return MemberWord.decode(self.value(member_record(code)))

    def key(self, key: str | bytes) -> KeyWord:
        """Whose a key is, for what, and since when; by its address or its 32-byte fingerprint."""
        return KeyWord.decode(self.value(key_record(key)))

    def asset(self, asset_id: bytes) -> AssetWord:
        """An asset's registration, cancellation and latest version; all zero if there is none."""
        return AssetWord.decode(self.value(asset_record(asset_id)))

    def hold(self, asset_id: bytes) -> HoldWord:
        """An asset's dispute hold."""
        return HoldWord.decode(self.value(hold_record(asset_id)))

    def grant(self, grant_id: bytes) -> GrantWord:
        """A grant's request, decision and revocation."""
        return GrantWord.decode(self.value(grant_record(grant_id)))

    def consent(self, consent_id: bytes) -> ConsentWord:
        """A consent's registration and withdrawal."""
        return ConsentWord.decode(self.value(consent_record(consent_id)))

    def dispute(self, dispute_id: bytes) -> DisputeWord:
        """A dispute's raising and answer."""
        return DisputeWord.decode(self.value(dispute_record(dispute_id)))

    def deal(self, deal_id: bytes) -> DealWord:
        """A property deal's heights and steps."""
        return DealWord.decode(self.value(deal_record(deal_id)))

    def unit_hold(self, registrar: str, unit: bytes) -> UnitHoldRecord:
        """A home's hold."""
        return UnitHoldRecord.decode(self.value(unit_record("holds", registrar, unit)))

    def agreement(self, agreement_id: bytes) -> AgreementState:
        """An agreement's money in fen, and its heights."""
        return AgreementState.decode(*(self.value(part) for part in agreement_records(agreement_id)))

    def account(self, member: str) -> Account:
        """A member's money in fen."""
        return Account.decode(*(self.value(part) for part in account_records(member)))

    def totals(self) -> Account:
        """All members' money together, in fen."""
        return Account.decode(*(self.value(part) for part in TOTALS_RECORDS))

    def lane(self, agreement_id: bytes, lane: int) -> LaneWord:
        """What was claimed of a lane so far."""
        return LaneWord.decode(self.value(lane_record(agreement_id, lane)))


# --- The names of records ------------------------------------------------------------------------------------------------------


def member_record(code: str) -> Word:
    """``MemberDirectory.members[code]``."""
    return Word("MemberDirectory", "members", (code,))


def key_record(key: str | bytes) -> Word:
    """``MemberDirectory.keys[fingerprint]``, by the fingerprint or by the address of a secp256k1 key."""
    return Word("MemberDirectory", "keys", (fingerprint_of(key) if isinstance(key, str) else key,))


def fingerprint_of(address: str) -> bytes:
    """The fingerprint of a secp256k1 key: its address, left-padded to 32 bytes."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def asset_record(asset_id: bytes) -> Word:
    """``AssetRegistry.assets[assetId]``."""
    return Word("AssetRegistry", "assets", (asset_id,))


def hold_record(asset_id: bytes) -> Word:
    """``AssetRegistry.holds[assetId]``."""
    return Word("AssetRegistry", "holds", (asset_id,))


def grant_record(grant_id: bytes) -> Word:
    """``GrantRegistry.grants[grantId]``."""
    return Word("GrantRegistry", "grants", (grant_id,))


def consent_record(consent_id: bytes) -> Word:
    """``CreditLedger.consents[consentId]``."""
    return Word("CreditLedger", "consents", (consent_id,))


def dispute_record(dispute_id: bytes) -> Word:
    """``CreditLedger.disputes[disputeId]``."""
    return Word("CreditLedger", "disputes", (dispute_id,))


def deal_record(deal_id: bytes) -> Word:
    """``PropertyLedger.deals[dealId]``."""
    return Word("PropertyLedger", "deals", (deal_id,))


def unit_record(variable: str, registrar: str, unit: bytes) -> Word:
    """``PropertyLedger.<variable>[registrar][unit]``: ``holds``, ``openDeal`` or ``lastRegistration``."""
    return Word("PropertyLedger", variable, (registrar, unit))


def agreement_records(agreement_id: bytes) -> tuple[Word, Word, Word]:
    """The three values of ``TradeSettlement.agreements[agreementId]``: what was opened and paid, refunded and acknowledged, and the heights."""
    first, second, third = (Word("TradeSettlement", "agreements", (agreement_id,), offset) for offset in range(3))
    return first, second, third


def account_records(member: str) -> tuple[Word, Word, Word]:
    """The three values of ``TradeSettlement.accounts[member]``."""
    first, second, third = (Word("TradeSettlement", "accounts", (member,), offset) for offset in range(3))
    return first, second, third


TOTALS_RECORDS = tuple(Word("TradeSettlement", "totals", (), offset) for offset in range(3))
"""The three values of ``TradeSettlement.totals``."""


def lane_record(agreement_id: bytes, lane: int) -> Word:
    """``TradeSettlement.lanes[agreementId][lane]``."""
    return Word("TradeSettlement", "lanes", (agreement_id, lane))
