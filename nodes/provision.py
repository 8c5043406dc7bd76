"""Creates, admits, starts and stops the nodes of several organisations on one machine.

``scripts`` and the tests build networks with it; in a real network each organisation does its part
by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chain.core.errors import QiaolianError, Unavailable
from chain.core.loopback import free_ports
from chain.ethereum.deploy import Governor
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger import Ledger
from chain.keys.files import Secp256k1Signer, open_person_key
from chain.statements.members import KeyPurpose
from nodes.client import NodeClient
from nodes.config import UNSEALED_TEST
from nodes.governance import Governance
from nodes.initialise import (
    CERTIFICATE_FILE,
    CONFIG_FILE,
    HANDOUT_FILE,
    Admission,
    NodePlan,
    initialise,
    peer_entry,
    write_config,
)

START_SECONDS = 400.0
"""A bound for what a busy machine may delay, not a measure."""
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class OrganisationPlan:
    """One organisation to create. ``extra_tables`` holds further tables of its configuration
    (``sources``, ``workers``, ``limits`` …).
    """

    member: str
    name: str
    roles: tuple[str, ...]
    officer: bool = False
    """Whether a chief data officer's approval key is made."""
    extra_tables: dict[str, Any] = field(default_factory=dict)
    console: bool = False
    """Whether the node serves a console, on loopback without TLS."""


@dataclass
class Organisation:
    """An organisation's directory, persons' keys and node processes."""

    plan: NodePlan
    admission: Admission
    node: NodeProcess = field(init=False)

    def __post_init__(self) -> None:
        self.node = NodeProcess(self.plan.directory)

    @property
    def member(self) -> str:
        """Its 18-character code."""
        return self.plan.member

    @property
    def url(self) -> str:
        """Where its node listens."""
        return f"https://{self.plan.host}:{self.plan.port}"

    @property
    def certificate(self) -> Path:
        """Its node's certificate."""
        return self.plan.directory / "keys" / CERTIFICATE_FILE

    def client(self, role: str | None = "system", *, timeout: float = 30.0) -> NodeClient:
        """A client of its node under a local role; None as a stranger."""
        token = None if role is None else self.token(role)
        return NodeClient(self.url, certificate=self.certificate, token=token, timeout=timeout)

    def token(self, role: str) -> str:
        """The token its node was made with for a local role."""
        return str(
            json.loads((self.plan.directory / HANDOUT_FILE).read_text(encoding="utf-8"))[role]
        )

    def officer(self) -> Secp256k1Signer:
        """The chief data officer's key, as the officer would open it."""
        assert self.plan.officer_key is not None
        return open_person_key(self.plan.officer_key)

    def administrator(self) -> Secp256k1Signer:
        """The administration key."""
        assert self.plan.admin_key is not None
        return open_person_key(self.plan.admin_key)

    def governor(self) -> Governor:
        """The organisation as one of the directory's founding governors."""
        admin, transaction = (
            self.admission.key(purpose) for purpose in (KeyPurpose.ADMIN, KeyPurpose.TRANSACTION)
        )
        return Governor(
            self.member, self.plan.name, self.admission.roles, admin.address, transaction.address
        )


def create_organisations(
    root: Path,
    wanted: Sequence[OrganisationPlan],
    *,
    rpc: Sequence[str],
    finality: Sequence[str] | str = UNSEALED_TEST,
    deployment: Path,
) -> list[Organisation]:
    """Make a directory for each organisation under ``root`` and let all know each other as peers.

    Persons' keys go to ``root/persons``, outside every node's directory. ``deployment`` is where
    the deployment file will be.
    """
    ports = free_ports(2 * len(wanted))
    consoles = ports[len(wanted) :]
    persons = root / "persons"
    made = []
    for organisation_plan, port, console in zip(wanted, ports, consoles, strict=False):
        tables = dict(organisation_plan.extra_tables)
        if organisation_plan.console:
            tables["console"] = {
                "port": console,
                "plain_http": True,
                **tables.get("console", {}),
            }
        plan = NodePlan(
            directory=root / organisation_plan.member,
            member=organisation_plan.member,
            name=organisation_plan.name,
            roles=organisation_plan.roles,
            port=port,
            rpc=tuple(rpc),
            finality=finality if isinstance(finality, str) else tuple(finality),
            deployment=str(deployment.resolve()),
            officer_key=persons / f"{organisation_plan.member}.officer.json"
            if organisation_plan.officer
            else None,
            admin_key=persons / f"{organisation_plan.member}.admin.json",
            extra_tables=tables,
        )
        made.append(Organisation(plan, initialise(plan)))
    configure_peers(made)
    return made


