/** Headers, the storage values proved under them, and the keys' records. */
import { isAddress, padLeft, fromHex, toHex, type Bytes } from "./bytes.ts";
import { provedAtOlderBlock, storageSlot, type Claims } from "./claims.ts";
import { readBytes, readFields, readList, readReference } from "./form.ts";
import { parseHeader, requireFinal, type Header } from "./headers.ts";
import type { Json } from "./json.ts";
import { keyRecord, type KeyRecord } from "./records.ts";
import { inconsistent, Kind, malformed, Refusal } from "./refusal.ts";
import { storageRoot, storageValue } from "./trie.ts";
import { untrusted, type Trust } from "./trust.ts";

export interface ProvedSlot {
  address: string;
  slot: Bytes;
  value: bigint;
  height: number;
  /** Its name among the claims' used elements. */
  element: string;
}

/** The headers, each sealed by the validators that the trust file names for its height. */
export function readHeaders(elements: Json[], trust: Trust): Header[] {
  return elements.map((element) => {
    const header = parseHeader(readBytes(element));
    requireFinal(header, trust.validatorsAt(header.number));
    return header;
  });
}

/** The storage values, each proved under its header; every header must prove one. */
export function checkStorage(elements: Json[], headers: Header[], claims: Claims): ProvedSlot[] {
  const used = new Set<Header>();
  const proved = elements.map((element) => {
    const fields = readFields(
      element,
      "header",
      "address",
      "slot",
      "value",
      "accountProof",
      "storageProof",
    );
    const header = readReference(fields.header, headers);
    used.add(header);
    return proveSlot(fields, header, claims);
  });
  if (used.size !== headers.length) {
    const sentence = "The bundle carries a block header nothing is proved under.";
    throw inconsistent("element_unused", sentence);
  }
  return proved;
}

type SlotFields = Record<"address" | "slot" | "value" | "accountProof" | "storageProof", Json>;

function proveSlot(fields: SlotFields, header: Header, claims: Claims): ProvedSlot {
  const { address, value } = fields;
  if (!isAddress(address)) throw malformed("An address in the bundle is malformed.");
  if (![...claims.trust.contracts.values()].includes(address)) {
    const sentence = "The bundle proves the state of a contract the trust file does not name.";
    throw untrusted("other_contract", sentence);
  }
  if (typeof value !== "string" || !/^0x(?:0|[1-9a-f][0-9a-f]{0,63})$/.test(value)) {
    throw malformed("A storage value in the bundle is malformed.");
  }
  const slot = readBytes(fields.slot, 32);
  const accountProof = readList(fields.accountProof).map((node) => readBytes(node));
  const storageProof = readList(fields.storageProof).map((node) => readBytes(node));
  const root = storageRoot(header.stateRoot, address, accountProof);
  const proved = storageValue(root, slot, storageProof);
  if (proved !== BigInt(value)) {
    const sentence = "A storage proof shows another value than the one given.";
    throw new Refusal(Kind.ANCHOR, "proof_wrong", sentence);
  }
  const place = `${address} ${toHex(slot)}`;
  const position = `${place} ${header.number}`;
  if (claims.storage.has(position)) {
    throw inconsistent("element_twice", "The bundle proves one storage slot twice.");
  }
  claims.storage.set(position, proved);
  claims.provedSlots.add(place);
  return { address, slot, value: proved, height: header.number, element: `slot ${position}` };
}

/** Whether a value is proved for `contract.variable[key]`. */
export function isSlotOf(
  proved: ProvedSlot,
  trust: Trust,
  contract: string,
  variable: string,
  key: Bytes,
): boolean {
  const slot = toHex(storageSlot(trust.slot(contract, variable), [key]));
  return proved.address === trust.contract(contract) && toHex(proved.slot) === slot;
}

/** Key records by fingerprint in hex, each proved at the bundle's newest height. */
export function checkKeys(
  elements: Json[],
  slots: ProvedSlot[],
  claims: Claims,
): Map<string, KeyRecord> {
  claims.trust.contract("MemberDirectory");
  claims.trust.slot("MemberDirectory", "keys");
  const found = new Map<string, KeyRecord>();
  for (const element of elements) {
    const fields = readFields(element, "fingerprint", "storage");
    const fingerprint = readBytes(fields.fingerprint, 32);
    const proved = readReference(fields.storage, slots);
    const isKey = isSlotOf(proved, claims.trust, "MemberDirectory", "keys", fingerprint);
    if (!isKey || proved.value === 0n) {
      const sentence = "The directory does not show a key that the bundle claims.";
      throw new Refusal(Kind.ANCHOR, "key_not_proved", sentence);
    }
    if (proved.height !== claims.latestHeight) throw provedAtOlderBlock("a key's record");
    claims.used.add(proved.element);
    found.set(toHex(fingerprint), keyRecord(proved.value));
  }
  return found;
}

/** The directory's fingerprint of a secp256k1 key: its address, left-padded to 32 bytes. */
export function fingerprintOf(address: string): string {
  return toHex(padLeft(fromHex(address)!));
}
