// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {AssetRegistry} from "../src/AssetRegistry.sol";
import {GrantRegistry} from "../src/GrantRegistry.sol";
import {Membership} from "../src/Membership.sol";
import {GrantDecision, GrantRevocation, GrantTerms, Statements} from "../src/Statements.sol";
import {World} from "./World.sol";

contract GrantRegistryTest is World {
    function requestWith(GrantTerms memory terms) private {
        from(BANK);
        grants.request(terms);
    }

    function requested() private {
        register();
        request();
        next();
    }

    function approve() private {
        decide(decision(true), key(DEPARTMENT, APPROVAL));
    }

    function revocation() private pure returns (GrantRevocation memory) {
        return GrantRevocation(1, grantId(), "ended", FOREVER);
    }

    function revokeWith(GrantRevocation memory r, uint256 privateKey) private {
        grants.revoke(grantTerms(), r, sign(address(grants), Statements.hash(r), privateKey));
    }

    // --- Requesting ------------------------------------------------------------------------------------------------------------

    function test_request_keepsTheHeightOnce() public {
        register();
        emits(address(grants));
        emit GrantRegistry.GrantRequested(grantId(), id(DEPARTMENT), id(BANK), grantTerms());
        request();
        uint256 packed = grants.grantWord(grantId());
        same(packed, block.number, "word");
        holds(!grants.isLive(grantId()), "not approved yet");
        next();
        request();
        same(grants.grantWord(grantId()), packed, "repeating changes nothing");
    }

    function test_request_failsIfForAnother() public {
        register();
        fails(GrantRegistry.NotGrantee.selector, id(LENDER), id(BANK));
        from(LENDER);
        grants.request(grantTerms());
    }

    function test_request_failsIfTheSenderIsNobodyOrSuspended() public {
        register();
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        grants.request(grantTerms());
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        request();
    }

    function test_request_failsIfClosedToNewBusiness() public {
        register();
        closeToNewBusiness(address(grants));
        fails(Membership.ContractIsClosed.selector);
        request();
    }

    function test_request_failsIfThePeriodIsEmptyOrOver() public {
        register();
        GrantTerms memory terms = grantTerms();
        terms.notAfter = terms.notBefore;
        fails(GrantRegistry.WrongPeriod.selector, terms.notBefore, terms.notAfter);
        requestWith(terms);
        terms.notAfter = terms.notBefore - 1;
        fails(GrantRegistry.WrongPeriod.selector, terms.notBefore, terms.notAfter);
        requestWith(terms);
        terms = grantTerms();
        vm.warp(terms.notAfter);
        fails(GrantRegistry.WrongPeriod.selector, terms.notBefore, terms.notAfter);
        requestWith(terms);
    }

    function test_request_failsIfItGrantsNothing() public {
        register();
        GrantTerms memory terms = grantTerms();
        terms.operations = 0;
        fails(GrantRegistry.NothingGranted.selector);
        requestWith(terms);
        terms = grantTerms();
        terms.maxUses = 0;
        fails(GrantRegistry.NothingGranted.selector);
        requestWith(terms);
        terms = grantTerms();
        terms.purpose = 0;
        fails(GrantRegistry.NothingGranted.selector);
        requestWith(terms);
    }

    function test_request_failsIfTheVersionIsUnknown() public {
        register();
        GrantTerms memory terms = grantTerms();
        terms.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        requestWith(terms);
    }

    function test_request_failsIfTheAssetIsUnknownAnothersHeldOrGone() public {
        fails(AssetRegistry.UnknownAsset.selector, assetId());
        request();
        register();
        GrantTerms memory terms = grantTerms();
        terms.owner = id(TAX_OFFICE);
        fails(AssetRegistry.NotHolder.selector, id(TAX_OFFICE), id(DEPARTMENT));
        requestWith(terms);
        from(SUPERVISOR);
        assets.hold(assetId(), "dispute");
        fails(AssetRegistry.AssetOnHold.selector, assetId());
        request();
        from(SUPERVISOR);
        assets.release(assetId());
        from(DEPARTMENT);
        assets.cancel(assetId(), "error");
        fails(AssetRegistry.AssetGone.selector, assetId());
        request();
    }

    // --- Deciding --------------------------------------------------------------------------------------------------------------

    function test_decide_approvesOnceSentByAnyone() public {
        requested();
        uint256 requestedAt = block.number - 1;
        emits(address(grants));
        emit GrantRegistry.GrantApproved(grantId(), "reason");
        approve();
        uint256 packed = grants.grantWord(grantId());
        same(packed, (block.number << 48) | requestedAt, "word");
        holds(grants.isLive(grantId()), "live");
        next();
        approve();
        same(grants.grantWord(grantId()), packed, "repeating changes nothing");
    }

    function test_decide_refusesForGood() public {
        requested();
        emits(address(grants));
        emit GrantRegistry.GrantRefused(grantId(), "reason");
        decide(decision(false), key(DEPARTMENT, APPROVAL));
        same(at(grants.grantWord(grantId()), 96), block.number, "refused at");
        holds(!grants.isLive(grantId()), "not live");
        fails(GrantRegistry.AlreadyDecided.selector, grantId());
        approve();
    }

    function test_decide_failsIfApprovedThenRefused() public {
        requested();
        approve();
        fails(GrantRegistry.AlreadyDecided.selector, grantId());
        decide(decision(false), key(DEPARTMENT, APPROVAL));
    }

    function test_decide_failsIfRevokedWhilePending() public {
        requested();
        revoke(key(DEPARTMENT, APPROVAL));
        fails(GrantRegistry.AlreadyDecided.selector, grantId());
        approve();
    }

    function test_decide_ofAReplayedApprovalDoesNotReviveARevokedGrant() public {
        requested();
        approve();
        revoke(key(DEPARTMENT, APPROVAL));
        approve();
        holds(!grants.isLive(grantId()), "revoked");
    }

    function test_decide_failsIfNeverRequested() public {
        fails(GrantRegistry.UnknownGrant.selector, grantId());
        approve();
    }

    function test_decide_failsIfTheNodeSignsInsteadOfTheOfficer() public {
        requested();
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, STATEMENT), id(DEPARTMENT));
        decide(decision(true), key(DEPARTMENT, STATEMENT));
    }

    function test_decide_failsIfAnotherMembersOfficerSigns() public {
        requested();
        fails(Membership.WrongSigner.selector, keyAddress(BANK, APPROVAL), id(DEPARTMENT));
        decide(decision(true), key(BANK, APPROVAL));
    }

    function test_decide_failsIfTheOfficersKeyEnded() public {
        requested();
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(DEPARTMENT, APPROVAL)), "left office")));
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, APPROVAL), id(DEPARTMENT));
        approve();
    }

    function test_decide_failsIfTheSignatureIsMirrored() public {
        requested();
        bytes memory signature = sign(address(grants), Statements.hash(decision(true)), key(DEPARTMENT, APPROVAL));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        grants.decide(grantTerms(), decision(true), mirrored(signature));
    }

    function test_decide_failsIfARefusalIsTurnedIntoAnApproval() public {
        requested();
        bytes memory signature = sign(address(grants), Statements.hash(decision(false)), key(DEPARTMENT, APPROVAL));
        failsSomehow(Membership.WrongSigner.selector);
        grants.decide(grantTerms(), decision(true), signature);
    }

    function test_decide_failsIfMadeForAnotherGrant() public {
        requested();
        GrantDecision memory d = decision(true);
        d.grantId = keccak256("another");
        fails(GrantRegistry.OtherGrant.selector, grantId(), keccak256("another"));
        decide(d, key(DEPARTMENT, APPROVAL));
    }

    function test_decide_failsIfTooLateOrOfAnUnknownVersion() public {
        requested();
        GrantDecision memory d = decision(true);
        d.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        decide(d, key(DEPARTMENT, APPROVAL));
        d = decision(true);
        d.deadline = uint64(block.timestamp) - 1;
        fails(Membership.DeadlinePassed.selector, d.deadline);
        decide(d, key(DEPARTMENT, APPROVAL));
    }

    function test_decide_failsIfTheOwnerIsSuspended() public {
        requested();
        suspend(DEPARTMENT);
        fails(Membership.NotActive.selector, id(DEPARTMENT));
        approve();
    }

    function test_decide_givesASuspendedGranteeNoRight() public {
        requested();
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        approve();
        decide(decision(false), key(DEPARTMENT, APPROVAL));
        same(at(grants.grantWord(grantId()), 96), block.number, "refused all the same");
    }

    function test_decide_refusesButDoesNotApproveIfClosedToNewBusiness() public {
        requested();
        closeToNewBusiness(address(grants));
        fails(Membership.ContractIsClosed.selector);
        approve();
        decide(decision(false), key(DEPARTMENT, APPROVAL));
    }

    function test_decide_failsToApproveIfTheAssetIsHeldMeanwhile() public {
        requested();
        from(SUPERVISOR);
        assets.hold(assetId(), "dispute");
        fails(AssetRegistry.AssetOnHold.selector, assetId());
        approve();
        decide(decision(false), key(DEPARTMENT, APPROVAL));
    }

    // --- Revoking --------------------------------------------------------------------------------------------------------------

    function test_revoke_endsTheGrantOnce() public {
        requested();
        approve();
        next();
        emits(address(grants));
        emit GrantRegistry.GrantRevoked(grantId(), "ended");
        revoke(key(DEPARTMENT, STATEMENT));
        uint256 packed = grants.grantWord(grantId());
        same(at(packed, 144), block.number, "revoked at");
        same(at(packed, 48), block.number - 1, "approved at stays");
        holds(!grants.isLive(grantId()), "not live");
        next();
        revoke(key(DEPARTMENT, APPROVAL));
        same(grants.grantWord(grantId()), packed, "repeating changes nothing");
    }

    function test_revoke_keepsTheHashOfTheRevocationThatCounted() public {
        holds(grants.revocationHash(grantId()) == 0, "none yet");
        requested();
        GrantRevocation memory first = GrantRevocation(1, grantId(), "first", FOREVER);
        revokeWith(first, key(DEPARTMENT, STATEMENT));
        revokeWith(GrantRevocation(1, grantId(), "second", FOREVER), key(DEPARTMENT, APPROVAL));
        holds(grants.revocationHash(grantId()) == Statements.hash(first), "the first stays");
    }

    function test_revoke_succeedsForASuspendedOwnerAndInAClosedContract() public {
        requested();
        approve();
        suspend(DEPARTMENT);
        closeToNewBusiness(address(grants));
        revoke(key(DEPARTMENT, APPROVAL));
        holds(!grants.isLive(grantId()), "not live");
    }

    function test_revoke_failsIfSignedByTheGranteeOrANodesTransactionKey() public {
        requested();
        fails(Membership.WrongSigner.selector, keyAddress(BANK, APPROVAL), id(DEPARTMENT));
        revoke(key(BANK, APPROVAL));
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, TRANSACTION), id(DEPARTMENT));
        revoke(key(DEPARTMENT, TRANSACTION));
        fails(Membership.WrongSigner.selector, keyAddress(STRANGER, APPROVAL), id(DEPARTMENT));
        revoke(key(STRANGER, APPROVAL));
    }

    function test_revoke_failsIfTheSignatureIsMirrored() public {
        requested();
        bytes memory signature = sign(address(grants), Statements.hash(revocation()), key(DEPARTMENT, APPROVAL));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        grants.revoke(grantTerms(), revocation(), mirrored(signature));
    }

    function test_revoke_failsIfUnknownOtherLateOrOfAnUnknownVersion() public {
        fails(GrantRegistry.UnknownGrant.selector, grantId());
        revoke(key(DEPARTMENT, APPROVAL));
        requested();
        GrantRevocation memory r = revocation();
        r.grantId = keccak256("another");
        fails(GrantRegistry.OtherGrant.selector, grantId(), keccak256("another"));
        revokeWith(r, key(DEPARTMENT, APPROVAL));
        r = revocation();
        r.version = 0;
        fails(Membership.WrongVersion.selector, uint256(0));
        revokeWith(r, key(DEPARTMENT, APPROVAL));
        r = revocation();
        r.deadline = uint64(block.timestamp) - 1;
        fails(Membership.DeadlinePassed.selector, r.deadline);
        revokeWith(r, key(DEPARTMENT, APPROVAL));
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev Whatever is done in whatever order: a grant is live exactly from its approval to its revocation, and each height is set once.
    function test_grantWord_keepsTheFirstHeightOfEach(uint8[8] memory actions) public {
        requested();
        uint256 requestedAt = block.number - 1;
        uint256 approvedAt;
        uint256 refusedAt;
        uint256 revokedAt;
        for (uint256 i = 0; i < actions.length; ++i) {
            next();
            if (actions[i] % 4 == 0) {
                revoke(key(DEPARTMENT, STATEMENT));
                if (revokedAt == 0) revokedAt = block.number;
                continue;
            }
            bool approves = actions[i] % 4 != 1;
            bool again = approves ? approvedAt != 0 : refusedAt != 0;
            bool settled = approvedAt + refusedAt + revokedAt != 0;
            if (settled && !again) fails(GrantRegistry.AlreadyDecided.selector, grantId());
            decide(decision(approves), key(DEPARTMENT, APPROVAL));
            if (settled) continue;
            if (approves) approvedAt = block.number;
            else refusedAt = block.number;
        }
        uint256 expected = (revokedAt << 144) | (refusedAt << 96) | (approvedAt << 48) | requestedAt;
        same(grants.grantWord(grantId()), expected, "word");
        holds(grants.isLive(grantId()) == (approvedAt != 0 && revokedAt == 0), "live");
    }
}
