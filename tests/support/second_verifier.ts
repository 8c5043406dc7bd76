/**
 * Runs the second verifier for tests/support/two_verifiers.py: one question a line on standard
 * input, one answer a line on standard output.
 */
import { createInterface } from "node:readline";
import { answer } from "../../chain/bundle/browser/src/answer.ts";
import { fromHex, toHex, type Bytes } from "../../chain/bundle/browser/src/bytes.ts";
import type { Claims } from "../../chain/bundle/browser/src/claims.ts";
import { recover } from "../../chain/bundle/browser/src/crypto.ts";
import { digest } from "../../chain/bundle/browser/src/eip712.ts";
import { canonical, readJson, type JsonObject } from "../../chain/bundle/browser/src/json.ts";
import { PROFILES } from "../../chain/bundle/browser/src/profiles/index.ts";
import { Kind, Refusal, require } from "../../chain/bundle/browser/src/refusal.ts";
import { type Sentence } from "../../chain/bundle/browser/src/sentences.ts";
import {
  AssetRecord,
  ConsentWithdrawal,
  Purpose,
  STATEMENTS,
  STRUCTS,
  SubjectKeyCertificate,
  Voucher,
} from "../../chain/bundle/browser/src/statements.ts";
import { verify } from "../../chain/bundle/browser/src/verify.ts";

type Question =
  | { kind: "bundle"; bundle: string; trust: string; maxBytes?: number }
  | { kind: "vector"; type: string; message: string; chainId: number; contract: string; signature: string | null };

const RECORD_DOMAIN = "qiaolian.test.v1";

/** The proof profile of tests/chain/test_bundle.py, which needs an element of every section. */
function checkTest(claims: Claims, subject: JsonObject): Sentence[] {
  const names = ["member", "asset", "commitment"];
  if (subject.size !== 3 || !names.every((name) => typeof subject.get(name) === "string")) {
    throw new Refusal(Kind.MALFORMED, "subject_malformed", "The bundle is about something else.");
  }
  const vouchers = claims.statements(Voucher);
  const member = subject.get("member") as string;
  require(
    vouchers.length > 0 &&
      vouchers.every((one) => one.member === member && one.purpose === Purpose.STATEMENT),
    "voucher_other",
    "A voucher is another member's.",
  );
  const entries = vouchers.map((signed) => claims.inclusion(signed));
  const certificate = claims.statement(SubjectKeyCertificate);
  const withdrawal = claims.statement(ConsentWithdrawal);
  require(
    withdrawal.member === "" && withdrawal.certificate === certificate.values,
    "subject_other",
    "The withdrawal is not the certified subject's.",
  );
  const asset = toHex(claims.struct(AssetRecord).hash);
  require(asset === subject.get("asset"), "asset_other", "The asset is another.");
  claims.value("MemberDirectory", "members", [member]);
  const [commitment] = claims.commitments(RECORD_DOMAIN);
  claims.disclosed(commitment ? fromHex(commitment)! : new Uint8Array(32), RECORD_DOMAIN);
  require(commitment === subject.get("commitment"), "record_other", "The record is another.");
  return vouchers.map(({ values }, at) => plain(`voucher ${values.seq} is at ${entries[at].index}`));
}

function plain(text: string): Sentence {
  return { key: "time", values: { time: text } };
}

/** A statement's hashes, and who signed it. */
function vector(question: Question & { kind: "vector" }): object {
  const type = STATEMENTS.get(question.type) ?? STRUCTS.get(question.type)!;
  const message = readJson(decode(question.message), 1_000_000);
  const hash = type.hash(type.read(message));
  const hashes = { typeHash: toHex(type.typeHash()), structHash: toHex(hash) };
  if (question.signature === null) return hashes;
  const signed = digest(BigInt(question.chainId), question.contract, hash);
  const signer = recover(signed, fromHex(question.signature)!);
  return { ...hashes, digest: toHex(signed), signer, canonical: canonical(message) };
}

function decode(text: string): Bytes {
  return new Uint8Array(Buffer.from(text, "base64"));
}

const profiles = new Map([...PROFILES, ["test", checkTest]]);
for await (const line of createInterface({ input: process.stdin })) {
  const question: Question = JSON.parse(line);
  const result =
    question.kind === "vector"
      ? vector(question)
      : answer(verify(decode(question.bundle), decode(question.trust), profiles, question.maxBytes));
  console.log(JSON.stringify(result));
}
