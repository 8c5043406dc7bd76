"""The Ledger port on the real contracts."""

from __future__ import annotations

from typing import Any

import pytest

from chain.core.crypto import keccak256
from chain.core.errors import NotAnchored, QiaolianError
from chain.ethereum.ledger import Reverted, asset_id_of, code_text, log_id_of, version_key
from chain.ethereum.records import UnitHoldRecord
from chain.statements.assets import AssetRecord
from chain.statements.members import KeyPurpose, Role
from tests.chain.conftest import Throwaway

ROOT_HASH = b"\7" * 32


def record(holder: str, **changes: Any) -> AssetRecord:
    fields: dict[str, Any] = {
        "version": 1,
        "holder": holder,
        "processor": holder,
        "operator": holder,
        "data_item": "tax.records",
        "name": "tax",
        "asset_version": 1,
        "grade": 2,
        "category": "tax",
        "schema_hash": b"\1" * 32,
        "records_root": b"\2" * 32,
        "row_count": 4454,
        "metadata_hash": b"\3" * 32,
        "parents": (),
    }
    return AssetRecord(**{**fields, **changes})


def code_of(action: Any) -> str:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value.code


def test_governors_are_members_with_the_keys_given(throwaway: Throwaway) -> None:
    members = throwaway.ledger.members
    for organisation in throwaway.organisations:
        assert members.is_active(organisation.member)
        assert members.member(organisation.member).live
        assert (
            members.member_of(organisation.transaction.address, KeyPurpose.TRANSACTION)
            == organisation.member
        )
        assert members.key(organisation.admin.fingerprint).purpose == KeyPurpose.ADMIN
    assert members.has_role(throwaway.organisations[1].member, Role.DEPARTMENT)
    assert not members.has_role(throwaway.organisations[1].member, Role.BANK)
    assert members.member_of(throwaway.organisations[0].transaction.address, KeyPurpose.ADMIN) == ""
    assert members.contract_at("trade") is None
    assert not members.is_closed(throwaway.deployment.address("TradeSettlement"))


def test_an_event_gives_its_struct_back_as_the_statement_type(throwaway: Throwaway) -> None:
    department = throwaway.organisations[1]
    asset = record(department.member)
    height = throwaway.send(department, "AssetRegistry", "register", asset)
    (event,) = throwaway.ledger.events(height, height, ["AssetRegistry"])
    asset_id = asset_id_of(department.member, "tax")
    assert (event.contract, event.name, event.height) == (
        "AssetRegistry",
        "AssetRegistered",
        height,
    )
    assert event.arguments == {"assetId": asset_id, "holder": department.member, "record": asset}
    block = throwaway.ledger.block(height)
    assert event.block_hash == block.block_hash
    (transaction,) = block.transactions
    assets = throwaway.ledger.assets
    assert assets.asset(asset_id).live
    assert assets.asset(asset_id).latest_version == 1
    assert assets.record_hash(asset_id, 1) == asset.struct_hash()
    assert assets.source_of("tax.records") == asset_id
    assert (
        version_key(asset_id, 1)
        == throwaway.ledger.read("AssetRegistry", "versionKey", asset_id, 1)[0]
    )
    receipt = throwaway.ledger.receipt(transaction)
    assert receipt.succeeded
    assert receipt.events == (event,)


def test_events_come_in_chain_order_over_all_contracts(throwaway: Throwaway) -> None:
    department = throwaway.organisations[1]
    throwaway.send(department, "AssetRegistry", "register", record(department.member))
    throwaway.send(department, "EvidenceLog", "anchor", 1, 5, ROOT_HASH)
    last = throwaway.send(department, "EvidenceLog", "anchor", 1, 9, ROOT_HASH)
    events = throwaway.ledger.events(throwaway.deployment.deployed_at, last)
    assert [event.name for event in events[:2]] == ["MemberAdmitted", "KeyAdded"]
    assert [event.name for event in events[-3:]] == ["AssetRegistered", "Anchored", "Anchored"]
    assert [(event.height, event.log_index) for event in events] == sorted(
        (event.height, event.log_index) for event in events
    )
    assert throwaway.ledger.events(last + 1, last) == []
    assert throwaway.ledger.evidence.log(log_id_of(f"qiaolian/{department.member}/1")).size == 9
    assert throwaway.ledger.evidence.root(log_id_of(f"qiaolian/{department.member}/1")) == ROOT_HASH


def test_a_contracts_refusal_has_its_code_and_arguments(throwaway: Throwaway) -> None:
    bank = throwaway.organisations[2]
    throwaway.send(bank, "EvidenceLog", "anchor", 1, 5, ROOT_HASH)
    with pytest.raises(Reverted) as caught:
        throwaway.send(bank, "EvidenceLog", "anchor", 1, 4, ROOT_HASH)
    assert caught.value.code == "log_shrinks"
    assert caught.value.context == {"by": "EvidenceLog", "anchored": 5, "offered": 4}


def test_a_stranger_is_refused_by_the_contract_itself(throwaway: Throwaway) -> None:
    address, data = throwaway.ledger.encode("EvidenceLog", "anchor", 1, 1, ROOT_HASH)
    stranger = "0x" + "12" * 20
    assert (
        code_of(lambda: throwaway.ledger.simulate(address, data, sender=stranger))
        == "not_member_key"
    )


