// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Intervals} from "../src/Intervals.sol";
import {Base} from "./Base.sol";

contract IntervalsTest is Base {
    using Intervals for uint256;

    uint256 private constant HELD = 1 << 96;
    uint256 private constant VALID_FROM = 208;
    uint256 private constant BLOCKS = 80;

    uint256 private _word;
    mapping(uint256 endedAt => uint256 word) private _earlier;
    /// @dev What held when the block was over.
    bool[BLOCKS] private _held;

    function begin(uint256 height) private {
        vm.roll(height);
        _word = _word.begun(0, _earlier) | HELD;
    }

    function end(uint256 height) private {
        vm.roll(height);
        _word = _word.ended(0) & ~HELD;
    }

    /// @dev As a reader off the chain finds it: from the latest value back to the one that covers the height.
    function heldAt(uint256 height) private view returns (bool) {
        uint256 found = _word;
        while (height < at(found, VALID_FROM)) {
            found = _earlier[at(found, VALID_FROM)];
        }
        uint256 began = at(found, 0);
        return began != 0 && began <= height && (found & HELD != 0 || height < at(found, 48));
    }

    function test_begun_ofTheFirstCoversEveryBlock() public {
        begin(100);
        same(_word, HELD | 100, "begun");
        end(150);
        same(_word, (150 << 48) | 100, "ended");
        same(_earlier[150], 0, "nothing stored yet");
    }

    function test_begun_againStoresTheIntervalBefore() public {
        begin(100);
        end(150);
        begin(200);
        same(_word, (uint256(150) << VALID_FROM) | HELD | (150 << 48) | 200, "valid from the end of the first");
        same(_earlier[150], (150 << 48) | 100, "first");
        holds(heldAt(120) && !heldAt(160) && heldAt(200), "both intervals");
        end(250);
        begin(300);
        same(at(_word, VALID_FROM), 250, "valid from the end of the second");
        same(_earlier[250], (uint256(150) << VALID_FROM) | (250 << 48) | 200, "second, which points to the first");
        holds(heldAt(120) && !heldAt(160) && heldAt(249) && !heldAt(250) && heldAt(300), "three intervals");
    }

    function test_begun_inTheBlockOfTheLastEndStoresTheIntervalBefore() public {
        begin(100);
        end(150);
        begin(150);
        end(150);
        begin(150);
        same(_earlier[150], (150 << 48) | 100, "not overwritten by the interval that held in no block");
        holds(!heldAt(99) && heldAt(100) && heldAt(150) && heldAt(151), "held on");
    }

    function test_ended_inItsOwnBlockHeldInNone() public {
        begin(100);
        end(100);
        begin(200);
        same(_word, HELD | (100 << 48) | 200, "nothing to store");
        holds(!heldAt(100) && !heldAt(199) && heldAt(200), "held once");
    }

    /// @dev Intervals begun and ended at random heights, several in one block, against a plain list of what held in each block.
    function test_records_coverEveryBlock(uint8[40] memory waits, uint112 others) public {
        uint256 mask = uint256(others) << 96 & ~HELD;
        _word = mask;
        uint256 height = 1;
        bool now_ = false;
        for (uint256 i = 0; i < waits.length; ++i) {
            uint256 until = height + fold(waits[i], 0, 2);
            while (height < until) {
                _held[height++] = now_;
            }
            if (now_) end(height);
            else begin(height);
            now_ = !now_;
        }
        _held[height] = now_;
        for (uint256 number = 0; number <= height; ++number) {
            holds(heldAt(number) == _held[number], "as it was");
        }
        same(_word & (uint256(type(uint112).max) << 96) & ~HELD, mask, "the other bits");
    }
}
