// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Membership} from "../src/Membership.sol";
import "../src/Statements.sol";
import {TradeDisputes} from "../src/TradeDisputes.sol";
import {TradeSettlement} from "../src/TradeSettlement.sol";
import {World} from "./World.sol";

/// @title Every step of a dispute, every silence, and what each costs
/// @notice 7 fen a call, a bond of 300 fen and a stake of 50; the bank has 1,000 fen, and 950 free of the cap at the beginning.
contract TradeDisputesTest is World {
    bytes32 private constant KEY = keccak256("x25519");
    bytes32 private constant SEALED = keccak256("sealed answer");

    /// @dev The agreement, encoded: a struct with an array cannot be copied to storage.
    bytes private _agreement;
    UsageRequest private _q;
    UsageReceipt private _r;

    function setUp() public override {
        super.setUp();
        grant();
        deposit(confirmation(BANK, 1950, "money"));
        deposit(confirmation(DEPARTMENT, 300, "bond"));
        _agreement = abi.encode(bondedAgreement());
        open(_a());
        _q = lastRequest(_a(), 0, 3);
        _r = lastReceipt(_a(), _q);
        next();
    }

    function _a() private view returns (Agreement memory) {
        return abi.decode(_agreement, (Agreement));
    }

    // --- Steps -----------------------------------------------------------------------------------------------------------------

    function claimIt() private {
        from(DEPARTMENT);
        (bool done,) = address(disputes).call(receiptClaim(_a(), _q, _r));
        holds(done, "claimed");
        next();
    }

    function contestIt(uint8 reason) private {
        from(BANK);
        disputes.contest(_a(), _r, reason, KEY);
        next();
    }

    function answerIt() private {
        from(DEPARTMENT);
        disputes.answer(_a(), _r, SEALED);
        next();
    }

    function ruleIt(uint128 amount) private {
        Ruling memory v = rulingOf(_r, amount);
        disputes.rule(_a(), _r, v, signRuling(v, key(SUPERVISOR, STATEMENT)));
    }

    /// @dev The claim itself, for a test that expects it to revert.
    function tryClaim() private {
        bytes memory requested = sign(address(settlement), Statements.hash(_q), key(BANK, STATEMENT));
        bytes memory received = signReceipt(_r);
        from(DEPARTMENT);
        disputes.claimReceipt(_a(), _q, requested, _r, received);
    }

    function free(uint256 who) private view returns (uint256) {
        return accountOf(id(who)).free;
    }

    function acknowledged() private view returns (uint256) {
        return agreementStateOf(Statements.hash(_a())).acknowledged;
    }

    function outcome() private view returns (uint256) {
        return uint8(disputes.disputeWords(Statements.hash(_r)).heights >> 200);
    }

    function held() private view returns (uint256) {
        return agreementStateOf(Statements.hash(_a())).bondHeld;
    }

    /// @dev Nothing was made or lost, and nothing is pending: the agreement closes.
    function closes() private {
        Account memory t = totalsNow();
        same(t.deposited, uint256(t.withdrawn) + t.free + t.locked + t.bonded, "no fen made or lost");
        giveNotice(_a(), BANK);
        passWindow(_a());
        settlement.close(_a());
        same(totalsNow().bonded, 0, "nothing stays bonded");
        same(totalsNow().locked, 0, "nothing stays locked");
    }

    // --- Ends ------------------------------------------------------------------------------------------------------------------

    function test_end_paysIfTheBuyerIsSilent() public {
        claimIt();
        fails(TradeDisputes.StepOpen.selector, Statements.hash(_r));
        disputes.end(_a(), _r);
        passWindow(_a());
        disputes.end(_a(), _r);
        same(acknowledged(), 21, "the two calls before and the claimed one");
        same(outcome(), disputes.PAID_UNCONTESTED(), "outcome");
        disputes.end(_a(), _r);
        closes();
    }

    function test_end_leavesUnpaidIfTheProviderIsSilent() public {
        claimIt();
        contestIt(1);
        same(free(BANK), 900, "the stake is bonded");
        passWindow(_a());
        disputes.end(_a(), _r);
        same(acknowledged(), 0, "unpaid");
        same(free(BANK), 950, "the stake is back");
        same(held(), 300, "silence costs no bond");
        same(outcome(), disputes.UNPAID_UNANSWERED(), "outcome");
        closes();
    }

    function test_end_leavesUnpaidIfTheArbiterIsSilent() public {
        claimIt();
        contestIt(2);
        answerIt();
        fails(TradeDisputes.StepOpen.selector, Statements.hash(_r));
        disputes.end(_a(), _r);
        passWindow(_a());
        disputes.end(_a(), _r);
        same(acknowledged(), 0, "unpaid");
        same(free(BANK), 950, "the stake is back");
        same(outcome(), disputes.UNPAID_UNRULED(), "outcome");
        closes();
    }

    function test_end_endsAtOnceIfTheBuyerAcknowledged() public {
        claimIt();
        contestIt(1);
        claim(_a(), voucher(_a(), 0, 3));
        disputes.end(_a(), _r);
        same(acknowledged(), 21, "paid by the voucher alone");
        same(free(BANK), 950, "the stake is back");
        same(outcome(), disputes.ACKNOWLEDGED(), "outcome");
        closes();
    }

    function test_end_leavesUnpaidIfTheCapsHaveNoRoom() public {
        claimIt();
        Voucher memory v = voucher(_a(), 1, 142);
        claim(_a(), v);
        passWindow(_a());
        disputes.end(_a(), _r);
        same(acknowledged(), 994, "only the voucher");
        same(outcome(), disputes.UNPAID_OVER_CAP(), "outcome");
        closes();
    }

    function test_rule_paysAndTheBuyerLosesItsStake() public {
        claimIt();
        contestIt(5);
        answerIt();
        ruleIt(7);
        same(acknowledged(), 21, "paid");
        same(accountOf(id(BANK)).bonded, 0, "no stake");
        same(free(BANK), 900, "the stake is lost");
        same(free(DEPARTMENT), 50 + 14, "the stake, and its share");
        same(outcome(), disputes.RULED(), "outcome");
        closes();
    }

    function test_rule_refundsAndTheProviderPaysTheStakeFromItsBond() public {
        claimIt();
        contestIt(2);
        answerIt();
        ruleIt(0);
        same(acknowledged(), 0, "unpaid");
        same(free(BANK), 1000, "its stake, and as much from the bond");
        same(held(), 250, "the rest of the bond");
        closes();
    }

    function test_rule_splitsAndNobodyLosesAStake() public {
        claimIt();
        contestIt(3);
        answerIt();
        ruleIt(3);
        same(acknowledged(), 17, "a part of the call");
        same(free(BANK), 950, "the stake is back");
        same(held(), 300, "the bond is whole");
        closes();
    }

    function test_rule_doesNothingMoreIfTheBuyerHasAcknowledged() public {
        claimIt();
        contestIt(3);
        answerIt();
        claim(_a(), voucher(_a(), 0, 3));
        ruleIt(0);
        same(acknowledged(), 21, "the buyer's signature counts");
        same(held(), 300, "the bond is whole");
        same(free(BANK), 950, "the stake is back");
        closes();
    }

    /// @dev The table of `docs/disputes.md`: in each step each of five members tries each action, in time and after the window.
    function test_steps_letTheirPartyActInTimeAndAnybodyEndThemAfterwards() public {
        claimIt();
        tryEverything(0);
        contestIt(1);
        tryEverything(1);
        answerIt();
        tryEverything(2);
        ruleIt(0);
        tryEverything(3);
    }

    function tryEverything(uint256 step) private {
        uint256[5] memory members = [DEPARTMENT, BANK, SUPERVISOR, OPERATOR, LENDER];
        for (uint256 i = 0; i < members.length; ++i) {
            for (uint256 action = 0; action < 5; ++action) {
                tryAction(step, members[i], action, false);
                tryAction(step, members[i], action, true);
            }
        }
    }

    function tryAction(uint256 step, uint256 member, uint256 action, bool late) private {
        uint256 before = vm.snapshotState();
        bytes memory data = actionOf(member, action);
        if (late) passWindow(_a());
        from(member);
        bool done = succeeds(address(disputes), data);
        holds(done == mayAct(step, member, action, late), "whose turn it is");
        holds(vm.revertToState(before), "as before");
    }

    /// @dev Contest, answer, the arbiter's ruling, a ruling that the member signs itself, end.
    function actionOf(uint256 member, uint256 action) private view returns (bytes memory) {
        if (action == 0) return abi.encodeCall(disputes.contest, (_a(), _r, 1, KEY));
        if (action == 1) return abi.encodeCall(disputes.answer, (_a(), _r, SEALED));
        if (action == 4) return abi.encodeCall(disputes.end, (_a(), _r));
        Ruling memory v = rulingOf(_r, 0);
        uint256 signer = action == 2 ? SUPERVISOR : member;
        return abi.encodeCall(disputes.rule, (_a(), _r, v, signRuling(v, key(signer, STATEMENT))));
    }

    function mayAct(uint256 step, uint256 member, uint256 action, bool late) private pure returns (bool) {
        if (action == 0) return step == 0 && member == BANK && !late;
        if (action == 1) return step == 1 && member == DEPARTMENT && !late;
        if (action == 2) return step == 2 && !late;
        if (action == 3) return step == 2 && member == SUPERVISOR && !late;
        return step == 3 || late;
    }

    function test_dispute_runsToItsEndWhileMembersAreSuspended() public {
        suspend(DEPARTMENT);
        suspend(BANK);
        claimIt();
        contestIt(1);
        answerIt();
        ruleIt(7);
        same(acknowledged(), 21, "delivered is paid");
    }

    // --- Claims ----------------------------------------------------------------------------------------------------------------

    function test_claimReceipt_countsOnce() public {
        claimIt();
        claimIt();
        same(agreementStateOf(Statements.hash(_a())).pending, 1, "one");
        _r.issuedAt = 1;
        failsSomehow(TradeDisputes.ReceiptNotNewer.selector);
        tryClaim();
    }

    function test_claimReceipt_failsIfTheSenderIsNotTheProvider() public {
        bytes memory data = receiptClaim(_a(), _q, _r);
        from(BANK);
        (bool done, bytes memory reason) = address(disputes).call(data);
        holds(!done && bytes4(reason) == TradeSettlement.NotProvider.selector, "not the provider");
    }

    function test_claimReceipt_failsIfThereIsNoArbiter() public {
        Agreement memory a = agreement();
        (a.arbiter, a.cap) = (0, 900);
        open(a);
        _agreement = abi.encode(a);
        _q = lastRequest(a, 0, 3);
        _r = lastReceipt(a, _q);
        bytes memory requested = sign(address(settlement), Statements.hash(_q), key(BANK, STATEMENT));
        bytes memory received = signReceipt(_r);
        fails(TradeDisputes.NoArbiter.selector);
        from(DEPARTMENT);
        disputes.claimReceipt(a, _q, requested, _r, received);
    }

    function test_claimReceipt_failsIfItWasAcknowledged() public {
        claim(_a(), voucher(_a(), 0, 3));
        failsSomehow(TradeDisputes.ReceiptAcknowledged.selector);
        tryClaim();
    }

    function test_claimReceipt_failsIfOneFieldOfTheReceiptDiffers() public {
        UsageReceipt memory r = _r;
        _r.lane = 1;
        failsSomehow(TradeDisputes.OtherReceipt.selector);
        tryClaim();
        _r = r;
        _r.seq = 4;
        failsSomehow(TradeDisputes.OtherReceipt.selector);
        tryClaim();
        _r = r;
        _r.agreementId = keccak256("another");
        failsSomehow(TradeDisputes.OtherReceipt.selector);
        tryClaim();
        _r = r;
        _r.request = keccak256("another");
        failsSomehow(TradeDisputes.OtherReceipt.selector);
        tryClaim();
        _r = r;
        _r.outcome = 1;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        _r = r;
        _r.amount = 6;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        _r = r;
        _r.units = 2;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        _r = r;
        _r.totalUnits = type(uint64).max;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        _r = r;
        _r.totalAmount = type(uint128).max;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        _r = r;
        _r.version = 2;
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
    }

    function test_claimReceipt_failsIfItIsBeyondTheRequestOrTheAgreement() public {
        (_q.maxUnits, _q.maxAmount) = (2, 14);
        _r = lastReceipt(_a(), _q);
        (_r.units, _r.amount) = (2, 14);
        (_r.totalUnits, _r.totalAmount) = (4, 28);
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
        (_q.maxUnits, _q.maxAmount) = (1, 6);
        _r = lastReceipt(_a(), _q);
        failsSomehow(TradeDisputes.NotClaimable.selector);
        tryClaim();
    }

    function test_claimReceipt_failsIfASignatureIsOfAnotherKeyOrMirrored() public {
        bytes memory requested = sign(address(settlement), Statements.hash(_q), key(BANK, STATEMENT));
        bytes memory received = signReceipt(_r);
        failsSomehow(Membership.WrongSigner.selector);
        from(DEPARTMENT);
        disputes.claimReceipt(_a(), _q, received, _r, received);
        failsSomehow(Membership.WrongSigner.selector);
        from(DEPARTMENT);
        disputes.claimReceipt(_a(), _q, requested, _r, requested);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(DEPARTMENT);
        disputes.claimReceipt(_a(), _q, mirrored(requested), _r, received);
        bytes memory elsewhere = sign(address(disputes), Statements.hash(_r), key(DEPARTMENT, STATEMENT));
        failsSomehow(Membership.WrongSigner.selector);
        from(DEPARTMENT);
        disputes.claimReceipt(_a(), _q, requested, _r, elsewhere);
    }

    function test_claimReceipt_failsOnceTheClosingWindowIsOver() public {
        giveNotice(_a(), BANK);
        passWindow(_a());
        failsSomehow(TradeDisputes.ClaimTooLate.selector);
        tryClaim();
    }

    function test_claimReceipt_failsIfTheAgreementIsClosed() public {
        giveNotice(_a(), BANK);
        passWindow(_a());
        settlement.close(_a());
        vm.roll(block.number - 6);
        failsSomehow(TradeSettlement.AgreementIsClosed.selector);
        tryClaim();
    }

    function test_close_failsWhileAClaimIsPending() public {
        giveNotice(_a(), BANK);
        claimIt();
        passWindow(_a());
        bytes32 agreementId = Statements.hash(_a());
        fails(TradeSettlement.ClaimPending.selector, agreementId);
        settlement.close(_a());
        FinalSettlement memory f = finalSettlement(_a(), 3);
        bytes32 structHash = Statements.hash(f);
        bytes memory provider = sign(address(settlement), structHash, key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), structHash, key(BANK, STATEMENT));
        fails(TradeSettlement.ClaimPending.selector, agreementId);
        settlement.closeCooperatively(_a(), f, provider, buyer);
        disputes.end(_a(), _r);
        settlement.close(_a());
        same(agreementStateOf(agreementId).acknowledged, 21, "paid before it closed");
    }

    // --- Contests and answers --------------------------------------------------------------------------------------------------

    function test_contest_failsIfTheSenderReasonKeyOrTimeIsWrong() public {
        bytes32 id_ = Statements.hash(_r);
        from(BANK);
        fails(TradeDisputes.UnknownDispute.selector, id_);
        disputes.contest(_a(), _r, 1, KEY);
        claimIt();
        fails(TradeDisputes.NotBuyer.selector, bytes32(id(DEPARTMENT)));
        from(DEPARTMENT);
        disputes.contest(_a(), _r, 1, KEY);
        fails(TradeDisputes.UnknownReason.selector, uint256(0));
        from(BANK);
        disputes.contest(_a(), _r, 0, KEY);
        fails(TradeDisputes.UnknownReason.selector, 7);
        from(BANK);
        disputes.contest(_a(), _r, 7, KEY);
        fails(TradeDisputes.ContestKeyMissing.selector);
        from(BANK);
        disputes.contest(_a(), _r, 1, 0);
        Agreement memory another = agreement();
        fails(TradeDisputes.OtherReceipt.selector, id_);
        from(BANK);
        disputes.contest(another, _r, 1, KEY);
        passWindow(_a());
        fails(TradeDisputes.StepOver.selector, id_);
        from(BANK);
        disputes.contest(_a(), _r, 1, KEY);
    }

    function test_contest_failsTwiceAndAfterAnAcknowledgement() public {
        claimIt();
        contestIt(1);
        fails(TradeDisputes.WrongStep.selector, Statements.hash(_r));
        from(BANK);
        disputes.contest(_a(), _r, 1, KEY);
        (_q, _r) = (lastRequest(_a(), 1, 3), lastReceipt(_a(), lastRequest(_a(), 1, 3)));
        claimIt();
        claim(_a(), voucher(_a(), 1, 3));
        fails(TradeDisputes.ReceiptAcknowledged.selector, Statements.hash(_r));
        from(BANK);
        disputes.contest(_a(), _r, 1, KEY);
    }

    function test_contest_failsIfTheBuyerCannotPayTheStake() public {
        claimIt();
        from(BANK);
        settlement.withdraw(901, "out");
        fails(TradeSettlement.NotEnoughFree.selector, 49, 50);
        from(BANK);
        disputes.contest(_a(), _r, 1, KEY);
    }

    function test_answer_failsIfTheSenderStepOrTimeIsWrong() public {
        claimIt();
        bytes32 id_ = Statements.hash(_r);
        fails(TradeDisputes.WrongStep.selector, id_);
        from(DEPARTMENT);
        disputes.answer(_a(), _r, SEALED);
        contestIt(1);
        fails(TradeSettlement.NotProvider.selector, bytes32(id(BANK)));
        from(BANK);
        disputes.answer(_a(), _r, SEALED);
        fails(TradeDisputes.SealedAnswerMissing.selector);
        from(DEPARTMENT);
        disputes.answer(_a(), _r, 0);
        passWindow(_a());
        fails(TradeDisputes.StepOver.selector, id_);
        from(DEPARTMENT);
        disputes.answer(_a(), _r, SEALED);
    }

    function test_rule_failsIfTheRulingDoesNotFit() public {
        claimIt();
        contestIt(1);
        answerIt();
        uint256 arbiter = key(SUPERVISOR, STATEMENT);
        Ruling memory v = rulingOf(_r, 8);
        failsSomehow(TradeDisputes.RulingMismatch.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.outcome = 1;
        failsSomehow(TradeDisputes.RulingMismatch.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.outcome = 3;
        failsSomehow(TradeDisputes.RulingMismatch.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.receipt = keccak256("another");
        failsSomehow(TradeDisputes.RulingMismatch.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.agreementId = keccak256("another");
        failsSomehow(TradeDisputes.RulingMismatch.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.version = 2;
        failsSomehow(Membership.WrongVersion.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.deadline = uint64(block.timestamp - 1);
        failsSomehow(Membership.DeadlinePassed.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        v.evidence = new LogPosition[](0);
        failsSomehow(TradeDisputes.EvidenceMissing.selector);
        tryRuling(v, arbiter);
        v.evidence = new LogPosition[](17);
        failsSomehow(TradeDisputes.TooMuchEvidence.selector);
        tryRuling(v, arbiter);
        v = rulingOf(_r, 3);
        failsSomehow(Membership.WrongSigner.selector);
        tryRuling(v, key(BANK, STATEMENT));
        passWindow(_a());
        failsSomehow(TradeDisputes.StepOver.selector);
        tryRuling(v, arbiter);
    }

    function test_rule_failsIfTheArbiterIsSuspended() public {
        claimIt();
        contestIt(1);
        answerIt();
        Ruling memory v = rulingOf(_r, 3);
        govern2(abi.encodeCall(directory.suspend, (id(SUPERVISOR), "test")));
        next();
        failsSomehow(Membership.NotActive.selector);
        tryRuling(v, key(SUPERVISOR, STATEMENT));
    }

    function govern2(bytes memory data) private {
        uint256 nonce = newNonce();
        bytes[] memory signatures = approvals(data, nonce, FOREVER, OPERATOR, SETTLER);
        directory.execute(data, nonce, FOREVER, signatures);
    }

    function tryRuling(Ruling memory v, uint256 signer) private {
        disputes.rule(_a(), _r, v, signRuling(v, signer));
    }

    // --- Offences --------------------------------------------------------------------------------------------------------------

    function other() private view returns (UsageReceipt memory r) {
        r = _r;
        r.responseCommitment = keccak256("another answer");
    }

    function test_proveEquivocation_givesTheBondToTheBuyerAndFlagsTheProvider() public {
        UsageReceipt memory r = other();
        uint256 height = block.number;
        from(STRANGER);
        disputes.proveEquivocation(_a(), _r, signReceipt(_r), r, signReceipt(r));
        same(free(BANK), 1250, "the bond");
        same(held(), 0, "nothing held");
        same(disputes.flagWord(id(DEPARTMENT)), (1 << 96) | (height << 48) | height, "flag");
        disputes.proveEquivocation(_a(), r, signReceipt(r), _r, signReceipt(_r));
        same(disputes.flagWord(id(DEPARTMENT)) >> 96, 1, "each place once");
        closes();
    }

    function test_proveEquivocation_onlyFlagsIfTheAgreementIsFreeOrClosed() public {
        Agreement memory a = agreement();
        (a.price, a.cap, a.maxPerCall, a.nonce) = (0, 0, 0, "free");
        open(a);
        (_agreement, _q) = (abi.encode(a), lastRequest(a, 0, 1));
        _r = lastReceipt(_a(), _q);
        UsageReceipt memory r = other();
        disputes.proveEquivocation(_a(), _r, signReceipt(_r), r, signReceipt(r));
        same(disputes.flagWord(id(DEPARTMENT)) >> 96, 1, "flagged");
    }

    function test_proveEquivocation_failsIfThereIsNone() public {
        UsageReceipt memory r = other();
        bytes memory first = signReceipt(_r);
        fails(TradeDisputes.NoEquivocation.selector);
        disputes.proveEquivocation(_a(), _r, first, _r, first);
        r.seq = 4;
        bytes memory second = signReceipt(r);
        fails(TradeDisputes.NoEquivocation.selector);
        disputes.proveEquivocation(_a(), _r, first, r, second);
        (r.seq, r.lane) = (3, 1);
        second = signReceipt(r);
        fails(TradeDisputes.NoEquivocation.selector);
        disputes.proveEquivocation(_a(), _r, first, r, second);
        (r.lane, r.agreementId) = (0, keccak256("another"));
        second = signReceipt(r);
        fails(TradeDisputes.NoEquivocation.selector);
        disputes.proveEquivocation(_a(), _r, first, r, second);
        r = other();
        second = sign(address(settlement), Statements.hash(r), key(BANK, STATEMENT));
        failsSomehow(Membership.WrongSigner.selector);
        disputes.proveEquivocation(_a(), _r, first, r, second);
        second = mirrored(first);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        disputes.proveEquivocation(_a(), r, signReceipt(r), _r, second);
        Agreement memory unknown = agreement();
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(unknown));
        disputes.proveEquivocation(unknown, _r, first, r, first);
    }

    function test_fine_takesFromTheBondOnceByTwoGovernors() public {
        fails(Membership.OnlyGovernors.selector, address(this));
        disputes.fine(_a(), 100, id(OPERATOR), "decision 7");
        bytes memory data = abi.encodeCall(disputes.fine, (_a(), 100, id(OPERATOR), "decision 7"));
        govern(abi.encodeCall(directory.actOn, (address(disputes), data)));
        govern(abi.encodeCall(directory.actOn, (address(disputes), data)));
        same(held(), 200, "one fine");
        same(free(OPERATOR), 100, "fined");
        data = abi.encodeCall(disputes.fine, (_a(), 1000, id(OPERATOR), "decision 8"));
        govern(abi.encodeCall(directory.actOn, (address(disputes), data)));
        same(held(), 0, "no more than the bond");
        same(free(OPERATOR), 300, "all of it");
    }

    // --- Freezes ---------------------------------------------------------------------------------------------------------------

    function test_freeze_keepsEachTime() public {
        bytes32 id_ = Statements.hash(_a());
        uint256 begun = block.number;
        from(SUPERVISOR);
        disputes.freeze(id_, "decision 9");
        from(SUPERVISOR);
        disputes.freeze(id_, "decision 9");
        same(disputes.freezeWord(id_), begun | (1 << 96), "frozen");
        next();
        from(SUPERVISOR);
        disputes.unfreeze(id_);
        from(SUPERVISOR);
        disputes.unfreeze(id_);
        next();
        from(SUPERVISOR);
        disputes.freeze(id_, "decision 10");
        same(disputes.earlierFreezeWord(id_, begun + 1), begun | ((begun + 1) << 48), "the first");
        same(disputes.freezeWord(id_) >> 208, begun + 1, "covers from its end");
    }

    function test_freeze_failsIfTheSenderIsNoSupervisorOrTheAgreementUnknown() public {
        bytes32 id_ = Statements.hash(_a());
        failsSomehow(Membership.WrongRole.selector);
        from(BANK);
        disputes.freeze(id_, "decision");
        failsSomehow(Membership.WrongRole.selector);
        from(BANK);
        disputes.unfreeze(id_);
        fails(TradeSettlement.UnknownAgreement.selector, keccak256("another"));
        from(SUPERVISOR);
        disputes.freeze(keccak256("another"), "decision");
    }
}
