// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {AssetRegistry} from "../src/AssetRegistry.sol";
import {Membership} from "../src/Membership.sol";
import {AmountTooLarge} from "../src/Books.sol";
import "../src/Statements.sol";
import {TradeSettlement} from "../src/TradeSettlement.sol";
import {World} from "./World.sol";

contract TradeSettlementTest is World {
    function setUp() public override {
        super.setUp();
        grant();
        deposit(confirmation(BANK, 5000, "first"));
    }

    function state(Agreement memory a) private view returns (AgreementState memory) {
        return agreementStateOf(Statements.hash(a));
    }

    function free(uint256 who) private view returns (uint256) {
        return accountOf(id(who)).free;
    }

    function locked(uint256 who) private view returns (uint256) {
        return accountOf(id(who)).locked;
    }

    function opened() private returns (Agreement memory a) {
        a = agreement();
        open(a);
        next();
    }

    function openSigned(Agreement memory a, uint256 providerKey, uint256 buyerKey) private {
        bytes32 structHash = Statements.hash(a);
        bytes memory provider = sign(address(settlement), structHash, providerKey);
        bytes memory buyer = sign(address(settlement), structHash, buyerKey);
        settlement.open(a, grantTerms(), provider, buyer);
    }

    function usageRequest(Agreement memory a, uint16 lane, uint64 seq) private pure returns (UsageRequest memory r) {
        r.version = 1;
        r.agreementId = Statements.hash(a);
        r.lane = lane;
        r.seq = seq;
        r.maxUnits = 1;
        r.maxAmount = 7;
        r.acknowledgedUnits = seq - 1;
        r.acknowledgedAmount = uint128(seq - 1) * a.price;
        r.expiry = START + 1;
    }

    function claimRequest(Agreement memory a, UsageRequest memory r, uint256 privateKey) private {
        UsageRequest[] memory requests = new UsageRequest[](1);
        bytes[] memory signatures = new bytes[](1);
        requests[0] = r;
        signatures[0] = sign(address(settlement), Statements.hash(r), privateKey);
        from(DEPARTMENT);
        settlement.claimRequests(a, requests, signatures);
    }

    function claimSigned(Agreement memory a, Voucher memory v, bytes memory signature) private {
        Voucher[] memory vouchers = new Voucher[](1);
        bytes[] memory signatures = new bytes[](1);
        (vouchers[0], signatures[0]) = (v, signature);
        from(DEPARTMENT);
        settlement.claimVouchers(a, vouchers, signatures);
    }

    function withdraw(uint256 who, uint128 amount, bytes32 operationId) private {
        from(who);
        settlement.withdraw(amount, operationId);
    }

    // --- Money in --------------------------------------------------------------------------------------------------------------

    function test_deposit_addsToTheMemberAndTheTotalSentByAnyone() public {
        emits(address(settlement));
        emit TradeSettlement.Deposited("second", id(LENDER), 300, id(SETTLER));
        deposit(confirmation(LENDER, 300, "second"));
        same(free(LENDER), 300, "free");
        same(accountOf(id(LENDER)).deposited, 300, "deposited");
        same(totalsNow().deposited, 5300, "total deposited");
        same(totalsNow().free, 5300, "total free");
        same(settlement.referenceUsedAt(id(SETTLER), "second"), block.number, "reference");
    }

    function test_deposit_failsIfTheReferenceCountedBefore() public {
        fails(TradeSettlement.ReferenceUsed.selector, bytes32("first"));
        deposit(confirmation(BANK, 5000, "first"));
        fails(TradeSettlement.ReferenceUsed.selector, bytes32("first"));
        deposit(confirmation(LENDER, 1, "first"));
    }

    function test_deposit_failsIfTheMoneyIsSentToAnotherOrChanged() public {
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        c.member = id(LENDER);
        failsSomehow(Membership.WrongSigner.selector);
        settlement.deposit(c, signature);
        (c.member, c.amount) = (id(BANK), 1000);
        failsSomehow(Membership.WrongSigner.selector);
        settlement.deposit(c, signature);
    }

    function test_deposit_failsIfTheSignerIsAnotherMember() public {
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(BANK, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(BANK, STATEMENT), id(SETTLER));
        settlement.deposit(c, signature);
    }

    function test_deposit_failsIfTheConfirmingMemberIsNoSettlementBank() public {
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        c.settlementBank = id(BANK);
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(BANK, STATEMENT));
        fails(Membership.WrongRole.selector, id(BANK), 16);
        settlement.deposit(c, signature);
    }

    function test_deposit_failsIfTheSignatureIsMirrored() public {
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        settlement.deposit(c, mirrored(signature));
    }

    function test_deposit_failsIfEmptyLateOrOfAnUnknownVersion() public {
        fails(TradeSettlement.AmountMissing.selector);
        deposit(confirmation(BANK, 0, "second"));
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        c.deadline = uint64(block.timestamp) - 1;
        fails(Membership.DeadlinePassed.selector, c.deadline);
        deposit(c);
        c = confirmation(BANK, 100, "second");
        c.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        deposit(c);
    }

    function test_deposit_failsIfMemberOrSettlementBankIsSuspendedOrUnknown() public {
        fails(Membership.NotActive.selector, id(STRANGER));
        deposit(confirmation(STRANGER, 100, "second"));
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        deposit(confirmation(BANK, 100, "second"));
        suspend(SETTLER);
        fails(Membership.NotActive.selector, id(SETTLER));
        deposit(confirmation(LENDER, 100, "second"));
    }

    function test_deposit_ofMoneyReceivedBeforeClosingCanStillBeBookedAndWithdrawn() public {
        closeToNewBusiness(address(settlement));
        deposit(confirmation(LENDER, 300, "second"));
        withdraw(LENDER, 300, "out");
        same(accountOf(id(LENDER)).withdrawn, 300, "withdrawn");
    }

    // --- Money out -------------------------------------------------------------------------------------------------------------

    function test_withdraw_takesFreeMoneyOncePerOperation() public {
        emits(address(settlement));
        emit TradeSettlement.Withdrawn(id(BANK), 2000, "out");
        withdraw(BANK, 2000, "out");
        withdraw(BANK, 2000, "out");
        same(free(BANK), 3000, "free");
        same(accountOf(id(BANK)).withdrawn, 2000, "withdrawn");
        same(totalsNow().withdrawn, 2000, "total withdrawn");
        same(totalsNow().free, 3000, "total free");
        withdraw(BANK, 3000, "rest");
        same(free(BANK), 0, "all out");
    }

    function test_withdraw_failsIfTheOperationWasForAnotherAmount() public {
        withdraw(BANK, 2000, "out");
        fails(TradeSettlement.OperationTaken.selector, bytes32("out"));
        withdraw(BANK, 2001, "out");
    }

    function test_withdraw_keepsTheOperationsOfMembersApart() public {
        deposit(confirmation(LENDER, 300, "second"));
        withdraw(BANK, 200, "out");
        withdraw(LENDER, 300, "out");
        same(free(LENDER), 0, "its own operation");
    }

    function test_withdraw_failsIfMoreThanFreeOrNothing() public {
        fails(TradeSettlement.NotEnoughFree.selector, 5000, 5001);
        withdraw(BANK, 5001, "out");
        opened();
        fails(TradeSettlement.NotEnoughFree.selector, 4000, 4001);
        withdraw(BANK, 4001, "out");
        fails(TradeSettlement.AmountMissing.selector);
        withdraw(BANK, 0, "out");
    }

    function test_withdraw_failsIfTheSenderIsNobodysKey() public {
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        withdraw(STRANGER, 1, "out");
    }

    // --- Opening ---------------------------------------------------------------------------------------------------------------

    function test_open_locksTheCapOnceSentByAnyone() public {
        Agreement memory a = agreement();
        emits(address(settlement));
        emit TradeSettlement.AgreementOpened(Statements.hash(a), id(DEPARTMENT), id(BANK), a);
        open(a);
        same(locked(BANK), 1000, "locked");
        same(free(BANK), 4000, "free");
        same(totalsNow().locked, 1000, "total locked");
        same(state(a).opened, 1000, "opened");
        same(state(a).openedAt, block.number, "opened at");
        next();
        open(a);
        same(locked(BANK), 1000, "repeating changes nothing");
        same(state(a).openedAt, block.number - 1, "opened at, once");
    }

    function test_open_ofFreeSharingWithACountCapLocksNothing() public {
        Agreement memory a = agreement();
        (a.price, a.cap) = (0, 0);
        open(a);
        same(locked(BANK), 0, "locked");
        same(state(a).openedAt, block.number, "opened");
    }

    function test_open_failsIfNeitherMoneyNorCountIsCapped() public {
        Agreement memory a = agreement();
        (a.price, a.cap, a.maxUnits) = (0, 0, 0);
        fails(TradeSettlement.NoCap.selector);
        open(a);
    }

    function test_open_failsIfPricedWithoutAMoneyCapOrFreeWithOne() public {
        Agreement memory a = agreement();
        a.cap = 0;
        fails(TradeSettlement.NoCap.selector);
        open(a);
        a = agreement();
        a.price = 0;
        fails(TradeSettlement.NoCap.selector);
        open(a);
    }

    function test_open_failsIfItEndsBeforeItStartsOrIsOver() public {
        Agreement memory a = agreement();
        a.endsAt = a.startsAt - 1;
        fails(TradeSettlement.EndBeforeStart.selector, a.startsAt, a.endsAt);
        open(a);
        a.endsAt = a.startsAt;
        fails(TradeSettlement.EndBeforeStart.selector, a.startsAt, a.endsAt);
        open(a);
        (a.startsAt, a.endsAt) = (START - 10, uint64(block.timestamp));
        fails(TradeSettlement.EndBeforeStart.selector, a.startsAt, a.endsAt);
        open(a);
    }

    function test_open_failsAfterItsLastMoment() public {
        Agreement memory a = agreement();
        vm.warp(a.openBefore + 1);
        fails(TradeSettlement.OpenTooLate.selector, a.openBefore);
        open(a);
        vm.warp(a.openBefore);
        open(a);
    }

    function test_open_failsIfLanesAreNoneOrTooMany() public {
        Agreement memory a = agreement();
        a.lanes = 0;
        fails(TradeSettlement.WrongLane.selector, uint256(0));
        open(a);
        a.lanes = 257;
        fails(TradeSettlement.WrongLane.selector, 257);
        open(a);
        a.lanes = 256;
        open(a);
    }

    function test_open_failsIfAPartyIsTheOtherTheArbiterOrTheSettlementBank() public {
        Agreement memory a = agreement();
        a.buyer = a.provider;
        fails(TradeSettlement.PartyTwice.selector, id(DEPARTMENT));
        open(a);
        a = agreement();
        a.arbiter = a.buyer;
        fails(TradeSettlement.ArbiterIsParty.selector, id(BANK));
        open(a);
        a.arbiter = a.provider;
        fails(TradeSettlement.ArbiterIsParty.selector, id(DEPARTMENT));
        open(a);
        from(SETTLER);
        GrantTerms memory terms = grantTerms();
        terms.grantee = id(SETTLER);
        grants.request(terms);
        bytes32 itsGrant = Statements.hash(terms);
        GrantDecision memory d = GrantDecision(1, itsGrant, true, "reason", FOREVER);
        grants.decide(terms, d, sign(address(grants), Statements.hash(d), key(DEPARTMENT, APPROVAL)));
        a = agreement();
        (a.grantId, a.buyer, a.buyerKey) = (itsGrant, id(SETTLER), keyAddress(SETTLER, STATEMENT));
        bytes memory provider = sign(address(settlement), Statements.hash(a), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), Statements.hash(a), key(SETTLER, STATEMENT));
        fails(TradeSettlement.SettlementBankIsParty.selector, id(SETTLER));
        settlement.open(a, terms, provider, buyer);
    }

    function test_open_failsIfTheSharesAreNotWhole() public {
        Agreement memory a = agreement();
        a.shares[1].basisPoints = 2999;
        fails(TradeSettlement.SharesNotWhole.selector, 9999);
        open(a);
        a.shares[1].basisPoints = 3001;
        fails(TradeSettlement.SharesNotWhole.selector, 10_001);
        open(a);
        a.shares = new Share[](0);
        fails(TradeSettlement.SharesNotWhole.selector, uint256(0));
        open(a);
    }

    function test_open_failsIfAShareIsForTheSameMemberTwiceOrASuspendedOne() public {
        Agreement memory a = agreement();
        a.shares[1].member = id(DEPARTMENT);
        fails(TradeSettlement.ShareTwice.selector, id(DEPARTMENT));
        open(a);
        a.shares[1].member = id(STRANGER);
        fails(Membership.NotActive.selector, id(STRANGER));
        open(a);
        suspend(OPERATOR);
        fails(Membership.NotActive.selector, id(OPERATOR));
        open(agreement());
    }

    function test_open_failsIfThereAreTooManyShares() public {
        Agreement memory a = agreement();
        a.shares = new Share[](17);
        fails(TradeSettlement.TooManyShares.selector, 17);
        open(a);
    }

    function test_open_failsIfTheGrantIsAnotherOrSaysSomethingElse() public {
        Agreement memory a = agreement();
        a.grantId = keccak256("another");
        fails(TradeSettlement.OtherGrant.selector, keccak256("another"), grantId());
        open(a);
        a = agreement();
        a.purpose = "marketing";
        fails(TradeSettlement.GrantMismatch.selector);
        open(a);
        a = agreement();
        a.assetId = keccak256("another");
        fails(TradeSettlement.GrantMismatch.selector);
        open(a);
        a = agreement();
        a.assetVersion = 2;
        fails(TradeSettlement.GrantMismatch.selector);
        open(a);
        a = agreement();
        a.buyer = id(LENDER);
        fails(TradeSettlement.GrantMismatch.selector);
        open(a);
        a = agreement();
        a.provider = id(TAX_OFFICE);
        fails(TradeSettlement.GrantMismatch.selector);
        open(a);
    }

    function test_open_failsIfTheGrantIsRevokedOrOver() public {
        Agreement memory a = agreement();
        (a.endsAt, a.openBefore) = (START + 60 days, START + 60 days);
        vm.warp(grantTerms().notAfter);
        fails(TradeSettlement.GrantNotLive.selector, grantId());
        open(a);
        vm.warp(START);
        revoke(key(DEPARTMENT, STATEMENT));
        fails(TradeSettlement.GrantNotLive.selector, grantId());
        open(a);
    }

    function test_open_failsIfTheAssetIsHeld() public {
        from(SUPERVISOR);
        assets.hold(assetId(), "dispute");
        fails(AssetRegistry.AssetOnHold.selector, assetId());
        open(agreement());
    }

    function test_open_failsIfEitherPartyIsSuspended() public {
        suspend(BANK);
        fails(Membership.NotActive.selector, id(BANK));
        open(agreement());
        lift(BANK);
        suspend(DEPARTMENT);
        Agreement memory a = agreement();
        a.shares[0].member = id(SUPERVISOR);
        fails(Membership.NotActive.selector, id(DEPARTMENT));
        open(a);
    }

    function test_open_failsIfSignedWithAnythingButThePinnedKeys() public {
        Agreement memory a = agreement();
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, APPROVAL), id(DEPARTMENT));
        openSigned(a, key(DEPARTMENT, APPROVAL), key(BANK, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(STRANGER, STATEMENT), id(BANK));
        openSigned(a, key(DEPARTMENT, STATEMENT), key(STRANGER, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(BANK, STATEMENT), id(DEPARTMENT));
        openSigned(a, key(BANK, STATEMENT), key(DEPARTMENT, STATEMENT));
    }

    function test_open_failsIfAPinnedKeyIsNotTheMembersLiveStatementKey() public {
        Agreement memory a = agreement();
        a.buyerKey = keyAddress(STRANGER, STATEMENT);
        fails(Membership.WrongSigner.selector, a.buyerKey, id(BANK));
        openSigned(a, key(DEPARTMENT, STATEMENT), key(STRANGER, STATEMENT));
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(BANK, STATEMENT)), "lost")));
        fails(Membership.WrongSigner.selector, keyAddress(BANK, STATEMENT), id(BANK));
        open(agreement());
    }

    function test_open_failsIfATermIsAlteredAfterSigning() public {
        Agreement memory a = agreement();
        bytes memory provider = sign(address(settlement), Statements.hash(a), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), Statements.hash(a), key(BANK, STATEMENT));
        a.price = 8;
        failsSomehow(Membership.WrongSigner.selector);
        settlement.open(a, grantTerms(), provider, buyer);
        a = agreement();
        (a.shares[0].basisPoints, a.shares[1].basisPoints) = (9000, 1000);
        failsSomehow(Membership.WrongSigner.selector);
        settlement.open(a, grantTerms(), provider, buyer);
    }

    function test_open_failsIfASignatureIsMirrored() public {
        Agreement memory a = agreement();
        bytes memory provider = sign(address(settlement), Statements.hash(a), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), Statements.hash(a), key(BANK, STATEMENT));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        settlement.open(a, grantTerms(), provider, mirrored(buyer));
    }

    function test_open_failsIfTheBuyerHasTooLittleFree() public {
        Agreement memory a = agreement();
        a.cap = 5001;
        fails(TradeSettlement.NotEnoughFree.selector, 5000, 5001);
        open(a);
        a.cap = 5000;
        open(a);
        fails(TradeSettlement.NotEnoughFree.selector, uint256(0), 1000);
        open(agreement());
    }

    function test_deposit_failsIfTheAmountIsBeyond64Bits() public {
        DepositConfirmation memory c = confirmation(BANK, type(uint64).max - 4999, "large");
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        fails(AmountTooLarge.selector, c.amount);
        settlement.deposit(c, signature);
    }

    function test_open_failsIfTheUnitIsUnknown() public {
        Agreement memory a = agreement();
        a.unit = 5;
        fails(TradeSettlement.UnknownUnit.selector, 5);
        open(a);
        a.unit = 4;
        open(a);
    }

    function test_open_failsIfAFreeAgreementHasABondOrAStake() public {
        Agreement memory a = agreement();
        (a.price, a.cap, a.bond) = (0, 0, 1);
        fails(TradeSettlement.BondWithoutPrice.selector);
        open(a);
        (a.bond, a.stake) = (0, 1);
        fails(TradeSettlement.BondWithoutPrice.selector);
        open(a);
    }

    function test_open_failsIfTheProviderCannotPayTheBond() public {
        fails(TradeSettlement.NotEnoughFree.selector, uint256(0), 300);
        open(bondedAgreement());
    }

    function test_open_failsIfTheBondIsBeyond64Bits() public {
        Agreement memory a = bondedAgreement();
        (a.bond, a.bondFromEarnings) = (uint128(type(uint64).max) + 1, true);
        fails(AmountTooLarge.selector, a.bond);
        open(a);
    }

    function test_open_bondsTheProvidersSecurityUntilTheAgreementCloses() public {
        deposit(confirmation(DEPARTMENT, 400, "bond"));
        Agreement memory a = bondedAgreement();
        open(a);
        same(accountOf(id(DEPARTMENT)).bonded, 300, "bonded");
        same(free(DEPARTMENT), 100, "free");
        same(state(a).bondHeld, 300, "held");
        same(totalsNow().bonded, 300, "in total");
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        same(accountOf(id(DEPARTMENT)).bonded, 0, "released");
        same(free(DEPARTMENT), 400, "free again");
        same(state(a).bondHeld, 0, "nothing held");
    }

    function test_claim_withholdsTheBondFromTheFirstEarnings() public {
        Agreement memory a = bondedAgreement();
        (a.bond, a.bondFromEarnings) = (60, true);
        open(a);
        claim(a, voucher(a, 0, 10));
        same(accountOf(id(DEPARTMENT)).bonded, 49, "the first earnings");
        same(free(DEPARTMENT), 0, "nothing free");
        claim(a, voucher(a, 0, 20));
        same(accountOf(id(DEPARTMENT)).bonded, 60, "whole");
        same(free(DEPARTMENT), 38, "the rest");
        same(accountOf(id(DEPARTMENT)).earned, 98, "earned");
        same(state(a).bondDue, 0, "nothing due");
    }

    function test_disputeHooks_failIfAnybodyElseSends() public {
        Agreement memory a = opened();
        fails(TradeSettlement.OnlyDisputes.selector, address(this));
        settlement.beginClaim(Statements.hash(a));
        fails(TradeSettlement.OnlyDisputes.selector, address(this));
        settlement.endClaim(a, LaneTotal(0, 1, 1, 7));
        fails(TradeSettlement.OnlyDisputes.selector, address(this));
        settlement.lockStake(id(BANK), 1);
        fails(TradeSettlement.OnlyDisputes.selector, address(this));
        settlement.payStake(id(BANK), id(DEPARTMENT), 1);
        fails(TradeSettlement.OnlyDisputes.selector, address(this));
        settlement.takeBond(a, id(BANK), 1);
    }

    function test_open_failsIfTheVersionIsUnknown() public {
        Agreement memory a = agreement();
        a.version = 1;
        fails(Membership.WrongVersion.selector, 1);
        open(a);
    }

    function test_open_failsIfClosedToNewBusinessWhileOpenTradesRunToTheirEnd() public {
        Agreement memory a = opened();
        closeToNewBusiness(address(settlement));
        Agreement memory another = agreement();
        another.nonce = "another";
        fails(Membership.ContractIsClosed.selector);
        open(another);
        claim(a, voucher(a, 0, 10));
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        withdraw(BANK, 4930, "out");
        withdraw(DEPARTMENT, 49, "out");
        withdraw(OPERATOR, 21, "out");
        same(totalsNow().withdrawn, 5000, "all of it out");
    }

    // --- Claims ----------------------------------------------------------------------------------------------------------------

    function test_claim_paysTheSharesOfWhatTheBuyerAcknowledged() public {
        Agreement memory a = opened();
        emits(address(settlement));
        emit TradeSettlement.Claimed(Statements.hash(a), 0, 10, 10, 70);
        emits(address(settlement));
        emit TradeSettlement.Paid(Statements.hash(a), id(DEPARTMENT), 49);
        emits(address(settlement));
        emit TradeSettlement.Paid(Statements.hash(a), id(OPERATOR), 21);
        claim(a, voucher(a, 0, 10));
        same(free(DEPARTMENT), 49, "70 %");
        same(free(OPERATOR), 21, "30 %");
        same(locked(BANK), 930, "locked");
        same(accountOf(id(BANK)).spent, 70, "spent");
        same(accountOf(id(DEPARTMENT)).earned, 49, "earned");
        same(totalsNow().earned, 70, "total earned");
        same(totalsNow().spent, 70, "total spent");
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(Statements.hash(a), 0);
        same(seq, 10, "sequence");
        same(units, 10, "units");
        same(amount, 70, "amount");
        same(state(a).paid, 70, "paid");
        same(state(a).acknowledgedUnits, 10, "units of the agreement");
    }

    function test_claim_paysOnlyTheDifferenceToTheLast() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 0, 10));
        claim(a, voucher(a, 0, 30));
        claim(a, voucher(a, 1, 10));
        same(state(a).paid, 280, "paid");
        same(settlement.paidTo(Statements.hash(a), id(DEPARTMENT)), 196, "department");
        same(settlement.paidTo(Statements.hash(a), id(OPERATOR)), 84, "operator");
    }

    function test_claim_withARequestPaysWhatCameBeforeIt() public {
        Agreement memory a = opened();
        claimRequest(a, usageRequest(a, 1, 11), key(BANK, STATEMENT));
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(Statements.hash(a), 1);
        same(seq, 10, "last place acknowledged");
        same(units, 10, "units");
        same(amount, 70, "amount");
        claim(a, voucher(a, 1, 11));
        same(state(a).acknowledged, 77, "closing voucher of the same place");
    }

    function test_claim_takesManyLanesAtOnce() public {
        Agreement memory a = opened();
        Voucher[] memory vouchers = new Voucher[](3);
        bytes[] memory signatures = new bytes[](3);
        (vouchers[0], vouchers[1], vouchers[2]) = (voucher(a, 0, 10), voucher(a, 1, 5), voucher(a, 0, 8));
        for (uint256 i = 0; i < 3; ++i) {
            signatures[i] = signVoucher(vouchers[i], key(BANK, STATEMENT));
        }
        from(DEPARTMENT);
        settlement.claimVouchers(a, vouchers, signatures);
        same(state(a).paid, 104, "floor of each share of 105, the lower voucher ignored");
        same(state(a).acknowledged, 105, "acknowledged");
    }

    function test_claim_failsIfSentByAStrangerTheBuyerOrAShareHolder() public {
        Agreement memory a = opened();
        (Voucher[] memory vouchers, bytes[] memory signatures) = batch(voucher(a, 0, 10));
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        settlement.claimVouchers(a, vouchers, signatures);
        fails(TradeSettlement.NotProvider.selector, id(BANK));
        from(BANK);
        settlement.claimVouchers(a, vouchers, signatures);
        fails(TradeSettlement.NotProvider.selector, id(OPERATOR));
        from(OPERATOR);
        settlement.claimVouchers(a, vouchers, signatures);
    }

    function test_claim_failsIfTheVoucherIsReplayed() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 0, 10));
        fails(TradeSettlement.VoucherNotHigher.selector, uint256(0));
        claim(a, voucher(a, 0, 10));
    }

    function test_claim_failsIfTheVoucherIsLowerThanTheLast() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 1, 10));
        fails(TradeSettlement.VoucherNotHigher.selector, 1);
        claim(a, voucher(a, 1, 9));
        fails(TradeSettlement.VoucherNotHigher.selector, 1);
        claimRequest(a, usageRequest(a, 1, 10), key(BANK, STATEMENT));
        Voucher memory v = voucher(a, 1, 10);
        (v.seq, v.acknowledgedAmount) = (9, 77);
        fails(TradeSettlement.VoucherNotHigher.selector, 1);
        claim(a, v);
        (v.seq, v.acknowledgedUnits) = (11, 9);
        fails(TradeSettlement.VoucherNotHigher.selector, 1);
        claim(a, v);
    }

    function test_claim_failsIfNotSignedWithTheBuyersPinnedKey() public {
        Agreement memory a = opened();
        Voucher memory v = voucher(a, 0, 10);
        bytes memory signature = signVoucher(v, key(DEPARTMENT, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, STATEMENT), id(BANK));
        claimSigned(a, v, signature);
        fails(Membership.WrongSigner.selector, keyAddress(BANK, TRANSACTION), id(BANK));
        claimRequest(a, usageRequest(a, 0, 11), key(BANK, TRANSACTION));
    }

    function test_claim_failsIfTheVoucherIsAlteredOrMirrored() public {
        Agreement memory a = opened();
        bytes memory signature = signVoucher(voucher(a, 0, 10), key(BANK, STATEMENT));
        Voucher memory v = voucher(a, 0, 10);
        v.acknowledgedAmount += 1;
        failsSomehow(Membership.WrongSigner.selector);
        claimSigned(a, v, signature);
        v = voucher(a, 1, 10);
        failsSomehow(Membership.WrongSigner.selector);
        claimSigned(a, v, signature);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        claimSigned(a, voucher(a, 0, 10), mirrored(signature));
    }

    function test_claim_failsIfTheVoucherIsForAnotherAgreement() public {
        Agreement memory a = opened();
        Agreement memory another = agreement();
        another.nonce = "another";
        open(another);
        bytes32 otherId = Statements.hash(another);
        fails(TradeSettlement.OtherAgreement.selector, Statements.hash(a), otherId);
        claim(a, voucher(another, 0, 10));
        UsageRequest memory r = usageRequest(another, 0, 11);
        fails(TradeSettlement.OtherAgreement.selector, Statements.hash(a), otherId);
        claimRequest(a, r, key(BANK, STATEMENT));
    }

    function test_claim_failsIfTheLaneOrVersionIsUnknown() public {
        Agreement memory a = opened();
        fails(TradeSettlement.WrongLane.selector, 2);
        claim(a, voucher(a, 2, 10));
        Voucher memory v = voucher(a, 0, 10);
        v.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        claim(a, v);
        UsageRequest memory r = usageRequest(a, 0, 11);
        r.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        claimRequest(a, r, key(BANK, STATEMENT));
    }

    function test_claim_failsIfItGoesOverTheCapCountedOverAllLanes() public {
        Agreement memory a = opened();
        Voucher memory v = voucher(a, 0, 100);
        v.acknowledgedAmount = 600;
        claim(a, v);
        v.lane = 1;
        v.acknowledgedAmount = 401;
        fails(TradeSettlement.OverCap.selector, 1001, 1000);
        claim(a, v);
        v.acknowledgedAmount = 400;
        claim(a, v);
        same(state(a).paid, 1000, "all of it");
        same(locked(BANK), 0, "nothing locked");
    }

    function test_claim_failsIfItGoesOverTheUnitsCountedOverAllLanes() public {
        Agreement memory a = agreement();
        a.maxUnits = 30;
        open(a);
        claim(a, voucher(a, 0, 20));
        fails(TradeSettlement.OverUnits.selector, 31, 30);
        claim(a, voucher(a, 1, 11));
        claim(a, voucher(a, 1, 10));
        same(state(a).acknowledgedUnits, 30, "units");
    }

    function test_claim_countsUnitsWithoutACapOfTheirOwn() public {
        Agreement memory a = agreement();
        a.maxUnits = 0;
        open(a);
        Voucher memory v = voucher(a, 0, 1);
        v.acknowledgedUnits = type(uint64).max;
        claim(a, v);
        v.lane = 1;
        v.acknowledgedUnits = 1;
        fails(TradeSettlement.OverUnits.selector, uint256(type(uint64).max) + 1, 0);
        claim(a, v);
    }

    function test_claim_failsIfNothingOrTooFewSignaturesAreGiven() public {
        Agreement memory a = opened();
        fails(TradeSettlement.WrongCount.selector, uint256(0), 0);
        from(DEPARTMENT);
        settlement.claimVouchers(a, new Voucher[](0), new bytes[](0));
        (Voucher[] memory vouchers,) = batch(voucher(a, 0, 10));
        fails(TradeSettlement.WrongCount.selector, 1, 0);
        from(DEPARTMENT);
        settlement.claimVouchers(a, vouchers, new bytes[](0));
        fails(TradeSettlement.WrongCount.selector, uint256(0), 1);
        from(DEPARTMENT);
        settlement.claimRequests(a, new UsageRequest[](0), new bytes[](1));
    }

    function test_claim_failsIfTheAgreementIsUnknownOrAltered() public {
        Agreement memory a = agreement();
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(a));
        claim(a, voucher(a, 0, 10));
        open(a);
        a.shares[0].basisPoints = 10_000;
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(a));
        claim(a, voucher(a, 0, 10));
    }

    function test_claim_withTheFirstRequestOfALaneHasNothingToPay() public {
        Agreement memory a = opened();
        fails(TradeSettlement.VoucherNotHigher.selector, uint256(0));
        claimRequest(a, usageRequest(a, 0, 1), key(BANK, STATEMENT));
        UsageRequest memory r = usageRequest(a, 0, 1);
        r.seq = 0;
        fails(TradeSettlement.VoucherNotHigher.selector, uint256(0));
        claimRequest(a, r, key(BANK, STATEMENT));
    }

    function test_claim_ofWhatWasDeliveredBeforeTheKeyEndedOrTheGrantWasRevoked() public {
        Agreement memory a = opened();
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(BANK, STATEMENT)), "retired")));
        revoke(key(DEPARTMENT, STATEMENT));
        from(SUPERVISOR);
        assets.hold(assetId(), "dispute");
        claim(a, voucher(a, 0, 10));
        same(state(a).paid, 70, "delivered is paid");
    }

    function test_suspendedMembers_mayStillClaimCloseAndWithdraw() public {
        Agreement memory a = opened();
        suspend(DEPARTMENT);
        suspend(BANK);
        suspend(OPERATOR);
        claim(a, voucher(a, 0, 10));
        giveNotice(a, DEPARTMENT);
        claim(a, voucher(a, 0, 20));
        passWindow(a);
        from(BANK);
        settlement.close(a);
        withdraw(DEPARTMENT, 98, "out");
        withdraw(OPERATOR, 42, "out");
        withdraw(BANK, 4860, "out");
        same(totalsNow().withdrawn, 5000, "all of it out");
    }

    // --- Closing ---------------------------------------------------------------------------------------------------------------

    function test_giveNotice_countsOnceFromEitherParty() public {
        Agreement memory a = opened();
        emits(address(settlement));
        emit TradeSettlement.NoticeGiven(Statements.hash(a), id(BANK));
        giveNotice(a, BANK);
        same(state(a).noticeAt, block.number, "height");
        same(state(a).noticeTime, block.timestamp, "time");
        next();
        giveNotice(a, DEPARTMENT);
        same(state(a).noticeAt, block.number - 1, "the first counts");
    }

    function test_giveNotice_failsForAStrangerUntilThePeriodIsOver() public {
        Agreement memory a = opened();
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        giveNotice(a, STRANGER);
        vm.warp(a.endsAt);
        fails(TradeSettlement.NotParty.selector, id(LENDER));
        giveNotice(a, LENDER);
        vm.warp(a.endsAt + 1);
        giveNotice(a, LENDER);
        same(state(a).noticeAt, block.number, "notice");
    }

    function test_giveNotice_failsIfUnknownOrClosed() public {
        Agreement memory a = agreement();
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(a));
        giveNotice(a, BANK);
        open(a);
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        giveNotice(a, BANK);
    }

    function test_close_refundsTheRestOnceSentByAnyone() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 0, 10));
        giveNotice(a, BANK);
        passWindow(a);
        emits(address(settlement));
        emit TradeSettlement.AgreementClosed(Statements.hash(a), 70, 930);
        vm.prank(keyAddress(STRANGER, TRANSACTION));
        settlement.close(a);
        settlement.close(a);
        same(free(BANK), 4930, "free");
        same(locked(BANK), 0, "locked");
        same(state(a).refunded, 930, "refunded");
        same(state(a).closedAt, block.number, "closed at");
    }

    function test_close_failsWithoutNoticeEvenAfterTheEnd() public {
        Agreement memory a = opened();
        vm.warp(a.endsAt + 365 days);
        fails(TradeSettlement.NoNotice.selector, Statements.hash(a));
        settlement.close(a);
    }

    function test_close_failsUntilBothBlocksAndSecondsHavePassed() public {
        Agreement memory a = opened();
        giveNotice(a, BANK);
        uint256 height = block.number + a.closeWindowBlocks;
        uint256 time = block.timestamp + a.closeWindowSeconds;
        vm.roll(height);
        vm.warp(time + 1);
        fails(TradeSettlement.WindowOpen.selector, height, time);
        settlement.close(a);
        vm.roll(height + 1);
        vm.warp(time);
        fails(TradeSettlement.WindowOpen.selector, height, time);
        settlement.close(a);
        vm.warp(time + 1);
        settlement.close(a);
    }

    function test_close_leavesTheProviderItsBlocksAfterAChainThatStoodStill() public {
        Agreement memory a = opened();
        vm.warp(a.endsAt + 7 days);
        giveNotice(a, LENDER);
        vm.roll(block.number + a.closeWindowBlocks);
        vm.warp(block.timestamp + 7 days);
        failsSomehow(TradeSettlement.WindowOpen.selector);
        settlement.close(a);
        claim(a, voucher(a, 0, 10));
        vm.roll(block.number + 1);
        settlement.close(a);
        same(state(a).paid, 70, "claimed within the window");
    }

    function test_close_failsIfUnknown() public {
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(agreement()));
        settlement.close(agreement());
    }

    function test_claim_failsAfterClosing() public {
        Agreement memory a = opened();
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        claim(a, voucher(a, 0, 10));
    }

    function test_close_thenOpenAgainChangesNothing() public {
        Agreement memory a = opened();
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        open(a);
        same(locked(BANK), 0, "a used agreement locks nothing");
    }

    // --- Windows and shares ----------------------------------------------------------------------------------------------------

    function test_open_failsIfAWindowIsShorterThanTheDeploymentAllows() public {
        Agreement memory a = agreement();
        a.closeWindowBlocks = WINDOW_BLOCKS - 1;
        fails(TradeSettlement.WindowTooShort.selector, WINDOW_BLOCKS, WINDOW_SECONDS);
        open(a);
        a = agreement();
        a.closeWindowSeconds = WINDOW_SECONDS - 1;
        fails(TradeSettlement.WindowTooShort.selector, WINDOW_BLOCKS, WINDOW_SECONDS);
        open(a);
        (a.closeWindowBlocks, a.closeWindowSeconds) = (0, 0);
        fails(TradeSettlement.WindowTooShort.selector, WINDOW_BLOCKS, WINDOW_SECONDS);
        open(a);
    }

    function test_open_failsIfAWindowWouldLockTheRefundForMoreThan90Days() public {
        Agreement memory a = agreement();
        a.closeWindowBlocks = 7_776_001;
        fails(TradeSettlement.WindowTooLong.selector, 7_776_000, 90 days);
        open(a);
        (a.closeWindowBlocks, a.closeWindowSeconds) = (WINDOW_BLOCKS, 90 days + 1);
        fails(TradeSettlement.WindowTooLong.selector, 7_776_000, 90 days);
        open(a);
        (a.closeWindowBlocks, a.closeWindowSeconds) = (7_776_000, 90 days);
        open(a);
        same(state(a).openedAt, block.number, "the longest is taken");
    }

    function test_constructor_failsIfNoAgreementCouldKeepToItsWindows() public {
        same(settlement.minWindowBlocks(), WINDOW_BLOCKS, "blocks");
        same(settlement.minWindowSeconds(), WINDOW_SECONDS, "seconds");
        fails(TradeSettlement.WindowTooLong.selector, 7_776_000, 90 days);
        new TradeSettlement(directory, grants, address(disputes), 7_776_001, 0);
        fails(TradeSettlement.WindowTooLong.selector, 7_776_000, 90 days);
        new TradeSettlement(directory, grants, address(disputes), 0, 90 days + 1);
    }

    function test_open_failsIfTheBuyerHasAShare() public {
        Agreement memory a = agreement();
        a.shares[1].member = id(BANK);
        fails(TradeSettlement.BuyerHasShare.selector, id(BANK));
        open(a);
        a.shares[1].basisPoints = 0;
        a.shares[0].basisPoints = 10_000;
        fails(TradeSettlement.BuyerHasShare.selector, id(BANK));
        open(a);
    }

    // --- Cooperative closing ---------------------------------------------------------------------------------------------------

    function twoLanes(uint64 first, uint64 second) private pure returns (uint64[] memory calls) {
        calls = new uint64[](2);
        (calls[0], calls[1]) = (first, second);
    }

    function test_closeCooperatively_paysAndRefundsAtOnceSentByAnyone() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, twoLanes(10, 20));
        emits(address(settlement));
        emit TradeSettlement.Claimed(Statements.hash(a), 0, 10, 10, 70);
        emits(address(settlement));
        emit TradeSettlement.Claimed(Statements.hash(a), 1, 20, 20, 140);
        emits(address(settlement));
        emit TradeSettlement.Paid(Statements.hash(a), id(DEPARTMENT), 147);
        emits(address(settlement));
        emit TradeSettlement.Paid(Statements.hash(a), id(OPERATOR), 63);
        emits(address(settlement));
        emit TradeSettlement.CooperativelyClosed(Statements.hash(a), Statements.hash(f), 30, 210);
        emits(address(settlement));
        emit TradeSettlement.AgreementClosed(Statements.hash(a), 210, 790);
        closeCooperatively(a, f);
        same(free(DEPARTMENT), 147, "provider");
        same(free(OPERATOR), 63, "operator");
        same(free(BANK), 4790, "refunded");
        same(locked(BANK), 0, "nothing locked");
        same(state(a).acknowledged, 210, "acknowledged");
        same(state(a).acknowledgedUnits, 30, "units");
        same(state(a).refunded, 790, "refund");
        same(state(a).closedAt, block.number, "closed at");
        same(state(a).noticeAt, 0, "no notice was needed");
        holds(settlement.finalSettlementOf(Statements.hash(a)) == Statements.hash(f), "on record");
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(Statements.hash(a), 1);
        holds(seq == 20 && units == 20 && amount == 140, "lane");
    }

    function test_closeCooperatively_againChangesNothing() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, 10);
        closeCooperatively(a, f);
        next();
        closeCooperatively(a, f);
        settlement.close(a);
        open(a);
        same(free(BANK), 4930, "refunded once");
        same(free(DEPARTMENT), 49, "paid once");
        same(state(a).closedAt, block.number - 1, "closed once");
    }

    function test_closeCooperatively_endsClaimsAndNotices() public {
        Agreement memory a = opened();
        closeCooperatively(a, finalSettlement(a, 10));
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        claim(a, voucher(a, 0, 20));
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        claimRequest(a, usageRequest(a, 1, 11), key(BANK, STATEMENT));
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        giveNotice(a, BANK);
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        closeCooperatively(a, finalSettlement(a, 20));
    }

    function test_closeCooperatively_failsAfterAnotherClosing() public {
        Agreement memory a = opened();
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        fails(TradeSettlement.AgreementIsClosed.selector, Statements.hash(a));
        closeCooperatively(a, finalSettlement(a, 10));
        holds(settlement.finalSettlementOf(Statements.hash(a)) == 0, "none on record");
    }

    function test_closeCooperatively_takesAClaimThatCameFirst() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 0, 10));
        claim(a, voucher(a, 1, 20));
        closeCooperatively(a, finalSettlement(a, twoLanes(10, 30)));
        same(state(a).paid, 280, "paid once");
        same(free(BANK), 4720, "the rest is back");
    }

    function test_closeCooperatively_leavesLanesThatItDoesNotNameAsClaimed() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 1, 20));
        FinalSettlement memory f = finalSettlement(a, 10);
        fails(TradeSettlement.TotalsDiffer.selector, 30, 210);
        closeCooperatively(a, f);
        (f.units, f.amount) = (30, 210);
        closeCooperatively(a, f);
        same(state(a).paid, 210, "paid");
    }

    function test_closeCooperatively_failsBelowWhatWasClaimed() public {
        Agreement memory a = opened();
        claim(a, voucher(a, 0, 10));
        FinalSettlement memory f = finalSettlement(a, 10);
        f.lanes[0].seq = 9;
        fails(TradeSettlement.BelowClaimed.selector, uint256(0));
        closeCooperatively(a, f);
        f = finalSettlement(a, 10);
        f.lanes[0].units = f.units = 9;
        fails(TradeSettlement.BelowClaimed.selector, uint256(0));
        closeCooperatively(a, f);
        f = finalSettlement(a, 10);
        f.lanes[0].amount = f.amount = 69;
        fails(TradeSettlement.BelowClaimed.selector, uint256(0));
        closeCooperatively(a, f);
        same(state(a).closedAt, 0, "open");
    }

    function test_closeCooperatively_failsAboveTheCaps() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, 10);
        f.lanes[0].amount = f.amount = 1001;
        fails(TradeSettlement.OverCap.selector, 1001, 1000);
        closeCooperatively(a, f);
        f = finalSettlement(a, 10);
        f.lanes[0].units = f.units = 201;
        fails(TradeSettlement.OverUnits.selector, 201, 200);
        closeCooperatively(a, f);
        f.lanes[0].units = f.units = 200;
        f.lanes[0].amount = f.amount = 1000;
        closeCooperatively(a, f);
        same(state(a).refunded, 0, "all of the cap");
    }

    function test_closeCooperatively_failsIfTheTotalsAreNotTheLanesSum() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, twoLanes(10, 20));
        f.amount = 211;
        fails(TradeSettlement.TotalsDiffer.selector, 30, 210);
        closeCooperatively(a, f);
        (f.amount, f.units) = (210, 29);
        fails(TradeSettlement.TotalsDiffer.selector, 30, 210);
        closeCooperatively(a, f);
    }

    function test_closeCooperatively_failsIfALaneIsUnknownNamedTwiceOrOutOfOrder() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, twoLanes(10, 20));
        f.lanes[1].lane = 2;
        fails(TradeSettlement.WrongLane.selector, 2);
        closeCooperatively(a, f);
        f.lanes[1].lane = 0;
        fails(TradeSettlement.LanesNotAscending.selector, uint256(0));
        closeCooperatively(a, f);
        (f.lanes[0].lane, f.lanes[1].lane) = (1, 0);
        fails(TradeSettlement.LanesNotAscending.selector, uint256(0));
        closeCooperatively(a, f);
    }

    function test_closeCooperatively_failsUnlessBothPinnedKeysSigned() public {
        Agreement memory a = opened();
        FinalSettlement memory f = finalSettlement(a, 10);
        uint256 provider = key(DEPARTMENT, STATEMENT);
        uint256 buyer = key(BANK, STATEMENT);
        fails(Membership.WrongSigner.selector, vm.addr(buyer), id(DEPARTMENT));
        closeCooperatively(a, f, buyer, buyer);
        fails(Membership.WrongSigner.selector, vm.addr(provider), id(BANK));
        closeCooperatively(a, f, provider, provider);
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, TRANSACTION), id(DEPARTMENT));
        closeCooperatively(a, f, key(DEPARTMENT, TRANSACTION), buyer);
        bytes memory signature = sign(address(settlement), Statements.hash(f), buyer);
        bytes memory providers = sign(address(settlement), Statements.hash(f), provider);
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        settlement.closeCooperatively(a, f, providers, mirrored(signature));
        f.lanes[0].amount = f.amount = 0;
        failsSomehow(Membership.WrongSigner.selector);
        settlement.closeCooperatively(a, f, providers, signature);
    }

    /// @dev A thief of the provider's key, together with the buyer, must not close over what the provider can still claim.
    function test_closeCooperatively_failsOnceAKeyHasEndedButClaimsGoOn() public {
        Agreement memory a = opened();
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(DEPARTMENT, STATEMENT)), "stolen")));
        next();
        fails(Membership.WrongSigner.selector, keyAddress(DEPARTMENT, STATEMENT), id(DEPARTMENT));
        closeCooperatively(a, finalSettlement(a, 0));
        claim(a, voucher(a, 0, 10));
        same(state(a).paid, 70, "delivered is paid");
    }

    function test_closeCooperatively_failsIfTheBuyersKeyHasEnded() public {
        Agreement memory a = opened();
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(BANK, STATEMENT)), "stolen")));
        next();
        fails(Membership.WrongSigner.selector, keyAddress(BANK, STATEMENT), id(BANK));
        closeCooperatively(a, finalSettlement(a, 10));
    }

    function test_closeCooperatively_failsForAnotherAgreementVersionOrChain() public {
        Agreement memory a = opened();
        Agreement memory another = agreement();
        another.nonce = "another";
        FinalSettlement memory f = finalSettlement(another, 10);
        fails(TradeSettlement.UnknownAgreement.selector, Statements.hash(another));
        closeCooperatively(another, f);
        open(another);
        fails(TradeSettlement.OtherAgreement.selector, Statements.hash(a), Statements.hash(another));
        closeCooperatively(a, f);
        f = finalSettlement(a, 10);
        f.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        closeCooperatively(a, f);
        f.version = 1;
        bytes memory provider = sign(address(grants), Statements.hash(f), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(grants), Statements.hash(f), key(BANK, STATEMENT));
        failsSomehow(Membership.WrongSigner.selector);
        settlement.closeCooperatively(a, f, provider, buyer);
    }

    function test_closeCooperatively_worksAfterNoticeForSuspendedMembersOnAClosedContract() public {
        Agreement memory a = opened();
        giveNotice(a, BANK);
        closeToNewBusiness(address(settlement));
        suspend(DEPARTMENT);
        suspend(BANK);
        suspend(OPERATOR);
        closeCooperatively(a, finalSettlement(a, 10));
        withdraw(DEPARTMENT, 49, "out");
        withdraw(OPERATOR, 21, "out");
        withdraw(BANK, 4930, "out");
        same(totalsNow().withdrawn, 5000, "all of it out");
    }

    function test_closeCooperatively_ofFreeSharingMovesNoMoney() public {
        Agreement memory a = agreement();
        (a.price, a.cap) = (0, 0);
        open(a);
        closeCooperatively(a, finalSettlement(a, 10));
        same(state(a).acknowledgedUnits, 10, "units");
        same(state(a).paid, 0, "paid");
        same(state(a).refunded, 0, "refunded");
        same(state(a).closedAt, block.number, "closed");
        same(free(BANK), 5000, "free");
    }

    function test_closeCooperatively_ofAnUnusedAgreementRefundsAll() public {
        Agreement memory a = opened();
        closeCooperatively(a, finalSettlement(a, new uint64[](0)));
        same(free(BANK), 5000, "all back");
        same(state(a).closedAt, block.number, "closed");
    }

    /// @dev Whatever was claimed before, the parts are those of the final amount, and the rest goes back.
    function test_closeCooperatively_splitsLikeClaims(uint16 firstShare, uint128 cap, uint128[4] memory amounts)
        public
    {
        Agreement memory a = agreement();
        uint256 first = fold(firstShare, 0, 10_000);
        (a.shares[0].basisPoints, a.shares[1].basisPoints) = (uint16(first), uint16(10_000 - first));
        (a.cap, a.maxUnits) = (uint128(fold(cap, 1, type(uint64).max - 5000)), 0);
        deposit(confirmation(BANK, a.cap, "second"));
        open(a);
        uint128[2] memory claimed;
        uint128[2] memory last;
        claimed[0] = uint128(fold(amounts[0], 0, a.cap));
        claimed[1] = uint128(fold(amounts[1], 0, a.cap - claimed[0]));
        last[0] = claimed[0] + uint128(fold(amounts[2], 0, a.cap - claimed[0] - claimed[1]));
        last[1] = claimed[1] + uint128(fold(amounts[3], 0, a.cap - last[0] - claimed[1]));
        FinalSettlement memory f = finalSettlement(a, twoLanes(1, 1));
        for (uint16 lane = 0; lane < 2; ++lane) {
            f.lanes[lane].amount = last[lane];
            if (claimed[lane] == 0) continue;
            claim(a, Voucher(1, Statements.hash(a), lane, 1, 1, claimed[lane], keccak256("receipt")));
        }
        f.amount = last[0] + last[1];
        closeCooperatively(a, f);
        uint256 paid = f.amount * first / 10_000 + f.amount * (10_000 - first) / 10_000;
        same(state(a).paid, paid, "paid");
        same(state(a).refunded, a.cap - paid, "refunded");
        same(free(BANK), 5000 + a.cap - paid, "back to the buyer");
        same(locked(BANK), 0, "nothing locked");
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev Claims over two lanes in steps of any size against sums worked out here: each part is the floor of its share of the total,
    /// whatever the order and number of claims, and what is left goes back to the buyer.
    function test_claim_splitsWhateverTheSteps(uint16 firstShare, uint128 cap, uint128[6] memory amounts) public {
        Agreement memory a = agreement();
        uint256 first = fold(firstShare, 0, 10_000);
        (a.shares[0].basisPoints, a.shares[1].basisPoints) = (uint16(first), uint16(10_000 - first));
        (a.cap, a.maxUnits) = (uint128(fold(cap, 1, type(uint64).max - 5000)), 0);
        deposit(confirmation(BANK, a.cap, "second"));
        open(a);
        uint256[2] memory heads;
        for (uint64 i = 0; i < amounts.length; ++i) {
            uint256 rest = a.cap - heads[0] - heads[1];
            if (rest == 0) break;
            uint256 lane = amounts[i] & 1;
            heads[lane] += fold(amounts[i] >> 1, 1, rest);
            Voucher memory v =
                Voucher(1, Statements.hash(a), uint16(lane), i + 1, i + 1, uint128(heads[lane]), keccak256("receipt"));
            claim(a, v);
            checkSums(a, heads[0] + heads[1], first);
        }
        giveNotice(a, BANK);
        passWindow(a);
        settlement.close(a);
        uint256 paid = state(a).paid;
        same(state(a).refunded, a.cap - paid, "refund");
        same(free(BANK), 5000 + a.cap - paid, "back to the buyer");
        same(locked(BANK), 0, "nothing locked");
    }

    function checkSums(Agreement memory a, uint256 acknowledged, uint256 first) private view {
        uint256 departments = acknowledged * first / 10_000;
        uint256 operators = acknowledged * (10_000 - first) / 10_000;
        same(free(DEPARTMENT), departments, "department");
        same(free(OPERATOR), operators, "operator");
        same(state(a).paid, departments + operators, "paid");
        holds(acknowledged - state(a).paid <= 1, "rounding leaves less than a fen a share");
        same(state(a).acknowledged, acknowledged, "acknowledged");
        same(locked(BANK), a.cap - departments - operators, "locked");
        Account memory totals = totalsNow();
        same(totals.deposited, uint256(totals.withdrawn) + totals.free + totals.locked, "no fen made or lost");
    }

    /// @dev Up to sixteen shares of any size: together never more than acknowledged, and short of it by less than their number.
    function test_claim_splitsAmongManyWithoutOverpaying(uint16[15] memory cuts, uint8 count, uint128 amount) public {
        Agreement memory a = agreement();
        a.shares = manyShares(cuts, fold(count, 1, 16));
        a.cap = uint128(fold(amount, 1, 1e15));
        a.maxUnits = 0;
        deposit(confirmation(BANK, a.cap, "second"));
        open(a);
        Voucher memory v = voucher(a, 0, 1);
        v.acknowledgedAmount = a.cap;
        claim(a, v);
        uint256 sum = 0;
        for (uint256 i = 0; i < a.shares.length; ++i) {
            uint256 part = uint256(a.cap) * a.shares[i].basisPoints / 10_000;
            same(settlement.paidTo(Statements.hash(a), a.shares[i].member), part, "part");
            sum += part;
        }
        same(state(a).paid, sum, "paid");
        holds(sum <= a.cap && a.cap - sum < a.shares.length, "rounding");
    }

    /// @dev `count` members with shares that make 10,000, each what is taken of the rest; those beyond the ten founders are
    /// admitted, the buyer is left out.
    function manyShares(uint16[15] memory cuts, uint256 count) private returns (Share[] memory shares) {
        shares = new Share[](count);
        uint256 rest = 10_000;
        for (uint256 i = 0; i < count; ++i) {
            uint256 who = i == BANK ? 16 : i;
            if (who > LENDER) admit(who, 64);
            uint256 part = i + 1 == count ? rest : fold(cuts[i], 0, rest);
            shares[i] = Share(id(who), uint16(part));
            rest -= part;
        }
    }

    /// @dev The lane's word gives back the three counters, whatever their size.
    function test_laneState_keepsAllThreeCounters(uint16 lane, uint64 seq, uint64 units, uint128 amount) public {
        Agreement memory a = agreement();
        lane = uint16(fold(lane, 0, 255));
        (amount, units) = (uint128(fold(amount, 1, type(uint64).max - 5000)), uint64(fold(units, 0, type(uint64).max)));
        (a.lanes, a.cap, a.maxUnits) = (256, amount, 0);
        deposit(confirmation(BANK, a.cap, "second"));
        open(a);
        claim(a, Voucher(1, Statements.hash(a), lane, seq, units, amount, keccak256("receipt")));
        (uint64 gotSeq, uint64 gotUnits, uint128 gotAmount) = laneStateOf(Statements.hash(a), lane);
        same(gotSeq, seq, "sequence");
        same(gotUnits, units, "units");
        same(gotAmount, amount, "amount");
    }

    /// @dev Deposits and withdrawals of any size: out is never more than in.
    function test_withdraw_neverTakesMoreThanWasPutIn(uint56[6] memory amounts, uint8 kinds) public {
        uint256 balance = 5000;
        uint256 total = 5000;
        for (uint256 i = 0; i < amounts.length; ++i) {
            uint128 amount = uint128(amounts[i]) + 1;
            if ((kinds >> i) & 1 == 1) {
                deposit(confirmation(BANK, amount, bytes32(i)));
                balance += amount;
                total += amount;
                continue;
            }
            if (amount > balance) fails(TradeSettlement.NotEnoughFree.selector, balance, amount);
            withdraw(BANK, amount, bytes32(i));
            if (amount <= balance) balance -= amount;
        }
        same(free(BANK), balance, "free");
        same(totalsNow().deposited, total, "deposited");
        same(totalsNow().withdrawn, total - balance, "withdrawn");
    }
}
