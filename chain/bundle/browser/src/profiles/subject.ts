/** A bundle's subject. */
import { fromHex, type Bytes } from "../bytes.ts";
import { isCount } from "../form.ts";
import type { JsonObject } from "../json.ts";

/** Whether the subject is exactly `{name: hash}`. */
export function isSubject(subject: JsonObject, name: string, hash: string): boolean {
  return subject.size === 1 && subject.get(name) === hash;
}

export interface LaneSubject {
  agreementId: Bytes;
  lane: bigint;
  /** Zero in a bundle of a whole lane. */
  seq: bigint;
}

/** `{agreementId, lane}`, with `seq` if wanted; null for another subject. */
export function readLaneSubject(subject: JsonObject, withSeq: boolean): LaneSubject | null {
  const names = withSeq ? ["agreementId", "lane", "seq"] : ["agreementId", "lane"];
  if (subject.size !== names.length || !names.every((name) => subject.has(name))) return null;
  const agreementId = fromHex(subject.get("agreementId"));
  const lane = subject.get("lane")!;
  const seq = withSeq ? subject.get("seq")! : 0;
  if (agreementId?.length !== 32 || !isCount(lane) || !isCount(seq)) return null;
  return { agreementId, lane: BigInt(lane), seq: BigInt(seq) };
}
