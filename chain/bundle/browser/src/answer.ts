/** The answer of `qiaolian verify --json`, from this implementation. */
import { printable } from "./printable.ts";
import { render } from "./sentences.ts";
import type { Result } from "./verify.ts";

export function answer(result: Result): object {
  if (!result.valid) return { ...result, sentence: printable(result.sentence) };
  const { profile, height, time } = result;
  const [proved, limits] = [result.proved, result.limits].map((sentences) => {
    return sentences.map((sentence) => printable(render(sentence, "en")));
  });
  return { valid: true, story: profile, height, time, proved, limits };
}
