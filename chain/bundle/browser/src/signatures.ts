/** The signatures of a bundle's statements. */
import { toHex, type Bytes } from "./bytes.ts";
import { fingerprintOf } from "./chain_state.ts";
import type { Certificate, Claims, Signed } from "./claims.ts";
import { recover } from "./crypto.ts";
import { digest, type Fields, type Values } from "./eip712.ts";
import { readBytes, readFields, readStruct, type ReadStruct } from "./form.ts";
import { canonical, type Json } from "./json.ts";
import type { KeyRecord } from "./records.ts";
import { inconsistent, Kind, Refusal } from "./refusal.ts";
import { Purpose, SECP256K1, STATEMENTS, SubjectKeyCertificate } from "./statements.ts";

type AnySigned = Signed<Values<Fields>>;

/**
 * Record the statements, each signed by a proved key or by a certified subject's key; certificates
 * are checked first, at any position. Returns the fingerprints of the keys that signed.
 */
export function checkStatements(
  elements: Json[],
  keys: ReadonlyMap<string, KeyRecord>,
  claims: Claims,
): Set<string> {
  const read = elements.map(readStatement);
  const isCertificate = ({ struct }: { struct: ReadStruct }) =>
    struct.type.name === SubjectKeyCertificate.name;
  const ordered = [
    ...read.filter(isCertificate),
    ...read.filter((element) => !isCertificate(element)),
  ];
  const certificates = new Map<string, AnySigned>();
  const seen = new Set<string>();
  const checked = new Map<ReadStruct, AnySigned>();
  for (const { struct, signature } of ordered) {
    const signed = checkSignature(struct, signature, keys, certificates, claims);
    const name = `${signed.digest} ${signed.signer}`;
    if (seen.has(name)) {
      const sentence = "The bundle holds one statement twice under one key.";
      throw inconsistent("element_twice", sentence);
    }
    seen.add(name);
    if (isCertificate({ struct })) addCertificate(signed, certificates);
    checked.set(struct, signed);
  }
  claims.statementList.push(...read.map(({ struct }) => checked.get(struct)!));
  const bySubjects = (signed: AnySigned) => signed.certificate !== null;
  return new Set(
    claims.statementList
      .filter((signed) => !bySubjects(signed))
      .map((signed) => fingerprintOf(signed.signer)),
  );
}

function readStatement(element: Json): { struct: ReadStruct; signature: Bytes } {
  const fields = readFields(element, "type", "message", "signature");
  const struct = readStruct(fields.type, fields.message, STATEMENTS);
  return { struct, signature: readBytes(fields.signature, 65) };
}

function checkSignature(
  struct: ReadStruct,
  signature: Bytes,
  keys: ReadonlyMap<string, KeyRecord>,
  certificates: ReadonlyMap<string, AnySigned>,
  claims: Claims,
): AnySigned {
  const { trust } = claims;
  const hash = struct.type.hash(struct.values);
  const signed = digest(BigInt(trust.chainId), trust.contract(struct.type.contract), hash);
  const signer = recover(signed, signature);
  const statement = { ...struct, hash, digest: toHex(signed), signer };
  const key = keys.get(fingerprintOf(signer));
  if (key?.algorithm === SECP256K1) {
    if (key.purpose < Purpose.ADMIN || key.purpose > Purpose.TLS) {
      const sentence = "The bundle holds a key of an unknown purpose.";
      throw new Refusal(Kind.MALFORMED, "bundle_malformed", sentence);
    }
    return { ...statement, member: key.member, purpose: key.purpose, certificate: null };
  }
  const certificate = certificates.get(signer);
  if (!certificate) {
    const sentence = `Nobody known to the network signed the ${struct.type.name}.`;
    throw new Refusal(Kind.SIGNATURE, "signer_unknown", sentence);
  }
  const values = certificate.values as unknown as Certificate;
  return { ...statement, member: "", purpose: null, certificate: values };
}

function addCertificate(signed: AnySigned, certificates: Map<string, AnySigned>): void {
  const { issuer, key } = signed.values as unknown as Certificate;
  if (signed.member !== issuer || signed.purpose !== Purpose.STATEMENT) {
    const sentence = "A certificate is not signed by the issuer it names.";
    throw new Refusal(Kind.SIGNATURE, "signer_unknown", sentence);
  }
  const other = certificates.get(key);
  if (other && canonical(other.message) !== canonical(signed.message)) {
    const sentence = "The bundle holds two certificates of one key that differ.";
    throw inconsistent("certificate_twice", sentence);
  }
  if (!other) certificates.set(key, signed);
}
