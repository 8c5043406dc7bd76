/** A property deal: who may sell, who signed what, at what tax. Subject {dealId}. */
import { equal, toHex, toInteger, type Bytes } from "../bytes.ts";
import type { Claims, Signed } from "../claims.ts";
import { canonical, type Json, type JsonObject } from "../json.ts";
import { quoted } from "../printable.ts";
import { dealRecord, type DealRecord } from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { say, time, type Sentence } from "../sentences.ts";
import {
  DealStep,
  DealTerms,
  Purpose,
  Role,
  SubjectKeyCertificate,
  TitleStatement,
  type Of,
} from "../statements.ts";
import { hasRole, provedMember } from "./issuers.ts";
import { isSubject } from "./subject.ts";
import { readContent, taxSheet, type DealContent } from "./tax.ts";

const CONTRACT = "PropertyLedger";
const DEAL_DOMAIN = "qiaolian.deal.v1";
const STEP_DOMAIN = "qiaolian.step.v1";
const MAX_NUMBER = 64;
const Step = { SELLER: 1, BUYER: 2, AGENT: 3, TAX: 4, MORTGAGE: 5, NOTARY: 6, REGISTER: 7 };
const STEP_NAMES = Object.keys(Step).map((name) => name.toLowerCase());

type Terms = Of<typeof DealTerms>;

export function checkProperty(claims: Claims, subject: JsonObject): Sentence[] {
  const { values: terms, hash: dealId } = claims.struct(DealTerms);
  require(
    isSubject(subject, "dealId", toHex(dealId)),
    "subject_differs",
    "The deal is another than the bundle says.",
  );
  const content = readContent(claims.disclosed(terms.content, DEAL_DOMAIN));
  require(
    (terms.bank !== "") === content.loan > 0n,
    "loan_without_bank",
    "A deal names a bank if it has a loan, and only then.",
  );
  const record = dealRecord(claims.value(CONTRACT, "deals", [dealId]));
  require(record.openedAt > 0, "deal_unknown", "The chain has no such deal.");
  const title = claims.statement(TitleStatement);
  const proved = [
    titleSentence(claims, terms, content, title),
    builtOnSentence(claims, terms, dealId, record, title),
    partiesSentence(claims, terms, title.values),
  ];
  const steps = readSteps(claims, terms);
  const wanted = stepsOf(terms);
  const taken = wanted.filter((step) => (record.stepsMask >> (step - 1)) & 1);
  require(
    steps.length === taken.length && steps.every((signed, at) => stepOf(signed) === taken[at]),
    "profile_incomplete",
    "The bundle does not hold exactly the steps the chain has.",
  );
  for (const signed of steps) {
    proved.push(stepSentence(claims, terms, dealId, content, signed));
  }
  return [...proved, completionSentence(claims, record, taken.length === wanted.length)];
}

function titleSentence(
  claims: Claims,
  terms: Terms,
  content: DealContent,
  signed: Signed<Of<typeof TitleStatement>>,
): Sentence {
  const title = signed.values;
  require(
    signed.member === title.registrar &&
      title.registrar === terms.registrar &&
      signed.purpose === Purpose.STATEMENT,
    "wrong_signer",
    "The title statement is not signed by the registration centre.",
  );
  require(
    equal(title.unit, terms.unit) && title.ownerKey === terms.seller,
    "title_mismatch",
    "The title statement is about another unit or seller.",
  );
  let where = say("none");
  if (claims.isLogged(signed)) {
    where = say("titleLogged", { block: claims.block(claims.inclusion(signed).anchoredAt) });
  } else {
    claims.limits.push(say("titleNotLogged"));
  }
  return say("titleStated", {
    registrar: title.registrar,
    time: time(title.issuedAt),
    unit: quoted(content.unit),
    where,
  });
}

