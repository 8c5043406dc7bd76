/**
 * Statements whose key has ended. One counts if an anchor from before the end shows it or names its
 * hash, or if a contract that takes such statements under live keys alone has taken it.
 */
import { toHex, type Bytes } from "./bytes.ts";
import { fingerprintOf } from "./chain_state.ts";
import type { Claims, LogInclusion, Signed } from "./claims.ts";
import { bytes32, type Fields, type Values } from "./eip712.ts";
import { leafHash, rootOf } from "./merkle.ts";
import { agreementRecord, type KeyRecord } from "./records.ts";
import { Kind, Refusal } from "./refusal.ts";
import { UsageReceipt } from "./statements.ts";

type AnySigned = Signed<Values<Fields>>;

export function requireSignedInTime(keys: ReadonlyMap<string, KeyRecord>, claims: Claims): void {
  if (![...keys.values()].some((key) => key.endHeight)) return;
  const entries = entriesByDigest(claims);
  const named = namedHashes(claims);
  for (const signed of claims.statementList) {
    const end = signed.member ? keys.get(fingerprintOf(signed.signer))!.endHeight : 0;
    if (!end) continue;
    const timely = (entries.get(signed.digest) ?? []).filter((entry) => entry.anchoredAt < end);
    const namedAt = named.get(toHex(signed.hash)) ?? end;
    if (timely.length === 0 && namedAt >= end && !isAccepted(signed, claims)) {
      const sentence =
        `The ${signed.type.name} is signed by a key that had ended before an anchor shows ` +
        "the statement.";
      throw new Refusal(Kind.SIGNATURE, "key_ended", sentence);
    }
    for (const entry of timely) claims.used.add(`entry ${entry.digest} ${entry.member}`);
  }
}

function entriesByDigest(claims: Claims): Map<string, LogInclusion[]> {
  const entries = new Map<string, LogInclusion[]>();
  for (const entry of claims.inclusions.values()) {
    entries.set(entry.digest, [...(entries.get(entry.digest) ?? []), entry]);
  }
  return entries;
}

/** The hashes that logged statements name, with the first block whose anchor shows it. */
function namedHashes(claims: Claims): Map<string, number> {
  const found = new Map<string, number>();
  const add = (hash: Bytes, height: number) => {
    const name = toHex(hash);
    found.set(name, Math.min(found.get(name) ?? height, height));
  };
  for (const signed of claims.statementList) {
    const entry = claims.inclusions.get(`${signed.digest} ${signed.member}`);
    if (!entry) continue;
    for (const [name, codec] of Object.entries(signed.type.fields)) {
      if (codec === bytes32) add(signed.values[name], entry.anchoredAt);
    }
  }
  // A credit query names the root over its receipts.
  const receipts = claims.statementList.filter((signed) => signed.type.name === UsageReceipt.name);
  const root = rootOf(receipts.map((receipt) => leafHash(receipt.hash)));
  const height = found.get(toHex(root));
  if (height !== undefined) for (const receipt of receipts) add(receipt.hash, height);
  return found;
}

function isAccepted(signed: AnySigned, claims: Claims): boolean {
  try {
    return ACCEPTED[signed.type.name]?.(signed, claims) ?? false;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

const ACCEPTED: Record<string, (signed: AnySigned, claims: Claims) => boolean> = {
  Agreement: ({ hash }, claims) => {
    const heights = claims.value("TradeSettlement", "agreements", [hash], 2);
    return agreementRecord(0n, 0n, heights).openedAt !== 0;
  },
  FinalSettlement: ({ hash, values }, claims) =>
    claims.stores(hash, "TradeSettlement", "finalSettlements", [values.agreementId]),
  DealStep: ({ hash, values }, claims) =>
    claims.stores(hash, "PropertyLedger", "steps", [values.dealId, values.step]),
  CreditRepair: ({ hash, values }, claims) =>
    claims.stores(hash, "CreditLedger", "repairs", [values.disputeId]),
};
