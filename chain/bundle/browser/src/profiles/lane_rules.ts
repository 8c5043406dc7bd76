/** The rules of a lane: what a request acknowledges, and what a receipt may say. */
import { equal, type Bytes } from "../bytes.ts";
import { require } from "../refusal.ts";
import type { Agreement, Of, UsageReceipt, UsageRequest } from "../statements.ts";

/** The state of a lane after its last position. */
export interface LaneState {
  seq: bigint;
  units: bigint;
  amount: bigint;
  /** Struct hash of the last position's receipt. */
  receipt: Bytes;
}

export const SERVED = 0n;
export const REFUSED = 1n;
export const START: LaneState = { seq: 0n, units: 0n, amount: 0n, receipt: new Uint8Array(32) };

/** The request acknowledges exactly what was delivered before it. */
export function requireAcknowledged(state: LaneState, request: Of<typeof UsageRequest>): void {
  require(
    request.acknowledgedUnits === state.units &&
      request.acknowledgedAmount === state.amount &&
      equal(request.previousReceipt, state.receipt),
    "acknowledgement_differs",
    "The request does not acknowledge exactly what was delivered before it.",
  );
}

/** The receipt answers this request and continues the lane's state. */
export function requireReceipt(
  agreement: Of<typeof Agreement>,
  state: LaneState,
  request: Of<typeof UsageRequest>,
  requestHash: Bytes,
  receipt: Of<typeof UsageReceipt>,
): void {
  require(
    equal(receipt.agreementId, request.agreementId) &&
      receipt.lane === request.lane &&
      receipt.seq === request.seq &&
      equal(receipt.request, requestHash),
    "receipt_of_other",
    "The receipt answers another request.",
  );
  const served = receipt.outcome === SERVED;
  require(
    (served || receipt.outcome === REFUSED) && served === (receipt.reason === ""),
    "receipt_of_other",
    "The receipt is neither a service nor a refusal with its reason.",
  );
  require(
    receipt.amount === receipt.units * agreement.price && served === receipt.units > 0n,
    "receipt_wrong_amount",
    "The receipt's amount is not the price of its units.",
  );
  require(
    receipt.units <= request.maxUnits && receipt.amount <= request.maxAmount,
    "receipt_wrong_amount",
    "The receipt is for more than the request allowed.",
  );
  require(
    receipt.totalUnits === state.units + receipt.units &&
      receipt.totalAmount === state.amount + receipt.amount &&
      equal(receipt.previousReceipt, state.receipt),
    "receipt_wrong_totals",
    "The receipt's totals do not continue the lane's books.",
  );
}
