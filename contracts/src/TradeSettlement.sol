// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

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
/// Always: in total deposited = withdrawn + free + locked; for each member deposited + earned = withdrawn + spent + free + locked; for each
/// agreement opened = paid + refunded + locked.
contract TradeSettlement is Membership {
    using Statements for Agreement;
    using Statements for DepositConfirmation;
    using Statements for FinalSettlement;
    using Statements for GrantTerms;
    using Statements for UsageRequest;
    using Statements for Voucher;

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
    }

    struct Account {
        uint128 deposited;
        uint128 withdrawn;
        uint128 free;
        uint128 locked;
        uint128 earned;
        uint128 spent;
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

    GrantRegistry public immutable grants;
    /// @notice The shortest window an agreement may have, in blocks and in seconds.
    uint32 public immutable minWindowBlocks;
    uint32 public immutable minWindowSeconds;

    mapping(bytes18 member => Account) private _accounts;
    Account private _totals;
    mapping(bytes32 agreementId => AgreementState) private _agreements;
    /// @dev amount:128 | units:64 | seq:64 from the least significant bit.
    mapping(bytes32 agreementId => mapping(uint16 lane => uint256)) private _lanes;
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

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    /// @param grants_ The network's registry of grants.
    /// @param minWindowBlocks_ The shortest closing window of an agreement, in blocks.
    /// @param minWindowSeconds_ The same in seconds.
    /// @custom:reverts WindowTooLong
    constructor(MemberDirectory directory_, GrantRegistry grants_, uint32 minWindowBlocks_, uint32 minWindowSeconds_)
        Membership(directory_)
    {
        _requireNotTooLong(minWindowBlocks_, minWindowSeconds_);
        grants = grants_;
        minWindowBlocks = minWindowBlocks_;
        minWindowSeconds = minWindowSeconds_;
    }

    // --- Money in and out ------------------------------------------------------------------------------------------------------

    /// @notice Books a settlement bank's confirmation of money received. Anyone may send it; a reference counts once.
    /// @param confirmation The settlement bank's confirmation.
    /// @param signature The settlement bank's signature.
    /// @custom:emits Deposited
    /// @custom:reverts AmountMissing, DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS,
    /// NotActive, ReferenceUsed, WrongRole, WrongSigner, WrongVersion
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
        account_.deposited += confirmation.amount;
        account_.free += confirmation.amount;
        _totals.deposited += confirmation.amount;
        _totals.free += confirmation.amount;
        emit Deposited(
            confirmation.bankReference, confirmation.member, confirmation.amount, confirmation.settlementBank
        );
    }

    /// @notice Orders the settlement bank to pay out free money. The same operation id is carried out once, and for one amount.
    /// @param amount The amount in fen.
    /// @param operationId The id under which the withdrawal counts once.
    /// @custom:emits Withdrawn
    /// @custom:reverts AmountMissing, NotEnoughFree, NotMemberKey, OperationTaken
    function withdraw(uint128 amount, bytes32 operationId) external {
        bytes18 member = _sender();
        require(amount != 0, AmountMissing());
        bytes32 key = keccak256(abi.encode(member, operationId));
        uint256 before = _withdrawals[key];
        if (before != 0) {
            require(uint128(before) == amount, OperationTaken(operationId));
            return;
        }
        Account storage account_ = _accounts[member];
        require(account_.free >= amount, NotEnoughFree(account_.free, amount));

        _withdrawals[key] = (block.number << 128) | amount;
        account_.free -= amount;
        account_.withdrawn += amount;
        _totals.free -= amount;
        _totals.withdrawn += amount;
        emit Withdrawn(member, amount, operationId);
    }

    // --- Opening ---------------------------------------------------------------------------------------------------------------

    /// @notice Opens an agreement both sides signed and locks its cap. Repeating it changes nothing. Anyone may send it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param terms The full terms; their struct hash is the id.
    /// @param providerSignature The provider's signature.
    /// @param buyerSignature The buyer's signature.
    /// @custom:emits AgreementOpened
    /// @custom:reverts ArbiterIsParty, AssetGone, AssetOnHold, BuyerHasShare, ContractIsClosed, ECDSAInvalidSignature,
    /// ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, EndBeforeStart, GrantMismatch, GrantNotLive, NoCap, NotActive,
    /// NotEnoughFree, NotHolder, OpenTooLate, OtherGrant, PartyTwice, SettlementBankIsParty, ShareTwice, SharesNotWhole, TooManyShares,
    /// UnknownAsset, WindowTooLong, WindowTooShort, WrongLane, WrongSigner, WrongVersion
    function open(
        Agreement calldata agreement,
        GrantTerms calldata terms,
        bytes calldata providerSignature,
        bytes calldata buyerSignature
    ) external {
        _requireOpen();
        bytes32 agreementId = agreement.hash();
        if (_agreements[agreementId].openedAt != 0) return;
        _checkTerms(agreement);
        _checkWindows(agreement.closeWindowBlocks, agreement.closeWindowSeconds);
        _checkShares(agreement.shares, agreement.buyer);
        _checkGrant(agreement, terms);
        _checkParty(agreementId, agreement.provider, agreement.providerKey, providerSignature);
        _checkParty(agreementId, agreement.buyer, agreement.buyerKey, buyerSignature);
        Account storage buyer = _accounts[agreement.buyer];
        require(buyer.free >= agreement.cap, NotEnoughFree(buyer.free, agreement.cap));

        buyer.free -= agreement.cap;
        buyer.locked += agreement.cap;
        _totals.free -= agreement.cap;
        _totals.locked += agreement.cap;
        AgreementState storage state = _agreements[agreementId];
        state.opened = agreement.cap;
        state.openedAt = uint48(block.number);
        emit AgreementOpened(agreementId, agreement.provider, agreement.buyer, agreement);
    }

    // --- Claims ----------------------------------------------------------------------------------------------------------------

    /// @notice Claims with the buyer's usage requests: each acknowledges all that was delivered before it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param requests The latest request of each lane.
    /// @param signatures One signature for each statement, in the same order.
    /// @custom:emits Claimed, Paid
    /// @custom:reverts AgreementIsClosed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotMemberKey,
    /// NotProvider, OtherAgreement, OverCap, OverUnits, UnknownAgreement, VoucherNotHigher, WrongCount, WrongLane, WrongSigner,
    /// WrongVersion
    function claimRequests(Agreement calldata agreement, UsageRequest[] calldata requests, bytes[] calldata signatures)
        external
    {
        bytes32 agreementId = _claimable(agreement, requests.length, signatures.length);
        bool higher = false;
        for (uint256 i = 0; i < requests.length; ++i) {
            UsageRequest calldata each = requests[i];
            require(each.version == 1, WrongVersion(each.version));
            require(each.agreementId == agreementId, OtherAgreement(agreementId, each.agreementId));
            _requireBuyer(agreement, each.hash(), signatures[i]);
            Head memory head = Head(each.lane, each.seq, each.acknowledgedUnits, each.acknowledgedAmount);
            if (head.seq != 0) --head.seq;
            higher = _raise(agreement, agreementId, head) || higher;
        }
        require(higher, VoucherNotHigher(requests[0].lane));
        _pay(agreement, agreementId);
    }

    /// @notice Claims with the buyer's closing vouchers.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param vouchers The closing voucher of each lane.
    /// @param signatures One signature for each statement, in the same order.
    /// @custom:emits Claimed, Paid
    /// @custom:reverts AgreementIsClosed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NotMemberKey,
    /// NotProvider, OtherAgreement, OverCap, OverUnits, UnknownAgreement, VoucherNotHigher, WrongCount, WrongLane, WrongSigner,
    /// WrongVersion
    function claimVouchers(Agreement calldata agreement, Voucher[] calldata vouchers, bytes[] calldata signatures)
        external
    {
        bytes32 agreementId = _claimable(agreement, vouchers.length, signatures.length);
        bool higher = false;
        for (uint256 i = 0; i < vouchers.length; ++i) {
            Voucher calldata each = vouchers[i];
            require(each.version == 1, WrongVersion(each.version));
            require(each.agreementId == agreementId, OtherAgreement(agreementId, each.agreementId));
            _requireBuyer(agreement, each.hash(), signatures[i]);
            Head memory head = Head(each.lane, each.seq, each.acknowledgedUnits, each.acknowledgedAmount);
            higher = _raise(agreement, agreementId, head) || higher;
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
        AgreementState storage state = _opened(agreementId);
        bytes18 sender = _sender();
        bool party = sender == agreement.provider || sender == agreement.buyer;
        require(party || block.timestamp > agreement.endsAt, NotParty(sender));
        if (state.noticeAt != 0) return;

        state.noticeAt = uint48(block.number);
        state.noticeTime = uint48(block.timestamp);
        emit NoticeGiven(agreementId, sender);
    }

    /// @notice Refunds the rest once the window after the notice has passed in blocks and in seconds. Anyone may send it.
    /// @dev Blocks count from a height on the chain, never from the agreed end alone: a chain that stood still over the end must leave the
    /// provider its blocks to claim in.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @custom:emits AgreementClosed
    /// @custom:reverts NoNotice, UnknownAgreement, WindowOpen
    function close(Agreement calldata agreement) external {
        bytes32 agreementId = agreement.hash();
        AgreementState storage state = _agreements[agreementId];
        require(state.openedAt != 0, UnknownAgreement(agreementId));
        if (state.closedAt != 0) return;
        require(state.noticeAt != 0, NoNotice(agreementId));
        uint256 blockBound = uint256(state.noticeAt) + agreement.closeWindowBlocks;
        uint256 timeBound = uint256(state.noticeTime) + agreement.closeWindowSeconds;
        require(block.number > blockBound && block.timestamp > timeBound, WindowOpen(blockBound, timeBound));

        _refund(agreement.buyer, agreementId);
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
    /// @custom:reverts AgreementIsClosed, BelowClaimed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS,
    /// LanesNotAscending, OtherAgreement, OverCap, OverUnits, TotalsDiffer, UnknownAgreement, WrongLane, WrongSigner, WrongVersion
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
        _refund(agreement.buyer, agreementId);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice The account of a member.
    /// @param member The member's 18-character code.
    /// @return The member's sums in fen.
    function account(bytes18 member) external view returns (Account memory) {
        return _accounts[member];
    }

    /// @notice The sums of all accounts.
    /// @return The sums in fen.
    function totals() external view returns (Account memory) {
        return _totals;
    }

    /// @notice The state of an agreement.
    /// @param agreementId The struct hash of the agreement.
    /// @return The state; all zero if the agreement is unknown.
    function agreementState(bytes32 agreementId) external view returns (AgreementState memory) {
        return _agreements[agreementId];
    }

    /// @notice What was claimed of a lane.
    /// @param agreementId The struct hash of the agreement.
    /// @param lane The number of the lane.
    /// @return seq The sequence position of the last claimed call.
    /// @return units The claimed units.
    /// @return amount The claimed amount in fen.
    function laneState(bytes32 agreementId, uint16 lane)
        external
        view
        returns (uint64 seq, uint64 units, uint128 amount)
    {
        uint256 word = _lanes[agreementId][lane];
        return (uint64(word >> 192), uint64(word >> 128), uint128(word));
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
        require(a.version == 1, WrongVersion(a.version));
        require(a.cap != 0 || a.maxUnits != 0, NoCap());
        require((a.price == 0) == (a.cap == 0), NoCap());
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

    function _requireBuyer(Agreement calldata a, bytes32 structHash, bytes calldata signature) private view {
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

    function _opened(bytes32 agreementId) private view returns (AgreementState storage state) {
        state = _agreements[agreementId];
        require(state.openedAt != 0, UnknownAgreement(agreementId));
        require(state.closedAt == 0, AgreementIsClosed(agreementId));
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

    /// @dev Lifts a lane to what the buyer acknowledged; false when it is no higher than before. The three counters of a lane only grow
    /// together; the sequence may stand still when a voucher follows the request of the same place.
    function _raise(Agreement calldata agreement, bytes32 agreementId, Head memory head) private returns (bool) {
        require(head.lane < agreement.lanes, WrongLane(head.lane));
        uint256 word = _lanes[agreementId][head.lane];
        if (head.seq < uint64(word >> 192) || head.units < uint64(word >> 128) || head.amount <= uint128(word)) {
            return false;
        }
        _acknowledge(agreement, agreementId, head.units - uint64(word >> 128), head.amount - uint128(word));
        _setLane(agreementId, head.lane, _packed(head.seq, head.units, head.amount));
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
            uint256 word = _lanes[agreementId][total.lane];
            bool below = total.seq < uint64(word >> 192) || total.units < uint64(word >> 128);
            require(!below && total.amount >= uint128(word), BelowClaimed(total.lane));
            units += total.units - uint64(word >> 128);
            amount += total.amount - uint128(word);
            uint256 last = _packed(total.seq, total.units, total.amount);
            if (last != word) _setLane(agreementId, total.lane, last);
        }
        _acknowledge(agreement, agreementId, units, amount);
        AgreementState storage state = _agreements[agreementId];
        bool same = state.acknowledgedUnits == settlement.units && state.acknowledged == settlement.amount;
        require(same, TotalsDiffer(state.acknowledgedUnits, state.acknowledged));
    }

    /// @dev Adds to what the buyer acknowledged over all lanes, within both caps.
    function _acknowledge(Agreement calldata agreement, bytes32 agreementId, uint256 units, uint256 amount) private {
        AgreementState storage state = _agreements[agreementId];
        units += state.acknowledgedUnits;
        amount += state.acknowledged;
        require(units <= _unitCap(agreement), OverUnits(units, agreement.maxUnits));
        require(amount <= agreement.cap, OverCap(amount, agreement.cap));
        state.acknowledged = uint128(amount);
        state.acknowledgedUnits = uint64(units);
    }

    function _setLane(bytes32 agreementId, uint16 lane, uint256 word) private {
        _lanes[agreementId][lane] = word;
        emit Claimed(agreementId, lane, uint64(word >> 192), uint64(word >> 128), uint128(word));
    }

    function _packed(uint64 seq, uint64 units, uint128 amount) private pure returns (uint256) {
        return (uint256(seq) << 192) | (uint256(units) << 128) | amount;
    }

    function _unitCap(Agreement calldata agreement) private pure returns (uint256) {
        return agreement.maxUnits == 0 ? type(uint64).max : agreement.maxUnits;
    }

    function _pay(Agreement calldata agreement, bytes32 agreementId) private {
        AgreementState storage state = _agreements[agreementId];
        uint128 paidNow = 0;
        for (uint256 i = 0; i < agreement.shares.length; ++i) {
            Share calldata share = agreement.shares[i];
            uint128 due = uint128((uint256(state.acknowledged) * share.basisPoints) / WHOLE);
            uint128 part = due - _paidTo[agreementId][share.member];
            if (part == 0) continue;
            _paidTo[agreementId][share.member] = due;
            _accounts[share.member].free += part;
            _accounts[share.member].earned += part;
            paidNow += part;
            emit Paid(agreementId, share.member, part);
        }
        state.paid += paidNow;
        Account storage buyer = _accounts[agreement.buyer];
        buyer.locked -= paidNow;
        buyer.spent += paidNow;
        _totals.locked -= paidNow;
        _totals.free += paidNow;
        _totals.earned += paidNow;
        _totals.spent += paidNow;
    }

    /// @dev Gives the rest back to the buyer; the agreement is closed.
    function _refund(bytes18 buyer, bytes32 agreementId) private {
        AgreementState storage state = _agreements[agreementId];
        uint128 refund = state.opened - state.paid;
        state.refunded = refund;
        state.closedAt = uint48(block.number);
        Account storage account_ = _accounts[buyer];
        account_.locked -= refund;
        account_.free += refund;
        _totals.locked -= refund;
        _totals.free += refund;
        emit AgreementClosed(agreementId, state.paid, refund);
    }
}
