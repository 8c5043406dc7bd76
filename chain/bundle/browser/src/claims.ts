/**
 * What was verified of a bundle, and how a proof profile reads it. Reading an element marks it as
 * used; an element that nothing reads refuses the bundle.
 */
import { equal, padRight, toHex, toInteger, utf8, word, type Bytes } from "./bytes.ts";
import { keccak256 } from "./crypto.ts";
import type { Fields, StructType, Values } from "./eip712.ts";
import type { Header } from "./headers.ts";
import type { Json, JsonObject } from "./json.ts";
import { inconsistent, Kind, Refusal } from "./refusal.ts";
import { say, time, type Sentence } from "./sentences.ts";
import type { AnyStruct, Of, SubjectKeyCertificate } from "./statements.ts";
import type { Trust } from "./trust.ts";

export type Certificate = Of<typeof SubjectKeyCertificate>;

/** A statement whose signature holds. */
export interface Signed<V> {
  type: AnyStruct;
  values: V;
  message: Json;
  hash: Bytes;
  digest: string;
  signer: string;
  /** The member whose key it is; empty for a certified subject's key. */
  member: string;
  purpose: number | null;
  certificate: Certificate | null;
}

export interface LogInclusion {
  member: string;
  index: number;
  digest: string;
  kind: string;
  anchoredAt: number;
}

export type Key = Bytes | string | number | bigint;
export type Profile = (claims: Claims, subject: JsonObject) => Sentence[];

/** The storage slot of `variable[key]…`, `offset` slots into a struct. Text is a member's code. */
export function storageSlot(base: bigint, keys: readonly Key[], offset = 0): Bytes {
  let slot = word(base);
  for (const key of keys) {
    const padded =
      typeof key === "string"
        ? padRight(utf8(key))
        : key instanceof Uint8Array
          ? padRight(key)
          : word(BigInt(key));
    const joined = new Uint8Array(64);
    joined.set(padded);
    joined.set(slot, 32);
    slot = keccak256(joined);
  }
  return offset ? word(BigInt.asUintN(256, toInteger(slot) + BigInt(offset))) : slot;
}

/** What was verified so far, by its position. */
export class Claims {
  readonly blocks = new Map<number, Header>();
  private heights: number[] = [];
  readonly statementList: Signed<Values<Fields>>[] = [];
  readonly structList: { type: AnyStruct; values: Values<Fields>; hash: Bytes }[] = [];
  /** By address, slot and height. */
  readonly storage = new Map<string, bigint>();
  /** Address and slot of what is proved at any height. */
  readonly provedSlots = new Set<string>();
  /** By digest and member. */
  readonly inclusions = new Map<string, LogInclusion>();
  /** By commitment and domain. */
  readonly opened = new Map<string, Json>();
  readonly used = new Set<string>();
  readonly limits: Sentence[] = [];

  constructor(readonly trust: Trust) {}

  /** Set the bundle's headers; two blocks of one height refuse it. */
  addHeaders(headers: readonly Header[]): void {
    for (const header of headers) {
      const other = this.blocks.get(header.number);
      if (other && !equal(other.hash, header.hash)) {
        const sentence = `The bundle carries two final blocks ${header.number} that differ.`;
        throw inconsistent("chain_forked", sentence);
      }
      if (!other) this.blocks.set(header.number, header);
    }
    this.heights = [...this.blocks.keys()].sort((one, other) => one - other);
  }

  get latestHeight(): number {
    return this.heights.at(-1) ?? 0;
  }

  statements<F extends Fields>(type: StructType<F>): Signed<Values<F>>[] {
    this.used.add(`statement ${type.name}`);
    const found = this.statementList.filter((signed) => signed.type.name === type.name);
    return found as unknown as Signed<Values<F>>[];
  }

  statement<F extends Fields>(type: StructType<F>): Signed<Values<F>> {
    return only(this.statements(type), type.name);
  }

  structs<F extends Fields>(type: StructType<F>): { values: Values<F>; hash: Bytes }[] {
    this.used.add(`struct ${type.name}`);
    const found = this.structList.filter((struct) => struct.type.name === type.name);
    return found as unknown as { values: Values<F>; hash: Bytes }[];
  }

  struct<F extends Fields>(type: StructType<F>): { values: Values<F>; hash: Bytes } {
    return only(this.structs(type), type.name);
  }

