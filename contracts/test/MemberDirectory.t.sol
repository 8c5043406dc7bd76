// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {MemberDirectory} from "../src/MemberDirectory.sol";
import {Approval, ApprovalWithdrawal, Statements} from "../src/Statements.sol";
import {World} from "./World.sol";

contract MemberDirectoryTest is World {
    bytes18 private constant NEWCOMER = "914403001922038216";

    function admission() private view returns (bytes memory) {
        return abi.encodeCall(directory.admit, (NEWCOMER, "newcomer", 4, new MemberDirectory.KeyEntry[](0)));
    }

    function keyAddition(bytes18 member, MemberDirectory.KeyEntry memory added) private view returns (bytes memory) {
        return abi.encodeCall(directory.addKey, (member, added));
    }

    /// @dev Both approvals of `data`, by the operator and the supervisor, under a fresh nonce.
    function approved(bytes memory data) private returns (uint256 nonce, bytes[] memory signatures) {
        nonce = newNonce();
        signatures = approvals(data, nonce, FOREVER, OPERATOR, SUPERVISOR);
    }

    // --- Beginning -------------------------------------------------------------------------------------------------------------

    function test_constructor_makesGovernorsActiveMembersWithTheirKeys() public view {
        for (uint256 who = OPERATOR; who <= SETTLER; ++who) {
            holds(directory.isGovernor(id(who)) && directory.isActive(id(who)), "governor");
            same(directory.memberOf(keyAddress(who, ADMIN), ADMIN), id(who), "administration key");
            same(directory.memberOf(keyAddress(who, TRANSACTION), TRANSACTION), id(who), "transaction key");
        }
        holds(!directory.isGovernor(id(DEPARTMENT)), "a member is no governor");
    }

    function test_constructor_failsIfFewerThanThreeGovernors() public {
        MemberDirectory.Governor[] memory two = new MemberDirectory.Governor[](2);
        two[0] = governor(OPERATOR, 1);
        two[1] = governor(SUPERVISOR, 8);
        fails(MemberDirectory.TooFewGovernors.selector, 2);
        new MemberDirectory(two);
    }

    function test_constructor_failsIfOneOrganisationIsTwoGovernors() public {
        MemberDirectory.Governor[] memory three = new MemberDirectory.Governor[](3);
        three[0] = governor(OPERATOR, 1);
        three[1] = governor(SUPERVISOR, 8);
        three[2] = governor(OPERATOR, 1);
        three[2].adminKey = keyAddress(STRANGER, ADMIN);
        fails(MemberDirectory.AlreadyMember.selector, id(OPERATOR));
        new MemberDirectory(three);
    }

    // --- Two approvals ---------------------------------------------------------------------------------------------------------

    function test_execute_succeedsWithAnyTwoOfThreeSentByAnyone() public {
        uint256 nonce = newNonce();
        bytes memory data = admission();
        bytes[] memory signatures = approvals(data, nonce, FOREVER, SETTLER, SUPERVISOR);
        emits(address(directory));
        emit MemberDirectory.Executed(nonce, keccak256(data));
        emits(address(directory));
        emit MemberDirectory.MemberAdmitted(NEWCOMER, "newcomer", 4);
        vm.prank(keyAddress(STRANGER, TRANSACTION));
        directory.execute(data, nonce, FOREVER, signatures);
        holds(directory.isActive(NEWCOMER), "admitted");
        holds(directory.nonceUsed(nonce), "nonce");
    }

    function test_execute_succeedsUntilTheDeadlineAndFailsAfterIt() public {
        uint64 deadline = uint64(block.timestamp);
        bytes memory data = admission();
        bytes[] memory signatures = approvals(data, 77, deadline, OPERATOR, SUPERVISOR);
        vm.warp(deadline + 1);
        fails(MemberDirectory.DeadlinePassed.selector, deadline);
        directory.execute(data, 77, deadline, signatures);
        vm.warp(deadline);
        directory.execute(data, 77, deadline, signatures);
    }

    function test_execute_failsIfApprovalsAreReplayed() public {
        bytes memory data = abi.encodeCall(directory.suspend, (id(BANK), "test"));
        (uint256 nonce, bytes[] memory signatures) = approved(data);
        directory.execute(data, nonce, FOREVER, signatures);
        next();
        lift(BANK);
        fails(MemberDirectory.NonceUsed.selector, nonce);
        directory.execute(data, nonce, FOREVER, signatures);
    }

    function test_execute_failsIfTheCallNonceOrDeadlineIsNotTheOneApproved() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        bytes memory other = abi.encodeCall(directory.suspend, (id(BANK), "test"));
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.execute(other, nonce, FOREVER, signatures);
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.execute(admission(), nonce + 1, FOREVER, signatures);
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.execute(admission(), nonce, FOREVER + 1, signatures);
    }

    function test_execute_failsIfApprovedOnAnotherChain() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        vm.chainId(block.chainid + 1);
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfApprovedForAnotherDirectory() public {
        bytes32 structHash = Statements.hash(Approval(1, keccak256(admission()), 77, FOREVER));
        bytes[] memory signatures = new bytes[](2);
        signatures[0] = sign(address(grants), structHash, key(OPERATOR, ADMIN));
        signatures[1] = sign(address(grants), structHash, key(SUPERVISOR, ADMIN));
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.execute(admission(), 77, FOREVER, signatures);
    }

    function test_execute_failsIfOnlyOneApproves() public {
        (uint256 nonce, bytes[] memory both) = approved(admission());
        bytes[] memory one = new bytes[](1);
        one[0] = both[0];
        fails(MemberDirectory.TooFewApprovals.selector, 1);
        directory.execute(admission(), nonce, FOREVER, one);
    }

    function test_execute_failsIfOneGovernorSignsTwice() public {
        bytes[] memory signatures = approvals(admission(), 77, FOREVER, OPERATOR, OPERATOR);
        fails(MemberDirectory.SameOrganisation.selector, id(OPERATOR));
        directory.execute(admission(), 77, FOREVER, signatures);
    }

    function test_execute_failsIfOneGovernorSignsWithTwoKeys() public {
        uint256 second = uint256(keccak256("the operator's second administration key"));
        govern(keyAddition(id(OPERATOR), MemberDirectory.KeyEntry(word(vm.addr(second)), ADMIN, 1)));
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        signatures[1] =
            sign(address(directory), Statements.hash(Approval(1, keccak256(admission()), nonce, FOREVER)), second);
        fails(MemberDirectory.SameOrganisation.selector, id(OPERATOR));
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfAThirdApprovalIsNoGovernors() public {
        (uint256 nonce, bytes[] memory two) = approved(admission());
        bytes[] memory three = new bytes[](3);
        (three[0], three[1]) = (two[0], two[1]);
        three[2] = approvals(admission(), nonce, FOREVER, STRANGER, STRANGER)[0];
        fails(MemberDirectory.NotGovernor.selector, keyAddress(STRANGER, ADMIN));
        directory.execute(admission(), nonce, FOREVER, three);
    }

    function test_execute_failsIfAMemberThatIsNoGovernorApproves() public {
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        bytes[] memory signatures = approvals(admission(), 77, FOREVER, OPERATOR, BANK);
        fails(MemberDirectory.NotGovernor.selector, keyAddress(BANK, ADMIN));
        directory.execute(admission(), 77, FOREVER, signatures);
    }

    function test_execute_failsIfTheNodesKeySignsInsteadOfTheAdministrators() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        signatures[1] = sign(
            address(directory),
            Statements.hash(Approval(1, keccak256(admission()), nonce, FOREVER)),
            key(SUPERVISOR, TRANSACTION)
        );
        fails(MemberDirectory.NotGovernor.selector, keyAddress(SUPERVISOR, TRANSACTION));
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfAGovernorsKeyEnded() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(SUPERVISOR, ADMIN)), "lost")));
        fails(MemberDirectory.NotGovernor.selector, keyAddress(SUPERVISOR, ADMIN));
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfAGovernorIsSuspended() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        suspend(SUPERVISOR);
        fails(MemberDirectory.NotGovernor.selector, keyAddress(SUPERVISOR, ADMIN));
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfASignatureIsMirrored() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        signatures[1] = mirrored(signatures[1]);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_failsIfASignatureIsCutShort() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        signatures[1] = bytes.concat(bytes32(signatures[1]), bytes32(0));
        fails(ECDSA.ECDSAInvalidSignatureLength.selector, 64);
        directory.execute(admission(), nonce, FOREVER, signatures);
    }

    function test_execute_keepsTheNonceIfTheCallFails() public {
        bytes memory data = abi.encodeCall(directory.lift, (id(BANK)));
        (uint256 nonce, bytes[] memory signatures) = approved(data);
        fails(MemberDirectory.NotSuspended.selector, id(BANK));
        directory.execute(data, nonce, FOREVER, signatures);
        holds(!directory.nonceUsed(nonce), "nonce");
        suspend(BANK);
        directory.execute(data, nonce, FOREVER, signatures);
        holds(directory.isActive(id(BANK)), "lifted");
    }

    function test_governedCalls_failIfSentByAGovernorDirectly() public {
        bytes[] memory calls = new bytes[](10);
        calls[0] = admission();
        calls[1] = abi.encodeCall(directory.suspend, (id(BANK), "test"));
        calls[2] = abi.encodeCall(directory.lift, (id(BANK)));
        calls[3] = abi.encodeCall(directory.remove, (id(BANK), "test"));
        calls[4] = keyAddition(id(BANK), entry(STRANGER, ADMIN));
        calls[5] = abi.encodeCall(directory.endKey, (word(keyAddress(BANK, STATEMENT)), "test"));
        calls[6] = abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK)));
        calls[7] = abi.encodeCall(directory.announceContract, ("TradeSettlement", address(1), 2));
        calls[8] = abi.encodeCall(directory.closeContract, (address(settlement)));
        calls[9] = abi.encodeCall(directory.actOn, (address(evidence), ""));
        for (uint256 i = 0; i < calls.length; ++i) {
            from(OPERATOR);
            (bool done, bytes memory result) = address(directory).call(calls[i]);
            holds(!done, "only governance");
            same(bytes32(result), bytes32(MemberDirectory.OnlyGovernance.selector), "only governance");
        }
    }

    // --- Admission -------------------------------------------------------------------------------------------------------------

    function test_admit_setsRolesAndTheHeight() public {
        vm.roll(123_456);
        govern(admission());
        same(directory.memberWord(NEWCOMER), (uint256(4) << 192) | 123_456, "word");
        holds(directory.hasRole(NEWCOMER, 4) && !directory.hasRole(NEWCOMER, 2), "roles");
        holds(directory.isKnown(NEWCOMER) && !directory.isKnown(id(STRANGER)), "known");
    }

    function test_admit_succeedsWithCodesInUse() public {
        bytes18[3] memory codes = [bytes18("91350100M000100Y43"), "9144030071526726XG", "91330100799655058B"];
        for (uint256 i = 0; i < codes.length; ++i) {
            govern(abi.encodeCall(directory.admit, (codes[i], "", 64, new MemberDirectory.KeyEntry[](0))));
            holds(directory.isActive(codes[i]), "admitted");
        }
    }

    function test_admit_failsIfTheCheckCharacterIsWrong() public {
        bytes18[4] memory codes = [bytes18("914403001922038217"), "914403001922038261", "91440300192203821O", ""];
        for (uint256 i = 0; i < codes.length; ++i) {
            fails(MemberDirectory.WrongCheckCharacter.selector, codes[i]);
            govern(abi.encodeCall(directory.admit, (codes[i], "", 4, new MemberDirectory.KeyEntry[](0))));
        }
    }

    function test_admit_failsIfAlreadyMember() public {
        govern(admission());
        fails(MemberDirectory.AlreadyMember.selector, NEWCOMER);
        govern(admission());
    }

    function test_admit_failsIfRemovedBefore() public {
        govern(admission());
        govern(abi.encodeCall(directory.remove, (NEWCOMER, "test")));
        fails(MemberDirectory.AlreadyMember.selector, NEWCOMER);
        govern(admission());
    }

    function test_admit_failsIfRolesAreNoneOrUnknown() public {
        fails(MemberDirectory.WrongRoles.selector, uint256(0));
        govern(abi.encodeCall(directory.admit, (NEWCOMER, "", 0, new MemberDirectory.KeyEntry[](0))));
        fails(MemberDirectory.WrongRoles.selector, 128);
        govern(abi.encodeCall(directory.admit, (NEWCOMER, "", 128, new MemberDirectory.KeyEntry[](0))));
    }

    function test_admit_failsAltogetherIfOneOfItsKeysIsKnown() public {
        MemberDirectory.KeyEntry[] memory entries = new MemberDirectory.KeyEntry[](2);
        entries[0] = entry(STRANGER, TRANSACTION);
        entries[1] = entry(BANK, STATEMENT);
        fails(MemberDirectory.KeyKnown.selector, word(keyAddress(BANK, STATEMENT)));
        govern(abi.encodeCall(directory.admit, (NEWCOMER, "", 4, entries)));
        holds(!directory.isKnown(NEWCOMER), "not admitted");
        same(directory.keyWord(entries[0].fingerprint), 0, "no key");
    }

    // --- Status ----------------------------------------------------------------------------------------------------------------

    function test_suspend_takesEffectUntilLiftedAndKeepsTheHeights() public {
        vm.roll(2000);
        emits(address(directory));
        emit MemberDirectory.Executed(newNonce() + 1, keccak256(abi.encodeCall(directory.suspend, (id(BANK), "test"))));
        emits(address(directory));
        emit MemberDirectory.MemberSuspended(id(BANK), "test");
        govern(abi.encodeCall(directory.suspend, (id(BANK), "test")));
        holds(!directory.isActive(id(BANK)), "suspended");
        vm.roll(3000);
        govern(abi.encodeCall(directory.lift, (id(BANK))));
        holds(directory.isActive(id(BANK)), "lifted");
        uint256 member = directory.memberWord(id(BANK));
        same(at(member, 48), 2000, "suspended at");
        same(at(member, 96), 3000, "lifted at");
        same(at(member, 144), 0, "removed at");
        same(member >> 192, 4, "roles");
    }

    function test_suspend_againKeepsTheSuspensionBefore() public {
        uint256[3] memory suspendedAt = [uint256(100), 200, 300];
        for (uint256 i = 0; i < 3; ++i) {
            vm.roll(suspendedAt[i]);
            govern(abi.encodeCall(directory.suspend, (id(BANK), "test")));
            vm.roll(suspendedAt[i] + 50);
            govern(abi.encodeCall(directory.lift, (id(BANK))));
        }
        uint256 member = directory.memberWord(id(BANK));
        same(at(member, 208), 250, "valid from the second lifting");
        uint256 second = directory.earlierMemberWord(id(BANK), 250);
        same(at(second, 48), 200, "second suspension");
        same(at(second, 96), 250, "second lifting");
        same(at(second, 208), 150, "valid from the first lifting");
        uint256 first = directory.earlierMemberWord(id(BANK), 150);
        same(at(first, 48), 100, "first suspension");
        same(at(first, 96), 150, "first lifting");
        same(at(first, 208), 0, "valid from the first block");
        same(directory.earlierMemberWord(id(DEPARTMENT), 150), 0, "another member's");
    }

    function test_suspend_failsIfNotActive() public {
        fails(MemberDirectory.NotActive.selector, id(STRANGER));
        govern(abi.encodeCall(directory.suspend, (id(STRANGER), "test")));
        suspend(BANK);
        fails(MemberDirectory.NotActive.selector, id(BANK));
        govern(abi.encodeCall(directory.suspend, (id(BANK), "again")));
    }

    function test_suspend_failsInTheBlockOfTheLifting() public {
        suspend(BANK);
        govern(abi.encodeCall(directory.lift, (id(BANK))));
        fails(MemberDirectory.LiftedInThisBlock.selector, id(BANK));
        govern(abi.encodeCall(directory.suspend, (id(BANK), "test")));
        vm.roll(block.number + 1);
        govern(abi.encodeCall(directory.suspend, (id(BANK), "test")));
        holds(!directory.isActive(id(BANK)), "suspended again");
    }

    function test_lift_failsIfNotSuspendedOrRemoved() public {
        fails(MemberDirectory.NotSuspended.selector, id(BANK));
        govern(abi.encodeCall(directory.lift, (id(BANK))));
        suspend(BANK);
        govern(abi.encodeCall(directory.remove, (id(BANK), "test")));
        fails(MemberDirectory.NotSuspended.selector, id(BANK));
        govern(abi.encodeCall(directory.lift, (id(BANK))));
    }

    function test_remove_isForGood() public {
        govern(abi.encodeCall(directory.remove, (id(BANK), "test")));
        holds(!directory.isActive(id(BANK)) && directory.isKnown(id(BANK)), "removed, still known");
        same(at(directory.memberWord(id(BANK)), 144), block.number, "removed at");
        fails(MemberDirectory.UnknownMember.selector, id(BANK));
        govern(abi.encodeCall(directory.remove, (id(BANK), "again")));
        fails(MemberDirectory.NotActive.selector, id(BANK));
        govern(abi.encodeCall(directory.suspend, (id(BANK), "test")));
    }

    function test_remove_failsIfUnknown() public {
        fails(MemberDirectory.UnknownMember.selector, id(STRANGER));
        govern(abi.encodeCall(directory.remove, (id(STRANGER), "test")));
    }

    function test_remove_failsIfGovernorUntilReplacedByTheOthers() public {
        fails(MemberDirectory.GovernorMustBeReplaced.selector, id(SETTLER));
        govern(abi.encodeCall(directory.remove, (id(SETTLER), "test")));
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
        govern(abi.encodeCall(directory.remove, (id(SETTLER), "test")));
        holds(!directory.isActive(id(SETTLER)), "removed against its will");
    }

    function test_replaceGovernor_passesTheVote() public {
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
        bytes[] memory signatures = approvals(admission(), 77, FOREVER, OPERATOR, SETTLER);
        fails(MemberDirectory.NotGovernor.selector, keyAddress(SETTLER, ADMIN));
        directory.execute(admission(), 77, FOREVER, signatures);
        directory.execute(admission(), 77, FOREVER, approvals(admission(), 77, FOREVER, OPERATOR, BANK));
    }

    function test_replaceGovernor_failsIfOutgoingIsNoneOrIncomingIsOneOrNotActive() public {
        fails(MemberDirectory.UnknownMember.selector, id(BANK));
        govern(abi.encodeCall(directory.replaceGovernor, (id(BANK), id(LENDER))));
        fails(MemberDirectory.NotActive.selector, id(OPERATOR));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(OPERATOR))));
        suspend(BANK);
        fails(MemberDirectory.NotActive.selector, id(BANK));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
    }

    // --- Governance continues ----------------------------------------------------------------------------------------------------

    function ending(uint256 who) private view returns (bytes memory) {
        return abi.encodeCall(directory.endKey, (word(keyAddress(who, ADMIN)), "spite"));
    }

    /// @dev Two approvals must not be the last that there can be.
    function test_endKey_failsIfItWouldLeaveFewerThanTwoThatApprove() public {
        govern(ending(SETTLER));
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(ending(SUPERVISOR));
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(ending(OPERATOR));
        uint256 second = uint256(keccak256("the supervisor's next administration key"));
        govern(keyAddition(id(SUPERVISOR), MemberDirectory.KeyEntry(word(vm.addr(second)), ADMIN, 1)));
        govern(ending(SUPERVISOR));
        same(directory.memberOf(vm.addr(second), ADMIN), id(SUPERVISOR), "the next key governs");
    }

    function test_suspend_failsIfItWouldLeaveFewerThanTwoThatApprove() public {
        suspend(SETTLER);
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(abi.encodeCall(directory.suspend, (id(SUPERVISOR), "spite")));
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(ending(SUPERVISOR));
        suspend(BANK);
        lift(SETTLER);
        suspend(SUPERVISOR);
        holds(!directory.isActive(id(SUPERVISOR)), "suspended while two others approve");
    }

    /// @dev A key of another algorithm signs no approval, so it counts for nothing here.
    function test_endKey_countsKeysThatCanApproveAlone() public {
        govern(ending(SETTLER));
        govern(keyAddition(id(SUPERVISOR), MemberDirectory.KeyEntry(keccak256("P-256"), ADMIN, 3)));
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(ending(SUPERVISOR));
        govern(abi.encodeCall(directory.endKey, (keccak256("P-256"), "unused")));
    }

    function test_replaceGovernor_failsIfIncomingHasNoAdministrationKey() public {
        fails(MemberDirectory.NoAdminKey.selector, id(BANK));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(BANK, ADMIN)), "lost")));
        fails(MemberDirectory.NoAdminKey.selector, id(BANK));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
    }

    /// @dev Whom the governors put out does not count among them any more.
    function test_replaceGovernor_countsTheIncomingInPlaceOfTheOutgoing() public {
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        govern(abi.encodeCall(directory.replaceGovernor, (id(SETTLER), id(BANK))));
        suspend(BANK);
        fails(MemberDirectory.TooFewApprovers.selector, 1);
        govern(ending(SUPERVISOR));
        suspend(SETTLER);
    }

    // --- Withdrawn approvals ---------------------------------------------------------------------------------------------------

    function withdraw(bytes memory data, uint256 nonce, uint64 deadline, uint256 privateKey) private {
        bytes32 callHash = keccak256(data);
        bytes32 structHash = Statements.hash(ApprovalWithdrawal(1, callHash, nonce, deadline));
        directory.withdrawApproval(callHash, nonce, deadline, sign(address(directory), structHash, privateKey));
    }

    function test_withdrawApproval_stopsTheExecutionUntilAnotherGovernorApproves() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        emits(address(directory));
        emit MemberDirectory.ApprovalWithdrawn(id(SUPERVISOR), nonce, keccak256(admission()));
        withdraw(admission(), nonce, FOREVER, key(SUPERVISOR, ADMIN));
        uint256 height = block.number;
        fails(MemberDirectory.WithdrawnApproval.selector, id(SUPERVISOR));
        directory.execute(admission(), nonce, FOREVER, signatures);
        next();
        withdraw(admission(), nonce, FOREVER, key(SUPERVISOR, ADMIN));
        same(directory.withdrawnAt(keccak256(admission()), nonce, FOREVER, id(SUPERVISOR)), height, "withdrawn once");
        same(directory.withdrawnAt(keccak256(admission()), nonce, FOREVER, id(OPERATOR)), 0, "the operator's remains");
        directory.execute(admission(), nonce, FOREVER, approvals(admission(), nonce, FOREVER, OPERATOR, SETTLER));
        holds(directory.isActive(NEWCOMER), "admitted by the other two");
    }

    /// @dev Neither with another key of the governor's, that was not the one that approved, does a withdrawn approval count again.
    function test_withdrawApproval_isTheOrganisationsAndForThatCallNonceAndDeadlineAlone() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        withdraw(admission(), nonce + 1, FOREVER, key(SUPERVISOR, ADMIN));
        withdraw(admission(), nonce, FOREVER - 1, key(SUPERVISOR, ADMIN));
        withdraw("another call", nonce, FOREVER, key(SUPERVISOR, ADMIN));
        directory.execute(admission(), nonce, FOREVER, signatures);
        holds(directory.isActive(NEWCOMER), "admitted");
    }

    function test_withdrawApproval_failsIfExecutedOrNotSignedByAGovernorsAdministrator() public {
        (uint256 nonce, bytes[] memory signatures) = approved(admission());
        fails(MemberDirectory.NotGovernor.selector, keyAddress(SUPERVISOR, TRANSACTION));
        withdraw(admission(), nonce, FOREVER, key(SUPERVISOR, TRANSACTION));
        govern(keyAddition(id(BANK), entry(BANK, ADMIN)));
        fails(MemberDirectory.NotGovernor.selector, keyAddress(BANK, ADMIN));
        withdraw(admission(), nonce, FOREVER, key(BANK, ADMIN));
        bytes32 callHash = keccak256(admission());
        failsSomehow(MemberDirectory.NotGovernor.selector);
        directory.withdrawApproval(callHash, nonce, FOREVER, signatures[0]);
        directory.execute(admission(), nonce, FOREVER, signatures);
        fails(MemberDirectory.NonceUsed.selector, nonce);
        withdraw(admission(), nonce, FOREVER, key(SUPERVISOR, ADMIN));
    }

    function test_actOn_failsIfNothingIsThere() public {
        fails(MemberDirectory.NoContract.selector, address(0xBEEF));
        govern(abi.encodeCall(directory.actOn, (address(0xBEEF), "")));
    }

    // --- Keys ------------------------------------------------------------------------------------------------------------------

    function test_addKey_countsFromItsHeightForItsPurposeAlone() public {
        vm.roll(5000);
        emits(address(directory));
        emit MemberDirectory.Executed(newNonce() + 1, keccak256(keyAddition(id(BANK), entry(STRANGER, STATEMENT))));
        emits(address(directory));
        emit MemberDirectory.KeyAdded(id(BANK), word(keyAddress(STRANGER, STATEMENT)), STATEMENT, 1);
        govern(keyAddition(id(BANK), entry(STRANGER, STATEMENT)));
        address added = keyAddress(STRANGER, STATEMENT);
        same(directory.memberOf(added, STATEMENT), id(BANK), "statement key");
        same(directory.memberOf(added, APPROVAL), 0, "no approval key");
        same(directory.memberOf(added, TRANSACTION), 0, "no transaction key");
        uint256 packed = directory.keyWord(word(added));
        same(packed, uint256(bytes32(id(BANK))) | (uint256(1) << 104) | (uint256(STATEMENT) << 96) | 5000, "word");
    }

    function test_addKey_ofAnotherAlgorithmIsNoSender() public {
        bytes32 fingerprint = word(keyAddress(STRANGER, TRANSACTION));
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(fingerprint, TRANSACTION, 2)));
        same(
            directory.memberOf(keyAddress(STRANGER, TRANSACTION), TRANSACTION),
            0,
            "Ed25519 key that looks like an address"
        );
    }

    function test_addKey_failsIfTheMemberIsUnknown() public {
        fails(MemberDirectory.UnknownMember.selector, id(STRANGER));
        govern(keyAddition(id(STRANGER), entry(STRANGER, ADMIN)));
    }

    function test_addKey_failsIfAnyPartIsOutOfRange() public {
        bytes32 good = word(keyAddress(STRANGER, ADMIN));
        bytes32 wide = bytes32(uint256(1) << 160);
        refuses(MemberDirectory.KeyEntry(0, ADMIN, 1));
        refuses(MemberDirectory.KeyEntry(good, 0, 1));
        refuses(MemberDirectory.KeyEntry(good, 8, 1));
        refuses(MemberDirectory.KeyEntry(good, ADMIN, 0));
        refuses(MemberDirectory.KeyEntry(good, ADMIN, 5));
        refuses(MemberDirectory.KeyEntry(wide, ADMIN, 1));
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(wide, 6, 2)));
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(keccak256("tls"), 7, 3)));
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(keccak256("sm2"), 1, 4)));
    }

    function refuses(MemberDirectory.KeyEntry memory added) private {
        fails(MemberDirectory.WrongKey.selector, added.fingerprint);
        govern(keyAddition(id(BANK), added));
    }

    function test_addKey_failsIfAnotherMemberHasIt() public {
        fails(MemberDirectory.KeyKnown.selector, word(keyAddress(DEPARTMENT, STATEMENT)));
        govern(keyAddition(id(BANK), entry(DEPARTMENT, STATEMENT)));
    }

    function test_addKey_failsIfItEndedBefore() public {
        bytes32 fingerprint = word(keyAddress(BANK, STATEMENT));
        govern(abi.encodeCall(directory.endKey, (fingerprint, "lost")));
        fails(MemberDirectory.KeyKnown.selector, fingerprint);
        govern(keyAddition(id(BANK), entry(BANK, STATEMENT)));
    }

    function test_endKey_endsItAtTheHeightOnce() public {
        bytes32 fingerprint = word(keyAddress(BANK, STATEMENT));
        uint256 before = directory.keyWord(fingerprint);
        vm.roll(7000);
        govern(abi.encodeCall(directory.endKey, (fingerprint, "lost")));
        same(directory.memberOf(keyAddress(BANK, STATEMENT), STATEMENT), 0, "ended");
        same(directory.keyWord(fingerprint), before | (uint256(7000) << 48), "word");
        fails(MemberDirectory.KeyNotLive.selector, fingerprint);
        govern(abi.encodeCall(directory.endKey, (fingerprint, "lost")));
        fails(MemberDirectory.KeyNotLive.selector, keccak256("never"));
        govern(abi.encodeCall(directory.endKey, (keccak256("never"), "lost")));
    }

    function test_endOwnKey_succeedsWithTheMembersOwnEvenWhenSuspended() public {
        suspend(BANK);
        bytes32 fingerprint = word(keyAddress(BANK, STATEMENT));
        emits(address(directory));
        emit MemberDirectory.KeyEnded(id(BANK), fingerprint, "lost");
        from(BANK);
        directory.endOwnKey(fingerprint, "lost");
        same(directory.memberOf(keyAddress(BANK, STATEMENT), STATEMENT), 0, "ended");
    }

    function test_endOwnKey_failsIfTheKeyIsAnothersOrTheSenderNobody() public {
        fails(MemberDirectory.NotMemberKey.selector, keyAddress(BANK, TRANSACTION));
        from(BANK);
        directory.endOwnKey(word(keyAddress(DEPARTMENT, STATEMENT)), "spite");
        fails(MemberDirectory.NotMemberKey.selector, keyAddress(BANK, TRANSACTION));
        from(BANK);
        directory.endOwnKey(keccak256("never"), "lost");
        fails(MemberDirectory.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        directory.endOwnKey(keccak256("never"), "lost");
    }

    function test_endOwnKey_failsIfTheSendersKeyEnded() public {
        from(BANK);
        directory.endOwnKey(word(keyAddress(BANK, TRANSACTION)), "lost");
        fails(MemberDirectory.NotMemberKey.selector, keyAddress(BANK, TRANSACTION));
        from(BANK);
        directory.endOwnKey(word(keyAddress(BANK, STATEMENT)), "lost");
    }

    /// @dev Two of three nodes broken into must not end the keys that govern.
    function test_endOwnKey_failsForAnAdministratorsOrApproversKey() public {
        for (uint256 who = OPERATOR; who <= SETTLER; ++who) {
            bytes32 fingerprint = word(keyAddress(who, ADMIN));
            fails(MemberDirectory.EndedByGovernorsAlone.selector, fingerprint);
            from(who);
            directory.endOwnKey(fingerprint, "spite");
            same(directory.memberOf(keyAddress(who, ADMIN), ADMIN), id(who), "still governs");
        }
        bytes32 approver = word(keyAddress(DEPARTMENT, APPROVAL));
        fails(MemberDirectory.EndedByGovernorsAlone.selector, approver);
        from(DEPARTMENT);
        directory.endOwnKey(approver, "spite");
        govern(abi.encodeCall(directory.endKey, (approver, "lost")));
        same(directory.memberOf(keyAddress(DEPARTMENT, APPROVAL), APPROVAL), 0, "ended by two governors");
    }

    /// @dev Whatever the algorithm: it is the purpose that keeps a key off the node.
    function test_endOwnKey_endsExactlyTheKeysOfTheNode(bytes32 fingerprint, uint8 purpose, uint8 algorithm) public {
        purpose = uint8(fold(purpose, 1, 7));
        algorithm = uint8(fold(algorithm, 2, 4));
        vm.assume(fingerprint != 0 && directory.keyWord(fingerprint) == 0);
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(fingerprint, purpose, algorithm)));
        bool personal = purpose == ADMIN || purpose == APPROVAL;
        if (personal) fails(MemberDirectory.EndedByGovernorsAlone.selector, fingerprint);
        from(BANK);
        directory.endOwnKey(fingerprint, "lost");
        same(at(directory.keyWord(fingerprint), 48), personal ? 0 : block.number, "ended at");
    }

    // --- Contracts -------------------------------------------------------------------------------------------------------------

    function test_announceContract_namesTheLatestVersion() public {
        govern(abi.encodeCall(directory.announceContract, ("TradeSettlement", address(settlement), 1)));
        govern(abi.encodeCall(directory.announceContract, ("TradeSettlement", address(0xBEEF), 2)));
        holds(directory.contractAt("TradeSettlement") == address(0xBEEF), "latest");
        holds(directory.contractAt("GrantRegistry") == address(0), "never announced");
    }

    function test_closeContract_isForThatContractAlone() public {
        closeToNewBusiness(address(settlement));
        holds(directory.isClosed(address(settlement)) && !directory.isClosed(address(grants)), "closed");
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev The weights are the standard's table, not computed as the contract does.
    function test_admit_takesExactlyTheStandardsCheckCharacter(uint256 seed, uint8 offered) public {
        bytes memory alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
        uint8[17] memory weights = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
        bytes memory code = new bytes(18);
        uint256 sum = 0;
        for (uint256 i = 0; i < 17; ++i) {
            uint256 value = (seed >> (8 * i)) % 31;
            code[i] = alphabet[value];
            sum += value * weights[i];
        }
        uint256 right = sum % 31 == 0 ? 0 : 31 - sum % 31;
        uint256 chosen = offered % 4 == 0 ? right : offered % 31;
        code[17] = alphabet[chosen];
        bytes memory data = abi.encodeCall(directory.admit, (bytes18(code), "", 4, new MemberDirectory.KeyEntry[](0)));
        if (chosen != right) fails(MemberDirectory.WrongCheckCharacter.selector, bytes18(code));
        govern(data);
        holds(directory.isKnown(bytes18(code)) == (chosen == right), "known exactly when right");
    }

    function test_admit_failsIfACharacterIsOutsideTheAlphabet(uint8 letter, uint8 position) public {
        bytes memory alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
        for (uint256 i = 0; i < 31; ++i) {
            vm.assume(bytes1(letter) != alphabet[i]);
        }
        bytes memory code = bytes.concat(NEWCOMER);
        code[position % 18] = bytes1(letter);
        fails(MemberDirectory.WrongCheckCharacter.selector, bytes18(code));
        govern(abi.encodeCall(directory.admit, (bytes18(code), "", 4, new MemberDirectory.KeyEntry[](0))));
    }

    /// @dev Random suspensions and liftings against a model of plain variables.
    function test_memberWord_keepsEveryHeight(uint16 roles, uint32[8] memory waits) public {
        roles = uint16(fold(roles, 1, 127));
        uint256 admittedAt = block.number;
        govern(abi.encodeCall(directory.admit, (NEWCOMER, "", roles, new MemberDirectory.KeyEntry[](0))));
        uint256[2] memory heights;
        uint256 before = 0;
        for (uint256 i = 0; i < waits.length; ++i) {
            vm.roll(block.number + 1 + waits[i]);
            heights[i % 2] = block.number;
            govern(
                i % 2 == 0
                    ? abi.encodeCall(directory.suspend, (NEWCOMER, "test"))
                    : abi.encodeCall(directory.lift, (NEWCOMER))
            );
            uint256 packed = directory.memberWord(NEWCOMER);
            same(at(packed, 0), admittedAt, "admitted at");
            same(at(packed, 48), heights[0], "suspended at");
            same(at(packed, 96), heights[1], "lifted at");
            same(at(packed, 208), i < 2 ? 0 : i % 2 == 0 ? heights[1] : at(before, 208), "valid from");
            if (i >= 2 && i % 2 == 0) same(directory.earlierMemberWord(NEWCOMER, heights[1]), before, "word before");
            same(uint16(packed >> 192), roles, "roles");
            before = packed;
            holds(directory.isActive(NEWCOMER) == (i % 2 == 1), "active");
        }
        govern(abi.encodeCall(directory.remove, (NEWCOMER, "test")));
        same(at(directory.memberWord(NEWCOMER), 144), block.number, "removed at");
    }

    function test_keyWord_keepsEveryPart(bytes32 fingerprint, uint8 purpose, uint8 algorithm, uint32 wait) public {
        purpose = uint8(fold(purpose, 1, 7));
        algorithm = uint8(fold(algorithm, 1, 4));
        if (algorithm == 1) fingerprint = bytes32(uint256(uint160(uint256(fingerprint))));
        vm.assume(fingerprint != 0 && directory.keyWord(fingerprint) == 0);
        uint256 start = block.number;
        govern(keyAddition(id(BANK), MemberDirectory.KeyEntry(fingerprint, purpose, algorithm)));
        vm.roll(start + wait);
        address looked = address(uint160(uint256(fingerprint)));
        same(directory.memberOf(looked, purpose), algorithm == 1 ? bytes32(id(BANK)) : bytes32(0), "secp256k1 alone");
        govern(abi.encodeCall(directory.endKey, (fingerprint, "over")));
        uint256 packed = directory.keyWord(fingerprint);
        same(at(packed, 0), start, "from");
        same(at(packed, 48), start + wait, "end");
        same(uint8(packed >> 96), purpose, "purpose");
        same(uint8(packed >> 104), algorithm, "algorithm");
        same(bytes18(bytes32(packed)), id(BANK), "member");
        same(directory.memberOf(looked, purpose), 0, "ended");
    }
}
