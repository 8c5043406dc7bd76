"""Nodes with a console, as processes on a throw-away chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chain.core.crypto import new_private_key
from chain.ethereum import anvil
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.ledger import Ledger
from nodes import config as configuration
from nodes import provision
from nodes.cli.console import invitation_link, opened_records
from nodes.initialise import CONFIG_FILE, write_config
from nodes.provision import Organisation, OrganisationPlan
from registry.uscc import with_check_character

START_SECONDS = 400.0
"""How long the nodes may take to start on a busy machine."""
QUICK = {"workers": {"anchor_seconds": 1.0, "peer_seconds": 1.0}}
"""What a person waits for in a browser comes soon."""
RECORDS = 'id,age,area,note\nA1,31,华侨城,x\nB2,42,"north, west",\nC3,53,south,z\n'


@dataclass
class ConsoleNode:
    """A running node and where its console is."""

    organisation: Organisation

    @property
    def url(self) -> str:
        """The console's address."""
        settings = configuration.load(self.organisation.plan.directory / CONFIG_FILE).console
        assert settings is not None
        scheme = "http" if settings.plain_http else "https"
        return f"{scheme}://{settings.host}:{settings.port}"

    def invite(self, login: str, *roles: str) -> str:
        """A one-time link for a new person."""
        config = configuration.load(self.organisation.plan.directory / CONFIG_FILE)
        with opened_records(config) as records:
            return invitation_link(
                config, records, login=login, name=f"{login} 王", roles=list(roles)
            )


def _member(place: int) -> str:
    return with_check_character(f"11440700MB2N0D{place:03d}")


def _serve_over_tls(organisation: Organisation) -> None:
    tables = organisation.plan.extra_tables
    console = {**tables["console"], "plain_http": False}
    organisation.plan = replace(organisation.plan, extra_tables={**tables, "console": console})
    write_config(organisation.plan)


@contextmanager
def running_node(root: Path, *, plain_http: bool = True) -> Iterator[ConsoleNode]:
    """A department that governs with two others, whose nodes do not run."""
    with _running(root, plain_http=plain_http, nodes=1) as (department,):
        yield department


@contextmanager
def running_network(root: Path) -> Iterator[tuple[ConsoleNode, ConsoleNode, ConsoleNode]]:
    """A department, the operator (its settlement bank as well) and the supervisor, all running."""
    with _running(root, plain_http=True, nodes=3) as (department, operator, supervisor):
        yield department, operator, supervisor


@contextmanager
def running_department_and_bank(root: Path) -> Iterator[tuple[ConsoleNode, ConsoleNode]]:
    """A department and a bank, whose nodes run. They govern with an operator, whose node does
    not.
    """
    plans = [
        OrganisationPlan(
            _member(11),
            "市水务局",
            ("department",),
            officer=True,
            extra_tables=QUICK,
            console=True,
        ),
        OrganisationPlan(_member(12), "侨商银行", ("bank",), extra_tables=QUICK, console=True),
        OrganisationPlan(_member(13), "operator", ("operator", "settlement_bank")),
    ]
    with _started(root, plans, nodes=2) as (department, bank):
        yield department, bank


@contextmanager
def _running(root: Path, *, plain_http: bool, nodes: int) -> Iterator[list[ConsoleNode]]:
    """The first of a department, an operator and a supervisor."""
    (root / "people.csv").write_text(RECORDS, encoding="utf-8")
    source = {"people": {"url": f"csv://{root}/people.csv", "key": "id"}}
    tables = {"sources": source, **QUICK}
    plans = [
        OrganisationPlan(
            _member(1),
            "市社保局",
            ("department",),
            officer=True,
            extra_tables=tables,
            console=True,
        ),
        OrganisationPlan(
            _member(2),
            "市政数局",
            ("operator", "settlement_bank"),
            extra_tables=QUICK,
            console=nodes > 1,
        ),
        OrganisationPlan(
            _member(3), "数据监管局", ("supervisor",), extra_tables=QUICK, console=nodes > 2
        ),
    ]
    with _started(root, plans, nodes=nodes, plain_http=plain_http) as started:
        yield started


@contextmanager
def _started(
    root: Path, plans: Sequence[OrganisationPlan], *, nodes: int, plain_http: bool = True
) -> Iterator[list[ConsoleNode]]:
    """The first nodes of three organisations that govern a throw-away chain."""
    url, chain = anvil.start(root / "anvil.log")
    organisations: list[Organisation] = []
    try:
        organisations += provision.create_organisations(
            root / "nodes", plans, rpc=[url], deployment=root / "deployment.json"
        )
        if not plain_http:
            _serve_over_tls(organisations[0])
        governors = [organisation.governor() for organisation in organisations]
        deployment = deploy(url, new_private_key(), governors, min_close_window=CloseWindow(2, 2))
        deployment.save(root / "deployment.json")
        ledger = Ledger(url, deployment)
        provision.found(organisations, deployment, ledger=ledger)
        ledger.close()
        provision.start_all(organisations[:nodes], seconds=START_SECONDS)
        yield [ConsoleNode(organisation) for organisation in organisations[:nodes]]
    finally:
        provision.stop_all(organisations)
        anvil.end(chain)
