"""Grants: asked by the grantee, decided by the owner's chief data officer alone, stopped at once,
provable for life.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from chain.bundle.trust import Trust
from chain.bundle.verifier import verify
from chain.core.canonical import dumps
from chain.core.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    QiaolianError,
    VerificationError,
)
from chain.ethereum.proved_records import grant_record
from chain.statements.grants import GrantDecision, GrantRevocation, Operation
from chain.statements.members import KeyPurpose
from contracts import NAMES, artifact
from registry.grants import export, service
from registry.grants.model import GrantSide, GrantState, LoadedGrant
from registry.grants.proof_profile import check
from registry.grants.rules import require_allows
from registry.pages import PageRequest
from tests.registry.conftest import Network

RECORDS = [
    {"subject": f"G{index:03d}", "Income": 1000 + index, "Debt": index} for index in range(5)
]


@pytest.fixture(scope="module")
def asset_id(network: Network) -> bytes:
    published: bytes = network.publish("tax", RECORDS)
    return published


def allowed(network: Network, grant_id: bytes, **changed: Any) -> LoadedGrant:
    """Ask as the owner's gateway does."""
    context = network["tax"].context
    use: dict[str, Any] = {
        "stopped": grant_id in service.stopped_grants(context),
        "operation": Operation.USE,
        "purpose": "credit-assessment",
        "columns": ["Income"],
        "now": int(time.time()),
    }
    grant, records = service.load(context, grant_id), context.view.proved([grant_record(grant_id)])
    require_allows(
        grant.terms, records.grant(grant_id), granted_columns=grant.columns, **(use | changed)
    )
    return grant


def test_an_approved_grant_allows_what_it_says_and_nothing_else(
    network: Network, asset_id: bytes
) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    with pytest.raises(Forbidden) as early:
        allowed(network, grant_id)
    assert early.value.code == "grant_not_live"
    network.decide("tax", grant_id)
    assert allowed(network, grant_id).columns == ("Income",)
    refused = {
        "purpose_not_granted": {"purpose": "marketing"},
        "operation_not_granted": {"operation": Operation.VIEW},
        "column_not_granted": {"columns": ["Income", "Debt"]},
        "grant_expired": {"now": int(time.time()) + 400 * 86_400},
    }
    for code, changed in refused.items():
        with pytest.raises(Forbidden) as caught:
            allowed(network, grant_id, **changed)
        assert caught.value.code == code


def test_a_refused_grant_stays_refused(network: Network, asset_id: bytes) -> None:
    owner = network["tax"].context
    before = service.counts(owner, GrantSide.GIVEN)
    grant_id = network.request_grant("bank", "tax", asset_id, ["Debt"])
    waiting = service.listing(owner, PageRequest(1), state="requested", side=GrantSide.GIVEN)
    assert [grant.grant_id for grant in waiting.rows] == [grant_id]
    network.decide("tax", grant_id, approved=False)
    after = service.counts(owner, GrantSide.GIVEN)
    assert after == {**before, GrantState.REFUSED: before[GrantState.REFUSED] + 1}
    assert not any(service.counts(owner, GrantSide.RECEIVED).values())
    with pytest.raises(Forbidden):
        allowed(network, grant_id, columns=["Debt"])
    with pytest.raises(Conflict) as caught:
        network.decide("tax", grant_id)
    assert caught.value.code == "already_decided"
    row = next(
        item
        for item in service.listing(network["bank"].context, PageRequest(200)).rows
        if item.grant_id == grant_id
    )
    assert row.state is GrantState.REFUSED


@pytest.mark.parametrize(
    "purpose", [KeyPurpose.STATEMENT, KeyPurpose.TRANSACTION, KeyPurpose.ADMIN, KeyPurpose.TOKEN]
)
def test_no_key_but_the_officers_decides(
    network: Network, asset_id: bytes, purpose: KeyPurpose
) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    node = network["tax"]
    decision = GrantDecision(
        version=1, grant_id=grant_id, approved=True, reason="in-order", deadline=2**40
    )
    for signer in (node.signers[purpose], network["bank"].signers[KeyPurpose.APPROVAL]):
        with pytest.raises(Forbidden) as caught:
            service.decide(
                node.context,
                grant_id,
                decision,
                signer.sign_digest(decision.digest(node.context.domain("GrantRegistry"))),
            )
        assert caught.value.code == "wrong_signer"
    other = GrantDecision(
        version=1, grant_id=bytes(32), approved=True, reason="in-order", deadline=2**40
    )
    with pytest.raises(BadInput) as mixed:
        service.decide(node.context, grant_id, other, node.sign(other, KeyPurpose.APPROVAL))
    assert mixed.value.code == "other_grant"
    with pytest.raises(NotFound):
        service.decide(node.context, bytes(32), other, node.sign(other, KeyPurpose.APPROVAL))


