"""The demo's network: nine organisations with a node each, four of them with a validator, and the
persons who act for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError, Unavailable
from chain.engine.network import Network
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import MIN_CLOSE_WINDOW, CloseWindow, Deployment
from chain.ethereum.headers import from_rpc, require_final
from chain.ethereum.ledger import Ledger
from chain.ethereum.rpc import Rpc
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.keys.files import Secp256k1Signer
from nodes.client import NodeClient
from nodes.provision import (
    Organisation,
    OrganisationPlan,
    create_organisations,
    found,
    start_all,
    stop_all,
)
from scripts.demo_steps.records import SUBJECT, organisation_code
from scripts.demo_steps.screen import Screen

T = TypeVar("T")


@dataclass(frozen=True)
class DemoOrganisation:
    """One organisation of the demo."""

    key: str
    name: str
    english: str
    roles: tuple[str, ...]
    prefix: str
    validator: bool = False
    officer: bool = False
    source: bool = False

    @property
    def code(self) -> str:
        """Its made-up 统一社会信用代码."""
        return organisation_code(
            self.prefix, 1 + [organisation.key for organisation in ORGANISATIONS].index(self.key)
        )


ORGANISATIONS = (
    DemoOrganisation(
        "operator", "政务服务数据管理局", "Data administration", ("operator",), "11", validator=True
    ),
    DemoOrganisation(
        "supervisor", "数据交易监管办公室", "Supervisor", ("supervisor",), "11", validator=True
    ),
    DemoOrganisation(
        "tax",
        "税务局",
        "Tax bureau",
        ("department",),
        "11",
        validator=True,
        officer=True,
        source=True,
    ),
    DemoOrganisation("bank", "侨乡银行", "Bank", ("bank",), "91", validator=True),
    DemoOrganisation(
        "social-security",
        "社会保险局",
        "Social security",
        ("department",),
        "11",
        officer=True,
        source=True,
    ),
    DemoOrganisation(
        "real-estate",
        "不动产登记中心",
        "Registration centre",
        ("department",),
        "12",
        officer=True,
        source=True,
    ),
    DemoOrganisation("settlement", "清算银行", "Settlement bank", ("settlement_bank",), "91"),
    DemoOrganisation("agent", "房产经纪公司", "Estate agent", ("agency",), "91"),
    DemoOrganisation("notary", "公证处", "Notary office", ("agency",), "12"),
)
"""The first three are the governors whose approvals, two by two, change the directory."""

GOVERNORS = 3
SHORT_WINDOW = CloseWindow(2, 2)
"""The demo's shortest closing window, short enough to wait for."""


@dataclass
class World:
    """The running network and its clients."""

    directory: Path
    network: Network
    organisations: Mapping[str, Organisation]
    deployment: Deployment
    ledger: Ledger
    sources: Mapping[str, str]
    """The URL of each department's records."""
    _clients: dict[tuple[str, str | None], NodeClient] = field(default_factory=dict)

    def code(self, key: str) -> str:
        """An organisation's member id."""
        return self.organisations[key].member

    def client(self, key: str, role: str | None = "system") -> NodeClient:
        """A client of an organisation's node under a local role; None as a stranger. For the main
        thread.
        """
        index = (key, role)
        if index not in self._clients:
            self._clients[index] = self.organisations[key].client(role)
        return self._clients[index]

    def pids(self) -> Iterator[int]:
        """Process ids of the whole network."""
        yield from self.network.pids()
        for organisation in self.organisations.values():
            yield from organisation.node.pids()

    def send(self, contract: str, function: str, *arguments: Any) -> bytes:
        """Send a call from an account without any right of its own and wait for its block: for
        statements anyone may send.
        """
        address, data = self.ledger.encode(contract, function, *arguments)
        sender = Secp256k1Signer(new_private_key())
        signed = sign_transaction(
            sender,
            chain_id=self.deployment.chain_id,
            nonce=0,
            to=address,
            data=data,
            gas=gas_for(data),
        )
        for answer in self.ledger.send([signed.raw]):
            if not isinstance(answer, bytes):
                raise answer
        receipt = wait_for(
            lambda: self.ledger.receipt(signed.transaction_hash), "a transaction to be in a block"
        )
        if not receipt.succeeded:
            raise self.ledger.revert_reason(address, data, sender.address, receipt.height)
        return signed.transaction_hash

    def sealers(self, height: int) -> frozenset[str]:
        """Return the validators that sealed the blocks up to ``height``."""
        rpc = Rpc(self.network.rpc_urls)
        try:
            answers = rpc.batch(
                [("kaia_getBlockByNumber", (hex(number), False)) for number in range(1, height + 1)]
            )
        finally:
            rpc.close()
        return frozenset().union(
            *(require_final(from_rpc(answer), self.network.addresses) for answer in answers)
        )

    def stop(self) -> None:
        """End every process that was started."""
        stop_all(list(self.organisations.values()))
        self.network.stop()


