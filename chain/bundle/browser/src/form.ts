/** The form of a bundle: its sections, its limits, and readers of single values. */
import { fromHex, type Bytes } from "./bytes.ts";
import type { Fields, Values } from "./eip712.ts";
import { canonical, type Json, type JsonObject } from "./json.ts";
import { Kind, malformed, Refusal } from "./refusal.ts";
import type { AnyStruct } from "./statements.ts";

const FORMAT = "qiaolian-bundle/1";
const MAX_ELEMENTS = 200_000;

export const SECTIONS = [
  "headers",
  "storage",
  "keys",
  "statements",
  "structs",
  "logs",
  "disclosures",
] as const;

export interface Bundle {
  profile: string;
  subject: JsonObject;
  chain: Json;
  sections: Record<(typeof SECTIONS)[number], Json[]>;
}

export function readForm(value: Json): Bundle {
  if (!(value instanceof Map) || value.get("format") !== FORMAT) {
    throw malformed("This is not a bundle of a known format.");
  }
  requireSections(value);
  const profile = value.get("story")!;
  const subject = value.get("subject")!;
  if (typeof profile !== "string" || !(subject instanceof Map)) {
    throw malformed("The bundle names no proof profile, or no subject.");
  }
  if (!SECTIONS.every((name) => Array.isArray(value.get(name)))) {
    throw malformed("A section of the bundle is not a list.");
  }
  const sections = Object.fromEntries(
    SECTIONS.map((name) => [name, value.get(name)]),
  ) as Bundle["sections"];
  const lists = Object.values(sections);
  if (lists.reduce((sum, elements) => sum + elements.length, 0) > MAX_ELEMENTS) {
    throw malformed("The bundle has too many elements.");
  }
  if (lists.some((elements) => new Set(elements.map(canonical)).size < elements.length)) {
    throw malformed("The bundle says something twice.");
  }
  return { profile, subject, chain: value.get("chain")!, sections };
}

function requireSections(value: JsonObject): void {
  const names = ["format", "story", "subject", "chain", ...SECTIONS];
  if (value.size !== names.length || !names.every((name) => value.has(name))) {
    throw malformed("The bundle does not have exactly the sections of its format.");
  }
}

/** The values of an object with exactly these members. */
export function readFields<N extends string>(value: Json, ...names: N[]): Record<N, Json> {
  if (!(value instanceof Map) || value.size !== names.length || !names.every((n) => value.has(n))) {
    throw malformed("An element of the bundle does not have exactly the fields of its kind.");
  }
  return Object.fromEntries(names.map((name) => [name, value.get(name)])) as Record<N, Json>;
}

export function readList(value: Json): Json[] {
  if (!Array.isArray(value)) {
    throw malformed("An element of the bundle is not a list where one belongs.");
  }
  return value;
}

export function readBytes(value: Json, length?: number): Bytes {
  const data = fromHex(value);
  if (data === null || (length !== undefined && data.length !== length)) {
    throw malformed("Bytes in the bundle are not lowercase 0x hexadecimal of their length.");
  }
  return data;
}

export function isCount(value: Json): value is number {
  return typeof value === "number" && value >= 0;
}

/** The element that an index in the bundle refers to. */
export function readReference<T>(index: Json, elements: readonly T[]): T {
  if (!isCount(index) || index >= elements.length) {
    throw malformed("An element of the bundle refers to one that is not there.");
  }
  return elements[index];
}

export interface ReadStruct {
  type: AnyStruct;
  values: Values<Fields>;
  /** The JSON form as the bundle has it. */
  message: Json;
}

/** The struct of an element with `type` and `message`. */
export function readStruct(
  type: Json,
  message: Json,
  types: ReadonlyMap<string, AnyStruct>,
): ReadStruct {
  const found = typeof type === "string" ? types.get(type) : undefined;
  if (!found) throw malformed("The bundle carries a statement of an unknown type.");
  const values = found.read(message);
  if (!found.versions.includes(values.version)) {
    const sentence = `A ${found.name} is of version ${values.version}, which is not known.`;
    throw new Refusal(Kind.MALFORMED, "wrong_version", sentence);
  }
  return { type: found, values, message };
}
