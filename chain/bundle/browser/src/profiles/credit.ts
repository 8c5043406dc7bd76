/** A credit query: its consent, receipts and disputes. Subject {query}. */
import { concat, equal, fromHex, padLeft, toHex, type Bytes } from "../bytes.ts";
import type { Claims, Signed } from "../claims.ts";
import { keccak256 } from "../crypto.ts";
import { canonical, type JsonObject } from "../json.ts";
import { leafHash, rootOf } from "../merkle.ts";
import { agreementRecord, consentRecord, disputeRecord, type DisputeRecord } from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { say, time, type Sentence } from "../sentences.ts";
import {
  Agreement,
  Consent,
  CreditDispute,
  CreditQuery,
  CreditRepair,
  Purpose,
  Role,
  SubjectKeyCertificate,
  UsageReceipt,
  type Of,
} from "../statements.ts";
import { hasRole, provedMember, requireIssuer } from "./issuers.ts";
import { SERVED } from "./lane_rules.ts";
import { isSubject } from "./subject.ts";

const CONSENT_DOMAIN = "qiaolian.consent.v1";
const REPORT_DOMAIN = "qiaolian.report.v2";

type Query = Of<typeof CreditQuery>;

export function checkCredit(claims: Claims, subject: JsonObject): Sentence[] {
  const query = claims.statement(CreditQuery);
  require(
    isSubject(subject, "query", toHex(query.hash)),
    "subject_differs",
    "The query is another than the bundle says.",
  );
  requireCertificates(claims);
  const anchoredAt = requireAnchored(claims, query);
  const made = say("queryMade", {
    bank: query.values.bank,
    time: time(query.values.issuedAt),
    block: claims.block(anchoredAt),
    anchor: claims.block(claims.inclusion(query).anchoredAt),
  });
  claims.limits.push(say("resultClosed"));
  const consented = consentSentence(claims, query.values, anchoredAt);
  const delivered = receiptsSentence(claims, query.values, anchoredAt);
  const listed = listedSentence(claims, query.values);
  return [made, consented, delivered, listed, ...disputeSentences(claims)];
}

/** Exactly the certificates of the keys that signed the consent and the disputes. */
function requireCertificates(claims: Claims): void {
  const consent = claims.statement(Consent);
  const disputes = claims.statements(CreditDispute);
  const needed = new Set([consent.signer, ...disputes.map((dispute) => dispute.signer)]);
  const certificates = claims.statements(SubjectKeyCertificate);
  const held = new Set(certificates.map((signed) => signed.values.key));
  require(
    held.size === needed.size && [...needed].every((key) => held.has(key)),
    "certificate_mismatch",
    "The certificates are not those of the subject's keys.",
  );
}

/** The block in which the chain took the query. */
function requireAnchored(claims: Claims, query: Signed<Query>): number {
  require(
    query.member === query.values.bank && query.purpose === Purpose.STATEMENT,
    "wrong_signer",
    "The query is not signed by the bank it names.",
  );
  const anchoredAt = Number(claims.value("CreditLedger", "queries", [query.hash]));
  require(anchoredAt > 0, "query_not_anchored", "The chain does not have the query.");
  return anchoredAt;
}

function consentSentence(claims: Claims, query: Query, anchoredAt: number): Sentence {
  const signed = claims.statement(Consent);
  const { values: consent, certificate } = signed;
  if (certificate === null) {
    const sentence = "The consent is not signed with a certified key.";
    throw inconsistent("consent_bad_signature", sentence);
  }
  requireNamedConsent(claims, query, signed);
  require(
    signed.signer === consent.authority &&
      certificate.purpose === "consent" &&
      equal(certificate.subject, consent.subject),
    "consent_bad_signature",
    "The consent's key is not certified for its subject's consents.",
  );
  require(
    certificate.issuer !== consent.bank,
    "consent_by_beneficiary",
    "The bank certified a consent to itself.",
  );
  requireIssuer(claims, certificate.issuer, anchoredAt);
  require(
    consent.bank === query.bank,
    "consent_other_bank",
    "The consent was given to another bank.",
  );
  const at = query.issuedAt;
  require(
    at >= consent.notBefore &&
      at >= certificate.notBefore &&
      at <= consent.notAfter &&
      at <= certificate.notAfter,
    "consent_expired",
    "The consent did not cover the time of the query.",
  );
  const { recordedAt, withdrawnAt } = requireConsentInForce(claims, query, consent, anchoredAt);
  return say("consented", {
    bank: consent.bank,
    purpose: consent.purpose,
    issuer: certificate.issuer,
    block: claims.block(recordedAt),
    later: withdrawnAt ? say("withdrawnLater", { block: claims.block(withdrawnAt) }) : say("none"),
  });
}

