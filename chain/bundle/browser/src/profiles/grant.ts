/** A grant's life: asked for, decided, perhaps revoked. Subject {grantId}. */
import { concat, equal, padRight, toHex, utf8, word, type Bytes } from "../bytes.ts";
import type { Claims, Signed } from "../claims.ts";
import { keccak256 } from "../crypto.ts";
import type { Json, JsonObject } from "../json.ts";
import { quoted } from "../printable.ts";
import { grantRecord, type GrantRecord } from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { list, say, time, type Sentence } from "../sentences.ts";
import {
  AssetRecord,
  GrantDecision,
  GrantRevocation,
  GrantTerms,
  Purpose,
  type Of,
} from "../statements.ts";
import { isSubject } from "./subject.ts";

const SCOPE_DOMAIN = "qiaolian.scope.v1";
const OPERATIONS = ["view", "export", "use", "copy", "train", "compute"] as const;
const MAX_COLUMNS = 256;
const MAX_NAME = 256;

type Terms = Of<typeof GrantTerms>;

export function checkGrant(claims: Claims, subject: JsonObject): Sentence[] {
  const { values: terms, hash: grantId } = claims.struct(GrantTerms);
  require(
    isSubject(subject, "grantId", toHex(grantId)),
    "subject_differs",
    "The terms are another grant's than the bundle says.",
  );
  const proved = [assetSentence(claims, terms), requestSentence(claims, terms)];
  const record = grantRecord(claims.value("GrantRegistry", "grants", [grantId]));
  require(
    record.requestedAt > 0,
    "grant_unknown",
    "The chain has no request for this grant.",
  );
  proved.push(decisionSentence(claims, terms, grantId, record));
  return [...proved, ...revocationSentences(claims, terms, grantId, record)];
}

function assetSentence(claims: Claims, terms: Terms): Sentence {
  const { values: asset, hash } = claims.struct(AssetRecord);
  const assetId = keccak256(concat(padRight(utf8(asset.holder)), padRight(utf8(asset.name))));
  require(
    equal(assetId, terms.assetId) &&
      asset.assetVersion === terms.assetVersion &&
      asset.holder === terms.owner,
    "asset_differs",
    "The asset's record is not the version the grant is for.",
  );
  const version = keccak256(concat(assetId, word(asset.assetVersion)));
  require(
    claims.stores(hash, "AssetRegistry", "versions", [version]),
    "asset_differs",
    "The chain registers another asset record.",
  );
  return say("assetRegistered", {
    name: asset.name,
    holder: asset.holder,
    version: asset.assetVersion,
    grade: asset.grade,
    rows: asset.rowCount,
  });
}

function requestSentence(claims: Claims, terms: Terms): Sentence {
  const operations = OPERATIONS.filter((_, bit) => (terms.operations >> BigInt(bit)) & 1n);
  return say("grantAsked", {
    grantee: terms.grantee,
    owner: terms.owner,
    operations: list(operations.map((operation) => say(operation))),
    purpose: terms.purpose,
    scene: terms.scene,
    uses: terms.maxUses,
    from: time(terms.notBefore),
    to: time(terms.notAfter),
    columns: columnsSentence(claims, terms),
  });
}

/** The columns of the opened scope; a grantee may have committed to anything. */
function columnsSentence(claims: Claims, terms: Terms): Sentence {
  if (!claims.isOpened(terms.scope, SCOPE_DOMAIN)) {
    claims.limits.push(say("scopeClosed"));
    return say("none");
  }
  const names = readColumns(claims.disclosed(terms.scope, SCOPE_DOMAIN));
  if (names === null) {
    throw inconsistent("scope_malformed", "The opened scope is not a list of columns.");
  }
  return say("columns", { names: names.map(quoted).join(", ") });
}

/** The names of `{"columns": […]}`: 1 to 256, each once and of 1 to 256 characters. */
function readColumns(scope: Json): string[] | null {
  const columns = scope instanceof Map && scope.size === 1 ? scope.get("columns") : undefined;
  if (!Array.isArray(columns) || columns.length < 1 || columns.length > MAX_COLUMNS) return null;
  const names = columns.filter((name) => typeof name === "string");
  const fit = names.every((name) => name !== "" && [...name].length <= MAX_NAME);
  return fit && names.length === columns.length && new Set(names).size === names.length
    ? names
    : null;
}

function decisionSentence(
  claims: Claims,
  terms: Terms,
  grantId: Bytes,
  record: GrantRecord,
): Sentence {
  const signed = claims.statement(GrantDecision);
  const { approved } = signed.values;
  requireOwner(signed, terms, grantId, [Purpose.APPROVAL]);
  const height = approved ? record.approvedAt : record.refusedAt;
  require(
    height > 0,
    "decision_differs",
    "The chain does not say of the grant what the decision says.",
  );
  const anchor = claims.block(claims.inclusion(signed).anchoredAt);
  const key = approved ? "grantApproved" : "grantRefused";
  return say(key, { owner: terms.owner, block: claims.block(height), anchor });
}

function revocationSentences(
  claims: Claims,
  terms: Terms,
  grantId: Bytes,
  record: GrantRecord,
): Sentence[] {
  const found = claims.statements(GrantRevocation);
  if (record.revokedAt === 0) {
    require(
      found.length === 0,
      "revocation_differs",
      "The bundle holds a revocation that the chain does not have.",
    );
    return record.approvedAt ? [say("notRevoked")] : [];
  }
  const { owner } = terms;
  const block = claims.block(record.revokedAt);
  if (found.length === 0) return [say("revokedByChain", { owner, block })];
  const signed = claims.statement(GrantRevocation);
  requireOwner(signed, terms, grantId, [Purpose.APPROVAL, Purpose.STATEMENT]);
  require(
    claims.stores(signed.hash, "GrantRegistry", "revocations", [grantId]),
    "revocation_differs",
    "The chain took another revocation than the bundle's, as with another reason.",
  );
  const reason = signed.values.reason || say("noReason");
  const anchor = claims.block(claims.inclusion(signed).anchoredAt);
  return [say("revoked", { owner, block, reason, anchor })];
}

function requireOwner(
  signed: Signed<{ grantId: Bytes }>,
  terms: Terms,
  grantId: Bytes,
  purposes: readonly number[],
): void {
  const { name } = signed.type;
  require(
    equal(signed.values.grantId, grantId),
    "grant_differs",
    `The ${name} is about another grant.`,
  );
  require(
    signed.member === terms.owner && purposes.includes(signed.purpose ?? 0),
    "wrong_signer",
    `The ${name} is not signed with a key of the owner that may sign it.`,
  );
}
