// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Membership} from "../src/Membership.sol";
import {PropertyLedger} from "../src/PropertyLedger.sol";
import {DealStep, DealTerms, Statements, TitleStatement, UnitHold} from "../src/Statements.sol";
import {World} from "./World.sol";

contract PropertyLedgerTest is World {
    bytes32 private constant UNIT = keccak256("unit");
    bytes32 private constant OTHER_UNIT = keccak256("another unit");
    uint64 private constant HOLD_END = START + 90 days;

    function terms() private pure returns (DealTerms memory) {
        return dealTerms(UNIT, 1);
    }

    function dealId() private pure returns (bytes32) {
        return Statements.hash(terms());
    }

    function title() private pure returns (TitleStatement memory) {
        return title(UNIT, START);
    }

    function opened() private returns (DealTerms memory t) {
        t = terms();
        openDeal(t, title());
        next();
    }

    function takeUpTo(DealTerms memory t, uint8 last) private {
        for (uint8 step = 2; step <= last; ++step) {
            if (step != 5 || t.bank != 0) take(t, step);
        }
    }

    function openSigned(TitleStatement memory s, bytes memory titleSignature, bytes memory sellerSignature) private {
        from(AGENT);
        property.open(terms(), s, titleSignature, dealStep(terms(), 1), sellerSignature);
    }

    function titleSigned(TitleStatement memory s, uint256 privateKey) private view returns (bytes memory) {
        return sign(address(property), Statements.hash(s), privateKey);
    }

    function unitHold(bool placed, uint64 issuedAt) private pure returns (UnitHold memory) {
        return UnitHold(1, id(REGISTRAR), UNIT, keccak256("order"), placed, issuedAt, placed ? HOLD_END : 0);
    }

    function hold() private {
        setHold(unitHold(true, START), key(REGISTRAR, STATEMENT));
    }

    /// @dev A hold's word: its time, its end while it holds, and what else it says.
    function holdPacked(uint64 issuedAt, bool held, uint256 heights) private pure returns (uint256) {
        uint256 end = held ? HOLD_END : 0;
        return (end << 168) | (uint256(issuedAt) << 128) | (uint256(held ? 1 : 0) << 96) | heights;
    }

    function openBy(uint256 who, DealTerms memory t, TitleStatement memory s) private {
        bytes memory titleSignature = titleSigned(s, key(who, STATEMENT));
        DealStep memory first = dealStep(t, 1);
        bytes memory sellerSignature = signStep(first, SELLER_KEY);
        from(AGENT);
        property.open(t, s, titleSignature, first, sellerSignature);
    }

    function sold() private returns (bytes32 dealId_) {
        DealTerms memory t = opened();
        takeUpTo(t, 7);
        return dealId();
    }

    // --- The whole way ---------------------------------------------------------------------------------------------------------

    function test_deal_goesThroughAllStepsToRegistration() public {
        DealTerms memory t = terms();
        emits(address(property));
        emit PropertyLedger.DealOpened(dealId(), UNIT, t);
        emits(address(property));
        emit PropertyLedger.DealStepped(dealId(), 1, dealStep(t, 1));
        openDeal(t, title());
        uint256 openedAt = block.number;
        same(property.openDealOf(id(REGISTRAR), UNIT), dealId(), "unit in deal");
        next();
        takeUpTo(t, 6);
        uint256 packed = property.dealWord(dealId());
        same(packed, (block.number << 152) | (uint256(63) << 144) | openedAt, "six steps");
        next();
        emits(address(property));
        emit PropertyLedger.DealStepped(dealId(), 7, dealStep(t, 7));
        emits(address(property));
        emit PropertyLedger.DealRegistered(dealId(), UNIT);
        take(t, 7);
        packed = property.dealWord(dealId());
        same(packed, (block.number << 152) | (uint256(127) << 144) | (block.number << 48) | openedAt, "registered");
        same(property.openDealOf(id(REGISTRAR), UNIT), 0, "unit free");
        same(property.stepHash(dealId(), 7), Statements.hash(dealStep(t, 7)), "step");
    }

    function test_deal_withoutALoanNeedsNoMortgage() public {
        DealTerms memory t = terms();
        t.bank = 0;
        openDeal(t, title());
        takeUpTo(t, 4);
        fails(PropertyLedger.OutOfOrder.selector, 5);
        take(t, 5);
        takeUpTo(t, 7);
        same(uint8(property.dealWord(Statements.hash(t)) >> 144), 111, "all but the mortgage");
    }

    function test_steps_takesManyAtOnceAllOrNone() public {
        DealTerms memory t = opened();
        DealStep[] memory statements = new DealStep[](3);
        bytes[] memory signatures = new bytes[](3);
        for (uint8 i = 0; i < 3; ++i) {
            statements[i] = dealStep(t, i + 2);
            signatures[i] = signStep(statements[i], stepKey(i + 2));
        }
        bytes memory good = signatures[2];
        signatures[2] = signStep(statements[2], key(BANK, STATEMENT));
        fails(PropertyLedger.WrongParty.selector, 4);
        from(AGENT);
        property.steps(t, statements, signatures);
        same(uint8(property.dealWord(dealId()) >> 144), 1, "none");
        signatures[2] = good;
        from(AGENT);
        property.steps(t, statements, signatures);
        same(uint8(property.dealWord(dealId()) >> 144), 15, "all");
    }

    // --- Opening ---------------------------------------------------------------------------------------------------------------

    function test_open_ofTheSameAgainChangesNothing() public {
        opened();
        uint256 packed = property.dealWord(dealId());
        openDeal(terms(), title());
        same(property.dealWord(dealId()), packed, "word");
    }

    function test_open_failsIfTheUnitIsInAnotherDeal() public {
        opened();
        fails(PropertyLedger.UnitInDeal.selector, UNIT, dealId());
        openDeal(dealTerms(UNIT, 2), title());
        openDeal(dealTerms(OTHER_UNIT, 2), title(OTHER_UNIT, START));
    }

    function test_open_failsIfTheSellerDidNotSign() public {
        DealStep memory first = dealStep(terms(), 1);
        bytes memory signed = titleSigned(title(), key(REGISTRAR, STATEMENT));
        fails(PropertyLedger.WrongParty.selector, 1);
        openSigned(title(), signed, signStep(first, BUYER_KEY));
        bytes memory high = mirrored(signStep(first, SELLER_KEY));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        openSigned(title(), signed, high);
        same(property.openDealOf(id(REGISTRAR), UNIT), 0, "nothing opened");
    }

    function test_open_failsIfItsFirstStepIsNotTheSellers() public {
        bytes memory signed = titleSigned(title(), key(REGISTRAR, STATEMENT));
        DealStep memory second = dealStep(terms(), 2);
        bytes memory signature = signStep(second, BUYER_KEY);
        fails(PropertyLedger.OutOfOrder.selector, 2);
        from(AGENT);
        property.open(terms(), title(), signed, second, signature);
    }

    function test_open_failsIfTheFirstStepIsOfAnotherDeal() public {
        DealTerms memory another = dealTerms(UNIT, 2);
        bytes memory signed = titleSigned(title(), key(REGISTRAR, STATEMENT));
        DealStep memory first = dealStep(another, 1);
        bytes memory signature = signStep(first, SELLER_KEY);
        fails(PropertyLedger.OtherDeal.selector, dealId(), Statements.hash(another));
        from(AGENT);
        property.open(terms(), title(), signed, first, signature);
    }

    function test_open_failsIfTheTitleNamesAnotherUnitSellerOrRegistrar() public {
        TitleStatement memory s = title();
        s.unit = OTHER_UNIT;
        fails(PropertyLedger.TitleMismatch.selector);
        openDeal(terms(), s);
        s = title();
        s.ownerKey = vm.addr(BUYER_KEY);
        fails(PropertyLedger.TitleMismatch.selector);
        openDeal(terms(), s);
        s = title();
        s.registrar = id(TAX_OFFICE);
        fails(PropertyLedger.TitleMismatch.selector);
        openDeal(terms(), s);
    }

    function test_open_failsIfTheTitleIsNotSignedByTheRegistrar() public {
        bytes memory seller = signStep(dealStep(terms(), 1), SELLER_KEY);
        bytes memory byAgent = titleSigned(title(), key(AGENT, STATEMENT));
        fails(Membership.WrongSigner.selector, keyAddress(AGENT, STATEMENT), id(REGISTRAR));
        openSigned(title(), byAgent, seller);
        bytes memory high = mirrored(titleSigned(title(), key(REGISTRAR, STATEMENT)));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        openSigned(title(), high, seller);
    }

    function test_open_failsIfTheRegistrarsKeyEnded() public {
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(REGISTRAR, STATEMENT)), "lost")));
        fails(Membership.WrongSigner.selector, keyAddress(REGISTRAR, STATEMENT), id(REGISTRAR));
        openDeal(terms(), title());
    }

    function test_open_failsIfTheRegistrarIsNoDepartmentOrSuspended() public {
        DealTerms memory t = terms();
        TitleStatement memory s = title();
        (t.registrar, s.registrar) = (id(AGENT), id(AGENT));
        fails(Membership.WrongRole.selector, id(AGENT), 2);
        openDeal(t, s);
        suspend(REGISTRAR);
        fails(Membership.NotActive.selector, id(REGISTRAR));
        openDeal(terms(), title());
    }

    function test_open_ofAnotherDepartmentsUnitOfTheSameNameBlocksNobody() public {
        DealTerms memory squatting = dealTerms(UNIT, 2);
        TitleStatement memory s = title();
        (squatting.registrar, s.registrar) = (id(TAX_OFFICE), id(TAX_OFFICE));
        openBy(TAX_OFFICE, squatting, s);
        same(property.openDealOf(id(TAX_OFFICE), UNIT), Statements.hash(squatting), "a unit of its own");
        DealTerms memory t = opened();
        same(property.openDealOf(id(REGISTRAR), UNIT), dealId(), "beside the registrar's");
        takeUpTo(t, 7);
        same(property.lastRegistrationOf(id(REGISTRAR), UNIT), dealId(), "registered");
        same(property.lastRegistrationOf(id(TAX_OFFICE), UNIT), 0, "and nothing of the other's");
    }

    function test_open_failsIfTheTitleIsOfAnotherRegistrar() public {
        TitleStatement memory s = title();
        s.registrar = id(TAX_OFFICE);
        fails(PropertyLedger.TitleMismatch.selector);
        openBy(TAX_OFFICE, terms(), s);
        s = title();
        fails(Membership.WrongSigner.selector, keyAddress(TAX_OFFICE, STATEMENT), id(REGISTRAR));
        openBy(TAX_OFFICE, terms(), s);
    }

    function test_open_failsIfTheTitleOrTheDealIsOver() public {
        TitleStatement memory s = title();
        s.expiresAt = uint64(block.timestamp) - 1;
        fails(PropertyLedger.TitleExpired.selector, s.expiresAt);
        openDeal(terms(), s);
        DealTerms memory t = terms();
        t.expiresAt = uint64(block.timestamp) - 1;
        fails(PropertyLedger.DealPastExpiry.selector, t.expiresAt);
        openDeal(t, title());
    }

    function test_open_failsIfTheDealLastsTooLong() public {
        DealTerms memory t = terms();
        t.expiresAt = uint64(block.timestamp) + property.MAX_DEAL_TIME() + 1;
        fails(PropertyLedger.DealTooLong.selector, t.expiresAt);
        openDeal(t, title());
        t.expiresAt = type(uint64).max;
        fails(PropertyLedger.DealTooLong.selector, t.expiresAt);
        openDeal(t, title());
        t.expiresAt = uint64(block.timestamp) + property.MAX_DEAL_TIME();
        openDeal(t, title());
    }

    function test_open_failsIfSellerAndBuyerAreOneKey() public {
        DealTerms memory t = terms();
        t.buyer = t.seller;
        fails(PropertyLedger.SellerIsBuyer.selector, t.seller);
        openDeal(t, title());
    }

    function test_open_failsIfTheTitleIsDatedAhead() public {
        uint64 ahead = uint64(block.timestamp) + 1;
        fails(PropertyLedger.TitleDatedAhead.selector, ahead);
        openDeal(terms(), title(UNIT, ahead));
        openDeal(terms(), title(UNIT, ahead - 1));
    }

    function test_open_failsIfTheTitleIsNotBuiltOnTheLastRegistration() public {
        TitleStatement memory s = title();
        s.lastRegistration = keccak256("a registration that never was");
        fails(PropertyLedger.TitleSuperseded.selector, s.lastRegistration, bytes32(0));
        openDeal(terms(), s);
    }

    function test_open_failsIfATitleIsReplayedAfterARegistrationHoweverItIsDated() public {
        bytes32 last = sold();
        same(property.lastRegistrationOf(id(REGISTRAR), UNIT), last, "last registration");
        DealTerms memory again = dealTerms(UNIT, 2);
        uint64[3] memory times = [START, uint64(block.timestamp), uint64(block.timestamp) + 5];
        vm.warp(times[2]);
        for (uint256 i = 0; i < times.length; ++i) {
            fails(PropertyLedger.TitleSuperseded.selector, bytes32(0), last);
            openDeal(again, title(UNIT, times[i]));
        }
        TitleStatement memory s = title();
        s.lastRegistration = last;
        openDeal(again, s);
        same(property.titleHash(Statements.hash(again)), Statements.hash(s), "built on the last registration");
    }

    function test_open_ofTwoTitlesOfOneInstantSellsOnce() public {
        TitleStatement memory second = title();
        second.owner = keccak256("another commitment to the owner");
        bytes32 last = sold();
        fails(PropertyLedger.TitleSuperseded.selector, bytes32(0), last);
        openDeal(dealTerms(UNIT, 2), second);
    }

    function test_open_recordsTheTitleItWasOpenedWith() public {
        opened();
        same(property.titleHash(dealId()), Statements.hash(title()), "title");
        TitleStatement memory second = title();
        second.owner = keccak256("another commitment to the owner");
        openDeal(terms(), second);
        same(property.titleHash(dealId()), Statements.hash(title()), "the first stays");
    }

    function test_expire_keepsTheLastRegistrationAndTheTitlesOfTheUnit() public {
        DealTerms memory t = opened();
        vm.warp(t.expiresAt + 1);
        property.expire(t);
        same(property.lastRegistrationOf(id(REGISTRAR), UNIT), 0, "none");
        DealTerms memory second = dealTerms(UNIT, 2);
        second.expiresAt = t.expiresAt + 2 days;
        openDeal(second, title());
    }

    function test_open_failsIfTheVersionIsUnknown() public {
        DealTerms memory t = terms();
        t.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        openDeal(t, title());
        TitleStatement memory s = title();
        s.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        openDeal(terms(), s);
    }

    function test_open_failsIfTheSenderIsNobodyOrSuspended() public {
        bytes memory signed = titleSigned(title(), key(REGISTRAR, STATEMENT));
        bytes memory seller = signStep(dealStep(terms(), 1), SELLER_KEY);
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        property.open(terms(), title(), signed, dealStep(terms(), 1), seller);
        suspend(AGENT);
        fails(Membership.NotActive.selector, id(AGENT));
        openDeal(terms(), title());
    }

    function test_open_failsIfClosedToNewBusinessWhileOpenDealsRunToTheirEnd() public {
        DealTerms memory t = opened();
        closeToNewBusiness(address(property));
        fails(Membership.ContractIsClosed.selector);
        openDeal(dealTerms(OTHER_UNIT, 2), title(OTHER_UNIT, START));
        takeUpTo(t, 7);
        same(at(property.dealWord(dealId()), 48), block.number, "registered");
    }

    // --- Steps -----------------------------------------------------------------------------------------------------------------

    function test_steps_failIfSignedByTheWrongParty() public {
        DealTerms memory t = opened();
        for (uint8 step = 2; step <= 7; ++step) {
            for (uint8 other = 1; other <= 7; ++other) {
                if (other == step) continue;
                fails(PropertyLedger.WrongParty.selector, step);
                takeSigned(t, dealStep(t, step), stepKey(other));
            }
            take(t, step);
        }
    }

    function test_steps_failIfAMembersNodeKeySigns() public {
        DealTerms memory t = opened();
        fails(PropertyLedger.WrongParty.selector, 3);
        takeSigned(t, dealStep(t, 3), key(AGENT, TRANSACTION));
    }

    function test_steps_failIfOutOfOrder() public {
        DealTerms memory t = opened();
        for (uint8 done = 1; done < 6; ++done) {
            for (uint8 step = done + 2; step <= 7; ++step) {
                if (step <= 3) continue;
                fails(PropertyLedger.OutOfOrder.selector, step);
                take(t, step);
            }
            take(t, done + 1);
        }
        take(t, 7);
    }

    function test_steps_ofAgentAndBuyerComeInAnyOrder() public {
        DealTerms memory t = opened();
        take(t, 3);
        fails(PropertyLedger.OutOfOrder.selector, 4);
        take(t, 4);
        take(t, 2);
        take(t, 4);
        same(uint8(property.dealWord(dealId()) >> 144), 15, "four steps");
    }

    function test_steps_failIfTheStepIsUnknown() public {
        DealTerms memory t = opened();
        DealStep memory s = dealStep(t, 0);
        fails(PropertyLedger.UnknownStep.selector, uint256(0));
        takeSigned(t, s, SELLER_KEY);
        s.step = 8;
        fails(PropertyLedger.UnknownStep.selector, 8);
        takeSigned(t, s, SELLER_KEY);
    }

    function test_steps_failIfAStepIsTakenWithAnotherContent() public {
        DealTerms memory t = opened();
        take(t, 2);
        DealStep memory s = dealStep(t, 2);
        s.content = keccak256("another price");
        fails(PropertyLedger.StepTaken.selector, 2);
        takeSigned(t, s, BUYER_KEY);
    }

    function test_steps_ofTheSameAgainChangeNothing() public {
        DealTerms memory t = opened();
        take(t, 2);
        uint256 packed = property.dealWord(dealId());
        next();
        take(t, 2);
        same(property.dealWord(dealId()), packed, "word");
    }

    function test_steps_failIfAlteredMirroredOrOfAnotherDeal() public {
        DealTerms memory t = opened();
        DealStep[] memory statements = new DealStep[](1);
        bytes[] memory signatures = new bytes[](1);
        statements[0] = dealStep(t, 2);
        signatures[0] = mirrored(signStep(statements[0], BUYER_KEY));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(AGENT);
        property.steps(t, statements, signatures);
        signatures[0] = signStep(statements[0], BUYER_KEY);
        statements[0].signedAt += 1;
        fails(PropertyLedger.WrongParty.selector, 2);
        from(AGENT);
        property.steps(t, statements, signatures);
        DealTerms memory another = dealTerms(OTHER_UNIT, 2);
        openDeal(another, title(OTHER_UNIT, START));
        fails(PropertyLedger.OtherDeal.selector, dealId(), Statements.hash(another));
        takeSigned(t, dealStep(another, 2), BUYER_KEY);
    }

    function test_steps_failIfTheDealIsUnknownOrTheVersionIs() public {
        DealTerms memory t = terms();
        fails(PropertyLedger.UnknownDeal.selector, dealId());
        take(t, 2);
        opened();
        DealStep memory s = dealStep(t, 2);
        s.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        takeSigned(t, s, BUYER_KEY);
    }

    function test_steps_failIfSignaturesAreMissing() public {
        DealTerms memory t = opened();
        fails(PropertyLedger.WrongCount.selector, 1, 0);
        from(AGENT);
        property.steps(t, new DealStep[](1), new bytes[](0));
    }

    function test_steps_failIfTheirMemberIsSuspendedOrTheirKeyEnded() public {
        DealTerms memory t = opened();
        takeUpTo(t, 3);
        suspend(TAX_OFFICE);
        fails(Membership.NotActive.selector, id(TAX_OFFICE));
        take(t, 4);
        lift(TAX_OFFICE);
        govern(abi.encodeCall(directory.endKey, (word(keyAddress(TAX_OFFICE, STATEMENT)), "lost")));
        fails(PropertyLedger.WrongParty.selector, 4);
        take(t, 4);
    }

    function test_steps_failIfTheSenderIsSuspended() public {
        DealTerms memory t = opened();
        suspend(AGENT);
        fails(Membership.NotActive.selector, id(AGENT));
        take(t, 2);
    }

    function test_steps_failAfterRegistrationOrExpiry() public {
        DealTerms memory t = terms();
        t.bank = 0;
        openDeal(t, title());
        takeUpTo(t, 7);
        fails(PropertyLedger.DealOver.selector, Statements.hash(t));
        take(t, 5);

        DealTerms memory late = dealTerms(OTHER_UNIT, 2);
        openDeal(late, title(OTHER_UNIT, START));
        vm.warp(late.expiresAt);
        take(late, 2);
        vm.warp(late.expiresAt + 1);
        fails(PropertyLedger.DealPastExpiry.selector, late.expiresAt);
        take(late, 3);
        property.expire(late);
        fails(PropertyLedger.DealOver.selector, Statements.hash(late));
        take(late, 3);
    }

    // --- Expiry ----------------------------------------------------------------------------------------------------------------

    function test_expire_freesTheUnitOnceSentByAnyone() public {
        DealTerms memory t = opened();
        vm.warp(t.expiresAt);
        fails(PropertyLedger.NotYetExpired.selector, t.expiresAt);
        property.expire(t);
        vm.warp(t.expiresAt + 1);
        emits(address(property));
        emit PropertyLedger.DealExpired(dealId(), UNIT);
        property.expire(t);
        same(property.openDealOf(id(REGISTRAR), UNIT), 0, "unit free");
        uint256 packed = property.dealWord(dealId());
        same(at(packed, 96), block.number, "expired at");
        DealTerms memory second = dealTerms(UNIT, 2);
        second.expiresAt = START + 15 days;
        openDeal(second, title());
        next();
        property.expire(t);
        same(property.dealWord(dealId()), packed, "repeating changes nothing");
        same(property.openDealOf(id(REGISTRAR), UNIT), Statements.hash(second), "and frees no later deal");
    }

    function test_expire_leavesARegisteredDealAlone() public {
        DealTerms memory t = opened();
        takeUpTo(t, 7);
        uint256 packed = property.dealWord(dealId());
        vm.warp(t.expiresAt + 1);
        property.expire(t);
        same(property.dealWord(dealId()), packed, "registered");
    }

    function test_expire_failsIfUnknown() public {
        fails(PropertyLedger.UnknownDeal.selector, dealId());
        property.expire(terms());
    }

    // --- Holds -----------------------------------------------------------------------------------------------------------------

    function test_hold_stopsOpeningAndEveryStepUntilLifted() public {
        hold();
        fails(PropertyLedger.UnitHeld.selector, UNIT);
        openDeal(terms(), title());
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        DealTerms memory t = opened();
        uint64 issuedAt = START + 2;
        for (uint8 step = 2; step <= 7; ++step) {
            setHold(unitHold(true, issuedAt++), key(REGISTRAR, STATEMENT));
            fails(PropertyLedger.UnitHeld.selector, UNIT);
            take(t, step);
            setHold(unitHold(false, issuedAt++), key(REGISTRAR, STATEMENT));
            take(t, step);
        }
    }

    function test_hold_keepsHeightsAndTheLatestOrder() public {
        emits(address(property));
        emit PropertyLedger.UnitHoldPlaced(id(REGISTRAR), UNIT, keccak256("order"), HOLD_END);
        hold();
        uint256 placedAt = block.number;
        same(property.holdWord(id(REGISTRAR), UNIT), holdPacked(START, true, placedAt), "placed");
        next();
        hold();
        same(property.holdWord(id(REGISTRAR), UNIT), holdPacked(START, true, placedAt), "once");
        emits(address(property));
        emit PropertyLedger.UnitHoldLifted(id(REGISTRAR), UNIT, keccak256("order"));
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        same(
            property.holdWord(id(REGISTRAR), UNIT),
            holdPacked(START + 1, false, (block.number << 48) | placedAt),
            "lifted"
        );
    }

    function test_hold_underAFurtherOrderKeepsTheHeightItBegan() public {
        hold();
        uint256 placedAt = block.number;
        next();
        setHold(unitHold(true, START + 2), key(REGISTRAR, STATEMENT));
        same(property.holdWord(id(REGISTRAR), UNIT), holdPacked(START + 2, true, placedAt), "held since the first");
        fails(PropertyLedger.HoldNotNewer.selector, START + 1, START + 2);
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        setHold(unitHold(false, START + 3), key(REGISTRAR, STATEMENT));
        uint256 liftedAt = block.number;
        next();
        setHold(unitHold(false, START + 4), key(REGISTRAR, STATEMENT));
        same(
            property.holdWord(id(REGISTRAR), UNIT),
            holdPacked(START + 4, false, (liftedAt << 48) | placedAt),
            "free since the first"
        );
    }

    function test_hold_againKeepsTheHoldBefore() public {
        hold();
        uint256 placedAt = block.number;
        next();
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        uint256 liftedAt = block.number;
        setHold(unitHold(false, START + 2), key(REGISTRAR, STATEMENT));
        uint256 before = property.holdWord(id(REGISTRAR), UNIT);
        next();
        setHold(unitHold(true, START + 3), key(REGISTRAR, STATEMENT));
        uint256 heights = (liftedAt << 208) | (liftedAt << 48) | block.number;
        same(property.holdWord(id(REGISTRAR), UNIT), holdPacked(START + 3, true, heights), "second hold");
        same(property.earlierHoldWord(id(REGISTRAR), UNIT, liftedAt), before, "first hold");
        same(before, holdPacked(START + 2, false, (liftedAt << 48) | placedAt), "with its latest order");
    }

    function test_hold_failsIfAnOldLiftingIsReplayed() public {
        hold();
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        setHold(unitHold(true, START + 2), key(REGISTRAR, STATEMENT));
        fails(PropertyLedger.HoldNotNewer.selector, START + 1, START + 2);
        setHold(unitHold(false, START + 1), key(REGISTRAR, STATEMENT));
        fails(PropertyLedger.HoldNotNewer.selector, START + 2, START + 2);
        setHold(unitHold(false, START + 2), key(REGISTRAR, STATEMENT));
    }

    function test_hold_failsIfNotTheRegistrarsStatement() public {
        fails(Membership.WrongSigner.selector, keyAddress(TAX_OFFICE, STATEMENT), id(REGISTRAR));
        setHold(unitHold(true, START), key(TAX_OFFICE, STATEMENT));
        UnitHold memory h = unitHold(true, START);
        h.registrar = id(LENDER);
        fails(Membership.WrongRole.selector, id(LENDER), 2);
        setHold(h, key(LENDER, STATEMENT));
        h = unitHold(true, START);
        h.version = 2;
        fails(Membership.WrongVersion.selector, 2);
        setHold(h, key(REGISTRAR, STATEMENT));
        bytes memory signature =
            sign(address(property), Statements.hash(unitHold(true, START)), key(REGISTRAR, STATEMENT));
        failsSomehow(ECDSA.ECDSAInvalidSignatureS.selector);
        from(REGISTRAR);
        property.setHold(unitHold(true, START), mirrored(signature));
    }

    function test_hold_ofAnotherDepartmentStopsNobody() public {
        UnitHold memory h = unitHold(true, START);
        h.registrar = id(TAX_OFFICE);
        setHold(h, key(TAX_OFFICE, STATEMENT));
        DealTerms memory t = opened();
        takeUpTo(t, 7);
        same(property.holdWord(id(REGISTRAR), UNIT), 0, "no hold of the registrar's");
    }

    function test_hold_ofAnotherDepartmentIsLiftedByNobodyElse() public {
        hold();
        UnitHold memory h = unitHold(false, START + 1);
        h.registrar = id(TAX_OFFICE);
        setHold(h, key(TAX_OFFICE, STATEMENT));
        fails(PropertyLedger.UnitHeld.selector, UNIT);
        openDeal(terms(), title());
    }

    function test_hold_failsIfItsEndIsMissingPastOrTooFar() public {
        UnitHold memory h = unitHold(true, START);
        uint64 bound = uint64(block.timestamp) + property.MAX_HOLD_TIME();
        uint64[4] memory ends = [0, uint64(block.timestamp), bound + 1, type(uint64).max];
        for (uint256 i = 0; i < ends.length; ++i) {
            h.endsAt = ends[i];
            fails(PropertyLedger.WrongHoldEnd.selector, ends[i]);
            setHold(h, key(REGISTRAR, STATEMENT));
        }
        h.endsAt = bound;
        setHold(h, key(REGISTRAR, STATEMENT));
        h = unitHold(false, START + 1);
        h.endsAt = HOLD_END;
        fails(PropertyLedger.WrongHoldEnd.selector, HOLD_END);
        setHold(h, key(REGISTRAR, STATEMENT));
    }

    function test_hold_failsIfDatedAheadSoThatNoLiftingCouldFollow() public {
        uint64 ahead = uint64(block.timestamp) + property.CLOCK_TOLERANCE() + 1;
        fails(PropertyLedger.HoldDatedAhead.selector, ahead);
        setHold(unitHold(true, ahead), key(REGISTRAR, STATEMENT));
        fails(PropertyLedger.HoldDatedAhead.selector, type(uint64).max);
        setHold(unitHold(true, type(uint64).max), key(REGISTRAR, STATEMENT));
        setHold(unitHold(true, ahead - 1), key(REGISTRAR, STATEMENT));
        next();
        setHold(unitHold(false, ahead), key(REGISTRAR, STATEMENT));
    }

    function test_hold_standsAfterItsEndUntilSomebodyEndsIt() public {
        hold();
        vm.warp(HOLD_END);
        fails(PropertyLedger.NotYetExpired.selector, HOLD_END);
        property.endHold(id(REGISTRAR), UNIT);
        vm.warp(HOLD_END + 1);
        DealTerms memory t = dealTerms(UNIT, 1);
        TitleStatement memory s = title(UNIT, HOLD_END);
        (t.expiresAt, s.expiresAt) = (HOLD_END + 10 days, HOLD_END + 10 days);
        fails(PropertyLedger.UnitHeld.selector, UNIT);
        openDeal(t, s);
        uint256 placedAt = block.number;
        next();
        emits(address(property));
        emit PropertyLedger.UnitHoldEnded(id(REGISTRAR), UNIT);
        vm.prank(address(7));
        property.endHold(id(REGISTRAR), UNIT);
        uint256 packed = property.holdWord(id(REGISTRAR), UNIT);
        same(at(packed, 48), block.number, "ended in this block");
        same(at(packed, 0), placedAt, "placed before");
        same(packed >> 96 & 1, 0, "not held");
        next();
        property.endHold(id(REGISTRAR), UNIT);
        same(property.holdWord(id(REGISTRAR), UNIT), packed, "once");
        fails(PropertyLedger.HoldNotNewer.selector, START, START);
        hold();
        openDeal(t, s);
    }

    function test_hold_isRenewedByAFurtherOrderAndNeverShortened() public {
        hold();
        UnitHold memory h = unitHold(true, START + 1);
        h.endsAt = HOLD_END - 60 days;
        setHold(h, key(REGISTRAR, STATEMENT));
        vm.warp(HOLD_END - 1 days);
        fails(PropertyLedger.NotYetExpired.selector, HOLD_END);
        property.endHold(id(REGISTRAR), UNIT);
        (h.issuedAt, h.endsAt) = (START + 2, HOLD_END + 90 days);
        setHold(h, key(REGISTRAR, STATEMENT));
        vm.warp(HOLD_END + 1);
        fails(PropertyLedger.NotYetExpired.selector, h.endsAt);
        property.endHold(id(REGISTRAR), UNIT);
        h = unitHold(true, START + 3);
        h.endsAt = HOLD_END + 1 days;
        setHold(unitHold(false, START + 3), key(REGISTRAR, STATEMENT));
        h.issuedAt = START + 4;
        setHold(h, key(REGISTRAR, STATEMENT));
        vm.warp(HOLD_END + 2 days);
        property.endHold(id(REGISTRAR), UNIT);
        same(property.holdWord(id(REGISTRAR), UNIT) >> 96 & 1, 0, "after a lifting the new order's end counts");
    }

    function test_hold_betweenTheLastStepsStopsTheRegistration() public {
        DealTerms memory t = opened();
        takeUpTo(t, 6);
        hold();
        fails(PropertyLedger.UnitHeld.selector, UNIT);
        take(t, 7);
        same(property.lastRegistrationOf(id(REGISTRAR), UNIT), 0, "not registered");
    }

    function test_steps_failIfTheDealExpiredBeforeItsRegistration() public {
        DealTerms memory t = opened();
        takeUpTo(t, 6);
        vm.warp(t.expiresAt + 1);
        fails(PropertyLedger.DealPastExpiry.selector, t.expiresAt);
        take(t, 7);
        same(property.lastRegistrationOf(id(REGISTRAR), UNIT), 0, "not registered");
    }

    function test_hold_failsIfTheSenderIsNobodyOrARegistrarIsSuspended() public {
        bytes memory signature =
            sign(address(property), Statements.hash(unitHold(true, START)), key(REGISTRAR, STATEMENT));
        fails(Membership.NotMemberKey.selector, keyAddress(STRANGER, TRANSACTION));
        from(STRANGER);
        property.setHold(unitHold(true, START), signature);
        suspend(REGISTRAR);
        fails(Membership.NotActive.selector, id(REGISTRAR));
        hold();
        fails(Membership.NotActive.selector, id(REGISTRAR));
        from(BANK);
        property.setHold(unitHold(true, START), signature);
    }

    // --- Fuzz ------------------------------------------------------------------------------------------------------------------

    /// @dev Steps tried in any order against the rule written as sentences: each is taken exactly when what must come before it has.
    function test_steps_areTakenExactlyInOrder(bool mortgaged, uint8[24] memory tries) public {
        DealTerms memory t = terms();
        if (!mortgaged) t.bank = 0;
        openDeal(t, title());
        bool[8] memory done;
        done[1] = true;
        for (uint256 i = 0; i < tries.length; ++i) {
            uint8 step = uint8(fold(tries[i], 1, 7));
            bool over = done[7] && !done[step];
            bool ready = done[step] || may(step, done, mortgaged);
            if (over) fails(PropertyLedger.DealOver.selector, Statements.hash(t));
            else if (!ready) fails(PropertyLedger.OutOfOrder.selector, step);
            take(t, step);
            if (ready && !over) done[step] = true;
        }
        uint256 mask = 0;
        for (uint8 step = 1; step <= 7; ++step) {
            if (done[step]) mask |= uint256(1) << (step - 1);
        }
        same(uint8(property.dealWord(Statements.hash(t)) >> 144), mask, "mask");
        holds((property.openDealOf(id(REGISTRAR), UNIT) == 0) == done[7], "unit free once registered");
    }

    function may(uint8 step, bool[8] memory done, bool mortgaged) private pure returns (bool) {
        bool signed = done[1] && done[2] && done[3];
        if (step <= 3) return true;
        if (step == 4) return signed;
        if (step == 5) return mortgaged && done[4];
        if (step == 6) return done[4] && (done[5] || !mortgaged);
        return done[6];
    }

    function test_words_keepEveryHeight(uint32 first, uint32[6] memory waits, uint64 issuedAt) public {
        DealTerms memory t = terms();
        vm.roll(uint256(first) + 1);
        openDeal(t, title());
        uint256 height = uint256(first) + 1;
        for (uint8 step = 2; step <= 7; ++step) {
            height += waits[step - 2];
            vm.roll(height);
            take(t, step);
        }
        uint256 packed = property.dealWord(dealId());
        same(packed, (height << 152) | (uint256(127) << 144) | (height << 48) | (uint256(first) + 1), "deal");
        issuedAt = uint64(fold(issuedAt, 1, block.timestamp));
        setHold(unitHold(true, issuedAt), key(REGISTRAR, STATEMENT));
        same(property.holdWord(id(REGISTRAR), UNIT), holdPacked(issuedAt, true, height), "hold");
    }
}