/** The bundle opens the commitment that the query's consent id is of, to this very consent. */
function requireNamedConsent(
  claims: Claims,
  query: Query,
  { values, message }: Signed<Of<typeof Consent>>,
): void {
  const authority = padLeft(fromHex(values.authority)!);
  const named = claims
    .commitments(CONSENT_DOMAIN)
    .map((commitment) => fromHex(commitment)!)
    .find((commitment) => equal(keccak256(concat(commitment, authority)), query.consent));
  if (!named) {
    const sentence = "The bundle does not open the consent that the query names.";
    throw inconsistent("not_disclosed", sentence);
  }
  require(
    canonical(claims.disclosed(named, CONSENT_DOMAIN)) === canonical(message),
    "consent_differs",
    "The consent is not the one the query names.",
  );
}

function requireConsentInForce(
  claims: Claims,
  query: Query,
  consent: Of<typeof Consent>,
  anchoredAt: number,
): { recordedAt: number; withdrawnAt: number } {
  const record = consentRecord(claims.value("CreditLedger", "consents", [query.consent]));
  const { recordedAt, withdrawnAt } = record;
  require(
    recordedAt > 0 && recordedAt <= anchoredAt && record.authority === consent.authority,
    "consent_missing",
    "The consent was not on the chain when the query was anchored.",
  );
  require(
    withdrawnAt === 0 || withdrawnAt >= anchoredAt,
    "consent_withdrawn",
    "The consent had been withdrawn before the query was anchored.",
  );
  return { recordedAt, withdrawnAt };
}

function receiptsSentence(claims: Claims, query: Query, anchoredAt: number): Sentence {
  const signed = claims.statements(UsageReceipt);
  require(signed.length > 0, "profile_incomplete", "The bundle has no receipt.");
  const root = rootOf(signed.map((receipt) => leafHash(receipt.hash)));
  require(
    equal(root, query.receiptsRoot),
    "receipts_differ",
    "The receipts are not those of the query.",
  );
  const agreements = readAgreements(claims, query, anchoredAt);
  const used = new Set(signed.map(({ values }) => toHex(values.agreementId)));
  require(
    used.size === agreements.size && [...used].every((id) => agreements.has(id)),
    "agreement_differs",
    "The agreements are not those of the receipts.",
  );
  const positions = new Set(
    signed.map(({ values }) => `${toHex(values.agreementId)} ${values.lane} ${values.seq}`),
  );
  require(positions.size === signed.length, "position_twice", "Two receipts name one position.");
  const consents = claims.value("CreditLedger", "consents", [query.consent]);
  const { recordedAt } = consentRecord(consents);
  for (const receipt of signed) {
    requireDelivered(receipt, agreements.get(toHex(receipt.values.agreementId))!, query);
    requireView(claims, receipt.values, recordedAt, anchoredAt);
  }
  return say("receiptsDelivered", {
    names: [...new Set(signed.map((receipt) => receipt.member))].join(", "),
    bank: query.bank,
    count: signed.length,
    paid: signed.reduce((sum, { values }) => sum + values.amount, 0n),
    purpose: claims.statement(Consent).values.purpose,
  });
}

/** A call is served on a view that has the consent and is not younger than the query. */
function requireView(
  claims: Claims,
  receipt: Of<typeof UsageReceipt>,
  consentAt: number,
  anchoredAt: number,
): void {
  const view = Number(receipt.viewHeight);
  claims.requireBlock(view, receipt.viewBlock);
  require(
    view <= anchoredAt,
    "view_ahead",
    "A receipt names a view of the chain that is younger than the query.",
  );
  require(
    view >= consentAt,
    "served_before_consent",
    "A call was served on a view in which the chain did not have the consent.",
  );
}

/** The agreements by id, each of a department with this bank for the consent's purpose. */
function readAgreements(
  claims: Claims,
  query: Query,
  anchoredAt: number,
): ReadonlyMap<string, Of<typeof Agreement>> {
  const { purpose } = claims.statement(Consent).values;
  const found = new Map<string, Of<typeof Agreement>>();
  for (const signed of claims.statements(Agreement)) {
    const { values: agreement, hash } = signed;
    require(!found.has(toHex(hash)), "agreement_differs", "An agreement is shown twice.");
    require(
      isProvider(signed, agreement),
      "wrong_signer",
      "An agreement is not signed by its provider.",
    );
    require(
      agreement.buyer === query.bank,
      "agreement_other_buyer",
      "An agreement is another buyer's.",
    );
    require(
      agreement.purpose === purpose,
      "agreement_other_purpose",
      "An agreement is for another purpose than the consent.",
    );
    require(
      hasRole(provedMember(claims, agreement.provider), Role.DEPARTMENT),
      "provider_not_department",
      `${agreement.provider} is no department.`,
    );
    requireOpened(claims, hash, anchoredAt);
    found.set(toHex(hash), agreement);
  }
  return found;
}

function isProvider(signed: Signed<unknown>, agreement: Of<typeof Agreement>): boolean {
  return signed.member === agreement.provider && signed.signer === agreement.providerKey;
}

