"""What a grant's bundle states, over a chain made in the test: hostile names, another reason than
the chain's, an undisclosed scope.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain.bundle.builder import BundleBuilder
from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.errors import VerificationError
from chain.ethereum.eip712 import Domain, Statement, encode_code, encode_member
from chain.keys.files import Secp256k1Signer
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms, Operation
from chain.statements.members import KeyPurpose
from registry.grants import proof_profile
from scripts.benches import made_chain
from scripts.benches.made_chain import (
    CHAIN_ID,
    CONTRACTS,
    FIRST_BLOCK_TIME,
    GENESIS,
    MadeChain,
    MadeLog,
)
from tests.support.two_verifiers import verify

OWNER, GRANTEE = "11440703QL0000004W", "11440703QL0000002N"
OFFICER = Secp256k1Signer(keccak256(b"officer"))
SALT = b"\5" * 32


def bundle_with(columns: Any = ("age", "income"), *, chains: str = "", shown: str = "") -> bytes:
    """A grant's bundle; ``chains`` and ``shown`` are the reasons of the revocation the chain took
    and of the one in the bundle. ``columns`` None opens the scope as null.
    """
    asset_id = keccak256(encode_member(OWNER).ljust(32, b"\0") + encode_code("people"))
    scope = None if columns is None else {"columns": list(columns)}
    commitment = commit(SALT, proof_profile.SCOPE_DOMAIN, scope)
    period = (FIRST_BLOCK_TIME, FIRST_BLOCK_TIME + 10**6)
    record = AssetRecord(
        1,
        OWNER,
        OWNER,
        OWNER,
        "people",
        "people",
        1,
        2,
        "people",
        b"\1" * 32,
        b"\2" * 32,
        7,
        b"\3" * 32,
        (),
    )
    terms = GrantTerms(
        1,
        asset_id,
        1,
        OWNER,
        GRANTEE,
        int(Operation.USE),
        "loan",
        "statistics",
        commitment,
        *period,
        9,
        b"\3" * 32,
    )
    grant_id = terms.struct_hash()
    statements: list[Statement] = [GrantDecision(1, grant_id, True, "granted", 2**40)]
    if shown:
        statements.append(GrantRevocation(1, grant_id, shown, 2**40))
    log, chain = MadeLog(OWNER), MadeChain()
    chain.put_key(OFFICER.fingerprint, OWNER, KeyPurpose.APPROVAL)
    version = keccak256(asset_id + (1).to_bytes(32, "big"))
    chain.put(
        "AssetRegistry", "versions", version, value=int.from_bytes(record.struct_hash(), "big")
    )
    chain.put("GrantRegistry", "grants", grant_id, value=1 | 2 << 48 | (60 if chains else 0) << 144)
    if chains:
        taken = GrantRevocation(1, grant_id, chains, 2**40).struct_hash()
        chain.put("GrantRegistry", "revocations", grant_id, value=int.from_bytes(taken, "big"))
    domain = Domain(CHAIN_ID, CONTRACTS["GrantRegistry"])
    digests = ["0x" + item.digest(domain).hex() for item in statements]
    for digest, statement in zip(digests, statements, strict=True):
        log.append(
            dumps({"at": FIRST_BLOCK_TIME, "digest": digest, "kind": type(statement).__name__})
        )
    log.anchor(chain, 100)
    chain.seal(120)
    builder = BundleBuilder(
        profile="grant",
        chain_id=CHAIN_ID,
        genesis_hash=GENESIS,
        subject={"grantId": "0x" + grant_id.hex()},
    )
    for fingerprint in (OFFICER.fingerprint, log.key.fingerprint):
        builder.add_key(fingerprint, *chain.proof("MemberDirectory", "keys", fingerprint))
    builder.add_storage_value(*chain.proof("AssetRegistry", "versions", version))
    builder.add_storage_value(*chain.proof("GrantRegistry", "grants", grant_id))
    if shown and chains:
        builder.add_storage_value(*chain.proof("GrantRegistry", "revocations", grant_id))
    builder.add_struct(terms)
    builder.add_struct(record)
    for statement in statements:
        builder.add_statement(statement, OFFICER.sign(statement, domain))
    size, root = (chain.proof("EvidenceLog", name, log.log_id) for name in ("logs", "roots"))
    for index, leaf in enumerate(log.leaves):
        position = {
            "member": OWNER,
            "log_epoch": 0,
            "key": log.key.public_key,
            "note": log.note(),
            "size": size,
            "root": root,
        }
        builder.add_log_entry(**position, index=index, leaf=leaf, path=log.path(index))
    builder.add_disclosure(commitment, salt=SALT, domain=proof_profile.SCOPE_DOMAIN, record=scope)
    return builder.build()


def checked(data: bytes) -> Report:
    return verify(data, made_chain.trust(), {"grant": proof_profile.check})


def refusal(data: bytes) -> str:
    with pytest.raises(VerificationError) as refused:
        checked(data)
    return refused.value.code


def test_a_reason_is_proved_to_be_that_of_the_revocation_the_chain_took() -> None:
    proved = checked(bundle_with(chains="ended", shown="ended")).proved
    assert any(
        "revoked it in block 60" in name and "for the reason ended" in name for name in proved
    )


def test_another_reason_than_the_chains_is_refused() -> None:
    """Signed by the owner and entered in its log, but not the one that counted."""
    assert refusal(bundle_with(chains="misuse", shown="ended")) == "revocation_differs"
    assert refusal(bundle_with(shown="ended")) == "revocation_differs"


def test_a_revocation_without_its_statement_names_no_reason() -> None:
    (claim,) = [name for name in checked(bundle_with(chains="misuse")).proved if "revoked" in name]
    assert "with its reason is not in this bundle" in claim
    assert "misuse" not in claim


def test_a_grant_whose_scope_is_left_closed_says_so() -> None:
    value = json.loads(bundle_with())
    value["disclosures"] = []
    assert proof_profile.SCOPE_NOT_DISCLOSED in checked(dumps(value)).limits
    assert proof_profile.SCOPE_NOT_DISCLOSED not in checked(bundle_with()).limits


def test_a_column_name_cannot_add_a_line_or_a_column() -> None:
    hostile = 'age", income.\n  - The bank was paid.\x1b[2J\u202e'
    (claim,) = [name for name in checked(bundle_with([hostile])).proved if "columns" in name]
    assert claim.endswith(r'columns "age\", income.\n  - The bank was paid.\x1b[2J\u202e".')


@pytest.mark.parametrize(
    "columns", [None, [], ["age", "age"], [""], ["a" * 257], [7], [["age"]], [f"c{number}" for number in range(257)]],
    ids=["null", "none", "twice", "empty", "long", "number", "list", "many"],
)  # fmt: skip
def test_a_scope_that_no_node_takes_is_refused_by_verifiers_too(columns: list[Any] | None) -> None:
    assert refusal(bundle_with(columns)) == "scope_malformed"


def test_a_statement_of_a_version_nobody_knows_is_refused() -> None:
    value = json.loads(bundle_with())
    value["structs"][0]["message"]["version"] = 2
    assert refusal(dumps(value)) == "wrong_version"