/** The deal was opened with this title, which was built on the unit's last registration. */
function builtOnSentence(
  claims: Claims,
  terms: Terms,
  dealId: Bytes,
  deal: DealRecord,
  { values: title, hash: titleHash }: Signed<Of<typeof TitleStatement>>,
): Sentence {
  require(
    claims.stores(titleHash, CONTRACT, "titles", [dealId]),
    "title_differs",
    "The deal was opened with another title statement.",
  );
  const last = claims.value(CONTRACT, "lastRegistration", [terms.registrar, terms.unit]);
  const builtOn = toInteger(title.lastRegistration);
  const isLive = deal.registeredAt === 0 && deal.expiredAt === 0;
  require(
    !isLive || last === builtOn,
    "title_superseded",
    "The unit has been registered since the open deal's title was issued.",
  );
  require(
    deal.registeredAt === 0 || last !== 0n,
    "registration_differs",
    "The chain has a registered deal, but no registration of its unit.",
  );
  let before = say("noEarlierRegistration");
  if (builtOn !== 0n) {
    const earlier = dealRecord(claims.value(CONTRACT, "deals", [title.lastRegistration]));
    require(
      earlier.registeredAt > 0 && earlier.registeredAt <= deal.openedAt,
      "title_superseded",
      "The title was not built on a registration before the deal.",
    );
    before = say("earlierRegistration", { height: earlier.registeredAt });
  }
  const another = deal.registeredAt > 0 && last !== toInteger(dealId);
  return say("titleBuiltOn", { before, after: another ? say("registeredAgain") : say("none") });
}

/** Seller's and buyer's keys are certified by the centre; the members are what the deal says. */
function partiesSentence(claims: Claims, terms: Terms, title: Of<typeof TitleStatement>): Sentence {
  const signed = claims.statements(SubjectKeyCertificate);
  const held = new Map(signed.map(({ values }) => [values.key, values]));
  const parties = new Set([terms.seller, terms.buyer]);
  require(
    held.size === parties.size && [...parties].every((key) => held.has(key)),
    "certificate_mismatch",
    "The people's certificates are not theirs.",
  );
  for (const certificate of held.values()) {
    require(
      certificate.issuer === terms.registrar && certificate.purpose === "deal",
      "certificate_mismatch",
      "A person's key is not certified for deals by the registration centre.",
    );
  }
  const roles: [string, bigint][] = [
    [terms.registrar, Role.DEPARTMENT],
    [terms.taxAuthority, Role.DEPARTMENT],
    [terms.bank, Role.BANK],
  ];
  for (const [member, role] of roles.filter(([name]) => name !== "")) {
    require(
      hasRole(provedMember(claims, member), role),
      "party_role_wrong",
      `${member} is not admitted as what the deal takes it for.`,
    );
  }
  require(
    equal(held.get(terms.seller)!.subject, title.owner),
    "certificate_mismatch",
    "The seller's key is not certified to the owner the title names.",
  );
  return say("keysCertified", { registrar: terms.registrar });
}

function stepOf(signed: Signed<Of<typeof DealStep>>): number {
  return Number(signed.values.step);
}

/** The steps that the deal needs: no mortgage without a bank. */
function stepsOf(terms: Terms): number[] {
  return Object.values(Step).filter((step) => step !== Step.MORTGAGE || terms.bank !== "");
}

/** The bundle's steps in order. */
function readSteps(claims: Claims, terms: Terms): Signed<Of<typeof DealStep>>[] {
  const found = claims.statements(DealStep);
  const known = stepsOf(terms);
  const steps = found.map(stepOf);
  require(
    steps.every((step) => known.includes(step)) && new Set(steps).size === steps.length,
    "unknown_step",
    "A step is there twice or unknown.",
  );
  return found.sort((one, other) => stepOf(one) - stepOf(other));
}

/** The member that signs a step; empty for seller and buyer, who sign with certified keys. */
function partyOf(terms: Terms, step: number): string {
  const { agent, taxAuthority, bank, notary, registrar } = terms;
  return ["", "", "", agent, taxAuthority, bank, notary, registrar][step];
}

