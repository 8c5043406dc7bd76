/** The taxes on the sale of a home, computed from the versioned rules that a sheet names. */
import rules2024 from "../../../../../registry/property/data/tax-rules-2024-12.json";
import type { Json, JsonObject } from "../json.ts";
import { inconsistent, require } from "../refusal.ts";

type Rules = typeof rules2024;

const RULES: ReadonlyMap<string, Rules> = new Map([[rules2024.id, rules2024]]);
const MAX_FEN = 10n ** 15n;
const CONTENT = [
  "unit",
  "area",
  "price",
  "loan",
  "monthsHeld",
  "onlyHome",
  "buyerHomes",
  "originalPrice",
];

/** A deal's opened content. */
export interface DealContent {
  unit: string;
  /** Square centimetres. */
  area: number;
  /** Fen, as are the other amounts. */
  price: bigint;
  loan: bigint;
  /** The loan as the content writes it. */
  loanText: string;
  monthsHeld: number;
  onlyHome: boolean;
  buyerHomes: number;
  /** Null when it cannot be shown. */
  originalPrice: bigint | null;
}

interface Line {
  tax: string;
  payer: string;
  base: bigint;
  rate: number;
  amount: bigint;
  ground: string;
}

export function readContent(content: Json): DealContent {
  const fields = content instanceof Map ? content : new Map<string, Json>();
  require(
    fields.size === CONTENT.length && CONTENT.every((name) => fields.has(name)),
    "content_malformed",
    `A deal's content has exactly: ${CONTENT.join(", ")}.`,
  );
  const [price, loan] = [fen(fields.get("price")!), fen(fields.get("loan")!)];
  const original = fields.get("originalPrice")!;
  const originalPrice = original === null ? null : fen(original);
  const unit = fields.get("unit");
  const onlyHome = fields.get("onlyHome");
  if (typeof unit !== "string" || typeof onlyHome !== "boolean") {
    throw inconsistent("content_malformed", "The deal's unit or onlyHome is of another type.");
  }
  const [area, monthsHeld, buyerHomes] = ["area", "monthsHeld", "buyerHomes"].map((name) => {
    const value = fields.get(name)!;
    if (typeof value !== "number" || value < 0) {
      throw inconsistent("content_malformed", `The deal's ${name} is no whole number.`);
    }
    return value;
  });
  require(loan <= price, "loan_above_price", "The loan is higher than the price.");
  const known = originalPrice === null || originalPrice <= MAX_FEN;
  require(
    price > 0n && price <= MAX_FEN && known && area > 0,
    "tax_facts_wrong",
    "A sale has a price above zero, and a home an area.",
  );
  const loanText = fields.get("loan") as string;
  return { unit, area, price, loan, loanText, monthsHeld, onlyHome, buyerHomes, originalPrice };
}

function fen(value: Json): bigint {
  if (typeof value !== "string" || !/^[0-9]{1,15}$/.test(value)) {
    throw inconsistent("amount_malformed", "An amount is a decimal string of fen.");
  }
  return BigInt(value);
}

/** The tax sheet of a deal under the rules of that name, as a JSON value. */
export function taxSheet(deal: DealContent, rulesName: Json): JsonObject {
  const rules = typeof rulesName === "string" ? RULES.get(rulesName) : undefined;
  if (!rules) throw inconsistent("tax_rules_unknown", "There are no tax rules of that name.");
  const vat = valueAddedTax(rules, deal);
  const net = deal.price - vat.amount;
  const lines = [
    deedTax(rules, deal, net),
    vat,
    ...surcharges(rules, vat),
    incomeTax(rules, deal, net),
  ];
  const sum = (payer: string) =>
    lines.reduce((total, line) => total + (line.payer === payer ? line.amount : 0n), 0n);
  return new Map<string, Json>([
    ["rules", rules.id],
    ["price", String(deal.price)],
    ["lines", lines.map(lineJson)],
    ["buyer", String(sum("buyer"))],
    ["seller", String(sum("seller"))],
    ["total", String(sum("buyer") + sum("seller"))],
  ]);
}

function lineJson(line: Line): JsonObject {
  return new Map<string, Json>([
    ["tax", line.tax],
    ["payer", line.payer],
    ["base", String(line.base)],
    ["rate", line.rate],
    ["amount", String(line.amount)],
    ["ground", line.ground],
  ]);
}

/** The quotient rounded half up. */
function halfUp(numerator: bigint, denominator: number): bigint {
  const whole = BigInt(denominator);
  return (2n * numerator + whole) / (2n * whole);
}

function valueAddedTax(rules: Rules, deal: DealContent): Line {
  const { payer, rate, exemptFromMonthsHeld } = rules.valueAddedTax;
  const tax = "value-added-tax";
  if (deal.monthsHeld >= exemptFromMonthsHeld) {
    return { tax, payer, base: deal.price, rate: 0, amount: 0n, ground: "held-long-enough" };
  }
  const amount = halfUp(deal.price * BigInt(rate), rules.basisPoints + rate);
  return { tax, payer, base: deal.price - amount, rate, amount, ground: "held-too-short" };
}

function surcharges(rules: Rules, vat: Line): Line[] {
  const { payer, surcharges } = rules.valueAddedTax;
  const whole = rules.basisPoints;
  return surcharges.map(({ tax, rate, due }) => ({
    tax,
    payer,
    base: vat.amount,
    rate: Math.floor((rate * due) / whole),
    amount: halfUp(vat.amount * BigInt(rate * due), whole * whole),
    ground: vat.amount ? "halved" : "no-value-added-tax",
  }));
}

function deedTax(rules: Rules, deal: DealContent, base: bigint): Line {
  const { payer, brackets, otherwise } = rules.deedTax;
  const bracket = brackets.find(
    ({ areaUpTo, buyerHomesBefore }) =>
      buyerHomesBefore === deal.buyerHomes && (areaUpTo === null || deal.area <= areaUpTo),
  );
  const rate = bracket?.rate ?? otherwise;
  const ground = bracket ? ["first-home", "second-home"][deal.buyerHomes] : "further-home";
  const amount = halfUp(base * BigInt(rate), rules.basisPoints);
  return { tax: "deed-tax", payer, base, rate, amount, ground };
}

function incomeTax(rules: Rules, deal: DealContent, base: bigint): Line {
  const { payer, exemptFromMonthsHeld, rateOnGain, rateOnPrice } = rules.incomeTax;
  const line = { tax: "income-tax", payer };
  if (deal.monthsHeld >= exemptFromMonthsHeld && deal.onlyHome) {
    return { ...line, base, rate: 0, amount: 0n, ground: "only-home-held-five-years" };
  }
  if (deal.originalPrice === null) {
    const amount = halfUp(base * BigInt(rateOnPrice), rules.basisPoints);
    return { ...line, base, rate: rateOnPrice, amount, ground: "on-price" };
  }
  const gain = base > deal.originalPrice ? base - deal.originalPrice : 0n;
  const amount = halfUp(gain * BigInt(rateOnGain), rules.basisPoints);
  return { ...line, base: gain, rate: rateOnGain, amount, ground: "on-gain" };
}
