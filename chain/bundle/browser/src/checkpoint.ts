/** Checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature). */
import { concat, equal, toInteger, utf8, type Bytes } from "./bytes.ts";
import { ed25519Holds, sha256 } from "./crypto.ts";
import { Kind, Refusal } from "./refusal.ts";

const LOG = 0x01;
const COSIGNATURE = 0x04;
const MAX_CHARACTERS = 65_536;
const MAX_SIGNATURES = 64;
const MARK = "— ";
// A key's name has no "+" and no white space of Unicode.
const NAME = /^[^+\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+$/;

export interface SignedCheckpoint {
  origin: string;
  size: bigint;
  root: Bytes;
  witnesses: ReadonlySet<string>;
  /** Signatures of unknown keys. */
  ignored: number;
}

interface SignatureLine {
  name: string;
  keyId: Bytes;
  signature: Bytes;
}

/** Read a note; check the log's signature and every cosignature of a known witness. */
export function verifyCheckpoint(
  note: string,
  logKey: Bytes,
  witnesses: ReadonlyMap<string, Bytes>,
): SignedCheckpoint {
  const [body, tail] = split(note);
  const head = parseBody(body);
  const lines = parseSignatures(tail);
  const logId = keyId(head.origin, LOG, logKey);
  const found = new Set<string>();
  let signedByLog = false;
  let ignored = 0;
  for (const line of lines) {
    const witnessKey = witnesses.get(line.name);
    if (line.name === head.origin && equal(line.keyId, logId)) {
      requireSignature(logKey, line.signature, utf8(body));
      signedByLog = true;
    } else if (witnessKey && equal(line.keyId, keyId(line.name, COSIGNATURE, witnessKey))) {
      requireCosignature(witnessKey, line.signature, body);
      found.add(line.name);
    } else {
      ignored++;
    }
  }
  if (!signedByLog) throw unsigned("A checkpoint is not signed by its log.");
  return { ...head, witnesses: found, ignored };
}

function split(note: string): [string, string] {
  const blank = note.lastIndexOf("\n\n");
  const tooLong = note.length > MAX_CHARACTERS && [...note].length > MAX_CHARACTERS;
  if (blank < 0 || tooLong || /[\x00-\x09\x0b-\x1f]/.test(note)) throw malformedNote();
  return [note.slice(0, blank) + "\n", note.slice(blank + 2)];
}

function parseBody(body: string): { origin: string; size: bigint; root: Bytes } {
  const lines = body.slice(0, -1).split("\n");
  const [origin, size, root] = lines;
  if (lines.length < 3 || lines.includes("") || !/^(?:0|[1-9][0-9]{0,15})$/.test(size)) {
    throw malformedNote();
  }
  const hash = fromBase64(root);
  if (hash.length !== 32) throw malformedNote();
  return { origin, size: BigInt(size), root: hash };
}

function parseSignatures(tail: string): SignatureLine[] {
  const lines = tail.split("\n");
  if (lines.pop() !== "" || lines.length === 0 || lines.length > MAX_SIGNATURES) {
    throw malformedNote();
  }
  return lines.map(parseLine);
}

function parseLine(line: string): SignatureLine {
  const space = line.indexOf(" ", MARK.length);
  if (!line.startsWith(MARK) || space < 0) throw malformedNote();
  const name = line.slice(MARK.length, space);
  const data = fromBase64(line.slice(space + 1));
  if (!NAME.test(name) || data.length < 5) throw malformedNote();
  return { name, keyId: data.slice(0, 4), signature: data.slice(4) };
}

/** Strict base64: the one encoding of its bytes. */
function fromBase64(text: string): Bytes {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw malformedNote();
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw malformedNote();
  }
  if (btoa(binary) !== text) throw malformedNote();
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** A cosignature is its time, 8 bytes, and a signature over that time and the note's text. */
function requireCosignature(key: Bytes, data: Bytes, body: string): void {
  const time = toInteger(data.slice(0, 8));
  if (data.length !== 72 || time >= 1n << 63n) {
    throw unsigned("A known witness' cosignature is not of its form.");
  }
  requireSignature(key, data.slice(8), utf8(`cosignature/v1\ntime ${time}\n${body}`));
}

function requireSignature(key: Bytes, signature: Bytes, message: Bytes): void {
  if (!ed25519Holds(key, signature, message)) {
    throw unsigned("A checkpoint's signature does not hold.");
  }
}

function keyId(name: string, kind: number, key: Bytes): Bytes {
  return sha256(concat(utf8(`${name}\n`), Uint8Array.of(kind), key)).slice(0, 4);
}

function unsigned(sentence: string): Refusal {
  return new Refusal(Kind.SIGNATURE, "checkpoint_signature", sentence);
}

function malformedNote(): Refusal {
  const sentence = "A checkpoint is not a signed note of the expected form.";
  return new Refusal(Kind.MALFORMED, "checkpoint_malformed", sentence);
}
