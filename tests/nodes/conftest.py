"""A throw-away chain with real nodes as processes: a department, a bank, an operator and a
supervisor.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum import anvil
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow, Deployment
from chain.ethereum.ledger import Ledger
from chain.statements.grants import GrantDecision, Operation
from nodes import provision
from nodes.client import NodeClient
from nodes.governance import Governance
from nodes.provision import Organisation, OrganisationPlan
from registry.uscc import with_check_character
from tests.support.waiting import growing_pauses


@dataclass
class Anvil:
    """A chain process that keeps nothing."""

    url: str
    process: subprocess.Popen[bytes]


@dataclass
class TestNetwork:
    """Nodes on a throw-away chain. The founding three are operator, supervisor and department; the
    bank was admitted.
    """

    __test__ = False

    chain: Anvil
    deployment: Deployment
    ledger: Ledger
    organisations: list[Organisation]

    @property
    def governance(self) -> Governance:
        return Governance(
            self.ledger, [organisation.administrator() for organisation in self.organisations[:2]]
        )

    def of(self, role: str) -> Organisation:
        return next(
            organisation for organisation in self.organisations if role in organisation.plan.roles
        )


def member_id(index: int) -> str:
    return with_check_character(f"11440700MB2N0D{index:03d}")


SOURCE = 'id,age,area,note\nA1,31,华侨城,x\nB2,42,"north, west",\nC3,53,south,z\n'


UNUSABLE_SOURCE = {"url": "oracle+oracledb://u:hidden@127.0.0.1/x", "table": "t", "key": "id"}
"""A source whose driver is not there; the bank's node runs with it."""


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestNetwork]:
    """Four admitted organisations whose nodes run; tests leave it as they found it."""
    root = tmp_path_factory.mktemp("network")
    chain = Anvil(*anvil.start(root / "anvil.log"))
    organisations: list[Organisation] = []
    try:
        (root / "people.csv").write_text(SOURCE, encoding="utf-8")
        source = {"people": {"url": f"csv://{root}/people.csv", "key": "id"}}
        wanted = [
            OrganisationPlan(
                member_id(1),
                "operator",
                ("operator", "settlement_bank"),
                extra_tables={
                    "chain": {"stale_seconds": 2.0},
                    "limits": {"outbox_lag_seconds": 1.0},
                },
            ),
            OrganisationPlan(member_id(2), "supervisor", ("supervisor",)),
            OrganisationPlan(
                member_id(3),
                "department",
                ("department",),
                officer=True,
                extra_tables={"sources": source, "workers": {"anchor_seconds": 1.0}},
            ),
            OrganisationPlan(
                member_id(4),
                "bank",
                ("bank",),
                officer=True,
                extra_tables={
                    "sources": {"ledger": UNUSABLE_SOURCE},
                    "webhooks": {"networks": ["127.0.0.0/8"]},
                },
            ),
        ]
        organisations += provision.create_organisations(
            root / "nodes", wanted, rpc=[chain.url], deployment=root / "deployment.json"
        )
        governors = [organisation.governor() for organisation in organisations[:3]]
        deployment = deploy(
            chain.url, new_private_key(), governors, min_close_window=CloseWindow(2, 2)
        )
        deployment.save(root / "deployment.json")
        ledger = Ledger(chain.url, deployment)
        provision.found(organisations, deployment, ledger=ledger)
        provision.start_all(organisations)
        yield TestNetwork(chain, deployment, ledger, organisations)
        ledger.close()
    finally:
        provision.stop_all(organisations)
        anvil.end(chain.process)


def eventually(look: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What ``look`` gives once it is true; a refusal counts as not yet."""
    deadline, pauses = time.monotonic() + seconds, growing_pauses()
    while True:
        try:
            found = look()
        except QiaolianError:
            if time.monotonic() > deadline:
                raise
            found = None
        if found or time.monotonic() > deadline:
            return found
        time.sleep(next(pauses))


def done(client: NodeClient, operation: str) -> None:
    answer = client.get(f"/v1/operations/{operation}?wait=20")
    assert answer["state"] == "done", answer


@pytest.fixture(scope="package")
def agree(network: TestNetwork) -> Callable[..., dict[str, Any]]:
    """Makes an asset of this name, a grant, a deposit and an open agreement over the nodes; what to
    call then.
    """

    def made(name: str) -> dict[str, Any]:
        department, bank, settlement = (
            network.of("department"),
            network.of("bank"),
            network.of("settlement_bank"),
        )
        seller, buyer = department.client("clerk"), bank.client("clerk")
        asset = seller.post(
            "/v1/assets",
            {
                "name": name,
                "source": "people",
                "description": {
                    "titleZh": "人员",
                    "titleEn": "People",
                    "description": "Test records",
                    "grade": 3,
                },
                "masking": {"age": "range:10", "area": "keep", "note": "drop"},
                "purposes": {"statistics": {"consent": False}},
            },
        )
        done(seller, asset["operation"])
        offer = {
            "assetId": asset["assetId"],
            "assetVersion": 1,
            "price": 50,
            "maxCap": 100_000,
            "maxPerCall": 50,
        }
        seller.post(
            "/v1/offers",
            {**offer, "shares": [{"member": department.member, "basisPoints": 10_000}]},
        )
        eventually(lambda: buyer.get(f"/v1/assets?q={name}")["assets"])
        now = int(time.time())
        wanted = {
            "assetId": asset["assetId"],
            "owner": department.member,
            "operations": int(Operation.USE),
            "scene": "loans",
            "purpose": "statistics",
            "columns": ["age", "area"],
            "notBefore": now - 60,
            "notAfter": now + 86_400,
            "maxUses": 1_000,
        }
        grant_id = buyer.post("/v1/grants", wanted)["grantId"]
        decision = GrantDecision(1, bytes.fromhex(grant_id[2:]), True, "agreed", 2**40)
        signature = department.officer().sign_digest(
            decision.digest(network.deployment.domain("GrantRegistry"))
        )
        body = {"decision": decision.to_json(), "signature": "0x" + signature.hex()}
        officer = department.client("officer")
        decided = eventually(lambda: officer.post(f"/v1/grants/{grant_id}/decision", body))
        done(officer, decided["operation"])
        deposit = {"member": bank.member, "amount": 10_000, "reference": name}
        paid = settlement.client("clerk").post("/v1/deposits", deposit)
        done(settlement.client("clerk"), paid["operation"])
        shown = buyer.get(f"/v1/offers?provider={department.member}")["offers"]
        seen = next(offer["offerHash"] for offer in shown if offer["assetId"] == asset["assetId"])
        order = {"grantId": grant_id, "offerHash": seen, "cap": 1_000}
        agreed = eventually(lambda: buyer.post("/v1/agreements", order))
        agreement = agreed["agreementId"]
        call = {
            "agreementId": agreement,
            "subject": "A1",
            "columns": ["age", "area"],
            "purpose": "statistics",
        }
        return {"grant": grant_id, "agreement": agreement, "call": call}

    return made
