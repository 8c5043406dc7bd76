// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {CreditLedger} from "../src/CreditLedger.sol";
import {Membership} from "../src/Membership.sol";
import {ConsentRegistration, ConsentWithdrawal, CreditDispute, CreditRepair, Statements} from "../src/Statements.sol";
import {World} from "./World.sol";

contract CreditLedgerTest is World {
    bytes32 private constant COMMITMENT = keccak256("consent");
    uint256 private constant OTHER_SUBJECT_KEY = 0x07e45;

    function registration() private pure returns (ConsentRegistration memory) {
        return ConsentRegistration(1, COMMITMENT, vm.addr(SUBJECT_KEY), FOREVER);
    }

    function consentId() private pure returns (bytes32) {
        return keccak256(abi.encode(COMMITMENT, vm.addr(SUBJECT_KEY)));
    }

    function withdrawal() private pure returns (ConsentWithdrawal memory) {
        return ConsentWithdrawal(1, consentId(), FOREVER);
    }

    function dispute() private pure returns (CreditDispute memory d) {
        d.version = 1;
        d.department = id(DEPARTMENT);
        d.assetId = assetId();
        d.record = keccak256("record");
        d.claim = keccak256("claim");
        d.authority = vm.addr(SUBJECT_KEY);
        d.raisedAt = START;
    }

    function repair(bool upheld) private pure returns (CreditRepair memory r) {
        r.version = 1;
        r.disputeId = Statements.hash(dispute());
        r.department = id(DEPARTMENT);
        r.upheld = upheld;
        r.oldRecord = keccak256("record");
        r.newRecord = upheld ? keccak256("repaired") : keccak256("record");
        r.assetVersion = 2;
        r.repairedAt = START + 1;
    }

    function recordConsent(ConsentRegistration memory r, uint256 privateKey) private {
        bytes memory signature = sign(address(credit), Statements.hash(r), privateKey);
        from(BANK);
        credit.recordConsent(r, signature);
    }

    function withdrawConsent(ConsentWithdrawal memory w, uint256 privateKey) private {
        bytes memory signature = sign(address(credit), Statements.hash(w), privateKey);
        from(DEPARTMENT);
        credit.withdrawConsent(w, signature);
    }

    function raise(CreditDispute memory d, uint256 privateKey) private {
        bytes memory signature = sign(address(credit), Statements.hash(d), privateKey);
        from(BANK);
        credit.raiseDispute(d, signature);
    }

    function answer(CreditRepair memory r, uint256 privateKey) private {
        credit.answerDispute(r, sign(address(credit), Statements.hash(r), privateKey));
    }

    // --- Consents --------------------------------------------------------------------------------------------------------------

    function test_recordConsent_keepsAuthorityAndHeightOnce() public {
        emits(address(credit));
        emit CreditLedger.ConsentRecorded(consentId());
        recordConsent(registration(), SUBJECT_KEY);
        uint256 packed = credit.consentWord(consentId());
        same(packed, (uint256(uint160(vm.addr(SUBJECT_KEY))) << 96) | block.number, "word");
        next();
        recordConsent(registration(), SUBJECT_KEY);
        same(credit.consentWord(consentId()), packed, "repeating changes nothing");
    }

    function test_recordConsent_failsIfTheRelayerAltersIt() public {
        ConsentRegistration memory r = registration();
        bytes memory signature = sign(address(credit), Statements.hash(r), SUBJECT_KEY);
        r.commitment = keccak256("a consent to another bank");
        failsSomehow(CreditLedger.WrongAuthority.selector);
        from(BANK);
        credit.recordConsent(r, signature);
        r = registration();
        r.deadline = FOREVER + 1;
        failsSomehow(CreditLedger.WrongAuthority.selector);
        from(BANK);
        credit.recordConsent(r, signature);
        r = registration();
        r.authority = keyAddress(BANK, STATEMENT);
        failsSomehow(CreditLedger.WrongAuthority.selector);
        from(BANK);
        credit.recordConsent(r, signature);
    }

    function test_recordConsent_failsIfTheRelayerSignsForTheSubject() public {
        fails(CreditLedger.WrongAuthority.selector, keyAddress(BANK, STATEMENT), vm.addr(SUBJECT_KEY));
        recordConsent(registration(), key(BANK, STATEMENT));
    }

    /// @dev A member that sees a registration on its way takes the same commitment first, under a key of its own.
    function test_recordConsent_succeedsForTheSubjectWhoseCommitmentWasTakenFirst() public {
        ConsentRegistration memory r = registration();
        r.authority = vm.addr(OTHER_SUBJECT_KEY);
        recordConsent(r, OTHER_SUBJECT_KEY);
        same(credit.consentWord(consentId()), 0, "the subject's place is free");
        recordConsent(registration(), SUBJECT_KEY);
        same(
            credit.consentWord(consentId()),
            (uint256(uint160(vm.addr(SUBJECT_KEY))) << 96) | block.number,
            "the subject's consent"
        );
        ConsentWithdrawal memory w = withdrawal();
        fails(CreditLedger.WrongAuthority.selector, vm.addr(OTHER_SUBJECT_KEY), vm.addr(SUBJECT_KEY));
        withdrawConsent(w, OTHER_SUBJECT_KEY);
    }

    function test_recordConsent_failsIfTheSignatureIsMirrored() public {
        bytes memory signature = sign(address(credit), Statements.hash(registration()), SUBJECT_KEY);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(BANK);
        credit.recordConsent(registration(), mirrored(signature));
    }

    function test_recordConsent_failsIfLateOrOfAnUnknownVersion() public {
        ConsentRegistration memory r = registration();
        r.deadline = uint64(block.timestamp) - 1;
        fails(Membership.DeadlinePassed.selector, r.deadline);
        recordConsent(r, SUBJECT_KEY);
        r = registration();
        r.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        recordConsent(r, SUBJECT_KEY);
    }

    function test_recordConsent_failsIfTheRelayerIsNobodyOrSuspendedOrTheContractClosed() public {
        bytes memory signature = sign(address(credit), Statements.hash(registration()), SUBJECT_KEY);
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        credit.recordConsent(registration(), signature);
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        recordConsent(registration(), SUBJECT_KEY);
        closeToNewBusiness(address(credit));
        fails(Membership.ContractIsClosed.selector);
        recordConsent(registration(), SUBJECT_KEY);
    }

    function test_withdrawConsent_isForGoodThroughAnyMember() public {
        recordConsent(registration(), SUBJECT_KEY);
        uint256 recordedAt = block.number;
        next();
        suspend(DEPARTMENT);
        closeToNewBusiness(address(credit));
        emits(address(credit));
        emit CreditLedger.ConsentWithdrawn(consentId());
        withdrawConsent(withdrawal(), SUBJECT_KEY);
        uint256 packed = credit.consentWord(consentId());
        same(at(packed, 0), recordedAt, "recorded at");
        same(at(packed, 48), block.number, "withdrawn at");
        same(packed >> 96, uint160(vm.addr(SUBJECT_KEY)), "authority");
        next();
        withdrawConsent(withdrawal(), SUBJECT_KEY);
        same(credit.consentWord(consentId()), packed, "repeating changes nothing");
    }

    function test_withdrawConsent_isNotUndoneByReplayingTheRegistration() public {
        recordConsent(registration(), SUBJECT_KEY);
        next();
        withdrawConsent(withdrawal(), SUBJECT_KEY);
        uint256 packed = credit.consentWord(consentId());
        next();
        recordConsent(registration(), SUBJECT_KEY);
        same(credit.consentWord(consentId()), packed, "withdrawn");
    }

    function test_withdrawConsent_failsIfNotSignedByItsAuthority() public {
        recordConsent(registration(), SUBJECT_KEY);
        fails(CreditLedger.WrongAuthority.selector, keyAddress(BANK, STATEMENT), vm.addr(SUBJECT_KEY));
        withdrawConsent(withdrawal(), key(BANK, STATEMENT));
        bytes memory signature = sign(address(credit), Statements.hash(withdrawal()), SUBJECT_KEY);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(BANK);
        credit.withdrawConsent(withdrawal(), mirrored(signature));
    }

    function test_withdrawConsent_failsIfUnknownLateOfAnUnknownVersionOrFromNobody() public {
        fails(CreditLedger.UnknownConsent.selector, consentId());
        withdrawConsent(withdrawal(), SUBJECT_KEY);
        recordConsent(registration(), SUBJECT_KEY);
        ConsentWithdrawal memory w = withdrawal();
        w.deadline = uint64(block.timestamp) - 1;
        fails(Membership.DeadlinePassed.selector, w.deadline);
        withdrawConsent(w, SUBJECT_KEY);
        w = withdrawal();
        w.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        withdrawConsent(w, SUBJECT_KEY);
        bytes memory signature = sign(address(credit), Statements.hash(withdrawal()), SUBJECT_KEY);
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        credit.withdrawConsent(withdrawal(), signature);
    }

    // --- Queries ---------------------------------------------------------------------------------------------------------------

    function test_anchorQueries_keepsTheFirstHeight() public {
        bytes32[] memory queries = new bytes32[](2);
        (queries[0], queries[1]) = (keccak256("one"), keccak256("two"));
        emits(address(credit));
        emit CreditLedger.QueriesAnchored(id(BANK), queries);
        from(BANK);
        credit.anchorQueries(queries);
        uint256 height = block.number;
        next();
        (queries[0], queries[1]) = (keccak256("two"), keccak256("three"));
        from(DEPARTMENT);
        credit.anchorQueries(queries);
        same(credit.queryAnchoredAt(keccak256("one")), height, "one");
        same(credit.queryAnchoredAt(keccak256("two")), height, "two keeps its height");
        same(credit.queryAnchoredAt(keccak256("three")), block.number, "three");
    }

    function test_anchorQueries_failsIfTheSenderIsNobodyOrSuspended() public {
        bytes32[] memory queries = new bytes32[](1);
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        credit.anchorQueries(queries);
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        from(BANK);
        credit.anchorQueries(queries);
    }

    // --- Disputes --------------------------------------------------------------------------------------------------------------

    function test_raiseDispute_keepsDepartmentAndHeightOnce() public {
        bytes32 disputeId = Statements.hash(dispute());
        emits(address(credit));
        emit CreditLedger.DisputeRaised(disputeId, id(DEPARTMENT), dispute());
        raise(dispute(), SUBJECT_KEY);
        uint256 packed = credit.disputeWord(disputeId);
        same(packed, uint256(bytes32(id(DEPARTMENT))) | block.number, "word");
        next();
        raise(dispute(), SUBJECT_KEY);
        same(credit.disputeWord(disputeId), packed, "repeating changes nothing");
    }

    function test_raiseDispute_failsIfNotSignedByItsSubject() public {
        fails(CreditLedger.WrongAuthority.selector, keyAddress(BANK, STATEMENT), vm.addr(SUBJECT_KEY));
        raise(dispute(), key(BANK, STATEMENT));
        bytes memory signature = sign(address(credit), Statements.hash(dispute()), SUBJECT_KEY);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(BANK);
        credit.raiseDispute(dispute(), mirrored(signature));
    }

    function test_raiseDispute_failsIfTheDepartmentIsNoneOrNotActive() public {
        CreditDispute memory d = dispute();
        d.department = id(LENDER);
        fails(Membership.WrongRole.selector, id(LENDER), 2);
        raise(d, SUBJECT_KEY);
        suspend(DEPARTMENT);
        fails(Membership.NotActive.selector, id(DEPARTMENT));
        raise(dispute(), SUBJECT_KEY);
    }

    function test_raiseDispute_failsIfOfAnUnknownVersionFromASuspendedMemberOrClosed() public {
        CreditDispute memory d = dispute();
        d.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        raise(d, SUBJECT_KEY);
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        raise(dispute(), SUBJECT_KEY);
        closeToNewBusiness(address(credit));
        fails(Membership.ContractIsClosed.selector);
        raise(dispute(), SUBJECT_KEY);
    }

    function test_answerDispute_keepsTheAnswerOnce() public {
        raise(dispute(), SUBJECT_KEY);
        uint256 before = credit.disputeWord(Statements.hash(dispute()));
        next();
        CreditRepair memory r = repair(true);
        emits(address(credit));
        emit CreditLedger.DisputeAnswered(r.disputeId, true, r);
        answer(r, key(DEPARTMENT, STATEMENT));
        uint256 packed = credit.disputeWord(r.disputeId);
        same(packed, before | (uint256(1) << 96) | (block.number << 48), "word");
        same(credit.repairOf(r.disputeId), Statements.hash(r), "repair");
        next();
        answer(r, key(DEPARTMENT, STATEMENT));
        same(credit.disputeWord(r.disputeId), packed, "repeating changes nothing");
        fails(CreditLedger.AlreadyAnswered.selector, r.disputeId);
        answer(repair(false), key(DEPARTMENT, STATEMENT));
    }

    function test_answerDispute_thatTheRecordStandsSetsNoFlag() public {
        raise(dispute(), SUBJECT_KEY);
        uint256 before = credit.disputeWord(Statements.hash(dispute()));
        answer(repair(false), key(DEPARTMENT, STATEMENT));
        same(credit.disputeWord(Statements.hash(dispute())), before | (block.number << 48), "word");
    }

    function test_answerDispute_succeedsForASuspendedDepartmentAndInAClosedContract() public {
        raise(dispute(), SUBJECT_KEY);
        suspend(DEPARTMENT);
        closeToNewBusiness(address(credit));
        answer(repair(true), key(DEPARTMENT, STATEMENT));
        same(at(credit.disputeWord(Statements.hash(dispute())), 48), block.number, "answered");
    }

    function test_answerDispute_failsIfAnotherDepartmentAnswersOrSigns() public {
        raise(dispute(), SUBJECT_KEY);
        CreditRepair memory r = repair(true);
        r.department = id(TAX_OFFICE);
        fails(CreditLedger.OtherDepartment.selector, id(DEPARTMENT), id(TAX_OFFICE));
        answer(r, key(TAX_OFFICE, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(TAX_OFFICE, STATEMENT), id(DEPARTMENT));
        answer(repair(true), key(TAX_OFFICE, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, TRANSACTION), id(DEPARTMENT));
        answer(repair(true), key(DEPARTMENT, TRANSACTION));
    }

    function test_answerDispute_failsIfUnknownMirroredOrOfAnUnknownVersion() public {
        fails(CreditLedger.UnknownDispute.selector, Statements.hash(dispute()));
        answer(repair(true), key(DEPARTMENT, STATEMENT));
        raise(dispute(), SUBJECT_KEY);
        CreditRepair memory r = repair(true);
        bytes memory signature = sign(address(credit), Statements.hash(r), key(DEPARTMENT, STATEMENT));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        credit.answerDispute(r, mirrored(signature));
        r.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        answer(r, key(DEPARTMENT, STATEMENT));
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    function test_consentWord_keepsEveryPart(bytes32 commitment, uint256 subject, uint32 first, uint32 second) public {
        subject = fold(subject, 1, type(uint128).max);
        vm.roll(uint256(first) + 1);
        recordConsent(ConsentRegistration(1, commitment, vm.addr(subject), FOREVER), subject);
        vm.roll(block.number + second);
        bytes32 consent = credit.consentIdOf(commitment, vm.addr(subject));
        withdrawConsent(ConsentWithdrawal(1, consent, FOREVER), subject);
        uint256 packed = credit.consentWord(consent);
        same(at(packed, 0), uint256(first) + 1, "recorded at");
        same(at(packed, 48), uint256(first) + 1 + second, "withdrawn at");
        same(packed >> 96, uint160(vm.addr(subject)), "authority");
    }

    function test_disputeWord_keepsEveryPart(bytes32 claim, bool upheld, uint32 first, uint32 second) public {
        CreditDispute memory d = dispute();
        d.claim = claim;
        vm.roll(uint256(first) + 1);
        raise(d, SUBJECT_KEY);
        vm.roll(block.number + second);
        CreditRepair memory r = repair(upheld);
        r.disputeId = Statements.hash(d);
        answer(r, key(DEPARTMENT, STATEMENT));
        uint256 packed = credit.disputeWord(r.disputeId);
        same(at(packed, 0), uint256(first) + 1, "opened at");
        same(at(packed, 48), uint256(first) + 1 + second, "answered at");
        same(uint8(packed >> 96), upheld ? 1 : 0, "upheld");
        same(bytes18(bytes32(packed)), id(DEPARTMENT), "department");
    }
}
