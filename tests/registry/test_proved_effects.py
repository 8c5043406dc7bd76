"""Decisions rest on records proved under a fresh head, not on projected rows or a chain node's
word.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.errors import Conflict, Forbidden, QiaolianError, Unavailable
from chain.ethereum.eip712 import encode_code
from chain.ethereum.proved_records import asset_record, hold_record
from chain.outbox.store import CALLS, REVERTED
from chain.statements.commitment import new_salt
from chain.statements.grants import GrantDecision
from chain.statements.members import KeyPurpose
from registry.assets import peers, publication, serving, status
from registry.assets.model import Description, Publication
from registry.assets.store import CatalogueAsset, RecordSalt
from registry.credit import disputes
from registry.credit.store import DisputeRow
from registry.grants import export as grant_export
from registry.grants import service as grants
from registry.grants.model import GrantRequest
from tests.registry.conftest import Network, Node
from tests.registry.test_consents import dispute_of

RECORDS = [{"subject": f"P{index:03d}", "Income": 100 + index} for index in range(3)]


def ended(node: Node, operation: str) -> str:
    """Wait until a call has ended and the view has seen it; the rows made of events stay behind."""
    state: str = node.outcome(operation).state
    node.context.view.wait_for_height(node.context.ledger.height(), 60)
    return state


def reported_refused(node: Node, operation: str) -> None:
    """The outbox has a call that succeeded as one that the chain refused, as a lying chain node
    could bring about before outcomes were proved.
    """
    node.context.database.write(
        lambda session: (
            session.execute(
                sa.update(CALLS).where(CALLS.c.operation_id == operation).values(state=REVERTED)
            )
            and None
        )
    )


def code_of(action: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


# --- Assets ---------------------------------------------------------------------------------------


def test_a_hold_is_put_however_far_the_catalogue_is_behind(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    node = network["supervisor"]
    for _ in range(2):
        assert (
            ended(node, status.set_hold(node.context, asset_id, reason=encode_code("dispute")))
            == "done"
        )
        assert network.ledger.assets.hold(asset_id).held
        assert ended(node, status.set_hold(node.context, asset_id, reason=None)) == "done"
        assert not network.ledger.assets.hold(asset_id).held
    with node.context.database.read() as session:
        assert session.get_one(CatalogueAsset, asset_id).hold_changes == 0
    assert code_of(lambda: status.set_hold(node.context, bytes(32), reason=None)) == "asset_unknown"


def test_a_hold_asked_for_before_its_release_is_seen_is_refused_and_not_dropped(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = network.publish("tax", RECORDS)
    node = network["supervisor"]
    ended(node, status.set_hold(node.context, asset_id, reason=encode_code("dispute")))
    view = node.context.view
    before = view.proved([asset_record(asset_id), hold_record(asset_id)])
    ended(node, status.set_hold(node.context, asset_id, reason=None))
    ended(node, status.set_hold(node.context, asset_id, reason=encode_code("dispute")))
    with monkeypatch.context() as behind:
        behind.setattr(view, "proved", lambda *_: before)
        with pytest.raises(Unavailable) as caught:
            status.set_hold(node.context, asset_id, reason=None)
    assert caught.value.code == "hold_changing"
    assert ended(node, status.set_hold(node.context, asset_id, reason=None)) == "done"
    assert not network.ledger.assets.hold(asset_id).held


def test_metadata_is_checked_against_the_proved_record_or_not_called_checked(
    network: Network,
) -> None:
    asset_id = network.publish("tax", RECORDS)
    tax, bank = network["tax"], network["bank"]
    made = publication.correct(
        tax.context, asset_id, overrides={"P001": {"subject": "P001", "Income": 7}}
    )
    ended(tax, made.operation)
    bank.context.view.wait_for_height(bank.context.ledger.height(), 60)
    assert (
        code_of(lambda: asyncio.run(peers.describe(bank.context, asset_id))) == "projection_behind"
    )
    network.sync()
    assert asyncio.run(peers.describe(bank.context, asset_id)).entry.record.asset_version == 2


def test_a_registered_version_keeps_its_salts_whatever_a_chain_node_says_of_its_registration(
    network: Network,
) -> None:
    asset_id = network.publish("tax", RECORDS)
    node = network["tax"]
    own = serving.latest_own_version(node.context, asset_id)

    def salts() -> list[bytes]:
        with node.context.database.read() as session:
            return list(
                session.scalars(
                    sa.select(RecordSalt.salt)
                    .where(RecordSalt.asset_id == asset_id)
                    .order_by(RecordSalt.position)
                )
            )

    before = salts()
    reported_refused(node, own.operation)
    description = Description("数据", "Data", "for tests", 3)
    again = Publication(own.source, own.source, description, dict.fromkeys(RECORDS[0], "keep"))
    assert code_of(lambda: publication.publish(node.context, again)) == "asset_known"
    assert salts() == before
    assert publication.correct(node.context, asset_id, overrides={}).asset_version == 2


# --- Grants ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asset_id(network: Network) -> bytes:
    published: bytes = network.publish("tax", RECORDS)
    return published


def requested(network: Network, asset_id: bytes) -> bytes:
    """A grant whose request the chain has and the owner's rows have not."""
    now, bank, tax = int(time.time()), network["bank"], network["tax"]
    wanted = GrantRequest(
        asset_id,
        1,
        tax.member,
        4,
        "small-loan",
        "credit-assessment",
        ["Income"],
        now - 60,
        now + 86_400,
        10,
    )
    made = asyncio.run(grants.request(bank.context, wanted))
    ended(bank, made.operation)
    tax.context.view.wait_for_height(tax.context.ledger.height(), 60)
    return made.grant_id


