"""Decode the contracts' packed status records.

Each on-chain record is one 256-bit value stored under a struct hash, so that one storage proof
shows its present status and, as far as its heights allow, its past status; 0 means never. The
layouts are those of the Solidity sources, from the least significant bit. A record is valid at the
block it was proved under (``live``) and, where heights allow it, at an earlier block (``live_at``,
``held_at``); a change at a height counts from that block. No record covers blocks after its proof.

What happens once has a height that is set once. Of what happens repeatedly (an asset's correction,
a deal's last step, a log's anchor, a member's suspension, a hold) the record has the latest. A new
suspension or hold would overwrite the one before. The contract therefore stores the earlier record
in its own slot, under the height that lifted it, and the new record has ``valid_from``, the first
height it covers. The current record does not cover earlier blocks (``height_not_covered``);
``record_at`` finds the one that does.

Pure: no I/O, no clock, usable by a verifier without a chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from chain.core.errors import Inconsistent, NotAnchored

_HEIGHT = (1 << 48) - 1
_VALID_FROM = 208
_TIME = (1 << 40) - 1


def _height(word: int, index: int) -> int:
    """The 48-bit height at bit ``48 * index``."""
    return word >> 48 * index & _HEIGHT


def _since(height: int, now: int) -> bool:
    return height != 0 and height <= now


def _require_covered(valid_from: int, height: int) -> None:
    if height < valid_from:
        raise NotAnchored(
            "height_not_covered",
            f"The record covers blocks from {valid_from} on, and not block {height}.",
            hint=f"Show the earlier record, stored under height {valid_from}, as well.",
            valid_from=valid_from,
        )


def _text(value: int, size: int) -> str:
    return value.to_bytes(size, "big").rstrip(b"\0").decode("ascii", "replace")


@dataclass(frozen=True)
class KeyRecord:
    """``MemberDirectory.keys[fingerprint]``: whose key it is, for what, and from which block to
    which.
    """

    from_height: int
    end_height: int
    purpose: int
    algorithm: int
    member: str

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(
            _height(word, 0),
            _height(word, 1),
            word >> 96 & 0xFF,
            word >> 104 & 0xFF,
            _text(word >> 112, 18),
        )

    @property
    def live(self) -> bool:
        """Added and not ended."""
        return self.from_height != 0 and self.end_height == 0

    def live_at(self, height: int) -> bool:
        """Whether the key was valid in that block: from its adding block up to, not including, its
        ending block.
        """
        return _since(self.from_height, height) and not _since(self.end_height, height)


@dataclass(frozen=True)
class MemberRecord:
    """``MemberDirectory.members[member]``, with the latest suspension; the one before is in
    ``MemberDirectory.earlierMembers[member][valid_from]``.
    """

    admitted_at: int
    suspended_at: int
    lifted_at: int
    removed_at: int
    roles: int
    valid_from: int = 0
    """The height at which the previous suspension ended; 0 if there was none.

    The record covers blocks from this height on.
    """

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        heights = (_height(word, 0), _height(word, 1), _height(word, 2), _height(word, 3))
        return cls(*heights, word >> 192 & 0xFFFF, word >> _VALID_FROM & _HEIGHT)

    @property
    def suspended(self) -> bool:
        """Suspended and not lifted since."""
        return self.suspended_at > self.lifted_at

    @property
    def live(self) -> bool:
        """Admitted, not suspended, not removed."""
        return self.admitted_at != 0 and self.removed_at == 0 and not self.suspended

    def live_at(self, height: int) -> bool:
        """Whether the member was active in that block.

        Raises:
            NotAnchored: ``height_not_covered`` for a block that an earlier record covers.
        """
        if not _since(self.admitted_at, height):
            return False
        _require_covered(self.valid_from, height)
        suspended = _since(self.suspended_at, height) and (
            self.suspended or height < self.lifted_at
        )
        return not _since(self.removed_at, height) and not suspended

    def has_role(self, role: int) -> bool:
        """Whether the member holds any of the roles in ``role``."""
        return self.roles & role != 0


@dataclass(frozen=True)
class AssetStatus:
    """``AssetRegistry.assets[assetId]``; a dispute hold is ``AssetRegistry.holds[assetId]``, a
    ``HoldRecord``.
    """

    registered_at: int
    corrected_at: int
    cancelled_at: int
    latest_version: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(_height(word, 0), _height(word, 1), _height(word, 2), word >> 144 & 0xFFFFFFFF)

    @property
    def live(self) -> bool:
        """Registered and not cancelled."""
        return self.registered_at != 0 and self.cancelled_at == 0


@dataclass(frozen=True)
class HoldRecord:
    """The latest hold placed and lifted (``AssetRegistry.holds[assetId]``; a ``UnitHoldRecord`` for
    a home); the one before is in ``earlierHolds[…][valid_from]`` of the same contract.
    """

    placed_at: int
    lifted_at: int
    held: bool
    """A bit of its own, since a hold may be lifted and placed in one block."""
    valid_from: int = 0
    """The height at which the previous hold ended; 0 if there was none.

    The record covers blocks from this height on.
    """

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(
            _height(word, 0), _height(word, 1), bool(word >> 96 & 1), word >> _VALID_FROM & _HEIGHT
        )

    def held_at(self, height: int) -> bool:
        """Whether the hold stood in that block.

        Raises:
            NotAnchored: ``height_not_covered`` for a block that an earlier record covers.
        """
        _require_covered(self.valid_from, height)
        return _since(self.placed_at, height) and (self.held or height < self.lifted_at)


@dataclass(frozen=True)
class UnitHoldRecord(HoldRecord):
    """``PropertyLedger.holds[registrar][unit]``: a hold that also has the time of its latest order
    and its end, in Unix seconds.
    """

    issued_at: int = 0
    ends_at: int = 0
    """From then on anybody may end the hold; it is in force until somebody does."""

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage value."""
        heights = (_height(word, 0), _height(word, 1))
        return cls(
            *heights,
            bool(word >> 96 & 1),
            word >> _VALID_FROM & _HEIGHT,
            word >> 128 & _TIME,
            word >> 168 & _TIME,
        )


