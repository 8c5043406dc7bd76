// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Intervals of blocks that may come again
/// @notice A member may be suspended more than once, and an asset held more than once, but a storage value has room for one interval: the
/// height at which it began and, 48 bits above, the height at which it ended. Before a new interval overwrites an ended one, the old value
/// is stored under the height of that end. The new value records from which height on it is complete:
/// - `word` = ... | validFrom:48 (at bit 208), the height at which the interval before ended, 0 if there was none.
/// - `earlier[validFrom]` = the value as it was then, which has a `validFrom` of its own.
/// An interval that ended in the block in which it began held in no block and is not stored.
library Intervals {
    uint256 private constant MASK48 = (1 << 48) - 1;
    uint256 private constant VALID_FROM = 208;

    /// @dev The value with an interval that begins now at bit `offset`. The last one must have ended.
    function begun(uint256 word, uint256 offset, mapping(uint256 endedAt => uint256 word) storage earlier)
        internal
        returns (uint256)
    {
        uint256 endedAt = (word >> (offset + 48)) & MASK48;
        if (endedAt > (word >> offset) & MASK48) {
            earlier[endedAt] = word;
            word = _with(word, VALID_FROM, endedAt);
        }
        return _with(word, offset, block.number);
    }

    /// @dev The value with the interval at bit `offset` ended now.
    function ended(uint256 word, uint256 offset) internal view returns (uint256) {
        return _with(word, offset + 48, block.number);
    }

    function _with(uint256 word, uint256 offset, uint256 height) private pure returns (uint256) {
        return (word & ~(MASK48 << offset)) | (height << offset);
    }
}
