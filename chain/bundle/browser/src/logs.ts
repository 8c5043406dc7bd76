/** A member's log: its checkpoint, witnesses and anchor, and the inclusion of each entry. */
import { toHex, toInteger, utf8, type Bytes } from "./bytes.ts";
import { isSlotOf, type ProvedSlot } from "./chain_state.ts";
import { verifyCheckpoint, type SignedCheckpoint } from "./checkpoint.ts";
import type { Claims } from "./claims.ts";
import { keccak256 } from "./crypto.ts";
import { isCount, readBytes, readFields, readList, readReference } from "./form.ts";
import { canonical, type Json } from "./json.ts";
import { requireIncluded } from "./merkle.ts";
import { logRecord, type KeyRecord } from "./records.ts";
import { inconsistent, Kind, malformed, Refusal } from "./refusal.ts";
import { say } from "./sentences.ts";
import { Purpose } from "./statements.ts";

interface Log {
  member: string;
  origin: string;
  key: Bytes;
  note: string;
  size: ProvedSlot;
  root: ProvedSlot;
}

/** Check one log and record its entries; returns the fingerprint of the log's key. */
export function checkLog(
  element: Json,
  slots: ProvedSlot[],
  keys: ReadonlyMap<string, KeyRecord>,
  claims: Claims,
): string {
  const names = ["member", "incarnation", "key", "note", "size", "root", "entries"] as const;
  const fields = readFields(element, ...names);
  const { member, incarnation, note } = fields;
  const key = readBytes(fields.key, 32);
  if (typeof member !== "string" || !isCount(incarnation) || typeof note !== "string") {
    throw malformed("A log in the bundle is malformed.");
  }
  const record = keys.get(toHex(key));
  if (!record || record.member !== member || record.purpose !== Purpose.LOG) {
    throw signatureFault("log_key_unknown", "A log's key is not shown to be its member's.");
  }
  const origin = `qiaolian/${member}/${incarnation}`;
  const head = verifyCheckpoint(note, key, claims.trust.witnesses);
  if (head.origin !== origin) {
    throw inconsistent("log_origin_wrong", "A checkpoint is of another log.");
  }
  requireWitnesses(head, member, claims);
  const size = readReference(fields.size, slots);
  const root = readReference(fields.root, slots);
  const anchoredAt = requireAnchored({ member, origin, key, note, size, root }, head, claims);
  if (record.endHeight && anchoredAt >= record.endHeight) {
    throw signatureFault("key_ended", "A log's key had ended before its checkpoint was anchored.");
  }
  const entries = readList(fields.entries);
  for (const entry of entries) checkEntry(entry, member, head, anchoredAt, claims);
  if (entries.length === 0) {
    throw inconsistent("element_unused", "The bundle carries a log without an entry.");
  }
  return toHex(key);
}

function requireWitnesses(head: SignedCheckpoint, member: string, claims: Claims): void {
  if (head.witnesses.size < claims.trust.requiredWitnesses) {
    const sentence = "A checkpoint carries too few witnesses' signatures for the trust file.";
    throw signatureFault("witness_missing", sentence);
  }
  if (head.ignored) {
    const key = head.ignored > 1 ? "ignoredSignatures" : "ignoredSignature";
    claims.limits.push(say(key, { member, count: head.ignored }));
  }
}

/** The anchor's height: EvidenceLog's state must show exactly this size and root. */
function requireAnchored(log: Log, head: SignedCheckpoint, claims: Claims): number {
  const id = keccak256(utf8(log.origin));
  for (const [proved, variable] of [[log.size, "logs"], [log.root, "roots"]] as const) {
    if (!isSlotOf(proved, claims.trust, "EvidenceLog", variable, id)) {
      throw anchorFault("anchor_not_proved", "A log's anchor is not shown from the chain.");
    }
    claims.used.add(proved.element);
  }
  if (log.size.height !== log.root.height) {
    const sentence = "A log's size and root are not shown of one block.";
    throw anchorFault("anchor_not_proved", sentence);
  }
  const record = logRecord(log.size.value);
  if (record.size !== head.size || log.root.value !== toInteger(head.root)) {
    const sentence = "The chain anchors another head of the log than the checkpoint's.";
    throw anchorFault("anchor_differs", sentence);
  }
  return record.anchoredAt;
}

function checkEntry(
  element: Json,
  member: string,
  head: SignedCheckpoint,
  anchoredAt: number,
  claims: Claims,
): void {
  const fields = readFields(element, "index", "leaf", "path");
  const { index, leaf } = fields;
  const names = ["at", "digest", "kind"];
  if (
    !(leaf instanceof Map) ||
    leaf.size !== names.length ||
    !names.every((name) => leaf.has(name)) ||
    typeof index !== "number" ||
    !isCount(leaf.get("at")!)
  ) {
    throw malformed("A log entry in the bundle is malformed.");
  }
  const kind = leaf.get("kind")!;
  if (typeof kind !== "string") throw malformed("A log entry in the bundle is malformed.");
  const digest = toHex(readBytes(leaf.get("digest")!, 32));
  const path = readList(fields.path).map((node) => readBytes(node, 32));
  requireIncluded(utf8(canonical(leaf)), BigInt(index), head.size, head.root, path);
  const position = `${digest} ${member}`;
  if (claims.inclusions.has(position)) {
    const sentence = "The bundle shows one digest at two positions of a member's logs.";
    throw inconsistent("element_twice", sentence);
  }
  claims.inclusions.set(position, { member, index, digest, kind, anchoredAt });
}

function signatureFault(code: string, sentence: string): Refusal {
  return new Refusal(Kind.SIGNATURE, code, sentence);
}

function anchorFault(code: string, sentence: string): Refusal {
  return new Refusal(Kind.ANCHOR, code, sentence);
}
