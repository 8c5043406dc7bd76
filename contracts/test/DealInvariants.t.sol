// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import "../src/Statements.sol";
import {Base} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Deals of three units are opened, signed, held, left to expire and registered at random.
contract DealHandler is World {
    uint256 private constant UNITS = 3;

    struct Deal {
        uint256 unit;
        bool mortgaged;
        uint64 expiresAt;
        bytes32 dealId;
    }

    Deal[] private _deals;
    bool[UNITS] private _held;
    bytes32[UNITS] private _last;
    uint256 public registrations;
    uint256 public expiries;
    uint256 public refusals;
    uint256 public actions;

    modifier counted() {
        next();
        ++actions;
        _;
    }

    function selectors() external pure returns (bytes4[] memory names) {
        names = new bytes4[](6);
        names[0] = this.begin.selector;
        names[1] = this.sign.selector;
        names[2] = this.signRest.selector;
        names[3] = this.lapse.selector;
        names[4] = this.holdOrLift.selector;
        names[5] = this.beginOnAnOldTitle.selector;
    }

    // --- Actions ---------------------------------------------------------------------------------------------------------------

    /// @dev With a title of now: what may stop it is a hold or another deal of the unit.
    function begin(uint256 unit, bool mortgaged) external counted {
        tryBegin(unit % UNITS, mortgaged);
    }

    /// @dev With a title built on another registration than the unit's last: of another unit, or of the same unit before it was sold.
    function beginOnAnOldTitle(uint256 unit, uint256 which) external counted {
        unit = unit % UNITS;
        bytes32 builtOn = _deals.length == 0 ? keccak256("none") : _deals[which % _deals.length].dealId;
        if (which % 3 == 0) builtOn = 0;
        if (builtOn == _last[unit]) return;
        DealTerms memory t = terms(Deal(unit, true, uint64(block.timestamp) + 10 days, 0), _deals.length);
        TitleStatement memory s = title(t.unit, uint64(block.timestamp));
        (s.expiresAt, s.lastRegistration) = (FOREVER, builtOn);
        bytes memory titleSignature = sign(address(property), Statements.hash(s), key(REGISTRAR, STATEMENT));
        DealStep memory first = dealStep(t, 1);
        bytes memory data = abi.encodeCall(property.open, (t, s, titleSignature, first, signStep(first, SELLER_KEY)));
        from(AGENT);
        holds(!succeeds(address(property), data), "no deal on a title built on another registration");
        ++refusals;
    }

    function tryBegin(uint256 unit, bool mortgaged) private {
        Deal memory d = Deal(unit, mortgaged, uint64(block.timestamp) + 10 days, 0);
        DealTerms memory t = terms(d, _deals.length);
        d.dealId = Statements.hash(t);
        bool possible = !_held[unit] && property.openDealOf(id(REGISTRAR), t.unit) == 0;
        TitleStatement memory s = title(t.unit, uint64(block.timestamp));
        (s.expiresAt, s.lastRegistration) = (FOREVER, _last[unit]);
        bytes memory titleSignature = sign(address(property), Statements.hash(s), key(REGISTRAR, STATEMENT));
        DealStep memory first = dealStep(t, 1);
        bytes memory data = abi.encodeCall(property.open, (t, s, titleSignature, first, signStep(first, SELLER_KEY)));
        from(AGENT);
        holds(succeeds(address(property), data) == possible, "one open deal at most");
        if (possible) _deals.push(d);
        else ++refusals;
    }

    /// @dev Any step of any deal, in or out of order, over or not: it counts only where the contract takes it.
    function sign(uint256 which, uint8 step) external counted {
        if (_deals.length == 0) return;
        tryStep(which % _deals.length, uint8(fold(step, 2, 7)));
    }

    /// @dev All the steps that are left of an open deal, in order.
    function signRest(uint256 which) external counted {
        which = openOne(which);
        for (uint8 step = 2; step <= 7; ++step) {
            tryStep(which, step);
        }
    }

    /// @dev An open deal too early and in time, then an ended one, which changes nothing.
    function lapse(uint256 which) external counted {
        which = openOne(which);
        Deal memory d = _deals[which];
        DealTerms memory t = terms(d, which);
        bytes memory data = abi.encodeCall(property.expire, (t));
        holds(!succeeds(address(property), data), "not expired yet");
        vm.warp(d.expiresAt + 1);
        property.expire(t);
        ++expiries;
        uint256 packed = property.dealWord(d.dealId);
        next();
        property.expire(t);
        same(property.dealWord(d.dealId), packed, "expired once");
    }

    function holdOrLift(uint256 unit) external counted {
        turnHold(unit % UNITS);
    }

    function turnHold(uint256 unit) private {
        _held[unit] = !_held[unit];
        uint64 now_ = uint64(block.timestamp);
        setHold(
            UnitHold(
                1, id(REGISTRAR), unitOf(unit), keccak256("order"), _held[unit], now_, _held[unit] ? now_ + 90 days : 0
            ),
            key(REGISTRAR, STATEMENT)
        );
    }

    // --- What must hold --------------------------------------------------------------------------------------------------------

    function check() external view {
        uint256[UNITS] memory openDeals;
        for (uint256 i = 0; i < _deals.length; ++i) {
            Deal memory d = _deals[i];
            uint256 packed = property.dealWord(d.dealId);
            bool registered = at(packed, 48) != 0;
            bool expired = at(packed, 96) != 0;
            holds(!registered || !expired, "registered or expired, not both");
            uint8 taken = uint8(packed >> 144);
            holds(registered == (taken & 64 != 0), "registered with the last step");
            holds(!registered || taken == (d.mortgaged ? 127 : 111), "registered with every step");
            if (registered || expired) continue;
            ++openDeals[d.unit];
            same(property.openDealOf(id(REGISTRAR), unitOf(d.unit)), d.dealId, "the unit's open deal");
        }
        for (uint256 unit = 0; unit < UNITS; ++unit) {
            holds(openDeals[unit] <= 1, "one open deal at most");
            same(property.lastRegistrationOf(id(REGISTRAR), unitOf(unit)), _last[unit], "the last registration");
            holds(
                (property.openDealOf(id(REGISTRAR), unitOf(unit)) != 0) == (openDeals[unit] == 1),
                "none named where none is open"
            );
        }
    }

    // --- Parts -----------------------------------------------------------------------------------------------------------------

    function unitOf(uint256 unit) private pure returns (bytes32) {
        return keccak256(abi.encode("unit", unit));
    }

    function terms(Deal memory d, uint256 which) private pure returns (DealTerms memory t) {
        t = dealTerms(unitOf(d.unit), which);
        t.expiresAt = d.expiresAt;
        if (!d.mortgaged) t.bank = 0;
    }

    /// @dev A deal from `which` on that may still be signed; a new one where there is none.
    function openOne(uint256 which) private returns (uint256) {
        for (uint256 i = 0; i < _deals.length; ++i) {
            uint256 each = (which % _deals.length + i) % _deals.length;
            Deal memory d = _deals[each];
            if (property.openDealOf(id(REGISTRAR), unitOf(d.unit)) != d.dealId) continue;
            if (block.timestamp <= d.expiresAt) return each;
            property.expire(terms(d, each));
        }
        uint256 unit = which % UNITS;
        if (_held[unit]) turnHold(unit);
        next();
        tryBegin(unit, which & 1 == 1);
        return _deals.length - 1;
    }

    function tryStep(uint256 which, uint8 step) private {
        Deal memory d = _deals[which];
        DealTerms memory t = terms(d, which);
        DealStep[] memory statements = new DealStep[](1);
        bytes[] memory signatures = new bytes[](1);
        statements[0] = dealStep(t, step);
        signatures[0] = signStep(statements[0], stepKey(step));
        uint256 before = property.dealWord(d.dealId);
        from(AGENT);
        bool done = succeeds(address(property), abi.encodeCall(property.steps, (t, statements, signatures)));
        if (property.dealWord(d.dealId) == before) {
            if (!done) ++refusals;
            return;
        }
        holds(!_held[d.unit], "no step of a held unit");
        holds(block.timestamp <= d.expiresAt, "no step after expiry");
        holds(at(before, 48) == 0 && at(before, 96) == 0, "no step of a deal that is over");
        if (step == 7) {
            _last[d.unit] = d.dealId;
            ++registrations;
        }
    }
}

/// @title A unit is in one open deal at most
contract DealInvariants is Base {
    DealHandler private _handler;

    function setUp() public {
        _handler = new DealHandler();
        _handler.setUp();
        _target(address(_handler), _handler.selectors());
    }

    function invariant_oneOpenDealAtMost() public view {
        _handler.check();
    }

    function afterInvariant() public view {
        if (_handler.actions() < WHOLE_RUN) return;
        holds(_handler.registrations() > 0, "deals were registered");
        holds(_handler.expiries() > 0, "deals expired");
        holds(_handler.refusals() > 0, "deals and steps were refused");
    }
}
