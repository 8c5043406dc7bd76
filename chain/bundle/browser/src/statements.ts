/** The types of docs/statements.md: signed statements, and structs whose hash is an id. */
import {
  address,
  array,
  bool,
  bytes32,
  code,
  member,
  nested,
  StructType,
  uint8,
  uint16,
  uint32,
  uint64,
  uint128,
  uint256,
  type Fields,
  type Values,
} from "./eip712.ts";

const version = uint16;

const Approval = new StructType(
  "Approval",
  { version, callHash: bytes32, nonce: uint256, deadline: uint64 },
  "MemberDirectory",
);

const ApprovalWithdrawal = new StructType(
  "ApprovalWithdrawal",
  { version, callHash: bytes32, nonce: uint256, deadline: uint64 },
  "MemberDirectory",
);

export const SubjectKeyCertificate = new StructType(
  "SubjectKeyCertificate",
  {
    version,
    issuer: member,
    subject: bytes32,
    key: address,
    purpose: code,
    notBefore: uint64,
    notAfter: uint64,
  },
  "MemberDirectory",
);

export const GrantDecision = new StructType(
  "GrantDecision",
  { version, grantId: bytes32, approved: bool, reason: code, deadline: uint64 },
  "GrantRegistry",
);

export const GrantRevocation = new StructType(
  "GrantRevocation",
  { version, grantId: bytes32, reason: code, deadline: uint64 },
  "GrantRegistry",
);

const Share = new StructType("Share", { member, basisPoints: uint16 });

export const Agreement = new StructType(
  "Agreement",
  {
    version,
    grantId: bytes32,
    assetId: bytes32,
    assetVersion: uint32,
    provider: member,
    buyer: member,
    providerKey: address,
    buyerKey: address,
    purpose: code,
    unit: uint8,
    price: uint128,
    cap: uint128,
    maxUnits: uint64,
    maxPerCall: uint128,
    lanes: uint16,
    startsAt: uint64,
    endsAt: uint64,
    openBefore: uint64,
    closeWindowBlocks: uint32,
    closeWindowSeconds: uint32,
    arbiter: member,
    bond: uint128,
    bondFromEarnings: bool,
    stake: uint128,
    shares: array(nested(Share)),
    nonce: bytes32,
  },
  "TradeSettlement",
  [2n],
);

const DepositConfirmation = new StructType(
  "DepositConfirmation",
  {
    version,
    settlementBank: member,
    member,
    amount: uint128,
    bankReference: bytes32,
    deadline: uint64,
  },
  "TradeSettlement",
);

export const UsageRequest = new StructType(
  "UsageRequest",
  {
    version,
    agreementId: bytes32,
    lane: uint16,
    seq: uint64,
    maxUnits: uint64,
    maxAmount: uint128,
    acknowledgedUnits: uint64,
    acknowledgedAmount: uint128,
    previousReceipt: bytes32,
    requestCommitment: bytes32,
    expiry: uint64,
  },
  "TradeSettlement",
);

export const UsageReceipt = new StructType(
  "UsageReceipt",
  {
    version,
    agreementId: bytes32,
    lane: uint16,
    seq: uint64,
    request: bytes32,
    outcome: uint8,
    reason: code,
    responseCommitment: bytes32,
    units: uint64,
    amount: uint128,
    totalUnits: uint64,
    totalAmount: uint128,
    previousReceipt: bytes32,
    viewHeight: uint64,
    viewBlock: bytes32,
    policyVersion: uint32,
    issuedAt: uint64,
  },
  "TradeSettlement",
);

export const ReceiptVoid = new StructType(
  "ReceiptVoid",
  {
    version,
    agreementId: bytes32,
    lane: uint16,
    seq: uint64,
    receipt: bytes32,
    reason: code,
    issuedAt: uint64,
  },
  "TradeSettlement",
);

const RequestWithdrawal = new StructType(
  "RequestWithdrawal",
  { version, agreementId: bytes32, lane: uint16, seq: uint64, request: bytes32, issuedAt: uint64 },
  "TradeSettlement",
);

export const Voucher = new StructType(
  "Voucher",
  {
    version,
    agreementId: bytes32,
    lane: uint16,
    seq: uint64,
    acknowledgedUnits: uint64,
    acknowledgedAmount: uint128,
    receipt: bytes32,
  },
  "TradeSettlement",
);

const LaneTotal = new StructType("LaneTotal", {
  lane: uint16,
  seq: uint64,
  units: uint64,
  amount: uint128,
});

export const FinalSettlement = new StructType(
  "FinalSettlement",
  {
    version,
    agreementId: bytes32,
    units: uint64,
    amount: uint128,
    lanes: array(nested(LaneTotal)),
  },
  "TradeSettlement",
);

const LogPosition = new StructType("LogPosition", { member, index: uint64 });

