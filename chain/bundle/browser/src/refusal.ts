/** Why a bundle is refused: a stable code, and the kind of failure it belongs to. */

/** The kinds of failure, by the exit code of `qiaolian verify`. */
export const Kind = {
  MALFORMED: 10,
  SIGNATURE: 11,
  INCLUSION: 12,
  ANCHOR: 13,
  FINALITY: 14,
  TRUST: 15,
  CONSISTENCY: 16,
} as const;

export type Kind = (typeof Kind)[keyof typeof Kind];

export class Refusal extends Error {
  constructor(
    readonly kind: Kind,
    readonly code: string,
    readonly sentence: string,
  ) {
    super(sentence);
  }
}

export function malformed(sentence: string): Refusal {
  return new Refusal(Kind.MALFORMED, "bundle_malformed", sentence);
}

export function inconsistent(code: string, sentence: string): Refusal {
  return new Refusal(Kind.CONSISTENCY, code, sentence);
}

/** Refuse the bundle as inconsistent unless the condition holds. */
export function require(condition: boolean, code: string, sentence: string): asserts condition {
  if (!condition) throw inconsistent(code, sentence);
}
