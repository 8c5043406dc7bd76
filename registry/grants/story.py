"""A grant's life, checked from a bundle: asked for, decided by the owner's chief data officer, perhaps revoked. Pure.

``subject`` is ``{"grantId": 0x…}``. The bundle must hold, and this checks in this order:

1. the terms, whose struct hash is the grant id;
2. the asset's record, which AssetRegistry proves to be the version the terms name, held by the owner;
3. the decision, signed with an APPROVAL key of the owner and entered in the owner's anchored log;
4. the chain's word for the grant, which must say the same;
5. when the bundle holds a revocation: signed by the owner, entered in its log, and the very one that the chain took, whose hash
   it keeps; another reason is refused. A revocation that the officer sent past the owner's node is known by the word alone,
   which the contract sets for no other signature.

The scope may be opened; then its columns are named, and else it is said that they are not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain import schema
from chain.bundle import Facts, Signed
from chain.crypto import keccak256
from chain.eip712 import encode_code, encode_member
from chain.errors import Inconsistent
from chain.printable import quoted, utc
from chain.statements import AssetRecord, GrantDecision, GrantRevocation, GrantTerms, KeyPurpose, Operation
from chain.words import GrantWord

SCOPE_DOMAIN = "qiaolian.scope.v1"
UNOPENED = "The scope is committed to and not opened in this bundle: which columns the grant covers is not shown."


def check(facts: Facts, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.errors.Inconsistent`` otherwise."""
    terms = facts.struct(GrantTerms)
    grant_id = terms.struct_hash()
    _require(set(subject) == {"grantId"}, "subject_differs", "The bundle's subject is not a grant.")
    _require(subject["grantId"] == "0x" + grant_id.hex(), "subject_differs", "The terms are another grant's than the bundle says.")
    proved = [_asset(facts, terms), _request(facts, terms)]
    word = GrantWord.decode(facts.word("GrantRegistry", "grants", grant_id).value)
    _require(word.requested_at > 0, "grant_unknown", "The chain has no request for this grant.")
    proved.append(_decision(facts, terms, grant_id, word))
    proved.extend(_revocation(facts, terms, grant_id, word))
    return proved


def _asset(facts: Facts, terms: GrantTerms) -> str:
    record = facts.struct(AssetRecord)
    asset_id = keccak256(encode_member(record.holder).ljust(32, b"\0") + encode_code(record.name))
    _require(
        (asset_id, record.asset_version, record.holder) == (terms.asset_id, terms.asset_version, terms.owner),
        "asset_differs",
        "The asset's record is not the version the grant is for.",
    )
    key = keccak256(asset_id + record.asset_version.to_bytes(32, "big"))
    kept = facts.word("AssetRegistry", "versions", key).value
    _require(kept == int.from_bytes(record.struct_hash(), "big"), "asset_differs", "The chain registers another asset record.")
    return (
        f"The asset {record.name} of {record.holder}, version {record.asset_version}, grade L{record.grade}, "
        f"{record.row_count} records, is registered on the chain."
    )


def _request(facts: Facts, terms: GrantTerms) -> str:
    operations = ", ".join(str(each.name).lower() for each in Operation if terms.operations & each)
    return (
        f"{terms.grantee} asked {terms.owner} for: {operations}, purpose {terms.purpose}, scene {terms.scene}, "
        f"at most {terms.max_uses} uses, from {utc(terms.not_before)} to {utc(terms.not_after)}{_columns(facts, terms)}."
    )


def _columns(facts: Facts, terms: GrantTerms) -> str:
    """The columns of the opened scope; a grantee may have committed to anything."""
    scope = facts.opened_or_none(terms.scope, SCOPE_DOMAIN)
    if scope is None:
        facts.limits.append(UNOPENED)
        return ""
    try:
        columns = schema.scope(scope)
    except ValueError as error:
        raise Inconsistent("scope_malformed", "The opened scope is not a list of columns.") from error
    return f", columns {', '.join(map(quoted, columns))}"


def _decision(facts: Facts, terms: GrantTerms, grant_id: bytes, word: GrantWord) -> str:
    signed = facts.one(GrantDecision)
    decision = signed.statement
    _require_owner(signed, terms, grant_id, decision.grant_id, (KeyPurpose.APPROVAL,))
    height = word.approved_at if decision.approved else word.refused_at
    _require(height > 0, "decision_differs", "The chain does not say of the grant what the decision says.")
    logged = facts.logged(signed)
    verb = "approved" if decision.approved else "refused"
    return (
        f"The chief data officer of {terms.owner} {verb} it in {facts.block(height)}; the decision stands in the owner's log, "
        f"anchored in {facts.block(logged.anchored_at)}."
    )


def _revocation(facts: Facts, terms: GrantTerms, grant_id: bytes, word: GrantWord) -> list[str]:
    found = facts.all(GrantRevocation)
    if word.revoked_at == 0:
        _require(not found, "revocation_differs", "The bundle holds a revocation that the chain does not have.")
        return ["It was not revoked up to the block of the proof."] if word.approved_at else []
    revoked = f"{terms.owner} revoked it in {facts.block(word.revoked_at)}"
    if not found:
        return [f"{revoked}; the chain says so, the signed revocation with its reason is not in this bundle."]
    signed = facts.one(GrantRevocation)
    _require_owner(signed, terms, grant_id, signed.statement.grant_id, (KeyPurpose.APPROVAL, KeyPurpose.STATEMENT))
    taken = facts.word("GrantRegistry", "revocations", grant_id).value
    _require(
        taken == int.from_bytes(signed.statement.struct_hash(), "big"),
        "revocation_differs",
        "The chain took another revocation than the bundle's, as with another reason.",
    )
    anchored = facts.block(facts.logged(signed).anchored_at)
    return [f"{revoked}, for the reason {signed.statement.reason or 'none'}; the revocation stands in its log, anchored in {anchored}."]


def _require_owner(signed: Signed[Any], terms: GrantTerms, grant_id: bytes, named: bytes, purposes: tuple[KeyPurpose, ...]) -> None:
    name = type(signed.statement).__name__
    _require(named == grant_id, "grant_differs", f"The {name} is about another grant.")
    _require(
        signed.member == terms.owner and signed.purpose in purposes,
        "wrong_signer",
        f"The {name} is not signed with a key of the owner that may sign it.",
    )


def _require(held: bool, code: str, sentence: str) -> None:
    if not held:
        raise Inconsistent(code, sentence)