W = TypeVar("W", MemberRecord, HoldRecord, UnitHoldRecord)


def record_at(word: W, height: int, earlier: Callable[[int], W]) -> W:
    """Return the record that covers block ``height``: ``word`` or an earlier one.

    ``earlier`` returns the record that is stored under the height at which it ended.

    Raises:
        Inconsistent: ``earlier_record_wrong`` if that record did not end at that height.
    """
    while height < word.valid_from:
        before = earlier(word.valid_from)
        if before.lifted_at != word.valid_from or before.valid_from >= word.valid_from:
            raise Inconsistent(
                "earlier_record_wrong",
                f"The record stored under block {word.valid_from} did not end in that block.",
            )
        word = before
    return word


@dataclass(frozen=True)
class GrantRecord:
    """``GrantRegistry.grants[grantId]``."""

    requested_at: int
    approved_at: int
    refused_at: int
    revoked_at: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(*(_height(word, index) for index in range(4)))

    @property
    def live(self) -> bool:
        """Approved and not revoked."""
        return self.approved_at != 0 and self.revoked_at == 0

    def live_at(self, height: int) -> bool:
        """Whether the grant could be used in that block."""
        return _since(self.approved_at, height) and not _since(self.revoked_at, height)


@dataclass(frozen=True)
class ConsentRecord:
    """``CreditLedger.consents[commitment]``."""

    recorded_at: int
    withdrawn_at: int
    authority: str
    """Lowercase address of the subject's one-time key."""

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(_height(word, 0), _height(word, 1), f"0x{word >> 96:040x}")

    @property
    def live(self) -> bool:
        """Recorded and not withdrawn."""
        return self.recorded_at != 0 and self.withdrawn_at == 0

    def live_at(self, height: int) -> bool:
        """Whether the consent held in that block."""
        return _since(self.recorded_at, height) and not _since(self.withdrawn_at, height)


@dataclass(frozen=True)
class DisputeRecord:
    """``CreditLedger.disputes[disputeId]``."""

    opened_at: int
    answered_at: int
    upheld: bool
    department: str

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(
            _height(word, 0), _height(word, 1), bool(word >> 96 & 0xFF), _text(word >> 112, 18)
        )

    @property
    def live(self) -> bool:
        """Raised and not answered."""
        return self.opened_at != 0 and self.answered_at == 0


@dataclass(frozen=True)
class DealRecord:
    """``PropertyLedger.deals[dealId]``."""

    opened_at: int
    registered_at: int
    expired_at: int
    steps_mask: int
    last_step_at: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        heights = (_height(word, 0), _height(word, 1), _height(word, 2))
        return cls(*heights, word >> 144 & 0xFF, word >> 152 & _HEIGHT)

    @property
    def live(self) -> bool:
        """Open: neither registered nor expired."""
        return self.opened_at != 0 and self.registered_at == 0 and self.expired_at == 0

    def done(self, step: int) -> bool:
        """Whether a step (1 to 7) has been signed."""
        return bool(self.steps_mask >> step - 1 & 1)


@dataclass(frozen=True)
class LogRecord:
    """``EvidenceLog.logs[logId]``: the anchored size and the block that anchored it."""

    size: int
    anchored_at: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(word & (1 << 64) - 1, word >> 64 & _HEIGHT)

    @property
    def live(self) -> bool:
        """Anchored at least once."""
        return self.anchored_at != 0


_AMOUNT = (1 << 64) - 1


def _amount(word: int, index: int) -> int:
    """The 64-bit amount at bit ``64 * index``."""
    return word >> 64 * index & _AMOUNT


