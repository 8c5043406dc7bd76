// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Intervals of blocks that may come again
/// @notice A member may be suspended more than once, and a thing held more than once, but a word has room for one stretch: the height it began
/// and, 48 bits above, the height it ended. So the word that told of an ended stretch is kept, under the height that ended it, before the
/// next one takes its place, and the word says from which height on it tells everything:
/// - `word` = ... | validFrom:48 (at bit 208), the height that ended the stretch before, 0 when there was none.
/// - `earlier[validFrom]` = the word as it was then; it may in turn tell from a height only.
/// A stretch that ended in the block it began in held in no block and is not kept.
library Intervals {
    uint256 private constant MASK48 = (1 << 48) - 1;
    uint256 private constant VALID_FROM = 208;

    /// @dev The word with a stretch that begins now at `place`. The last one must have ended.
    function begun(uint256 word, uint256 place, mapping(uint256 endedAt => uint256 word) storage earlier)
        internal
        returns (uint256)
    {
        uint256 endedAt = (word >> (place + 48)) & MASK48;
        if (endedAt > (word >> place) & MASK48) {
            earlier[endedAt] = word;
            word = _with(word, VALID_FROM, endedAt);
        }
        return _with(word, place, block.number);
    }

    /// @dev The word with the stretch at `place` ended now.
    function ended(uint256 word, uint256 place) internal view returns (uint256) {
        return _with(word, place + 48, block.number);
    }

    function _with(uint256 word, uint256 place, uint256 height) private pure returns (uint256) {
        return (word & ~(MASK48 << place)) | (height << place);
    }
}
