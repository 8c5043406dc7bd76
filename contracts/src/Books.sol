// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Storage values of a settlement
/// @notice Amounts are fen of 64 bits, so that four fit in one storage value and a claim writes one value for each account. 64 bits hold
/// 184 quadrillion yuan; what does not fit is refused. Layouts are from the least significant bit.

/// @dev free:64 | locked:64 | earned:64 | spent:64 of an account.
type Balance is uint256;

/// @dev deposited:64 | withdrawn:64 | bonded:64 of an account. Bonds and stakes are bonded.
type Flow is uint256;

/// @dev opened:64 | paid:64 | refunded:64 | acknowledged:64 of an agreement.
type Sums is uint256;

/// @dev due:64 | held:64 | taken:64 | pending:64 of an agreement's bond: still to be withheld from earnings, held, taken as a penalty; and
/// how many claims of unacknowledged receipts are undecided.
type Security is uint256;

/// @dev openedAt:48 | noticeAt:48 | noticeTime:48 | closedAt:48 | acknowledgedUnits:64 of an agreement.
type Heights is uint256;

/// @dev amount:128 | units:64 | seq:64 of a lane, as claimed.
type Lane is uint256;

error AmountTooLarge(uint256 amount);

using BalanceValue for Balance global;
using FlowValue for Flow global;
using SumsValue for Sums global;
using SecurityValue for Security global;
using HeightsValue for Heights global;
using LaneValue for Lane global;

uint256 constant MASK_64 = type(uint64).max;
uint256 constant MASK_48 = type(uint48).max;

/// @dev One field of 64 bits.
function fieldOf(uint256 value, uint256 shift) pure returns (uint256) {
    return (value >> shift) & MASK_64;
}

/// @dev Adds to one field of 64 bits.
function plus(uint256 value, uint256 shift, uint256 amount) pure returns (uint256) {
    require(amount <= MASK_64 - fieldOf(value, shift), AmountTooLarge(amount));
    return value + (amount << shift);
}

/// @dev Reverts by underflow where less is left: callers have checked.
function minus(uint256 value, uint256 shift, uint256 amount) pure returns (uint256) {
    uint256 left = fieldOf(value, shift) - amount;
    return (value & ~(MASK_64 << shift)) | (left << shift);
}

/// @title What a member has free, what its agreements lock, what it earned and spent
library BalanceValue {
    function free(Balance b) internal pure returns (uint256) {
        return fieldOf(Balance.unwrap(b), 0);
    }

    function locked(Balance b) internal pure returns (uint256) {
        return fieldOf(Balance.unwrap(b), 64);
    }

    function addFree(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(plus(Balance.unwrap(b), 0, amount));
    }

    function subtractFree(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(minus(Balance.unwrap(b), 0, amount));
    }

    function lock(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(plus(minus(Balance.unwrap(b), 0, amount), 64, amount));
    }

    function unlock(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(plus(minus(Balance.unwrap(b), 64, amount), 0, amount));
    }

    /// @dev Earned in all, of which `withheld` goes to the bond and not to what is free.
    function earn(Balance b, uint256 amount, uint256 withheld) internal pure returns (Balance) {
        return Balance.wrap(plus(plus(Balance.unwrap(b), 0, amount - withheld), 128, amount));
    }

    function spendLocked(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(plus(minus(Balance.unwrap(b), 64, amount), 192, amount));
    }

    function spendBonded(Balance b, uint256 amount) internal pure returns (Balance) {
        return Balance.wrap(plus(Balance.unwrap(b), 192, amount));
    }

    /// @dev Of the totals: what buyers had locked becomes free or bonded, earned and spent.
    function settle(Balance b, uint256 amount, uint256 withheld) internal pure returns (Balance) {
        return earn(spendLocked(b, amount), amount, withheld);
    }
}

/// @title What came in and went out through the settlement bank, and what is bonded
library FlowValue {
    function bonded(Flow f) internal pure returns (uint256) {
        return fieldOf(Flow.unwrap(f), 128);
    }

    function deposit(Flow f, uint256 amount) internal pure returns (Flow) {
        return Flow.wrap(plus(Flow.unwrap(f), 0, amount));
    }

    function withdraw(Flow f, uint256 amount) internal pure returns (Flow) {
        return Flow.wrap(plus(Flow.unwrap(f), 64, amount));
    }

    function addBonded(Flow f, uint256 amount) internal pure returns (Flow) {
        return Flow.wrap(plus(Flow.unwrap(f), 128, amount));
    }

    function subtractBonded(Flow f, uint256 amount) internal pure returns (Flow) {
        return Flow.wrap(minus(Flow.unwrap(f), 128, amount));
    }
}

