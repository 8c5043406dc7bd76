/**
 * Verify a bundle from its bytes against a trust file, in the order of docs/verification.md. Pure:
 * no network, no clock, no storage.
 */
import { equal, type Bytes } from "./bytes.ts";
import { checkKeys, checkStorage, readHeaders } from "./chain_state.ts";
import { Claims, type Profile } from "./claims.ts";
import { commitment } from "./crypto.ts";
import { requireSignedInTime } from "./ended_keys.ts";
import { readBytes, readFields, readForm, readStruct, type Bundle } from "./form.ts";
import { canonical, MAX_VALUES, readCanonical, type Json } from "./json.ts";
import { checkLog } from "./logs.ts";
import { quoted } from "./printable.ts";
import { inconsistent, Kind, malformed, Refusal } from "./refusal.ts";
import { say, type Sentence } from "./sentences.ts";
import { checkStatements } from "./signatures.ts";
import { STRUCTS } from "./statements.ts";
import { readTrust, untrusted, type Trust } from "./trust.ts";

const MAX_BYTES = 64_000_000;

export interface Valid {
  valid: true;
  profile: string;
  /** The newest block that anything is proved under, and its time in Unix seconds. */
  height: number;
  time: number;
  proved: Sentence[];
  limits: Sentence[];
}

export interface Invalid {
  valid: false;
  code: string;
  exit: Kind;
  sentence: string;
}

export type Result = Valid | Invalid;
export type Profiles = ReadonlyMap<string, Profile>;

/** The verdict on a bundle; whatever a profile did not foresee is a refusal. */
export function verify(bundle: Bytes, trust: Bytes, profiles: Profiles, maxBytes = MAX_BYTES): Result {
  try {
    return check(bundle, readTrust(trust), profiles, maxBytes);
  } catch (error) {
    const refusal =
      error instanceof Refusal ? error : malformed("The bundle holds what cannot be read.");
    const { code, kind, sentence } = refusal;
    return { valid: false, code, exit: kind, sentence };
  }
}

function check(data: Bytes, trust: Trust, profiles: Profiles, maxBytes: number): Valid {
  const maxValues = MAX_VALUES * Math.max(1, Math.floor(maxBytes / MAX_BYTES));
  const bundle = readForm(readCanonical(data, maxBytes, maxValues));
  const profile = profiles.get(bundle.profile);
  if (!profile) {
    const sentence = `This program knows no proof profile called ${quoted(bundle.profile)}.`;
    throw new Refusal(Kind.MALFORMED, "profile_unknown", sentence);
  }
  requireChain(bundle.chain, trust);
  const claims = new Claims(trust);
  const unusedKeys = checkElements(bundle, claims);
  const proved = profile(claims, bundle.subject);
  claims.requireAllUsed();
  if (unusedKeys.length > 0) {
    throw inconsistent("element_unused", "The bundle carries a key that signed nothing in it.");
  }
  const height = claims.latestHeight;
  const time = claims.blocks.get(height)?.timestamp ?? 0;
  const limits = [say("noEarlierLook"), ...claims.limits];
  return { valid: true, profile: bundle.profile, height, time, proved, limits };
}

function requireChain(value: Json, trust: Trust): void {
  const chain: Json = new Map<string, Json>([
    ["chainId", trust.chainId],
    ["genesisHash", trust.genesisHash],
  ]);
  if (canonical(value) !== canonical(chain)) {
    throw untrusted("other_chain", "The bundle is of another chain than the trust file.");
  }
}

/** Check all sections; returns the fingerprints of keys that signed nothing. */
function checkElements({ sections }: Bundle, claims: Claims): string[] {
  const headers = readHeaders(sections.headers, claims.trust);
  claims.addHeaders(headers);
  const slots = checkStorage(sections.storage, headers, claims);
  const keys = checkKeys(sections.keys, slots, claims);
  const logKeys = new Set(sections.logs.map((log) => checkLog(log, slots, keys, claims)));
  const signingKeys = checkStatements(sections.statements, keys, claims);
  requireSignedInTime(keys, claims);
  for (const element of sections.structs) {
    const { type, message } = readFields(element, "type", "message");
    const struct = readStruct(type, message, STRUCTS);
    claims.structList.push({ ...struct, hash: struct.type.hash(struct.values) });
  }
  for (const element of sections.disclosures) checkDisclosure(element, claims);
  return [...keys.keys()].filter((key) => !logKeys.has(key) && !signingKeys.has(key));
}

function checkDisclosure(element: Json, claims: Claims): void {
  const fields = readFields(element, "commitment", "salt", "domain", "record");
  const committed = readBytes(fields.commitment, 32);
  const salt = readBytes(fields.salt, 32);
  const { domain, record } = fields;
  if (typeof domain !== "string") throw malformed("A disclosure in the bundle is malformed.");
  if (!equal(commitment(salt, domain, canonical(record)), committed)) {
    throw inconsistent("commitment_differs", "An opened record is not what was committed to.");
  }
  claims.opened.set(`${fields.commitment} ${domain}`, record);
}
