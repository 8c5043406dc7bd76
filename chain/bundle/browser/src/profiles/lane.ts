/** Every call of one lane: subject {agreementId, lane}. */
import { equal } from "../bytes.ts";
import type { Claims } from "../claims.ts";
import type { JsonObject } from "../json.ts";
import { laneRecord, type LaneRecord } from "../records.ts";
import { require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import type { Of, ReceiptVoid } from "../statements.ts";
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
  const voids = voidsBySeq(trade);
  const seqs = requireWhole(trade, voids);
  const last = BigInt(seqs.length);
  const { state, refused } = requireContinuous(trade, seqs, voids);
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
    ...viewSentences(trade, seqs.filter((seq) => trade.receipts.has(seq))),
    acknowledged,
    ...claimSentences(trade, state),
  ];
}

/**
 * The positions from 1 on, each with a request, and a receipt unless the provider voided it: a buyer
 * that received the void never got the receipt.
 */
function requireWhole({ requests, receipts }: Trade, voids: Voids): bigint[] {
  const seqs = [...requests.keys()].sort((one, other) => (one < other ? -1 : 1));
  require(
    (seqs.at(-1) ?? 0n) !== 0n,
    "profile_incomplete",
    "The bundle shows no position of the lane.",
  );
  require(
    seqs.every((seq, at) => seq === BigInt(at + 1)) &&
      [...receipts.keys()].every((seq) => requests.has(seq)) &&
      seqs.every((seq) => receipts.has(seq) || voids.has(seq)),
    "lane_has_holes",
    "Positions of the lane are missing, or lack a request or receipt.",
  );
  return seqs;
}

type Voids = ReadonlyMap<bigint, Of<typeof ReceiptVoid>>;

function voidsBySeq(trade: Trade): Voids {
  const voids = new Map(trade.voids.map((receiptVoid) => [receiptVoid.seq, receiptVoid]));
  require(voids.size === trade.voids.length, "position_twice", "Two voids name one position.");
  return voids;
}

/** Each receipt continues the one before it, each request acknowledges what was delivered. */
function requireContinuous(
  trade: Trade,
  seqs: bigint[],
  voids: Voids,
): { state: LaneState; refused: bigint } {
  let state = START;
  let refused = 0n;
  for (const seq of seqs) {
    requireAcknowledged(state, trade.requests.get(seq)!.values);
    state = stateAfter(trade, state, seq, voids.get(seq));
    if (trade.receipts.get(seq)?.values.outcome === REFUSED) refused++;
  }
  require(
    [...voids.keys()].every((seq) => trade.requests.has(seq)),
    "void_of_other",
    "A void names a position the lane does not have.",
  );
  return { state, refused };
}

/** The lane's state after a position, whose receipt answers the request in time. */
function stateAfter(
  trade: Trade,
  state: LaneState,
  seq: bigint,
  receiptVoid: Of<typeof ReceiptVoid> | undefined,
): LaneState {
  const { values: request, hash: requestHash } = trade.requests.get(seq)!;
  const receipt = trade.receipts.get(seq);
  if (receipt) {
    requireReceipt(trade.agreement, state, request, requestHash, receipt.values);
    requireTimely(trade, seq);
    if (!receiptVoid) {
      const { totalUnits: units, totalAmount: amount } = receipt.values;
      return { seq, units, amount, receipt: receipt.hash };
    }
    require(
      equal(receiptVoid.receipt, receipt.hash),
      "void_of_other",
      "A void names another receipt than its position's.",
    );
  }
  return { ...state, seq, receipt: receiptVoid!.receipt };
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
    closingSentence(claims, trade.state),
  ];
}

/** The limit of every lane's bundle: it cannot prove that the lane has no later positions. */
function laterPositions(trade: Trade, state: LaneState, record: LaneRecord): Sentence {
  const last = state.seq > record.seq ? state.seq : record.seq;
  return say(trade.agreement.price === 0n ? "laterPositionsFree" : "laterPositionsPaid", { last });
}
