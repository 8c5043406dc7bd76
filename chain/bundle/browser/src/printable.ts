/** Text from strangers, made safe to show: characters that do more than show in a line become
 * escapes, and long text is cut. */

const MAX_LINE = 2_000;
const MAX_QUOTED = 120;
const MAX_MARKS = 2;
/** Controls, formats, surrogates, private and unassigned code points, spaces but the plain ones. */
const UNSAFE = /[\p{C}\p{Z}]/u;
/** Letters and marks that are drawn as nothing, variation selectors and tags. */
const HIDDEN =
  /[\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\ufe00-\ufe0f\u180b-\u180f\u{e0000}-\u{e0fff}]/u;

/** One line without control over the text around it. */
export function printable(text: string): string {
  return shortened(text, MAX_LINE, (cut) => escaped(cut));
}

/** A stranger's text in quotation marks. */
export function quoted(text: string): string {
  return shortened(text, MAX_QUOTED, (cut) => {
    return `"${escaped(cut.replaceAll("\\", "\\\\").replaceAll('"', '\\"'))}"`;
  });
}

function shortened(text: string, limit: number, show: (cut: string) => string): string {
  const characters = [...text];
  const leftOut = characters.length - limit;
  if (leftOut <= 0) return show(text);
  const count = leftOut.toLocaleString("en-US");
  return `${show(characters.slice(0, limit).join(""))}… (${count} more characters)`;
}

function escaped(text: string): string {
  let shown = "";
  let marks = 0;
  for (const character of text) {
    marks = /\p{M}/u.test(character) ? marks + 1 : 0;
    shown += isUnsafe(character) || marks > MAX_MARKS ? escape(character) : character;
  }
  return shown;
}

function isUnsafe(character: string): boolean {
  if (character === " " || character === "\u3000") return false;
  return UNSAFE.test(character) || HIDDEN.test(character);
}

function escape(character: string): string {
  const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  if (named) return named;
  const code = character.codePointAt(0)!;
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}

/** Unix seconds as `2026-11-30 05:45:40 UTC`; beyond the year 9999 the number itself. */
export function utc(seconds: number | bigint): string {
  if (seconds > 253_402_300_799) return `${seconds} seconds after 1970 UTC`;
  const text = new Date(Number(seconds) * 1000).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}