function stepSentence(
  claims: Claims,
  terms: Terms,
  dealId: Bytes,
  content: DealContent,
  signed: Signed<Of<typeof DealStep>>,
): Sentence {
  const statement = signed.values;
  const step = stepOf(signed);
  const name = STEP_NAMES[step - 1];
  require(
    equal(statement.dealId, dealId),
    "other_deal",
    `The step ${name} is of another deal.`,
  );
  const isPerson = step === Step.SELLER || step === Step.BUYER;
  const isSigned = isPerson
    ? signed.signer === (step === Step.SELLER ? terms.seller : terms.buyer)
    : signed.member === partyOf(terms, step) && signed.purpose === Purpose.STATEMENT;
  require(isSigned, "wrong_party", `The step ${name} is not signed by its own party.`);
  require(
    claims.stores(signed.hash, CONTRACT, "steps", [dealId, step]),
    "step_differs",
    `The chain has another step ${name}.`,
  );
  // A step of another member, or of a person, need not be in the exporter's log.
  if (claims.isLogged(signed)) claims.inclusion(signed);
  const title = { step: sayStep(step), time: time(statement.signedAt) };
  if (step <= Step.AGENT) {
    require(
      equal(statement.content, terms.content),
      "content_differs",
      `The step ${name} agrees to something else.`,
    );
    return say("stepAgreed", title);
  }
  const record = claims.disclosed(statement.content, STEP_DOMAIN);
  const stated = statedSentence(terms, step, content, record);
  return say("stepSigned", { ...title, member: signed.member, stated });
}

function sayStep(step: number): Sentence {
  return say(`step${step}` as "step1");
}

/** What a step states: the rules' own tax sheet, the deal's loan, or a certificate's number. */
function statedSentence(terms: Terms, step: number, content: DealContent, record: Json): Sentence {
  if (!(record instanceof Map)) {
    throw inconsistent("record_malformed", "What a step states is a JSON object.");
  }
  if (step === Step.TAX) {
    const sheet = taxSheet(content, record.get("rules") ?? null);
    require(
      canonical(record) === canonical(sheet),
      "tax_differs",
      "The tax sheet is not what the rules give for this deal.",
    );
    const total = sheet.get("total") as string;
    return say("statedTax", { total, rules: quoted(sheet.get("rules") as string) });
  }
  if (step === Step.MORTGAGE) {
    const loan = content.loanText;
    const contract = requireNumbered(record, "contract", { lender: terms.bank, loan });
    return say("statedLoan", { loan, contract: quoted(contract) });
  }
  const fields: Record<string, string> =
    step === Step.NOTARY
      ? { notary: terms.notary }
      : { registrar: terms.registrar, unit: content.unit };
  const certificate = requireNumbered(record, "certificate", fields);
  return say("statedCertificate", { certificate: quoted(certificate) });
}

/** A record of exactly these fields and a number of 1 to 64 characters; returns the number. */
function requireNumbered(record: JsonObject, name: string, fields: Record<string, string>): string {
  const number = record.get(name);
  const wanted = new Map<string, Json>([...Object.entries(fields), [name, number ?? null]]);
  const isNumber = typeof number === "string" && number !== "" && [...number].length <= MAX_NUMBER;
  if (!isNumber || canonical(record) !== canonical(wanted)) {
    const sentence = `The step states exactly: ${[...wanted.keys()].join(", ")}.`;
    throw inconsistent("record_malformed", sentence);
  }
  return number;
}

function completionSentence(claims: Claims, record: DealRecord, isComplete: boolean): Sentence {
  require(
    isComplete === record.registeredAt > 0,
    "profile_incomplete",
    "The deal's steps and its registration disagree.",
  );
  const opened = claims.block(record.openedAt);
  if (record.registeredAt) {
    return say("dealRegistered", { opened, ended: claims.block(record.registeredAt) });
  }
  if (record.expiredAt) {
    return say("dealExpired", { opened, ended: claims.block(record.expiredAt) });
  }
  return say("dealUnderWay", { opened });
}