def test_a_suspended_member_is_read_as_suspended_and_lifted(throwaway: Throwaway) -> None:
    bank = throwaway.organisations[2].member
    throwaway.execute("suspend", bank, "unpaid")
    word = throwaway.ledger.members.member(bank)
    assert word.suspended
    assert not word.live
    throwaway.execute("lift", bank)
    word = throwaway.ledger.members.member(bank)
    assert word.live
    assert word.lifted_at > word.suspended_at
    events = throwaway.ledger.events(0, throwaway.ledger.height(), ["MemberDirectory"])
    (suspended,) = [event for event in events if event.name == "MemberSuspended"]
    assert code_text(suspended.arguments["reason"]) == "unpaid"


def test_a_member_suspended_twice_is_known_as_suspended_both_times(throwaway: Throwaway) -> None:
    bank, members = throwaway.organisations[2].member, throwaway.ledger.members
    expected: dict[int, bool] = {}
    for number in range(5):
        throwaway.execute(
            "lift" if number % 2 else "suspend", bank, *(() if number % 2 else ("unpaid",))
        )
        expected[throwaway.ledger.height()] = members.is_active(bank)
        throwaway.send(
            throwaway.organisations[2], "EvidenceLog", "anchor", 1, number + 1, ROOT_HASH
        )
    assert list(expected.values()) == [False, True, False, True, False]
    assert {
        height: members.member_at(bank, height).live_at(height) for height in expected
    } == expected
    with pytest.raises(NotAnchored) as refused:
        members.member(bank).live_at(min(expected))
    assert refused.value.code == "height_not_covered"


def test_an_asset_held_twice_is_known_as_held_both_times(throwaway: Throwaway) -> None:
    supervisor, department, assets = (
        throwaway.organisations[0],
        throwaway.organisations[1],
        throwaway.ledger.assets,
    )
    asset = record(department.member)
    throwaway.send(department, "AssetRegistry", "register", asset)
    asset_id = asset_id_of(department.member, asset.name)
    expected: dict[int, bool] = {}
    for number in range(4):
        held = number % 2 == 0
        function, arguments = ("hold", ("dispute",)) if held else ("release", ())
        expected[throwaway.send(supervisor, "AssetRegistry", function, asset_id, *arguments)] = held
    assert {
        height: assets.hold_at(asset_id, height).held_at(height) for height in expected
    } == expected
    assert throwaway.ledger.property.hold_at(
        department.member, asset_id, min(expected)
    ) == UnitHoldRecord(0, 0, held=False)


def test_a_nodes_key_ends_its_own_keys_but_no_administrators(throwaway: Throwaway) -> None:
    governor = throwaway.organisations[2]
    with pytest.raises(Reverted) as refused:
        throwaway.send(
            governor, "MemberDirectory", "endOwnKey", governor.admin.fingerprint, "spite"
        )
    assert refused.value.code == "ended_by_governors_alone"
    assert refused.value.context["fingerprint"] == governor.admin.fingerprint
    throwaway.send(
        governor, "MemberDirectory", "endOwnKey", governor.transaction.fingerprint, "lost"
    )
    assert not throwaway.ledger.members.key(governor.transaction.fingerprint).live


def test_every_typed_read_answers_for_what_does_not_exist(throwaway: Throwaway) -> None:
    ledger, nothing, nobody = (
        throwaway.ledger,
        keccak256(b"nothing"),
        throwaway.organisations[3].member,
    )
    assert not ledger.assets.asset(nothing).live
    assert not ledger.assets.hold(nothing).held
    assert not ledger.grants.grant(nothing).live
    assert not ledger.grants.is_live(nothing)
    assert ledger.settlement.account(nobody).balanced
    assert ledger.settlement.totals().deposited == 0
    assert ledger.settlement.agreement(nothing).opened_at == 0
    assert ledger.settlement.lane(nothing, 1).seq == 0
    assert ledger.settlement.paid_to(nothing, nobody) == 0
    assert ledger.settlement.reference_used_at(nobody, nothing) == 0
    assert not ledger.evidence.log(nothing).live
    assert not ledger.credit.consent(nothing).live
    assert ledger.credit.query_anchored_at(nothing) == 0
    assert not ledger.credit.dispute(nothing).live
    assert ledger.credit.repair(nothing) == bytes(32)
    assert not ledger.property.deal(nothing).live
    assert ledger.property.open_deal(nobody, nothing) == bytes(32)
    assert ledger.property.last_registration(nobody, nothing) == bytes(32)
    assert ledger.property.title_hash(nothing) == bytes(32)
    assert not ledger.property.hold(nobody, nothing).held
    assert ledger.property.step_hash(nothing, 1) == bytes(32)
    assert ledger.receipt(nothing) is None
    assert ledger.block(10**9) is None


def test_a_deployment_of_another_chain_is_noticed_at_the_first_read(throwaway: Throwaway) -> None:
    from dataclasses import replace

    from chain.ethereum.ledger import Ledger

    other = Ledger(throwaway.url, replace(throwaway.deployment, chain_id=1))
    assert code_of(other.height) == "chain_wrong_id"
    other = Ledger(throwaway.url, replace(throwaway.deployment, genesis_hash=bytes(32)))
    assert (
        code_of(lambda: other.members.is_active(throwaway.organisations[0].member))
        == "chain_wrong_id"
    )


def test_a_chain_that_stops_answering_is_unreachable(throwaway: Throwaway) -> None:
    throwaway.process.kill()
    throwaway.process.wait()
    assert code_of(throwaway.ledger.height) == "chain_unreachable"


def test_too_few_governors_are_refused_at_deployment(throwaway: Throwaway) -> None:
    from chain.core.crypto import new_private_key
    from chain.ethereum.deploy import deploy

    assert code_of(lambda: deploy(throwaway.url, new_private_key(), [])) == "deploy_failed"
