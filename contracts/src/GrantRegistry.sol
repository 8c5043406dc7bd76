// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AssetRegistry} from "./AssetRegistry.sol";
import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {GrantDecision, GrantRevocation, GrantTerms, Statements} from "./Statements.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Grants of use
/// @notice The grantee's node requests, the owner's chief data officer decides with a key of their own, the owner may revoke at any time.
/// - `_grants[structHash(terms)]` = requestedAt:48 | approvedAt:48 | refusedAt:48 | revokedAt:48.
/// - `_revocations[grantId]` = struct hash of the revocation that counted, so that its stated reason can be proved.
contract GrantRegistry is Membership {
    using Statements for GrantTerms;
    using Statements for GrantDecision;
    using Statements for GrantRevocation;

    AssetRegistry public immutable assets;

    mapping(bytes32 grantId => uint256) private _grants;
    mapping(bytes32 grantId => bytes32 revocationHash) private _revocations;

    event GrantRequested(bytes32 indexed grantId, bytes18 indexed owner, bytes18 indexed grantee, GrantTerms terms);
    event GrantApproved(bytes32 indexed grantId, bytes32 reason);
    event GrantRefused(bytes32 indexed grantId, bytes32 reason);
    event GrantRevoked(bytes32 indexed grantId, bytes32 reason);

    error NotGrantee(bytes18 sender, bytes18 grantee);
    error WrongPeriod(uint64 notBefore, uint64 notAfter);
    error NothingGranted();
    error UnknownGrant(bytes32 grantId);
    error AlreadyDecided(bytes32 grantId);
    error OtherGrant(bytes32 expected, bytes32 given);

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    /// @param assets_ The network's registry of assets.
    constructor(MemberDirectory directory_, AssetRegistry assets_) Membership(directory_) {
        assets = assets_;
    }

    /// @notice Requests a grant. Repeating the same terms changes nothing.
    /// @param terms The grant's full terms; their struct hash is the grant's id.
    /// @custom:emits GrantRequested
    /// @custom:reverts AssetGone, AssetOnHold, ContractIsClosed, NotActive, NotGrantee, NotHolder, NotMemberKey, NothingGranted,
    /// UnknownAsset, WrongPeriod, WrongVersion
    function request(GrantTerms calldata terms) external {
        _requireOpen();
        bytes18 sender = _activeSender();
        require(terms.version == 1, WrongVersion(terms.version));
        require(terms.grantee == sender, NotGrantee(sender, terms.grantee));
        require(
            terms.notAfter > terms.notBefore && terms.notAfter > block.timestamp,
            WrongPeriod(terms.notBefore, terms.notAfter)
        );
        require(terms.operations != 0 && terms.maxUses != 0 && terms.purpose != 0, NothingGranted());
        assets.requireUsable(terms.assetId, terms.assetVersion, terms.owner);
        bytes32 grantId = terms.hash();
        if (_grants[grantId] != 0) return;

        _grants[grantId] = block.number;
        emit GrantRequested(grantId, terms.owner, terms.grantee, terms);
    }

    /// @notice Records the chief data officer's signed decision. Anyone may send it. A grantee suspended since its request gains nothing.
    /// @param terms The full terms; their struct hash is the id.
    /// @param decision The decision.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits GrantApproved, GrantRefused
    /// @custom:reverts AlreadyDecided, AssetGone, AssetOnHold, ContractIsClosed, DeadlinePassed, ECDSAInvalidSignature,
    /// ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotActive, NotHolder, OtherGrant, UnknownAsset, UnknownGrant, WrongSigner,
    /// WrongVersion
    function decide(GrantTerms calldata terms, GrantDecision calldata decision, bytes calldata signature) external {
        bytes32 grantId = terms.hash();
        uint256 word = _grants[grantId];
        require(word != 0, UnknownGrant(grantId));
        require(decision.grantId == grantId, OtherGrant(grantId, decision.grantId));
        require(decision.version == 1, WrongVersion(decision.version));
        require(block.timestamp <= decision.deadline, DeadlinePassed(decision.deadline));
        _requireSigned(decision.hash(), signature, terms.owner, APPROVAL);
        _requireActive(terms.owner);
        uint256 same = decision.approved ? 48 : 96;
        if (_at(word, same) != 0) return;
        require(_at(word, 48) == 0 && _at(word, 96) == 0 && _at(word, 144) == 0, AlreadyDecided(grantId));
        if (decision.approved) _requireGrantable(terms);

        _grants[grantId] = _stamp(word, same);
        if (decision.approved) emit GrantApproved(grantId, decision.reason);
        else emit GrantRefused(grantId, decision.reason);
    }

    /// @notice Takes a grant back for good, approved or still pending. A suspended owner may do so too.
    /// @param terms The full terms; their struct hash is the id.
    /// @param revocation The revocation with its reason.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits GrantRevoked
    /// @custom:reverts DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, OtherGrant,
    /// UnknownGrant, WrongSigner, WrongVersion
    function revoke(GrantTerms calldata terms, GrantRevocation calldata revocation, bytes calldata signature) external {
        bytes32 grantId = terms.hash();
        uint256 word = _grants[grantId];
        require(word != 0, UnknownGrant(grantId));
        require(revocation.grantId == grantId, OtherGrant(grantId, revocation.grantId));
        require(revocation.version == 1, WrongVersion(revocation.version));
        require(block.timestamp <= revocation.deadline, DeadlinePassed(revocation.deadline));
        bytes32 structHash = revocation.hash();
        address signer = _signer(structHash, signature);
        bool owners =
            directory.memberOf(signer, APPROVAL) == terms.owner || directory.memberOf(signer, STATEMENT) == terms.owner;
        require(owners, WrongSigner(signer, terms.owner));
        if (_at(word, 144) != 0) return;

        _grants[grantId] = _stamp(word, 144);
        _revocations[grantId] = structHash;
        emit GrantRevoked(grantId, revocation.reason);
    }

    /// @notice The record of a grant, packed.
    /// @param grantId The struct hash of the grant's terms.
    /// @return The storage value; zero if the grant was not requested.
    function grantWord(bytes32 grantId) external view returns (uint256) {
        return _grants[grantId];
    }

    /// @notice Struct hash of the revocation that counted; zero for a grant that was not revoked.
    /// @param grantId The struct hash of the grant's terms.
    /// @return The struct hash; zero if there is none.
    function revocationHash(bytes32 grantId) external view returns (bytes32) {
        return _revocations[grantId];
    }

    /// @notice Approved and not revoked.
    /// @param grantId The struct hash of the grant's terms.
    /// @return True if the grant is approved and not revoked.
    function isLive(bytes32 grantId) external view returns (bool) {
        uint256 word = _grants[grantId];
        return _at(word, 48) != 0 && _at(word, 144) == 0;
    }

    /// @dev An approval gives a right, so it asks again for what may have changed since the request.
    function _requireGrantable(GrantTerms calldata terms) private view {
        _requireOpen();
        _requireActive(terms.grantee);
        assets.requireUsable(terms.assetId, terms.assetVersion, terms.owner);
    }
}
// slither-disable-end incorrect-equality
