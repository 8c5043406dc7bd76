/** One call of a metered trade, from agreement to payout: subject {agreementId, lane, seq}. */
import { equal, type Bytes } from "../bytes.ts";
import type { Claims, Signed } from "../claims.ts";
import type { JsonObject } from "../json.ts";
import { laneRecord } from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import type { Of, UsageReceipt, UsageRequest } from "../statements.ts";
import { REFUSED, requireReceipt } from "./lane_rules.ts";
import {
  closingSentence,
  CONTRACT,
  loggedSentence,
  partyInclusion,
  readTrade,
  requireTimely,
  viewSentences,
  type Trade,
} from "./trade_facts.ts";

export const REQUEST_DOMAIN = "qiaolian.request.v1";
export const RESPONSE_DOMAIN = "qiaolian.response.v1";
const FULL_SHARE = 10_000n;

export function checkTrade(claims: Claims, subject: JsonObject): Sentence[] {
  const trade = readTrade(claims, subject, true);
  requireOnlyAcknowledgement(trade);
  const { request, receipt, sentences: answered } = readCall(trade);
  const { reason, outcome } = receipt.values;
  const sentences = [
    ...trade.sentences,
    ...answered,
    ...openedSentences(claims, request.values, receipt.values),
  ];
  const acknowledged = isAcknowledged(trade, receipt.values, receipt.hash);
  if (outcome === REFUSED) {
    const seen = acknowledged ? "refusalAcknowledged" : "refusalNotAcknowledged";
    return [...sentences, say("callRefused", { reason }), say(seen)];
  }
  require(
    acknowledged,
    "not_acknowledged",
    "No signature of the buyer acknowledges the call.",
  );
  return [
    ...sentences,
    say("acknowledged", { amount: receipt.values.totalAmount }),
    claimSentence(trade, receipt.values),
    ...payoutSentences(trade, receipt.values),
  ];
}

/** The position's request and receipt, which answers it in time, and the sentences on them. */
export function readCall(trade: Trade): Call {
  const { claims, seq, lane } = trade;
  const request = only(trade.requests, seq, "request");
  const receipt = only(trade.receipts, seq, "receipt");
  const before = {
    seq: seq - 1n,
    units: request.values.acknowledgedUnits,
    amount: request.values.acknowledgedAmount,
    receipt: request.values.previousReceipt,
  };
  requireReceipt(trade.agreement, before, request.values, request.hash, receipt.values);
  requireTimely(trade, seq);
  const sentences = [
    say("receiptAnswers", { seq, lane, units: receipt.values.units }),
    loggedSentence(claims, trade.agreement, receipt, "receipt"),
    ...viewSentences(trade, [seq]),
  ];
  return { request, receipt, sentences };
}

export interface Call {
  request: Signed<Of<typeof UsageRequest>>;
  receipt: Signed<Of<typeof UsageReceipt>>;
  sentences: Sentence[];
}

function only<T>(found: ReadonlyMap<bigint, T>, seq: bigint, what: string): T {
  const one = found.get(seq);
  if (one === undefined) {
    const sentence = `The bundle lacks the ${what} of the position it names.`;
    throw inconsistent("profile_incomplete", sentence);
  }
  return one;
}

/** Beside the call the bundle holds only its acknowledgement, with what dates it. */
function requireOnlyAcknowledgement(trade: Trade): void {
  const { seq, requests, receipts, vouchers, voids } = trade;
  require(
    voids.length === 0,
    "call_voided",
    "The bundle holds a void: a voided call is owed nothing.",
  );
  const shown = [...requests.keys(), ...receipts.keys()];
  require(
    shown.every((position) => position === seq || position === seq + 1n) &&
      vouchers.every((voucher) => voucher.seq === seq),
    "element_unused",
    "The bundle carries statements of other positions than its call's and the next one's.",
  );
  const following = receipts.get(seq + 1n);
  if (!following) return;
  const next = only(requests, seq + 1n, "next request");
  require(
    equal(following.values.request, next.hash),
    "receipt_of_other",
    "The receipt of the next position answers another request.",
  );
  partyInclusion(trade.claims, trade.agreement, following);
}

