/** Members as a bundle proves them: a subject's key is certified by an active department. */
import type { Claims } from "../claims.ts";
import { memberLiveAt, memberRecord, type MemberRecord } from "../records.ts";
import { inconsistent, require } from "../refusal.ts";
import { Role } from "../statements.ts";

const DIRECTORY = "MemberDirectory";

export function hasRole(record: MemberRecord, role: bigint): boolean {
  return (record.roles & role) !== 0n;
}

export function provedMember(claims: Claims, member: string): MemberRecord {
  return memberRecord(claims.value(DIRECTORY, "members", [member]));
}

/** Refuse a subject's key whose issuer was no active department in a block. */
export function requireIssuer(claims: Claims, member: string, block: number): void {
  const record = memberAt(claims, member, block);
  require(
    memberLiveAt(record, block) && hasRole(record, Role.DEPARTMENT),
    "issuer_not_department",
    `A subject's key is certified by ${member}, which was no active department then.`,
  );
}

/** The record that covers a block: the current one, or an earlier one by the height it ended at. */
function memberAt(claims: Claims, member: string, block: number): MemberRecord {
  let record = provedMember(claims, member);
  while (block < record.validFrom) {
    const { validFrom } = record;
    const keys = [member, validFrom];
    record = memberRecord(claims.value(DIRECTORY, "earlierMembers", keys));
    if (record.liftedAt !== validFrom || record.validFrom >= validFrom) {
      const sentence = "An earlier record of a member does not continue the one that names it.";
      throw inconsistent("earlier_record_wrong", sentence);
    }
  }
  return record;
}
