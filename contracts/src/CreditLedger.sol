// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {ConsentRegistration, ConsentWithdrawal, CreditDispute, CreditRepair, Statements} from "./Statements.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Consents, credit queries, disputes and repairs
/// @notice Holds commitments and heights only. A consent is registered under a salted commitment by a one-time key of the subject, through a
/// relayer that cannot alter it, so nobody sees who asks for credit where. A consent is identified by its commitment and its key together, so
/// whoever sees a commitment on its way cannot take its place under another key.
/// - `_consents[keccak256(abi.encode(commitment, authority))]` = recordedAt:48 | withdrawnAt:48 | authority:160.
/// - `_queries[hash]` = anchoredAt:48.
/// - `_disputes[structHash(dispute)]` = openedAt:48 | answeredAt:48 | upheld:8 (at bit 96) | department:144 (at bit 112).
contract CreditLedger is Membership {
    using Statements for ConsentRegistration;
    using Statements for ConsentWithdrawal;
    using Statements for CreditDispute;
    using Statements for CreditRepair;

    mapping(bytes32 consentId => uint256) private _consents;
    mapping(bytes32 query => uint256) private _queries;
    mapping(bytes32 disputeId => uint256) private _disputes;
    mapping(bytes32 disputeId => bytes32 repairHash) private _repairs;

    event ConsentRecorded(bytes32 indexed consentId);
    event ConsentWithdrawn(bytes32 indexed consentId);
    event QueriesAnchored(bytes18 indexed relayer, bytes32[] queries);
    event DisputeRaised(bytes32 indexed disputeId, bytes18 indexed department, CreditDispute dispute);
    event DisputeAnswered(bytes32 indexed disputeId, bool upheld, CreditRepair repair);

    error WrongAuthority(address signer, address authority);
    error UnknownConsent(bytes32 consentId);
    error UnknownDispute(bytes32 disputeId);
    error AlreadyAnswered(bytes32 disputeId);
    error OtherDepartment(bytes18 expected, bytes18 given);

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    constructor(MemberDirectory directory_) Membership(directory_) {}

    /// @notice The id of a consent.
    /// @param commitment The consent's salted commitment.
    /// @param authority The address of the subject's one-time key.
    /// @return The hash of commitment and key.
    function consentIdOf(bytes32 commitment, address authority) public pure returns (bytes32) {
        return keccak256(abi.encode(commitment, authority));
    }

    /// @notice Records a consent's commitment under the subject's one-time key. Repeating it changes nothing.
    /// @param registration The consent's commitment and key, with a deadline.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits ConsentRecorded
    /// @custom:reverts ContractIsClosed, DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS,
    /// NotActive, NotMemberKey, WrongAuthority, WrongVersion
    function recordConsent(ConsentRegistration calldata registration, bytes calldata signature) external {
        _requireOpen();
        _activeSender();
        require(registration.version == 1, WrongVersion(registration.version));
        require(block.timestamp <= registration.deadline, DeadlinePassed(registration.deadline));
        _requireAuthority(registration.hash(), signature, registration.authority);
        bytes32 consentId = consentIdOf(registration.commitment, registration.authority);
        if (_consents[consentId] != 0) return;

        _consents[consentId] = (uint256(uint160(registration.authority)) << 96) | block.number;
        emit ConsentRecorded(consentId);
    }

    /// @notice Withdraws a consent for good. Any member may relay it.
    /// @param withdrawal The signed withdrawal, naming the consent.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits ConsentWithdrawn
    /// @custom:reverts DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotMemberKey,
    /// UnknownConsent, WrongAuthority, WrongVersion
    function withdrawConsent(ConsentWithdrawal calldata withdrawal, bytes calldata signature) external {
        _sender();
        uint256 word = _consents[withdrawal.consent];
        require(word != 0, UnknownConsent(withdrawal.consent));
        require(withdrawal.version == 1, WrongVersion(withdrawal.version));
        require(block.timestamp <= withdrawal.deadline, DeadlinePassed(withdrawal.deadline));
        _requireAuthority(withdrawal.hash(), signature, address(uint160(word >> 96)));
        if (_at(word, 48) != 0) return;

        _consents[withdrawal.consent] = _stamp(word, 48);
        emit ConsentWithdrawn(withdrawal.consent);
    }

    /// @notice Anchors the hashes of credit queries; one already anchored keeps its height.
    /// @param queries The hashes of the credit queries.
    /// @custom:emits QueriesAnchored
    /// @custom:reverts NotActive, NotMemberKey
    function anchorQueries(bytes32[] calldata queries) external {
        bytes18 sender = _activeSender();
        for (uint256 i = 0; i < queries.length; ++i) {
            if (_queries[queries[i]] == 0) _queries[queries[i]] = block.number;
        }
        emit QueriesAnchored(sender, queries);
    }

    /// @notice Records that a subject disputes a record; signed by its key, sent by any member.
    /// @param dispute The subject's dispute.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits DisputeRaised
    /// @custom:reverts ContractIsClosed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotActive,
    /// NotMemberKey, WrongAuthority, WrongRole, WrongVersion
    function raiseDispute(CreditDispute calldata dispute, bytes calldata signature) external {
        _requireOpen();
        _activeSender();
        require(dispute.version == 1, WrongVersion(dispute.version));
        _requireActive(dispute.department);
        _requireRole(dispute.department, DEPARTMENT);
        bytes32 disputeId = dispute.hash();
        _requireAuthority(disputeId, signature, dispute.authority);
        if (_disputes[disputeId] != 0) return;

        _disputes[disputeId] = (uint256(uint144(dispute.department)) << 112) | block.number;
        emit DisputeRaised(disputeId, dispute.department, dispute);
    }

    /// @notice Records the department's answer, once.
    /// @param repair The department's answer.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits DisputeAnswered
    /// @custom:reverts AlreadyAnswered, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, OtherDepartment,
    /// UnknownDispute, WrongSigner, WrongVersion
    function answerDispute(CreditRepair calldata repair, bytes calldata signature) external {
        uint256 word = _disputes[repair.disputeId];
        require(word != 0, UnknownDispute(repair.disputeId));
        require(repair.version == 1, WrongVersion(repair.version));
        bytes18 department = bytes18(bytes32(word));
        require(repair.department == department, OtherDepartment(department, repair.department));
        bytes32 repairHash = repair.hash();
        _requireSigned(repairHash, signature, department, STATEMENT);
        if (_at(word, 48) != 0) {
            require(_repairs[repair.disputeId] == repairHash, AlreadyAnswered(repair.disputeId));
            return;
        }

        _disputes[repair.disputeId] = _stamp(word, 48) | (repair.upheld ? uint256(1) << 96 : 0);
        _repairs[repair.disputeId] = repairHash;
        emit DisputeAnswered(repair.disputeId, repair.upheld, repair);
    }

    /// @notice The record of a consent, packed.
    /// @param consentId The consent's id (`consentIdOf`).
    /// @return The storage value; zero if the consent is unknown.
    function consentWord(bytes32 consentId) external view returns (uint256) {
        return _consents[consentId];
    }

    /// @notice The block in which a credit query was anchored.
    /// @param query The hash of a credit query.
    /// @return The height; zero if it was not.
    function queryAnchoredAt(bytes32 query) external view returns (uint256) {
        return _queries[query];
    }

    /// @notice The record of a dispute, packed.
    /// @param disputeId The struct hash of the dispute.
    /// @return The storage value; zero if the dispute is unknown.
    function disputeWord(bytes32 disputeId) external view returns (uint256) {
        return _disputes[disputeId];
    }

    /// @notice The answer to a dispute.
    /// @param disputeId The struct hash of the dispute.
    /// @return The struct hash of the answer; zero if there is none.
    function repairOf(bytes32 disputeId) external view returns (bytes32) {
        return _repairs[disputeId];
    }

    function _requireAuthority(bytes32 structHash, bytes calldata signature, address authority) private view {
        address signer = _signer(structHash, signature);
        require(signer == authority, WrongAuthority(signer, authority));
    }
}
// slither-disable-end incorrect-equality
