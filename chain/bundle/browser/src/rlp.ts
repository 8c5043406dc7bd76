/** Recursive Length Prefix, strict: one encoding for each value (yellow paper, appendix B). */
import { concat, toInteger, type Bytes } from "./bytes.ts";
import { Kind, Refusal } from "./refusal.ts";

export type Item = Bytes | Item[];

const MAX_DEPTH = 16;

export function isBytes(item: Item): item is Bytes {
  return item instanceof Uint8Array;
}

export function encode(item: Item): Bytes {
  if (isBytes(item)) {
    return item.length === 1 && item[0] < 0x80 ? item : concat(prefix(item.length, 0x80), item);
  }
  const body = concat(...item.map(encode));
  return concat(prefix(body.length, 0xc0), body);
}

function prefix(length: number, offset: number): Bytes {
  if (length < 56) return Uint8Array.of(offset + length);
  const size: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) size.unshift(rest % 256);
  return Uint8Array.of(offset + 55 + size.length, ...size);
}

/** The one item that the bytes encode. */
export function decode(data: Bytes): Item {
  const [item, end] = decodeAt(data, 0, data.length, 0);
  if (end !== data.length) throw bad();
  return item;
}

export function decodeList(data: Bytes): Item[] {
  const item = decode(data);
  if (isBytes(item)) throw bad();
  return item;
}

export function asBytes(item: Item, length?: number): Bytes {
  if (!isBytes(item) || (length !== undefined && item.length !== length)) throw bad();
  return item;
}

/** An integer without leading zeros. */
export function asInteger(item: Item): bigint {
  const data = asBytes(item);
  if (data[0] === 0) throw bad();
  return toInteger(data);
}

/** The item that starts at `at`, and where it ends; `limit` is the end of the list around it. */
function decodeAt(data: Bytes, at: number, limit: number, depth: number): [Item, number] {
  if (at >= limit || depth > MAX_DEPTH) throw bad();
  const first = data[at];
  if (first < 0x80) return [data.slice(at, at + 1), at + 1];
  const isList = first >= 0xc0;
  const short = first - (isList ? 0xc0 : 0x80);
  let start = at + 1;
  let length = short;
  if (short >= 56) [start, length] = longLength(data, at + 1, short - 55);
  const end = start + length;
  if (end > limit) throw bad();
  if (!isList) {
    if (length === 1 && data[start] < 0x80) throw bad();
    return [data.slice(start, end), end];
  }
  const items: Item[] = [];
  while (start < end) {
    const [item, next] = decodeAt(data, start, end, depth + 1);
    items.push(item);
    start = next;
  }
  return [items, end];
}

function longLength(data: Bytes, at: number, size: number): [number, number] {
  const raw = data.slice(at, at + size);
  const length = Number(toInteger(raw));
  if (raw.length !== size || raw[0] === 0 || length < 56) throw bad();
  return [at + size, length];
}

function bad(): Refusal {
  const sentence = "A piece of chain data is not a canonical RLP encoding.";
  return new Refusal(Kind.MALFORMED, "rlp_malformed", sentence);
}