export const Ruling = new StructType(
  "Ruling",
  {
    version,
    agreementId: bytes32,
    receipt: bytes32,
    outcome: uint8,
    amount: uint128,
    opinion: bytes32,
    deadline: uint64,
    evidence: array(nested(LogPosition)),
  },
  "TradeDisputes",
);

export const Consent = new StructType(
  "Consent",
  {
    version,
    subject: bytes32,
    bank: member,
    purpose: code,
    notBefore: uint64,
    notAfter: uint64,
    authority: address,
  },
  "CreditLedger",
);

const ConsentRegistration = new StructType(
  "ConsentRegistration",
  { version, commitment: bytes32, authority: address, deadline: uint64 },
  "CreditLedger",
);

export const ConsentWithdrawal = new StructType(
  "ConsentWithdrawal",
  { version, consent: bytes32, deadline: uint64 },
  "CreditLedger",
);

export const CreditQuery = new StructType(
  "CreditQuery",
  {
    version,
    bank: member,
    consent: bytes32,
    report: bytes32,
    receiptsRoot: bytes32,
    issuedAt: uint64,
  },
  "CreditLedger",
  [1n, 2n],
);

export const CreditDispute = new StructType(
  "CreditDispute",
  {
    version,
    department: member,
    assetId: bytes32,
    record: bytes32,
    claim: bytes32,
    authority: address,
    raisedAt: uint64,
  },
  "CreditLedger",
);

export const CreditRepair = new StructType(
  "CreditRepair",
  {
    version,
    disputeId: bytes32,
    department: member,
    upheld: bool,
    oldRecord: bytes32,
    newRecord: bytes32,
    assetVersion: uint32,
    repairedAt: uint64,
  },
  "CreditLedger",
);

export const TitleStatement = new StructType(
  "TitleStatement",
  {
    version,
    registrar: member,
    unit: bytes32,
    owner: bytes32,
    ownerKey: address,
    lastRegistration: bytes32,
    issuedAt: uint64,
    expiresAt: uint64,
  },
  "PropertyLedger",
);

export const DealStep = new StructType(
  "DealStep",
  { version, dealId: bytes32, step: uint8, content: bytes32, signedAt: uint64 },
  "PropertyLedger",
);

const UnitHold = new StructType(
  "UnitHold",
  {
    version,
    registrar: member,
    unit: bytes32,
    order: bytes32,
    placed: bool,
    issuedAt: uint64,
    endsAt: uint64,
  },
  "PropertyLedger",
);

export const AssetRecord = new StructType("AssetRecord", {
  version,
  holder: member,
  processor: member,
  operator: member,
  dataItem: code,
  name: code,
  assetVersion: uint32,
  grade: uint8,
  category: code,
  schemaHash: bytes32,
  recordsRoot: bytes32,
  rowCount: uint64,
  metadataHash: bytes32,
  parents: array(bytes32),
});

export const GrantTerms = new StructType("GrantTerms", {
  version,
  assetId: bytes32,
  assetVersion: uint32,
  owner: member,
  grantee: member,
  operations: uint16,
  scene: code,
  purpose: code,
  scope: bytes32,
  notBefore: uint64,
  notAfter: uint64,
  maxUses: uint64,
  nonce: bytes32,
});

export const DealTerms = new StructType("DealTerms", {
  version,
  unit: bytes32,
  seller: address,
  buyer: address,
  agent: member,
  bank: member,
  taxAuthority: member,
  notary: member,
  registrar: member,
  content: bytes32,
  expiresAt: uint64,
  nonce: bytes32,
});

export type AnyStruct = StructType<Fields>;
/** The values of a struct type. */
export type Of<T> = T extends StructType<infer F> ? Values<F> : never;

function byName(...types: StructType<any>[]): ReadonlyMap<string, AnyStruct> {
  return new Map(types.map((type) => [type.name, type]));
}

export const STATEMENTS = byName(
  Approval,
  ApprovalWithdrawal,
  SubjectKeyCertificate,
  GrantDecision,
  GrantRevocation,
  Agreement,
  DepositConfirmation,
  UsageRequest,
  UsageReceipt,
  ReceiptVoid,
  RequestWithdrawal,
  Voucher,
  FinalSettlement,
  Ruling,
  Consent,
  ConsentRegistration,
  ConsentWithdrawal,
  CreditQuery,
  CreditDispute,
  CreditRepair,
  TitleStatement,
  DealStep,
  UnitHold,
);

/** What a bundle may hold unsigned; the last three where the chain took them under signatures. */
export const STRUCTS = byName(AssetRecord, GrantTerms, DealTerms, Agreement, UsageReceipt, Ruling);

/** What a key may sign. */
export const Purpose = {
  ADMIN: 1,
  APPROVAL: 2,
  TRANSACTION: 3,
  STATEMENT: 4,
  TOKEN: 5,
  LOG: 6,
  TLS: 7,
} as const;

export const SECP256K1 = 1;

/** What an organisation is admitted as. */
export const Role = { DEPARTMENT: 2n, BANK: 4n } as const;
