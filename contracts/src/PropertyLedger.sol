// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {DealStep, DealTerms, Statements, TitleStatement, UnitHold} from "./Statements.sol";
import {Intervals} from "./Intervals.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Property deals
/// @notice A deal is a sequence of signatures, each by its own party: seller, buyer and estate agent in any order, then tax, mortgage (when
/// there is a loan), notary, registration. It opens only with the registration centre's title statement for the unit's pseudonym, which names
/// the registration it was built on; once another has followed, the title is void. A unit is in at most one open deal; a hold stops every
/// step; deals and holds end within bounds. Prices and names are committed, never shown.
///
/// A unit is identified by its registrar and its pseudonym together, so that no department can take or block another's units.
/// - `_deals[structHash(terms)]` = openedAt:48 | registeredAt:48 | expiredAt:48 | stepsMask:8 (bit n-1 is step n) | lastStepAt:48.
/// - `_titles[dealId]` = struct hash of the title statement that the deal was opened with.
/// - `_lastRegistration[registrar][unit]` = the deal that was registered last; zero before the first.
/// - `_holds[registrar][unit]` = placedAt:48 | liftedAt:48 | held:1 (at bit 96) | latest issuedAt:40 (at bit 128) | endsAt:40 (at bit 168) |
///   validFrom:48 (at bit 208).
/// - `_earlierHolds[registrar][unit][validFrom]` = the word of the hold before (`Intervals`).
contract PropertyLedger is Membership {
    using Statements for DealTerms;
    using Statements for DealStep;
    using Statements for TitleStatement;
    using Statements for UnitHold;
    using Intervals for uint256;

    uint8 private constant SELLER = 1;
    uint8 private constant BUYER = 2;
    uint8 private constant AGENT = 3;
    uint8 private constant TAX = 4;
    uint8 private constant MORTGAGE = 5;
    uint8 private constant NOTARY = 6;
    uint8 private constant REGISTER = 7;

    uint256 private constant HELD = 1 << 96;
    uint256 private constant ISSUED_AT = 128;
    uint256 private constant ENDS_AT = 168;
    uint256 private constant MASK40 = (1 << 40) - 1;

    /// @notice A deal expires at most this long after it was opened.
    uint64 public constant MAX_DEAL_TIME = 180 days;
    /// @notice An order holds a unit for at most three years (and two days, as orders end with a whole day); a further order renews it.
    uint64 public constant MAX_HOLD_TIME = 1098 days;
    /// @notice How far a registrar's clock may be ahead of the chain's when it places or lifts a hold.
    uint64 public constant CLOCK_TOLERANCE = 5 minutes;

    mapping(bytes32 dealId => uint256) private _deals;
    mapping(bytes18 registrar => mapping(bytes32 unit => bytes32 dealId)) private _openDeal;
    mapping(bytes18 registrar => mapping(bytes32 unit => uint256)) private _holds;
    mapping(bytes32 dealId => mapping(uint8 step => bytes32 stepHash)) private _steps;
    mapping(bytes18 registrar => mapping(bytes32 unit => bytes32 dealId)) private _lastRegistration;
    mapping(bytes32 dealId => bytes32 titleHash) private _titles;
    mapping(bytes18 registrar => mapping(bytes32 unit => mapping(uint256 liftedAt => uint256 word))) private
        _earlierHolds;

    event DealOpened(bytes32 indexed dealId, bytes32 indexed unit, DealTerms terms);
    event DealStepped(bytes32 indexed dealId, uint8 indexed step, DealStep statement);
    event DealRegistered(bytes32 indexed dealId, bytes32 indexed unit);
    event DealExpired(bytes32 indexed dealId, bytes32 indexed unit);
    event UnitHoldPlaced(bytes18 indexed registrar, bytes32 indexed unit, bytes32 order, uint64 endsAt);
    event UnitHoldLifted(bytes18 indexed registrar, bytes32 indexed unit, bytes32 order);
    event UnitHoldEnded(bytes18 indexed registrar, bytes32 indexed unit);

    error UnitInDeal(bytes32 unit, bytes32 dealId);
    error UnitHeld(bytes32 unit);
    error TitleMismatch();
    error TitleExpired(uint64 expiresAt);
    error TitleSuperseded(bytes32 builtOn, bytes32 lastRegistration);
    error TitleDatedAhead(uint64 issuedAt);
    error SellerIsBuyer(address key);
    error UnknownDeal(bytes32 dealId);
    error DealOver(bytes32 dealId);
    error DealPastExpiry(uint64 expiresAt);
    error DealTooLong(uint64 expiresAt);
    error NotYetExpired(uint64 expiresAt);
    error OtherDeal(bytes32 expected, bytes32 given);
    error WrongParty(uint8 step);
    error OutOfOrder(uint8 step);
    error StepTaken(uint8 step);
    error UnknownStep(uint8 step);
    error WrongCount(uint256 items, uint256 signatures);
    error HoldNotNewer(uint64 issuedAt, uint64 latest);
    error HoldDatedAhead(uint64 issuedAt);
    error WrongHoldEnd(uint64 endsAt);

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    constructor(MemberDirectory directory_) Membership(directory_) {}

    /// @notice Opens a deal with the registrar's title statement and the seller's signature. Repeating it changes nothing.
    /// @param terms The full terms; their struct hash is the id.
    /// @param title The title statement that names the unit's last registration.
    /// @param titleSignature The registrar's signature over the title.
    /// @param sellerStep The seller's step.
    /// @param sellerSignature The seller's signature over the step.
    /// @custom:emits DealOpened, DealRegistered, DealStepped
    /// @custom:reverts ContractIsClosed, DealOver, DealPastExpiry, DealTooLong, ECDSAInvalidSignature, ECDSAInvalidSignatureLength,
    /// ECDSAInvalidSignatureS, NotActive, NotMemberKey, OtherDeal, OutOfOrder, SellerIsBuyer, StepTaken, TitleDatedAhead, TitleExpired,
    /// TitleMismatch, TitleSuperseded, UnitHeld, UnitInDeal, UnknownDeal, UnknownStep, WrongParty, WrongRole, WrongSigner, WrongVersion
    function open(
        DealTerms calldata terms,
        TitleStatement calldata title,
        bytes calldata titleSignature,
        DealStep calldata sellerStep,
        bytes calldata sellerSignature
    ) external {
        _requireOpen();
        _activeSender();
        bytes32 dealId = terms.hash();
        if (_deals[dealId] != 0) return;
        require(terms.version == 1, WrongVersion(terms.version));
        require(block.timestamp <= terms.expiresAt, DealPastExpiry(terms.expiresAt));
        require(terms.expiresAt <= block.timestamp + MAX_DEAL_TIME, DealTooLong(terms.expiresAt));
        require(terms.seller != terms.buyer, SellerIsBuyer(terms.seller));
        bytes32 titleHash_ = _checkTitle(terms, title, titleSignature);
        _checkUnit(terms.registrar, terms.unit);
        require(sellerStep.step == SELLER, OutOfOrder(sellerStep.step));

        _openDeal[terms.registrar][terms.unit] = dealId;
        _titles[dealId] = titleHash_;
        _deals[dealId] = block.number;
        emit DealOpened(dealId, terms.unit, terms);
        _take(terms, dealId, sellerStep, sellerSignature);
    }

    /// @notice Takes the signed steps in order; all or none. A step already taken with the same content changes nothing.
    /// @param terms The full terms; their struct hash is the id.
    /// @param statements The steps, in order.
    /// @param signatures One signature for each statement, in the same order.
    /// @custom:emits DealRegistered, DealStepped
    /// @custom:reverts DealOver, DealPastExpiry, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotActive,
    /// NotMemberKey, OtherDeal, OutOfOrder, StepTaken, UnitHeld, UnknownDeal, UnknownStep, WrongCount, WrongParty, WrongVersion
    function steps(DealTerms calldata terms, DealStep[] calldata statements, bytes[] calldata signatures) external {
        _activeSender();
        require(statements.length == signatures.length, WrongCount(statements.length, signatures.length));
        bytes32 dealId = terms.hash();
        for (uint256 i = 0; i < statements.length; ++i) {
            _take(terms, dealId, statements[i], signatures[i]);
        }
    }

    /// @notice Ends a deal that was not registered in time and frees its unit. Anyone may.
    /// @param terms The full terms; their struct hash is the id.
    /// @custom:emits DealExpired
    /// @custom:reverts NotYetExpired, UnknownDeal
    function expire(DealTerms calldata terms) external {
        bytes32 dealId = terms.hash();
        uint256 word = _deals[dealId];
        require(word != 0, UnknownDeal(dealId));
        require(block.timestamp > terms.expiresAt, NotYetExpired(terms.expiresAt));
        if (_at(word, 48) != 0 || _at(word, 96) != 0) return;

        _deals[dealId] = _stamp(word, 96);
        _openDeal[terms.registrar][terms.unit] = 0;
        emit DealExpired(dealId, terms.unit);
    }

    /// @notice Places or lifts a hold on a unit, by the registration centre's statement citing the order. A further order for what holds
    /// already counts as the latest, may make the hold end later but never earlier, and leaves the heights alone.
    /// @param hold_ The order: place or lift, its date and end.
    /// @param signature The signature over the EIP-712 digest.
    /// @custom:emits UnitHoldLifted, UnitHoldPlaced
    /// @custom:reverts ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, HoldDatedAhead, HoldNotNewer,
    /// NotActive, NotMemberKey, WrongHoldEnd, WrongRole, WrongSigner, WrongVersion
    function setHold(UnitHold calldata hold_, bytes calldata signature) external {
        _activeSender();
        require(hold_.version == 1, WrongVersion(hold_.version));
        _requireActive(hold_.registrar);
        _requireRole(hold_.registrar, DEPARTMENT);
        _requireSigned(hold_.hash(), signature, hold_.registrar, STATEMENT);
        uint256 word = _holds[hold_.registrar][hold_.unit];
        bool held = word & HELD != 0;
        uint64 latest = uint64((word >> ISSUED_AT) & MASK40);
        if (held == hold_.placed && latest == hold_.issuedAt) return;
        require(hold_.issuedAt > latest, HoldNotNewer(hold_.issuedAt, latest));
        require(hold_.issuedAt <= block.timestamp + CLOCK_TOLERANCE, HoldDatedAhead(hold_.issuedAt));
        require(_holdEndIsRight(hold_), WrongHoldEnd(hold_.endsAt));

        uint64 endsAt = hold_.endsAt;
        if (held && hold_.placed && (word >> ENDS_AT) & MASK40 > endsAt) endsAt = uint64((word >> ENDS_AT) & MASK40);
        if (hold_.placed && !held) word = word.begun(0, _earlierHolds[hold_.registrar][hold_.unit]) | HELD;
        else if (held && !hold_.placed) word = word.ended(0) & ~HELD;
        word &= ~((MASK40 << ISSUED_AT) | (MASK40 << ENDS_AT));
        _holds[hold_.registrar][hold_.unit] =
            word | (uint256(hold_.issuedAt) << ISSUED_AT) | (uint256(endsAt) << ENDS_AT);
        if (hold_.placed) emit UnitHoldPlaced(hold_.registrar, hold_.unit, hold_.order, endsAt);
        else emit UnitHoldLifted(hold_.registrar, hold_.unit, hold_.order);
    }

    /// @notice Ends a hold whose time has passed without a further order. Until somebody sends this, the hold remains in force and does not lapse
    /// unnoticed. Anyone may.
    /// @param registrar The code of the registration centre.
    /// @param unit The unit's pseudonym.
    /// @custom:emits UnitHoldEnded
    /// @custom:reverts NotYetExpired
    function endHold(bytes18 registrar, bytes32 unit) external {
        uint256 word = _holds[registrar][unit];
        if (word & HELD == 0) return;
        uint64 endsAt = uint64((word >> ENDS_AT) & MASK40);
        require(block.timestamp > endsAt, NotYetExpired(endsAt));

        _holds[registrar][unit] = word.ended(0) & ~HELD;
        emit UnitHoldEnded(registrar, unit);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice The record of a deal, packed.
    /// @param dealId The struct hash of the deal's terms.
    /// @return The storage value; zero if the deal is unknown.
    function dealWord(bytes32 dealId) external view returns (uint256) {
        return _deals[dealId];
    }

    /// @notice The open deal of a unit.
    /// @param registrar The code of the registration centre.
    /// @param unit The unit's pseudonym.
    /// @return The deal's id; zero if there is none.
    function openDealOf(bytes18 registrar, bytes32 unit) external view returns (bytes32) {
        return _openDeal[registrar][unit];
    }

    /// @notice The deal that was registered last for a unit.
    /// @param registrar The code of the registration centre.
    /// @param unit The unit's pseudonym.
    /// @return The deal's id; zero before the first.
    function lastRegistrationOf(bytes18 registrar, bytes32 unit) external view returns (bytes32) {
        return _lastRegistration[registrar][unit];
    }

    /// @notice The title under which a deal was opened.
    /// @param dealId The struct hash of the deal's terms.
    /// @return The struct hash of the title; zero if the deal is unknown.
    function titleHash(bytes32 dealId) external view returns (bytes32) {
        return _titles[dealId];
    }

    /// @notice The record of a hold, packed.
    /// @param registrar The code of the registration centre.
    /// @param unit The unit's pseudonym.
    /// @return The storage value; zero if there was never a hold.
    function holdWord(bytes18 registrar, bytes32 unit) external view returns (uint256) {
        return _holds[registrar][unit];
    }

    /// @notice The word of the hold that was lifted at that height, once another has followed; zero otherwise.
    /// @param registrar The code of the registration centre.
    /// @param unit The unit's pseudonym.
    /// @param liftedAt The height at which the earlier hold ended.
    /// @return The storage value; zero if there is none.
    function earlierHoldWord(bytes18 registrar, bytes32 unit, uint256 liftedAt) external view returns (uint256) {
        return _earlierHolds[registrar][unit][liftedAt];
    }

    /// @notice A step of a deal.
    /// @param dealId The struct hash of the deal's terms.
    /// @param step The number of the step.
    /// @return The struct hash of the step; zero if it was not taken.
    function stepHash(bytes32 dealId, uint8 step) external view returns (bytes32) {
        return _steps[dealId][step];
    }

    // --- Rules -----------------------------------------------------------------------------------------------------------------

    /// @dev The struct hash of the title, which must be built on the unit's last registration.
    function _checkTitle(DealTerms calldata terms, TitleStatement calldata title, bytes calldata signature)
        private
        view
        returns (bytes32 hash_)
    {
        require(title.version == 1, WrongVersion(title.version));
        require(
            title.registrar == terms.registrar && title.unit == terms.unit && title.ownerKey == terms.seller,
            TitleMismatch()
        );
        require(block.timestamp <= title.expiresAt, TitleExpired(title.expiresAt));
        require(title.issuedAt <= block.timestamp, TitleDatedAhead(title.issuedAt));
        bytes32 last = _lastRegistration[terms.registrar][terms.unit];
        require(title.lastRegistration == last, TitleSuperseded(title.lastRegistration, last));
        _requireRole(title.registrar, DEPARTMENT);
        _requireActive(title.registrar);
        hash_ = title.hash();
        _requireSigned(hash_, signature, title.registrar, STATEMENT);
    }

    function _checkUnit(bytes18 registrar, bytes32 unit) private view {
        _requireNoHold(registrar, unit);
        bytes32 dealId = _openDeal[registrar][unit];
        require(dealId == 0, UnitInDeal(unit, dealId));
    }

    function _requireNoHold(bytes18 registrar, bytes32 unit) private view {
        require(_holds[registrar][unit] & HELD == 0, UnitHeld(unit));
    }

    /// @dev A hold ends in the future and within the bound; a lifting has no end.
    function _holdEndIsRight(UnitHold calldata hold_) private view returns (bool) {
        if (!hold_.placed) return hold_.endsAt == 0;
        return hold_.endsAt > block.timestamp && hold_.endsAt <= block.timestamp + MAX_HOLD_TIME;
    }

    function _take(DealTerms calldata terms, bytes32 dealId, DealStep calldata statement, bytes calldata signature)
        private
    {
        uint256 word = _deals[dealId];
        require(word != 0, UnknownDeal(dealId));
        require(statement.dealId == dealId, OtherDeal(dealId, statement.dealId));
        require(statement.version == 1, WrongVersion(statement.version));
        uint8 step = statement.step;
        require(step >= SELLER && step <= REGISTER, UnknownStep(step));
        bytes32 hash_ = statement.hash();
        if (_steps[dealId][step] == hash_) return;
        require(_steps[dealId][step] == 0, StepTaken(step));
        require(_at(word, 48) == 0 && _at(word, 96) == 0, DealOver(dealId));
        require(block.timestamp <= terms.expiresAt, DealPastExpiry(terms.expiresAt));
        _requireNoHold(terms.registrar, terms.unit);
        uint8 done = uint8(word >> 144);
        uint8 needed = _before(step, terms.bank != 0);
        require(done & needed == needed && (step != MORTGAGE || terms.bank != 0), OutOfOrder(step));
        _checkStepSigner(terms, step, hash_, signature);

        done |= uint8(2 ** (step - 1));
        word = (word & ~((uint256(0xff) << 144) | (MASK48 << 152))) | (uint256(done) << 144) | (block.number << 152);
        _steps[dealId][step] = hash_;
        emit DealStepped(dealId, step, statement);
        if (step == REGISTER) {
            word = _stamp(word, 48);
            _openDeal[terms.registrar][terms.unit] = 0;
            _lastRegistration[terms.registrar][terms.unit] = dealId;
            emit DealRegistered(dealId, terms.unit);
        }
        _deals[dealId] = word;
    }

    /// @dev The steps that must have been taken before `step`, as a mask.
    function _before(uint8 step, bool mortgaged) private pure returns (uint8) {
        if (step <= AGENT) return 0;
        if (step == TAX) return 7;
        if (step == MORTGAGE) return 15;
        if (step == NOTARY) return mortgaged ? 31 : 15;
        return mortgaged ? 63 : 47;
    }

    function _checkStepSigner(DealTerms calldata terms, uint8 step, bytes32 hash_, bytes calldata signature)
        private
        view
    {
        address signer = _signer(hash_, signature);
        if (step == SELLER || step == BUYER) {
            require(signer == (step == SELLER ? terms.seller : terms.buyer), WrongParty(step));
            return;
        }
        bytes18 member = step == AGENT
            ? terms.agent
            : step == TAX
                ? terms.taxAuthority
                : step == MORTGAGE ? terms.bank : step == NOTARY ? terms.notary : terms.registrar;
        require(member != 0 && directory.memberOf(signer, STATEMENT) == member, WrongParty(step));
        _requireActive(member);
    }
}
// slither-disable-end incorrect-equality
