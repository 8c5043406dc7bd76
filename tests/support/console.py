"""A console in this process over a real database, and a person who uses it without a browser."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from chain.context import Context
from chain.core.crypto import new_private_key
from chain.core.database import Base, Database
from chain.core.loopback import free_ports
from chain.ethereum.deployment import Deployment
from chain.ethereum.ledger import Ledger
from chain.ethereum.view import ChainView
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.statements.members import KeyPurpose, Role
from contracts import NAMES
from nodes.config import Console, NodeConfig, parse
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from nodes.console.app import create_console
from nodes.routers import load_tables
from tests.support.node import LocalPeers
from tests.support.sealing import SealedForTests
from tests.support.waiting import wait_for

MEMBER = "11440700MB2C62170M"
PASSWORD = "orchid-harbour-tunnel"
BASE = "http://127.0.0.1:8444"
NOBODY_LISTENS = "http://127.0.0.1:9"

_HIDDEN = re.compile(r'name="(csrf|form_key)" value="([^"]*)"')


@dataclass
class TestClock:
    """A clock that a test moves."""

    __test__ = False
    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class TestConsole:
    """The console's application, its node's context and its clock."""

    __test__ = False
    app: FastAPI
    context: Context
    clock: TestClock
    config: NodeConfig

    def person(
        self, *roles: PersonRole, login: str = "", password: str = PASSWORD
    ) -> ConsolePerson:
        """A new person of these roles who has set a password and logged in."""
        login = login or f"person-{secrets.token_hex(4)}"
        token = accounts.invite(self.context, login=login, name=f"某人 {login}", roles=roles)
        accounts.accept_invitation(self.context, token, password)
        visitor = self.visitor()
        visitor.log_in(login, password)
        return visitor

    def visitor(self) -> ConsolePerson:
        """A browser nobody has logged in with."""
        return ConsolePerson(TestClient(self.app, base_url=BASE, follow_redirects=False))

    def account_id(self, login: str) -> str:
        """The account with this log-in name."""
        return next(one.id for one in accounts.listing(self.context) if one.login == login)


@dataclass
class ConsolePerson:
    """A browser with its cookies. Forms are sent as its pages would send them."""

    http: TestClient
    login: str = ""
    language: str = "en"
    _fields: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> httpx.Response:
        answer: httpx.Response = self.http.get(
            path, headers={"accept-language": self.language, **headers}
        )
        return answer

    def page(self, path: str) -> str:
        """The page's text; it must be there."""
        answer = self.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.text

    def hidden(self, path: str) -> dict[str, str]:
        """The hidden fields of a page's last form."""
        return dict(_HIDDEN.findall(self.page(path)))

    def post(
        self,
        path: str,
        fields: Mapping[str, str | Sequence[str]],
        *,
        origin: str = BASE,
        **headers: str,
    ) -> httpx.Response:
        sent: dict[str, Any] = {name: value for name, value in fields.items()}
        answer: httpx.Response = self.http.post(
            path,
            data=sent,
            headers={"origin": origin, "accept-language": self.language, **headers},
        )
        return answer

    def send(
        self, page: str, action: str, fields: Mapping[str, str | Sequence[str]]
    ) -> httpx.Response:
        """Open a page and send one of its forms."""
        return self.post(action, {**self.hidden(page), **fields})

    def log_in(self, login: str, password: str) -> httpx.Response:
        """Log in; the answer."""
        self.login = login
        fields = {"login": login, "password": password, "csrf": self.hidden("/login")["csrf"]}
        return self.post("/login", fields)


def make_context(directory: Path, clock: Callable[[], float], roles: Role) -> Context:
    """A node's context with a real database. Its chain is out of reach: what needs it says so."""
    load_tables()
    database = Database(f"sqlite:///{directory}/node.db")
    Base.metadata.create_all(database.engine)
    contracts = {name: f"0x{number:040x}" for number, name in enumerate(NAMES, 1)}
    deployment = Deployment(1_337, bytes(32), contracts, 0)
    signer = Secp256k1Signer(new_private_key())
    return Context(
        member=MEMBER,
        roles=roles,
        database=database,
        ledger=Ledger(NOBODY_LISTENS, deployment),
        view=ChainView(NOBODY_LISTENS, deployment, SealedForTests(), clock=clock),
        peers=LocalPeers(MEMBER, {}, broken=True),
        signers={KeyPurpose.STATEMENT: signer, KeyPurpose.TOKEN: signer},
        log_signer=Ed25519Signer(new_private_key()),
        transaction_address=signer.address,
        clock=clock,
    )


@contextmanager
def running_console(
    directory: Path, *, roles: Role = Role.DEPARTMENT, **settings: Any
) -> Iterator[TestConsole]:
    """A console whose node has a database and no chain."""
    clock = TestClock()
    context = make_context(directory, clock, roles)
    console = Console.model_validate({"plain_http": True, **settings})
    config = parse(
        {
            "member": MEMBER,
            "name": "江门（测试）𠮷",
            "roles": [str(role.name).lower() for role in roles],
            "keys": {"passphrase_file": "passphrase"},
            "chain": {"rpc": [NOBODY_LISTENS], "finality": "unsealed-test"},
            "console": {
                "plain_http": True,
                **{
                    name: list(value) if isinstance(value, tuple) else value
                    for name, value in settings.items()
                },
            },
        },
        home=directory,
    )
    app = create_console(config, console)
    app.state.context = context
    try:
        yield TestConsole(app, context, clock, config)
    finally:
        context.ledger.close()
        context.database.close()


@contextmanager
def served(console: TestConsole) -> Iterator[str]:
    """The console on a port of this machine; its address."""
    (port,) = free_ports(1)
    server = uvicorn.Server(
        uvicorn.Config(console.app, port=port, log_config=None, lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or None, "the console to listen")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
