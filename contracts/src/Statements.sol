// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Statements of the network
/// @notice The typed structs that members, officers and subjects sign (EIP-712), and those whose hash is an id. The same types are in
/// `chain/statements`; shared vectors prove both sides byte-equal. Fields are documented in `docs/statements.md`.
/// @dev A struct of static fields ABI-encodes to exactly the words EIP-712 hashes, so `abi.encode(TYPEHASH, s)` is its encodeData. Structs
/// with arrays hash those by hand.

struct Share {
    bytes18 member;
    uint16 basisPoints;
}

struct AssetRecord {
    uint16 version;
    bytes18 holder;
    bytes18 processor;
    bytes18 operator;
    bytes32 dataItem;
    bytes32 name;
    uint32 assetVersion;
    uint8 grade;
    bytes32 category;
    bytes32 schemaHash;
    bytes32 recordsRoot;
    uint64 rowCount;
    bytes32 metadataHash;
    bytes32[] parents;
}

struct GrantTerms {
    uint16 version;
    bytes32 assetId;
    uint32 assetVersion;
    bytes18 owner;
    bytes18 grantee;
    uint16 operations;
    bytes32 scene;
    bytes32 purpose;
    bytes32 scope;
    uint64 notBefore;
    uint64 notAfter;
    uint64 maxUses;
    bytes32 nonce;
}

struct DealTerms {
    uint16 version;
    bytes32 unit;
    address seller;
    address buyer;
    bytes18 agent;
    bytes18 bank;
    bytes18 taxAuthority;
    bytes18 notary;
    bytes18 registrar;
    bytes32 content;
    uint64 expiresAt;
    bytes32 nonce;
}

struct Approval {
    uint16 version;
    bytes32 callHash;
    uint256 nonce;
    uint64 deadline;
}

struct ApprovalWithdrawal {
    uint16 version;
    bytes32 callHash;
    uint256 nonce;
    uint64 deadline;
}

struct SubjectKeyCertificate {
    uint16 version;
    bytes18 issuer;
    bytes32 subject;
    address key;
    bytes32 purpose;
    uint64 notBefore;
    uint64 notAfter;
}

struct GrantDecision {
    uint16 version;
    bytes32 grantId;
    bool approved;
    bytes32 reason;
    uint64 deadline;
}

struct GrantRevocation {
    uint16 version;
    bytes32 grantId;
    bytes32 reason;
    uint64 deadline;
}

struct Agreement {
    uint16 version;
    bytes32 grantId;
    bytes32 assetId;
    uint32 assetVersion;
    bytes18 provider;
    bytes18 buyer;
    address providerKey;
    address buyerKey;
    bytes32 purpose;
    uint8 unit;
    uint128 price;
    uint128 cap;
    uint64 maxUnits;
    uint128 maxPerCall;
    uint16 lanes;
    uint64 startsAt;
    uint64 endsAt;
    uint64 openBefore;
    uint32 closeWindowBlocks;
    uint32 closeWindowSeconds;
    bytes18 arbiter;
    uint128 bond;
    bool bondFromEarnings;
    uint128 stake;
    Share[] shares;
    bytes32 nonce;
}

struct DepositConfirmation {
    uint16 version;
    bytes18 settlementBank;
    bytes18 member;
    uint128 amount;
    bytes32 bankReference;
    uint64 deadline;
}

struct UsageRequest {
    uint16 version;
    bytes32 agreementId;
    uint16 lane;
    uint64 seq;
    uint64 maxUnits;
    uint128 maxAmount;
    uint64 acknowledgedUnits;
    uint128 acknowledgedAmount;
    bytes32 previousReceipt;
    bytes32 requestCommitment;
    uint64 expiry;
}

struct UsageReceipt {
    uint16 version;
    bytes32 agreementId;
    uint16 lane;
    uint64 seq;
    bytes32 request;
    uint8 outcome;
    bytes32 reason;
    bytes32 responseCommitment;
    uint64 units;
    uint128 amount;
    uint64 totalUnits;
    uint128 totalAmount;
    bytes32 previousReceipt;
    uint64 viewHeight;
    bytes32 viewBlock;
    uint32 policyVersion;
    uint64 issuedAt;
}

