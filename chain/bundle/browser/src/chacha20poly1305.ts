/**
 * ChaCha20-Poly1305 (RFC 8439), opening alone and without associated data. It protects no secret
 * here: whoever checks a bundle has the key. So it need not take constant time.
 */
import { concat, equal, type Bytes } from "./bytes.ts";

const TAG_BYTES = 16;
const BLOCK_BYTES = 64;
const CONSTANTS = [0x61707865, 0x3320646e, 0x79622d32, 0x6b206574];
const QUARTERS = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];

/** The plaintext of `ciphertext ‖ tag`, or null if the tag does not hold. */
export function openChaCha20Poly1305(key: Bytes, nonce: Bytes, sealed: Bytes): Bytes | null {
  if (sealed.length < TAG_BYTES) return null;
  const text = sealed.slice(0, sealed.length - TAG_BYTES);
  const oneTimeKey = block(key, nonce, 0).slice(0, 32);
  const tag = poly1305(oneTimeKey, authenticated(text));
  return equal(tag, sealed.slice(text.length)) ? keyed(key, nonce, text) : null;
}

/** The ciphertext padded to 16 bytes, then the lengths of associated data and ciphertext. */
function authenticated(text: Bytes): Bytes {
  const lengths = new DataView(new ArrayBuffer(16));
  lengths.setBigUint64(8, BigInt(text.length), true);
  const padding = new Uint8Array((16 - (text.length % 16)) % 16);
  return concat(text, padding, new Uint8Array(lengths.buffer));
}

function keyed(key: Bytes, nonce: Bytes, text: Bytes): Bytes {
  const out = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += BLOCK_BYTES) {
    const stream = block(key, nonce, at / BLOCK_BYTES + 1);
    for (let i = 0; i < BLOCK_BYTES && at + i < text.length; i++) out[at + i] = text[at + i] ^ stream[i];
  }
  return out;
}

function block(key: Bytes, nonce: Bytes, counter: number): Bytes {
  const initial = Uint32Array.of(...CONSTANTS, ...words(key), counter, ...words(nonce));
  const state = initial.slice();
  for (let round = 0; round < 10; round++) for (const [a, b, c, d] of QUARTERS) quarter(state, a, b, c, d);
  const out = new DataView(new ArrayBuffer(BLOCK_BYTES));
  state.forEach((value, at) => out.setUint32(4 * at, value + initial[at], true));
  return new Uint8Array(out.buffer);
}

function quarter(s: Uint32Array, a: number, b: number, c: number, d: number): void {
  s[a] += s[b];
  s[d] = rotated(s[d] ^ s[a], 16);
  s[c] += s[d];
  s[b] = rotated(s[b] ^ s[c], 12);
  s[a] += s[b];
  s[d] = rotated(s[d] ^ s[a], 8);
  s[c] += s[d];
  s[b] = rotated(s[b] ^ s[c], 7);
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function words(data: Bytes): number[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Array.from({ length: data.length / 4 }, (_, at) => view.getUint32(4 * at, true));
}

const PRIME = (1n << 130n) - 5n;
const CLAMP = 0x0ffffffc0ffffffc0ffffffc0fffffffn;

function poly1305(key: Bytes, message: Bytes): Bytes {
  const r = littleEndian(key.slice(0, 16)) & CLAMP;
  const s = littleEndian(key.slice(16, 32));
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    const part = concat(message.slice(at, at + 16), Uint8Array.of(1));
    sum = ((sum + littleEndian(part)) * r) % PRIME;
  }
  let tag = BigInt.asUintN(128, sum + s);
  return Uint8Array.from({ length: TAG_BYTES }, () => {
    const byte = Number(tag & 0xffn);
    tag >>= 8n;
    return byte;
  });
}

function littleEndian(data: Bytes): bigint {
  let value = 0n;
  for (let at = data.length - 1; at >= 0; at--) value = (value << 8n) | BigInt(data[at]);
  return value;
}
