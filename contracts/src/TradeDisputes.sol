// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {Heights, Lane} from "./Books.sol";
import {Intervals} from "./Intervals.sol";
import {MemberDirectory} from "./MemberDirectory.sol";
import {Membership} from "./Membership.sol";
import {Agreement, LaneTotal, Ruling, Statements, UsageReceipt, UsageRequest} from "./Statements.sol";
import {TradeSettlement} from "./TradeSettlement.sol";

/// @title Disputes over metered calls
/// @notice A provider claims the last receipt of a lane, which the buyer has not acknowledged. Each step has one closing window of the
/// agreement, in blocks and seconds, and each silence an end that anybody may call for:
/// - the buyer neither acknowledges nor contests: the call is paid;
/// - the buyer contests with a reason, its stake and an X25519 key; the provider does not answer with the sealed answer: the call is unpaid;
/// - the provider answers; the arbiter named in the agreement rules how much is paid, or is silent: the call is unpaid.
/// Whoever loses before the arbiter pays the stake: the buyer its own, the provider the same out of its bond. A split costs nobody the stake.
/// A buyer's later signature on the call ends the dispute in the provider's favour, without a penalty.
///
/// Two different receipts of a provider for one place of a lane are an offence, whoever shows them: the bond goes to the buyer, the provider
/// is flagged. The governors may fine a provider out of its bond. A supervisor may freeze an agreement: gateways then serve no call of it.
///
/// Times are those of `TradeSettlement`'s windows: a step is over when blocks and seconds have both passed.
contract TradeDisputes is Membership {
    using Intervals for uint256;
    using Statements for Agreement;
    using Statements for Ruling;
    using Statements for UsageReceipt;
    using Statements for UsageRequest;

    /// @dev `heights` = claimedAt:48 | contestedAt:48 | answeredAt:48 | endedAt:48 | reason:8 | outcome:8; `times` = claimedAt:48 |
    /// contestedAt:48 | answeredAt:48 in Unix seconds, each from the least significant bit.
    struct Dispute {
        uint256 heights;
        uint256 times;
        bytes32 contestKey;
        bytes32 sealedAnswer;
        bytes32 ruling;
    }

    uint256 private constant CLAIMED = 0;
    uint256 private constant CONTESTED = 48;
    uint256 private constant ANSWERED = 96;
    uint256 private constant ENDED = 144;
    uint256 private constant REASON = 192;
    uint256 private constant OUTCOME = 200;
    uint256 private constant HELD = 1 << 96;
    uint256 private constant MAX_EVIDENCE = 16;

    /// @notice The reasons of a contest, by number from 1: no answer came, the answer differs from its commitment, the answer departs from the
    /// published record, the request was never made, price or units are not as agreed, the right had been revoked.
    uint8 public constant LAST_REASON = 6;

    /// @notice How a dispute ended: by the buyer's silence, its acknowledgement, the provider's silence, the arbiter's silence, a ruling.
    uint8 public constant PAID_UNCONTESTED = 1;
    uint8 public constant ACKNOWLEDGED = 2;
    uint8 public constant UNPAID_UNANSWERED = 3;
    uint8 public constant UNPAID_UNRULED = 4;
    uint8 public constant RULED = 5;
    /// @notice The caps of the agreement left no room for the call.
    uint8 public constant UNPAID_OVER_CAP = 6;

    /// @notice What a ruling orders.
    uint8 public constant REFUND = 0;
    uint8 public constant PAY = 1;
    uint8 public constant SPLIT = 2;

    TradeSettlement public immutable settlement;

    mapping(bytes32 receipt => Dispute) private _disputes;
    /// @dev The highest position of a lane that was claimed by its receipt.
    mapping(bytes32 agreementId => mapping(uint16 lane => uint64)) private _lastClaimed;
    /// @dev firstAt:48 | lastAt:48 | count:32 from the least significant bit.
    mapping(bytes18 member => uint256) private _flags;
    /// @dev Struct hash of the lower of the two receipts; zero before an equivocation was proved.
    mapping(bytes32 agreementId => mapping(bytes32 place => bytes32)) private _equivocations;
    /// @dev heldAt:48 | releasedAt:48 | held:1 (at bit 96) | validFrom:48 (at bit 208).
    mapping(bytes32 agreementId => uint256) private _freezes;
    mapping(bytes32 agreementId => mapping(uint256 releasedAt => uint256 word)) private _earlierFreezes;
    mapping(bytes32 fineKey => uint48) private _fines;

    event ReceiptClaimed(bytes32 indexed agreementId, bytes32 indexed receiptId, UsageReceipt receipt);
    event Contested(
        bytes32 indexed agreementId, bytes32 indexed receipt, uint8 reason, uint128 stake, bytes32 contestKey
    );
    event Answered(bytes32 indexed agreementId, bytes32 indexed receipt, bytes32 sealedAnswer);
    event Ruled(bytes32 indexed agreementId, bytes32 indexed receipt, Ruling ruling);
    event DisputeEnded(bytes32 indexed agreementId, bytes32 indexed receipt, uint8 outcome, uint128 paid);
    event EquivocationProved(
        bytes32 indexed agreementId, bytes18 indexed provider, uint16 lane, uint64 seq, uint128 taken
    );
    event Fined(bytes32 indexed agreementId, bytes18 indexed provider, uint128 taken, bytes32 reason);
    event Frozen(bytes32 indexed agreementId, bytes18 by, bytes32 reason);
    event Unfrozen(bytes32 indexed agreementId, bytes18 by);

    error NoArbiter();
    error NotBuyer(bytes18 sender);
    error NotClaimable(bytes32 receipt);
    error OtherReceipt(bytes32 receipt);
    error ReceiptNotNewer(uint64 seq);
    error ReceiptAcknowledged(bytes32 receipt);
    error ClaimTooLate(bytes32 agreementId);
    error UnknownDispute(bytes32 receipt);
    error WrongStep(bytes32 receipt);
    error StepOver(bytes32 receipt);
    error StepOpen(bytes32 receipt);
    error UnknownReason(uint8 reason);
    error ContestKeyMissing();
    error SealedAnswerMissing();
    error RulingMismatch();
    error EvidenceMissing();
    error TooMuchEvidence(uint256 count);
    error NoEquivocation();

    /// @notice Deploys the contract for a network.
    /// @param directory_ The network's directory of members.
    /// @param settlement_ The network's settlement of metered trades.
    constructor(MemberDirectory directory_, TradeSettlement settlement_) Membership(directory_) {
        settlement = settlement_;
    }

    // --- Disputes --------------------------------------------------------------------------------------------------------------

    /// @notice Claims an unacknowledged receipt, with the request it answers. Repeating it changes nothing.
    /// @dev The request acknowledges everything before; so at most the last receipt of a lane can be claimed like this, and each place once.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param request The buyer's request.
    /// @param requestSignature The buyer's signature.
    /// @param receipt The provider's receipt of that request.
    /// @param receiptSignature The provider's signature.
    /// @custom:emits ReceiptClaimed
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, ClaimTooLate, ECDSAInvalidSignature, ECDSAInvalidSignatureLength,
    /// ECDSAInvalidSignatureS, NoArbiter, NotClaimable, NotMemberKey, NotProvider, OnlyDisputes, OtherReceipt, ReceiptAcknowledged,
    /// ReceiptNotNewer, UnknownAgreement, WrongSigner
    function claimReceipt(
        Agreement calldata agreement,
        UsageRequest calldata request,
        bytes calldata requestSignature,
        UsageReceipt calldata receipt,
        bytes calldata receiptSignature
    ) external {
        bytes32 id = receipt.hash();
        if (_disputes[id].heights != 0) return;
        bytes32 agreementId = agreement.hash();
        bytes18 sender = _sender();
        require(sender == agreement.provider, TradeSettlement.NotProvider(sender));
        require(agreement.arbiter != 0, NoArbiter());
        _requireAnswers(agreement, agreementId, request, receipt);
        _requireSignedBy(request.hash(), requestSignature, agreement.buyerKey, agreement.buyer);
        _requireSignedBy(id, receiptSignature, agreement.providerKey, agreement.provider);
        require(receipt.seq > _lastClaimed[agreementId][receipt.lane], ReceiptNotNewer(receipt.seq));
        require(!_isAcknowledged(agreementId, receipt), ReceiptAcknowledged(id));
        _requireInTime(agreement, agreementId);

        _lastClaimed[agreementId][receipt.lane] = receipt.seq;
        _disputes[id].heights = block.number;
        _disputes[id].times = block.timestamp;
        emit ReceiptClaimed(agreementId, id, receipt);
        settlement.beginClaim(agreementId);
    }

    /// @notice The buyer contests a claimed receipt; its stake is bonded until the dispute ends.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param receipt The claimed receipt.
    /// @param reason The number of the reason.
    /// @param contestKey The X25519 key to which the provider must seal the answer.
    /// @custom:emits Contested
    /// @custom:reverts AmountTooLarge, ContestKeyMissing, NotBuyer, NotEnoughFree, NotMemberKey, OnlyDisputes, OtherReceipt,
    /// ReceiptAcknowledged, StepOver, UnknownDispute, UnknownReason, WrongStep
    function contest(Agreement calldata agreement, UsageReceipt calldata receipt, uint8 reason, bytes32 contestKey)
        external
    {
        (bytes32 agreementId, bytes32 id, Dispute storage dispute) = _found(agreement, receipt);
        bytes18 sender = _sender();
        require(sender == agreement.buyer, NotBuyer(sender));
        require(reason != 0 && reason <= LAST_REASON, UnknownReason(reason));
        require(contestKey != 0, ContestKeyMissing());
        _requireStep(dispute, id, CLAIMED);
        require(!_isOver(agreement, dispute, CLAIMED), StepOver(id));
        require(!_isAcknowledged(agreementId, receipt), ReceiptAcknowledged(id));

        _stamp(dispute, CONTESTED);
        dispute.heights |= uint256(reason) << REASON;
        dispute.contestKey = contestKey;
        emit Contested(agreementId, id, reason, agreement.stake, contestKey);
        if (agreement.stake != 0) settlement.lockStake(agreement.buyer, agreement.stake);
    }

    /// @notice The provider answers a contest: it serves the stored answer again, sealed to the contest's key.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param receipt The contested receipt.
    /// @param sealedAnswer The SHA-256 of the sealed answer that the gateway serves.
    /// @custom:emits Answered
    /// @custom:reverts SealedAnswerMissing, NotMemberKey, NotProvider, OtherReceipt, StepOver, UnknownDispute, WrongStep
    function answer(Agreement calldata agreement, UsageReceipt calldata receipt, bytes32 sealedAnswer) external {
        (bytes32 agreementId, bytes32 id, Dispute storage dispute) = _found(agreement, receipt);
        bytes18 sender = _sender();
        require(sender == agreement.provider, TradeSettlement.NotProvider(sender));
        require(sealedAnswer != 0, SealedAnswerMissing());
        _requireStep(dispute, id, CONTESTED);
        require(!_isOver(agreement, dispute, CONTESTED), StepOver(id));

        _stamp(dispute, ANSWERED);
        dispute.sealedAnswer = sealedAnswer;
        emit Answered(agreementId, id, sealedAnswer);
    }

    /// @notice Carries out the arbiter's ruling. Anyone may send it.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param receipt The contested receipt.
    /// @param ruling The arbiter's ruling.
    /// @param signature The arbiter's signature.
    /// @custom:emits BondTaken, Claimed, DisputeEnded, Paid, Ruled
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, DeadlinePassed, ECDSAInvalidSignature, ECDSAInvalidSignatureLength,
    /// ECDSAInvalidSignatureS, EvidenceMissing, NotActive, OnlyDisputes, OtherReceipt, OverCap, OverUnits, RulingMismatch, StepOver,
    /// TooMuchEvidence, UnknownAgreement, UnknownDispute, WrongLane, WrongSigner, WrongStep, WrongVersion
    function rule(
        Agreement calldata agreement,
        UsageReceipt calldata receipt,
        Ruling calldata ruling,
        bytes calldata signature
    ) external {
        (bytes32 agreementId, bytes32 id, Dispute storage dispute) = _found(agreement, receipt);
        _requireStep(dispute, id, ANSWERED);
        require(!_isOver(agreement, dispute, ANSWERED), StepOver(id));
        _requireRuling(agreementId, id, receipt.amount, ruling);
        _requireActive(agreement.arbiter);
        _requireSigned(ruling.hash(), signature, agreement.arbiter, STATEMENT);

        dispute.ruling = ruling.hash();
        emit Ruled(agreementId, id, ruling);
        bool conceded = _isAcknowledged(agreementId, receipt);
        _end(dispute, conceded ? ACKNOWLEDGED : RULED);
        uint128 paid = _pay(agreement, receipt, conceded ? 0 : ruling.amount);
        emit DisputeEnded(agreementId, id, conceded ? ACKNOWLEDGED : RULED, paid);
        bool buyerLost = !conceded && ruling.outcome == PAY;
        _returnStake(agreement, buyerLost ? agreement.provider : agreement.buyer);
        if (!conceded && ruling.outcome == REFUND && agreement.stake != 0) {
            // slither-disable-next-line unused-return
            settlement.takeBond(agreement, agreement.buyer, agreement.stake);
        }
    }

    // The settlement is the contract that this one was created with; it calls nothing back.
    // slither-disable-start reentrancy-no-eth

    /// @notice Ends a dispute whose step is over, by what its silence means, or whose call the buyer has acknowledged. Anyone may send it;
    /// repeating it changes nothing.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param receipt The claimed receipt.
    /// @custom:emits Claimed, DisputeEnded, Paid
    /// @custom:reverts AgreementIsClosed, AmountTooLarge, OnlyDisputes, OtherReceipt, OverCap, OverUnits, StepOpen, UnknownAgreement,
    /// UnknownDispute, WrongLane
    function end(Agreement calldata agreement, UsageReceipt calldata receipt) external {
        (bytes32 agreementId, bytes32 id, Dispute storage dispute) = _found(agreement, receipt);
        if (_at(dispute.heights, ENDED) != 0) return;
        uint256 step = _step(dispute);
        uint8 outcome = step == CLAIMED ? PAID_UNCONTESTED : step == CONTESTED ? UNPAID_UNANSWERED : UNPAID_UNRULED;
        if (_isAcknowledged(agreementId, receipt)) outcome = ACKNOWLEDGED;
        else require(_isOver(agreement, dispute, step), StepOpen(id));

        _end(dispute, outcome);
        uint128 paid = _pay(agreement, receipt, outcome == PAID_UNCONTESTED ? receipt.amount : 0);
        if (outcome == PAID_UNCONTESTED && paid == 0) outcome = _endOverCap(dispute);
        emit DisputeEnded(agreementId, id, outcome, paid);
        if (step != CLAIMED) _returnStake(agreement, agreement.buyer);
    }

    // slither-disable-end reentrancy-no-eth

    // --- Offences --------------------------------------------------------------------------------------------------------------

    /// @notice Proves that a provider signed two different receipts for one place. The bond goes to the buyer, the provider is flagged. Anyone
    /// may send it; each place counts once.
    /// @dev The key that the agreement pins is liable as long as the agreement is open, even after it ended: who loses it must close.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param first One receipt.
    /// @param firstSignature The provider's signature of it.
    /// @param second Another receipt for the same place.
    /// @param secondSignature The provider's signature of it.
    /// @custom:emits BondTaken, EquivocationProved
    /// @custom:reverts AmountTooLarge, ECDSAInvalidSignature, ECDSAInvalidSignatureLength, ECDSAInvalidSignatureS, NoEquivocation,
    /// OnlyDisputes, UnknownAgreement, WrongSigner
    function proveEquivocation(
        Agreement calldata agreement,
        UsageReceipt calldata first,
        bytes calldata firstSignature,
        UsageReceipt calldata second,
        bytes calldata secondSignature
    ) external {
        bytes32 agreementId = agreement.hash();
        require(_heights(agreementId).openedAt() != 0, TradeSettlement.UnknownAgreement(agreementId));
        bytes32 one = first.hash();
        bytes32 other = second.hash();
        require(one != other && _isOnePlace(agreementId, first, second), NoEquivocation());
        _requireSignedBy(one, firstSignature, agreement.providerKey, agreement.provider);
        _requireSignedBy(other, secondSignature, agreement.providerKey, agreement.provider);
        bytes32 place = keccak256(abi.encode(first.lane, first.seq));
        if (_equivocations[agreementId][place] != 0) return;

        _equivocations[agreementId][place] = one < other ? one : other;
        _flag(agreement.provider);
        // slither-disable-next-line reentrancy-events
        uint128 taken = settlement.takeBond(agreement, agreement.buyer, type(uint128).max);
        emit EquivocationProved(agreementId, agreement.provider, first.lane, first.seq, taken);
    }

    /// @notice Fines a provider out of its bond, by the approvals of two governors. The same reason counts once for an agreement.
    /// @param agreement The full agreement; its struct hash is the id.
    /// @param amount The fine in fen; no more than is held is taken.
    /// @param to The code of the member that gets it.
    /// @param reason The number of the decision.
    /// @custom:emits BondTaken, Fined
    /// @custom:reverts AmountTooLarge, NotActive, OnlyDisputes, OnlyGovernors
    function fine(Agreement calldata agreement, uint128 amount, bytes18 to, bytes32 reason) external {
        _requireGovernors();
        _requireActive(to);
        bytes32 agreementId = agreement.hash();
        bytes32 key = keccak256(abi.encode(agreementId, reason));
        if (_fines[key] != 0) return;

        _fines[key] = uint48(block.number);
        // slither-disable-next-line reentrancy-events
        uint128 taken = settlement.takeBond(agreement, to, amount);
        emit Fined(agreementId, agreement.provider, taken, reason);
    }

    // --- Freezes ---------------------------------------------------------------------------------------------------------------

    /// @notice A supervisor freezes an agreement: no call of it is served until it is unfrozen. What was delivered is still paid.
    /// @param agreementId The struct hash of the agreement.
    /// @param reason The number of the decision.
    /// @custom:emits Frozen
    /// @custom:reverts NotActive, NotMemberKey, UnknownAgreement, WrongRole
    function freeze(bytes32 agreementId, bytes32 reason) external {
        bytes18 sender = _supervisor(agreementId);
        uint256 word = _freezes[agreementId];
        if (word & HELD != 0) return;

        _freezes[agreementId] = word.begun(0, _earlierFreezes[agreementId]) | HELD;
        emit Frozen(agreementId, sender, reason);
    }

    /// @notice Ends a freeze. Without one it changes nothing.
    /// @param agreementId The struct hash of the agreement.
    /// @custom:emits Unfrozen
    /// @custom:reverts NotActive, NotMemberKey, UnknownAgreement, WrongRole
    function unfreeze(bytes32 agreementId) external {
        bytes18 sender = _supervisor(agreementId);
        uint256 word = _freezes[agreementId];
        if (word & HELD == 0) return;

        _freezes[agreementId] = word.ended(0) & ~HELD;
        emit Unfrozen(agreementId, sender);
    }

    // --- Views -----------------------------------------------------------------------------------------------------------------

    /// @notice The dispute over a receipt.
    /// @param receipt The struct hash of the receipt.
    /// @return The storage values; all zero if it was never claimed.
    function disputeWords(bytes32 receipt) external view returns (Dispute memory) {
        return _disputes[receipt];
    }

    /// @notice The proved equivocations of a member, packed.
    /// @param member The member's 18-character code.
    /// @return The storage value; zero if there is none.
    function flagWord(bytes18 member) external view returns (uint256) {
        return _flags[member];
    }

    /// @notice The record of an agreement's freeze, packed.
    /// @param agreementId The struct hash of the agreement.
    /// @return The storage value; zero if it was never frozen.
    function freezeWord(bytes32 agreementId) external view returns (uint256) {
        return _freezes[agreementId];
    }

    /// @notice The word of the freeze that ended at that height, once another has followed; zero otherwise.
    /// @param agreementId The struct hash of the agreement.
    /// @param releasedAt The height at which the earlier freeze ended.
    /// @return The storage value.
    function earlierFreezeWord(bytes32 agreementId, uint256 releasedAt) external view returns (uint256) {
        return _earlierFreezes[agreementId][releasedAt];
    }

    // --- Guards ----------------------------------------------------------------------------------------------------------------

    function _found(Agreement calldata agreement, UsageReceipt calldata receipt)
        private
        view
        returns (bytes32 agreementId, bytes32 id, Dispute storage dispute)
    {
        agreementId = agreement.hash();
        id = receipt.hash();
        dispute = _disputes[id];
        require(dispute.heights != 0, UnknownDispute(id));
        require(receipt.agreementId == agreementId, OtherReceipt(id));
    }

    /// @dev The receipt serves the request, at the agreed price and within what both allow.
    function _requireAnswers(
        Agreement calldata agreement,
        bytes32 agreementId,
        UsageRequest calldata request,
        UsageReceipt calldata receipt
    ) private pure {
        bytes32 id = receipt.hash();
        bool same = request.agreementId == agreementId && receipt.agreementId == agreementId
            && receipt.lane == request.lane && receipt.seq == request.seq && receipt.request == request.hash();
        require(same, OtherReceipt(id));
        bool payable_ = request.version == 1 && receipt.version == 1 && receipt.lane < agreement.lanes
            && receipt.outcome == 0 && receipt.amount != 0 && uint256(receipt.units) * agreement.price == receipt.amount
            && receipt.units <= request.maxUnits && receipt.amount <= request.maxAmount
            && receipt.amount <= agreement.maxPerCall
            && uint256(request.acknowledgedUnits) + receipt.units == receipt.totalUnits
            && uint256(request.acknowledgedAmount) + receipt.amount == receipt.totalAmount;
        require(payable_, NotClaimable(id));
    }

    /// @dev Before the closing window has passed; while it runs, each later step may still take its own time.
    function _requireInTime(Agreement calldata agreement, bytes32 agreementId) private view {
        Heights heights = _heights(agreementId);
        bool inTime = heights.noticeAt() == 0 || block.number <= heights.noticeAt() + agreement.closeWindowBlocks
            || block.timestamp <= heights.noticeTime() + agreement.closeWindowSeconds;
        require(inTime, ClaimTooLate(agreementId));
    }

    function _requireRuling(bytes32 agreementId, bytes32 id, uint128 amount, Ruling calldata ruling) private view {
        require(ruling.version == 1, WrongVersion(ruling.version));
        require(block.timestamp <= ruling.deadline, DeadlinePassed(ruling.deadline));
        require(ruling.evidence.length != 0, EvidenceMissing());
        require(ruling.evidence.length <= MAX_EVIDENCE, TooMuchEvidence(ruling.evidence.length));
        bool fits = ruling.agreementId == agreementId && ruling.receipt == id
            && (ruling.outcome == REFUND
                    ? ruling.amount == 0
                    : ruling.outcome == PAY
                        ? ruling.amount == amount
                        : ruling.outcome == SPLIT && ruling.amount != 0 && ruling.amount < amount);
        require(fits, RulingMismatch());
    }

    /// @dev The dispute is at that step: not beyond it, and not ended.
    function _requireStep(Dispute storage dispute, bytes32 id, uint256 step) private view {
        require(_step(dispute) == step && _at(dispute.heights, ENDED) == 0, WrongStep(id));
    }

    /// @dev A trade's statements are signed for `TradeSettlement`.
    function _requireSignedBy(bytes32 structHash, bytes calldata signature, address key, bytes18 member) private view {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Qiaolian"),
                keccak256("1"),
                block.chainid,
                address(settlement)
            )
        );
        address signer = ECDSA.recover(MessageHashUtils.toTypedDataHash(domain, structHash), signature);
        require(signer == key, WrongSigner(signer, member));
    }

    function _supervisor(bytes32 agreementId) private view returns (bytes18 sender) {
        sender = _activeSender();
        _requireRole(sender, SUPERVISOR);
        require(_heights(agreementId).openedAt() != 0, TradeSettlement.UnknownAgreement(agreementId));
    }

    function _isOnePlace(bytes32 agreementId, UsageReceipt calldata first, UsageReceipt calldata second)
        private
        pure
        returns (bool)
    {
        return first.agreementId == agreementId && second.agreementId == agreementId && first.lane == second.lane
            && first.seq == second.seq;
    }

    // --- State -----------------------------------------------------------------------------------------------------------------

    function _heights(bytes32 agreementId) private view returns (Heights) {
        return settlement.agreementWords(agreementId).heights;
    }

    /// @dev The buyer has signed for the place: the chain's lane is at it or beyond.
    function _isAcknowledged(bytes32 agreementId, UsageReceipt calldata receipt) private view returns (bool) {
        Lane lane = settlement.laneWord(agreementId, receipt.lane);
        return lane.seq() >= receipt.seq;
    }

    function _step(Dispute storage dispute) private view returns (uint256) {
        if (_at(dispute.heights, ANSWERED) != 0) return ANSWERED;
        return _at(dispute.heights, CONTESTED) != 0 ? CONTESTED : CLAIMED;
    }

    /// @dev One window after the step before, in blocks and in seconds.
    function _isOver(Agreement calldata agreement, Dispute storage dispute, uint256 step) private view returns (bool) {
        return block.number > _at(dispute.heights, step) + agreement.closeWindowBlocks
            && block.timestamp > _at(dispute.times, step) + agreement.closeWindowSeconds;
    }

    // --- Effects ---------------------------------------------------------------------------------------------------------------

    // A storage value is compared with zero, which means never; no balance is compared.
    // slither-disable-start incorrect-equality
    function _flag(bytes18 provider) private {
        uint256 flag = _flags[provider];
        uint256 firstAt = flag == 0 ? block.number : flag & MASK48;
        _flags[provider] = (((flag >> 96) + 1) << 96) | (block.number << 48) | firstAt;
    }
    // slither-disable-end incorrect-equality

    function _stamp(Dispute storage dispute, uint256 step) private {
        dispute.heights |= block.number << step;
        dispute.times |= block.timestamp << step;
    }

    function _end(Dispute storage dispute, uint8 outcome) private {
        dispute.heights |= (block.number << ENDED) | (uint256(outcome) << OUTCOME);
    }

    /// @dev Only the settlement knows whether the caps leave room, and says so when it ends the claim.
    function _endOverCap(Dispute storage dispute) private returns (uint8) {
        dispute.heights =
            (dispute.heights & ~(uint256(type(uint8).max) << OUTCOME)) | (uint256(UNPAID_OVER_CAP) << OUTCOME);
        return UNPAID_OVER_CAP;
    }

    /// @dev Ends the claim in the settlement and pays `amount` of the call, beyond what the request acknowledged.
    function _pay(Agreement calldata agreement, UsageReceipt calldata receipt, uint128 amount)
        private
        returns (uint128)
    {
        LaneTotal memory total = LaneTotal(receipt.lane, receipt.seq, receipt.totalUnits, 0);
        if (amount != 0) total.amount = receipt.totalAmount - receipt.amount + amount;
        return settlement.endClaim(agreement, total) ? amount : 0;
    }

    function _returnStake(Agreement calldata agreement, bytes18 to) private {
        if (agreement.stake != 0) settlement.payStake(agreement.buyer, to, agreement.stake);
    }
}
