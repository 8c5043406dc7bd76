"""A department and a bank with a console, as processes on a throw-away chain: one asset, on offer,
and a firm whose consent the bank holds.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum import anvil
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow, Deployment
from chain.ethereum.ledger import Ledger
from chain.statements.grants import GrantDecision, Operation
from nodes import provision
from nodes.cli.main import main
from nodes.client import NodeClient
from nodes.provision import Organisation, OrganisationPlan
from registry.uscc import with_check_character
from tests.support.console_network import ConsoleNode
from tests.support.waiting import wait_for

T = TypeVar("T")

SUBJECT = "92440703MD00000168"
RECORDS = f"code,age,area\n{SUBJECT},31,华侨城\nB2,42,north\nC3,53,south\n"
PURPOSE = "credit-assessment"
PRICE = 123
"""Fen a call."""


@dataclass
class ConsoleMarket:
    """The running nodes."""

    root: Path
    deployment: Deployment
    organisations: dict[str, Organisation]
    asset_id: str = ""

    @property
    def bank(self) -> ConsoleNode:
        """The bank's node, which has a console."""
        return ConsoleNode(self.organisations["bank"])

    def client(self, name: str, role: str) -> NodeClient:
        """An organisation's own system."""
        return self.organisations[name].client(role)

    def publish(self) -> None:
        """Publish the records for credit assessment and statistics, at a price."""
        department = self.organisations["department"]
        clerk = department.client("clerk")
        made = clerk.post("/v1/assets", PUBLICATION)
        _done(clerk, made["operation"])
        self.asset_id = made["assetId"]
        offer = {
            "assetId": self.asset_id,
            "assetVersion": 1,
            "price": PRICE,
            "maxCap": 100_000,
            "maxPerCall": PRICE,
            "shares": [{"member": department.member, "basisPoints": 10_000}],
        }
        clerk.post("/v1/offers", offer)
        settlement = self.client("operator", "clerk")
        deposit = {"member": self.organisations["bank"].member, "amount": 50_000, "reference": "1"}
        _done(settlement, settlement.post("/v1/deposits", deposit)["operation"])

    def agreed(self, purpose: str, cap: int) -> str:
        """An open agreement of the bank; its id."""
        department, buyer = self.organisations["department"], self.client("bank", "clerk")
        now = int(time.time())
        wanted = {
            "assetId": self.asset_id,
            "owner": department.member,
            "operations": int(Operation.USE),
            "scene": "loans",
            "purpose": purpose,
            "columns": ["age", "area"],
            "notBefore": now - 60,
            "notAfter": now + 86_400,
            "maxUses": 1_000,
        }
        grant_id = _retried(lambda: buyer.post("/v1/grants", wanted))["grantId"]
        decision = GrantDecision(1, bytes.fromhex(grant_id[2:]), True, "agreed", 2**40)
        digest = decision.digest(self.deployment.domain("GrantRegistry"))
        signature = "0x" + department.officer().sign_digest(digest).hex()
        body = {"decision": decision.to_json(), "signature": signature}
        officer = department.client("officer")
        _done(
            officer,
            _retried(lambda: officer.post(f"/v1/grants/{grant_id}/decision", body))["operation"],
        )
        shown = buyer.get(f"/v1/offers?provider={department.member}")["offers"]
        order = {"grantId": grant_id, "offerHash": shown[0]["offerHash"], "cap": cap}
        made = _retried(lambda: buyer.post("/v1/agreements", order))
        path = f"/v1/agreements/{made['agreementId']}"
        wait_for(lambda: buyer.get(path)["state"] == "open" or None, "the agreement to open")
        return str(made["agreementId"])

    def consented(self) -> None:
        """The subject's consent to the bank: certified, signed, on the chain and delivered."""
        key, consent = self.root / "subject.json", self.root / "consent.json"
        certificate = self.root / "certificate.json"
        _command("subject", "key", "--key", str(key), "--code", SUBJECT, "--purpose", "consent")
        request, node = f"{key}.request.json", self._node("department")
        _command("credit", "certify", request, "--out", str(certificate), *node)
        bank = ("--bank", self.organisations["bank"].member, "--out", str(consent), "--yes")
        signing = ("--key", str(key), "--certified", str(certificate), *bank)
        deployment = ("--deployment", str(self.root / "deployment.json"))
        _command("subject", "consent", *signing, *deployment)
        _command("subject", "register", str(consent), *self._stranger("operator"))
        deliver = ("subject", "deliver-consent", str(consent), *self._stranger("bank"))
        _retried(lambda: _command(*deliver))

    def _node(self, name: str) -> tuple[str, str]:
        return ("--node", str(self.organisations[name].plan.directory))

    def _stranger(self, name: str) -> tuple[str, ...]:
        at = self.organisations[name]
        return ("--url", at.url, "--certificate", str(at.certificate))


PUBLICATION: dict[str, Any] = {
    "name": "people",
    "source": "people",
    "description": {
        "titleZh": "人员信息",
        "titleEn": "People",
        "description": "Test records",
        "grade": 3,
    },
    "masking": {"age": "range:10", "area": "keep", "code": "drop"},
    "purposes": {PURPOSE: {"consent": True}, "statistics": {"consent": False}},
}


def _done(client: NodeClient, operation: str) -> None:
    answer = client.get(f"/v1/operations/{operation}?wait=20")
    assert answer["state"] == "done", answer


def _retried(work: Callable[[], T]) -> T:
    """Work repeated until the other nodes have followed the chain so far."""

    def attempt() -> T | None:
        try:
            return work()
        except (QiaolianError, AssertionError):
            return None

    return wait_for(attempt, "other nodes to follow")


def _command(*arguments: str) -> bool:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([*arguments, "--json"])
    assert code == 0, (arguments, out.getvalue())
    return True


@contextmanager
def running_market(root: Path) -> Iterator[ConsoleMarket]:
    """An operator that is the settlement bank, a supervisor that does not run, a department and a
    bank.
    """
    url, chain = anvil.start(root / "anvil.log")
    organisations: list[Organisation] = []
    try:
        (root / "people.csv").write_text(RECORDS, encoding="utf-8")
        source = {"people": {"url": f"csv://{root}/people.csv", "key": "code"}}
        quick = {"workers": {"anchor_seconds": 1.0, "peer_seconds": 1.0}}
        plans = [
            OrganisationPlan(_member(1), "operator", ("operator", "settlement_bank")),
            OrganisationPlan(_member(2), "supervisor", ("supervisor",)),
            OrganisationPlan(
                _member(3),
                "市社保局",
                ("department",),
                officer=True,
                extra_tables={"sources": source, **quick},
            ),
            OrganisationPlan(_member(4), "江门银行", ("bank",), extra_tables=quick, console=True),
        ]
        organisations += provision.create_organisations(
            root / "nodes", plans, rpc=[url], deployment=root / "deployment.json"
        )
        governors = [organisation.governor() for organisation in organisations[:3]]
        deployment = deploy(url, new_private_key(), governors, min_close_window=CloseWindow(2, 2))
        deployment.save(root / "deployment.json")
        ledger = Ledger(url, deployment)
        provision.found(organisations, deployment, ledger=ledger)
        ledger.close()
        running = [organisations[place] for place in (0, 2, 3)]
        provision.start_all(running)
        names = ("operator", "supervisor", "department", "bank")
        yield ConsoleMarket(root, deployment, dict(zip(names, organisations, strict=True)))
    finally:
        provision.stop_all(organisations)
        anvil.end(chain)


def _member(place: int) -> str:
    return with_check_character(f"11440700MB2N0E{place:03d}")
