/** What a trade's and a lane's bundle have in common: agreement, grant, and the lane's statements. */
import { equal, type Bytes } from "../bytes.ts";
import type { Claims, LogInclusion, Signed } from "../claims.ts";
import type { Fields, StructType, Values } from "../eip712.ts";
import type { JsonObject } from "../json.ts";
import {
  agreementRecord,
  grantLiveAt,
  grantRecord,
  type AgreementRecord,
  type GrantRecord,
} from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import {
  Agreement,
  FinalSettlement,
  GrantTerms,
  Purpose,
  ReceiptVoid,
  UsageReceipt,
  UsageRequest,
  Voucher,
  type Of,
} from "../statements.ts";
import { SERVED } from "./lane_rules.ts";
import { readLaneSubject } from "./subject.ts";

export const CONTRACT = "TradeSettlement";
/** Blocks from a receipt's view to the anchor that shows it, with the revocation in between. */
const MAX_VIEW_LAG = 900;
/** Kind of the entry of a receipt in the log of the buyer that took it. */
const RECEIVED_RECEIPT = "ReceivedReceipt";

type Receipt = Signed<Of<typeof UsageReceipt>>;
type Request = Signed<Of<typeof UsageRequest>>;

export interface Trade {
  claims: Claims;
  agreementId: Bytes;
  lane: bigint;
  seq: bigint;
  agreement: Of<typeof Agreement>;
  terms: Of<typeof GrantTerms>;
  grant: GrantRecord;
  state: AgreementRecord;
  receipts: ReadonlyMap<bigint, Receipt>;
  requests: ReadonlyMap<bigint, Request>;
  voids: Of<typeof ReceiptVoid>[];
  vouchers: Of<typeof Voucher>[];
  sentences: Sentence[];
}

export function readTrade(claims: Claims, subject: JsonObject, withSeq: boolean): Trade {
  const about = readLaneSubject(subject, withSeq);
  if (about === null) {
    const sentence = "The bundle does not say which agreement, lane and position it is about.";
    throw inconsistent("subject_malformed", sentence);
  }
  const both = claims.statements(Agreement);
  const agreement = requireBothSigned(both, about.agreementId);
  require(about.lane < agreement.lanes, "wrong_lane", "The agreement has no such lane.");
  const terms = requireGrant(claims, agreement);
  const grant = grantRecord(claims.value("GrantRegistry", "grants", [agreement.grantId]));
  require(grant.approvedAt > 0, "grant_not_approved", "The chain shows no approval of the grant.");
  const state = requireOpened(claims, agreement, about.agreementId);
  const logged = loggedSentence(claims, agreement, both[0], "agreement");
  const receipts = ofLane(claims, UsageReceipt, about, agreement.providerKey);
  const receiptsBySeq = bySeq(receipts, "Two receipts name one position.");
  const requests = ofLane(claims, UsageRequest, about, agreement.buyerKey);
  const requestsBySeq = bySeq(requests, "Two requests name one position.");
  const voids = ofLane(claims, ReceiptVoid, about, agreement.providerKey);
  const vouchers = ofLane(claims, Voucher, about, agreement.buyerKey);
  const opened = say("agreementSigned", {
    provider: agreement.provider,
    buyer: agreement.buyer,
    purpose: agreement.purpose,
    price: agreement.price,
    block: claims.block(state.openedAt),
  });
  return {
    ...about,
    claims,
    agreement,
    terms,
    grant,
    state,
    receipts: receiptsBySeq,
    requests: requestsBySeq,
    voids: voids.map((signed) => signed.values),
    vouchers: vouchers.map((signed) => signed.values),
    sentences: [opened, logged, ...finalTotals(claims, agreement, about.agreementId, state)],
  };
}

/** The agreement, signed by both of its pinned keys, which are the parties' statement keys. */
function requireBothSigned(
  both: Signed<Of<typeof Agreement>>[],
  agreementId: Bytes,
): Of<typeof Agreement> {
  require(
    both.length === 2 && both.every((signed) => equal(signed.hash, agreementId)),
    "agreement_differs",
    "The bundle does not hold the agreement twice, once signed by each side.",
  );
  const agreement = both[0].values;
  const sides = [
    [agreement.provider, agreement.providerKey],
    [agreement.buyer, agreement.buyerKey],
  ];
  for (const [member, key] of sides) {
    const found = both.find((signed) => signed.signer === key);
    require(
      found?.member === member && found.purpose === Purpose.STATEMENT,
      "wrong_signer",
      `The agreement is not signed by ${member}'s statement key.`,
    );
  }
  return agreement;
}