def test_a_grant_is_decided_by_the_proved_request_and_once(
    network: Network, asset_id: bytes
) -> None:
    node, grant_id = network["tax"], requested(network, asset_id)
    assert grants.find(node.context, grant_id).requested_at is None
    decision = GrantDecision(
        version=1, grant_id=grant_id, approved=True, reason="in-order", deadline=2**40
    )
    signature = node.sign(decision, KeyPurpose.APPROVAL)
    operation = grants.decide(node.context, grant_id, decision, signature)
    assert ended(node, operation) == "done"
    assert grants.decide(node.context, grant_id, decision, signature) == operation
    reported_refused(node, operation)
    other = GrantDecision(version=1, grant_id=grant_id, approved=False, reason="no", deadline=2**40)
    assert (
        code_of(
            lambda: grants.decide(
                node.context, grant_id, other, node.sign(other, KeyPurpose.APPROVAL)
            )
        )
        == "already_decided"
    )


def test_a_bundle_shows_the_revocation_that_its_proof_shows(
    network: Network, asset_id: bytes
) -> None:
    node = network["tax"]
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    network.decide("tax", grant_id)
    revocation, signature = network.revocation("tax", grant_id)
    assert ended(node, grants.revoke(node.context, grant_id, revocation, signature)) == "done"
    assert not grants.find(node.context, grant_id).revoked_at
    node.anchor()
    bundle = json.loads(grant_export.bundle(node.context, grant_id))
    assert [one["type"] for one in bundle["statements"]] == ["GrantDecision", "GrantRevocation"]


# --- Credit ---------------------------------------------------------------------------------------


def test_a_suspended_department_certifies_nobody(network: Network, person: Any) -> None:
    subject = person()
    with network.suspended("registrar"):
        with pytest.raises(Forbidden) as caught:
            network.certify("registrar", subject, "dispute")
        assert caught.value.code == "issuer_not_department"
    network.certify("registrar", subject, "dispute")


def test_an_answered_dispute_is_answered_once_whatever_a_chain_node_says_of_the_answer(
    network: Network, person: Any
) -> None:
    subject, node = person(), network["tax"]
    asset_id = network.publish(
        "tax", [{"subject": subject.code, "Seniority": 9}, {"subject": "other", "Seniority": 1}]
    )
    network.certify("tax", subject, "dispute")
    claim, salt = {"column": "Seniority", "says": 11}, new_salt()
    statement = dispute_of(network, subject, asset_id, claim, salt)
    dispute_id = disputes.raise_dispute(
        node.context,
        statement,
        subject.sign(statement, network.deployment),
        claim=claim,
        claim_salt=salt,
        subject=subject.code,
    )
    operation = disputes.answer(node.context, dispute_id, new_record=None).operation
    assert ended(node, operation) == "done"
    reported_refused(node, operation)
    with pytest.raises(Conflict) as caught:
        disputes.answer(
            node.context, dispute_id, new_record={"subject": subject.code, "Seniority": 11}
        )
    assert caught.value.code == "already_answered"
    with node.context.database.read() as session:
        assert not session.get_one(DisputeRow, dispute_id).repair["upheld"]
