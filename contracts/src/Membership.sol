// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {MemberDirectory} from "./MemberDirectory.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title What every contract asks the directory
/// @notice Senders and signers are resolved to members by their live keys; heights go into 48-bit places of a word.
abstract contract Membership is EIP712 {
    uint8 internal constant APPROVAL = 2;
    uint8 internal constant TRANSACTION = 3;
    uint8 internal constant STATEMENT = 4;

    uint16 internal constant OPERATOR = 1;
    uint16 internal constant DEPARTMENT = 2;
    uint16 internal constant BANK = 4;
    uint16 internal constant SUPERVISOR = 8;
    uint16 internal constant SETTLEMENT_BANK = 16;
    uint16 internal constant AGENCY = 32;

    uint256 internal constant MASK48 = (1 << 48) - 1;

    MemberDirectory public immutable directory;

    error NotMemberKey(address sender);
    error NotActive(bytes18 member);
    error WrongRole(bytes18 member, uint16 needed);
    error WrongSigner(address signer, bytes18 member);
    error DeadlinePassed(uint64 deadline);
    error ContractIsClosed();
    error WrongVersion(uint16 version);
    error OnlyGovernors(address sender);

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    constructor(MemberDirectory directory_) EIP712("Qiaolian", "1") {
        directory = directory_;
    }

    /// @dev The member behind msg.sender, whatever its status.
    function _sender() internal view returns (bytes18 member) {
        member = directory.memberOf(msg.sender, TRANSACTION);
        require(member != 0, NotMemberKey(msg.sender));
    }

    /// @dev The active member behind msg.sender.
    function _activeSender() internal view returns (bytes18 member) {
        member = _sender();
        require(directory.isActive(member), NotActive(member));
    }

    /// @dev The call was approved by two governors (`MemberDirectory.actOn`).
    function _requireGovernors() internal view {
        require(msg.sender == address(directory), OnlyGovernors(msg.sender));
    }

    function _requireActive(bytes18 member) internal view {
        require(directory.isActive(member), NotActive(member));
    }

    function _requireRole(bytes18 member, uint16 roles) internal view {
        require(directory.hasRole(member, roles), WrongRole(member, roles));
    }

    function _requireOpen() internal view {
        require(!directory.isClosed(address(this)), ContractIsClosed());
    }

    function _signer(bytes32 structHash, bytes calldata signature) internal view returns (address) {
        return ECDSA.recover(_hashTypedDataV4(structHash), signature);
    }

    /// @dev The signature must come from a live key of that member and purpose.
    function _requireSigned(bytes32 structHash, bytes calldata signature, bytes18 member, uint8 purpose) internal view {
        address signer = _signer(structHash, signature);
        require(member != 0 && directory.memberOf(signer, purpose) == member, WrongSigner(signer, member));
    }

    function _at(uint256 word, uint256 shift) internal pure returns (uint256) {
        return (word >> shift) & MASK48;
    }

    /// @dev Sets a height that was never set; it is not for heights that may be set again.
    function _stamp(uint256 word, uint256 shift) internal view returns (uint256) {
        return word | (block.number << shift);
    }
}
// slither-disable-end incorrect-equality
