// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MemberDirectory} from "../src/MemberDirectory.sol";
import {Approval, Statements} from "../src/Statements.sol";
import {Base} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Two governors who still can approve try at random to end all governance: by suspensions, ended keys and replacements.
contract GovernanceHandler is World {
    uint256 private constant CANDIDATES = 5;

    uint256 public done;
    uint256 public refused;
    uint256 public actions;
    mapping(uint256 who => uint256[] privateKeys) private _keys;
    uint256 private _made;

    function setUp() public override {
        super.setUp();
        for (uint256 who = 0; who < CANDIDATES; ++who) {
            if (who > SETTLER) govern(abi.encodeCall(directory.addKey, (id(who), entry(who, ADMIN))));
            _keys[who].push(key(who, ADMIN));
        }
    }

    function selectors() external pure returns (bytes4[] memory names) {
        names = new bytes4[](4);
        names[0] = this.suspendOrLift.selector;
        names[1] = this.endKey.selector;
        names[2] = this.addKey.selector;
        names[3] = this.replace.selector;
    }

    function suspendOrLift(uint256 who) external {
        bytes18 member = id(who % CANDIDATES);
        attempt(
            directory.isActive(member)
                ? abi.encodeCall(directory.suspend, (member, "spite"))
                : abi.encodeCall(directory.lift, (member))
        );
    }

    function endKey(uint256 who, uint256 which) external {
        uint256[] storage known = _keys[who % CANDIDATES];
        attempt(abi.encodeCall(directory.endKey, (word(vm.addr(known[which % known.length])), "spite")));
    }

    function addKey(uint256 who) external {
        uint256 privateKey = uint256(keccak256(abi.encode("added", ++_made)));
        MemberDirectory.KeyEntry memory added = MemberDirectory.KeyEntry(word(vm.addr(privateKey)), ADMIN, 1);
        attempt(abi.encodeCall(directory.addKey, (id(who % CANDIDATES), added)));
        _keys[who % CANDIDATES].push(privateKey);
    }

    function replace(uint256 outgoing, uint256 incoming) external {
        attempt(abi.encodeCall(directory.replaceGovernor, (id(outgoing % CANDIDATES), id(incoming % CANDIDATES))));
    }

    /// @dev Whatever was tried, two governors are left whose keys can approve the next change.
    function check() external view {
        uint256 able = 0;
        uint256 governors = 0;
        for (uint256 who = 0; who < CANDIDATES; ++who) {
            if (!directory.isGovernor(id(who))) continue;
            ++governors;
            if (directory.isActive(id(who)) && liveKey(who) != 0) ++able;
        }
        same(governors, 3, "governors");
        holds(able >= 2, "two can approve");
    }

    function attempt(bytes memory data) private {
        ++actions;
        next();
        uint256 nonce = newNonce();
        bytes[] memory signatures = new bytes[](2);
        (uint256 first, uint256 second) = twoKeys();
        bytes32 structHash = Statements.hash(Approval(1, keccak256(data), nonce, FOREVER));
        signatures[0] = sign(address(directory), structHash, first);
        signatures[1] = sign(address(directory), structHash, second);
        if (succeeds(address(directory), abi.encodeCall(directory.execute, (data, nonce, FOREVER, signatures)))) {
            ++done;
        } else {
            ++refused;
        }
    }

    function twoKeys() private view returns (uint256 first, uint256 second) {
        for (uint256 who = 0; who < CANDIDATES; ++who) {
            if (!directory.isGovernor(id(who)) || !directory.isActive(id(who)) || liveKey(who) == 0) continue;
            if (first == 0) first = liveKey(who);
            else return (first, liveKey(who));
        }
    }

    function liveKey(uint256 who) private view returns (uint256) {
        for (uint256 i = 0; i < _keys[who].length; ++i) {
            if (directory.memberOf(vm.addr(_keys[who][i]), ADMIN) == id(who)) return _keys[who][i];
        }
        return 0;
    }
}

/// @title Governance never ends
contract GovernanceInvariants is Base {
    GovernanceHandler private _handler;

    function setUp() public {
        _handler = new GovernanceHandler();
        _handler.setUp();
        _target(address(_handler), _handler.selectors());
    }

    /// forge-config: default.invariant.runs = 6
    /// forge-config: long.invariant.runs = 24
    function invariant_twoGovernorsCanApprove() public view {
        _handler.check();
    }

    function afterInvariant() public view {
        if (_handler.actions() < WHOLE_RUN) return;
        holds(_handler.done() > 0, "changes were made");
        holds(_handler.refused() > 0, "changes were refused");
    }
}