@dataclass(frozen=True)
class AccountRecord:
    """``TradeSettlement.accounts[member]`` (and ``totals``), two storage values, in fen.

    Always: deposited + earned = withdrawn + spent + free + locked + bonded.
    """

    deposited: int
    withdrawn: int
    free: int
    locked: int
    earned: int
    spent: int
    bonded: int = 0
    """Bonds of agreements and stakes of disputes."""

    @classmethod
    def decode(cls, balance: int, flow: int) -> Self:
        """From the storage values in slot order."""
        free, locked, earned, spent = (_amount(balance, index) for index in range(4))
        deposited, withdrawn, bonded = (_amount(flow, index) for index in range(3))
        return cls(deposited, withdrawn, free, locked, earned, spent, bonded)

    @property
    def balanced(self) -> bool:
        """Whether the conservation line holds."""
        used = self.withdrawn + self.spent + self.free + self.locked + self.bonded
        return self.deposited + self.earned == used


@dataclass(frozen=True)
class AgreementRecord:
    """``TradeSettlement.agreements[agreementId]``.

    It has three storage values: amounts in fen; the provider's bond, with the claims that are
    pending; heights, and the block time of the notice.
    """

    opened: int
    paid: int
    refunded: int
    acknowledged: int
    opened_at: int
    notice_at: int
    notice_time: int
    closed_at: int
    acknowledged_units: int = 0
    bond_due: int = 0
    """Still to be withheld from the provider's earnings."""
    bond_held: int = 0
    bond_taken: int = 0
    """Taken as a penalty."""
    pending: int = 0
    """Claims of unacknowledged receipts that are not decided; while there are any, the agreement
    does not close.
    """

    @classmethod
    def decode(cls, sums: int, security: int, heights: int) -> Self:
        """From the three storage values in slot order."""
        opened, paid, refunded, acknowledged = (_amount(sums, index) for index in range(4))
        bond_due, bond_held, bond_taken, pending = (_amount(security, index) for index in range(4))
        return cls(
            opened=opened,
            paid=paid,
            refunded=refunded,
            acknowledged=acknowledged,
            opened_at=_height(heights, 0),
            notice_at=_height(heights, 1),
            notice_time=_height(heights, 2),
            closed_at=_height(heights, 3),
            acknowledged_units=heights >> 192,
            bond_due=bond_due,
            bond_held=bond_held,
            bond_taken=bond_taken,
            pending=pending,
        )

    @property
    def locked(self) -> int:
        """What is still locked for it: opened = paid + refunded + locked."""
        return self.opened - self.paid - self.refunded

    @property
    def live(self) -> bool:
        """Open: neither in notice nor closed."""
        return self.opened_at != 0 and self.notice_at == 0 and self.closed_at == 0


@dataclass(frozen=True)
class LaneRecord:
    """``TradeSettlement.lanes[agreementId][lane]``: what was claimed so far."""

    amount: int
    units: int
    seq: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage word."""
        return cls(word & (1 << 128) - 1, word >> 128 & (1 << 64) - 1, word >> 192)


_BYTE = (1 << 8) - 1


@dataclass(frozen=True)
class TradeDisputeRecord:
    """``TradeDisputes.disputes[receipt]``: heights and times of its steps, and hashes."""

    claimed_at: int
    contested_at: int
    answered_at: int
    ended_at: int
    reason: int
    """A ``ContestReason``; 0 before a contest."""
    outcome: int
    """A ``DisputeOutcome``."""
    claimed_time: int
    contested_time: int
    answered_time: int
    contest_key: bytes
    """X25519 public key to which the answer is sealed."""
    sealed_answer: bytes
    """SHA-256 of the sealed answer."""
    ruling: bytes
    """Struct hash of the arbiter's ruling; zero if there is none."""

    @classmethod
    def decode(cls, heights: int, times: int, key: int, answer: int, ruling: int) -> Self:
        """From the five storage values in slot order."""
        return cls(
            claimed_at=_height(heights, 0),
            contested_at=_height(heights, 1),
            answered_at=_height(heights, 2),
            ended_at=_height(heights, 3),
            reason=heights >> 192 & _BYTE,
            outcome=heights >> 200 & _BYTE,
            claimed_time=_height(times, 0),
            contested_time=_height(times, 1),
            answered_time=_height(times, 2),
            contest_key=key.to_bytes(32, "big"),
            sealed_answer=answer.to_bytes(32, "big"),
            ruling=ruling.to_bytes(32, "big"),
        )

    @property
    def live(self) -> bool:
        """Claimed and not ended."""
        return self.claimed_at != 0 and self.ended_at == 0


@dataclass(frozen=True)
class FlagRecord:
    """``TradeDisputes.flags[member]``: a provider's proved equivocations."""

    first_at: int
    last_at: int
    count: int

    @classmethod
    def decode(cls, word: int) -> Self:
        """From the storage value."""
        return cls(_height(word, 0), _height(word, 1), word >> 96)
