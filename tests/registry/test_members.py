"""The directory changes by two organisations' approval only."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from chain.ethereum.ledger.contracts import asset_id_of, log_id_of
from chain.ethereum.proved_records import governor_record
from chain.keys.files import Secp256k1Signer
from chain.outbox import enqueue
from chain.statements.members import Approval, ApprovalWithdrawal, KeyPurpose, Role
from registry import uscc
from registry.members.rules import call_arguments, status
from tests.registry.conftest import Network


def _admission(network: Network) -> dict[str, Any]:
    key = Secp256k1Signer(new_private_key())
    return {
        "member": uscc.with_check_character(f"91440703MA{secrets.randbelow(10**7):07d}"),
        "name": "a new bank",
        "roles": int(Role.BANK),
        "keys": [{"fingerprint": "0x" + key.fingerprint.hex(), "purpose": 3, "algorithm": 1}],
    }


def _propose(network: Network, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    share = [network["supervisor"].member, network["tax"].member]
    body = {"function": function, "arguments": arguments, "shareWith": share}
    made: dict[str, Any] = network["operator"].call(
        "POST", "/v1/governance/proposals", body, role="administrator"
    )
    return made


def _approve(network: Network, at: str, by: str, proposal: dict[str, Any]) -> dict[str, Any]:
    approval = Approval.from_json(proposal["approval"])
    signature = "0x" + network[by].sign(approval, KeyPurpose.ADMIN).hex()
    path = f"/v1/governance/proposals/{proposal['proposalId']}/approvals"
    taken: dict[str, Any] = network[at].call(
        "POST", path, {"signature": signature}, role="administrator"
    )
    return taken


def test_without_a_choice_every_known_governor_is_handed_the_proposal(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = network["operator"]
    known = [network[name].member for name in ("supervisor", "tax", "bank")]
    monkeypatch.setattr(operator.context, "witness_peers", known)
    records = operator.context.view.proved(map(governor_record, known))
    governing = [member for member in known if records.governs(member)]
    assert 0 < len(governing) < len(known)
    body = {"function": "admit", "arguments": _admission(network)}
    made = operator.call("POST", "/v1/governance/proposals", body, role="administrator")
    assert made["notReached"] == []
    path = f"/v1/governance/proposals/{made['proposalId']}"
    for member in known:
        (node,) = [node for node in network.nodes.values() if node.member == member]
        if member in governing:
            assert node.call("GET", path, role="administrator")["proposer"] == operator.member
            continue
        with pytest.raises(NotFound):
            node.call("GET", path, role="administrator")


def test_two_organisations_approving_at_their_own_nodes_admit_a_member(network: Network) -> None:
    wanted = _admission(network)
    proposal = _propose(network, "admit", wanted)
    assert proposal["notReached"] == []
    assert _approve(network, "supervisor", "supervisor", proposal)["operation"] is None
    operation = f"governance/{proposal['proposalId'][2:]}"
    _approve(network, "operator", "operator", proposal)
    network["operator"].done(operation)
    network.sync()
    found = network["bank"].call("GET", f"/v1/members/{wanted['member']}", role="clerk")
    assert (found["status"], found["roles"], len(found["keys"])) == ("active", ["bank"], 1)
    stored = network["operator"].call(
        "GET", f"/v1/governance/proposals/{proposal['proposalId']}", role="administrator"
    )
    assert stored["executedAt"] == found["admittedAt"]


def test_one_organisation_approving_twice_changes_nothing(network: Network) -> None:
    proposal = _propose(network, "admit", _admission(network))
    for _ in range(2):
        taken = _approve(network, "operator", "operator", proposal)
    assert len(taken["approvals"]) == 1
    assert taken["operation"] is None


def _withdraw(network: Network, at: str, by: str, proposal: dict[str, Any]) -> dict[str, Any]:
    approval = Approval.from_json(proposal["approval"])
    withdrawal = ApprovalWithdrawal(1, approval.call_hash, approval.nonce, approval.deadline)
    signature = "0x" + network[by].sign(withdrawal, KeyPurpose.ADMIN).hex()
    path = f"/v1/governance/proposals/{proposal['proposalId']}/withdrawals"
    taken: dict[str, Any] = network[at].call(
        "POST", path, {"signature": signature}, role="administrator"
    )
    return taken


def test_a_withdrawn_approval_executes_nothing_here_or_on_the_chain(network: Network) -> None:
    wanted = _admission(network)
    proposal = _propose(network, "admit", wanted)
    approval = Approval.from_json(proposal["approval"])
    _approve(network, "supervisor", "supervisor", proposal)
    taken = _withdraw(network, "supervisor", "supervisor", proposal)
    assert (list(taken["approvals"]), list(taken["withdrawals"])) == (
        [],
        [network["supervisor"].member],
    )
    network["supervisor"].done(
        f"governance-withdrawal/{proposal['proposalId'][2:]}/{network['supervisor'].member}"
    )
    assert _approve(network, "operator", "operator", proposal)["operation"] is None
    with pytest.raises(Conflict) as again:
        _approve(network, "supervisor", "supervisor", proposal)
    assert again.value.code == "approval_withdrawn"
    signatures = [
        network[name].sign(approval, KeyPurpose.ADMIN) for name in ("operator", "supervisor")
    ]
    arguments = (
        bytes.fromhex(proposal["callData"][2:]),
        approval.nonce,
        approval.deadline,
        signatures,
    )
    address, data = network.ledger.encode("MemberDirectory", "execute", *arguments)
    with pytest.raises(QiaolianError) as refused:
        network.ledger.simulate(
            address, data, sender=network["operator"].context.transaction_address
        )
    assert refused.value.code == "withdrawn_approval"


def test_an_executed_action_is_not_withdrawn_and_a_stranger_withdraws_nothing(
    network: Network,
) -> None:
    proposal = _propose(network, "admit", _admission(network))
    with pytest.raises(Forbidden) as stranger:
        _withdraw(network, "operator", "bank", proposal)
    assert stranger.value.code == "not_governor"
    _approve(network, "operator", "operator", proposal)
    _approve(network, "operator", "supervisor", proposal)
    network["operator"].done(f"governance/{proposal['proposalId'][2:]}")
    network.sync()
    with pytest.raises(Conflict) as late:
        _withdraw(network, "operator", "operator", proposal)
    assert late.value.code == "proposal_executed"


def test_two_governors_give_a_squatted_data_item_to_the_responsible_office(
    network: Network,
) -> None:
    asset_id = asset_id_of(network["tax"].member, "squatted-before")
    arguments = {
        "contract": network.deployment.address("AssetRegistry"),
        "dataItem": "squatted",
        "asset": "0x" + asset_id.hex(),
        "reason": "office",
    }
    proposal = _propose(network, "assignSource", arguments)
    _approve(network, "supervisor", "supervisor", proposal)
    _approve(network, "operator", "operator", proposal)
    network["operator"].done(f"governance/{proposal['proposalId'][2:]}")
    assert network.ledger.assets.source_of("squatted") == asset_id


def test_two_governors_set_back_a_log_whose_key_a_thief_had(network: Network) -> None:
    """A head of the largest size ends a log, until two governors put back what the supervisors saw."""
    bank = network["bank"]
    log_id = log_id_of(f"qiaolian/{bank.member}/77")
    context = bank.context
    context.database.write(
        lambda session: enqueue(
            session,
            sender=context.transaction_address,
            operation_id="the thief's anchor",
            contract="EvidenceLog",
            function="anchor",
            arguments=[77, 2**64 - 1, bytes(32)],
        )
    )
    bank.done("the thief's anchor")
    assert network.ledger.evidence.log(log_id).size == 2**64 - 1
    root = secrets.token_bytes(32)
    arguments = {
        "contract": network.deployment.address("EvidenceLog"),
        "member": bank.member,
        "epoch": 77,
    }
    proposal = _propose(
        network,
        "correctLog",
        {**arguments, "size": 2**40, "root": "0x" + root.hex(), "reason": "stolen"},
    )
    _approve(network, "supervisor", "supervisor", proposal)
    _approve(network, "operator", "operator", proposal)
    network["operator"].done(f"governance/{proposal['proposalId'][2:]}")
    assert (network.ledger.evidence.log(log_id).size, network.ledger.evidence.root(log_id)) == (
        2**40,
        root,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"root": "0x12"},
        {"size": 2**64},
        {"size": -1},
        {"epoch": 2**32},
        {"size": "1"},
        {"root": None},
        {"more": 1},
    ],
)
def test_a_malformed_correction_of_a_log_is_refused(changed: dict[str, Any]) -> None:
    right = {
        "contract": "0x" + "11" * 20,
        "member": "914403001922038216",
        "epoch": 1,
        "size": 5,
        "root": "0x" + "22" * 32,
        "reason": "stolen",
    }
    assert call_arguments("correctLog", right)[3] == 5
    with pytest.raises(BadInput) as refused:
        call_arguments("correctLog", {**right, **changed})
    assert refused.value.code == "action_malformed"


def test_an_approval_of_a_member_that_is_no_governor_is_refused(network: Network) -> None:
    proposal = _propose(network, "admit", _admission(network))
    with pytest.raises(Forbidden) as refused:
        _approve(network, "operator", "bank", proposal)
    assert refused.value.code == "not_governor"


def test_a_proposal_whose_call_is_not_what_it_describes_is_refused(network: Network) -> None:
    """A peer shows an admission and asks approval of a removal."""
    shown = _propose(network, "admit", _admission(network))
    other = _propose(network, "remove", {"member": network["bank"].member, "reason": "gone"})
    forged = {**shown, "callData": other["callData"], "approval": other["approval"]}
    with pytest.raises(BadInput) as refused:
        asyncio.run(
            network["operator"].peers.post(
                network["supervisor"].member, "/v1/peer/governance/proposals", forged
            )
        )
    assert refused.value.code == "proposal_differs"


@pytest.mark.parametrize(
    ("function", "changed", "code"),
    [
        ("admit", {"member": "91440703MA00000000"}, "wrong_check_character"),
        ("admit", {"roles": 0}, "wrong_roles"),
        ("admit", {"roles": 128}, "wrong_roles"),
        ("admit", {"roles": True}, "wrong_roles"),
        ("admit", {"keys": []}, "wrong_key"),
        ("admit", {"keys": [{"fingerprint": "0x12", "purpose": 3, "algorithm": 1}]}, "wrong_key"),
        (
            "admit",
            {"keys": [{"fingerprint": "0x" + "12" * 32, "purpose": 9, "algorithm": 1}]},
            "wrong_key",
        ),
        ("admit", {"name": ""}, "action_malformed"),
        ("admit", {"name": "税务局\u202etxt"}, "action_malformed"),
        ("admit", {"name": "Tax\u200bbureau"}, "action_malformed"),
        ("admit", {"name": "Cafe\u0301"}, "action_malformed"),
        ("admit", {"name": "Tax\nbureau"}, "action_malformed"),
        ("admit", {"name": " Tax bureau"}, "action_malformed"),
        ("admit", {"more": 1}, "action_malformed"),
        ("selfdestruct", {}, "action_unknown"),
    ],
)
def test_a_malformed_action_is_refused_by_name(
    network: Network, function: str, changed: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadInput) as refused:
        call_arguments(function, {**_admission(network), **changed})
    assert refused.value.code == code


def test_a_member_nobody_admitted_is_unknown(network: Network) -> None:
    with pytest.raises(NotFound) as refused:
        network["bank"].call("GET", "/v1/members/91440703MA00000009", role="clerk")
    assert refused.value.code == "member_unknown"


def test_status_follows_the_latest_height() -> None:
    heights = {"admitted_at": 1, "suspended_at": 0, "lifted_at": 0, "removed_at": 0}
    assert status(**heights) == "active"
    assert status(**{**heights, "suspended_at": 5}) == "suspended"
    assert status(**{**heights, "suspended_at": 5, "lifted_at": 6}) == "active"
    assert status(**{**heights, "suspended_at": 7, "lifted_at": 6}) == "suspended"
    assert status(**{**heights, "suspended_at": 7, "removed_at": 9}) == "removed"