function requireGrant(claims: Claims, agreement: Of<typeof Agreement>): Of<typeof GrantTerms> {
  const { values: terms, hash } = claims.struct(GrantTerms);
  require(equal(hash, agreement.grantId), "other_grant", "The agreement names another grant.");
  require(
    terms.owner === agreement.provider &&
      terms.grantee === agreement.buyer &&
      equal(terms.assetId, agreement.assetId) &&
      terms.assetVersion === agreement.assetVersion &&
      terms.purpose === agreement.purpose,
    "grant_mismatch",
    "Parties, asset version or purpose are not those of the grant.",
  );
  return terms;
}

function requireOpened(
  claims: Claims,
  agreement: Of<typeof Agreement>,
  agreementId: Bytes,
): AgreementRecord {
  const value = (offset: number) => claims.value(CONTRACT, "agreements", [agreementId], offset);
  const state = agreementRecord(value(0), value(1), value(2));
  require(
    state.openedAt > 0 && state.opened === agreement.cap,
    "agreement_not_open",
    "The chain does not show the agreement as opened with its cap.",
  );
  return state;
}

interface LaneFields extends Fields {
  agreementId: typeof UsageReceipt.fields.agreementId;
  lane: typeof UsageReceipt.fields.lane;
  seq: typeof UsageReceipt.fields.seq;
}

/** The statements of a type; the bundle may hold none of another trade or signer. */
function ofLane<F extends LaneFields>(
  claims: Claims,
  type: StructType<F>,
  about: { agreementId: Bytes; lane: bigint },
  key: string,
): Signed<Values<F>>[] {
  const found = claims.statements(type);
  for (const { values, signer } of found) {
    const { agreementId, lane } = values as Values<LaneFields>;
    require(
      equal(agreementId, about.agreementId) && lane === about.lane,
      "of_another_trade",
      "A statement is of another agreement or lane.",
    );
    require(
      signer === key,
      "wrong_signer",
      "A statement is not signed by the key the agreement pins.",
    );
  }
  return found;
}

function bySeq<V extends { seq: bigint }>(
  statements: Signed<V>[],
  repeated: string,
): ReadonlyMap<bigint, Signed<V>> {
  const found = new Map(statements.map((signed) => [signed.values.seq, signed]));
  require(found.size === statements.length, "position_twice", repeated);
  return found;
}

/** The final totals, if the bundle holds them: signed by both, logged, and what the chain took. */
function finalTotals(
  claims: Claims,
  agreement: Of<typeof Agreement>,
  agreementId: Bytes,
  state: AgreementRecord,
): Sentence[] {
  const signed = claims.statements(FinalSettlement);
  if (signed.length === 0) return [];
  const { values: totals, hash } = signed[0];
  const signers = new Set(signed.map((one) => one.signer));
  const keys = new Set([agreement.providerKey, agreement.buyerKey]);
  require(
    signed.length === 2 &&
      signed.every((one) => equal(one.hash, hash)) &&
      signers.size === keys.size &&
      [...keys].every((key) => signers.has(key)),
    "final_settlement_differs",
    "The bundle does not hold the final totals twice, once signed by each side.",
  );
  require(
    equal(totals.agreementId, agreementId),
    "of_another_trade",
    "The final totals are of another agreement.",
  );
  require(
    claims.stores(hash, CONTRACT, "finalSettlements", [agreementId]) && state.closedAt > 0,
    "final_settlement_differs",
    "The chain did not close the agreement by these final totals.",
  );
  const { units, amount } = totals;
  return [
    say("finalTotals", { units, amount, block: claims.block(state.closedAt) }),
    loggedSentence(claims, agreement, signed[0], "finalSettlement"),
  ];
}

/** Where a party's log shows a statement. */
export function loggedSentence(
  claims: Claims,
  agreement: Of<typeof Agreement>,
  signed: Signed<unknown>,
  what: "agreement" | "receipt" | "finalSettlement",
): Sentence {
  const { index, member, anchoredAt } = partyInclusion(claims, agreement, signed);
  return say("logged", { what: say(what), index, member, block: claims.block(anchoredAt) });
}

/**
 * The statement's entry in the provider's log, or else in the buyer's, under its own kind; the
 * buyer's log has the receipts that it took under a kind of theirs.
 */
export function partyInclusion(
  claims: Claims,
  { provider, buyer }: Of<typeof Agreement>,
  signed: Signed<unknown>,
): LogInclusion {
  const found = claims.inclusionOf(signed, [provider, buyer]);
  const received = signed.type.name === UsageReceipt.name && found.member === buyer;
  require(
    found.kind === (received ? RECEIVED_RECEIPT : signed.type.name),
    "log_kind_differs",
    `The log calls the ${signed.type.name} something else.`,
  );
  return found;
}

