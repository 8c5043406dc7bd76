/** One look at a subject's record: subject {agreementId, lane, seq}. */
import type { Claims } from "../claims.ts";
import type { Json, JsonObject } from "../json.ts";
import { quoted } from "../printable.ts";
import { inconsistent, require } from "../refusal.ts";
import { say, type Sentence } from "../sentences.ts";
import { SERVED } from "./lane_rules.ts";
import { readCall, REQUEST_DOMAIN } from "./trade.ts";
import { readTrade } from "./trade_facts.ts";

export function checkLook(claims: Claims, subject: JsonObject): Sentence[] {
  const trade = readTrade(claims, subject, true);
  const positions = [...trade.requests.keys(), ...trade.receipts.keys()];
  require(
    positions.every((seq) => seq === trade.seq) &&
      trade.voids.length === 0 &&
      trade.vouchers.length === 0,
    "element_unused",
    "The bundle carries statements of other positions than its call's.",
  );
  const { request, receipt, sentences } = readCall(trade);
  const query = readQuery(claims.disclosed(request.values.requestCommitment, REQUEST_DOMAIN));
  const { purpose, buyer } = trade.agreement;
  require(
    query.purpose === purpose,
    "purpose_differs",
    "The query's purpose is not the agreement's.",
  );
  const { units, reason, outcome } = receipt.values;
  const columns = query.columns.map(quoted).join(", ");
  claims.limits.push(say("answerClosed"));
  return [
    ...trade.sentences,
    ...sentences,
    say("lookedAt", { buyer, columns, subject: quoted(query.subject), purpose }),
    query.consent ? say("lookConsent", { consent: quoted(query.consent) }) : say("lookNoConsent"),
    outcome === SERVED ? say("lookAnswered", { units }) : say("lookRefused", { reason }),
  ];
}

interface Query {
  subject: string;
  purpose: string;
  consent: string;
  columns: string[];
}

function readQuery(value: Json): Query {
  if (value instanceof Map) {
    const [subject, purpose, consent] = ["subject", "purpose", "consent"].map((name) =>
      value.get(name),
    );
    const columns = value.get("columns");
    if (
      typeof subject === "string" &&
      typeof purpose === "string" &&
      typeof consent === "string" &&
      Array.isArray(columns) &&
      columns.every((column) => typeof column === "string")
    ) {
      return { subject, purpose, consent, columns: columns as string[] };
    }
  }
  throw inconsistent("query_unreadable", "What was asked is not a query of the protocol.");
}
