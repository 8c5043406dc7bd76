/** Append-only Merkle trees (RFC 9162, section 2). */
import { concat, equal, type Bytes } from "./bytes.ts";
import { sha256 } from "./crypto.ts";
import { Kind, Refusal } from "./refusal.ts";

export function leafHash(entry: Bytes): Bytes {
  return sha256(concat(Uint8Array.of(0), entry));
}

function nodeHash(left: Bytes, right: Bytes): Bytes {
  return sha256(concat(Uint8Array.of(1), left, right));
}

/** The root over leaf hashes (2.1.1). */
export function rootOf(leaves: Bytes[]): Bytes {
  if (leaves.length === 0) return sha256(new Uint8Array());
  if (leaves.length === 1) return leaves[0];
  let split = 1;
  while (2 * split < leaves.length) split *= 2;
  return nodeHash(rootOf(leaves.slice(0, split)), rootOf(leaves.slice(split)));
}

/** Refuse unless the entry is leaf `index` under `root` of a tree of `size` leaves (2.1.3.2). */
export function requireIncluded(
  entry: Bytes,
  index: bigint,
  size: bigint,
  root: Bytes,
  path: Bytes[],
): void {
  if (index < 0n || index >= size) throw notIncluded();
  let at = index;
  let last = size - 1n;
  let hash = leafHash(entry);
  for (const sibling of path) {
    if (last === 0n) throw notIncluded();
    if (at % 2n === 1n || at === last) {
      hash = nodeHash(sibling, hash);
      while (at % 2n === 0n && at !== 0n) {
        at >>= 1n;
        last >>= 1n;
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    at >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n || !equal(hash, root)) throw notIncluded();
}

function notIncluded(): Refusal {
  const sentence = "A log entry is not under the tree head it claims.";
  return new Refusal(Kind.INCLUSION, "not_included", sentence);
}
