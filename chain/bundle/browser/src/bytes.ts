/** Byte strings: hexadecimal, comparison, integers of any size. */

export type Bytes = Uint8Array;

const encoder = new TextEncoder();

export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

export function toHex(data: Bytes): string {
  let text = "0x";
  for (const byte of data) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** The bytes of lowercase `0x` hexadecimal, or null. */
export function fromHex(text: unknown): Bytes | null {
  if (typeof text !== "string" || !/^0x(?:[0-9a-f]{2})*$/.test(text)) return null;
  const data = new Uint8Array(text.length / 2 - 1);
  for (let at = 0; at < data.length; at++) {
    data[at] = parseInt(text.slice(2 * at + 2, 2 * at + 4), 16);
  }
  return data;
}

export function isAddress(text: unknown): text is string {
  return typeof text === "string" && /^0x[0-9a-f]{40}$/.test(text);
}

export function concat(...parts: Bytes[]): Bytes {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export function equal(one: Bytes, other: Bytes): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** A big-endian integer. */
export function toInteger(data: Bytes): bigint {
  return data.length ? BigInt(toHex(data)) : 0n;
}

/** A non-negative integer below 2^256 as 32 bytes, big-endian. */
export function word(value: bigint): Bytes {
  return fromHex("0x" + value.toString(16).padStart(64, "0"))!;
}

export function padLeft(data: Bytes): Bytes {
  return concat(new Uint8Array(32 - data.length), data);
}

export function padRight(data: Bytes): Bytes {
  return concat(data, new Uint8Array(32 - data.length));
}
