// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {DealStep, DealTerms, Statements, TitleStatement, UnitHold} from "./Statements.sol";
import {Stretches} from "./Stretches.sol";

// Heights are compared with zero, which means never; no balance is compared.
// slither-disable-start incorrect-equality

/// @title Property deals
/// @notice A deal is a sequence of signatures, each by its own party: seller, buyer and estate agent in any order, then tax, mortgage (when
/// there is a loan), notary, registration. It opens only with the registration centre's title statement for the unit's pseudonym; a unit is in
/// at most one open deal; a hold stops every step; a deal expires. Prices and names are committed, never shown.
/// - `_deals[structHash(terms)]` = openedAt:48 | registeredAt:48 | expiredAt:48 | stepsMask:8 (bit n-1 is step n) | lastStepAt:48.
/// - `_holds[unit]` = placedAt:48 | liftedAt:48 | held:1 (at bit 96) | latest issuedAt:64 (at bit 128) | tellsFrom:48 (at bit 208).
/// - `_earlierHolds[unit][tellsFrom]` = the word of the hold before (`Stretches`).
contract PropertyLedger is Membership {
    using Statements for DealTerms;
    using Statements for DealStep;
    using Statements for TitleStatement;
    using Statements for UnitHold;
    using Stretches for uint256;

    uint8 private constant SELLER = 1;
    uint8 private constant BUYER = 2;
    uint8 private constant AGENT = 3;
    uint8 private constant TAX = 4;
    uint8 private constant MORTGAGE = 5;
    uint8 private constant NOTARY = 6;
    uint8 private constant REGISTER = 7;

    uint256 private constant HELD = 1 << 96;
    uint256 private constant ISSUED_AT = 128;

    mapping(bytes32 dealId => uint256) private _deals;
    mapping(bytes32 unit => bytes32 dealId) private _openDeal;
    mapping(bytes32 unit => uint256) private _holds;
    mapping(bytes32 dealId => mapping(uint8 step => bytes32 stepHash)) private _steps;
    /// @dev Time of the unit's last registration; title statements issued before it are worthless.
    mapping(bytes32 unit => uint64) private _registeredTime;
    /// @dev The registration centre a unit belongs to, by its first title or hold.
    mapping(bytes32 unit => bytes18) private _registrars;
    mapping(bytes32 unit => mapping(uint256 liftedAt => uint256 word)) private _earlierHolds;

    event DealOpened(bytes32 indexed dealId, bytes32 indexed unit, DealTerms terms);
    event DealStepped(bytes32 indexed dealId, uint8 indexed step, DealStep statement);
    event DealRegistered(bytes32 indexed dealId, bytes32 indexed unit);
    event DealExpired(bytes32 indexed dealId, bytes32 indexed unit);
    event UnitHoldPlaced(bytes32 indexed unit, bytes32 order);
    event UnitHoldLifted(bytes32 indexed unit, bytes32 order);

    error UnitInDeal(bytes32 unit, bytes32 dealId);
    error UnitHeld(bytes32 unit);
    error TitleMismatch();
    error TitleExpired(uint64 expiresAt);
    error TitleSuperseded(uint64 issuedAt, uint64 registeredAt);
    error OtherRegistrar(bytes18 expected, bytes18 given);
    error UnknownDeal(bytes32 dealId);
    error DealOver(bytes32 dealId);
    error DealPastExpiry(uint64 expiresAt);
    error NotYetExpired(uint64 expiresAt);
    error OtherDeal(bytes32 expected, bytes32 given);
    error WrongParty(uint8 step);
    error OutOfOrder(uint8 step);
    error StepTaken(uint8 step);
    error UnknownStep(uint8 step);
    error WrongCount(uint256 items, uint256 signatures);
    error HoldNotNewer(uint64 issuedAt, uint64 latest);

    constructor(MemberDirectory directory_) Membership(directory_) {}

    /// @notice Opens a deal with the registrar's title statement and the seller's signature. Repeating it changes nothing.
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
        _checkTitle(terms, title, titleSignature);
        _checkUnit(terms.unit);
        require(sellerStep.step == SELLER, OutOfOrder(sellerStep.step));

        _registrars[terms.unit] = terms.registrar;
        _openDeal[terms.unit] = dealId;
        _deals[dealId] = block.number;
        emit DealOpened(dealId, terms.unit, terms);
        _take(terms, dealId, sellerStep, sellerSignature);
    }

    /// @notice Takes the signed steps in order; all or none. A step already taken with the same content changes nothing.
    function steps(DealTerms calldata terms, DealStep[] calldata statements, bytes[] calldata signatures) external {
        _activeSender();
        require(statements.length == signatures.length, WrongCount(statements.length, signatures.length));
        bytes32 dealId = terms.hash();
        for (uint256 i = 0; i < statements.length; ++i) {
            _take(terms, dealId, statements[i], signatures[i]);
        }
    }

    /// @notice Ends a deal that was not registered in time and frees its unit. Anyone may.
    function expire(DealTerms calldata terms) external {
        bytes32 dealId = terms.hash();
        uint256 word = _deals[dealId];
        require(word != 0, UnknownDeal(dealId));
        require(block.timestamp > terms.expiresAt, NotYetExpired(terms.expiresAt));
        if (_at(word, 48) != 0 || _at(word, 96) != 0) return;

        _deals[dealId] = _stamp(word, 96);
        _openDeal[terms.unit] = 0;
        emit DealExpired(dealId, terms.unit);
    }

    /// @notice Places or lifts a hold on a unit, by the registration centre's statement citing the order. A further order for what holds
    /// already counts as the latest and leaves the heights alone.
    function setHold(UnitHold calldata hold_, bytes calldata signature) external {
        _activeSender();
        require(hold_.version == 1, WrongVersion(hold_.version));
        _requireActive(hold_.registrar);
        _requireRole(hold_.registrar, DEPARTMENT);
        _requireRegistrar(hold_.unit, hold_.registrar);
        _requireSigned(hold_.hash(), signature, hold_.registrar, STATEMENT);
        uint256 word = _holds[hold_.unit];
        bool held = word & HELD != 0;
        uint64 latest = uint64(word >> ISSUED_AT);
        if (held == hold_.placed && latest == hold_.issuedAt) return;
        require(hold_.issuedAt > latest, HoldNotNewer(hold_.issuedAt, latest));

        _registrars[hold_.unit] = hold_.registrar;
        if (hold_.placed && !held) word = word.begun(0, _earlierHolds[hold_.unit]) | HELD;
        else if (held && !hold_.placed) word = word.ended(0) & ~HELD;
        word &= ~(uint256(type(uint64).max) << ISSUED_AT);
        _holds[hold_.unit] = word | (uint256(hold_.issuedAt) << ISSUED_AT);
        if (hold_.placed) emit UnitHoldPlaced(hold_.unit, hold_.order);
        else emit UnitHoldLifted(hold_.unit, hold_.order);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    function dealWord(bytes32 dealId) external view returns (uint256) {
        return _deals[dealId];
    }

    function openDealOf(bytes32 unit) external view returns (bytes32) {
        return _openDeal[unit];
    }

    function holdWord(bytes32 unit) external view returns (uint256) {
        return _holds[unit];
    }

    /// @notice The word of the hold that was lifted at that height, once another has followed; zero otherwise.
    function earlierHoldWord(bytes32 unit, uint256 liftedAt) external view returns (uint256) {
        return _earlierHolds[unit][liftedAt];
    }

    function stepHash(bytes32 dealId, uint8 step) external view returns (bytes32) {
        return _steps[dealId][step];
    }

    // --- Rules -----------------------------------------------------------------------------------------------------------------

    function _checkTitle(DealTerms calldata terms, TitleStatement calldata title, bytes calldata signature)
        private
        view
    {
        require(title.version == 1, WrongVersion(title.version));
        require(
            title.registrar == terms.registrar && title.unit == terms.unit && title.ownerKey == terms.seller,
            TitleMismatch()
        );
        require(block.timestamp <= title.expiresAt, TitleExpired(title.expiresAt));
        uint64 registered = _registeredTime[terms.unit];
        require(title.issuedAt > registered, TitleSuperseded(title.issuedAt, registered));
        _requireRole(title.registrar, DEPARTMENT);
        _requireActive(title.registrar);
        _requireRegistrar(title.unit, title.registrar);
        _requireSigned(title.hash(), signature, title.registrar, STATEMENT);
    }

    function _checkUnit(bytes32 unit) private view {
        _requireNoHold(unit);
        require(_openDeal[unit] == 0, UnitInDeal(unit, _openDeal[unit]));
    }

    function _requireRegistrar(bytes32 unit, bytes18 registrar) private view {
        bytes18 known = _registrars[unit];
        require(known == 0 || known == registrar, OtherRegistrar(known, registrar));
    }

    function _requireNoHold(bytes32 unit) private view {
        require(_holds[unit] & HELD == 0, UnitHeld(unit));
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
        _requireNoHold(terms.unit);
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
            _openDeal[terms.unit] = 0;
            _registeredTime[terms.unit] = uint64(block.timestamp);
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
