// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Approval, ApprovalWithdrawal, Statements} from "./Statements.sol";
import {Intervals} from "./Intervals.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Who is on the network, with which keys
/// @notice Members are organisations named by their 18-character unified social credit code (GB 32100-2015). Every change needs the approvals
/// of two different governors out of at least three, each over the exact call, a nonce and a deadline: nobody lets itself in, and nobody
/// can block its own removal. A governor may withdraw its approval until the call is executed. No change may leave fewer than two governors
/// that can approve, because nothing could bring the network back from there.
///
/// Status and keys are packed block heights, so one storage proof shows the status now and at every block since `validFrom`. Heights are set
/// once, except those of a suspension, which may come again: the earlier value is then stored as well (`Intervals`).
/// - `_members[id]` = admittedAt:48 | suspendedAt:48 | liftedAt:48 | removedAt:48 | roles:16 | validFrom:48 from the least significant bit.
///   A member is suspended while suspendedAt > liftedAt.
/// - `_earlierMembers[id][validFrom]` = the member's value before its latest suspension.
/// - `_keys[fingerprint]` = fromHeight:48 | endHeight:48 | purpose:8 | algorithm:8 | member:144. A fingerprint is used once ever: the address
///   (secp256k1), the public key (Ed25519) or SHA-256 of the public key info (P-256).
contract MemberDirectory is EIP712 {
    using Statements for Approval;
    using Statements for ApprovalWithdrawal;
    using Intervals for uint256;

    struct KeyEntry {
        bytes32 fingerprint;
        uint8 purpose;
        uint8 algorithm;
    }

    struct Governor {
        bytes18 member;
        string name;
        uint16 roles;
        address adminKey;
        address transactionKey;
    }

    uint256 private constant MASK48 = (1 << 48) - 1;
    uint256 public constant FEWEST_GOVERNORS = 3;
    uint256 public constant APPROVALS = 2;

    uint8 internal constant ADMIN = 1;
    uint8 internal constant APPROVAL = 2;
    uint8 internal constant TRANSACTION = 3;
    uint8 internal constant SECP256K1 = 1;
    uint16 internal constant ALL_ROLES = 127;
    uint256 private constant SUSPENSION = 48;

    mapping(bytes18 member => uint256) private _members;
    mapping(bytes32 fingerprint => uint256) private _keys;
    mapping(uint256 nonce => bool) private _usedNonces;
    mapping(bytes18 member => bool) private _governor;
    mapping(bytes32 name => address) private _contracts;
    mapping(address target => bool) private _closed;
    bytes18[] private _governors;
    mapping(bytes18 member => mapping(uint256 liftedAt => uint256 word)) private _earlierMembers;
    /// @dev How many live keys a member has that can sign approvals.
    mapping(bytes18 member => uint256) private _adminKeys;
    mapping(bytes32 approvalHash => mapping(bytes18 member => uint256 height)) private _withdrawals;

    event MemberAdmitted(bytes18 indexed member, string name, uint16 roles);
    event MemberSuspended(bytes18 indexed member, bytes32 reason);
    event MemberLifted(bytes18 indexed member);
    event MemberRemoved(bytes18 indexed member, bytes32 reason);
    event KeyAdded(bytes18 indexed member, bytes32 indexed fingerprint, uint8 purpose, uint8 algorithm);
    event KeyEnded(bytes18 indexed member, bytes32 indexed fingerprint, bytes32 reason);
    event GovernorReplaced(bytes18 indexed outgoing, bytes18 indexed incoming);
    event ContractAnnounced(bytes32 indexed name, address at, uint32 version);
    event ContractClosed(address indexed target);
    event Executed(uint256 nonce, bytes32 callHash);
    event ApprovalWithdrawn(bytes18 indexed member, uint256 nonce, bytes32 callHash);

    error TooFewGovernors(uint256 count);
    error OnlyGovernance();
    error DeadlinePassed(uint64 deadline);
    error NonceUsed(uint256 nonce);
    error TooFewApprovals(uint256 count);
    error NotGovernor(address signer);
    error SameOrganisation(bytes18 member);
    error WithdrawnApproval(bytes18 member);
    error TooFewApprovers(uint256 count);
    error NoAdminKey(bytes18 member);
    error NoContract(address target);
    error WrongCheckCharacter(bytes18 member);
    error AlreadyMember(bytes18 member);
    error UnknownMember(bytes18 member);
    error NotActive(bytes18 member);
    error NotSuspended(bytes18 member);
    error LiftedInThisBlock(bytes18 member);
    error WrongRoles(uint16 roles);
    error WrongKey(bytes32 fingerprint);
    error KeyKnown(bytes32 fingerprint);
    error KeyNotLive(bytes32 fingerprint);
    error GovernorMustBeReplaced(bytes18 member);
    error NotMemberKey(address sender);
    error EndedByGovernorsAlone(bytes32 fingerprint);

    modifier onlyGovernance() {
        require(msg.sender == address(this), OnlyGovernance());
        _;
    }

    /// @notice Admits the founding governors, each with its administration and transaction keys.
    /// @param governors At least three organisations.
    /// @custom:emits KeyAdded, MemberAdmitted
    /// @custom:reverts AlreadyMember, KeyKnown, TooFewGovernors, UnknownMember, WrongCheckCharacter, WrongKey, WrongRoles
    constructor(Governor[] memory governors) EIP712("Qiaolian", "1") {
        require(governors.length >= FEWEST_GOVERNORS, TooFewGovernors(governors.length));
        for (uint256 i = 0; i < governors.length; ++i) {
            Governor memory governor = governors[i];
            _admit(governor.member, governor.name, governor.roles);
            _addKey(governor.member, KeyEntry(bytes32(uint256(uint160(governor.adminKey))), ADMIN, SECP256K1));
            _addKey(
                governor.member, KeyEntry(bytes32(uint256(uint160(governor.transactionKey))), TRANSACTION, SECP256K1)
            );
            _governor[governor.member] = true;
            _governors.push(governor.member);
        }
    }

    // --- Governance ------------------------------------------------------------------------------------------------------------

    /// @notice Runs `data` as a call of this contract on itself, once two governors approved exactly it. Anyone may send it.
    /// @param data The encoded call of this contract.
    /// @param nonce The nonce of the approvals.
    /// @param deadline The time after which the approvals no longer count.
    /// @param signatures The approvals of two different governors.
    /// @custom:emits Executed, then the events of the call
    /// @custom:reverts DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NonceUsed,
    /// NotGovernor, SameOrganisation, TooFewApprovals, WithdrawnApproval, or the error of the call
    function execute(bytes calldata data, uint256 nonce, uint64 deadline, bytes[] calldata signatures) external {
        require(block.timestamp <= deadline, DeadlinePassed(deadline));
        require(!_usedNonces[nonce], NonceUsed(nonce));
        require(signatures.length >= APPROVALS, TooFewApprovals(signatures.length));
        bytes32 callHash = keccak256(data);
        bytes32 approvalHash = Approval(1, callHash, nonce, deadline).hash();
        bytes32 digest = _hashTypedDataV4(approvalHash);
        bytes18[] memory seen = new bytes18[](signatures.length);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recover(digest, signatures[i]);
            bytes18 member = memberOf(signer, ADMIN);
            require(_governor[member] && isActive(member), NotGovernor(signer));
            require(_withdrawals[approvalHash][member] == 0, WithdrawnApproval(member));
            for (uint256 j = 0; j < i; ++j) {
                require(seen[j] != member, SameOrganisation(member));
            }
            seen[i] = member;
        }

        _usedNonces[nonce] = true;
        emit Executed(nonce, callHash);
        _call(address(this), data);
    }

    /// @notice Withdraws a governor's approval of a call that was not executed yet, for good. Anyone may send it; repeating it changes nothing.
    /// A suspended governor may: it takes nothing from anybody.
    /// @param callHash The hash of the encoded call.
    /// @param nonce The nonce of the approvals.
    /// @param deadline The time after which the approvals no longer count.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits ApprovalWithdrawn
    /// @custom:reverts ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NonceUsed, NotGovernor
    function withdrawApproval(bytes32 callHash, uint256 nonce, uint64 deadline, bytes calldata signature) external {
        require(!_usedNonces[nonce], NonceUsed(nonce));
        bytes32 digest = _hashTypedDataV4(ApprovalWithdrawal(1, callHash, nonce, deadline).hash());
        address signer = ECDSA.recover(digest, signature);
        bytes18 member = memberOf(signer, ADMIN);
        require(_governor[member], NotGovernor(signer));
        bytes32 approvalHash = Approval(1, callHash, nonce, deadline).hash();
        if (_withdrawals[approvalHash][member] != 0) return;

        _withdrawals[approvalHash][member] = block.number;
        emit ApprovalWithdrawn(member, nonce, callHash);
    }

    /// @notice Has another contract of the network do what it takes from the governors alone.
    /// @param target The contract's address.
    /// @param data The encoded call of the target.
    /// @custom:emits the events of the target
    /// @custom:reverts NoContract, OnlyGovernance, or the error of the target
    function actOn(address target, bytes calldata data) external onlyGovernance {
        require(target.code.length != 0, NoContract(target));
        _call(target, data);
    }

    /// @notice Admits a member with its first keys.
    /// @param member The member's 18-character code.
    /// @param name The organisation's name.
    /// @param roles The bits of the member's roles.
    /// @param entries The member's first keys.
    /// @custom:emits KeyAdded, MemberAdmitted
    /// @custom:reverts AlreadyMember, KeyKnown, OnlyGovernance, UnknownMember, WrongCheckCharacter, WrongKey, WrongRoles
    function admit(bytes18 member, string calldata name, uint16 roles, KeyEntry[] calldata entries)
        external
        onlyGovernance
    {
        _admit(member, name, roles);
        for (uint256 i = 0; i < entries.length; ++i) {
            _addKey(member, entries[i]);
        }
    }

    /// @notice Suspends a member.
    /// @dev Heights order a suspension and its lifting, so a member lifted in this very block can be suspended from the next one on.
    /// @param member The member's 18-character code.
    /// @param reason The reason code.
    /// @custom:emits MemberSuspended
    /// @custom:reverts LiftedInThisBlock, NotActive, OnlyGovernance, TooFewApprovers
    function suspend(bytes18 member, bytes32 reason) external onlyGovernance {
        require(isActive(member), NotActive(member));
        uint256 word = _members[member];
        require((word >> 96) & MASK48 < block.number, LiftedInThisBlock(member));
        _members[member] = word.begun(SUSPENSION, _earlierMembers[member]);
        _requireApprovers();
        emit MemberSuspended(member, reason);
    }

    /// @notice Lifts a member's suspension.
    /// @param member The member's 18-character code.
    /// @custom:emits MemberLifted
    /// @custom:reverts NotSuspended, OnlyGovernance
    function lift(bytes18 member) external onlyGovernance {
        uint256 word = _members[member];
        require(_suspended(word) && (word >> 144) & MASK48 == 0, NotSuspended(member));
        _members[member] = word.ended(SUSPENSION);
        emit MemberLifted(member);
    }

    /// @notice Removes a member for good.
    /// @param member The member's 18-character code.
    /// @param reason The reason code.
    /// @custom:emits MemberRemoved
    /// @custom:reverts GovernorMustBeReplaced, OnlyGovernance, UnknownMember
    function remove(bytes18 member, bytes32 reason) external onlyGovernance {
        uint256 word = _members[member];
        require(word & MASK48 != 0 && (word >> 144) & MASK48 == 0, UnknownMember(member));
        require(!_governor[member], GovernorMustBeReplaced(member));
        _members[member] = _withHeight(word, 144);
        emit MemberRemoved(member, reason);
    }

    /// @notice Adds a key of a member.
    /// @param member The member's 18-character code.
    /// @param entry The key with its purpose and algorithm.
    /// @custom:emits KeyAdded
    /// @custom:reverts KeyKnown, OnlyGovernance, UnknownMember, WrongKey
    function addKey(bytes18 member, KeyEntry calldata entry) external onlyGovernance {
        _addKey(member, entry);
    }

    /// @notice Ends a key for good.
    /// @dev A governor's last administrator's key is ended after its next one was added.
    /// @param fingerprint The key's fingerprint.
    /// @param reason The reason code.
    /// @custom:emits KeyEnded
    /// @custom:reverts KeyNotLive, OnlyGovernance, TooFewApprovers
    function endKey(bytes32 fingerprint, bytes32 reason) external onlyGovernance {
        _endKey(fingerprint, reason);
        _requireApprovers();
    }

    /// @notice Replaces a governor by another member.
    /// @param outgoing The governor that leaves.
    /// @param incoming The member that becomes governor.
    /// @custom:emits GovernorReplaced
    /// @custom:reverts NoAdminKey, NotActive, OnlyGovernance, UnknownMember
    function replaceGovernor(bytes18 outgoing, bytes18 incoming) external onlyGovernance {
        require(_governor[outgoing], UnknownMember(outgoing));
        require(!_governor[incoming] && isActive(incoming), NotActive(incoming));
        require(_adminKeys[incoming] != 0, NoAdminKey(incoming));
        _governor[outgoing] = false;
        _governor[incoming] = true;
        for (uint256 i = 0; i < _governors.length; ++i) {
            if (_governors[i] == outgoing) _governors[i] = incoming;
        }
        emit GovernorReplaced(outgoing, incoming);
    }

    /// @notice Announces the address of a contract version.
    /// @param name The contract's name.
    /// @param at The contract's address.
    /// @param version The contract's version.
    /// @custom:emits ContractAnnounced
    /// @custom:reverts OnlyGovernance
    function announceContract(bytes32 name, address at, uint32 version) external onlyGovernance {
        _contracts[name] = at;
        emit ContractAnnounced(name, at, version);
    }

    /// @notice Closes a contract to new business; claims, refunds and withdrawals continue.
    /// @param target The contract's address.
    /// @custom:emits ContractClosed
    /// @custom:reverts OnlyGovernance
    function closeContract(address target) external onlyGovernance {
        _closed[target] = true;
        emit ContractClosed(target);
    }

    /// @notice A member ends one of its node's keys, at once. The key that sends this is on a machine that can be broken into, so it ends no
    /// administrator's and no approver's key, which are stored outside the node: those end by `endKey` alone, else whoever took the machines of two
    /// governors could leave the network without anyone to govern it.
    /// @param fingerprint The key's fingerprint.
    /// @param reason The reason code.
    /// @custom:emits KeyEnded
    /// @custom:reverts EndedByGovernorsAlone, KeyNotLive, NotMemberKey
    function endOwnKey(bytes32 fingerprint, bytes32 reason) external {
        bytes18 member = memberOf(msg.sender, TRANSACTION);
        uint256 word = _keys[fingerprint];
        require(member != 0 && bytes18(bytes32(word)) == member, NotMemberKey(msg.sender));
        uint8 purpose = uint8(word >> 96);
        require(purpose != ADMIN && purpose != APPROVAL, EndedByGovernorsAlone(fingerprint));
        _endKey(fingerprint, reason);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice The member whose live secp256k1 key of that purpose this is; zero when it is none.
    /// @param key The key's address.
    /// @param purpose The key's purpose.
    /// @return The member's code; zero if the key is not live for the purpose.
    function memberOf(address key, uint8 purpose) public view returns (bytes18) {
        uint256 word = _keys[bytes32(uint256(uint160(key)))];
        bool live =
            word != 0 && (word >> 48) & MASK48 == 0 && uint8(word >> 96) == purpose && uint8(word >> 104) == SECP256K1;
        return live ? bytes18(bytes32(word)) : bytes18(0);
    }

    /// @notice Whether a member is admitted, and neither suspended nor removed.
    /// @param member The member's 18-character code.
    /// @return True if the member is active.
    function isActive(bytes18 member) public view returns (bool) {
        uint256 word = _members[member];
        return word & MASK48 != 0 && !_suspended(word) && (word >> 144) & MASK48 == 0;
    }

    /// @notice Whether the member was ever admitted, whatever changed since.
    /// @param member The member's 18-character code.
    /// @return True if the member was ever admitted.
    function isKnown(bytes18 member) external view returns (bool) {
        return _members[member] & MASK48 != 0;
    }

    /// @notice Whether a member was admitted with a role.
    /// @param member The member's 18-character code.
    /// @param role The bit of the role.
    /// @return True if it has the role.
    function hasRole(bytes18 member, uint16 role) public view returns (bool) {
        return uint16(_members[member] >> 192) & role != 0;
    }

    /// @notice The record of a member, packed.
    /// @param member The member's 18-character code.
    /// @return The storage value; zero if the member is unknown.
    function memberWord(bytes18 member) external view returns (uint256) {
        return _members[member];
    }

    /// @notice The word that was the member's when a suspension was lifted at that height, once another has followed; zero otherwise.
    /// @param member The member's 18-character code.
    /// @param liftedAt The height at which the earlier suspension was lifted.
    /// @return The storage value; zero if there is none.
    function earlierMemberWord(bytes18 member, uint256 liftedAt) external view returns (uint256) {
        return _earlierMembers[member][liftedAt];
    }

    /// @notice The record of a key, packed.
    /// @param fingerprint The key's fingerprint.
    /// @return The storage value; zero if the key is unknown.
    function keyWord(bytes32 fingerprint) external view returns (uint256) {
        return _keys[fingerprint];
    }

    /// @notice Whether a member is a governor.
    /// @param member The member's 18-character code.
    /// @return True if it is.
    function isGovernor(bytes18 member) external view returns (bool) {
        return _governor[member];
    }

    /// @notice The announced address of a contract.
    /// @param name The contract's name.
    /// @return The address; zero if there is none.
    function contractAt(bytes32 name) external view returns (address) {
        return _contracts[name];
    }

    /// @notice Whether a contract is closed to new business.
    /// @param target The contract's address.
    /// @return True if it is.
    function isClosed(address target) external view returns (bool) {
        return _closed[target];
    }

    /// @notice Whether a nonce of approvals was used.
    /// @param nonce The nonce of the approvals.
    /// @return True if it was.
    function nonceUsed(uint256 nonce) external view returns (bool) {
        return _usedNonces[nonce];
    }

    /// @notice The height at which a governor withdrew its approval; zero if it did not.
    /// @param callHash The hash of the encoded call.
    /// @param nonce The nonce of the approvals.
    /// @param deadline The time after which the approvals no longer count.
    /// @param member The member's 18-character code.
    /// @return The height of the withdrawal; zero if there is none.
    function withdrawnAt(bytes32 callHash, uint256 nonce, uint64 deadline, bytes18 member)
        external
        view
        returns (uint256)
    {
        return _withdrawals[Approval(1, callHash, nonce, deadline).hash()][member];
    }

    // --- Effects ---------------------------------------------------------------------------------------------------------------

    /// @dev The action's own error says why it failed; it goes to the sender unchanged.
    function _call(address target, bytes calldata data) private {
        (bool done, bytes memory result) = target.call(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
    }

    /// @dev Enough governors must be left that can approve: active, with a live administrator's key.
    function _requireApprovers() private view {
        uint256 count = 0;
        for (uint256 i = 0; i < _governors.length; ++i) {
            if (isActive(_governors[i]) && _adminKeys[_governors[i]] != 0) ++count;
        }
        require(count >= APPROVALS, TooFewApprovers(count));
    }

    /// @dev An approval is signed with secp256k1 alone.
    function _approves(uint256 word) private pure returns (bool) {
        return uint8(word >> 96) == ADMIN && uint8(word >> 104) == SECP256K1;
    }

    function _admit(bytes18 member, string memory name, uint16 roles) private {
        require(_checkCharacterHolds(member), WrongCheckCharacter(member));
        require(_members[member] == 0, AlreadyMember(member));
        require(roles != 0 && roles <= ALL_ROLES, WrongRoles(roles));
        _members[member] = (uint256(roles) << 192) | block.number;
        emit MemberAdmitted(member, name, roles);
    }

    function _addKey(bytes18 member, KeyEntry memory entry) private {
        require(_members[member] & MASK48 != 0, UnknownMember(member));
        require(entry.fingerprint != 0 && entry.purpose >= 1 && entry.purpose <= 7, WrongKey(entry.fingerprint));
        require(entry.algorithm >= 1 && entry.algorithm <= 4, WrongKey(entry.fingerprint));
        require(entry.algorithm != SECP256K1 || uint256(entry.fingerprint) >> 160 == 0, WrongKey(entry.fingerprint));
        require(_keys[entry.fingerprint] == 0, KeyKnown(entry.fingerprint));
        _keys[entry.fingerprint] = (uint256(uint144(member)) << 112) | (uint256(entry.algorithm) << 104)
            | (uint256(entry.purpose) << 96) | block.number;
        if (_approves(_keys[entry.fingerprint])) ++_adminKeys[member];
        emit KeyAdded(member, entry.fingerprint, entry.purpose, entry.algorithm);
    }

    function _endKey(bytes32 fingerprint, bytes32 reason) private {
        uint256 word = _keys[fingerprint];
        require(word != 0 && (word >> 48) & MASK48 == 0, KeyNotLive(fingerprint));
        _keys[fingerprint] = _withHeight(word, 48);
        if (_approves(word)) --_adminKeys[bytes18(bytes32(word))];
        emit KeyEnded(bytes18(bytes32(word)), fingerprint, reason);
    }

    function _withHeight(uint256 word, uint256 shift) private view returns (uint256) {
        return (word & ~(MASK48 << shift)) | (block.number << shift);
    }

    function _suspended(uint256 word) private pure returns (bool) {
        return (word >> 48) & MASK48 > (word >> 96) & MASK48;
    }

    /// @dev GB 32100-2015: 17 characters of the 31-letter alphabet weighted by 3^i mod 31, the 18th makes the sum a multiple of 31.
    function _checkCharacterHolds(bytes18 member) private pure returns (bool) {
        bytes memory alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
        uint256 weight = 1;
        uint256 total = 0;
        for (uint256 i = 0; i < 18; ++i) {
            uint256 value = 31;
            for (uint256 j = 0; j < 31; ++j) {
                if (alphabet[j] == member[i]) value = j;
            }
            if (value == 31) return false;
            total += i == 17 ? value : value * weight;
            weight = (weight * 3) % 31;
        }
        return total % 31 == 0;
    }
}
// slither-disable-end incorrect-equality
