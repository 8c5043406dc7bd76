/**
 * RFC 8785 canonical JSON, and a strict reader: no duplicate keys, only whole numbers within
 * 2^53-1, no half surrogate pairs, bounded size, depth and number of values.
 */
import { equal, utf8, type Bytes } from "./bytes.ts";
import { Kind, Refusal } from "./refusal.ts";

export type JsonObject = Map<string, Json>;
export type Json = null | boolean | number | string | Json[] | JsonObject;

const MAX_DEPTH = 64;
export const MAX_VALUES = 1_500_000;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const ESCAPES: Record<string, string> = {
  '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t",
};

function refuse(code: string, sentence: string): never {
  throw new Refusal(Kind.MALFORMED, code, sentence);
}

/** Read JSON that must be exactly its own canonical bytes. */
export function readCanonical(data: Bytes, maxBytes: number, maxValues: number): Json {
  const value = readJson(data, maxBytes, maxValues);
  if (!equal(utf8(canonical(value)), data)) {
    refuse("json_not_canonical", "The JSON is not in its canonical form (RFC 8785).");
  }
  return value;
}

export function readJson(data: Bytes, maxBytes: number, maxValues = MAX_VALUES): Json {
  if (data.length > maxBytes) {
    refuse("json_too_large", `The JSON is larger than ${maxBytes} bytes.`);
  }
  let values = 0;
  for (const byte of data) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) values++;
  if (values > maxValues) {
    refuse("json_too_many_values", `The JSON has more than ${maxValues} values.`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    refuse("json_not_utf8", "The JSON is not UTF-8.");
  }
  requireDepth(text);
  return new Reader(text).whole();
}

/** The canonical text of a value; keys are sorted by UTF-16 code units. */
export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value instanceof Map) {
    const members = [...value.keys()].sort().map((key) => {
      return `${JSON.stringify(key)}:${canonical(value.get(key)!)}`;
    });
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(value);
}

/** Count brackets outside strings before anything is built. */
function requireDepth(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) {
        if (text.charCodeAt(at) === 0x5c) at++;
      }
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > MAX_DEPTH) {
        refuse("json_too_deep", `The JSON nests deeper than ${MAX_DEPTH} levels.`);
      }
    } else if (code === 0x5d || code === 0x7d) {
      depth--;
    }
  }
}

class Reader {
  private at = 0;
  private halfPair = false;

  constructor(private readonly text: string) {}

  whole(): Json {
    this.space();
    const value = this.value();
    this.space();
    if (this.at !== this.text.length) this.fail();
    if (this.halfPair) {
      refuse("json_not_unicode", "A JSON text holds half a surrogate pair.");
    }
    return value;
  }

  private fail(): never {
    refuse("json_malformed", `This is not JSON (character ${this.at + 1}).`);
  }

  private space(): void {
    while (this.at < this.text.length && " \t\n\r".includes(this.text[this.at])) this.at++;
  }

  private take(token: string): boolean {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  private value(): Json {
    if (this.take('"')) return this.string();
    if (this.take("{")) return this.object();
    if (this.take("[")) return this.array();
    if (this.take("null")) return null;
    if (this.take("true")) return true;
    if (this.take("false")) return false;
    if (this.take("NaN") || this.take("Infinity") || this.take("-Infinity")) this.refuseNumber();
    return this.number();
  }

  private object(): JsonObject {
    const value: JsonObject = new Map();
    let members = 0;
    this.space();
    if (this.take("}")) return value;
    do {
      this.space();
      if (!this.take('"')) this.fail();
      const key = this.string();
      this.space();
      if (!this.take(":")) this.fail();
      this.space();
      value.set(key, this.value());
      members++;
      this.space();
    } while (this.take(","));
    if (!this.take("}")) this.fail();
    if (value.size !== members) refuse("json_duplicate_key", "A JSON object has a key twice.");
    return value;
  }

  private array(): Json[] {
    const value: Json[] = [];
    this.space();
    if (this.take("]")) return value;
    do {
      this.space();
      value.push(this.value());
      this.space();
    } while (this.take(","));
    if (!this.take("]")) this.fail();
    return value;
  }

  /** The rest of a string after its opening quotation mark. */
  private string(): string {
    let value = "";
    let start = this.at;
    let escaped = false;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (!(code >= 0x20)) this.fail(); // a control character, or the end of the text
      if (code === 0x22) {
        value += this.text.slice(start, this.at++);
        if (escaped && LONE_SURROGATE.test(value)) this.halfPair = true;
        return value;
      }
      if (code === 0x5c) {
        value += this.text.slice(start, this.at++) + this.escape();
        start = this.at;
        escaped = true; // only an escape can write half a pair
      } else {
        this.at++;
      }
    }
  }

  private escape(): string {
    const letter = this.text[this.at++];
    if (letter !== "u") {
      const plain = ESCAPES[letter];
      if (plain === undefined) this.fail();
      return plain;
    }
    const digits = this.text.slice(this.at, this.at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail();
    this.at += 4;
    return String.fromCharCode(parseInt(digits, 16));
  }

  private number(): number {
    const match = /-?(?:0|[1-9][0-9]*)/y;
    match.lastIndex = this.at;
    const digits = match.exec(this.text)?.[0];
    if (digits === undefined) this.fail();
    this.at += digits.length;
    const rest = /\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+/y;
    rest.lastIndex = this.at;
    if (rest.test(this.text)) this.refuseNumber();
    const value = Number(digits);
    if (digits === "-0" || !Number.isSafeInteger(value)) this.refuseNumber();
    return value;
  }

  private refuseNumber(): never {
    refuse("json_number_out_of_range", "A JSON number is not a whole number within 2^53-1.");
  }
}
