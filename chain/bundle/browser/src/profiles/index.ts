/** The proof profiles by name. */
import type { Profiles } from "../verify.ts";
import { checkCredit } from "./credit.ts";
import { checkGrant } from "./grant.ts";
import { checkLane } from "./lane.ts";
import { checkProperty } from "./property.ts";
import { checkTrade } from "./trade.ts";

export const PROFILES: Profiles = new Map([
  ["trade", checkTrade],
  ["lane", checkLane],
  ["grant", checkGrant],
  ["credit", checkCredit],
  ["property", checkProperty],
]);
