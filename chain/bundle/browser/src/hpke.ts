/**
 * Opens what was sealed with HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256
 * and ChaCha20-Poly1305, in one shot with sequence number 0 and no associated data.
 */
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { concat, utf8, type Bytes } from "./bytes.ts";
import { sha256 } from "./crypto.ts";

const KEM = Uint8Array.of(0x00, 0x20);
const SUITE_OF_KEM = concat(utf8("KEM"), KEM);
const SUITE = concat(utf8("HPKE"), KEM, Uint8Array.of(0x00, 0x01), Uint8Array.of(0x00, 0x03));
const EMPTY = new Uint8Array(0);
const MODE_BASE = Uint8Array.of(0);
const KEY_BYTES = 32;
const NONCE_BYTES = 12;

export function publicKeyOf(secret: Bytes): Bytes {
  return x25519.getPublicKey(secret);
}

/** The plaintext of `enc ‖ ciphertext`, or null if it does not open with this key and info. */
export function open(sealed: Bytes, secret: Bytes, info: Bytes): Bytes | null {
  if (sealed.length < KEY_BYTES) return null;
  const encapsulated = sealed.slice(0, KEY_BYTES);
  const shared = decapsulate(encapsulated, secret);
  if (shared === null) return null;
  const pskIdHash = labeledExtract(SUITE, EMPTY, "psk_id_hash", EMPTY);
  const infoHash = labeledExtract(SUITE, EMPTY, "info_hash", info);
  const context = concat(MODE_BASE, pskIdHash, infoHash);
  const schedule = labeledExtract(SUITE, shared, "secret", EMPTY);
  const key = labeledExpand(SUITE, schedule, "key", context, KEY_BYTES);
  const nonce = labeledExpand(SUITE, schedule, "base_nonce", context, NONCE_BYTES);
  try {
    return chacha20poly1305(key, nonce).decrypt(sealed.slice(KEY_BYTES));
  } catch {
    return null; // shorter than a tag, or a tag that does not fit
  }
}

function decapsulate(encapsulated: Bytes, secret: Bytes): Bytes | null {
  let exchanged: Bytes;
  try {
    exchanged = x25519.getSharedSecret(secret, encapsulated);
  } catch {
    return null; // a point of low order
  }
  const context = concat(encapsulated, publicKeyOf(secret));
  const pseudoRandom = labeledExtract(SUITE_OF_KEM, EMPTY, "eae_prk", exchanged);
  return labeledExpand(SUITE_OF_KEM, pseudoRandom, "shared_secret", context, KEY_BYTES);
}

function labeledExtract(suite: Bytes, salt: Bytes, label: string, input: Bytes): Bytes {
  return extract(sha256, concat(utf8("HPKE-v1"), suite, utf8(label), input), salt);
}

function labeledExpand(
  suite: Bytes,
  pseudoRandom: Bytes,
  label: string,
  info: Bytes,
  length: number,
): Bytes {
  const labeled = concat(Uint8Array.of(0, length), utf8("HPKE-v1"), suite, utf8(label), info);
  return expand(sha256, pseudoRandom, labeled, length);
}
