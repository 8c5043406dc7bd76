"""A grant's life, checked from a bundle: asked for, decided by the owner's chief data officer,
perhaps revoked. Pure.

``subject`` is ``{"grantId": 0x…}``. The bundle must hold, and this checks in this order:

1. the terms, whose struct hash is the grant id;
2. the asset's record, which AssetRegistry proves to be the version the terms name, held by the
   owner;
3. the decision, signed with an APPROVAL key of the owner and entered in the owner's anchored log;
4. the chain's record of the grant, which must agree;
5. when the bundle holds a revocation: signed by the owner, entered in its log, and the very one
   that the chain took, whose hash it keeps; another reason is refused. A revocation that the
   officer sent without the owner's node is proved by the record alone, which the contract sets for
   no other signature.

If the scope is opened, the report names its columns; otherwise it says that they are not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.bundle.claims import VerifiedClaims, VerifiedStatement
from chain.core import schema
from chain.core.crypto import keccak256
from chain.core.errors import Inconsistent
from chain.core.printable import quoted, utc
from chain.ethereum.eip712 import encode_code, encode_member
from chain.ethereum.records import GrantRecord
from chain.statements.assets import AssetRecord
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms, Operation
from chain.statements.members import KeyPurpose

SCOPE_DOMAIN = "qiaolian.scope.v1"
SCOPE_NOT_DISCLOSED = (
    "The scope is committed to and not opened in this bundle: "
    "which columns the grant covers is not shown."
)


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.core.errors.Inconsistent`` otherwise."""
    terms = claims.struct(GrantTerms)
    grant_id = terms.struct_hash()
    _require(set(subject) == {"grantId"}, "subject_differs", "The bundle's subject is not a grant.")
    _require(
        subject["grantId"] == "0x" + grant_id.hex(),
        "subject_differs",
        "The terms are another grant's than the bundle says.",
    )
    proved = [_asset(claims, terms), _request(claims, terms)]
    record = GrantRecord.decode(claims.storage_value("GrantRegistry", "grants", grant_id).value)
    _require(record.requested_at > 0, "grant_unknown", "The chain has no request for this grant.")
    proved.append(_decision(claims, terms, grant_id, record))
    proved.extend(_revocation(claims, terms, grant_id, record))
    return proved


def _asset(claims: VerifiedClaims, terms: GrantTerms) -> str:
    record = claims.struct(AssetRecord)
    asset_id = keccak256(encode_member(record.holder).ljust(32, b"\0") + encode_code(record.name))
    _require(
        (asset_id, record.asset_version, record.holder)
        == (terms.asset_id, terms.asset_version, terms.owner),
        "asset_differs",
        "The asset's record is not the version the grant is for.",
    )
    key = keccak256(asset_id + record.asset_version.to_bytes(32, "big"))
    stored = claims.storage_value("AssetRegistry", "versions", key).value
    _require(
        stored == int.from_bytes(record.struct_hash(), "big"),
        "asset_differs",
        "The chain registers another asset record.",
    )
    return (
        f"The asset {record.name} of {record.holder}, version "
        f"{record.asset_version}, grade L{record.grade}, "
        f"{record.row_count} records, is registered on the chain."
    )


def _request(claims: VerifiedClaims, terms: GrantTerms) -> str:
    operations = ", ".join(
        str(operation.name).lower() for operation in Operation if terms.operations & operation
    )
    return (
        f"{terms.grantee} asked {terms.owner} for: {operations}, "
        f"purpose {terms.purpose}, scene {terms.scene}, "
        f"at most {terms.max_uses} uses, from {utc(terms.not_before)} to "
        f"{utc(terms.not_after)}{_columns(claims, terms)}."
    )


def _columns(claims: VerifiedClaims, terms: GrantTerms) -> str:
    """The columns of the opened scope; a grantee may have committed to anything."""
    if not claims.is_disclosed(terms.scope, SCOPE_DOMAIN):
        claims.limits.append(SCOPE_NOT_DISCLOSED)
        return ""
    try:
        columns = schema.scope(claims.disclosed(terms.scope, SCOPE_DOMAIN))
    except ValueError as error:
        raise Inconsistent(
            "scope_malformed", "The opened scope is not a list of columns."
        ) from error
    return f", columns {', '.join(map(quoted, columns))}"


def _decision(
    claims: VerifiedClaims, terms: GrantTerms, grant_id: bytes, record: GrantRecord
) -> str:
    signed = claims.statement(GrantDecision)
    decision = signed.statement
    _require_owner(signed, terms, grant_id, decision.grant_id, (KeyPurpose.APPROVAL,))
    height = record.approved_at if decision.approved else record.refused_at
    _require(
        height > 0,
        "decision_differs",
        "The chain's record of the grant and the decision differ.",
    )
    logged = claims.log_inclusion(signed)
    verb = "approved" if decision.approved else "refused"
    return (
        f"The chief data officer of {terms.owner} {verb} it in {claims.block(height)}; the "
        "decision is in the owner's log, "
        f"anchored in {claims.block(logged.anchored_at)}."
    )


def _revocation(
    claims: VerifiedClaims, terms: GrantTerms, grant_id: bytes, record: GrantRecord
) -> list[str]:
    found = claims.statements(GrantRevocation)
    if record.revoked_at == 0:
        _require(
            not found,
            "revocation_differs",
            "The bundle holds a revocation that the chain does not have.",
        )
        return ["It was not revoked up to the block of the proof."] if record.approved_at else []
    revoked = f"{terms.owner} revoked it in {claims.block(record.revoked_at)}"
    if not found:
        return [
            (
                f"{revoked}; the chain says so, the signed revocation "
                "with its reason is not in this bundle."
            )
        ]
    signed = claims.statement(GrantRevocation)
    _require_owner(
        signed,
        terms,
        grant_id,
        signed.statement.grant_id,
        (KeyPurpose.APPROVAL, KeyPurpose.STATEMENT),
    )
    taken = claims.storage_value("GrantRegistry", "revocations", grant_id).value
    _require(
        taken == int.from_bytes(signed.statement.struct_hash(), "big"),
        "revocation_differs",
        "The chain took another revocation than the bundle's, as with another reason.",
    )
    anchored = claims.block(claims.log_inclusion(signed).anchored_at)
    return [
        (
            f"{revoked}, for the reason {signed.statement.reason or 'none'}; the revocation "
            f"is in its log, anchored in {anchored}."
        )
    ]


def _require_owner(
    signed: VerifiedStatement[Any],
    terms: GrantTerms,
    grant_id: bytes,
    named: bytes,
    purposes: tuple[KeyPurpose, ...],
) -> None:
    name = type(signed.statement).__name__
    _require(named == grant_id, "grant_differs", f"The {name} is about another grant.")
    _require(
        signed.member == terms.owner and signed.purpose in purposes,
        "wrong_signer",
        f"The {name} is not signed with a key of the owner that may sign it.",
    )


def _require(condition: bool, code: str, sentence: str) -> None:
    if not condition:
        raise Inconsistent(code, sentence)
