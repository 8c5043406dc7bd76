// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AssetRegistry} from "../src/AssetRegistry.sol";
import {Balance, Flow, Heights, Lane, Security, Sums} from "../src/Books.sol";
import {CreditLedger} from "../src/CreditLedger.sol";
import {EvidenceLog} from "../src/EvidenceLog.sol";
import {GrantRegistry} from "../src/GrantRegistry.sol";
import {MemberDirectory} from "../src/MemberDirectory.sol";
import {PropertyLedger} from "../src/PropertyLedger.sol";
import "../src/Statements.sol";
import {TradeDisputes} from "../src/TradeDisputes.sol";
import {TradeSettlement} from "../src/TradeSettlement.sol";
import {Base} from "./Base.sol";

/// @title A small city: the eight contracts and ten members with keys of their own
/// @notice Members are numbers here; `id` is a number's credit code, `key` its private key for a purpose. Statements are built valid, and
/// each test changes one thing.
abstract contract World is Base {
    /// @dev An agreement's storage values, field by field.
    struct AgreementState {
        uint128 opened;
        uint128 paid;
        uint128 refunded;
        uint128 acknowledged;
        uint48 openedAt;
        uint48 noticeAt;
        uint48 noticeTime;
        uint48 closedAt;
        uint64 acknowledgedUnits;
        uint64 bondDue;
        uint64 bondHeld;
        uint64 bondTaken;
        uint64 pending;
    }

    /// @dev An account's storage values, field by field.
    struct Account {
        uint128 deposited;
        uint128 withdrawn;
        uint128 free;
        uint128 locked;
        uint128 earned;
        uint128 spent;
        uint128 bonded;
    }

    uint256 internal constant OPERATOR = 0;
    uint256 internal constant SUPERVISOR = 1;
    uint256 internal constant SETTLER = 2;
    uint256 internal constant DEPARTMENT = 3;
    uint256 internal constant BANK = 4;
    uint256 internal constant REGISTRAR = 5;
    uint256 internal constant TAX_OFFICE = 6;
    uint256 internal constant AGENT = 7;
    uint256 internal constant NOTARY = 8;
    uint256 internal constant LENDER = 9;
    uint256 internal constant STRANGER = 99;

    uint8 internal constant ADMIN = 1;
    uint8 internal constant APPROVAL = 2;
    uint8 internal constant TRANSACTION = 3;
    uint8 internal constant STATEMENT = 4;

    uint256 internal constant SELLER_KEY = 0x5e11e4;
    uint256 internal constant BUYER_KEY = 0xb04e4;
    uint256 internal constant SUBJECT_KEY = 0x50b1ec7;

    /// @dev The shortest windows here, and those of `agreement()`.
    uint32 internal constant WINDOW_BLOCKS = 5;
    uint32 internal constant WINDOW_SECONDS = 60;

    uint64 internal constant START = 1_800_000_000;
    uint64 internal constant FOREVER = 4_000_000_000;

    MemberDirectory internal directory;
    AssetRegistry internal assets;
    GrantRegistry internal grants;
    TradeSettlement internal settlement;
    TradeDisputes internal disputes;
    EvidenceLog internal evidence;
    CreditLedger internal credit;
    PropertyLedger internal property;

    uint256 private _nonce;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1000);
        MemberDirectory.Governor[] memory governors = new MemberDirectory.Governor[](3);
        governors[0] = governor(OPERATOR, 1);
        governors[1] = governor(SUPERVISOR, 8);
        governors[2] = governor(SETTLER, 16);
        directory = new MemberDirectory(governors);
        assets = new AssetRegistry(directory);
        grants = new GrantRegistry(directory, assets);
        address next_ = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        settlement = new TradeSettlement(directory, grants, next_, WINDOW_BLOCKS, WINDOW_SECONDS);
        disputes = new TradeDisputes(directory, settlement);
        holds(address(disputes) == next_, "the disputes' address");
        evidence = new EvidenceLog(directory);
        credit = new CreditLedger(directory);
        property = new PropertyLedger(directory);
        for (uint256 who = OPERATOR; who <= SETTLER; ++who) {
            govern(abi.encodeCall(directory.addKey, (id(who), entry(who, STATEMENT))));
        }
        admit(DEPARTMENT, 2);
        admit(BANK, 4);
        admit(REGISTRAR, 2);
        admit(TAX_OFFICE, 2);
        admit(AGENT, 32);
        admit(NOTARY, 32);
        admit(LENDER, 4);
        next();
    }

    // --- Members and keys ------------------------------------------------------------------------------------------------------

    /// @dev Region 440700, organisation number `who`; the check character by GB 32100-2015.
    function id(uint256 who) internal pure returns (bytes18) {
        bytes memory text = "11440700MB0000000?";
        text[15] = bytes1(uint8(48 + (who / 10) % 10));
        text[16] = bytes1(uint8(48 + who % 10));
        return withCheckCharacter(text);
    }

    function withCheckCharacter(bytes memory text) internal pure returns (bytes18) {
        bytes memory letters = "0123456789ABCDEFGHJKLMNPQRTUWXY";
        uint256 sum = 0;
        uint256 weight = 1;
        for (uint256 i = 0; i < 17; ++i) {
            sum += valueOf(letters, text[i]) * weight;
            weight = weight * 3 % 31;
        }
        text[17] = letters[(31 - sum % 31) % 31];
        return bytes18(text);
    }

    function valueOf(bytes memory letters, bytes1 letter) internal pure returns (uint256 place) {
        if (letter <= "9") return uint8(letter) - 48;
        while (letters[place] != letter) ++place;
    }

    function key(uint256 who, uint8 purpose) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode("qiaolian test key", who, purpose)));
    }

    function keyAddress(uint256 who, uint8 purpose) internal pure returns (address) {
        return vm.addr(key(who, purpose));
    }

    function entry(uint256 who, uint8 purpose) internal pure returns (MemberDirectory.KeyEntry memory) {
        return MemberDirectory.KeyEntry(word(keyAddress(who, purpose)), purpose, 1);
    }

    function governor(uint256 who, uint16 roles) internal pure returns (MemberDirectory.Governor memory) {
        return MemberDirectory.Governor(id(who), "", roles, keyAddress(who, ADMIN), keyAddress(who, TRANSACTION));
    }

    function admit(uint256 who, uint16 roles) internal {
        MemberDirectory.KeyEntry[] memory entries = new MemberDirectory.KeyEntry[](3);
        entries[0] = entry(who, APPROVAL);
        entries[1] = entry(who, TRANSACTION);
        entries[2] = entry(who, STATEMENT);
        govern(abi.encodeCall(directory.admit, (id(who), "", roles, entries)));
    }

    /// @dev The next call comes from the member's node.
    function from(uint256 who) internal {
        vm.prank(keyAddress(who, TRANSACTION));
    }

    // --- Governance ------------------------------------------------------------------------------------------------------------

    function govern(bytes memory data) internal {
        uint256 nonce = newNonce();
        bytes[] memory signatures = approvals(data, nonce, FOREVER, OPERATOR, SUPERVISOR);
        directory.execute(data, nonce, FOREVER, signatures);
    }

    function newNonce() internal returns (uint256) {
        return ++_nonce;
    }

    function approvals(bytes memory data, uint256 nonce, uint64 deadline, uint256 first, uint256 second)
        internal
        view
        returns (bytes[] memory signatures)
    {
        bytes32 structHash = Statements.hash(Approval(1, keccak256(data), nonce, deadline));
        signatures = new bytes[](2);
        signatures[0] = sign(address(directory), structHash, key(first, ADMIN));
        signatures[1] = sign(address(directory), structHash, key(second, ADMIN));
    }

    function suspend(uint256 who) internal {
        next();
        govern(abi.encodeCall(directory.suspend, (id(who), "test")));
        next();
    }

    function lift(uint256 who) internal {
        govern(abi.encodeCall(directory.lift, (id(who))));
        next();
    }

    function closeToNewBusiness(address target) internal {
        govern(abi.encodeCall(directory.closeContract, (target)));
    }

    // --- Signatures ------------------------------------------------------------------------------------------------------------

    function separator(uint256 chainId, address target) internal pure returns (bytes32) {
        bytes32 typeHash =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(typeHash, keccak256("Qiaolian"), keccak256("1"), chainId, target));
    }

    function digest(address target, bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator(block.chainid, target), structHash));
    }

    function sign(address target, bytes32 structHash, uint256 privateKey) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, digest(target, structHash));
        return abi.encodePacked(r, s, v);
    }

    /// @dev The other signature that the curve allows for the same message and key.
    function mirrored(bytes memory signature) internal pure returns (bytes memory) {
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        (bytes32 r, uint256 s) = abi.decode(bytes.concat(signature, new bytes(31)), (bytes32, uint256));
        return abi.encodePacked(r, order - s, uint8(signature[64]) == 27 ? uint8(28) : uint8(27));
    }

    // --- Assets and grants -----------------------------------------------------------------------------------------------------

    function record() internal pure returns (AssetRecord memory r) {
        r.version = 1;
        r.holder = id(DEPARTMENT);
        r.processor = id(DEPARTMENT);
        r.operator = id(OPERATOR);
        r.dataItem = "income";
        r.name = "people";
        r.assetVersion = 1;
        r.grade = 3;
        r.category = "credit";
        r.recordsRoot = keccak256("records");
        r.rowCount = 4454;
    }

    function assetId() internal pure returns (bytes32) {
        return keccak256(abi.encode(id(DEPARTMENT), bytes32("people")));
    }

    function register() internal {
        from(DEPARTMENT);
        assets.register(record());
    }

    function grantTerms() internal pure returns (GrantTerms memory g) {
        g.version = 1;
        g.assetId = assetId();
        g.assetVersion = 1;
        g.owner = id(DEPARTMENT);
        g.grantee = id(BANK);
        g.operations = 4;
        g.scene = "credit";
        g.purpose = "credit-check";
        g.scope = keccak256("scope");
        g.notBefore = START;
        g.notAfter = START + 30 days;
        g.maxUses = 1000;
    }

    function grantId() internal pure returns (bytes32) {
        return Statements.hash(grantTerms());
    }

    function request() internal {
        from(BANK);
        grants.request(grantTerms());
    }

    function decision(bool approved) internal pure returns (GrantDecision memory) {
        return GrantDecision(1, grantId(), approved, "reason", FOREVER);
    }

    function decide(GrantDecision memory d, uint256 privateKey) internal {
        bytes memory signature = sign(address(grants), Statements.hash(d), privateKey);
        grants.decide(grantTerms(), d, signature);
    }

    function revoke(uint256 privateKey) internal {
        GrantRevocation memory r = GrantRevocation(1, grantId(), "ended", FOREVER);
        bytes memory signature = sign(address(grants), Statements.hash(r), privateKey);
        grants.revoke(grantTerms(), r, signature);
    }

    /// @dev A registered asset with an approved grant of it to the bank.
    function grant() internal {
        register();
        request();
        decide(decision(true), key(DEPARTMENT, APPROVAL));
    }

    // --- Trade -----------------------------------------------------------------------------------------------------------------

    function confirmation(uint256 who, uint128 amount, bytes32 bankReference)
        internal
        pure
        returns (DepositConfirmation memory)
    {
        return DepositConfirmation(1, id(SETTLER), id(who), amount, bankReference, FOREVER);
    }

    function deposit(DepositConfirmation memory c) internal {
        bytes memory signature = sign(address(settlement), Statements.hash(c), key(SETTLER, STATEMENT));
        settlement.deposit(c, signature);
    }

    /// @dev 1,000 fen at 7 fen a call over two lanes; 70 % to the department, 30 % to the operator.
    function agreement() internal pure returns (Agreement memory a) {
        a.version = 2;
        a.grantId = grantId();
        a.assetId = assetId();
        a.assetVersion = 1;
        a.provider = id(DEPARTMENT);
        a.buyer = id(BANK);
        a.providerKey = keyAddress(DEPARTMENT, STATEMENT);
        a.buyerKey = keyAddress(BANK, STATEMENT);
        a.purpose = "credit-check";
        a.price = 7;
        a.cap = 1000;
        a.maxUnits = 200;
        a.maxPerCall = 7;
        a.lanes = 2;
        a.startsAt = START;
        a.endsAt = START + 1 days;
        a.openBefore = START + 1 hours;
        a.closeWindowBlocks = WINDOW_BLOCKS;
        a.closeWindowSeconds = WINDOW_SECONDS;
        a.arbiter = id(SUPERVISOR);
        a.shares = new Share[](2);
        a.shares[0] = Share(id(DEPARTMENT), 7000);
        a.shares[1] = Share(id(OPERATOR), 3000);
    }

    function open(Agreement memory a) internal {
        bytes32 structHash = Statements.hash(a);
        bytes memory provider = sign(address(settlement), structHash, key(DEPARTMENT, STATEMENT));
        bytes memory buyer = sign(address(settlement), structHash, key(BANK, STATEMENT));
        settlement.open(a, grantTerms(), provider, buyer);
    }

    /// @dev The buyer's acknowledgement of `calls` calls on a lane.
    function voucher(Agreement memory a, uint16 lane, uint64 calls) internal pure returns (Voucher memory) {
        return Voucher(1, Statements.hash(a), lane, calls, calls, uint128(calls) * a.price, keccak256("receipt"));
    }

    function signVoucher(Voucher memory v, uint256 privateKey) internal view returns (bytes memory) {
        return sign(address(settlement), Statements.hash(v), privateKey);
    }

    function claim(Agreement memory a, Voucher memory v) internal {
        (Voucher[] memory vouchers, bytes[] memory signatures) = batch(v);
        from(DEPARTMENT);
        settlement.claimVouchers(a, vouchers, signatures);
    }

    function batch(Voucher memory v) internal view returns (Voucher[] memory vouchers, bytes[] memory signatures) {
        vouchers = new Voucher[](1);
        signatures = new bytes[](1);
        vouchers[0] = v;
        signatures[0] = signVoucher(v, key(BANK, STATEMENT));
    }

    function giveNotice(Agreement memory a, uint256 who) internal {
        from(who);
        settlement.giveNotice(a);
    }

    /// @dev Both parties' final totals: so many calls on each lane, from the first lane on.
    function finalSettlement(Agreement memory a, uint64[] memory calls)
        internal
        pure
        returns (FinalSettlement memory f)
    {
        f.version = 1;
        f.agreementId = Statements.hash(a);
        f.lanes = new LaneTotal[](calls.length);
        for (uint16 lane = 0; lane < calls.length; ++lane) {
            uint128 amount = uint128(calls[lane]) * a.price;
            f.lanes[lane] = LaneTotal(lane, calls[lane], calls[lane], amount);
            (f.units, f.amount) = (f.units + calls[lane], f.amount + amount);
        }
    }

    function finalSettlement(Agreement memory a, uint64 calls) internal pure returns (FinalSettlement memory) {
        uint64[] memory one = new uint64[](1);
        one[0] = calls;
        return finalSettlement(a, one);
    }

    function closeCooperatively(Agreement memory a, FinalSettlement memory f) internal {
        closeCooperatively(a, f, key(DEPARTMENT, STATEMENT), key(BANK, STATEMENT));
    }

    /// @dev Sent by an account that is nobody's.
    function closeCooperatively(Agreement memory a, FinalSettlement memory f, uint256 providerKey, uint256 buyerKey)
        internal
    {
        bytes32 structHash = Statements.hash(f);
        bytes memory provider = sign(address(settlement), structHash, providerKey);
        bytes memory buyer = sign(address(settlement), structHash, buyerKey);
        from(STRANGER);
        settlement.closeCooperatively(a, f, provider, buyer);
    }

    function passWindow(Agreement memory a) internal {
        vm.roll(block.number + a.closeWindowBlocks + 1);
        vm.warp(block.timestamp + a.closeWindowSeconds + 1);
    }

    function accountOf(bytes18 member) internal view returns (Account memory) {
        return unpacked(settlement.accountWords(member));
    }

    function totalsNow() internal view returns (Account memory) {
        return unpacked(settlement.totalWords());
    }

    function unpacked(TradeSettlement.Account memory packed) private pure returns (Account memory a) {
        uint256 balance = Balance.unwrap(packed.balance);
        uint256 flow = Flow.unwrap(packed.flow);
        (a.free, a.locked) = (uint64(balance), uint64(balance >> 64));
        (a.earned, a.spent) = (uint64(balance >> 128), uint64(balance >> 192));
        (a.deposited, a.withdrawn, a.bonded) = (uint64(flow), uint64(flow >> 64), uint64(flow >> 128));
    }

    function agreementStateOf(bytes32 agreementId) internal view returns (AgreementState memory s) {
        TradeSettlement.AgreementRecord memory packed = settlement.agreementWords(agreementId);
        uint256 sums = Sums.unwrap(packed.sums);
        uint256 security = Security.unwrap(packed.security);
        uint256 heights = Heights.unwrap(packed.heights);
        (s.opened, s.paid) = (uint64(sums), uint64(sums >> 64));
        (s.refunded, s.acknowledged) = (uint64(sums >> 128), uint64(sums >> 192));
        (s.bondDue, s.bondHeld) = (uint64(security), uint64(security >> 64));
        (s.bondTaken, s.pending) = (uint64(security >> 128), uint64(security >> 192));
        (s.openedAt, s.noticeAt) = (uint48(heights), uint48(heights >> 48));
        (s.noticeTime, s.closedAt) = (uint48(heights >> 96), uint48(heights >> 144));
        s.acknowledgedUnits = uint64(heights >> 192);
    }

    function laneStateOf(bytes32 agreementId, uint16 lane) internal view returns (uint64, uint64, uint128) {
        Lane word_ = settlement.laneWord(agreementId, lane);
        return (word_.seq(), word_.units(), word_.amount());
    }

    // --- Disputes --------------------------------------------------------------------------------------------------------------

    /// @dev With a bond of 300 fen from the provider's balance, and a stake of 50 fen for whoever contests.
    function bondedAgreement() internal pure returns (Agreement memory a) {
        a = agreement();
        (a.bond, a.stake, a.nonce) = (300, 50, "bonded");
    }

    /// @dev The buyer's request of one call more on a lane, which acknowledges the calls before it.
    function lastRequest(Agreement memory a, uint16 lane, uint64 seq) internal pure returns (UsageRequest memory q) {
        (q.version, q.agreementId, q.lane, q.seq) = (1, Statements.hash(a), lane, seq);
        (q.maxUnits, q.maxAmount) = (1, a.maxPerCall);
        (q.acknowledgedUnits, q.acknowledgedAmount) = (seq - 1, uint128(seq - 1) * a.price);
        q.expiry = FOREVER;
    }

    /// @dev The provider's receipt of one served call.
    function lastReceipt(Agreement memory a, UsageRequest memory q) internal pure returns (UsageReceipt memory r) {
        (r.version, r.agreementId, r.lane, r.seq) = (1, q.agreementId, q.lane, q.seq);
        r.request = Statements.hash(q);
        r.responseCommitment = keccak256("answer");
        (r.units, r.amount) = (1, a.price);
        (r.totalUnits, r.totalAmount) = (q.acknowledgedUnits + 1, q.acknowledgedAmount + a.price);
    }

    function signReceipt(UsageReceipt memory r) internal view returns (bytes memory) {
        return sign(address(settlement), Statements.hash(r), key(DEPARTMENT, STATEMENT));
    }

    /// @dev The call that claims an unacknowledged receipt.
    function receiptClaim(Agreement memory a, UsageRequest memory q, UsageReceipt memory r)
        internal
        view
        returns (bytes memory)
    {
        bytes memory requested = sign(address(settlement), Statements.hash(q), buyerKeyOf(a));
        return abi.encodeCall(disputes.claimReceipt, (a, q, requested, r, signReceipt(r)));
    }

    function buyerKeyOf(Agreement memory a) internal pure returns (uint256) {
        return key(a.buyer == id(BANK) ? BANK : LENDER, STATEMENT);
    }

    /// @dev The arbiter's ruling that pays `amount` of the receipt.
    function rulingOf(UsageReceipt memory r, uint128 amount) internal pure returns (Ruling memory v) {
        (v.version, v.agreementId, v.receipt) = (1, r.agreementId, Statements.hash(r));
        v.outcome = amount == 0 ? 0 : amount == r.amount ? 1 : 2;
        v.amount = amount;
        v.opinion = keccak256("opinion");
        v.deadline = FOREVER;
        v.evidence = new LogPosition[](1);
        v.evidence[0] = LogPosition(id(DEPARTMENT), 7);
    }

    function signRuling(Ruling memory v, uint256 privateKey) internal view returns (bytes memory) {
        return sign(address(disputes), Statements.hash(v), privateKey);
    }

    // --- Property --------------------------------------------------------------------------------------------------------------

    function dealTerms(bytes32 unit, uint256 nonce) internal pure returns (DealTerms memory t) {
        t.version = 1;
        t.unit = unit;
        t.seller = vm.addr(SELLER_KEY);
        t.buyer = vm.addr(BUYER_KEY);
        t.agent = id(AGENT);
        t.bank = id(LENDER);
        t.taxAuthority = id(TAX_OFFICE);
        t.notary = id(NOTARY);
        t.registrar = id(REGISTRAR);
        t.content = keccak256("content");
        t.expiresAt = START + 10 days;
        t.nonce = bytes32(nonce);
    }

    function title(bytes32 unit, uint64 issuedAt) internal pure returns (TitleStatement memory) {
        return
            TitleStatement(
                1, id(REGISTRAR), unit, keccak256("owner"), vm.addr(SELLER_KEY), 0, issuedAt, START + 20 days
            );
    }

    function openDeal(DealTerms memory t, TitleStatement memory s) internal {
        bytes memory titleSignature = sign(address(property), Statements.hash(s), key(REGISTRAR, STATEMENT));
        DealStep memory first = dealStep(t, 1);
        bytes memory sellerSignature = signStep(first, SELLER_KEY);
        from(AGENT);
        property.open(t, s, titleSignature, first, sellerSignature);
    }

    function dealStep(DealTerms memory t, uint8 step) internal pure returns (DealStep memory) {
        return DealStep(1, Statements.hash(t), step, keccak256(abi.encode("content", step)), START);
    }

    function signStep(DealStep memory s, uint256 privateKey) internal view returns (bytes memory) {
        return sign(address(property), Statements.hash(s), privateKey);
    }

    /// @dev The private key that must sign a step.
    function stepKey(uint8 step) internal pure returns (uint256) {
        if (step == 1) return SELLER_KEY;
        if (step == 2) return BUYER_KEY;
        if (step == 3) return key(AGENT, STATEMENT);
        if (step == 4) return key(TAX_OFFICE, STATEMENT);
        if (step == 5) return key(LENDER, STATEMENT);
        if (step == 6) return key(NOTARY, STATEMENT);
        return key(REGISTRAR, STATEMENT);
    }

    function take(DealTerms memory t, uint8 step) internal {
        takeSigned(t, dealStep(t, step), stepKey(step));
    }

    function takeSigned(DealTerms memory t, DealStep memory s, uint256 privateKey) internal {
        DealStep[] memory statements = new DealStep[](1);
        bytes[] memory signatures = new bytes[](1);
        statements[0] = s;
        signatures[0] = signStep(s, privateKey);
        from(AGENT);
        property.steps(t, statements, signatures);
    }

    function setHold(UnitHold memory h, uint256 privateKey) internal {
        bytes memory signature = sign(address(property), Statements.hash(h), privateKey);
        from(REGISTRAR);
        property.setHold(h, signature);
    }
}
