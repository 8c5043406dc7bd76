/** Every call of one lane: subject {agreementId, lane}. */
import { equal } from "../bytes.ts";
import type { Claims } from "../claims.ts";
import type { JsonObject } from "../json.ts";
import { laneRecord, type LaneRecord } from "../records.ts";
import { require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import {
  REFUSED,
  requireAcknowledged,
  requireReceipt,
  START,
  type LaneState,
} from "./lane_rules.ts";
import {
  closingSentence,
  CONTRACT,
  readTrade,
  requireTimely,
  viewSentences,
  type Trade,
} from "./trade_facts.ts";

export function checkLane(claims: Claims, subject: JsonObject): Sentence[] {
  const trade = readTrade(claims, subject, false);
  const seqs = requireWhole(trade);
  const last = BigInt(seqs.length);
  const { state, refused } = requireContinuous(trade, seqs);
  const served = last - refused;
  require(
    served <= trade.terms.maxUses,
    "grant_used_up",
    "The lane has more served calls than the grant allows in all.",
  );
  const voided = trade.voids.length;
  const acknowledged = trade.vouchers.length
    ? say("acknowledgedUpTo", { last })
    : say("acknowledgedButLast", { last: last - 1n });
  return [
    ...trade.sentences,
    say("laneShown", { lane: trade.lane, last, served, refused }),
    say("laneDelivered", { voided, units: state.units, amount: state.amount }),
    say("laneContinuous"),
    ...viewSentences(trade, seqs),
    acknowledged,
    ...claimSentences(trade, state),
  ];
}

/** The positions from 1 on, each with request and receipt. */
function requireWhole({ requests, receipts }: Trade): bigint[] {
  const seqs = [...requests.keys()].sort((one, other) => (one < other ? -1 : 1));
  require(
    (seqs.at(-1) ?? 0n) !== 0n,
    "profile_incomplete",
    "The bundle shows no position of the lane.",
  );
  require(
    seqs.every((seq, at) => seq === BigInt(at + 1)) &&
      receipts.size === seqs.length &&
      seqs.every((seq) => receipts.has(seq)),
    "lane_has_holes",
    "Positions of the lane are missing, or lack a request or receipt.",
  );
  return seqs;
}

/** Each receipt continues the one before it, each request acknowledges what was delivered. */
function requireContinuous(trade: Trade, seqs: bigint[]): { state: LaneState; refused: bigint } {
  const voids = new Map(trade.voids.map((receiptVoid) => [receiptVoid.seq, receiptVoid]));
  require(voids.size === trade.voids.length, "position_twice", "Two voids name one position.");
  let state = START;
  let refused = 0n;
  for (const seq of seqs) {
    const { values: request, hash: requestHash } = trade.requests.get(seq)!;
    const { values: receipt, hash: receiptHash } = trade.receipts.get(seq)!;
    requireAcknowledged(state, request);
    requireReceipt(trade.agreement, state, request, requestHash, receipt);
    requireTimely(trade, seq);
    if (receipt.outcome === REFUSED) refused++;
    const receiptVoid = voids.get(seq);
    voids.delete(seq);
    if (receiptVoid) {
      require(
        equal(receiptVoid.receipt, receiptHash),
        "void_of_other",
        "A void names another receipt than its position's.",
      );
      state = { ...state, seq, receipt: receiptHash };
    } else {
      const { totalUnits: units, totalAmount: amount } = receipt;
      state = { seq, units, amount, receipt: receiptHash };
    }
  }
  require(voids.size === 0, "void_of_other", "A void names a position the lane does not have.");
  return { state, refused };
}

/** The closing voucher is of the lane's state, and the chain paid no more than was delivered. */
function claimSentences(trade: Trade, state: LaneState): Sentence[] {
  const { claims, agreementId, lane, vouchers } = trade;
  for (const voucher of vouchers) {
    require(
      voucher.seq === state.seq &&
        voucher.acknowledgedUnits === state.units &&
        voucher.acknowledgedAmount === state.amount &&
        equal(voucher.receipt, state.receipt),
      "voucher_differs",
      "The closing voucher is not of the lane's state.",
    );
  }
  const record = laneRecord(claims.value(CONTRACT, "lanes", [agreementId, lane]));
  require(
    record.amount <= state.amount && record.units <= state.units,
    "claim_differs",
    "The chain paid for more than was delivered.",
  );
  claims.limits.push(laterPositions(trade, state, record));
  const leftOut =
    record.seq > state.seq
      ? [say("laneLeftOut", { first: state.seq + 1n, last: record.seq })]
      : [];
  return [
    say("laneClaimed", { claimed: record.amount, amount: state.amount }),
    ...leftOut,
    closingSentence(trade),
  ];
}

/** The limit of every lane's bundle: it cannot prove that the lane has no later positions. */
function laterPositions(trade: Trade, state: LaneState, record: LaneRecord): Sentence {
  const last = state.seq > record.seq ? state.seq : record.seq;
  return say(trade.agreement.price === 0n ? "laterPositionsFree" : "laterPositionsPaid", { last });
}