/** Whether the buyer's next signature is there. It must name this receipt with its totals. */
function isAcknowledged(trade: Trade, receipt: Of<typeof UsageReceipt>, hash: Bytes): boolean {
  const requests = [...trade.requests.values()].map((signed) => signed.values);
  const later = requests.filter((request) => request.seq > receipt.seq);
  const named = [
    ...later.map((request) => ({ receipt: request.previousReceipt, by: request })),
    ...trade.vouchers.map((voucher) => ({ receipt: voucher.receipt, by: voucher })),
  ];
  for (const { receipt: other, by } of named) {
    require(
      equal(other, hash),
      "acknowledgement_differs",
      "The buyer acknowledged another receipt of the position.",
    );
    require(
      by.acknowledgedUnits === receipt.totalUnits && by.acknowledgedAmount === receipt.totalAmount,
      "acknowledgement_differs",
      "The buyer acknowledged other totals than the receipt's, as after a void.",
    );
  }
  return named.length > 0;
}

function openedSentences(
  claims: Claims,
  request: Of<typeof UsageRequest>,
  receipt: Of<typeof UsageReceipt>,
): Sentence[] {
  const sentences: Sentence[] = [];
  if (claims.isOpened(request.requestCommitment, REQUEST_DOMAIN)) {
    claims.disclosed(request.requestCommitment, REQUEST_DOMAIN);
    sentences.push(say("requestOpened"));
  }
  if (claims.isOpened(receipt.responseCommitment, RESPONSE_DOMAIN)) {
    claims.disclosed(receipt.responseCommitment, RESPONSE_DOMAIN);
    sentences.push(say("responseOpened"));
  }
  if (sentences.length < 2) claims.limits.push(say("contentClosed"));
  return sentences;
}

/** The chain's lane is at the call or beyond it. */
function claimSentence(trade: Trade, receipt: Of<typeof UsageReceipt>): Sentence {
  const { claims, agreementId, lane, agreement } = trade;
  const record = laneRecord(claims.value(CONTRACT, "lanes", [agreementId, lane]));
  if (agreement.price === 0n) {
    require(
      record.amount === 0n,
      "claim_differs",
      "The chain shows a claim on a free agreement.",
    );
    return say("free");
  }
  require(
    record.seq >= receipt.seq &&
      record.units >= receipt.totalUnits &&
      record.amount >= receipt.totalAmount,
    "claim_differs",
    "The chain's lane does not reach the call: it was not claimed.",
  );
  return say("claimed", { amount: record.amount, seq: record.seq });
}

/** What each share got is the split of what was claimed; nothing is paid beyond it. */
function payoutSentences(trade: Trade, receipt: Of<typeof UsageReceipt>): Sentence[] {
  const { claims, agreement, agreementId, state } = trade;
  if (agreement.price === 0n) return [];
  require(
    state.acknowledged >= receipt.totalAmount && state.acknowledged <= state.opened,
    "payout_differs",
    "The agreement's books hold less than the call, or more than its cap.",
  );
  const shares = new Map(agreement.shares.map((share) => [share.member, share.basisPoints]));
  const sentences: Sentence[] = [];
  let sum = 0n;
  for (const [member, points] of shares) {
    const amount = (state.acknowledged * points) / FULL_SHARE;
    require(
      claims.value(CONTRACT, "paidTo", [agreementId, member]) === amount,
      "payout_differs",
      `The chain does not show ${member}'s part of the split.`,
    );
    sum += amount;
    sentences.push(say("paidTo", { member, amount }));
  }
  require(
    state.paid === sum,
    "payout_differs",
    "The parts of the split do not add up to what was paid.",
  );
  return [...sentences, closingSentence(claims, trade.state)];
}