struct ReceiptVoid {
    uint16 version;
    bytes32 agreementId;
    uint16 lane;
    uint64 seq;
    bytes32 receipt;
    bytes32 reason;
    uint64 issuedAt;
}

struct RequestWithdrawal {
    uint16 version;
    bytes32 agreementId;
    uint16 lane;
    uint64 seq;
    bytes32 request;
    uint64 issuedAt;
}

struct Voucher {
    uint16 version;
    bytes32 agreementId;
    uint16 lane;
    uint64 seq;
    uint64 acknowledgedUnits;
    uint128 acknowledgedAmount;
    bytes32 receipt;
}

struct LaneTotal {
    uint16 lane;
    uint64 seq;
    uint64 units;
    uint128 amount;
}

struct FinalSettlement {
    uint16 version;
    bytes32 agreementId;
    uint64 units;
    uint128 amount;
    LaneTotal[] lanes;
}

struct LogPosition {
    bytes18 member;
    uint64 index;
}

struct Ruling {
    uint16 version;
    bytes32 agreementId;
    bytes32 receipt;
    uint8 outcome;
    uint128 amount;
    bytes32 opinion;
    uint64 deadline;
    LogPosition[] evidence;
}

struct Consent {
    uint16 version;
    bytes32 subject;
    bytes18 bank;
    bytes32 purpose;
    uint64 notBefore;
    uint64 notAfter;
    address authority;
}

struct ConsentRegistration {
    uint16 version;
    bytes32 commitment;
    address authority;
    uint64 deadline;
}

struct ConsentWithdrawal {
    uint16 version;
    bytes32 consent;
    uint64 deadline;
}

struct CreditQuery {
    uint16 version;
    bytes18 bank;
    bytes32 consent;
    bytes32 report;
    bytes32 receiptsRoot;
    uint64 issuedAt;
}

struct CreditDispute {
    uint16 version;
    bytes18 department;
    bytes32 assetId;
    bytes32 record;
    bytes32 claim;
    address authority;
    uint64 raisedAt;
}

struct CreditRepair {
    uint16 version;
    bytes32 disputeId;
    bytes18 department;
    bool upheld;
    bytes32 oldRecord;
    bytes32 newRecord;
    uint32 assetVersion;
    uint64 repairedAt;
}

struct TitleStatement {
    uint16 version;
    bytes18 registrar;
    bytes32 unit;
    bytes32 owner;
    address ownerKey;
    bytes32 lastRegistration;
    uint64 issuedAt;
    uint64 expiresAt;
}

struct DealStep {
    uint16 version;
    bytes32 dealId;
    uint8 step;
    bytes32 content;
    uint64 signedAt;
}

struct UnitHold {
    uint16 version;
    bytes18 registrar;
    bytes32 unit;
    bytes32 order;
    bool placed;
    uint64 issuedAt;
    uint64 endsAt;
}

