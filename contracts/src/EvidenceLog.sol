// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";

import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";

/// @title Anchors of the members' logs
/// @notice Stores the latest size and root of each log. An append-only log proves an old entry in any newer tree, so the latest is enough; a log
/// never shrinks. A log is named by its origin `qiaolian/<member>/<epoch>`.
///
/// The contract cannot see whether a root is the log's, so a thief of a member's transaction key can anchor a size that the log never reaches.
/// Two governors then set the log back to a head that the supervisors have seen. What was proved under earlier anchors stays provable.
/// - `_logs[keccak256(origin)]` = size:64 | anchoredAt:48 ; `_roots[keccak256(origin)]` = RFC 9162 root.
contract EvidenceLog is Membership {
    mapping(bytes32 logId => uint256) private _logs;
    mapping(bytes32 logId => bytes32) private _roots;

    event LogCorrected(bytes32 indexed logId, bytes18 indexed member, uint64 size, bytes32 root, bytes32 reason);
    event Anchored(bytes32 indexed logId, bytes18 indexed member, uint64 size, bytes32 root);

    error LogShrinks(uint64 anchored, uint64 offered);
    error RootConflict(uint64 size);
    error LogEmpty();

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    constructor(MemberDirectory directory_) Membership(directory_) {}

    /// @notice The id of an evidence log.
    /// @param member The member's 18-character code.
    /// @param epoch The log epoch, 0 for the first.
    /// @return The hash of member and log epoch.
    function logIdOf(bytes18 member, uint32 epoch) public pure returns (bytes32) {
        return
            keccak256(bytes(string.concat("qiaolian/", string(abi.encodePacked(member)), "/", Strings.toString(epoch))));
    }

    /// @notice Anchors the sender's log. A suspended member may: what was delivered must stay provable.
    /// @param epoch The log epoch, 0 for the first.
    /// @param size The number of leaves.
    /// @param root The root of the Merkle tree.
    /// @custom:emits Anchored
    /// @custom:reverts LogEmpty, LogShrinks, NotMemberKey, RootConflict
    function anchor(uint32 epoch, uint64 size, bytes32 root) external {
        bytes18 member = _sender();
        require(size != 0, LogEmpty());
        bytes32 logId = logIdOf(member, epoch);
        uint64 anchored = uint64(_logs[logId]);
        require(size >= anchored, LogShrinks(anchored, size));
        if (size == anchored) {
            require(_roots[logId] == root, RootConflict(size));
            return;
        }

        _logs[logId] = (block.number << 64) | size;
        _roots[logId] = root;
        emit Anchored(logId, member, size, root);
    }

    /// @notice Sets a log to another head, by two governors.
    /// @param member The member's 18-character code.
    /// @param epoch The log epoch, 0 for the first.
    /// @param size The number of leaves.
    /// @param root The root of the Merkle tree.
    /// @param reason The reason code.
    /// @custom:emits LogCorrected
    /// @custom:reverts LogEmpty, OnlyGovernors
    function correct(bytes18 member, uint32 epoch, uint64 size, bytes32 root, bytes32 reason) external {
        _requireGovernors();
        require(size != 0, LogEmpty());
        bytes32 logId = logIdOf(member, epoch);
        _logs[logId] = (block.number << 64) | size;
        _roots[logId] = root;
        emit LogCorrected(logId, member, size, root, reason);
    }

    /// @notice The last anchor of a log.
    /// @param logId The log's id (`logIdOf`).
    /// @return size The number of leaves.
    /// @return anchoredAt The height of the anchor; zero if there is none.
    /// @return root The root of the tree.
    function logState(bytes32 logId) external view returns (uint64 size, uint48 anchoredAt, bytes32 root) {
        uint256 word = _logs[logId];
        return (uint64(word), uint48(word >> 64), _roots[logId]);
    }
}
