/** The contracts' packed records, each one storage value, from the least significant bit. */
import { word } from "./bytes.ts";
import { Kind, Refusal } from "./refusal.ts";

function bits(value: bigint, from: number, count: number): bigint {
  return BigInt.asUintN(count, value >> BigInt(from));
}

/** The 48-bit height of index `index`. */
function height(value: bigint, index: number): number {
  return Number(bits(value, 48 * index, 48));
}

/** Text of bytes18 in the bits from 112 on. */
function memberAt112(value: bigint): string {
  const digits = bits(value, 112, 144).toString(16).padStart(36, "0");
  const codes = digits.match(/../g)!.map((pair) => parseInt(pair, 16));
  while (codes.at(-1) === 0) codes.pop();
  return codes.map((code) => (code < 128 ? String.fromCharCode(code) : "\ufffd")).join("");
}

function since(at: number, now: number): boolean {
  return at !== 0 && at <= now;
}

export function keyRecord(value: bigint) {
  return {
    endHeight: height(value, 1),
    purpose: Number(bits(value, 96, 8)),
    algorithm: Number(bits(value, 104, 8)),
    member: memberAt112(value),
  };
}
export type KeyRecord = ReturnType<typeof keyRecord>;

export function memberRecord(value: bigint) {
  return {
    admittedAt: height(value, 0),
    suspendedAt: height(value, 1),
    liftedAt: height(value, 2),
    removedAt: height(value, 3),
    roles: bits(value, 192, 16),
    /** The first block that the record covers. */
    validFrom: Number(bits(value, 208, 48)),
  };
}
export type MemberRecord = ReturnType<typeof memberRecord>;

/** Whether a member was active in a block. */
export function memberLiveAt(record: MemberRecord, block: number): boolean {
  if (!since(record.admittedAt, block)) return false;
  if (block < record.validFrom) {
    const sentence = `The record covers blocks from ${record.validFrom} on.`;
    throw new Refusal(Kind.ANCHOR, "height_not_covered", sentence);
  }
  const suspended = record.suspendedAt > record.liftedAt;
  const held = since(record.suspendedAt, block) && (suspended || block < record.liftedAt);
  return !since(record.removedAt, block) && !held;
}

export function grantRecord(value: bigint) {
  return {
    requestedAt: height(value, 0),
    approvedAt: height(value, 1),
    refusedAt: height(value, 2),
    revokedAt: height(value, 3),
  };
}
export type GrantRecord = ReturnType<typeof grantRecord>;

export function grantLiveAt(record: GrantRecord, block: number): boolean {
  return since(record.approvedAt, block) && !since(record.revokedAt, block);
}

export function consentRecord(value: bigint) {
  return {
    recordedAt: height(value, 0),
    withdrawnAt: height(value, 1),
    authority: "0x" + bits(value, 96, 160).toString(16).padStart(40, "0"),
  };
}

export function disputeRecord(value: bigint) {
  return {
    openedAt: height(value, 0),
    answeredAt: height(value, 1),
    upheld: bits(value, 96, 8) !== 0n,
    department: memberAt112(value),
  };
}
export type DisputeRecord = ReturnType<typeof disputeRecord>;

export function dealRecord(value: bigint) {
  return {
    openedAt: height(value, 0),
    registeredAt: height(value, 1),
    expiredAt: height(value, 2),
    stepsMask: Number(bits(value, 144, 8)),
  };
}
export type DealRecord = ReturnType<typeof dealRecord>;

export function logRecord(value: bigint) {
  return { size: bits(value, 0, 64), anchoredAt: Number(bits(value, 64, 48)) };
}

/** An agreement's three values: sums in fen, the provider's bond, then heights. */
export function agreementRecord(sums: bigint, security: bigint, heights: bigint) {
  const opened = bits(sums, 0, 64);
  const paid = bits(sums, 64, 64);
  const refunded = bits(sums, 128, 64);
  return {
    opened,
    paid,
    refunded,
    acknowledged: sums >> 192n,
    locked: opened - paid - refunded,
    bondHeld: bits(security, 64, 64),
    bondTaken: bits(security, 128, 64),
    pending: bits(security, 192, 64),
    openedAt: height(heights, 0),
    noticeAt: height(heights, 1),
    closedAt: height(heights, 3),
  };
}
export type AgreementRecord = ReturnType<typeof agreementRecord>;

export function laneRecord(value: bigint) {
  return { amount: bits(value, 0, 128), units: bits(value, 128, 64), seq: value >> 192n };
}
export type LaneRecord = ReturnType<typeof laneRecord>;

/** A dispute over a receipt: heights of its steps, reason and outcome, and what was said in it. */
export function tradeDisputeRecord(heights: bigint, key: bigint, answer: bigint, ruling: bigint) {
  return {
    claimedAt: height(heights, 0),
    contestedAt: height(heights, 1),
    answeredAt: height(heights, 2),
    endedAt: height(heights, 3),
    reason: Number(bits(heights, 192, 8)),
    outcome: Number(bits(heights, 200, 8)),
    contestKey: word(key),
    sealedAnswer: word(answer),
    /** Zero if there is none. */
    ruling,
  };
}
export type TradeDisputeRecord = ReturnType<typeof tradeDisputeRecord>;

/** A provider's proved equivocations. */
export function flagRecord(value: bigint) {
  return { firstAt: height(value, 0), count: value >> 96n };
}
