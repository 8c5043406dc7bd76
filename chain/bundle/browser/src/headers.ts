/** Kaia block headers and their finality (Istanbul BFT seals). */
import { concat, type Bytes } from "./bytes.ts";
import { keccak256, recover } from "./crypto.ts";
import { Kind, Refusal } from "./refusal.ts";
import * as rlp from "./rlp.ts";

const FIELDS = 15;
const VANITY = 32;
const ROUND = 31;
const COMMIT = Uint8Array.of(2);
const EXTRA = 11;

export interface Header {
  hash: Bytes;
  stateRoot: Bytes;
  number: number;
  timestamp: number;
  seals: Bytes[];
}

/** Read a header from its RLP bytes; its hash leaves the seals out. */
export function parseHeader(raw: Bytes): Header {
  const fields = rlp.decodeList(raw);
  if (fields.length !== FIELDS) throw malformedHeader("does not have fifteen fields");
  const extra = rlp.asBytes(fields[EXTRA]);
  const istanbul = rlp.decodeList(extra.slice(VANITY));
  const [validators, proposerSeal, seals] = istanbul;
  if (istanbul.length !== 3 || rlp.isBytes(validators) || rlp.isBytes(seals)) {
    throw malformedHeader("does not carry Istanbul seals");
  }
  if (extra[ROUND] !== 0) throw malformedHeader("names a consensus round");
  const unsealed = [...fields];
  unsealed[EXTRA] = concat(extra.slice(0, VANITY), rlp.encode([validators, proposerSeal, []]));
  const header = {
    hash: keccak256(rlp.encode(unsealed)),
    stateRoot: rlp.asBytes(fields[2], 32),
    number: Number(rlp.asInteger(fields[7])),
    timestamp: Number(rlp.asInteger(fields[9])),
    seals: seals.map((seal) => rlp.asBytes(seal)),
  };
  rlp.asBytes(fields[0], 32);
  rlp.asBytes(fields[4], 32);
  rlp.asBytes(fields[5], 256);
  for (const validator of validators) rlp.asBytes(validator, 20);
  return header;
}

/** Check the seals against the validators of the header's height. */
export function requireFinal(header: Header, validators: ReadonlySet<string>): void {
  const message = keccak256(concat(header.hash, COMMIT));
  const sealers = new Set<string>();
  for (const seal of header.seals) {
    const signer = sealer(message, seal);
    if (signer === null) throw notFinal("seal_invalid", header, "carries an invalid seal");
    if (!validators.has(signer)) {
      throw notFinal("seal_foreign", header, "carries a seal of somebody who is no validator");
    }
    if (sealers.has(signer)) {
      throw notFinal("seal_duplicate", header, "carries one validator's seal twice");
    }
    sealers.add(signer);
  }
  const needed = validators.size < 4 ? validators.size : Math.ceil((2 * validators.size) / 3);
  if (sealers.size < needed) {
    const found = `has ${sealers.size} of the ${needed} seals that make it final`;
    throw notFinal("seal_missing", header, found);
  }
}

function sealer(message: Bytes, seal: Bytes): string | null {
  if (seal.length !== 65 || seal[64] > 1) return null;
  const signature = seal.slice();
  signature[64] += 27;
  try {
    return recover(message, signature);
  } catch {
    return null;
  }
}

function malformedHeader(what: string): Refusal {
  return new Refusal(Kind.MALFORMED, "header_malformed", `A block header ${what}.`);
}

function notFinal(code: string, header: Header, what: string): Refusal {
  return new Refusal(Kind.FINALITY, code, `Block ${header.number} ${what}.`);
}

