"""A throw-away chain with real nodes as processes: a department, a bank, an operator and a supervisor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from chain import anvil
from chain.crypto import new_private_key
from chain.deploy import deploy
from chain.deployment import Deployment
from chain.ledger import Ledger
from nodes import provision
from nodes.provision import Governance, Organisation, Wanted
from registry.uscc import with_check_character


@dataclass
class Anvil:
    """A chain process that keeps nothing."""

    url: str
    process: subprocess.Popen[bytes]


@dataclass
class TestNetwork:
    """Nodes on a throw-away chain. The founding three are operator, supervisor and department; the bank was admitted."""

    __test__ = False

    chain: Anvil
    deployment: Deployment
    ledger: Ledger
    organisations: list[Organisation]

    @property
    def governance(self) -> Governance:
        return Governance(self.ledger, [each.administrator() for each in self.organisations[:2]])

    def of(self, role: str) -> Organisation:
        return next(each for each in self.organisations if role in each.plan.roles)


def member_id(place: int) -> str:
    return with_check_character(f"11440700MB2N0D{place:03d}")


SOURCE = 'id,age,area,note\nA1,31,华侨城,x\nB2,42,"north, west",\nC3,53,south,z\n'


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestNetwork]:
    """Four admitted organisations whose nodes run; tests leave it as they found it."""
    root = tmp_path_factory.mktemp("network")
    chain = Anvil(*anvil.start(root / "anvil.log"))
    organisations: list[Organisation] = []
    try:
        (root / "people.csv").write_text(SOURCE, encoding="utf-8")
        source = {"people": {"url": f"csv://{root}/people.csv", "key": "id"}}
        wanted = [
            Wanted(
                member_id(1),
                "operator",
                ("operator", "settlement_bank"),
                more={"chain": {"stale_seconds": 2.0}, "limits": {"outbox_lag_seconds": 1.0}},
            ),
            Wanted(member_id(2), "supervisor", ("supervisor",)),
            Wanted(member_id(3), "department", ("department",), officer=True, more={"sources": source, "workers": {"anchor_seconds": 1.0}}),
            Wanted(member_id(4), "bank", ("bank",), officer=True),
        ]
        organisations += provision.lay_out(root / "nodes", wanted, rpc=[chain.url], deployment=root / "deployment.json")
        deployment = deploy(chain.url, new_private_key(), [each.governor() for each in organisations[:3]])
        deployment.save(root / "deployment.json")
        ledger = Ledger(chain.url, deployment)
        provision.found(organisations, deployment, ledger=ledger)
        provision.start_all(organisations)
        yield TestNetwork(chain, deployment, ledger, organisations)
        ledger.close()
    finally:
        provision.stop_all(organisations)
        anvil.end(chain.process)
