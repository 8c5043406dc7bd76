/**
 * EIP-712 structs: a type is a list of named codecs, which give its type string, the closed JSON
 * form of a value and its 32-byte words.
 */
import { concat, fromHex, isAddress, padLeft, padRight, utf8, word, type Bytes } from "./bytes.ts";
import { keccak256 } from "./crypto.ts";
import type { Json } from "./json.ts";
import { Kind, Refusal } from "./refusal.ts";

const MAX_ITEMS = 256;

export interface Codec<T> {
  solidity: string;
  /** The value of a JSON form. */
  read(value: Json): T;
  /** A value as its 32-byte word. */
  encode(value: T): Bytes;
  /** The struct that the type names. */
  struct?: StructType<Fields>;
}

export type Fields = Record<string, Codec<any>>;
export type Values<F extends Fields> = {
  [Name in keyof F]: F[Name] extends Codec<infer T> ? T : never;
};

/** A struct's type: its name and fields, and for a signed one the contract of its domain. */
export class StructType<F extends Fields> {
  private hashed?: Bytes;

  constructor(
    readonly name: string,
    readonly fields: F,
    readonly contract: string = "",
    readonly versions: readonly bigint[] = [1n],
  ) {}

  read(value: Json): Values<F> {
    const names = Object.keys(this.fields);
    if (!(value instanceof Map) || value.size !== names.length || !names.every((n) => value.has(n))) {
      throw malformedStatement(`A ${this.name} does not have exactly the fields of its type.`);
    }
    return Object.fromEntries(
      names.map((name) => [name, this.fields[name].read(value.get(name)!)]),
    ) as Values<F>;
  }

  /** This struct, then those it refers to in alphabetical order. */
  typeString(): string {
    const referred = new Map<string, StructType<Fields>>();
    collect(this, referred);
    const others = [...referred.keys()].sort().map((name) => definition(referred.get(name)!));
    return definition(this) + others.join("");
  }

  typeHash(): Bytes {
    return (this.hashed ??= keccak256(utf8(this.typeString())));
  }

  hash(values: Values<F>): Bytes {
    const names = Object.keys(this.fields);
    return keccak256(
      concat(this.typeHash(), ...names.map((name) => this.fields[name].encode(values[name]))),
    );
  }
}

function definition(type: StructType<any>): string {
  const members = Object.entries(type.fields as Fields);
  return `${type.name}(${members.map(([name, codec]) => `${codec.solidity} ${name}`).join(",")})`;
}

function collect(type: StructType<any>, found: Map<string, StructType<Fields>>): void {
  for (const { struct } of Object.values(type.fields as Fields)) {
    if (struct && !found.has(struct.name)) {
      found.set(struct.name, struct);
      collect(struct, found);
    }
  }
}

/** Up to 64 bits a JSON number below 2^53, wider a decimal string. */
function uint(bits: number): Codec<bigint> {
  const limit = 1n << BigInt(bits);
  return {
    solidity: `uint${bits}`,
    read(value) {
      const isNumber = bits <= 64 && typeof value === "number";
      const isText = bits > 64 && typeof value === "string" && /^(?:0|[1-9][0-9]{0,77})$/.test(value);
      const number = isNumber || isText ? BigInt(value) : -1n;
      if (number < 0n || number >= limit) {
        throw malformedStatement(`A uint${bits} is not a whole number of its range.`);
      }
      return number;
    },
    encode: word,
  };
}

/** Short text in bytesN, zero-padded on the right; the empty text is all zeros. */
function text(size: number, form: RegExp): Codec<string> {
  return {
    solidity: `bytes${size}`,
    read(value) {
      if (typeof value !== "string" || (value !== "" && !form.test(value))) {
        throw malformedStatement("A code or member id has the wrong form.");
      }
      return value;
    },
    encode: (value) => padRight(utf8(value)),
  };
}

export const uint8 = uint(8);
export const uint16 = uint(16);
export const uint32 = uint(32);
export const uint64 = uint(64);
export const uint128 = uint(128);
export const uint256 = uint(256);
export const code = text(32, /^[a-z0-9][a-z0-9._-]{0,30}$/);
export const member = text(18, /^[0-9A-Z]{18}$/);

export const bytes32: Codec<Bytes> = {
  solidity: "bytes32",
  read(value) {
    const data = fromHex(value);
    if (data?.length !== 32) throw malformedStatement("A bytes32 is not 32 bytes of hexadecimal.");
    return data;
  },
  encode: (value) => value,
};

export const address: Codec<string> = {
  solidity: "address",
  read(value) {
    if (!isAddress(value)) throw malformedStatement("An address is not lowercase 0x hexadecimal.");
    return value;
  },
  encode: (value) => padLeft(fromHex(value)!),
};

export const bool: Codec<boolean> = {
  solidity: "bool",
  read(value) {
    if (typeof value !== "boolean") throw malformedStatement("A bool is neither true nor false.");
    return value;
  },
  encode: (value) => word(value ? 1n : 0n),
};

export function nested<F extends Fields>(struct: StructType<F>): Codec<Values<F>> {
  return {
    solidity: struct.name,
    read: (value) => struct.read(value),
    encode: (value) => struct.hash(value),
    struct: struct as unknown as StructType<Fields>,
  };
}

export function array<T>(item: Codec<T>): Codec<T[]> {
  return {
    solidity: `${item.solidity}[]`,
    read(value) {
      if (!Array.isArray(value) || value.length > MAX_ITEMS) {
        throw malformedStatement(`An array is not a list of at most ${MAX_ITEMS} items.`);
      }
      return value.map((entry) => item.read(entry));
    },
    encode: (values) => keccak256(concat(...values.map((value) => item.encode(value)))),
    struct: item.struct,
  };
}

const DOMAIN_PREFIX = concat(
  keccak256(
    utf8("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
  ),
  keccak256(utf8("Qiaolian")),
  keccak256(utf8("1")),
);

/** What is signed: keccak256(0x1901 ‖ domain separator ‖ struct hash). */
export function digest(chainId: bigint, contract: string, structHash: Bytes): Bytes {
  const domain = concat(DOMAIN_PREFIX, word(chainId), padLeft(fromHex(contract)!));
  return keccak256(concat(Uint8Array.of(0x19, 0x01), keccak256(domain), structHash));
}

export function malformedStatement(sentence: string): Refusal {
  return new Refusal(Kind.MALFORMED, "statement_malformed", sentence);
}
