/** Hashes and signatures. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { concat, equal, toHex, toInteger, utf8, type Bytes } from "./bytes.ts";
import { Kind, Refusal } from "./refusal.ts";

export { sha256 };

export function keccak256(data: Bytes): Bytes {
  return keccak_256(data);
}

export function hmacSha256(key: Bytes, message: Bytes): Bytes {
  return hmac(sha256, key, message);
}

const HALF_ORDER = secp256k1.Point.Fn.ORDER / 2n;

/** The address that signed a digest; the signature is r, s, v with v 27 or 28 and a low s. */
export function recover(digest: Bytes, signature: Bytes): string {
  if (signature.length !== 65 || (signature[64] !== 27 && signature[64] !== 28)) {
    throw malformedSignature("A signature is not 65 bytes ending in 27 or 28.");
  }
  if (toInteger(signature.slice(32, 64)) > HALF_ORDER) {
    throw malformedSignature("A signature has a high s value.");
  }
  try {
    const parsed = secp256k1.Signature.fromBytes(signature.slice(0, 64), "compact");
    const key = parsed.addRecoveryBit(signature[64] - 27).recoverPublicKey(digest);
    return toHex(keccak256(key.toBytes(false).slice(1)).slice(12));
  } catch {
    throw malformedSignature("A signature does not recover to any key.");
  }
}

function malformedSignature(sentence: string): Refusal {
  return new Refusal(Kind.SIGNATURE, "signature_malformed", sentence);
}

/**
 * Ed25519 (RFC 8032, 5.1.7) by its second form, [S]B = R + [k]A without cofactor, compared by
 * bytes: the form that OpenSSL checks. Two forms would differ on keys of small order.
 */
export function ed25519Holds(key: Bytes, signature: Bytes, message: Bytes): boolean {
  if (key.length !== 32 || signature.length !== 64) return false;
  const r = signature.slice(0, 32);
  const s = toInteger(signature.slice(32).reverse());
  const { Point } = ed25519;
  const order = Point.Fn.ORDER;
  if (s >= order) return false;
  try {
    const a = Point.fromBytes(key, true);
    const k = toInteger(sha512(concat(r, key, message)).reverse()) % order;
    const base = s === 0n ? Point.ZERO : Point.BASE.multiplyUnsafe(s);
    const product = k === 0n ? Point.ZERO : a.multiplyUnsafe(k);
    return equal(base.subtract(product).toBytes(), r);
  } catch {
    return false;
  }
}

/** HMAC-SHA-256(salt, domain ‖ 0x00 ‖ canonical record). */
export function commitment(salt: Bytes, domain: string, canonicalRecord: string): Bytes {
  return hmacSha256(salt, utf8(`${domain}\0${canonicalRecord}`));
}
