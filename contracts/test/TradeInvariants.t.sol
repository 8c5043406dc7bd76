// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import "../src/Statements.sol";
import {TradeSettlement} from "../src/TradeSettlement.sol";
import {Base} from "./Base.sol";
import {World} from "./World.sol";

/// @dev Two buyers, one provider and a share holder trade at random; any of the three may be suspended at any moment. An action that the
/// contract refuses ends the run, so whatever is done here without asking first is allowed to everybody at any time.
contract TradeHandler is World {
    struct Trade {
        uint256 buyer;
        uint128 cap;
        uint64 maxUnits;
        uint16 firstShare;
        uint128 bond;
        bool bondFromEarnings;
        uint128 stake;
        bytes32 agreementId;
    }

    uint16 private constant LANES = 3;

    Trade[] private _trades;
    /// @dev Worked out once, because the checks run after every action.
    bytes18[10] private _ids;
    uint256 public claims;
    uint256 public closes;
    uint256 public cooperativeCloses;
    uint256 public disputed;
    uint256 public actions;
    uint256 private _operations;
    /// @dev The highest position of a lane that was claimed by its receipt.
    mapping(bytes32 agreementId => mapping(uint16 lane => uint64)) private _tried;

    modifier counted() {
        ++actions;
        _;
    }

    function setUp() public override {
        super.setUp();
        for (uint256 who = OPERATOR; who <= LENDER; ++who) {
            _ids[who] = id(who);
        }
        register();
        allow(BANK);
        allow(LENDER);
        putIn(0, 10_000);
        begin(0, 5000, 3333, 40, 7);
    }

    function selectors() external pure returns (bytes4[] memory names) {
        names = new bytes4[](13);
        names[0] = this.putIn.selector;
        names[1] = this.takeOut.selector;
        names[2] = this.begin.selector;
        names[3] = this.claimWithVoucher.selector;
        names[4] = this.claimWithRequest.selector;
        names[5] = this.claimNoMore.selector;
        names[6] = this.endByProvider.selector;
        names[7] = this.endByBuyer.selector;
        names[8] = this.pass.selector;
        names[9] = this.suspendOrLift.selector;
        names[10] = this.endTogether.selector;
        names[11] = this.disputeLast.selector;
        names[12] = this.equivocate.selector;
    }

    // --- Actions ---------------------------------------------------------------------------------------------------------------

    function putIn(uint256 who, uint128 amount) public counted {
        who = oneOf(who);
        amount = uint128(fold(amount, 1, 1e9));
        DepositConfirmation memory c = confirmation(who, amount, bytes32(++_operations));
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        bool done = succeeds(address(settlement), abi.encodeCall(settlement.deposit, (c, signature)));
        holds(done == directory.isActive(id(who)), "money is confirmed for active members alone");
    }

    /// @dev A member takes out some of what is free; one fen more is refused.
    function takeOut(uint256 who, uint128 amount) external counted {
        who = who % 10;
        uint128 free = accountOf(id(who)).free;
        if (free == 0) return;
        amount = uint128(fold(amount, 1, free));
        from(who);
        holds(
            !succeeds(address(settlement), abi.encodeCall(settlement.withdraw, (free + 1, bytes32(++_operations)))),
            "more than free"
        );
        from(who);
        settlement.withdraw(amount, bytes32(++_operations));
        from(who);
        settlement.withdraw(amount, bytes32(_operations));
    }

    function begin(uint256 buyer, uint128 cap, uint16 firstShare, uint64 maxUnits, uint128 bond) public counted {
        if (_trades.length >= 12) return;
        buyer = oneOf(buyer);
        uint128 free = accountOf(id(buyer)).free;
        if (free == 0) return;
        Trade memory t = Trade(
            buyer,
            uint128(fold(cap, 1, free)),
            uint64(fold(maxUnits, 0, 50)),
            uint16(fold(firstShare, 0, 10_000)),
            uint128(fold(bond, 0, 1000)),
            true,
            uint128(fold(bond, 0, 20)),
            0
        );
        uint128 providers = accountOf(id(DEPARTMENT)).free;
        if (bond % 2 == 0 && providers != 0) (t.bond, t.bondFromEarnings) = (uint128(fold(bond, 1, providers)), false);
        bool active = directory.isActive(id(buyer)) && directory.isActive(id(DEPARTMENT));
        holds(tryOpening(t) == active, "a trade begins between active members alone");
    }

    function claimWithVoucher(uint256 which, uint16 lane, uint128 more) external counted {
        (Agreement memory a, Voucher memory v) = nextVoucher(which, lane, more);
        (Voucher[] memory vouchers, bytes[] memory signatures) = one(v, signerOf(a));
        from(DEPARTMENT);
        settlement.claimVouchers(a, vouchers, signatures);
        ++claims;
    }

    function claimWithRequest(uint256 which, uint16 lane, uint128 more) external counted {
        (Agreement memory a, Voucher memory v) = nextVoucher(which, lane, more);
        UsageRequest[] memory requests = new UsageRequest[](1);
        bytes[] memory signatures = new bytes[](1);
        requests[0].version = 1;
        requests[0].agreementId = v.agreementId;
        requests[0].lane = v.lane;
        requests[0].seq = v.seq + 1;
        requests[0].acknowledgedUnits = v.acknowledgedUnits;
        requests[0].acknowledgedAmount = v.acknowledgedAmount;
        signatures[0] = sign(address(settlement), Statements.hash(requests[0]), signerOf(a));
        from(DEPARTMENT);
        settlement.claimRequests(a, requests, signatures);
        ++claims;
    }

    /// @dev The last voucher again, a lower one, one over the cap, or one that the provider signed itself: nothing is paid.
    function claimNoMore(uint256 which, uint16 lane, uint8 how) external counted {
        (Agreement memory a, bytes32 agreementId, AgreementState memory state) = trade(which);
        lane = lane % a.lanes;
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(agreementId, lane);
        uint256 signer = key(buyerOf(which), STATEMENT);
        Voucher memory v = Voucher(1, agreementId, lane, seq, units, amount, "");
        if (how % 4 == 1) v.acknowledgedAmount = amount / 2;
        if (how % 4 == 2) v.acknowledgedAmount = amount + a.cap - state.acknowledged + 1;
        if (how % 4 == 3) (v.acknowledgedAmount, signer) = (amount + 1, key(DEPARTMENT, STATEMENT));
        (Voucher[] memory vouchers, bytes[] memory signatures) = one(v, signer);
        from(DEPARTMENT);
        bytes memory data = abi.encodeCall(settlement.claimVouchers, (a, vouchers, signatures));
        holds(!succeeds(address(settlement), data), "nothing more to pay");
    }

    function endByProvider(uint256 which) external counted {
        close(unfinished(which), true);
    }

    function endByBuyer(uint256 which) external counted {
        close(unfinished(which), false);
    }

    /// @dev Both sign final totals somewhere between what was claimed and the caps; less than claimed or more than the cap is refused.
    function endTogether(uint256 which, uint128[3] memory more) external counted {
        which = unfinished(which);
        (Agreement memory a, bytes32 agreementId, AgreementState memory state) = trade(which);
        uint256 rest = a.cap - state.acknowledged;
        FinalSettlement memory f =
            FinalSettlement(1, agreementId, state.acknowledgedUnits, state.acknowledged, new LaneTotal[](LANES));
        for (uint16 lane = 0; lane < LANES; ++lane) {
            (uint64 seq, uint64 units, uint128 amount) = laneStateOf(agreementId, lane);
            uint128 added = uint128(fold(more[lane], 0, rest));
            rest -= added;
            f.amount += added;
            f.lanes[lane] = LaneTotal(lane, seq + 1, units, amount + added);
        }
        f.lanes[0].amount += a.cap + 1 - f.amount;
        refusedTogether(a, f, uint128(a.cap + 1));
        f.lanes[0].amount -= a.cap + 1 - f.amount;
        if (f.lanes[0].seq > 1) {
            f.lanes[0].seq -= 2;
            refusedTogether(a, f, f.amount);
            f.lanes[0].seq += 2;
        }
        closeCooperatively(a, f, key(DEPARTMENT, STATEMENT), signerOf(a));
        closeCooperatively(a, f, key(DEPARTMENT, STATEMENT), signerOf(a));
        refusedTogether(a, f, f.amount + 1);
        ++cooperativeCloses;
    }

    /// @dev The provider claims a receipt that nobody acknowledged, and the dispute goes one of its ways to its end. While it lasts, the
    /// agreement closes neither by notice nor by both signatures.
    function disputeLast(uint256 which, uint16 lane, uint8 path) external counted {
        which = unfinished(which);
        (Agreement memory a, bytes32 agreementId,) = trade(which);
        lane = lane % LANES;
        (UsageRequest memory q, UsageReceipt memory r) = lastCall(a, agreementId, lane);
        bool inTime = claimable(agreementId);
        from(DEPARTMENT);
        bool done = succeeds(address(disputes), receiptClaim(a, q, r));
        holds(done == inTime, "claims in time, each place once");
        if (!done) return;
        same(agreementStateOf(agreementId).pending, 1, "pending");
        _tried[agreementId][lane] = r.seq;
        walk(a, r, path);
        disputes.end(a, r);
        same(agreementStateOf(agreementId).pending, 0, "ended");
        ++disputed;
    }

    function equivocate(uint256 which, uint16 lane) external counted {
        (Agreement memory a, bytes32 agreementId, AgreementState memory state) = trade(which);
        (, UsageReceipt memory r) = lastCall(a, agreementId, lane % LANES);
        UsageReceipt memory other = abi.decode(abi.encode(r), (UsageReceipt));
        other.responseCommitment = keccak256("another answer");
        uint256 earned = accountOf(a.buyer).earned;
        disputes.proveEquivocation(a, r, signReceipt(r), other, signReceipt(other));
        same(accountOf(a.buyer).earned, earned + state.bondHeld, "the bond goes to the buyer");
        same(agreementStateOf(agreementId).bondHeld, 0, "all of it");
    }

    function pass(uint8 blocks) external counted {
        vm.roll(block.number + blocks);
    }

    function suspendOrLift(uint256 who) external counted {
        who = who % 3 == 0 ? DEPARTMENT : oneOf(who);
        if (directory.isActive(id(who))) suspend(who);
        else lift(who);
    }

    /// @dev Everything is closed and everybody takes out all that is theirs, suspended or not.
    function finish() external {
        for (uint256 i = 0; i < _trades.length; ++i) {
            close(i, true);
        }
        for (uint256 who = OPERATOR; who <= LENDER; ++who) {
            uint128 free = accountOf(id(who)).free;
            if (free == 0) continue;
            from(who);
            settlement.withdraw(free, bytes32(++_operations));
        }
        same(totalsNow().free, 0, "nothing left free");
        same(totalsNow().locked, 0, "nothing left locked");
        same(totalsNow().bonded, 0, "nothing left bonded");
        same(totalsNow().withdrawn, totalsNow().deposited, "all that came in went out");
    }

    // --- What must hold --------------------------------------------------------------------------------------------------------

    function checkTotals() external view {
        Account memory totals = totalsNow();
        same(totals.deposited, uint256(totals.withdrawn) + totals.free + totals.locked + totals.bonded, "deposits");
        same(totals.earned, totals.spent, "what one spends others earn");
        Account memory sum;
        for (uint256 who = OPERATOR; who <= LENDER; ++who) {
            Account memory account = accountOf(_ids[who]);
            same(
                uint256(account.deposited) + account.earned,
                uint256(account.withdrawn) + account.spent + account.free + account.locked + account.bonded,
                "member"
            );
            sum.deposited += account.deposited;
            sum.withdrawn += account.withdrawn;
            sum.free += account.free;
            sum.locked += account.locked;
            sum.earned += account.earned;
            sum.bonded += account.bonded;
        }
        same(sum.deposited, totals.deposited, "sum of deposits");
        same(sum.withdrawn, totals.withdrawn, "sum of withdrawals");
        same(sum.free, totals.free, "sum of free");
        same(sum.locked, totals.locked, "sum of locked");
        same(sum.earned, totals.earned, "sum of earnings");
        same(sum.bonded, totals.bonded, "sum of bonds");
    }

    function checkTrades() external view {
        uint256[2] memory lockedOf;
        uint256 bonds = 0;
        for (uint256 i = 0; i < _trades.length; ++i) {
            lockedOf[_trades[i].buyer == BANK ? 0 : 1] += checkTrade(_trades[i]);
            bonds += agreementStateOf(_trades[i].agreementId).bondHeld;
        }
        same(accountOf(_ids[DEPARTMENT]).bonded, bonds, "bonds of the provider");
        same(accountOf(_ids[BANK]).locked, lockedOf[0], "locked of the bank");
        same(accountOf(_ids[LENDER]).locked, lockedOf[1], "locked of the lender");
    }

    function checkTrade(Trade memory t) private view returns (uint256 locked) {
        AgreementState memory state = agreementStateOf(t.agreementId);
        locked = state.closedAt == 0 ? state.opened - state.paid : 0;
        same(state.opened, uint256(state.paid) + state.refunded + locked, "opened");
        same(state.opened, t.cap, "cap");
        uint256 acknowledged = 0;
        uint256 units = 0;
        for (uint16 lane = 0; lane < LANES; ++lane) {
            (, uint64 laneUnits, uint128 laneAmount) = laneStateOf(t.agreementId, lane);
            (acknowledged, units) = (acknowledged + laneAmount, units + laneUnits);
        }
        same(state.acknowledged, acknowledged, "acknowledged over all lanes");
        same(state.acknowledgedUnits, units, "units over all lanes");
        holds(acknowledged <= t.cap && (t.maxUnits == 0 || units <= t.maxUnits), "caps");
        uint256 first = acknowledged * t.firstShare / 10_000;
        uint256 second = acknowledged * (10_000 - t.firstShare) / 10_000;
        same(settlement.paidTo(t.agreementId, _ids[DEPARTMENT]), first, "the provider's part");
        same(settlement.paidTo(t.agreementId, _ids[OPERATOR]), second, "the operator's part");
        same(state.paid, first + second, "paid");
    }

    // --- Disputes --------------------------------------------------------------------------------------------------------------

    /// @dev The buyer contests or not, the provider answers or not, the arbiter rules or not; whoever is silent lets the window pass.
    function walk(Agreement memory a, UsageReceipt memory r, uint8 path) private {
        refusedWhilePending(a);
        uint256 buyer = a.buyer == id(BANK) ? BANK : LENDER;
        from(buyer);
        bytes memory data = abi.encodeCall(disputes.contest, (a, r, 1 + path % 6, keccak256("key")));
        if (path % 4 == 0 || !succeeds(address(disputes), data)) return passWindow(a);
        from(DEPARTMENT);
        if (path % 4 == 1) return passWindow(a);
        disputes.answer(a, r, keccak256("sealed"));
        if (path % 4 == 2) return passWindow(a);
        Ruling memory v = rulingOf(r, uint128(path / 4 % 3 == 0 ? 0 : path / 4 % 3 == 1 ? r.amount : 3));
        disputes.rule(a, r, v, signRuling(v, key(SUPERVISOR, STATEMENT)));
    }

    function refusedWhilePending(Agreement memory a) private {
        if (agreementStateOf(Statements.hash(a)).noticeAt == 0) return;
        uint256 height = block.number;
        uint256 time = block.timestamp;
        passWindow(a);
        holds(!succeeds(address(settlement), abi.encodeCall(settlement.close, (a))), "a claim is pending");
        vm.roll(height);
        vm.warp(time);
    }

    /// @dev The buyer's next request on a lane, and a receipt of seven fen for it.
    function lastCall(Agreement memory a, bytes32 agreementId, uint16 lane)
        private
        view
        returns (UsageRequest memory q, UsageReceipt memory r)
    {
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(agreementId, lane);
        uint64 next_ = (seq > _tried[agreementId][lane] ? seq : _tried[agreementId][lane]) + 1;
        q = lastRequest(a, lane, next_);
        (q.acknowledgedUnits, q.acknowledgedAmount) = (units, amount);
        r = lastReceipt(a, q);
    }

    function claimable(bytes32 agreementId) private view returns (bool) {
        AgreementState memory state = agreementStateOf(agreementId);
        return state.noticeAt == 0 || block.number <= state.noticeAt + WINDOW_BLOCKS
            || block.timestamp <= state.noticeTime + WINDOW_SECONDS;
    }

    // --- Parts -----------------------------------------------------------------------------------------------------------------

    /// @dev Notice, a try before the window is over, the closing, and a claim that comes too late.
    function close(uint256 which, bool byProvider) private {
        (Agreement memory a, bytes32 agreementId, AgreementState memory state) = trade(which);
        if (state.closedAt != 0) return;
        bytes memory data = abi.encodeCall(settlement.close, (a));
        if (state.noticeAt == 0) {
            holds(!succeeds(address(settlement), data), "no notice");
            giveNotice(a, byProvider ? DEPARTMENT : buyerOf(which));
            holds(!succeeds(address(settlement), data), "window open");
        }
        passWindow(a);
        settlement.close(a);
        ++closes;
        (Voucher[] memory vouchers, bytes[] memory signatures) =
            one(Voucher(1, agreementId, 0, type(uint64).max, a.maxUnits, a.cap, ""), key(buyerOf(which), STATEMENT));
        from(DEPARTMENT);
        data = abi.encodeCall(settlement.claimVouchers, (a, vouchers, signatures));
        holds(!succeeds(address(settlement), data), "closed");
    }

    function refusedTogether(Agreement memory a, FinalSettlement memory f, uint128 amount) private {
        uint128 before = f.amount;
        f.amount = amount;
        bytes32 structHash = Statements.hash(f);
        bytes memory providers = sign(address(settlement), structHash, key(DEPARTMENT, STATEMENT));
        bytes memory buyers = sign(address(settlement), structHash, signerOf(a));
        bytes memory data = abi.encodeCall(settlement.closeCooperatively, (a, f, providers, buyers));
        holds(!succeeds(address(settlement), data), "final totals");
        f.amount = before;
    }

    function oneOf(uint256 who) private pure returns (uint256) {
        return who % 2 == 0 ? BANK : LENDER;
    }

    /// @dev A trade from `which` on that is open and has something left to claim; a new one where there is none.
    function unfinished(uint256 which) private returns (uint256) {
        for (uint256 i = 0; i < _trades.length; ++i) {
            uint256 each = (which % _trades.length + i) % _trades.length;
            AgreementState memory state = agreementStateOf(_trades[each].agreementId);
            if (state.closedAt == 0 && state.acknowledged < state.opened) return each;
        }
        if (!directory.isActive(id(DEPARTMENT))) lift(DEPARTMENT);
        if (!directory.isActive(id(BANK))) lift(BANK);
        deposit(confirmation(BANK, 1000, bytes32(++_operations)));
        holds(tryOpening(Trade(BANK, 1000, 0, uint16(fold(which, 0, 10_000)), 100, true, 5, 0)), "a new one");
        return _trades.length - 1;
    }

    function buyerOf(uint256 which) private view returns (uint256) {
        return _trades[which % _trades.length].buyer;
    }

    function grantOf(uint256 buyer) private pure returns (GrantTerms memory g) {
        g = grantTerms();
        g.grantee = id(buyer);
    }

    function allow(uint256 buyer) private {
        GrantTerms memory g = grantOf(buyer);
        from(buyer);
        grants.request(g);
        GrantDecision memory d = GrantDecision(1, Statements.hash(g), true, "reason", FOREVER);
        grants.decide(g, d, sign(address(grants), Statements.hash(d), key(DEPARTMENT, APPROVAL)));
    }

    function terms(Trade memory t, uint256 which) private pure returns (Agreement memory a) {
        a = agreement();
        a.grantId = Statements.hash(grantOf(t.buyer));
        (a.buyer, a.buyerKey) = (id(t.buyer), keyAddress(t.buyer, STATEMENT));
        (a.cap, a.maxUnits, a.lanes, a.nonce) = (t.cap, t.maxUnits, LANES, bytes32(which));
        (a.endsAt, a.openBefore) = (FOREVER, FOREVER);
        (a.bond, a.bondFromEarnings, a.stake) = (t.bond, t.bondFromEarnings, t.stake);
        (a.shares[0].basisPoints, a.shares[1].basisPoints) = (t.firstShare, 10_000 - t.firstShare);
    }

    function tryOpening(Trade memory t) private returns (bool done) {
        Agreement memory a = terms(t, _trades.length);
        t.agreementId = Statements.hash(a);
        bytes memory providers = sign(address(settlement), t.agreementId, key(DEPARTMENT, STATEMENT));
        bytes memory buyers = sign(address(settlement), t.agreementId, key(t.buyer, STATEMENT));
        bytes memory data = abi.encodeCall(settlement.open, (a, grantOf(t.buyer), providers, buyers));
        done = succeeds(address(settlement), data);
        if (done) _trades.push(t);
    }

    function trade(uint256 which)
        private
        view
        returns (Agreement memory a, bytes32 agreementId, AgreementState memory state)
    {
        which = which % _trades.length;
        a = terms(_trades[which], which);
        agreementId = _trades[which].agreementId;
        state = agreementStateOf(agreementId);
    }

    function one(Voucher memory v, uint256 signer)
        private
        view
        returns (Voucher[] memory vouchers, bytes[] memory signatures)
    {
        vouchers = new Voucher[](1);
        signatures = new bytes[](1);
        (vouchers[0], signatures[0]) = (v, signVoucher(v, signer));
    }

    /// @dev The next acknowledgement of a lane, as high as the cap and the units allow.
    function nextVoucher(uint256 which, uint16 lane, uint128 more)
        private
        returns (Agreement memory a, Voucher memory v)
    {
        bytes32 agreementId;
        AgreementState memory state;
        (a, agreementId, state) = trade(unfinished(which));
        lane = lane % LANES;
        (uint64 seq, uint64 units, uint128 amount) = laneStateOf(agreementId, lane);
        v = Voucher(1, agreementId, lane, seq + 1, units, amount, "");
        v.acknowledgedAmount += uint128(fold(more, 1, a.cap - state.acknowledged));
        if (a.maxUnits == 0 || state.acknowledgedUnits < a.maxUnits) ++v.acknowledgedUnits;
    }

    function signerOf(Agreement memory a) private pure returns (uint256) {
        return key(a.buyer == id(BANK) ? BANK : LENDER, STATEMENT);
    }
}

/// @title No fen is made, lost or stuck
contract TradeInvariants is Base {
    TradeHandler private _handler;

    function setUp() public {
        _handler = new TradeHandler();
        _handler.setUp();
        _target(address(_handler), _handler.selectors());
    }

    function invariant_depositsAndTradesAddUp() public view {
        _handler.checkTotals();
        _handler.checkTrades();
    }

    function afterInvariant() public {
        if (_handler.actions() >= WHOLE_RUN) {
            holds(_handler.claims() > 0, "claims happened");
            holds(_handler.closes() > 0, "closes happened");
            holds(_handler.cooperativeCloses() > 0, "cooperative closes happened");
            holds(_handler.disputed() > 0, "disputes happened");
        }
        _handler.finish();
        _handler.checkTotals();
        _handler.checkTrades();
    }
}