def test_a_revocation_stops_the_gateway_before_the_chain_has_it(
    network: Network, asset_id: bytes
) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    network.decide("tax", grant_id)
    revocation, signature = network.revocation("tax", grant_id)
    operation = service.revoke(network["tax"].context, grant_id, revocation, signature)
    with pytest.raises(Forbidden) as caught:
        allowed(network, grant_id)
    assert caught.value.code == "grant_revoked"
    network["tax"].done(operation)
    with pytest.raises(Forbidden) as after:
        allowed(network, grant_id, stopped=False)
    assert after.value.code == "grant_revoked"


def test_the_grantee_cannot_revoke_and_a_stranger_cannot(network: Network, asset_id: bytes) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    network.decide("tax", grant_id)
    revocation = GrantRevocation(version=1, grant_id=grant_id, reason="misuse", deadline=2**40)
    with pytest.raises(Forbidden):
        service.revoke(
            network["tax"].context,
            grant_id,
            revocation,
            network["bank"].sign(revocation, KeyPurpose.APPROVAL),
        )
    assert allowed(network, grant_id)


@pytest.mark.parametrize(
    "changed",
    [
        {"operations": 0},
        {"not_before": 10, "not_after": 9},
        {"max_uses": 0},
        {"purpose": ""},
        {"purpose": "p" * 33},
    ],
)
def test_a_request_that_can_mean_nothing_is_refused_before_it_is_sent(
    network: Network, asset_id: bytes, changed: dict[str, Any]
) -> None:
    before = network.ledger.height()
    with pytest.raises(BadInput):
        network.request_grant("bank", "tax", asset_id, ["Income"], **changed)
    assert network.ledger.height() == before


def test_an_owner_that_cannot_be_reached_is_asked_again_later(
    network: Network, asset_id: bytes
) -> None:
    bank = network["bank"]
    bank.peers.down.add(network["tax"].member)
    try:
        with pytest.raises(Exception, match="cannot be reached") as caught:
            network.request_grant("bank", "tax", asset_id, ["Income"])
        assert caught.value.code == "peer_unreachable"  # type: ignore[attr-defined]
    finally:
        bank.peers.down.clear()
    assert network.request_grant("bank", "tax", asset_id, ["Income"])


def test_only_an_officers_token_reaches_the_decision(network: Network, asset_id: bytes) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    node = network["tax"]
    decision = GrantDecision(
        version=1, grant_id=grant_id, approved=True, reason="in-order", deadline=2**40
    )
    body = {
        "decision": decision.to_json(),
        "signature": "0x" + node.sign(decision, KeyPurpose.APPROVAL).hex(),
    }
    path = f"/v1/grants/0x{grant_id.hex()}/decision"
    for role in (None, "clerk", "system", "auditor"):
        with pytest.raises(QiaolianError) as caught:
            node.call("POST", path, body, role=role)
        assert caught.value.code in ("access_token_missing", "role_missing")
    node.done(node.call("POST", path, body, role="officer")["operation"])
    assert allowed(network, grant_id)


# --- The bundle -----------------------------------------------------------------------------------


def trust_of(network: Network) -> Trust:
    """Nobody seals a throw-away chain, so its bundles are checked as far as their checker only
    through ``Facts`` of a sealed one.
    """
    return Trust(
        chain_id=network.deployment.chain_id,
        genesis_hash="0x" + network.deployment.genesis_hash.hex(),
        validator_sets=(),
        contracts=network.deployment.contracts,
        storage={name: artifact(name).storage for name in NAMES},
        witnesses={},
        required_witnesses=0,
    )


def test_an_undecided_grant_has_no_story_and_an_unanchored_one_must_wait(
    network: Network, asset_id: bytes
) -> None:
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    with pytest.raises(Conflict) as caught:
        export.bundle(network["tax"].context, grant_id)
    assert caught.value.code == "grant_undecided"
    network.decide("tax", grant_id)
    with pytest.raises(Conflict) as waiting:
        export.bundle(network["tax"].context, grant_id)
    assert waiting.value.code in ("entry_not_anchored", "entry_not_logged")
    network["tax"].anchor()
    value = json.loads(asyncio.run(export.fetch(network["tax"].context, grant_id)))
    assert {statement["type"] for statement in value["statements"]} == {"GrantDecision"}
    assert value["disclosures"][0]["record"] == {"columns": ["Income"]}
    with pytest.raises(VerificationError):
        verify(dumps(value), trust_of(network), {"grant": check})  # nobody sealed this chain
