"""Networks that the tests of commands share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.engine.network import Network
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.ledger import Ledger
from nodes import provision
from nodes.provision import OrganisationPlan
from registry.uscc import with_check_character
from tests.scripts.town import PEOPLE, Town, admin_key, retried


@pytest.fixture(scope="module")
def town(kcn_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    root = tmp_path_factory.mktemp("town")
    (root / "people.csv").write_text(PEOPLE, encoding="utf-8")
    source = {"sources": {"people": {"url": f"csv://{root}/people.csv", "key": "id"}}}
    workers = {
        "workers": {"anchor_seconds": 2.0, "checkpoint_seconds": 0.5, "witness_seconds": 0.5}
    }
    roles = {
        "operator": ("operator", "settlement_bank"),
        "supervisor": ("supervisor",),
        "department": ("department",),
        "agency": ("agency",),
        "bank": ("bank",),
    }
    wanted = [
        OrganisationPlan(
            with_check_character(f"11440703MB2T0W{index:03d}"),
            name,
            held,
            officer=True,
            extra_tables={**workers, **source},
        )
        for index, (name, held) in enumerate(roles.items(), 1)
    ]
    deployment = root / "deployment.json"
    made = provision.create_organisations(
        root / "nodes",
        wanted,
        rpc=kcn_network.rpc_urls,
        finality=kcn_network.addresses,
        deployment=deployment,
    )
    organisations = dict(zip(roles, made, strict=True))
    governors = [organisation.governor() for organisation in made[:3]]
    window = CloseWindow(2, 2)
    contracts = deploy(
        kcn_network.rpc_urls[0], new_private_key(), governors, min_close_window=window
    )
    contracts.save(deployment)
    ledger = Ledger(kcn_network.rpc_urls, contracts)
    try:
        provision.found(made[:4], contracts, ledger=ledger)
        provision.start_all(made[:4])
        yield Town(root, organisations, deployment)
    finally:
        ledger.close()
        provision.stop_all(made)


@pytest.fixture(scope="module")
def admitted(town: Town) -> dict[str, Any]:
    """The bank, admitted by two administrators, each at the own node with the own key file; then
    its node starts.
    """
    admission = town.organisations["bank"].plan.directory / "admission.json"
    proposed = town.at(
        "operator",
        "member",
        "propose-admit",
        "--admission",
        str(admission),
        "--share-with",
        town["supervisor"],
    )
    proposal = proposed["proposalId"]
    first = town.at(
        "operator", "member", "approve", proposal, "--key", admin_key(town, "operator"), "--yes"
    )
    town.at(
        "supervisor", "member", "approve", proposal, "--key", admin_key(town, "supervisor"), "--yes"
    )
    retried("member", "show", town["bank"], *town.node("operator"))
    provision.start_all([town.organisations["bank"]])
    return {"proposal": proposal, "first": first}
