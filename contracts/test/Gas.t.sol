// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import "../src/Statements.sol";
import {World} from "./World.sol";

/// @title What each operation costs
/// @notice One call a test, prepared in `setUp`, so that `.gas-snapshot` follows the contracts and not the tests. To accept new numbers:
/// `forge snapshot --match-contract GasTest`.
contract GasTest is World {
    bytes32 private constant UNIT = keccak256("unit");

    struct Call {
        uint256 who;
        address target;
        bytes data;
    }

    mapping(string name => Call) private _calls;

    function setUp() public override {
        super.setUp();
        prepareRights();
        prepareTrade();
        prepareRecords();
        prepareDeal();
        bytes memory data = abi.encodeCall(directory.suspend, (id(NOTARY), "test"));
        put("suspend", NOTARY, address(directory), execution(data, 1_000_001));
        suspend(LENDER);
        lift(LENDER);
        data = abi.encodeCall(directory.suspend, (id(LENDER), "test"));
        put("suspend again", NOTARY, address(directory), execution(data, 1_000_002));
        prepareGovernance();
    }

    function prepareGovernance() private {
        bytes memory data = abi.encodeCall(evidence.correct, (id(DEPARTMENT), 1, 7, "root of 7", "key stolen"));
        data = abi.encodeCall(directory.actOn, (address(evidence), data));
        put("correct log", NOTARY, address(directory), execution(data, 1_000_003));
        data = abi.encodeCall(assets.assignSource, ("income", keccak256("asset"), "responsible office"));
        data = abi.encodeCall(directory.actOn, (address(assets), data));
        put("assign source", NOTARY, address(directory), execution(data, 1_000_004));
        bytes32 withdrawal = Statements.hash(ApprovalWithdrawal(1, keccak256(data), 1_000_004, FOREVER));
        bytes memory signature = sign(address(directory), withdrawal, key(OPERATOR, ADMIN));
        data = abi.encodeCall(directory.withdrawApproval, (keccak256(data), 1_000_004, FOREVER, signature));
        put("withdraw approval", NOTARY, address(directory), data);
    }

    function prepareRights() private {
        register();
        AssetRecord memory r = record();
        (r.name, r.dataItem) = ("firms", "firm");
        put("register", DEPARTMENT, address(assets), abi.encodeCall(assets.register, (r)));
        request();
        GrantDecision memory d = decision(true);
        bytes memory signature = sign(address(grants), Statements.hash(d), key(DEPARTMENT, APPROVAL));
        grants.decide(grantTerms(), d, signature);
        GrantTerms memory terms = grantTerms();
        terms.nonce = "second";
        put("request", BANK, address(grants), abi.encodeCall(grants.request, (terms)));
        terms.nonce = "third";
        from(BANK);
        grants.request(terms);
        d.grantId = Statements.hash(terms);
        signature = sign(address(grants), Statements.hash(d), key(DEPARTMENT, APPROVAL));
        put("decide", DEPARTMENT, address(grants), abi.encodeCall(grants.decide, (terms, d, signature)));
        GrantRevocation memory v = GrantRevocation(1, d.grantId, "ended", FOREVER);
        signature = sign(address(grants), Statements.hash(v), key(DEPARTMENT, STATEMENT));
        put("revoke", DEPARTMENT, address(grants), abi.encodeCall(grants.revoke, (terms, v, signature)));
    }

    function prepareTrade() private {
        deposit(confirmation(BANK, 10_000, "first"));
        DepositConfirmation memory c = confirmation(BANK, 100, "second");
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        put("deposit", SETTLER, address(settlement), abi.encodeCall(settlement.deposit, (c, signature)));
        put("withdraw", BANK, address(settlement), abi.encodeCall(settlement.withdraw, (100, "out")));
        Agreement memory a = agreement();
        a.nonce = "second";
        bytes memory provider = sign(address(settlement), Statements.hash(a), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), Statements.hash(a), key(BANK, STATEMENT));
        put("open", BANK, address(settlement), abi.encodeCall(settlement.open, (a, grantTerms(), provider, buyer)));
        a = agreement();
        open(a);
        put("first claim", DEPARTMENT, address(settlement), claiming(a, 1, voucher(a, 1, 10)));
        claim(a, voucher(a, 0, 10));
        put("next claim", DEPARTMENT, address(settlement), claiming(a, 1, voucher(a, 0, 20)));
        put("notice", BANK, address(settlement), abi.encodeCall(settlement.giveNotice, (a)));
        Agreement memory ended = agreement();
        ended.nonce = "ended";
        open(ended);
        giveNotice(ended, BANK);
        passWindow(ended);
        put("close", BANK, address(settlement), abi.encodeCall(settlement.close, (ended)));
        Agreement memory wide = agreement();
        (wide.lanes, wide.nonce) = (16, "wide");
        open(wide);
        put("close cooperatively", BANK, address(settlement), closing(a, 2));
        put("close 16 lanes cooperatively", BANK, address(settlement), closing(wide, 16));
        Agreement memory widest = agreement();
        (widest.lanes, widest.cap, widest.maxUnits, widest.nonce) = (256, 1792, 256, "widest");
        open(widest);
        put("close 256 lanes cooperatively", BANK, address(settlement), closing(widest, 256));
        put("claim of 16 lanes", DEPARTMENT, address(settlement), claiming(wide, 16, voucher(wide, 0, 5)));
    }

    function prepareRecords() private {
        from(DEPARTMENT);
        evidence.anchor(1, 5, "root of 5");
        put("anchor", DEPARTMENT, address(evidence), abi.encodeCall(evidence.anchor, (1, 9, "root of 9")));
        ConsentRegistration memory r = ConsentRegistration(1, keccak256("consent"), vm.addr(SUBJECT_KEY), FOREVER);
        bytes memory signature = sign(address(credit), Statements.hash(r), SUBJECT_KEY);
        put("record consent", BANK, address(credit), abi.encodeCall(credit.recordConsent, (r, signature)));
        bytes32[] memory queries = new bytes32[](10);
        for (uint256 i = 0; i < queries.length; ++i) {
            queries[i] = keccak256(abi.encode("query", i));
        }
        put("anchor 10 queries", BANK, address(credit), abi.encodeCall(credit.anchorQueries, (queries)));
    }

    function prepareDeal() private {
        DealTerms memory t = dealTerms(UNIT, 1);
        openDeal(t, title(UNIT, START));
        DealStep[] memory statements = new DealStep[](6);
        bytes[] memory signatures = new bytes[](6);
        for (uint8 i = 0; i < 6; ++i) {
            statements[i] = dealStep(t, i + 2);
            signatures[i] = signStep(statements[i], stepKey(i + 2));
        }
        put("six steps", AGENT, address(property), abi.encodeCall(property.steps, (t, statements, signatures)));
        t = dealTerms(keccak256("another unit"), 2);
        TitleStatement memory s = title(t.unit, START);
        bytes memory titleSignature = sign(address(property), Statements.hash(s), key(REGISTRAR, STATEMENT));
        DealStep memory first = dealStep(t, 1);
        bytes memory sellers = signStep(first, SELLER_KEY);
        put(
            "open deal", AGENT, address(property), abi.encodeCall(property.open, (t, s, titleSignature, first, sellers))
        );
    }

    function execution(bytes memory data, uint256 nonce) private view returns (bytes memory) {
        bytes[] memory signatures = approvals(data, nonce, FOREVER, OPERATOR, SUPERVISOR);
        return abi.encodeCall(directory.execute, (data, nonce, FOREVER, signatures));
    }

    /// @dev `lanes` lanes from the voucher's on, each with the same acknowledgement.
    function claiming(Agreement memory a, uint16 lanes, Voucher memory v) private view returns (bytes memory) {
        Voucher[] memory vouchers = new Voucher[](lanes);
        bytes[] memory signatures = new bytes[](lanes);
        for (uint16 i = 0; i < lanes; ++i) {
            vouchers[i] = Voucher(1, v.agreementId, v.lane + i, v.seq, v.acknowledgedUnits, v.acknowledgedAmount, "");
            signatures[i] = signVoucher(vouchers[i], key(BANK, STATEMENT));
        }
        return abi.encodeCall(settlement.claimVouchers, (a, vouchers, signatures));
    }

    /// @dev Both parties' final totals; what was claimed before on the first lane remains.
    function closing(Agreement memory a, uint16 lanes) private view returns (bytes memory) {
        uint64[] memory calls = new uint64[](lanes);
        for (uint16 i = 0; i < lanes; ++i) {
            calls[i] = lanes == 2 ? 10 : 1;
        }
        FinalSettlement memory f = finalSettlement(a, calls);
        bytes memory provider = sign(address(settlement), Statements.hash(f), key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), Statements.hash(f), key(BANK, STATEMENT));
        return abi.encodeCall(settlement.closeCooperatively, (a, f, provider, buyer));
    }

    function put(string memory name, uint256 who, address target, bytes memory data) private {
        _calls[name] = Call(who, target, data);
    }

    function run(string memory name) private {
        vm.pauseGasMetering();
        Call memory c = _calls[name];
        from(c.who);
        vm.resumeGasMetering();
        holds(succeeds(c.target, c.data), name);
    }

    function test_gas_directory_suspend() public {
        run("suspend");
    }

    function test_gas_directory_suspendAgain() public {
        run("suspend again");
    }

    function test_gas_directory_correctLog() public {
        run("correct log");
    }

    function test_gas_directory_assignSource() public {
        run("assign source");
    }

    function test_gas_directory_withdrawApproval() public {
        run("withdraw approval");
    }

    function test_gas_assets_register() public {
        run("register");
    }

    function test_gas_grants_request() public {
        run("request");
    }

    function test_gas_grants_decide() public {
        run("decide");
    }

    function test_gas_grants_revoke() public {
        run("revoke");
    }

    function test_gas_settlement_deposit() public {
        run("deposit");
    }

    function test_gas_settlement_withdraw() public {
        run("withdraw");
    }

    function test_gas_settlement_open() public {
        run("open");
    }

    function test_gas_settlement_firstClaimOfALane() public {
        run("first claim");
    }

    function test_gas_settlement_nextClaimOfALane() public {
        run("next claim");
    }

    function test_gas_settlement_claimOf16Lanes() public {
        run("claim of 16 lanes");
    }

    function test_gas_settlement_giveNotice() public {
        run("notice");
    }

    function test_gas_settlement_close() public {
        run("close");
    }

    function test_gas_settlement_closeCooperatively() public {
        run("close cooperatively");
    }

    function test_gas_settlement_closeCooperatively16Lanes() public {
        run("close 16 lanes cooperatively");
    }

    function test_gas_settlement_closeCooperatively256Lanes() public {
        run("close 256 lanes cooperatively");
    }

    function test_gas_evidence_anchor() public {
        run("anchor");
    }

    function test_gas_credit_recordConsent() public {
        run("record consent");
    }

    function test_gas_credit_anchor10Queries() public {
        run("anchor 10 queries");
    }

    function test_gas_property_open() public {
        run("open deal");
    }

    function test_gas_property_sixSteps() public {
        run("six steps");
    }
}
