/** The page: two files in, one verdict out. Nothing leaves it and nothing is stored. */
import { toHex, type Bytes } from "../bytes.ts";
import { sha256 } from "../crypto.ts";
import { printable, utc } from "../printable.ts";
import { PROFILES } from "../profiles/index.ts";
import { render, type Language, type Sentence } from "../sentences.ts";
import { verify, type Invalid, type Result, type Valid } from "../verify.ts";
import CODES from "./codes.json";
import { TEXTS, type TextName } from "./texts.ts";

const MAX_BUNDLE = 64_000_000;
const MAX_TRUST = 1_000_000;

interface LoadedFile {
  name: string;
  data: Bytes;
}

interface Verdict {
  result: Result;
  seconds: number;
}

type Slot = "bundle" | "trust";
type Meaning = Record<Language, string>;

let language: Language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
let verdict: Verdict | null = null;
const files: Partial<Record<Slot, LoadedFile>> = {};

function text(name: TextName): string {
  return TEXTS[name][language];
}

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function byId(id: string): HTMLElement {
  return document.getElementById(id)!;
}

async function load(slot: Slot, file: File | undefined): Promise<void> {
  delete files[slot];
  verdict = null;
  const shown = document.querySelector(`output[for="${slot}"]`)!;
  shown.textContent = "";
  show();
  if (!file) return;
  if (file.size > (slot === "bundle" ? MAX_BUNDLE : MAX_TRUST)) {
    shown.textContent = text("tooLarge");
    return;
  }
  try {
    files[slot] = { name: file.name, data: new Uint8Array(await file.arrayBuffer()) };
  } catch {
    shown.textContent = text("unreadable");
    return;
  }
  shown.textContent = `${printable(file.name)} · ${file.size.toLocaleString()} ${text("bytes")}`;
  check();
}

/** Verify once both files are there, after the page has announced it. */
function check(): void {
  const { bundle, trust } = files;
  if (!bundle || !trust) return;
  byId("verdict").className = "";
  byId("verdict").replaceChildren(element("p", text("checking")));
  setTimeout(() => {
    const began = performance.now();
    const result = verify(bundle.data, trust.data, PROFILES, MAX_BUNDLE);
    verdict = { result, seconds: (performance.now() - began) / 1000 };
    show();
  });
}

function show(): void {
  document.documentElement.lang = language;
  for (const labelled of document.querySelectorAll<HTMLElement>("[data-text]")) {
    labelled.textContent = text(labelled.dataset.text as TextName);
  }
  const other = language === "en" ? "zh" : "en";
  byId("language").textContent = other === "zh" ? "中文" : "English";
  byId("language").lang = other;
  const place = byId("verdict");
  place.replaceChildren();
  place.className = verdict === null ? "" : verdict.result.valid ? "valid" : "invalid";
  if (verdict === null) return;
  const { result } = verdict;
  place.append(...(result.valid ? validResult(result) : invalidResult(result)));
  place.append(element("h3", text("details")), details(verdict));
  const print = element("button", text("print"));
  print.type = "button";
  print.addEventListener("click", () => window.print());
  place.append(print);
}

function validResult(result: Valid): Node[] {
  return [
    element("h2", text("valid")),
    element("h3", text("proved")),
    sentenceList(result.proved),
    element("h3", text("limits")),
    sentenceList(result.limits),
  ];
}

function sentenceList(sentences: Sentence[]): HTMLElement {
  const items = sentences.map((sentence) => element("li", printable(render(sentence, language))));
  return element("ul", ...items);
}

function invalidResult({ code, exit, sentence }: Invalid): Node[] {
  const known = (CODES as Record<string, { sentence: Meaning; next: Meaning }>)[code];
  const rows: [TextName, Node | string][] = [
    ["code", element("code", code)],
    ["reason", known?.sentence[language] ?? text(`kind${exit}`)],
    ["found", printable(sentence)],
  ];
  if (known) rows.push(["next", known.next[language]]);
  return [element("h2", text("invalid")), element("p", text(`kind${exit}`)), table(rows)];
}

function details({ result, seconds }: Verdict): HTMLElement {
  const rows: [TextName, Node | string][] = [];
  if (result.valid) {
    const { height, time, profile } = result;
    rows.push(["kind", profile in TEXTS ? text(profile as TextName) : printable(profile)]);
    rows.push(["newestBlock", `${height} (${utc(time)})`]);
  }
  const hashes = [["bundle", "bundleHash"], ["trust", "trustHash"]] as const;
  for (const [slot, label] of hashes) {
    const { name, data } = files[slot]!;
    const hash = element("code", toHex(sha256(data)).slice(2));
    rows.push([label, element("span", hash, ` ${printable(name)}`)]);
  }
  rows.push(["duration", `${seconds.toFixed(2)} s`]);
  return table(rows);
}

function table(rows: [TextName, Node | string][]): HTMLElement {
  const cells = rows.flatMap(([label, value]) => [
    element("dt", text(label)),
    element("dd", value),
  ]);
  return element("dl", ...cells);
}

function prepare(slot: Slot): void {
  const input = byId(slot) as HTMLInputElement;
  const drop = input.closest<HTMLElement>(".drop")!;
  input.addEventListener("change", () => void load(slot, input.files?.[0]));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => void load(slot, event.dataTransfer?.files[0]));
}

prepare("bundle");
prepare("trust");
byId("language").addEventListener("click", () => {
  language = language === "en" ? "zh" : "en";
  show();
});
show();