function requireOpened(claims: Claims, agreementId: Bytes, anchoredAt: number): void {
  const heights = claims.value("TradeSettlement", "agreements", [agreementId], 2);
  const { openedAt } = agreementRecord(0n, 0n, heights);
  require(
    openedAt > 0 && openedAt <= anchoredAt,
    "agreement_not_open",
    "The chain had not opened an agreement when the query was anchored.",
  );
}

function requireDelivered(
  signed: Signed<Of<typeof UsageReceipt>>,
  agreement: Of<typeof Agreement>,
  query: Query,
): void {
  require(
    signed.member !== query.bank,
    "receipt_by_beneficiary",
    "The bank signed a receipt itself.",
  );
  require(
    isProvider(signed, agreement) && signed.purpose === Purpose.STATEMENT,
    "wrong_signer",
    "A receipt is not signed by its agreement's provider.",
  );
  require(
    signed.values.outcome === SERVED,
    "receipt_refused",
    "A receipt is of a refused call.",
  );
  require(
    signed.values.issuedAt <= query.issuedAt,
    "receipts_differ",
    "A receipt is younger than the query.",
  );
}

/** The bundle's disputes are those of the report, as far as the query says. */
function listedSentence(claims: Claims, query: Query): Sentence {
  const shown = claims.statements(CreditDispute).map((signed) => toHex(signed.hash)).sort();
  const count = shown.length;
  const disputes = count === 1 ? say("oneDispute") : say("manyDisputes", { count });
  if (query.version === 1n) {
    claims.limits.push(say("disputesNotListed"));
    return say("disputesShown", { disputes });
  }
  claims.limits.push(say("disputesTold"));
  const record = claims.disclosed(query.report, REPORT_DOMAIN);
  const isReport =
    record instanceof Map && record.size === 2 && record.has("content") && record.has("disputes");
  if (!isReport) throw inconsistent("report_malformed", "The query commits to no report.");
  require(
    canonical(record.get("disputes")!) === canonical(shown),
    "disputes_differ",
    "The disputes are not those that the query was made with.",
  );
  return say("disputesListed", { disputes });
}

function disputeSentences(claims: Claims): Sentence[] {
  const repairs = new Map(
    claims.statements(CreditRepair).map((signed) => [toHex(signed.values.disputeId), signed]),
  );
  const delivered = new Set(
    claims.statements(Agreement).map(({ values }) => `${values.provider} ${toHex(values.assetId)}`),
  );
  const sentences: Sentence[] = [];
  for (const signed of claims.statements(CreditDispute)) {
    const { values: dispute, hash } = signed;
    const record = requireDispute(claims, signed);
    require(
      delivered.has(`${dispute.department} ${toHex(dispute.assetId)}`),
      "dispute_of_other",
      "A dispute is of a record of which the report has nothing.",
    );
    const answer = repairs.get(toHex(hash));
    repairs.delete(toHex(hash));
    require(
      (answer !== undefined) === record.answeredAt > 0,
      "answer_differs",
      "A dispute's answer is not shown.",
    );
    const block = claims.block(record.openedAt);
    sentences.push(say("disputed", { department: dispute.department, block }));
    if (answer) sentences.push(answerSentence(claims, signed, record, answer));
  }
  require(
    repairs.size === 0,
    "answer_differs",
    "The bundle holds an answer to a dispute it does not hold.",
  );
  return sentences;
}

/** The dispute as the chain has it, signed with a key certified for disputes. */
function requireDispute(claims: Claims, signed: Signed<Of<typeof CreditDispute>>): DisputeRecord {
  const { values: dispute, certificate } = signed;
  if (certificate?.purpose !== "dispute" || signed.signer !== dispute.authority) {
    const sentence = "A dispute is not signed with a key certified for disputes.";
    throw inconsistent("dispute_bad_signature", sentence);
  }
  const record = disputeRecord(claims.value("CreditLedger", "disputes", [signed.hash]));
  require(
    record.openedAt > 0 && record.department === dispute.department,
    "dispute_unknown",
    "The chain has no such dispute.",
  );
  requireIssuer(claims, certificate.issuer, record.openedAt);
  return record;
}

function answerSentence(
  claims: Claims,
  { values: dispute, hash }: Signed<Of<typeof CreditDispute>>,
  record: DisputeRecord,
  answer: Signed<Of<typeof CreditRepair>>,
): Sentence {
  const repair = answer.values;
  const isStored = claims.stores(answer.hash, "CreditLedger", "repairs", [hash]);
  require(
    answer.member === dispute.department &&
      dispute.department === repair.department &&
      answer.purpose === Purpose.STATEMENT,
    "wrong_signer",
    "An answer is not signed by the department.",
  );
  require(
    isStored && repair.upheld === record.upheld,
    "answer_differs",
    "The chain has another answer to the dispute.",
  );
  require(
    equal(repair.oldRecord, dispute.record),
    "answer_differs",
    "An answer is about another record.",
  );
  return say(repair.upheld ? "repaired" : "stoodBy", {
    department: repair.department,
    block: claims.block(record.answeredAt),
    version: repair.assetVersion,
  });
}
