// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {AmountTooLarge, Balance, Flow, Heights, Lane, laneOf, Security, Sums} from "./Books.sol";
import {GrantRegistry} from "./GrantRegistry.sol";
import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {
    Agreement,
    DepositConfirmation,
    FinalSettlement,
    GrantTerms,
    LaneTotal,
    Share,
    Statements,
    UsageRequest,
    Voucher
} from "./Statements.sol";

/// @title Settlement of metered trades
/// @notice Amounts are clearing instructions in fen between members, backed by the settlement bank's signed confirmations; not a currency.
///
/// A buyer's cleared balance is locked when an agreement opens. The provider claims with what the buyer signed last: a usage request or a
/// closing voucher acknowledges everything delivered before it, and the highest counts in each lane. After a notice (by a party, or by anyone
/// once the period is over) and a window of blocks and seconds, the rest goes back to the buyer. A suspended member may still claim, give notice, close and withdraw:
/// delivered is paid. Windows are neither shorter than this deployment's minimum, which leaves the provider time to claim, nor longer than
/// 90 days, which would lock the buyer's money.
///
/// Or both parties sign the final totals of all lanes, and the agreement is paid, refunded and closed in one transaction, without a window.
///
/// Each part of the split is floor(total paid for * basis points / 10,000), counted from the agreement's beginning, so order and number of
/// claims change nothing; the few fen that rounding leaves are never paid and return to the buyer.
///
/// The provider's bond of an agreement is bonded from its free balance at opening, or withheld from its first earnings, and released when the
/// agreement closes. `TradeDisputes` decides claims of unacknowledged receipts and penalties; only that contract moves bonds and stakes, and no
/// agreement closes while such a claim is undecided.
///
/// Always: in total deposited = withdrawn + free + locked + bonded; for each member deposited + earned = withdrawn + spent + free + locked +
/// bonded; for each agreement opened = paid + refunded + locked.
contract TradeSettlement is Membership {
    using Statements for Agreement;
    using Statements for DepositConfirmation;
    using Statements for FinalSettlement;
    using Statements for GrantTerms;
    using Statements for UsageRequest;
    using Statements for Voucher;

    struct AgreementRecord {
        Sums sums;
        Security security;
        Heights heights;
    }

    struct Account {
        Balance balance;
        Flow flow;
    }

    /// @dev What one acknowledgement says of its lane.
    struct Head {
        uint16 lane;
        uint64 seq;
        uint64 units;
        uint128 amount;
    }

    uint256 private constant WHOLE = 10_000;
    uint16 private constant MAX_LANES = 256;
    uint256 private constant MAX_SHARES = 16;

    /// @notice The longest window an agreement may have: 90 days, at one block a second.
    uint32 public constant MAX_WINDOW_BLOCKS = 7_776_000;
    uint32 public constant MAX_WINDOW_SECONDS = 90 days;

    /// @dev Call, row, byte, job, score.
    uint8 private constant LAST_UNIT = 4;

    GrantRegistry public immutable grants;
    /// @notice The contract that decides disputes.
    address public immutable disputes;
    /// @notice The shortest window an agreement may have, in blocks and in seconds.
    uint32 public immutable minWindowBlocks;
    uint32 public immutable minWindowSeconds;

    mapping(bytes18 member => Account) private _accounts;
    Account private _totals;
    mapping(bytes32 agreementId => AgreementRecord) private _agreements;
    mapping(bytes32 agreementId => mapping(uint16 lane => Lane)) private _lanes;
    mapping(bytes32 agreementId => mapping(bytes18 member => uint128)) private _paidTo;
    mapping(bytes32 referenceKey => uint48) private _references;
    /// @dev amount:128 | at:48 from the least significant bit.
    mapping(bytes32 operation => uint256) private _withdrawals;
    /// @dev Struct hash of the final settlement that closed the agreement; zero if none did.
    mapping(bytes32 agreementId => bytes32) private _finalSettlements;

    event Deposited(bytes32 indexed bankReference, bytes18 indexed member, uint128 amount, bytes18 settlementBank);
    event Withdrawn(bytes18 indexed member, uint128 amount, bytes32 operationId);
    event AgreementOpened(
        bytes32 indexed agreementId, bytes18 indexed provider, bytes18 indexed buyer, Agreement agreement
    );
    event Claimed(bytes32 indexed agreementId, uint16 indexed lane, uint64 seq, uint64 units, uint128 amount);
    event Paid(bytes32 indexed agreementId, bytes18 indexed member, uint128 amount);
    event NoticeGiven(bytes32 indexed agreementId, bytes18 by);
    event CooperativelyClosed(
        bytes32 indexed agreementId, bytes32 indexed finalSettlement, uint64 units, uint128 amount
    );
    event AgreementClosed(bytes32 indexed agreementId, uint128 paid, uint128 refunded);
    event BondTaken(bytes32 indexed agreementId, bytes18 indexed to, uint128 amount);

    error AmountMissing();
    error ReferenceUsed(bytes32 bankReference);
    error NotEnoughFree(uint128 free, uint128 needed);
    error NoCap();
    error EndBeforeStart(uint64 startsAt, uint64 endsAt);
    error OpenTooLate(uint64 openBefore);
    error WrongLane(uint16 lane);
    error PartyTwice(bytes18 member);
    error ArbiterIsParty(bytes18 member);
    error SettlementBankIsParty(bytes18 member);
    error SharesNotWhole(uint256 sum);
    error TooManyShares(uint256 count);
    error ShareTwice(bytes18 member);
    error BuyerHasShare(bytes18 member);
    error WindowTooShort(uint32 minBlocks, uint32 minSeconds);
    error WindowTooLong(uint32 maxBlocks, uint32 maxSeconds);
    error GrantNotLive(bytes32 grantId);
    error OtherGrant(bytes32 expected, bytes32 given);
    error GrantMismatch();
    error UnknownAgreement(bytes32 agreementId);
    error AgreementIsClosed(bytes32 agreementId);
    error OtherAgreement(bytes32 expected, bytes32 given);
    error NotProvider(bytes18 sender);
    error NotParty(bytes18 sender);
    error WrongCount(uint256 items, uint256 signatures);
    error VoucherNotHigher(uint16 lane);
    error OverCap(uint256 acknowledged, uint128 cap);
    error OverUnits(uint256 units, uint64 cap);
    error LanesNotAscending(uint16 lane);
    error BelowClaimed(uint16 lane);
    error TotalsDiffer(uint64 units, uint128 amount);
    error OperationTaken(bytes32 operationId);
    error NoNotice(bytes32 agreementId);
    error WindowOpen(uint256 block_, uint256 time);
    error UnknownUnit(uint8 unit);
    error BondWithoutPrice();
    error ClaimPending(bytes32 agreementId);
    error OnlyDisputes(address sender);

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    /// @param grants_ The network's registry of grants.
    /// @param disputes_ The network's contract for disputes.
    /// @param minWindowBlocks_ The shortest closing window of an agreement, in blocks.
    /// @param minWindowSeconds_ The same in seconds.
    /// @custom:reverts WindowTooLong
    constructor(
        MemberDirectory directory_,
        GrantRegistry grants_,
        address disputes_,
        uint32 minWindowBlocks_,
        uint32 minWindowSeconds_
    ) Membership(directory_) {
        _requireNotTooLong(minWindowBlocks_, minWindowSeconds_);
        grants = grants_;
        disputes = disputes_;
        minWindowBlocks = minWindowBlocks_;
        minWindowSeconds = minWindowSeconds_;
    }

    // --- Money in and out ------------------------------------------------------------------------------------------------------

    /// @notice Books a settlement bank's confirmation of money received. Anyone may send it; a reference counts once.
    /// @param confirmation The settlement bank's confirmation.
    /// @param signature The settlement bank's signature.
    /// @custom:emits Deposited
    /// @custom:reverts AmountMissing, AmountTooLarge, DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength,
    /// ECDSAInvalidSignatureS, NotActive, ReferenceUsed, WrongRole, WrongSigner, WrongVersion
    function deposit(DepositConfirmation calldata confirmation, bytes calldata signature) external {
        require(confirmation.version == 1, WrongVersion(confirmation.version));
        require(block.timestamp <= confirmation.deadline, DeadlinePassed(confirmation.deadline));
        require(confirmation.amount != 0, AmountMissing());
        _requireActive(confirmation.settlementBank);
        _requireRole(confirmation.settlementBank, SETTLEMENT_BANK);
        _requireActive(confirmation.member);
        _requireSigned(confirmation.hash(), signature, confirmation.settlementBank, STATEMENT);
        bytes32 key = keccak256(abi.encode(confirmation.settlementBank, confirmation.bankReference));
        require(_references[key] == 0, ReferenceUsed(confirmation.bankReference));

        _references[key] = uint48(block.number);
        Account storage account_ = _accounts[confirmation.member];
        _deposit(_totals, confirmation.amount);
        _deposit(account_, confirmation.amount);
        emit Deposited(
            confirmation.bankReference, confirmation.member, confirmation.amount, confirmation.settlementBank
        );
    }

    /// @notice Orders the settlement bank to pay out free money. The same operation id is carried out once, and for one amount.
    /// @param amount The amount in fen.
    /// @param operationId The id under which the withdrawal counts once.
    /// @custom:emits Withdrawn
    /// @custom:reverts AmountMissing, AmountTooLarge, NotEnoughFree, NotMemberKey, OperationTaken
    function withdraw(uint128 amount, bytes32 operationId) external {
        bytes18 member = _sender();
        require(amount != 0, AmountMissing());
        bytes32 key = keccak256(abi.encode(member, operationId));
        uint256 before = _withdrawals[key];
        if (before != 0) {
            require(uint128(before) == amount, OperationTaken(operationId));
            return;
        }
        _requireFree(member, amount);

        _withdrawals[key] = (block.number << 128) | amount;
        _withdraw(_accounts[member], amount);
        _withdraw(_totals, amount);
        emit Withdrawn(member, amount, operationId);
    }

    // --- Opening ---------------------------------------------------------------------------------------------------------------

    /// @notice Opens an agreement both sides signed, locks its cap and bonds what the provider owes as security. Repeating it changes nothing. Anyone may send it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param terms The full terms; their struct hash is the id.
    /// @param providerSignature The provider's signature.
    /// @param buyerSignature The buyer's signature.
    /// @custom:emits AgreementOpened
    /// @custom:reverts AmountTooLarge, ArbiterIsParty, AssetGone, AssetOnHold, BondWithoutPrice, BuyerHasShare, ContractIsClosed, ECDSAInvalidSignature,
    /// ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, EndBeforeStart, GrantMismatch, GrantNotLive, NoCap, NotActive,
    /// NotEnoughFree, NotHolder, OpenTooLate, OtherGrant, PartyTwice, SettlementBankIsParty, ShareTwice, SharesNotWhole, TooManyShares,
    /// UnknownAsset, UnknownUnit, WindowTooLong, WindowTooShort, WrongLane, WrongSigner, WrongVersion
    function open(
        Agreement calldata agreement,
        GrantTerms calldata terms,
        bytes calldata providerSignature,
        bytes calldata buyerSignature
    ) external {
        _requireOpen();
        bytes32 agreementId = agreement.hash();
        if (_agreements[agreementId].heights.openedAt() != 0) return;
        _checkTerms(agreement);
        _checkWindows(agreement.closeWindowBlocks, agreement.closeWindowSeconds);
        _checkShares(agreement.shares, agreement.buyer);
        _checkGrant(agreement, terms);
        _checkParty(agreementId, agreement.provider, agreement.providerKey, providerSignature);
        _checkParty(agreementId, agreement.buyer, agreement.buyerKey, buyerSignature);
        _requireFree(agreement.buyer, agreement.cap);

        Account storage buyer = _accounts[agreement.buyer];
        buyer.balance = buyer.balance.lock(agreement.cap);
        _totals.balance = _totals.balance.lock(agreement.cap);
        AgreementRecord storage state = _agreements[agreementId];
        state.sums = Sums.wrap(agreement.cap);
        state.heights = Heights.wrap(block.number);
        if (agreement.bond != 0) state.security = _bonded(agreement);
        emit AgreementOpened(agreementId, agreement.provider, agreement.buyer, agreement);
    }

    // --- Claims ----------------------------------------------------------------------------------------------------------------

    /// @notice Claims with the buyer's usage requests: each acknowledges all that was delivered before it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param requests The latest request of each lane.
    /// @param signatures One signature for each statement, in the same order.
    /// @custom:emits Claimed, Paid
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS,
    /// NotMemberKey, NotProvider, OtherAgreement, OverCap, OverUnits, UnknownAgreement, VoucherNotHigher, WrongCount, WrongLane, WrongSigner,
    /// WrongVersion
    function claimRequests(Agreement calldata agreement, UsageRequest[] calldata requests, bytes[] calldata signatures)
        external
    {
        bytes32 agreementId = _claimable(agreement, requests.length, signatures.length);
        bool higher = false;
        for (uint256 i = 0; i < requests.length; ++i) {
            UsageRequest calldata usage = requests[i];
            Head memory head = Head(usage.lane, usage.seq, usage.acknowledgedUnits, usage.acknowledgedAmount);
            if (head.seq != 0) --head.seq;
            _requireBuyer(agreement, usage.version, usage.hash(), signatures[i]);
            higher = _raiseSigned(agreement, agreementId, usage.agreementId, head) || higher;
        }
        require(higher, VoucherNotHigher(requests[0].lane));
        _pay(agreement, agreementId);
    }

    /// @notice Claims with the buyer's closing vouchers.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param vouchers The closing voucher of each lane.
    /// @param signatures One signature for each statement, in the same order.
    /// @custom:emits Claimed, Paid
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS,
    /// NotMemberKey, NotProvider, OtherAgreement, OverCap, OverUnits, UnknownAgreement, VoucherNotHigher, WrongCount, WrongLane, WrongSigner,
    /// WrongVersion
    function claimVouchers(Agreement calldata agreement, Voucher[] calldata vouchers, bytes[] calldata signatures)
        external
    {
        bytes32 agreementId = _claimable(agreement, vouchers.length, signatures.length);
        bool higher = false;
        for (uint256 i = 0; i < vouchers.length; ++i) {
            Voucher calldata voucher = vouchers[i];
            Head memory head = Head(voucher.lane, voucher.seq, voucher.acknowledgedUnits, voucher.acknowledgedAmount);
            _requireBuyer(agreement, voucher.version, voucher.hash(), signatures[i]);
            higher = _raiseSigned(agreement, agreementId, voucher.agreementId, head) || higher;
        }
        require(higher, VoucherNotHigher(vouchers[0].lane));
        _pay(agreement, agreementId);
    }

    // --- Closing ---------------------------------------------------------------------------------------------------------------

    /// @notice Either party ends the trade, or anyone once its period is over; gateways stop at it and the window begins. Repeating it
    /// changes nothing.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @custom:emits NoticeGiven
    /// @custom:reverts AgreementIsClosed, NotMemberKey, NotParty, UnknownAgreement
    function giveNotice(Agreement calldata agreement) external {
        bytes32 agreementId = agreement.hash();
        AgreementRecord storage state = _opened(agreementId);
        bytes18 sender = _sender();
        bool party = sender == agreement.provider || sender == agreement.buyer;
        require(party || block.timestamp > agreement.endsAt, NotParty(sender));
        if (state.heights.noticeAt() != 0) return;

        state.heights = state.heights.notice(block.number, block.timestamp);
        emit NoticeGiven(agreementId, sender);
    }

    /// @notice Refunds the rest once the window after the notice has passed in blocks and in seconds. Anyone may send it.
    /// @dev Blocks count from a height on the chain, never from the agreed end alone: a chain that stood still over the end must leave the
    /// provider its blocks to claim in.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @custom:emits AgreementClosed
    /// @custom:reverts AmountTooLarge, ClaimPending, NoNotice, UnknownAgreement, WindowOpen
    function close(Agreement calldata agreement) external {
        bytes32 agreementId = agreement.hash();
        Heights heights = _agreements[agreementId].heights;
        require(heights.openedAt() != 0, UnknownAgreement(agreementId));
        if (heights.closedAt() != 0) return;
        require(heights.noticeAt() != 0, NoNotice(agreementId));
        uint256 blockBound = heights.noticeAt() + agreement.closeWindowBlocks;
        uint256 timeBound = heights.noticeTime() + agreement.closeWindowSeconds;
        require(block.number > blockBound && block.timestamp > timeBound, WindowOpen(blockBound, timeBound));

        _refund(agreement, agreementId);
    }

    /// @notice Pays, refunds and closes at once by the final totals that both parties signed, with or without notice. Anyone may send it;
    /// repeating it changes nothing.
    /// @dev No lane may end below what was claimed on it, so an earlier claim loses nothing; a later one finds the agreement closed. Both
    /// pinned keys must still be live: whoever stole a key must not give away with it what its owner can still claim.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param settlement The final totals of every used lane.
    /// @param providerSignature The provider's signature.
    /// @param buyerSignature The buyer's signature.
    /// @custom:emits AgreementClosed, Claimed, CooperativelyClosed, Paid
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, BelowClaimed, ClaimPending, ECDSAInvalidSignature, ECDSAInvalidSignatureLength,
    /// ECDSAInvalidSignatureS, LanesNotAscending, OtherAgreement, OverCap, OverUnits, TotalsDiffer, UnknownAgreement, WrongLane, WrongSigner, WrongVersion
    function closeCooperatively(
        Agreement calldata agreement,
        FinalSettlement calldata settlement,
        bytes calldata providerSignature,
        bytes calldata buyerSignature
    ) external {
        bytes32 agreementId = agreement.hash();
        bytes32 settlementHash = settlement.hash();
        if (_finalSettlements[agreementId] == settlementHash) return;
        _opened(agreementId);
        require(settlement.version == 1, WrongVersion(settlement.version));
        require(settlement.agreementId == agreementId, OtherAgreement(agreementId, settlement.agreementId));
        _requireParty(settlementHash, agreement.provider, agreement.providerKey, providerSignature);
        _requireParty(settlementHash, agreement.buyer, agreement.buyerKey, buyerSignature);

        _finalSettlements[agreementId] = settlementHash;
        _raiseToFinal(agreement, agreementId, settlement);
        _pay(agreement, agreementId);
        emit CooperativelyClosed(agreementId, settlementHash, settlement.units, settlement.amount);
        _refund(agreement, agreementId);
    }

    // --- Disputes --------------------------------------------------------------------------------------------------------------

    /// @notice Begins the claim of an unacknowledged receipt: until it ends, the agreement does not close.
    /// @param agreementId The struct hash of the agreement.
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, OnlyDisputes, UnknownAgreement
    function beginClaim(bytes32 agreementId) external {
        _requireDisputes();
        AgreementRecord storage state = _opened(agreementId);
        state.security = state.security.addPending();
    }

    /// @notice Ends such a claim and pays the lane up to the given total, unless it is there already or the caps do not allow it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param total What the lane comes to with the receipt; an amount of zero pays nothing.
    /// @return Whether it was paid.
    /// @custom:emits Claimed, Paid
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, OnlyDisputes, OverCap, OverUnits, UnknownAgreement, WrongLane
    function endClaim(Agreement calldata agreement, LaneTotal calldata total) external returns (bool) {
        _requireDisputes();
        bytes32 agreementId = agreement.hash();
        AgreementRecord storage state = _opened(agreementId);
        state.security = state.security.subtractPending();
        Lane last = _lanes[agreementId][total.lane];
        if (total.amount <= last.amount() || total.units < last.units()) return false;
        bool over = state.sums.acknowledged() + total.amount - last.amount() > agreement.cap
            || state.heights.units() + total.units - last.units() > _unitCap(agreement);
        if (over || !_raise(agreement, agreementId, Head(total.lane, total.seq, total.units, total.amount))) {
            return false;
        }
        _pay(agreement, agreementId);
        return true;
    }

    /// @notice Bonds a stake from what a member has free.
    /// @param member The member's 18-character code.
    /// @param amount The stake in fen.
    /// @custom:reverts AmountTooLarge, NotEnoughFree, OnlyDisputes
    function lockStake(bytes18 member, uint128 amount) external {
        _requireDisputes();
        _requireFree(member, amount);
        _bond(member, amount);
    }

    /// @notice Gives a stake back, or to the other party.
    /// @param from The code of the member whose stake it is.
    /// @param to The code of the member that gets it.
    /// @param amount The stake in fen.
    /// @custom:reverts AmountTooLarge, OnlyDisputes
    function payStake(bytes18 from, bytes18 to, uint128 amount) external {
        _requireDisputes();
        _unbond(from, to, amount);
    }

    /// @notice Takes from a provider's bond as much as is held, up to an amount.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param to The code of the member that gets it.
    /// @param atMost The most to take, in fen.
    /// @return taken What was taken, in fen.
    /// @custom:emits BondTaken
    /// @custom:reverts AmountTooLarge, OnlyDisputes
    function takeBond(Agreement calldata agreement, bytes18 to, uint128 atMost) external returns (uint128 taken) {
        _requireDisputes();
        bytes32 agreementId = agreement.hash();
        AgreementRecord storage state = _agreements[agreementId];
        uint256 held = state.security.held();
        taken = uint128(held < atMost ? held : atMost);
        if (taken == 0) return 0;
        state.security = state.security.take(taken);
        _unbond(agreement.provider, to, taken);
        emit BondTaken(agreementId, to, taken);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice The account of a member, packed as `Books.sol` says.
    /// @param member The member's 18-character code.
    /// @return The storage values of its sums in fen.
    function accountWords(bytes18 member) external view returns (Account memory) {
        return _accounts[member];
    }

    /// @notice The sums of all accounts, packed.
    /// @return The storage values of the sums in fen.
    function totalWords() external view returns (Account memory) {
        return _totals;
    }

    /// @notice The record of an agreement, packed.
    /// @param agreementId The struct hash of the agreement.
    /// @return The storage values; all zero if the agreement is unknown.
    function agreementWords(bytes32 agreementId) external view returns (AgreementRecord memory) {
        return _agreements[agreementId];
    }

    /// @notice What was claimed of a lane, packed.
    /// @param agreementId The struct hash of the agreement.
    /// @param lane The number of the lane.
    /// @return The storage value.
    function laneWord(bytes32 agreementId, uint16 lane) external view returns (Lane) {
        return _lanes[agreementId][lane];
    }

    /// @notice What a member was paid under an agreement.
    /// @param agreementId The struct hash of the agreement.
    /// @param member The member's 18-character code.
    /// @return The amount in fen.
    function paidTo(bytes32 agreementId, bytes18 member) external view returns (uint128) {
        return _paidTo[agreementId][member];
    }

    /// @notice The final totals by which an agreement was closed.
    /// @param agreementId The struct hash of the agreement.
    /// @return The struct hash; zero if it was not closed cooperatively.
    function finalSettlementOf(bytes32 agreementId) external view returns (bytes32) {
        return _finalSettlements[agreementId];
    }

    /// @notice The block in which a bank reference was used.
    /// @param settlementBank The code of the settlement bank.
    /// @param reference_ The bank's own reference.
    /// @return The height; zero if it was not.
    function referenceUsedAt(bytes18 settlementBank, bytes32 reference_) external view returns (uint48) {
        return _references[keccak256(abi.encode(settlementBank, reference_))];
    }

    // --- Guards ----------------------------------------------------------------------------------------------------------------

    function _checkTerms(Agreement calldata a) private view {
        require(a.version == 2, WrongVersion(a.version));
        require(a.unit <= LAST_UNIT, UnknownUnit(a.unit));
        require(a.cap != 0 || a.maxUnits != 0, NoCap());
        require((a.price == 0) == (a.cap == 0), NoCap());
        require(a.price != 0 || (a.bond == 0 && a.stake == 0), BondWithoutPrice());
        require(a.endsAt > a.startsAt && a.endsAt > block.timestamp, EndBeforeStart(a.startsAt, a.endsAt));
        require(block.timestamp <= a.openBefore, OpenTooLate(a.openBefore));
        require(a.lanes >= 1 && a.lanes <= MAX_LANES, WrongLane(a.lanes));
        require(a.provider != a.buyer, PartyTwice(a.buyer));
        require(a.arbiter != a.provider && a.arbiter != a.buyer, ArbiterIsParty(a.arbiter));
    }

    function _checkWindows(uint32 blocks, uint32 seconds_) private view {
        bool long = blocks >= minWindowBlocks && seconds_ >= minWindowSeconds;
        require(long, WindowTooShort(minWindowBlocks, minWindowSeconds));
        _requireNotTooLong(blocks, seconds_);
    }

    function _requireNotTooLong(uint32 blocks, uint32 seconds_) private pure {
        bool short = blocks <= MAX_WINDOW_BLOCKS && seconds_ <= MAX_WINDOW_SECONDS;
        require(short, WindowTooLong(MAX_WINDOW_BLOCKS, MAX_WINDOW_SECONDS));
    }

    function _checkShares(Share[] calldata shares, bytes18 buyer) private view {
        require(shares.length <= MAX_SHARES, TooManyShares(shares.length));
        uint256 sum = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            require(shares[i].member != buyer, BuyerHasShare(buyer));
            _requireActive(shares[i].member);
            for (uint256 j = 0; j < i; ++j) {
                require(shares[j].member != shares[i].member, ShareTwice(shares[i].member));
            }
            sum += shares[i].basisPoints;
        }
        require(sum == WHOLE, SharesNotWhole(sum));
    }

    function _checkGrant(Agreement calldata a, GrantTerms calldata terms) private view {
        bytes32 grantId = terms.hash();
        require(grantId == a.grantId, OtherGrant(a.grantId, grantId));
        bool same = terms.owner == a.provider && terms.grantee == a.buyer && terms.assetId == a.assetId
            && terms.assetVersion == a.assetVersion && terms.purpose == a.purpose;
        require(same, GrantMismatch());
        require(grants.isLive(grantId) && block.timestamp < terms.notAfter, GrantNotLive(grantId));
        grants.assets().requireUsable(terms.assetId, terms.assetVersion, terms.owner);
    }

    function _requireDisputes() private view {
        require(msg.sender == disputes, OnlyDisputes(msg.sender));
    }

    function _requireFree(bytes18 member, uint128 amount) private view {
        uint256 free = _accounts[member].balance.free();
        require(free >= amount, NotEnoughFree(uint128(free), amount));
    }

    function _requireBuyer(Agreement calldata a, uint16 version, bytes32 structHash, bytes calldata signature)
        private
        view
    {
        require(version == 1, WrongVersion(version));
        address signer = _signer(structHash, signature);
        require(signer == a.buyerKey, WrongSigner(signer, a.buyer));
    }

    function _checkParty(bytes32 agreementId, bytes18 member, address key, bytes calldata signature) private view {
        _requireActive(member);
        require(!directory.hasRole(member, SETTLEMENT_BANK), SettlementBankIsParty(member));
        _requireParty(agreementId, member, key, signature);
    }

    /// @dev Signed by the party's pinned key, which is still live.
    function _requireParty(bytes32 structHash, bytes18 member, address key, bytes calldata signature) private view {
        require(directory.memberOf(key, STATEMENT) == member, WrongSigner(key, member));
        address signer = _signer(structHash, signature);
        require(signer == key, WrongSigner(signer, member));
    }

    function _opened(bytes32 agreementId) private view returns (AgreementRecord storage state) {
        state = _agreements[agreementId];
        require(state.heights.openedAt() != 0, UnknownAgreement(agreementId));
        require(state.heights.closedAt() == 0, AgreementIsClosed(agreementId));
    }

    function _claimable(Agreement calldata agreement, uint256 items, uint256 signatures)
        private
        view
        returns (bytes32 agreementId)
    {
        agreementId = agreement.hash();
        _opened(agreementId);
        bytes18 sender = _sender();
        require(sender == agreement.provider, NotProvider(sender));
        require(items != 0 && items == signatures, WrongCount(items, signatures));
    }

    // --- Effects ---------------------------------------------------------------------------------------------------------------

    function _raiseSigned(Agreement calldata agreement, bytes32 agreementId, bytes32 given, Head memory head)
        private
        returns (bool)
    {
        require(given == agreementId, OtherAgreement(agreementId, given));
        return _raise(agreement, agreementId, head);
    }

    /// @dev Lifts a lane to what the buyer acknowledged; false when it is no higher than before. The three counters of a lane only grow
    /// together; the sequence may remain the same when a voucher follows the request of the same place.
    function _raise(Agreement calldata agreement, bytes32 agreementId, Head memory head) private returns (bool) {
        require(head.lane < agreement.lanes, WrongLane(head.lane));
        Lane last = _lanes[agreementId][head.lane];
        if (head.seq < last.seq() || head.units < last.units() || head.amount <= last.amount()) return false;
        _acknowledge(agreement, agreementId, head.units - last.units(), head.amount - last.amount());
        _setLane(agreementId, head.lane, laneOf(head.seq, head.units, head.amount));
        return true;
    }

    /// @dev Every lane to its final total; lanes that are not named stay as claimed. All together must make what both parties signed.
    function _raiseToFinal(Agreement calldata agreement, bytes32 agreementId, FinalSettlement calldata settlement)
        private
    {
        uint256 units = 0;
        uint256 amount = 0;
        for (uint256 i = 0; i < settlement.lanes.length; ++i) {
            LaneTotal calldata total = settlement.lanes[i];
            require(total.lane < agreement.lanes, WrongLane(total.lane));
            require(i == 0 || total.lane > settlement.lanes[i - 1].lane, LanesNotAscending(total.lane));
            Lane last = _lanes[agreementId][total.lane];
            bool below = total.seq < last.seq() || total.units < last.units() || total.amount < last.amount();
            require(!below, BelowClaimed(total.lane));
            units += total.units - last.units();
            amount += total.amount - last.amount();
            Lane next = laneOf(total.seq, total.units, total.amount);
            if (Lane.unwrap(next) != Lane.unwrap(last)) _setLane(agreementId, total.lane, next);
        }
        (units, amount) = _acknowledge(agreement, agreementId, units, amount);
        bool same = units == settlement.units && amount == settlement.amount;
        require(same, TotalsDiffer(uint64(units), uint128(amount)));
    }

    /// @dev Adds to what the buyer acknowledged over all lanes, within both caps; returns the new totals.
    function _acknowledge(Agreement calldata agreement, bytes32 agreementId, uint256 units, uint256 amount)
        private
        returns (uint256, uint256)
    {
        AgreementRecord storage state = _agreements[agreementId];
        units += state.heights.units();
        amount += state.sums.acknowledged();
        require(units <= _unitCap(agreement), OverUnits(units, agreement.maxUnits));
        require(amount <= agreement.cap, OverCap(amount, agreement.cap));
        state.sums = state.sums.withAcknowledged(amount);
        state.heights = state.heights.withUnits(units);
        return (units, amount);
    }

    function _setLane(bytes32 agreementId, uint16 lane, Lane next) private {
        _lanes[agreementId][lane] = next;
        emit Claimed(agreementId, lane, next.seq(), next.units(), next.amount());
    }

    function _unitCap(Agreement calldata agreement) private pure returns (uint256) {
        return agreement.maxUnits == 0 ? type(uint64).max : agreement.maxUnits;
    }

    function _pay(Agreement calldata agreement, bytes32 agreementId) private {
        AgreementRecord storage state = _agreements[agreementId];
        uint256 acknowledged = state.sums.acknowledged();
        uint256 paidNow = 0;
        uint256 withheld = 0;
        for (uint256 i = 0; i < agreement.shares.length; ++i) {
            Share calldata share = agreement.shares[i];
            uint128 due = uint128((acknowledged * share.basisPoints) / WHOLE);
            uint128 part = due - _paidTo[agreementId][share.member];
            if (part == 0) continue;
            _paidTo[agreementId][share.member] = due;
            uint256 kept = share.member == agreement.provider ? _withhold(agreement, state, part) : 0;
            _earn(_accounts[share.member], part, kept);
            paidNow += part;
            withheld += kept;
            emit Paid(agreementId, share.member, part);
        }
        state.sums = state.sums.pay(paidNow);
        Account storage buyer = _accounts[agreement.buyer];
        buyer.balance = buyer.balance.spendLocked(paidNow);
        _totals.balance = _totals.balance.settle(paidNow, withheld);
        if (withheld != 0) _totals.flow = _totals.flow.addBonded(withheld);
    }

    /// @dev Gives the rest back to the buyer and the bond back to the provider; the agreement is closed.
    function _refund(Agreement calldata agreement, bytes32 agreementId) private {
        AgreementRecord storage state = _agreements[agreementId];
        Security security = state.security;
        require(security.pending() == 0, ClaimPending(agreementId));
        uint256 paid = state.sums.paid();
        uint256 rest = state.sums.opened() - paid;
        state.sums = state.sums.refund(rest);
        state.heights = state.heights.close(block.number);
        Account storage buyer = _accounts[agreement.buyer];
        buyer.balance = buyer.balance.unlock(rest);
        _totals.balance = _totals.balance.unlock(rest);
        if (security.held() != 0) _unbond(agreement.provider, agreement.provider, security.held());
        if (Security.unwrap(security) != 0) state.security = security.release();
        emit AgreementClosed(agreementId, uint128(paid), uint128(rest));
    }

    // --- Accounts --------------------------------------------------------------------------------------------------------------

    function _deposit(Account storage account_, uint256 amount) private {
        account_.balance = account_.balance.addFree(amount);
        account_.flow = account_.flow.deposit(amount);
    }

    function _withdraw(Account storage account_, uint256 amount) private {
        account_.balance = account_.balance.subtractFree(amount);
        account_.flow = account_.flow.withdraw(amount);
    }

    function _earn(Account storage account_, uint256 amount, uint256 withheld) private {
        account_.balance = account_.balance.earn(amount, withheld);
        if (withheld != 0) account_.flow = account_.flow.addBonded(withheld);
    }

    /// @dev The bond of a new agreement: from what the provider has free, or still due from what it will earn.
    function _bonded(Agreement calldata agreement) private returns (Security) {
        require(agreement.bond <= type(uint64).max, AmountTooLarge(agreement.bond));
        if (agreement.bondFromEarnings) return Security.wrap(agreement.bond);
        _requireFree(agreement.provider, agreement.bond);
        _bond(agreement.provider, agreement.bond);
        return Security.wrap(uint256(agreement.bond) << 64);
    }

    /// @dev How much of the provider's earnings goes to the bond that is still due.
    function _withhold(Agreement calldata agreement, AgreementRecord storage state, uint256 part)
        private
        returns (uint256 kept)
    {
        if (!agreement.bondFromEarnings) return 0;
        Security security = state.security;
        kept = security.due() < part ? security.due() : part;
        if (kept != 0) state.security = security.withhold(kept);
    }

    /// @dev From free to bonded.
    function _bond(bytes18 member, uint256 amount) private {
        Account storage account_ = _accounts[member];
        account_.balance = account_.balance.subtractFree(amount);
        account_.flow = account_.flow.addBonded(amount);
        _totals.balance = _totals.balance.subtractFree(amount);
        _totals.flow = _totals.flow.addBonded(amount);
    }

    /// @dev From bonded to free, of the same member or of another, which earns it.
    function _unbond(bytes18 from, bytes18 to, uint256 amount) private {
        Account storage account_ = _accounts[from];
        account_.flow = account_.flow.subtractBonded(amount);
        _totals.flow = _totals.flow.subtractBonded(amount);
        if (from == to) {
            account_.balance = account_.balance.addFree(amount);
            _totals.balance = _totals.balance.addFree(amount);
        } else {
            account_.balance = account_.balance.spendBonded(amount);
            _earn(_accounts[to], amount, 0);
            _totals.balance = _totals.balance.spendBonded(amount).earn(amount, 0);
        }
    }
}
