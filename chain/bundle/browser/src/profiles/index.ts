/** The proof profiles by name. */
import type { Profiles } from "../verify.ts";
import { checkCredit } from "./credit.ts";
import { checkDispute } from "./dispute.ts";
import { checkGrant } from "./grant.ts";
import { checkLane } from "./lane.ts";
import { checkLook } from "./look.ts";
import { checkProperty } from "./property.ts";
import { checkTrade } from "./trade.ts";

export const PROFILES: Profiles = new Map([
  ["trade", checkTrade],
  ["lane", checkLane],
  ["look", checkLook],
  ["dispute", checkDispute],
  ["grant", checkGrant],
  ["credit", checkCredit],
  ["property", checkProperty],
]);
