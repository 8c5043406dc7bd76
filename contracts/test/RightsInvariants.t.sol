// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import "../src/Statements.sol";
import {Base} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Members ask for every kind of right while they are suspended and lifted at random. Each call is valid but for that, so it must
/// succeed exactly when all members that it requires are active.
contract RightsHandler is World {
    uint256 private constant KINDS = 8;

    uint256 public gains;
    uint256 public refusals;
    uint256 public actions;
    uint256 private _count;
    mapping(uint256 who => uint256) private _gainsOf;
    mapping(uint256 who => uint256) private _gainsWhenSuspended;
    mapping(uint256 who => bytes32[] nonces) private _requested;
    mapping(uint256 who => bytes32[] nonces) private _approved;

    function setUp() public override {
        super.setUp();
        register();
    }

    function selectors() external pure returns (bytes4[] memory names) {
        names = new bytes4[](2);
        names[0] = this.gain.selector;
        names[1] = this.suspendOrLift.selector;
    }

    function suspendOrLift(uint256 who) external {
        ++actions;
        who = oneOf(who);
        if (active(who)) suspend(who);
        else lift(who);
        _gainsWhenSuspended[who] = _gainsOf[who];
    }

    function check() external view {
        for (uint256 i = 0; i < 3; ++i) {
            uint256 who = oneOf(i);
            if (!active(who)) same(_gainsOf[who], _gainsWhenSuspended[who], "nothing gained since");
        }
    }

    function gain(uint256 who, uint256 kind) external {
        ++actions;
        ++_count;
        who = oneOf(who);
        kind = kind % KINDS;
        if (kind == 0) expect(who, tryAsset(who), active(who));
        else if (kind == 1) tryRequest(who);
        else if (kind == 2) tryApproval(who);
        else if (kind == 3) tryTrade(who);
        else if (kind == 4) expect(who, tryDeposit(who), active(who));
        else if (kind == 5) expect(who, tryConsent(who), active(who));
        else if (kind == 6) expect(who, tryDeal(who), active(who));
        else expect(who, tryHold(who), false);
    }

    function expect(uint256 who, bool done, bool allowed) private {
        holds(done == allowed, "a right exactly for the active");
        if (!done) {
            ++refusals;
            return;
        }
        ++gains;
        ++_gainsOf[who];
    }

    function tryAsset(uint256 who) private returns (bool) {
        AssetRecord memory r = record();
        (r.holder, r.name, r.dataItem) = (id(who), bytes32(_count), bytes32(_count));
        from(who);
        return succeeds(address(assets), abi.encodeCall(assets.register, (r)));
    }

    function tryRequest(uint256 who) private {
        from(who);
        bool done = succeeds(address(grants), abi.encodeCall(grants.request, (termsOf(who, bytes32(_count)))));
        expect(who, done, active(who));
        if (done) _requested[who].push(bytes32(_count));
    }

    function tryApproval(uint256 who) private {
        bytes32[] storage nonces = _requested[who];
        if (nonces.length == 0) return;
        GrantTerms memory g = termsOf(who, nonces[nonces.length - 1]);
        GrantDecision memory d = GrantDecision(1, Statements.hash(g), true, "reason", FOREVER);
        bytes memory signature = sign(address(grants), Statements.hash(d), key(DEPARTMENT, APPROVAL));
        bool done = succeeds(address(grants), abi.encodeCall(grants.decide, (g, d, signature)));
        expect(who, done, active(who) && active(DEPARTMENT));
        if (!done) return;
        _approved[who].push(g.nonce);
        nonces.pop();
    }

    function tryTrade(uint256 who) private {
        bytes32[] storage nonces = _approved[who];
        if (nonces.length == 0 || who == DEPARTMENT) return;
        GrantTerms memory g = termsOf(who, nonces[nonces.length - 1]);
        Agreement memory a = agreement();
        (a.grantId, a.nonce, a.price, a.cap) = (Statements.hash(g), bytes32(_count), 0, 0);
        (a.buyer, a.buyerKey) = (id(who), keyAddress(who, STATEMENT));
        (a.endsAt, a.openBefore) = (FOREVER, FOREVER);
        bytes memory providers = sign(address(settlement), Statements.hash(a), key(DEPARTMENT, STATEMENT));
        bytes memory buyers = sign(address(settlement), Statements.hash(a), key(who, STATEMENT));
        bytes memory data = abi.encodeCall(settlement.open, (a, g, providers, buyers));
        expect(who, succeeds(address(settlement), data), active(who) && active(DEPARTMENT));
    }

    function tryDeposit(uint256 who) private returns (bool) {
        DepositConfirmation memory c = confirmation(who, 1, bytes32(_count));
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        return succeeds(address(settlement), abi.encodeCall(settlement.deposit, (c, signature)));
    }

    function tryConsent(uint256 who) private returns (bool) {
        ConsentRegistration memory r = ConsentRegistration(1, bytes32(_count), vm.addr(SUBJECT_KEY), FOREVER);
        bytes memory signature = sign(address(credit), Statements.hash(r), SUBJECT_KEY);
        from(who);
        return succeeds(address(credit), abi.encodeCall(credit.recordConsent, (r, signature)));
    }

    function tryDeal(uint256 who) private returns (bool) {
        DealTerms memory t = dealTerms(bytes32(_count), 1);
        TitleStatement memory s = title(t.unit, START);
        DealStep memory first = dealStep(t, 1);
        bytes memory titleSignature = sign(address(property), Statements.hash(s), key(REGISTRAR, STATEMENT));
        bytes memory data = abi.encodeCall(property.open, (t, s, titleSignature, first, signStep(first, SELLER_KEY)));
        from(who);
        return succeeds(address(property), data);
    }

    /// @dev Holding an asset is the supervisor's, whatever the others' status.
    function tryHold(uint256 who) private returns (bool) {
        from(who);
        return succeeds(address(assets), abi.encodeCall(assets.hold, (assetId(), "spite")));
    }

    function oneOf(uint256 who) private pure returns (uint256) {
        return [DEPARTMENT, BANK, LENDER][who % 3];
    }

    function active(uint256 who) private view returns (bool) {
        return directory.isActive(id(who));
    }

    function termsOf(uint256 who, bytes32 nonce) private pure returns (GrantTerms memory g) {
        g = grantTerms();
        (g.grantee, g.nonce, g.notAfter) = (id(who), nonce, FOREVER);
    }
}

/// @title A suspended member gains nothing
contract RightsInvariants is Base {
    RightsHandler private _handler;

    function setUp() public {
        _handler = new RightsHandler();
        _handler.setUp();
        _target(address(_handler), _handler.selectors());
    }

    function invariant_suspendedMembersGainNothing() public view {
        _handler.check();
    }

    function afterInvariant() public view {
        if (_handler.actions() < WHOLE_RUN) return;
        holds(_handler.gains() > 0, "rights were gained");
        holds(_handler.refusals() > 0, "rights were refused");
    }
}
