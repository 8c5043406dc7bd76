"""Purposes: what an owner must list, what it may waive, and what an older version allows."""

from __future__ import annotations

from typing import Any

import pytest

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from registry.assets import peers, publication, serving
from registry.assets.model import Description, Publication
from registry.assets.rules import asset_id_of
from registry.assets.store import OwnAsset
from registry.purposes import KNOWN_PURPOSES, listed_in, require_purposes
from tests.registry.conftest import Network
from tests.support.node import sources_of

RECORDS = [{"subject": f"P{index:03d}", "Income": 1000 + index} for index in range(4)]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "purposes_missing"),
        ({"marketing": True}, "purpose_unknown"),
        ({"Statistics": True}, "purpose_unknown"),
        ({"credit-assessment": False}, "consent_always_needed"),
    ],
)
def test_a_list_of_purposes_that_nobody_could_rely_on_is_refused(
    wanted: dict[str, bool], code: str
) -> None:
    with pytest.raises(BadInput) as refused:
        require_purposes(wanted)
    assert refused.value.code == code


def test_listed_purposes_survive_the_metadata_and_nothing_else_is_allowed() -> None:
    listed = listed_in(
        {"purposes": require_purposes({"statistics": False, "credit-assessment": True}).to_json()}
    )
    assert (listed.needs_consent("statistics"), listed.needs_consent("credit-assessment")) == (
        False,
        True,
    )
    listed.require("statistics")
    with pytest.raises(Forbidden) as refused:
        listed.require("anti-fraud")
    assert refused.value.code == "purpose_not_listed"
    assert listed.needs_consent("anti-fraud")


def test_a_version_from_before_purposes_were_listed_needs_consent_for_each() -> None:
    assert listed_in({}).consent == dict.fromkeys(KNOWN_PURPOSES, True)


@pytest.mark.parametrize(
    "purposes",
    [
        None,
        [],
        {"statistics": {}},
        {"statistics": {"consent": "no"}},
        {"statistics": {"consent": 0}},
    ],
)
def test_malformed_purposes_in_a_holders_metadata_are_refused(purposes: Any) -> None:
    with pytest.raises(BadInput) as refused:
        listed_in({"purposes": purposes}).require("statistics")
    assert refused.value.code == "metadata_malformed"


def test_a_holder_that_waives_what_nobody_may_waive_waives_nothing() -> None:
    assert listed_in({"purposes": {"credit-assessment": {"consent": False}}}).needs_consent(
        "credit-assessment"
    )


def test_an_asset_without_a_purpose_is_not_published(network: Network) -> None:
    node = network["tax"]
    description = Description("数据", "Data", "for tests", 3, "test")
    network.publish("tax", RECORDS)
    known = next(iter(sources_of(node.context)))
    with pytest.raises(BadInput) as refused:
        publication.publish(node.context, Publication("no-purpose", known, description, {}))
    assert refused.value.code == "purposes_missing"
    assert serving.own_version(node.context, asset_id_of(node.member, "no-purpose"), 1) is None


def test_a_purpose_the_version_does_not_list_is_refused_at_the_request(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    before = network.ledger.height()
    with pytest.raises(Forbidden) as refused:
        network.request_grant("bank", "tax", asset_id, ["Income"], purpose="property-registration")
    assert refused.value.code == "purpose_not_listed"
    with pytest.raises(NotFound) as unknown:
        network.request_grant("bank", "tax", asset_id, ["Income"], asset_version=2)
    assert unknown.value.code == "asset_not_published"
    assert network.ledger.height() == before


def test_an_owner_refuses_an_unlisted_purpose_whatever_the_grantees_node_checks(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = network.publish("tax", RECORDS)

    async def unchecked(*_: Any) -> Any:
        return listed_in({})

    monkeypatch.setattr(peers, "published_purposes", unchecked)
    with pytest.raises(Forbidden) as refused:
        network.request_grant("bank", "tax", asset_id, ["Income"], purpose="property-registration")
    assert refused.value.code == "purpose_not_listed"


def test_an_owner_approves_no_purpose_its_version_does_not_list(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    grant_id = network.request_grant("bank", "tax", asset_id, ["Income"])
    node = network["tax"]

    def unlist(session: Any) -> None:
        row = session.get_one(OwnAsset, (asset_id, 1))
        row.asset_metadata = {**row.asset_metadata, "purposes": {"statistics": {"consent": True}}}

    node.context.database.write(unlist)
    with pytest.raises(Forbidden) as refused:
        network.decide("tax", grant_id)
    assert refused.value.code == "purpose_not_listed"
    network.decide("tax", grant_id, approved=False)


def test_a_version_published_this_moment_is_waited_for(network: Network) -> None:
    node = network["tax"]
    network.publish("tax", RECORDS)
    known = next(iter(sources_of(node.context)))
    description = Description("数据", "Data", "for tests", 3, "test")
    wanted = Publication(
        "this-moment", known, description, {}, purposes={"credit-assessment": True}
    )
    asset_id = publication.publish(node.context, wanted).asset_id
    assert network.request_grant("bank", "tax", asset_id, ["Income"])


def test_a_holder_that_shows_other_purposes_than_it_registered_is_caught(network: Network) -> None:
    asset_id = network.publish("tax", RECORDS)
    node = network["tax"]

    def widen(session: Any) -> None:
        row = session.get_one(OwnAsset, (asset_id, 1))
        row.asset_metadata = {
            **row.asset_metadata,
            "purposes": {"property-registration": {"consent": False}},
        }

    node.context.database.write(widen)
    with pytest.raises(Conflict) as refused:
        network.request_grant("bank", "tax", asset_id, ["Income"], purpose="property-registration")
    assert refused.value.code == "metadata_differs"
