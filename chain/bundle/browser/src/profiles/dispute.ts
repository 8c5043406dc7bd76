/** A dispute over one call: subject {case, agreementId, lane, seq}, see docs/bundle-format.md. */
import { concat, equal, fromHex, toHex, toInteger, utf8, word, type Bytes } from "../bytes.ts";
import type { Claims, Signed } from "../claims.ts";
import { commitment, keccak256, sha256 } from "../crypto.ts";
import type { Fields, StructType, Values } from "../eip712.ts";
import { open, publicKeyOf } from "../hpke.ts";
import { canonical, readJson, type Json, type JsonObject } from "../json.ts";
import {
  agreementRecord,
  flagRecord,
  grantRecord,
  laneRecord,
  tradeDisputeRecord,
  type AgreementRecord,
  type TradeDisputeRecord,
} from "../records.ts";
import { inconsistent, Kind, Refusal, require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import {
  Agreement,
  ReceiptVoid,
  Ruling,
  UsageReceipt,
  UsageRequest,
  type Of,
} from "../statements.ts";
import { SERVED } from "./lane_rules.ts";
import { readLaneSubject } from "./subject.ts";
import { RESPONSE_DOMAIN } from "./trade.ts";
import { closingSentence, CONTRACT } from "./trade_facts.ts";

const DISPUTES = "TradeDisputes";
const SEAL_INFO = "qiaolian.dispute-answer.v1\0";
const MAX_ANSWER_BYTES = 48_000_000;
const REASONS = [
  "no_answer",
  "answer_differs",
  "record_differs",
  "not_requested",
  "price_differs",
  "right_revoked",
];
const RULED = 5;

type Receipt = Of<typeof UsageReceipt>;

interface Call {
  claims: Claims;
  subject: JsonObject;
  agreementId: Bytes;
  lane: bigint;
  seq: bigint;
  agreement: Of<typeof Agreement>;
  state: AgreementRecord;
}

interface Claimed {
  receipt: Receipt;
  hash: Bytes;
  record: TradeDisputeRecord;
}

export function checkDispute(claims: Claims, subject: JsonObject): Sentence[] {
  const name = subject.get("case");
  const sentencesOf = typeof name === "string" ? CASES.get(name) : undefined;
  if (sentencesOf === undefined) throw malformedSubject();
  const call = readCall(claims, subject, name === "answer" ? ["contestSecret", "sealedAnswer"] : []);
  const { provider, buyer, purpose, price } = call.agreement;
  const block = claims.block(call.state.openedAt);
  return [say("agreementOpened", { provider, buyer, purpose, price, block }), ...sentencesOf(call)];
}

// --- What every case shows ------------------------------------------------------------------------

function readCall(claims: Claims, subject: JsonObject, more: string[]): Call {
  if (!more.every((name) => subject.has(name))) throw malformedSubject();
  const left = ["case", ...more];
  const about = readLaneSubject(
    new Map([...subject].filter(([name]) => !left.includes(name))),
    true,
  );
  if (about === null) throw malformedSubject();
  const { values: agreement, hash } = claims.struct(Agreement);
  require(
    equal(hash, about.agreementId),
    "agreement_differs",
    "The bundle holds another agreement.",
  );
  const value = (offset: number) => claims.value(CONTRACT, "agreements", [hash], offset);
  const state = agreementRecord(value(0), value(1), value(2));
  require(
    state.openedAt > 0,
    "agreement_not_open",
    "The chain does not show the agreement as opened.",
  );
  require(about.lane < agreement.lanes, "wrong_lane", "The agreement has no such lane.");
  return { ...about, claims, subject, agreement, state };
}

function malformedSubject(): Refusal {
  const sentence = "The bundle does not say which case it shows, and of which call.";
  return inconsistent("subject_malformed", sentence);
}

interface PositionFields extends Fields {
  agreementId: typeof UsageReceipt.fields.agreementId;
  lane: typeof UsageReceipt.fields.lane;
  seq: typeof UsageReceipt.fields.seq;
}

type Position = Pick<Receipt, "agreementId" | "lane" | "seq">;

function requireOfCall(call: Call, { agreementId, lane, seq }: Position): void {
  require(
    equal(agreementId, call.agreementId) && lane === call.lane && seq === call.seq,
    "of_another_trade",
    "A statement is of another call.",
  );
}

/** So many statements of a type, of this call and under the key that the agreement pins. */
function signed<F extends PositionFields>(
  call: Call,
  type: StructType<F>,
  key: string,
  count: number,
): Signed<Values<F>>[] {
  const found = call.claims.statements(type);
  require(
    found.length === count,
    "profile_incomplete",
    `The case needs ${count} of ${type.name}; there are ${found.length}.`,
  );
  for (const { values, signer } of found) {
    requireOfCall(call, values as Position);
    require(
      signer === key,
      "wrong_signer",
      "A statement is not signed by the key the agreement pins.",
    );
  }
  return found;
}

function signedReceipt(call: Call): Signed<Receipt> {
  return signed(call, UsageReceipt, call.agreement.providerKey, 1)[0];
}

/** The receipt that was claimed, as the struct whose hash the chain stores, and its dispute. */
function claimedReceipt(call: Call): Claimed {
  const { claims } = call;
  const { values: receipt, hash } = claims.struct(UsageReceipt);
  requireOfCall(call, receipt);
  const [heights, , key, answer, ruling] = [0, 1, 2, 3, 4].map((offset) =>
    claims.value(DISPUTES, "disputes", [hash], offset),
  );
  const record = tradeDisputeRecord(heights, key, answer, ruling);
  if (!record.claimedAt) {
    const sentence = "The chain does not show the receipt as claimed.";
    throw new Refusal(Kind.ANCHOR, "receipt_not_claimed", sentence);
  }
  return { receipt, hash, record };
}

/** A receipt under the provider's signature, or one that the chain took under it. */
function signedOrClaimed(call: Call): { receipt: Receipt; hash: Bytes } {
  if (call.claims.structs(UsageReceipt).length > 0) return claimedReceipt(call);
  const { values, hash } = signedReceipt(call);
  return { receipt: values, hash };
}

function receiptSentence(call: Call, { units, amount }: Receipt): Sentence {
  const { lane, seq, agreement } = call;
  return say("receiptSigned", { provider: agreement.provider, units, amount, seq, lane });
}

function requireShown(shown: boolean): void {
  require(shown, "case_not_shown", "What the bundle holds does not show the case it names.");
}

function unreadable(): Refusal {
  const sentence = "The chain's record of the dispute is of an unknown form.";
  return inconsistent("dispute_unreadable", sentence);
}

// --- claim ----------------------------------------------------------------------------------------

function checkClaim(call: Call): Sentence[] {
  const claimed = claimedReceipt(call);
  const { paid, sentences } = ending(call, claimed);
  return [
    ...claimSentences(call, claimed),
    ...sentences,
    paidSentence(call, claimed.receipt, paid),
    closingSentence(call.claims, call.state),
  ];
}

function claimSentences(call: Call, { receipt, record }: Claimed): Sentence[] {
  const { claims, lane, seq } = call;
  const { provider, buyer } = call.agreement;
  const block = claims.block(record.claimedAt);
  const { amount } = receipt;
  const sentences = [say("receiptClaimed", { provider, buyer, amount, seq, lane, block })];
  if (record.contestedAt) {
    const reason = REASONS[record.reason - 1];
    if (reason === undefined) throw unreadable();
    sentences.push(say("contested", { buyer, block: claims.block(record.contestedAt), reason }));
  }
  if (record.answeredAt) {
    const digest = toHex(record.sealedAnswer);
    sentences.push(
      say("answeredAgain", { provider, block: claims.block(record.answeredAt), digest }),
    );
  }
  return sentences;
}

const SILENT_ENDINGS = new Map([
  [1, "endedUncontested"],
  [2, "endedAcknowledged"],
  [3, "endedUnanswered"],
  [4, "endedUnruled"],
  [6, "endedOverCap"],
] as const);

/** What the dispute itself paid, and how it ended. */
function ending(call: Call, claimed: Claimed): { paid: bigint; sentences: Sentence[] } {
  const { receipt, record } = claimed;
  const ruling = record.ruling === 0n ? null : readRuling(call, record);
  if (!record.endedAt) return { paid: 0n, sentences: [say("disputeOpen")] };
  const { provider, buyer, arbiter } = call.agreement;
  const block = call.claims.block(record.endedAt);
  if (record.outcome === RULED && ruling !== null) {
    return { paid: ruling.amount, sentences: rulingSentences(call, block, receipt, ruling) };
  }
  const text = SILENT_ENDINGS.get(record.outcome as 1);
  if (text === undefined) throw unreadable();
  const { amount } = receipt;
  const sentences = [say(text, { provider, buyer, arbiter, block, amount })];
  if (record.contestedAt) sentences.push(stakeReturned(call));
  return { paid: record.outcome === 1 ? amount : 0n, sentences };
}

function readRuling({ claims }: Call, record: TradeDisputeRecord): Of<typeof Ruling> {
  const { values, hash } = claims.struct(Ruling);
  require(
    toInteger(hash) === record.ruling,
    "ruling_differs",
    "The bundle holds another ruling than the chain's.",
  );
  return values;
}

function rulingSentences(
  call: Call,
  block: Sentence,
  { amount }: Receipt,
  ruling: Of<typeof Ruling>,
): Sentence[] {
  const { provider, buyer, arbiter, stake } = call.agreement;
  const evidence = ruling.evidence.map(({ member, index }) => `${member}/${index}`).join(", ");
  const ruled = say("ruled", { arbiter, block, paid: ruling.amount, amount, evidence });
  if (ruling.amount === amount) return [ruled, say("stakeLost", { stake, buyer, provider })];
  if (ruling.amount > 0n) return [ruled, stakeReturned(call)];
  return [ruled, say("stakeReturnedWithBond", { stake, buyer, provider })];
}

function stakeReturned({ agreement }: Call): Sentence {
  return say("stakeReturned", { stake: agreement.stake, buyer: agreement.buyer });
}

/** The chain's lane is at what the dispute paid or beyond. */
function paidSentence(call: Call, receipt: Receipt, paid: bigint): Sentence {
  const lane = laneRecord(call.claims.value(CONTRACT, "lanes", [call.agreementId, call.lane]));
  const reached = receipt.totalAmount - receipt.amount + paid;
  require(
    paid === 0n || (lane.seq >= receipt.seq && lane.amount >= reached),
    "claim_differs",
    "The chain's lane does not reach what was paid.",
  );
  return say("laneStands", { amount: lane.amount, seq: lane.seq });
}

// --- equivocation ---------------------------------------------------------------------------------

function checkEquivocation(call: Call): Sentence[] {
  const { claims, agreementId, lane, seq } = call;
  const { provider, buyer, providerKey } = call.agreement;
  const receipts = signed(call, UsageReceipt, providerKey, 2);
  const ordered = [...receipts].sort((one, other) => (toHex(one.hash) < toHex(other.hash) ? -1 : 1));
  const place = keccak256(concat(word(lane), word(seq)));
  const stored = claims.value(DISPUTES, "equivocations", [agreementId, place]);
  const flag = flagRecord(claims.value(DISPUTES, "flags", [provider]));
  const sentences = [
    ...ordered.map(({ values }) => receiptSentence(call, values)),
    say("receiptsDiffer"),
  ];
  if (stored === 0n) {
    claims.limits.push(say("equivocationUnknown"));
    return sentences;
  }
  if (flag.count === 0n) throw unreadable();
  return [
    ...sentences,
    say("equivocationProved", { taken: call.state.bondTaken, buyer }),
    say("providerFlagged", { provider, count: flag.count, block: claims.block(flag.firstAt) }),
  ];
}

// --- request, amount, revoked ---------------------------------------------------------------------

function buyersRequest(call: Call): Signed<Of<typeof UsageRequest>> {
  return signed(call, UsageRequest, call.agreement.buyerKey, 1)[0];
}

function checkRequest(call: Call): Sentence[] {
  const { claims } = call;
  const { buyer } = call.agreement;
  const receipt = signedReceipt(call).values;
  const request = buyersRequest(call);
  requireShown(!equal(receipt.request, request.hash));
  const { index, anchoredAt } = claims.inclusion(request);
  claims.limits.push(say("otherRequestUnknown", { buyer }));
  return [
    receiptSentence(call, receipt),
    say("requestLogged", { buyer, index, block: claims.block(anchoredAt) }),
  ];
}

function checkAmount(call: Call): Sentence[] {
  const { price, maxPerCall, buyer } = call.agreement;
  const receipt = signedReceipt(call).values;
  const { values: request, hash } = buyersRequest(call);
  require(
    equal(receipt.request, hash),
    "receipt_of_other",
    "The receipt answers another request.",
  );
  const { units, amount, totalUnits, totalAmount } = receipt;
  const found: Sentence[] = [];
  if (amount !== units * price) {
    found.push(say("priceDiffers", { price, units, cost: units * price }));
  }
  if (units > request.maxUnits || amount > request.maxAmount) {
    found.push(say("requestExceeded", { units: request.maxUnits, amount: request.maxAmount }));
  }
  if (amount > maxPerCall) found.push(say("callExceeded", { amount: maxPerCall }));
  const due = { units: request.acknowledgedUnits + units, amount: request.acknowledgedAmount + amount };
  const continues =
    due.units === totalUnits &&
    due.amount === totalAmount &&
    equal(request.previousReceipt, receipt.previousReceipt);
  if (!continues) found.push(say("totalsDiffer", { totalUnits, totalAmount, ...due }));
  requireShown(found.length > 0);
  return [receiptSentence(call, receipt), say("requestAnswered", { buyer }), ...found];
}

function checkRevoked(call: Call): Sentence[] {
  const { claims } = call;
  const { provider, providerKey, grantId } = call.agreement;
  const { receipt, hash } = signedOrClaimed(call);
  const { revokedAt } = grantRecord(claims.value("GrantRegistry", "grants", [grantId]));
  const found: Sentence[] = [];
  const view = Number(receipt.viewHeight);
  if (revokedAt > 0 && revokedAt <= view && receipt.outcome === SERVED) {
    found.push(
      say("viewedRevoked", { view: claims.block(view), block: claims.block(revokedAt) }),
    );
  }
  for (const { values, signer } of claims.statements(ReceiptVoid)) {
    require(
      signer === providerKey && equal(values.receipt, hash),
      "void_of_other",
      "A void names another receipt than the call's.",
    );
    found.push(say("receiptVoided", { provider, reason: values.reason }));
  }
  requireShown(found.length > 0);
  return [receiptSentence(call, receipt), ...found];
}

// --- answer ---------------------------------------------------------------------------------------

function checkAnswer(call: Call): Sentence[] {
  const claimed = claimedReceipt(call);
  const { hash, record } = claimed;
  const sealed = fromHex(call.subject.get("sealedAnswer"));
  const secret = fromHex(call.subject.get("contestSecret"));
  if (sealed === null || secret?.length !== 32) throw malformedSubject();
  require(
    record.answeredAt > 0 && equal(sha256(sealed), record.sealedAnswer),
    "sealed_answer_differs",
    "The chain has the SHA-256 of another sealed answer.",
  );
  require(
    equal(publicKeyOf(secret), record.contestKey),
    "contest_key_differs",
    "The key is not that of the contest.",
  );
  const answer = open(sealed, secret, concat(utf8(SEAL_INFO), hash));
  if (answer === null) return [...claimSentences(call, claimed), say("answerUnreadable")];
  requireShown(!isCommitted(answer, claimed.receipt.responseCommitment));
  return [...claimSentences(call, claimed), say("answerDiffers")];
}

/** Whether an answer's content and salt open a receipt's commitment. */
function isCommitted(answer: Bytes, committed: Bytes): boolean {
  let value: Json;
  try {
    value = readJson(answer, MAX_ANSWER_BYTES);
  } catch {
    return false;
  }
  if (!(value instanceof Map)) return false;
  const salt = fromHex(value.get("salt"));
  const content = value.get("content");
  if (salt?.length !== 32 || content === undefined) return false;
  return equal(commitment(salt, RESPONSE_DOMAIN, canonical(content)), committed);
}

const CASES: ReadonlyMap<string, (call: Call) => Sentence[]> = new Map([
  ["claim", checkClaim],
  ["equivocation", checkEquivocation],
  ["request", checkRequest],
  ["amount", checkAmount],
  ["revoked", checkRevoked],
  ["answer", checkAnswer],
]);
