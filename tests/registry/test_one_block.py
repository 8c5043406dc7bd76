"""A decision rests on records of one block, although the chain moves on while it is taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chain.ethereum.eip712 import encode_code
from chain.statements.grants import GrantDecision
from chain.statements.members import KeyPurpose
from chain.statements.property import StepKind
from registry.assets import peers, status
from registry.credit import certificates
from registry.evidence import checkpoints, recovery
from registry.grants import service as grants
from registry.members import service as members
from registry.property import titles
from tests.registry.conftest import Network
from tests.registry.test_deals import DAY, put_up
from tests.support.one_block import decided_on_one_block

RECORDS = [{"subject": f"P{place:03d}", "Income": 100 + place} for place in range(3)]


@pytest.fixture(scope="module")
def asset_id(network: Network) -> bytes:
    published: bytes = network.publish("tax", RECORDS)
    return published


def test_a_hold_is_put_by_asset_and_hold_of_one_block(network: Network, asset_id: bytes) -> None:
    node = network["supervisor"]
    for reason in (encode_code("dispute"), None):
        with decided_on_one_block(node.context):
            operation = status.set_hold(node.context, asset_id, reason=reason)
        node.done(operation)


def test_metadata_is_checked_by_latest_version_and_record_of_one_block(
    network: Network, asset_id: bytes
) -> None:
    context = network["bank"].context
    with decided_on_one_block(context):
        asyncio.run(peers.describe(context, asset_id))


def test_a_grant_is_decided_and_revoked_by_key_member_and_grant_of_one_block(
    network: Network, asset_id: bytes
) -> None:
    node, grant_id = network["tax"], network.request_grant("bank", "tax", asset_id, ["Income"])
    decision = GrantDecision(
        version=1, grant_id=grant_id, approved=True, reason="in-order", deadline=2**40
    )
    with decided_on_one_block(node.context):
        operation = grants.decide(
            node.context, grant_id, decision, node.sign(decision, KeyPurpose.APPROVAL)
        )
    node.done(operation)
    with decided_on_one_block(node.context):
        node.done(grants.revoke(node.context, grant_id, *network.revocation("tax", grant_id)))


def test_a_proposal_is_taken_with_its_approvals_by_keys_and_governors_of_one_block(
    network: Network,
) -> None:
    operator, tax = network["operator"], network["tax"]
    arguments = {"member": network["agency"].member, "reason": "test"}
    shared = asyncio.run(
        members.propose(operator.context, "suspend", arguments, share_with=[operator.member])
    )
    signed = {
        network[name].member: network[name].sign(shared.proposal.approval, KeyPurpose.ADMIN)
        for name in ("supervisor", "tax")
    }
    with decided_on_one_block(operator.context):
        asyncio.run(
            members.approve(
                operator.context, shared.proposal.proposal_id, signed[network["supervisor"].member]
            )
        )
    proposal = members.find_proposal(operator.context, shared.proposal.proposal_id)
    with decided_on_one_block(tax.context):
        taken = members.receive_proposal(tax.context, replace(proposal, approvals=signed))
    assert taken.approvals.keys() == signed.keys()


def test_a_certificate_is_taken_by_key_and_issuer_of_one_block(
    network: Network, person: Callable[[], Any]
) -> None:
    subject, context = person(), network["bank"].context
    certificate, signature = network.vouch("registrar", subject, "dispute")
    with decided_on_one_block(context):
        certificates.show_certificate(
            context,
            certificate,
            signature,
            identity=subject.identity,
            identity_salt=subject.salt,
        )


def test_a_restored_log_is_compared_with_supervisors_and_anchor_of_one_block(
    network: Network,
) -> None:
    node = network["tax"]
    node.anchor()
    with decided_on_one_block(node.context):
        assert checkpoints.anchored_head(node.context) is not None
    with decided_on_one_block(node.context):
        assert asyncio.run(recovery.find_lost_entries(node.context)) is None


def test_a_home_is_certified_and_sold_by_unit_and_registration_of_one_block(
    network: Network, person: Callable[[], Any]
) -> None:
    agency, registrar = network["agency"], network["registrar"].context
    sale = put_up(network, person(), person())
    with decided_on_one_block(registrar):
        titles.issue_title(
            registrar,
            sale.number,
            owner_key=sale.seller.address,
            not_after=int(time.time()) + DAY,
        )
    with decided_on_one_block(agency.context, registrar):
        deal = sale.draw_up()
    with decided_on_one_block(agency.context):
        opened = deal.submit(StepKind.SELLER)
    agency.done(opened.operation)
    network.sync()
    deal.take(*list(StepKind)[1:-1])
    with decided_on_one_block(registrar):
        registered = deal.sign(StepKind.REGISTER)
    network["registrar"].done(registered.operation)


def test_a_partys_step_is_taken_by_key_member_and_step_of_one_block(
    network: Network, person: Callable[[], Any]
) -> None:
    sale = put_up(network, person(), person())
    deal = sale.draw_up()
    deal.take(StepKind.SELLER, StepKind.BUYER, StepKind.AGENT)
    with decided_on_one_block(network["tax"].context, network["bank"].context):
        deal.sign(StepKind.TAX)