def configure_peers(organisations: Sequence[Organisation]) -> None:
    """Write every organisation's configuration with all others as peers. Takes effect at a node's
    next start.
    """
    for one in organisations:
        peers = {
            other.member: peer_entry(other.admission, other.url)
            for other in organisations
            if other is not one
        }
        one.plan = replace(one.plan, extra_tables={**one.plan.extra_tables, "peers": peers})
        write_config(one.plan)


class NodeProcess:
    """The two processes of a node: its API (``node run``) and its outbox. Logs go to ``run.log``
    and ``outbox.log`` in its directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = "nodes"
        """The Python module that is run. A test or the demo names another one that starts the node
        after it has altered it, as its owner could.
        """
        self.api: subprocess.Popen[bytes] | None = None
        self.outbox: subprocess.Popen[bytes] | None = None

    def start(self, *, outbox: bool = True) -> None:
        """Start the processes that do not run."""
        if not _runs(self.api):
            with signals_deferred():
                self.api = self._spawn("run")
        if outbox:
            self.start_outbox()

    def start_outbox(self) -> None:
        """Start the outbox process unless it runs."""
        if not _runs(self.outbox):
            with signals_deferred():
                self.outbox = self._spawn("outbox")

    def wait_ready(self, client: NodeClient, *, seconds: float = START_SECONDS) -> None:
        """Wait until the node is ready; the error names what is down."""
        deadline = time.monotonic() + seconds
        while True:
            if not _runs(self.api):
                raise Unavailable(
                    "node_ended", "The node process ended.", hint=self.last_log_line()
                )
            try:
                client.get("/readyz")
                return
            except QiaolianError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        "node_not_ready", f"The node is not ready: {error.sentence}"
                    ) from error
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask both processes to end, and make them if they do not."""
        running = [
            item for item in (self.api, self.outbox) if item is not None and item.poll() is None
        ]
        for item in running:
            item.send_signal(signal.SIGTERM)
        for item in running:
            try:
                item.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                item.kill()
                item.wait(STOP_SECONDS)

    def kill(self) -> None:
        """kill -9 the API process, as a power cut would."""
        _kill(self.api)

    def kill_outbox(self) -> None:
        """kill -9 the outbox process."""
        _kill(self.outbox)

    def pids(self) -> list[int]:
        """Process ids of the running processes."""
        return [
            item.pid for item in (self.api, self.outbox) if item is not None and item.poll() is None
        ]

    def last_log_line(self) -> str:
        """The last line of the API process's log."""
        with contextlib.suppress(OSError, IndexError):
            return (
                (self.directory / "run.log")
                .read_text(encoding="utf-8", errors="replace")
                .strip()
                .splitlines()[-1][:500]
            )
        return ""

    def _spawn(self, action: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            self.program,
            action,
            "--config",
            str(self.directory / CONFIG_FILE),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with (self.directory / f"{action}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=environment,
                start_new_session=True,
            )


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block ends: between its start and the line that
    remembers it, nobody could end a process again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {
        item: signal.signal(item, lambda number, _frame: received.append(number))
        for item in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, signal.SIG_DFL if handler is None else handler)
        for number in received[:1]:
            signal.raise_signal(number)


def start_all(organisations: Sequence[Organisation], *, seconds: float = START_SECONDS) -> None:
    """Start every organisation's processes and wait until all are ready."""
    for organisation in organisations:
        organisation.node.start()
    for organisation in organisations:
        organisation.node.wait_ready(organisation.client(None), seconds=seconds)


def stop_all(organisations: Sequence[Organisation]) -> None:
    """Stop every organisation's processes."""
    for organisation in organisations:
        for process in (organisation.node.api, organisation.node.outbox):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
    for organisation in organisations:
        organisation.node.stop()


def found(
    organisations: Sequence[Organisation],
    deployment: Deployment,
    *,
    governors: int = 3,
    ledger: Ledger | None = None,
) -> list[bytes]:
    """Fill the directory of a fresh deployment: complete the first ``governors``,
    admit the others.
    """
    ledger = ledger or Ledger(organisations[0].plan.rpc, deployment)
    governance = Governance(
        ledger, [organisation.administrator() for organisation in organisations[:2]]
    )
    admissions = [organisation.admission for organisation in organisations]
    return governance.complete(admissions[:governors]) + governance.admit(admissions[governors:])


def _runs(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait(STOP_SECONDS)