  /** The value of `contract.variable[key]…` at the bundle's newest height. */
  value(contract: string, variable: string, keys: readonly Key[] = [], offset = 0): bigint {
    const slot = storageSlot(this.trust.slot(contract, variable), keys, offset);
    const place = `${this.trust.contract(contract)} ${toHex(slot)}`;
    const position = `${place} ${this.latestHeight}`;
    const found = this.storage.get(position);
    if (found === undefined) {
      const what = `what ${contract} keeps in ${variable}`;
      if (this.provedSlots.has(place)) throw provedAtOlderBlock(what);
      const sentence = `The bundle does not prove ${what}.`;
      throw new Refusal(Kind.ANCHOR, "state_not_proved", sentence);
    }
    this.used.add(`slot ${position}`);
    return found;
  }

  /** Whether a stored value is this hash. */
  stores(hash: Bytes, contract: string, variable: string, keys: readonly Key[]): boolean {
    return this.value(contract, variable, keys) === toInteger(hash);
  }

  /** A statement's entry in its signer's anchored log. */
  inclusion(signed: Signed<unknown>): LogInclusion {
    const position = `${signed.digest} ${signed.member}`;
    const found = this.inclusions.get(position);
    if (!found) {
      const sentence = `The ${signed.type.name} is not in its signer's anchored log.`;
      throw new Refusal(Kind.INCLUSION, "not_logged", sentence);
    }
    this.used.add(`entry ${position}`);
    return found;
  }

  /** A statement's entry in the anchored log of the first of these members whose log shows it. */
  inclusionOf(signed: Signed<unknown>, members: readonly string[]): LogInclusion {
    const positions = members.map((member) => `${signed.digest} ${member}`);
    const position = positions.find((one) => this.inclusions.has(one));
    if (position === undefined) {
      const sentence = `The ${signed.type.name} is in no party's anchored log.`;
      throw new Refusal(Kind.INCLUSION, "not_logged", sentence);
    }
    this.used.add(`entry ${position}`);
    return this.inclusions.get(position)!;
  }

  isLogged(signed: Signed<unknown>): boolean {
    return this.inclusions.has(`${signed.digest} ${signed.member}`);
  }

  /** The commitments of a domain that the bundle opens. */
  commitments(domain: string): string[] {
    return [...this.opened.keys()]
      .filter((position) => position.slice(67) === domain)
      .map((position) => position.slice(0, 66));
  }

  isOpened(commitment: Bytes, domain: string): boolean {
    return this.opened.has(`${toHex(commitment)} ${domain}`);
  }

  /** The record that opens a commitment. */
  disclosed(commitment: Bytes, domain: string): Json {
    const position = `${toHex(commitment)} ${domain}`;
    const found = this.opened.get(position);
    if (found === undefined) {
      const sentence = "The bundle does not open a commitment that its profile needs.";
      throw inconsistent("not_disclosed", sentence);
    }
    this.used.add(`disclosure ${position}`);
    return found;
  }

  /** A block with its time; the next header's is a bound for a block whose header is not there. */
  block(height: number): Sentence {
    const own = this.blocks.get(height);
    if (own) return say("blockAt", { height, time: time(own.timestamp) });
    const following = this.heights.find((other) => other >= height);
    if (following === undefined) return say("block", { height });
    return say("blockBy", { height, time: time(this.blocks.get(following)!.timestamp) });
  }

  /** Refuse a statement that names another block than the bundle's header of that height. */
  requireBlock(height: number, hash: Bytes): void {
    const found = this.blocks.get(height);
    if (found && !equal(found.hash, hash)) {
      const sentence = `A statement names another block ${height} than the chain has.`;
      throw inconsistent("block_differs", sentence);
    }
  }

  requireAllUsed(): void {
    const held = [
      ...this.statementList.map(({ type }) => `statement ${type.name}`),
      ...this.structList.map(({ type }) => `struct ${type.name}`),
      ...[...this.storage.keys()].map((position) => `slot ${position}`),
      ...[...this.inclusions.keys()].map((position) => `entry ${position}`),
      ...[...this.opened.keys()].map((position) => `disclosure ${position}`),
    ];
    if (held.some((element) => !this.used.has(element))) {
      throw inconsistent("element_unused", "The bundle carries something its proof profile does not need.");
    }
  }
}

function only<T>(found: readonly T[], name: string): T {
  if (found.length !== 1) {
    const sentence = `The proof profile needs exactly one ${name}; there are ${found.length}.`;
    throw inconsistent("profile_incomplete", sentence);
  }
  return found[0];
}

export function provedAtOlderBlock(what: string): Refusal {
  const sentence = `The bundle proves ${what} under an older header than its newest.`;
  return inconsistent("state_at_two_heights", sentence);
}
