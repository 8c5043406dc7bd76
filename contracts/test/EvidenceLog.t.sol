// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EvidenceLog} from "../src/EvidenceLog.sol";
import {Membership} from "../src/Membership.sol";
import {World} from "./World.sol";

contract EvidenceLogTest is World {
    function anchor(uint32 epoch, uint64 size, bytes32 root) private {
        from(DEPARTMENT);
        evidence.anchor(epoch, size, root);
    }

    function logId(uint32 epoch) private view returns (bytes32) {
        return evidence.logIdOf(id(DEPARTMENT), epoch);
    }

    function expectState(uint64 size, uint256 height, bytes32 root) private view {
        (uint64 gotSize, uint48 gotHeight, bytes32 gotRoot) = evidence.logState(logId(1));
        same(gotSize, size, "size");
        same(gotHeight, height, "anchored at");
        same(gotRoot, root, "root");
    }

    function test_anchor_keepsTheLatestSizeRootAndHeight() public {
        emits(address(evidence));
        emit EvidenceLog.Anchored(logId(1), id(DEPARTMENT), 5, "root of 5");
        anchor(1, 5, "root of 5");
        expectState(5, block.number, "root of 5");
        next();
        anchor(1, 9, "root of 9");
        expectState(9, block.number, "root of 9");
    }

    function test_anchor_ofTheSameAgainChangesNothing() public {
        anchor(1, 5, "root of 5");
        uint256 height = block.number;
        next();
        anchor(1, 5, "root of 5");
        expectState(5, height, "root of 5");
    }

    function test_anchor_failsIfTheLogShrinks() public {
        anchor(1, 5, "root of 5");
        fails(EvidenceLog.LogShrinks.selector, 5, 4);
        anchor(1, 4, "root of 4");
        expectState(5, block.number, "root of 5");
    }

    function test_anchor_failsIfTheSameSizeHasAnotherRoot() public {
        anchor(1, 5, "root of 5");
        fails(EvidenceLog.RootConflict.selector, 5);
        anchor(1, 5, "another history");
    }

    function test_anchor_failsIfEmpty() public {
        fails(EvidenceLog.LogEmpty.selector);
        anchor(1, 0, "root of 0");
    }

    function test_anchor_failsIfTheSenderIsNobodyOrTheKeyEnded() public {
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        evidence.anchor(1, 5, "root of 5");
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(DEPARTMENT, TRANSACTION)), "lost")));
        fails(Membership.NotMemberKey.selector, keyAddress(DEPARTMENT, TRANSACTION));
        anchor(1, 5, "root of 5");
    }

    function test_anchor_succeedsForASuspendedMember() public {
        suspend(DEPARTMENT);
        anchor(1, 5, "root of 5");
        expectState(5, block.number, "root of 5");
    }

    function test_anchor_goesToTheSendersLogAlone() public {
        anchor(1, 5, "root of 5");
        uint256 height = block.number;
        next();
        from(BANK);
        evidence.anchor(1, 9, "the bank's");
        anchor(2, 1, "a new epoch");
        expectState(5, height, "root of 5");
    }

    // --- Corrections -----------------------------------------------------------------------------------------------------------

    function correction(uint64 size, bytes32 root) private view returns (bytes memory) {
        bytes memory data = abi.encodeCall(evidence.correct, (id(DEPARTMENT), 1, size, root, "key stolen"));
        return abi.encodeCall(directory.actOn, (address(evidence), data));
    }

    /// @dev A thief of the transaction key anchors the largest size there is; two governors set the log back, and it continues.
    function test_correct_bringsBackALogThatAThiefAnchoredAtTheLargestSize() public {
        anchor(1, 5, "root of 5");
        anchor(1, type(uint64).max, "the thief's");
        fails(EvidenceLog.LogShrinks.selector, type(uint64).max, 9);
        anchor(1, 9, "root of 9");
        next();
        emits(address(evidence));
        emit EvidenceLog.LogCorrected(logId(1), id(DEPARTMENT), 5, "root of 5", "key stolen");
        govern(correction(5, "root of 5"));
        expectState(5, block.number, "root of 5");
        next();
        anchor(1, 9, "root of 9");
        expectState(9, block.number, "root of 9");
    }

    function test_correct_replacesAForgedRootOfTheSameSize() public {
        anchor(1, 5, "the thief's");
        govern(correction(5, "root of 5"));
        anchor(1, 5, "root of 5");
        expectState(5, block.number, "root of 5");
    }

    function test_correct_failsIfEmptyOrNotByTwoGovernors() public {
        fails(EvidenceLog.LogEmpty.selector);
        govern(correction(0, 0));
        uint256[3] memory senders = [DEPARTMENT, SUPERVISOR, STRANGER];
        for (uint256 i = 0; i < senders.length; ++i) {
            fails(Membership.OnlyGovernors.selector, keyAddress(senders[i], TRANSACTION));
            from(senders[i]);
            evidence.correct(id(DEPARTMENT), 1, 5, "root of 5", "spite");
        }
    }

    function test_logIdOf_isTheHashOfTheOrigin() public view {
        same(evidence.logIdOf("914403001922038216", 12), keccak256("qiaolian/914403001922038216/12"), "origin");
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev Anchors of any size at any height: the log keeps the largest, with the root and height it came with.
    function test_logState_keepsTheLargest(uint64[8] memory sizes, uint24[8] memory waits) public {
        uint64 size = 0;
        bytes32 root;
        uint256 height;
        for (uint256 i = 0; i < sizes.length; ++i) {
            vm.roll(block.number + waits[i]);
            bytes32 offered = keccak256(abi.encode(sizes[i]));
            if (sizes[i] == 0) fails(EvidenceLog.LogEmpty.selector);
            else if (sizes[i] < size) fails(EvidenceLog.LogShrinks.selector, size, sizes[i]);
            else if (sizes[i] > size) (size, root, height) = (sizes[i], offered, block.number);
            anchor(1, sizes[i], offered);
        }
        expectState(size, height, root);
    }
}