/// @title An agreement's money
library SumsValue {
    function opened(Sums s) internal pure returns (uint256) {
        return fieldOf(Sums.unwrap(s), 0);
    }

    function paid(Sums s) internal pure returns (uint256) {
        return fieldOf(Sums.unwrap(s), 64);
    }

    function acknowledged(Sums s) internal pure returns (uint256) {
        return fieldOf(Sums.unwrap(s), 192);
    }

    function pay(Sums s, uint256 amount) internal pure returns (Sums) {
        return Sums.wrap(plus(Sums.unwrap(s), 64, amount));
    }

    function refund(Sums s, uint256 amount) internal pure returns (Sums) {
        return Sums.wrap(plus(Sums.unwrap(s), 128, amount));
    }

    function withAcknowledged(Sums s, uint256 amount) internal pure returns (Sums) {
        return Sums.wrap((Sums.unwrap(s) & ~(MASK_64 << 192)) | (amount << 192));
    }
}

/// @title A provider's bond under an agreement, and undecided claims of receipts
library SecurityValue {
    function due(Security s) internal pure returns (uint256) {
        return fieldOf(Security.unwrap(s), 0);
    }

    function held(Security s) internal pure returns (uint256) {
        return fieldOf(Security.unwrap(s), 64);
    }

    function pending(Security s) internal pure returns (uint256) {
        return fieldOf(Security.unwrap(s), 192);
    }

    /// @dev From what is due to what is held.
    function withhold(Security s, uint256 amount) internal pure returns (Security) {
        return Security.wrap(plus(minus(Security.unwrap(s), 0, amount), 64, amount));
    }

    /// @dev From what is held to what was taken.
    function take(Security s, uint256 amount) internal pure returns (Security) {
        return Security.wrap(plus(minus(Security.unwrap(s), 64, amount), 128, amount));
    }

    /// @dev Nothing is held nor due any more.
    function release(Security s) internal pure returns (Security) {
        return Security.wrap(Security.unwrap(s) & ~uint256(type(uint128).max));
    }

    function addPending(Security s) internal pure returns (Security) {
        return Security.wrap(plus(Security.unwrap(s), 192, 1));
    }

    function subtractPending(Security s) internal pure returns (Security) {
        return Security.wrap(minus(Security.unwrap(s), 192, 1));
    }
}

/// @title An agreement's heights and units
library HeightsValue {
    function openedAt(Heights h) internal pure returns (uint256) {
        return Heights.unwrap(h) & MASK_48;
    }

    function noticeAt(Heights h) internal pure returns (uint256) {
        return (Heights.unwrap(h) >> 48) & MASK_48;
    }

    function noticeTime(Heights h) internal pure returns (uint256) {
        return (Heights.unwrap(h) >> 96) & MASK_48;
    }

    function closedAt(Heights h) internal pure returns (uint256) {
        return (Heights.unwrap(h) >> 144) & MASK_48;
    }

    function units(Heights h) internal pure returns (uint256) {
        return Heights.unwrap(h) >> 192;
    }

    /// @dev Given once.
    function notice(Heights h, uint256 height, uint256 time) internal pure returns (Heights) {
        return Heights.wrap(Heights.unwrap(h) | (height << 48) | (time << 96));
    }

    /// @dev Closed once.
    function close(Heights h, uint256 height) internal pure returns (Heights) {
        return Heights.wrap(Heights.unwrap(h) | (height << 144));
    }

    function withUnits(Heights h, uint256 amount) internal pure returns (Heights) {
        return Heights.wrap((Heights.unwrap(h) & ~(MASK_64 << 192)) | (amount << 192));
    }
}

/// @title What was claimed of a lane
library LaneValue {
    function seq(Lane lane) internal pure returns (uint64) {
        return uint64(Lane.unwrap(lane) >> 192);
    }

    function units(Lane lane) internal pure returns (uint64) {
        return uint64(Lane.unwrap(lane) >> 128);
    }

    function amount(Lane lane) internal pure returns (uint128) {
        return uint128(Lane.unwrap(lane));
    }
}

/// @dev A lane's storage value.
function laneOf(uint64 seq, uint64 units, uint128 amount) pure returns (Lane) {
    return Lane.wrap((uint256(seq) << 192) | (uint256(units) << 128) | amount);
}