library Statements {
    bytes32 internal constant SHARE_TYPEHASH = keccak256("Share(bytes18 member,uint16 basisPoints)");

    bytes32 internal constant ASSET_RECORD_TYPEHASH = keccak256(
        "AssetRecord(uint16 version,bytes18 holder,bytes18 processor,bytes18 operator,bytes32 "
        "dataItem,bytes32 name,uint32 assetVersion,uint8 grade,bytes32 category,bytes32 "
        "schemaHash,bytes32 recordsRoot,uint64 rowCount,bytes32 metadataHash,bytes32[] parents)"
    );

    bytes32 internal constant GRANT_TERMS_TYPEHASH = keccak256(
        "GrantTerms(uint16 version,bytes32 assetId,uint32 assetVersion,bytes18 owner,bytes18 "
        "grantee,uint16 operations,bytes32 scene,bytes32 purpose,bytes32 scope,uint64 "
        "notBefore,uint64 notAfter,uint64 maxUses,bytes32 nonce)"
    );

    bytes32 internal constant DEAL_TERMS_TYPEHASH = keccak256(
        "DealTerms(uint16 version,bytes32 unit,address seller,address buyer,bytes18 agent,bytes18 "
        "bank,bytes18 taxAuthority,bytes18 notary,bytes18 registrar,bytes32 content,uint64 " "expiresAt,bytes32 nonce)"
    );

    bytes32 internal constant APPROVAL_TYPEHASH =
        keccak256("Approval(uint16 version,bytes32 callHash,uint256 nonce,uint64 deadline)");

    bytes32 internal constant APPROVAL_WITHDRAWAL_TYPEHASH =
        keccak256("ApprovalWithdrawal(uint16 version,bytes32 callHash,uint256 nonce,uint64 deadline)");

    bytes32 internal constant SUBJECT_KEY_CERTIFICATE_TYPEHASH = keccak256(
        "SubjectKeyCertificate(uint16 version,bytes18 issuer,bytes32 subject,address key,bytes32 "
        "purpose,uint64 notBefore,uint64 notAfter)"
    );

    bytes32 internal constant GRANT_DECISION_TYPEHASH =
        keccak256("GrantDecision(uint16 version,bytes32 grantId,bool approved,bytes32 reason,uint64 deadline)");

    bytes32 internal constant GRANT_REVOCATION_TYPEHASH =
        keccak256("GrantRevocation(uint16 version,bytes32 grantId,bytes32 reason,uint64 deadline)");

    bytes32 internal constant AGREEMENT_TYPEHASH = keccak256(
        "Agreement(uint16 version,bytes32 grantId,bytes32 assetId,uint32 assetVersion,bytes18 "
        "provider,bytes18 buyer,address providerKey,address buyerKey,bytes32 purpose,uint8 "
        "unit,uint128 price,uint128 cap,uint64 maxUnits,uint128 maxPerCall,uint16 lanes,uint64 "
        "startsAt,uint64 endsAt,uint64 openBefore,uint32 closeWindowBlocks,uint32 "
        "closeWindowSeconds,bytes18 arbiter,uint128 bond,bool bondFromEarnings,uint128 "
        "stake,Share[] shares,bytes32 nonce)Share(bytes18 member,uint16 basisPoints)"
    );

    bytes32 internal constant DEPOSIT_CONFIRMATION_TYPEHASH = keccak256(
        "DepositConfirmation(uint16 version,bytes18 settlementBank,bytes18 member,uint128 "
        "amount,bytes32 bankReference,uint64 deadline)"
    );

    bytes32 internal constant USAGE_REQUEST_TYPEHASH = keccak256(
        "UsageRequest(uint16 version,bytes32 agreementId,uint16 lane,uint64 seq,uint64 "
        "maxUnits,uint128 maxAmount,uint64 acknowledgedUnits,uint128 acknowledgedAmount,bytes32 "
        "previousReceipt,bytes32 requestCommitment,uint64 expiry)"
    );

    bytes32 internal constant USAGE_RECEIPT_TYPEHASH = keccak256(
        "UsageReceipt(uint16 version,bytes32 agreementId,uint16 lane,uint64 seq,bytes32 "
        "request,uint8 outcome,bytes32 reason,bytes32 responseCommitment,uint64 units,uint128 "
        "amount,uint64 totalUnits,uint128 totalAmount,bytes32 previousReceipt,uint64 "
        "viewHeight,bytes32 viewBlock,uint32 policyVersion,uint64 issuedAt)"
    );

    bytes32 internal constant RECEIPT_VOID_TYPEHASH = keccak256(
        "ReceiptVoid(uint16 version,bytes32 agreementId,uint16 lane,uint64 seq,bytes32 "
        "receipt,bytes32 reason,uint64 issuedAt)"
    );

    bytes32 internal constant REQUEST_WITHDRAWAL_TYPEHASH = keccak256(
        "RequestWithdrawal(uint16 version,bytes32 agreementId,uint16 lane,uint64 seq,bytes32 "
        "request,uint64 issuedAt)"
    );

    bytes32 internal constant VOUCHER_TYPEHASH = keccak256(
        "Voucher(uint16 version,bytes32 agreementId,uint16 lane,uint64 seq,uint64 "
        "acknowledgedUnits,uint128 acknowledgedAmount,bytes32 receipt)"
    );

    bytes32 internal constant LANE_TOTAL_TYPEHASH =
        keccak256("LaneTotal(uint16 lane,uint64 seq,uint64 units,uint128 amount)");

    bytes32 internal constant FINAL_SETTLEMENT_TYPEHASH = keccak256(
        "FinalSettlement(uint16 version,bytes32 agreementId,uint64 units,uint128 amount,LaneTotal[] "
        "lanes)LaneTotal(uint16 lane,uint64 seq,uint64 units,uint128 amount)"
    );

    bytes32 internal constant LOG_POSITION_TYPEHASH = keccak256("LogPosition(bytes18 member,uint64 index)");

    bytes32 internal constant RULING_TYPEHASH = keccak256(
        "Ruling(uint16 version,bytes32 agreementId,bytes32 receipt,uint8 outcome,uint128 "
        "amount,bytes32 opinion,uint64 deadline,LogPosition[] evidence)LogPosition(bytes18 " "member,uint64 index)"
    );

    bytes32 internal constant CONSENT_TYPEHASH = keccak256(
        "Consent(uint16 version,bytes32 subject,bytes18 bank,bytes32 purpose,uint64 "
        "notBefore,uint64 notAfter,address authority)"
    );

    bytes32 internal constant CONSENT_REGISTRATION_TYPEHASH =
        keccak256("ConsentRegistration(uint16 version,bytes32 commitment,address authority,uint64 deadline)");

    bytes32 internal constant CONSENT_WITHDRAWAL_TYPEHASH =
        keccak256("ConsentWithdrawal(uint16 version,bytes32 consent,uint64 deadline)");

    bytes32 internal constant CREDIT_QUERY_TYPEHASH = keccak256(
        "CreditQuery(uint16 version,bytes18 bank,bytes32 consent,bytes32 report,bytes32 "
        "receiptsRoot,uint64 issuedAt)"
    );

    bytes32 internal constant CREDIT_DISPUTE_TYPEHASH = keccak256(
        "CreditDispute(uint16 version,bytes18 department,bytes32 assetId,bytes32 record,bytes32 "
        "claim,address authority,uint64 raisedAt)"
    );

    bytes32 internal constant CREDIT_REPAIR_TYPEHASH = keccak256(
        "CreditRepair(uint16 version,bytes32 disputeId,bytes18 department,bool upheld,bytes32 "
        "oldRecord,bytes32 newRecord,uint32 assetVersion,uint64 repairedAt)"
    );

    bytes32 internal constant TITLE_STATEMENT_TYPEHASH = keccak256(
        "TitleStatement(uint16 version,bytes18 registrar,bytes32 unit,bytes32 owner,address "
        "ownerKey,bytes32 lastRegistration,uint64 issuedAt,uint64 expiresAt)"
    );

    bytes32 internal constant DEAL_STEP_TYPEHASH =
        keccak256("DealStep(uint16 version,bytes32 dealId,uint8 step,bytes32 content,uint64 signedAt)");

    bytes32 internal constant UNIT_HOLD_TYPEHASH = keccak256(
        "UnitHold(uint16 version,bytes18 registrar,bytes32 unit,bytes32 order,bool placed,uint64 "
        "issuedAt,uint64 endsAt)"
    );

    function hash(Share memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(SHARE_TYPEHASH, s));
    }

    function hash(AssetRecord memory s) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                abi.encode(
                    ASSET_RECORD_TYPEHASH,
                    s.version,
                    s.holder,
                    s.processor,
                    s.operator,
                    s.dataItem,
                    s.name,
                    s.assetVersion
                ),
                abi.encode(
                    s.grade,
                    s.category,
                    s.schemaHash,
                    s.recordsRoot,
                    s.rowCount,
                    s.metadataHash,
                    keccak256(abi.encodePacked(s.parents))
                )
            )
        );
    }

    function hash(GrantTerms memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(GRANT_TERMS_TYPEHASH, s));
    }

    function hash(DealTerms memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(DEAL_TERMS_TYPEHASH, s));
    }

    function hash(Approval memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPROVAL_TYPEHASH, s));
    }

    function hash(ApprovalWithdrawal memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPROVAL_WITHDRAWAL_TYPEHASH, s));
    }

    function hash(SubjectKeyCertificate memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(SUBJECT_KEY_CERTIFICATE_TYPEHASH, s));
    }

    function hash(GrantDecision memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(GRANT_DECISION_TYPEHASH, s));
    }

    function hash(GrantRevocation memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(GRANT_REVOCATION_TYPEHASH, s));
    }

    function hash(Agreement memory s) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                abi.encode(
                    AGREEMENT_TYPEHASH,
                    s.version,
                    s.grantId,
                    s.assetId,
                    s.assetVersion,
                    s.provider,
                    s.buyer,
                    s.providerKey
                ),
                abi.encode(s.buyerKey, s.purpose, s.unit, s.price, s.cap, s.maxUnits, s.maxPerCall, s.lanes),
                abi.encode(
                    s.startsAt, s.endsAt, s.openBefore, s.closeWindowBlocks, s.closeWindowSeconds, s.arbiter, s.bond
                ),
                abi.encode(s.bondFromEarnings, s.stake, hash(s.shares), s.nonce)
            )
        );
    }

    function hash(DepositConfirmation memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(DEPOSIT_CONFIRMATION_TYPEHASH, s));
    }

    function hash(UsageRequest memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(USAGE_REQUEST_TYPEHASH, s));
    }

    function hash(UsageReceipt memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(USAGE_RECEIPT_TYPEHASH, s));
    }

    function hash(ReceiptVoid memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_VOID_TYPEHASH, s));
    }

    function hash(RequestWithdrawal memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(REQUEST_WITHDRAWAL_TYPEHASH, s));
    }

    function hash(Voucher memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, s));
    }

    function hash(LaneTotal memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(LANE_TOTAL_TYPEHASH, s));
    }

    function hash(FinalSettlement memory s) internal pure returns (bytes32) {
        return
            keccak256(abi.encode(FINAL_SETTLEMENT_TYPEHASH, s.version, s.agreementId, s.units, s.amount, hash(s.lanes)));
    }

    function hash(LogPosition memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(LOG_POSITION_TYPEHASH, s));
    }

    function hash(Ruling memory s) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                RULING_TYPEHASH,
                s.version,
                s.agreementId,
                s.receipt,
                s.outcome,
                s.amount,
                s.opinion,
                s.deadline,
                hash(s.evidence)
            )
        );
    }

    function hash(Consent memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CONSENT_TYPEHASH, s));
    }

    function hash(ConsentRegistration memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CONSENT_REGISTRATION_TYPEHASH, s));
    }

    function hash(ConsentWithdrawal memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CONSENT_WITHDRAWAL_TYPEHASH, s));
    }

    function hash(CreditQuery memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CREDIT_QUERY_TYPEHASH, s));
    }

    function hash(CreditDispute memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CREDIT_DISPUTE_TYPEHASH, s));
    }

    function hash(CreditRepair memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(CREDIT_REPAIR_TYPEHASH, s));
    }

    function hash(TitleStatement memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(TITLE_STATEMENT_TYPEHASH, s));
    }

    function hash(DealStep memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(DEAL_STEP_TYPEHASH, s));
    }

    function hash(UnitHold memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(UNIT_HOLD_TYPEHASH, s));
    }

    function hash(Share[] memory shares) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](shares.length);
        for (uint256 i = 0; i < shares.length; ++i) {
            hashes[i] = hash(shares[i]);
        }
        return keccak256(abi.encodePacked(hashes));
    }

    function hash(LogPosition[] memory positions) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](positions.length);
        for (uint256 i = 0; i < positions.length; ++i) {
            hashes[i] = hash(positions[i]);
        }
        return keccak256(abi.encodePacked(hashes));
    }

    function hash(LaneTotal[] memory lanes) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](lanes.length);
        for (uint256 i = 0; i < lanes.length; ++i) {
            hashes[i] = hash(lanes[i]);
        }
        return keccak256(abi.encodePacked(hashes));
    }
}