def build(
    directory: Path,
    sources: Mapping[str, str],
    screen: Screen,
    *,
    cast: Sequence[DemoOrganisation] = ORGANISATIONS,
    consoles: bool = False,
) -> World:
    """Create and start the network in a fresh directory. The supervisor's node has a console, with
    ``consoles`` each does. A failure ends every process.
    """
    screen.say("making the validators and their genesis")
    network = Network.create(
        directory / "network",
        [organisation.english for organisation in cast if organisation.validator],
    )
    organisations: list[Organisation] = []
    try:
        network.start(say=screen.say)
        screen.line(
            f"{len(network.validators)} validators of {len(network.validators)} organisations "
            f"make blocks (chain {network.chain_id}, Istanbul BFT)",
            network.genesis_hash,
        )
        deployment_file = directory / "deployment.json"
        organisations = create_organisations(
            directory / "nodes",
            [_wanted(organisation, sources, consoles=consoles) for organisation in cast],
            rpc=network.rpc_urls,
            finality=network.addresses,
            deployment=deployment_file,
        )
        deployment, ledger = _founded(network, organisations, deployment_file, screen)
        screen.say("starting the nodes, two processes each")
        start_all(organisations)
        screen.line(
            f"{len(organisations)} nodes answer over TLS, each with its own database and keys"
        )
    except BaseException:
        stop_all(organisations)
        network.stop()
        raise
    return World(
        directory=directory,
        network=network,
        organisations={
            role.key: organisation for role, organisation in zip(cast, organisations, strict=True)
        },
        deployment=deployment,
        ledger=ledger,
        sources=sources,
    )


def _founded(
    network: Network, organisations: Sequence[Organisation], path: Path, screen: Screen
) -> tuple[Deployment, Ledger]:
    """Deploy the contracts, save the deployment to ``path`` and admit every organisation."""
    deployment = deploy(
        network.rpc_urls[0],
        new_private_key(),
        [organisation.governor() for organisation in organisations[:GOVERNORS]],
        min_close_window=SHORT_WINDOW,
        progress=screen.say,
    )
    deployment.save(path)
    ledger = Ledger(network.rpc_urls, deployment)
    screen.line(
        f"{len(deployment.contracts)} contracts are deployed",
        f"MemberDirectory {deployment.contracts['MemberDirectory']}",
    )
    screen.line(
        f"founded with closing windows of {SHORT_WINDOW.seconds} "
        "s, so that one can be waited out here; "
        f"a real network keeps the default of {MIN_CLOSE_WINDOW.seconds:,} s"
    )
    hashes = found(organisations, deployment, governors=GOVERNORS, ledger=ledger)
    screen.line(
        f"{len(organisations)} members admitted, each change approved by two governors",
        "0x" + hashes[-1].hex(),
    )
    return deployment, ledger


def wait_for(
    check: Callable[[], T | None], what: str, *, seconds: float = 60.0, every: float = 0.2
) -> T:
    """Wait until ``check`` gives something; ``demo_timeout`` naming what did not come."""
    deadline = time.monotonic() + seconds
    last: QiaolianError | None = None
    while time.monotonic() < deadline:
        try:
            found_now = check()
        except QiaolianError as error:
            found_now, last = None, error
        if found_now:
            return found_now
        time.sleep(every)
    raise Unavailable(
        "demo_timeout",
        f"Waited {seconds:.0f} s for {what}.",
        hint=f"{last.code}: {last}" if last else "",
    )


def refusal_code(attempt: Callable[[], Any]) -> str | None:
    """The code an attempt is refused with; None if it goes through."""
    try:
        attempt()
    except QiaolianError as error:
        return error.code
    return None


def _wanted(
    cast: DemoOrganisation, sources: Mapping[str, str], *, consoles: bool
) -> OrganisationPlan:
    more: dict[str, Any] = {"workers": {"anchor_seconds": 5.0, "checkpoint_seconds": 1.0}}
    console = consoles or "supervisor" in cast.roles
    if console:
        more["console"] = {"links_log_in": True}
    if cast.source:
        entry = {"url": sources[cast.key], "key": SUBJECT}
        if sources[cast.key].startswith("sqlite"):
            entry["table"] = "records"
        more["sources"] = {"records": entry}
    return OrganisationPlan(
        cast.code,
        f"{cast.name} {cast.english}",
        cast.roles,
        officer=cast.officer,
        extra_tables=more,
        console=console,
    )