/**
 * The receipt is logged, on a view not younger than its anchor. What was served was served in the
 * periods of grant, agreement and request, while the grant was live and the agreement open.
 */
export function requireTimely(trade: Trade, seq: bigint): void {
  const { claims, grant } = trade;
  const signed = trade.receipts.get(seq)!;
  const receipt = signed.values;
  const { anchoredAt } = partyInclusion(claims, trade.agreement, signed);
  const view = Number(receipt.viewHeight);
  claims.requireBlock(view, receipt.viewBlock);
  require(
    view <= anchoredAt,
    "view_ahead",
    "The receipt names a view of the chain that is younger than its own anchor.",
  );
  if (receipt.outcome !== SERVED) return;
  require(
    grantLiveAt(grant, view),
    "served_without_grant",
    "The call was served on a view in which the grant was not live.",
  );
  requireOpen(trade, receipt, view);
  const revokedBetween = grant.revokedAt > 0 && grant.revokedAt <= anchoredAt;
  require(
    !(revokedBetween && anchoredAt - view > MAX_VIEW_LAG),
    "served_before_revocation_not_shown",
    `The log shows the receipt of position ${seq} long after its view, and after the revocation.`,
  );
}

function requireOpen(trade: Trade, receipt: Of<typeof UsageReceipt>, view: number): void {
  const { agreement, state, terms } = trade;
  const ends = [state.noticeAt, state.closedAt].filter((height) => height > 0);
  require(
    view >= state.openedAt && ends.every((height) => view < height),
    "served_while_closed",
    "The call was served on a view in which the agreement was not open, or was in notice.",
  );
  const { expiry } = trade.requests.get(receipt.seq)!.values;
  const at = receipt.issuedAt;
  require(
    at >= agreement.startsAt &&
      at >= terms.notBefore &&
      at <= agreement.endsAt &&
      at <= terms.notAfter &&
      at <= expiry,
    "served_outside_period",
    "The call was served at a time that agreement, grant or request do not cover.",
  );
  const unitsFit = agreement.maxUnits === 0n || receipt.totalUnits <= agreement.maxUnits;
  require(
    receipt.totalAmount <= agreement.cap && unitsFit,
    "cap_reached",
    "The lane's totals are beyond the agreement's cap.",
  );
}

/** When the served calls were served, as far as it is proved, and the late ones among the limits. */
export function viewSentences(trade: Trade, seqs: Iterable<bigint>): Sentence[] {
  const { claims, grant } = trade;
  const receipts = [...seqs].map((seq) => trade.receipts.get(seq)!);
  const served = receipts.filter((signed) => signed.values.outcome === SERVED);
  if (served.length === 0) return [];
  const views = served.map((signed) => Number(signed.values.viewHeight));
  const first = views.reduce((one, other) => Math.min(one, other));
  const last = views.reduce((one, other) => Math.max(one, other));
  const anchors = served.map(
    (signed) => partyInclusion(claims, trade.agreement, signed).anchoredAt,
  );
  const shownBy = anchors.reduce((one, other) => Math.max(one, other));
  const range =
    first === last
      ? say("oneView", { block: claims.block(first) })
      : say("twoViews", { first: claims.block(first), last: claims.block(last) });
  const sentences = [say("servedOn", { views: range, block: claims.block(shownBy) })];
  if (!grant.revokedAt) return sentences;
  sentences.push(say("revokedAfter", { block: claims.block(grant.revokedAt) }));
  const late = served
    .filter((_, at) => anchors[at] >= grant.revokedAt)
    .map((signed) => signed.values.seq);
  if (late.length > 0) claims.limits.push(say("loggedAfterRevocation", { positions: positionsOf(late) }));
  return sentences;
}

function positionsOf(seqs: bigint[]): Sentence {
  if (seqs.length === 1) return say("onePosition", { seq: seqs[0] });
  return say("manyPositions", { count: seqs.length, first: seqs[0], last: seqs.at(-1)! });
}

/** The agreement's amounts. */
export function closingSentence(claims: Claims, state: AgreementRecord): Sentence {
  const { opened, paid, refunded, locked, closedAt } = state;
  require(
    refunded + paid <= opened && (closedAt === 0 || locked === 0n),
    "payout_differs",
    "The agreement's books do not add up.",
  );
  if (!closedAt) return say("stillOpen", { opened, paid, locked });
  return say("closed", { opened, paid, refunded, block: claims.block(closedAt) });
}
