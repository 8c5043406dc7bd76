// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Two members anchor two logs each, with sizes and roots that may be right or wrong.
contract LogHandler is World {
    struct Anchor {
        uint64 size;
        bytes32 root;
        uint256 height;
    }

    uint256 public grown;
    uint256 public refused;
    uint256 public corrected;
    uint256 public actions;
    mapping(bytes32 logId => Anchor) private _last;

    function selectors() external pure returns (bytes4[] memory names) {
        names = new bytes4[](4);
        names[0] = this.grow.selector;
        names[1] = this.shrinkOrFork.selector;
        names[2] = this.suspendOrLift.selector;
        names[3] = this.stealAndCorrect.selector;
    }

    function grow(bool byBank, bool second, uint64 more) external {
        ++actions;
        next();
        (uint256 who, uint32 epoch, Anchor storage last) = log(byBank, second);
        if (last.size == type(uint64).max) return;
        last.size += uint64(fold(more, 1, 1 + (type(uint64).max - last.size) / 8));
        (last.root, last.height) = (keccak256(abi.encode(last.size)), block.number);
        from(who);
        evidence.anchor(epoch, last.size, last.root);
        ++grown;
    }

    function shrinkOrFork(bool byBank, bool second, uint64 size) external {
        ++actions;
        next();
        (uint256 who, uint32 epoch, Anchor storage last) = log(byBank, second);
        size = uint64(fold(size, 0, last.size));
        from(who);
        bytes memory data = abi.encodeCall(evidence.anchor, (epoch, size, keccak256("another history")));
        holds(!succeeds(address(evidence), data), "neither smaller nor another root");
        ++refused;
    }

    /// @dev A thief anchors any larger size; two governors set the log back to what it was, and later steps continue from there.
    function stealAndCorrect(bool byBank, bool second, uint64 more) external {
        ++actions;
        next();
        (uint256 who, uint32 epoch, Anchor storage last) = log(byBank, second);
        if (last.size == 0 || last.size == type(uint64).max) return;
        from(who);
        evidence.anchor(epoch, last.size + uint64(fold(more, 1, type(uint64).max - last.size)), "the thief's");
        next();
        bytes memory data = abi.encodeCall(evidence.correct, (id(who), epoch, last.size, last.root, "stolen"));
        govern(abi.encodeCall(directory.actOn, (address(evidence), data)));
        last.height = block.number;
        ++corrected;
    }

    function suspendOrLift(bool bank) external {
        ++actions;
        uint256 who = bank ? BANK : DEPARTMENT;
        if (directory.isActive(id(who))) suspend(who);
        else lift(who);
    }

    function check() external view {
        for (uint256 i = 0; i < 4; ++i) {
            bytes32 logId = evidence.logIdOf(id(i & 1 == 1 ? BANK : DEPARTMENT), i & 2 == 2 ? 2 : 1);
            (uint64 size, uint48 anchoredAt, bytes32 root) = evidence.logState(logId);
            same(size, _last[logId].size, "size");
            same(root, _last[logId].root, "root");
            same(anchoredAt, _last[logId].height, "height");
        }
    }

    function log(bool byBank, bool second) private view returns (uint256 who, uint32 epoch, Anchor storage last) {
        who = byBank ? BANK : DEPARTMENT;
        epoch = second ? 2 : 1;
        last = _last[evidence.logIdOf(id(who), epoch)];
    }
}

/// @title A log only grows, but for corrections by two governors
contract LogInvariants is Base {
    LogHandler private _handler;

    function setUp() public {
        _handler = new LogHandler();
        _handler.setUp();
        _target(address(_handler), _handler.selectors());
    }

    function invariant_logsOnlyGrow() public view {
        _handler.check();
    }

    function afterInvariant() public view {
        if (_handler.actions() < WHOLE_RUN) return;
        holds(_handler.grown() > 0, "logs grew");
        holds(_handler.refused() > 0, "wrong anchors were offered");
        holds(_handler.corrected() > 0, "logs were set back");
    }
}
