/** The trust file: what the verifier itself holds true. It never comes out of a bundle. */
import { fromHex, isAddress, type Bytes } from "./bytes.ts";
import { readJson, type Json, type JsonObject } from "./json.ts";
import { Kind, Refusal } from "./refusal.ts";

const FORMAT = "qiaolian-trust/1";
const MAX_BYTES = 1_000_000;

interface ValidatorSet {
  from: number;
  /** Null until further notice. */
  to: number | null;
  validators: ReadonlySet<string>;
}

export class Trust {
  constructor(
    readonly chainId: number,
    readonly genesisHash: string,
    private readonly sets: readonly ValidatorSet[],
    readonly contracts: ReadonlyMap<string, string>,
    private readonly storage: ReadonlyMap<string, ReadonlyMap<string, number>>,
    readonly witnesses: ReadonlyMap<string, Bytes>,
    readonly requiredWitnesses: number,
  ) {}

  /** The validators that seal a height. */
  validatorsAt(height: number): ReadonlySet<string> {
    const found = this.sets.find(
      (set) => set.from <= height && (set.to === null || height <= set.to),
    );
    if (!found) {
      throw untrusted("trust_no_validators", `It names no validators for block ${height}.`);
    }
    return found.validators;
  }

  contract(name: string): string {
    const found = this.contracts.get(name);
    if (found === undefined) {
      throw untrusted("trust_no_contract", `The trust file does not name the contract ${name}.`);
    }
    return found;
  }

  /** The storage slot of a contract's variable. */
  slot(contract: string, variable: string): bigint {
    const found = this.storage.get(contract)?.get(variable);
    if (found === undefined) {
      const sentence = `The trust file names no storage slot of ${contract}.${variable}.`;
      throw untrusted("trust_no_slot", sentence);
    }
    return BigInt(found);
  }
}

/** Read a trust file strictly: every fault of it has one code. */
export function readTrust(data: Bytes): Trust {
  try {
    return parse(readJson(data, MAX_BYTES));
  } catch {
    throw untrusted("trust_malformed", "The trust file is not of the expected form.");
  }
}

export function untrusted(code: string, sentence: string): Refusal {
  return new Refusal(Kind.TRUST, code, sentence);
}

function parse(json: Json): Trust {
  const value = object(json, [
    "format",
    "chainId",
    "genesisHash",
    "validatorSets",
    "contracts",
    "storage",
    "witnesses",
    "requiredWitnesses",
  ]);
  check(value.get("format") === FORMAT);
  const sets = list(value.get("validatorSets")!).map(validatorSet);
  check(sets.length > 0 && areApart(sets));
  return new Trust(
    count(value.get("chainId")!),
    hash(value.get("genesisHash")!),
    sets,
    values(value.get("contracts")!, address),
    values(value.get("storage")!, (slots) => values(slots, count)),
    values(value.get("witnesses")!, (key) => fromHex(hash(key))!),
    count(value.get("requiredWitnesses")!),
  );
}

function validatorSet(json: Json): ValidatorSet {
  const value = object(json, ["fromHeight", "toHeight", "validators"]);
  const from = count(value.get("fromHeight")!);
  const end = value.get("toHeight")!;
  const to = end === null ? null : count(end);
  const validators = list(value.get("validators")!).map(address);
  const unique = new Set(validators);
  check((to === null || from <= to) && unique.size === validators.length && unique.size > 0);
  return { from, to, validators: unique };
}

/** No height has two sets. */
function areApart(sets: readonly ValidatorSet[]): boolean {
  const ordered = [...sets].sort((one, other) => one.from - other.from);
  return ordered.slice(1).every((set, at) => {
    const end = ordered[at].to;
    return end !== null && end < set.from;
  });
}

function check(condition: boolean): void {
  if (!condition) throw new TypeError("trust file");
}

function object(value: Json, names: string[]): JsonObject {
  const found = anyObject(value);
  check(found.size === names.length && names.every((name) => found.has(name)));
  return found;
}

function anyObject(value: Json): JsonObject {
  if (!(value instanceof Map)) throw new TypeError("trust file");
  return value;
}

function values<T>(value: Json, read: (item: Json) => T): ReadonlyMap<string, T> {
  return new Map([...anyObject(value)].map(([name, item]) => [name, read(item)]));
}

function list(value: Json): Json[] {
  if (!Array.isArray(value)) throw new TypeError("trust file");
  return value;
}

function count(value: Json): number {
  if (typeof value !== "number" || value < 0) throw new TypeError("trust file");
  return value;
}

function hash(value: Json): string {
  if (typeof value !== "string" || !/^0x[0-9a-f]{64}$/.test(value)) throw new TypeError("trust file");
  return value;
}

function address(value: Json): string {
  if (!isAddress(value)) throw new TypeError("trust file");
  return value;
}
