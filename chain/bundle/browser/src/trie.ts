/** Merkle Patricia trie proofs of a contract's storage (yellow paper, appendix D). */
import { equal, fromHex, type Bytes } from "./bytes.ts";
import { keccak256 } from "./crypto.ts";
import { Kind, Refusal } from "./refusal.ts";
import * as rlp from "./rlp.ts";

const KAIA_CONTRACT = 0x02;
const EMPTY_TRIE = rlp.encode(new Uint8Array());
const EMPTY_ROOT = keccak256(EMPTY_TRIE);

/** The storage root of a contract's account under a state root. */
export function storageRoot(stateRoot: Bytes, address: string, proof: Bytes[]): Bytes {
  const leaf = walk(stateRoot, keccak256(fromHex(address)!), proof);
  if (leaf === null) throw wrong("The chain's state has no such contract.");
  try {
    // Kaia: 0x02, then [[nonce, balance, humanReadable, key], storageRoot, codeHash, codeInfo].
    const isKaia = leaf[0] === KAIA_CONTRACT;
    const fields = rlp.decodeList(isKaia ? leaf.slice(1) : leaf);
    return rlp.asBytes(fields[isKaia ? 1 : 2], 32);
  } catch {
    throw wrong("The account under a storage proof is no contract.");
  }
}

/** The value of a slot under a storage root; 0 when its absence is proved. */
export function storageValue(root: Bytes, slot: Bytes, proof: Bytes[]): bigint {
  // Engines show an empty trie by no node, or by its one empty node.
  const showsNothing = proof.length === 0 || (proof.length === 1 && equal(proof[0], EMPTY_TRIE));
  if (equal(root, EMPTY_ROOT) && showsNothing) return 0n;
  const leaf = walk(root, keccak256(slot), proof);
  return leaf === null ? 0n : rlp.asInteger(rlp.decode(leaf));
}

/** Follow a key through the proof's nodes; the leaf's value, or null if the path ends before. */
function walk(root: Bytes, key: Bytes, proof: Bytes[]): Bytes | null {
  const nibbles = nibblesOf(key);
  let expected: rlp.Item = root;
  let at = 0;
  let used = 0;
  const ended = (value: Bytes | null) => {
    if (used !== proof.length) throw wrong("A storage proof carries nodes it does not need.");
    return value;
  };
  for (;;) {
    let node: rlp.Item[];
    if (rlp.isBytes(expected)) {
      if (expected.length === 0) return ended(null);
      if (used >= proof.length || !equal(keccak256(proof[used]), expected)) {
        throw wrong("A node of a storage proof does not hash to its parent's reference.");
      }
      node = rlp.decodeList(proof[used++]);
    } else {
      node = expected;
    }
    if (node.length === 17) {
      if (at === nibbles.length) throw wrong("A storage proof ends inside the trie.");
      expected = node[nibbles[at++]];
      continue;
    }
    if (node.length !== 2) throw wrong("A storage proof holds a node of no known kind.");
    const { path, isLeaf } = readPath(rlp.asBytes(node[0]));
    if (path.some((nibble, place) => nibbles[at + place] !== nibble)) return ended(null);
    at += path.length;
    if (isLeaf) {
      if (at !== nibbles.length) throw wrong("A storage proof's leaf is at the wrong depth.");
      ended(null);
      return rlp.asBytes(node[1]);
    }
    expected = node[1];
  }
}

/** Hex-prefix decoding. */
function readPath(encoded: Bytes): { path: number[]; isLeaf: boolean } {
  const [flag, ...rest] = nibblesOf(encoded);
  if (flag === undefined || flag > 3 || (flag % 2 === 0 && rest[0] !== 0)) {
    throw wrong("A storage proof's node has a malformed path.");
  }
  return { path: flag % 2 ? rest : rest.slice(1), isLeaf: flag >= 2 };
}

function nibblesOf(data: Bytes): number[] {
  return [...data].flatMap((byte) => [byte >> 4, byte & 15]);
}

function wrong(sentence: string): Refusal {
  return new Refusal(Kind.ANCHOR, "proof_wrong", sentence);
}
