"""Six organisations' services over the real contracts on a throw-away chain: databases, proved views, outboxes and peers, in one process."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from chain import anvil, errors
from chain.commitment import commit, consent_id, new_salt
from chain.context import Context
from chain.crypto import address_of, keccak256, new_private_key, sign_digest
from chain.database import Base, Database
from chain.deploy import Governor, deploy
from chain.deployment import Deployment
from chain.eip712 import Statement
from chain.errors import QiaolianError
from chain.keys import Ed25519Signer, Secp256k1Signer
from chain.ledger import Ledger
from chain.outbox import OutboxWorker, outcome
from chain.outbox.store import Outcome
from chain.statements import (
    Algorithm,
    Approval,
    Consent,
    ConsentRegistration,
    GrantDecision,
    GrantRevocation,
    GrantTerms,
    KeyPurpose,
    Operation,
    Role,
    SubjectKeyCertificate,
)
from chain.transactions import gas_for, sign_transaction
from chain.trust import Trust
from chain.view import ChainView
from registry import projection
from registry.access import Principal
from registry.assets import api as assets_api
from registry.assets import service as assets
from registry.credit import api as credit_api
from registry.credit import service as credit
from registry.evidence import api as evidence_api
from registry.evidence import service as evidence
from registry.grants import api as grants_api
from registry.grants import service as grants
from registry.members import api as members_api
from registry.property import api as property_api
from registry.sources import Column, Record, Schema
from registry.uscc import with_check_character
from tests.exchange.conftest import SealedForTests, trust_for

ORGANISATIONS = {
    "operator": Role.OPERATOR,
    "supervisor": Role.SUPERVISOR,
    "tax": Role.DEPARTMENT,
    "registrar": Role.DEPARTMENT,
    "bank": Role.BANK,
    "agency": Role.AGENCY,
}
GOVERNORS = ("operator", "supervisor", "tax")
SECONDS = 60.0
"""A bound for what a busy machine may delay, not a measure."""
YEAR = 365 * 86_400
PURPOSES = {"credit-assessment": True, "statistics": False, "anti-fraud": True}

T = TypeVar("T")


def wait_for(found: Callable[[], T | None], what: str) -> T:
    """Wait until something is there."""
    deadline = time.monotonic() + SECONDS
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


@dataclass
class Rows:
    """A source whose records lie in memory."""

    name: str
    records: list[dict[str, Any]]
    key: str = "subject"

    def schema(self) -> Schema:
        kinds = {int: "integer", bool: "boolean"}
        return Schema(self.key, tuple(Column(name, kinds.get(type(value), "text")) for name, value in self.records[0].items()))

    def rows(self) -> Iterator[Record]:
        yield from self.records

    def lookup(self, key: str) -> Record | None:
        return next((each for each in self.records if each[self.key] == key), None)

    def line_of(self, position: int) -> int:
        return position + 1


@dataclass
class Person:
    """A trader or citizen with one one-time key."""

    code: str
    key: bytes = field(default_factory=new_private_key)
    salt: bytes = field(default_factory=new_salt)

    @property
    def identity(self) -> dict[str, str]:
        return {"code": self.code, "name": f"person {self.code}"}

    @property
    def address(self) -> str:
        return address_of(self.key)

    def commitment(self) -> bytes:
        return commit(self.salt, "qiaolian.identity.v1", self.identity)

    def sign(self, statement: Statement, deployment: Deployment) -> bytes:
        return sign_digest(self.key, statement.digest(deployment.domain(statement.contract)))


class LocalPeers:
    """The Peers port over the other organisations' applications in this process."""

    def __init__(self, network: Network, member: str) -> None:
        self._network, self._member = network, member
        self.down: set[str] = set()
        self.silent: set[str] = set()
        """Members that take a request and never answer."""
        self.asked: list[tuple[str, str]] = []
        """Member and path of each GET."""

    async def post(self, member: str, path: str, body: Any, *, idempotency_key: str | None = None) -> Any:
        return await self._send(member, "POST", path, body)

    async def get(self, member: str, path: str) -> Any:
        self.asked.append((member, path))
        return await self._send(member, "GET", path, None)

    async def _send(self, member: str, method: str, path: str, body: Any) -> Any:
        if member in self.down:
            raise errors.Unavailable("peer_unreachable", "The peer cannot be reached.")
        if member in self.silent:
            await asyncio.Event().wait()
        return await self._network.node(member).answer(method, path, body, {"x-member": self._member})


@dataclass
class Node:
    """One organisation: its keys, its context, its application."""

    name: str
    member: str
    roles: Role
    signers: dict[KeyPurpose, Secp256k1Signer]
    log: Ed25519Signer
    context: Context = field(init=False)
    peers: LocalPeers = field(init=False)
    app: FastAPI = field(init=False)
    height: int = 0
    syncing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def domain(self) -> Callable[[str], Any]:
        return self.context.domain

    def sign(self, statement: Statement, purpose: KeyPurpose) -> bytes:
        return self.signers[purpose].sign_digest(statement.digest(self.context.domain(statement.contract)))

    def sync(self) -> None:
        """Bring the proved view and the books up to the chain's head."""
        with self.syncing:
            head = self.context.ledger.height()
            self.context.view.wait_for_height(head, SECONDS)
            if head > self.height:
                found = self.context.view.logs(self.height + 1, head)
                events = [event for block in found.blocks for event in self.context.ledger.decode_logs(block)]
                self.context.database.write(lambda session: projection.apply(session, events, self.context))
                self.height = self.context.projected_height = found.height

    def outcome(self, operation: str) -> Outcome:
        """Wait until a call has ended."""

        def ended() -> Outcome | None:
            with self.context.database.read() as session:
                found = outcome(session, operation)
            return found if found.final else None

        return wait_for(ended, operation)

    def done(self, operation: str) -> None:
        """Wait until a call is in a block, and take its events."""
        self.outcome(operation).require_done()
        self.sync()

    async def answer(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            answer = await client.request(method, path, json=body, headers=headers)
        value = answer.json()
        if answer.status_code >= 400:
            kinds = {403: errors.Forbidden, 404: errors.NotFound, 409: errors.Conflict, 401: errors.Unauthorised, 503: errors.Unavailable}
            kind = kinds.get(answer.status_code, errors.BadInput)
            raise kind(value.get("code", "invalid"), value.get("detail", str(value)))
        return value

    def call(self, method: str, path: str, body: Any = None, *, role: str | None = None) -> Any:
        """Call this node's API as someone of the organisation, or as a stranger."""
        headers = {} if role is None else {"x-role": role}
        return asyncio.run(self.answer(method, path, body, headers))

    def anchor(self) -> None:
        """Checkpoint, anchor and store the proof."""
        evidence.make_checkpoint(self.context)
        evidence.anchor_if_due(self.context, at_once=True)

        def settled() -> bool:
            self.context.view.wait_for_height(self.context.ledger.height(), SECONDS)
            evidence.settle_anchors(self.context)
            with self.context.database.read() as session:
                from registry.evidence.store import LogAnchor

                return session.query(LogAnchor).filter(LogAnchor.height.is_(None)).count() == 0

        wait_for(settled, "anchors")


@dataclass
class Network:
    """All of it."""

    url: str
    deployment: Deployment
    nodes: dict[str, Node]
    ledger: Ledger
    nonce: int = 0

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @staticmethod
    def wait_for(found: Callable[[], T | None], what: str) -> T:
        return wait_for(found, what)

    def node(self, member: str) -> Node:
        return next(each for each in self.nodes.values() if each.member == member)

    def sync(self) -> None:
        """Every node up to the head."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.sync, self.nodes.values()))

    def execute(self, function: str, *arguments: Any) -> None:
        """A directory action approved by two governors, sent directly."""
        _, data = self.ledger.encode("MemberDirectory", function, *arguments)
        self.nonce += 1
        approval = Approval(version=1, call_hash=keccak256(data), nonce=2**100 + self.nonce, deadline=2**40)
        digest = approval.digest(self.deployment.domain("MemberDirectory"))
        signatures = [self[name].signers[KeyPurpose.ADMIN].sign_digest(digest) for name in GOVERNORS[:2]]
        sender = Secp256k1Signer(new_private_key())
        address, call = self.ledger.encode("MemberDirectory", "execute", data, approval.nonce, 2**40, signatures)
        self.ledger.simulate(address, call, sender=sender.address)
        chain_id = self.deployment.chain_id
        signed = sign_transaction(sender, chain_id=chain_id, nonce=0, to=address, data=call, gas=gas_for(call))
        self.ledger.send([signed.raw])
        wait_for(lambda: self.ledger.receipt(signed.transaction_hash), function)

    @property
    def trust(self) -> Trust:
        return trust_for(self.deployment)

    # --- what many stories begin with -----------------------------------------------------------------------------------------

    def publish(self, owner: str, records: list[dict[str, Any]], *, masking: dict[str, str] | None = None) -> bytes:
        """Publish an asset of a fresh name; its id."""
        node = self[owner]
        name = f"asset-{secrets.token_hex(4)}"
        node.context.ports["sources"][name] = Rows(name, records)
        description = {"titleZh": "数据", "titleEn": "Data", "description": "for tests", "grade": 3, "category": "test"}
        wanted = assets.Publication(name, name, description, masking or dict.fromkeys(records[0], "keep"), purposes=PURPOSES)
        made = assets.publish(node.context, wanted)
        node.done(made["operation"])
        self.sync()
        return bytes.fromhex(made["assetId"][2:])

    def request_grant(self, grantee: str, owner: str, asset_id: bytes, columns: list[str], **changed: Any) -> bytes:
        """Ask for a grant; its id, once the chain has the request."""
        now = int(time.time())
        wanted = {
            "asset_id": asset_id,
            "asset_version": 1,
            "owner": self[owner].member,
            "operations": int(Operation.USE),
            "scene": "small-loan",
            "purpose": "credit-assessment",
            "columns": columns,
            "not_before": now - 60,
            "not_after": now + YEAR,
            "max_uses": 1000,
        }
        node = self[grantee]
        made = asyncio.run(grants.request(node.context, grants.GrantRequest(**{**wanted, **changed})))
        node.done(made["operation"])
        self.sync()
        return bytes.fromhex(made["grantId"][2:])

    def decide(self, owner: str, grant_id: bytes, *, approved: bool = True) -> str:
        """The chief data officer's decision, on the chain."""
        node = self[owner]
        decision = GrantDecision(version=1, grant_id=grant_id, approved=approved, reason="in-order", deadline=2**40)
        operation = grants.decide(node.context, grant_id, decision, node.sign(decision, KeyPurpose.APPROVAL))
        node.done(operation)
        self.sync()
        return operation

    def revocation(self, owner: str, grant_id: bytes) -> tuple[GrantRevocation, bytes]:
        revocation = GrantRevocation(version=1, grant_id=grant_id, reason="misuse", deadline=2**40)
        return revocation, self[owner].sign(revocation, KeyPurpose.APPROVAL)

    def certify(self, office: str, person: Person, purpose: str) -> tuple[SubjectKeyCertificate, bytes]:
        """An office's certificate of a person's key."""
        return credit.certify(
            self[office].context,
            identity=person.identity,
            salt=person.salt,
            key=person.address,
            purpose=purpose,
            not_after=int(time.time()) + YEAR,
        )

    def vouch(self, name: str, person: Person, purpose: str, **changed: Any) -> tuple[SubjectKeyCertificate, bytes]:
        """A certificate that any member signs with code of its own: its node need not agree, nor keep it."""
        fields: dict[str, Any] = {
            "version": 1,
            "issuer": self[name].member,
            "subject": person.commitment(),
            "key": person.address,
            "purpose": purpose,
            "not_before": int(time.time()) - 60,
            "not_after": int(time.time()) + YEAR,
        }
        certificate = SubjectKeyCertificate(**(fields | changed))
        return certificate, self[name].sign(certificate, KeyPurpose.STATEMENT)

    @contextmanager
    def suspended(self, name: str) -> Iterator[None]:
        """While a member is suspended, and every node knows."""
        self.execute("suspend", self[name].member, "test")
        self.sync()
        try:
            yield
        finally:
            self.execute("lift", self[name].member)
            self.sync()

    def consent(
        self, office: str, person: Person, bank: str, *, certified: tuple[SubjectKeyCertificate, bytes] | None = None, **changed: Any
    ) -> dict[str, Any]:
        """A consent package of a person whose key the office certifies, or with another certificate; not yet on the chain."""
        certificate, certificate_signature = certified or self.certify(office, person, "consent")
        now = int(time.time())
        fields: dict[str, Any] = {
            "version": 1,
            "subject": person.commitment(),
            "bank": self[bank].member,
            "purpose": "credit-assessment",
            "not_before": now - 60,
            "not_after": now + YEAR,
            "authority": person.address,
        }
        known = {name: fields[name] for name in fields if name in Consent.__dataclass_fields__}
        consent = Consent(**{**known, **{k: v for k, v in changed.items() if k in Consent.__dataclass_fields__}})
        salt = new_salt()
        return {
            "consent": consent.to_json(),
            "signature": "0x" + person.sign(consent, self.deployment).hex(),
            "salt": "0x" + salt.hex(),
            "certificate": certificate.to_json(),
            "certificateSignature": "0x" + certificate_signature.hex(),
            "identity": person.identity,
            "identitySalt": "0x" + person.salt.hex(),
        }

    def record_consent(self, relayer: str, person: Person, package: dict[str, Any]) -> bytes:
        """Put a consent's commitment on the chain through a relayer; the consent's id."""
        consent = Consent.from_json(package["consent"])
        commitment = commit(bytes.fromhex(package["salt"][2:]), "qiaolian.consent.v1", consent.to_json())
        registration = ConsentRegistration(version=1, commitment=commitment, authority=person.address, deadline=2**40)
        node = self[relayer]
        node.done(credit.relay_consent(node.context, registration, person.sign(registration, self.deployment)))
        self.sync()
        return consent_id(commitment, person.address)


def _make_node(name: str, place: int, roles: Role) -> Node:
    purposes = (KeyPurpose.ADMIN, KeyPurpose.APPROVAL, KeyPurpose.TRANSACTION, KeyPurpose.STATEMENT, KeyPurpose.TOKEN)
    signers = {purpose: Secp256k1Signer(new_private_key()) for purpose in purposes}
    return Node(name, with_check_character(f"11440703QL{place:07d}"), roles, signers, Ed25519Signer(secrets.token_bytes(32)))


def _keys(node: Node) -> list[tuple[bytes, int, int]]:
    keys = [(signer.fingerprint, int(purpose), int(Algorithm.SECP256K1)) for purpose, signer in node.signers.items()]
    return [*keys, (node.log.fingerprint, int(KeyPurpose.LOG), int(Algorithm.ED25519))]


def _application(node: Node, network: Network) -> FastAPI:
    app = FastAPI()
    app.state.context = node.context
    for each in (members_api, assets_api, grants_api, credit_api, property_api, evidence_api):
        app.include_router(each.router)

    @app.middleware("http")
    async def principal(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        member, role = request.headers.get("x-member"), request.headers.get("x-role")
        request.state.principal = None
        if member is not None:
            roles = frozenset(str(each.name).lower() for each in network.node(member).roles)
            request.state.principal = Principal("member", member, roles)
        elif role is not None:
            request.state.principal = Principal("local", node.member, frozenset({role}))
        return await call_next(request)

    @app.exception_handler(QiaolianError)
    async def problem(_request: Request, error: QiaolianError) -> JSONResponse:
        return JSONResponse({"code": error.code, "detail": error.sentence}, status_code=error.status)

    return app


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The running network; its tests use fresh names, so they do not meet."""
    directory = tmp_path_factory.mktemp("registry")
    url, process = anvil.start(directory / "anvil.log", keeps_history=True)
    stop = threading.Event()
    workers: list[threading.Thread] = []
    nodes = {name: _make_node(name, place, roles) for place, (name, roles) in enumerate(ORGANISATIONS.items())}
    try:
        governors = [
            Governor(
                nodes[name].member,
                name,
                nodes[name].roles,
                nodes[name].signers[KeyPurpose.ADMIN].address,
                nodes[name].signers[KeyPurpose.TRANSACTION].address,
            )
            for name in GOVERNORS
        ]
        deployment = deploy(url, new_private_key(), governors)
        network = Network(url, deployment, nodes, Ledger(url, deployment))
        _admit(network)
        log_keys = {node.member: "0x" + node.log.public_key.hex() for node in nodes.values()}
        for node in nodes.values():
            _start(node, network, directory, log_keys)
            worker = OutboxWorker(
                node.context.database,
                Ledger(url, deployment),
                node.signers[KeyPurpose.TRANSACTION],
                poll_seconds=0.01,
                block_seconds=0.02,
            )
            workers.append(threading.Thread(target=worker.run, args=(stop,), daemon=True))
            workers[-1].start()
        network.sync()
        yield network
    finally:
        stop.set()
        for thread in workers:
            thread.join(5)
        for node in nodes.values():
            if hasattr(node, "context"):
                node.context.view.stop()
                node.context.database.close()
        anvil.end(process)


def _admit(network: Network) -> None:
    for name, node in network.nodes.items():
        if name not in GOVERNORS:
            network.execute("admit", node.member, name, int(node.roles), _keys(node))
            continue
        for key in _keys(node):
            if key[1] not in (KeyPurpose.ADMIN, KeyPurpose.TRANSACTION):
                network.execute("addKey", node.member, key)


def _start(node: Node, network: Network, directory: Path, log_keys: dict[str, str]) -> None:
    database = Database(f"sqlite:///{directory / node.name}.db")
    Base.metadata.create_all(database.engine)
    view = ChainView(network.url, network.deployment, SealedForTests(), poll_seconds=0.02)
    view.start(wait_seconds=SECONDS)
    node.peers = LocalPeers(network, node.member)
    node.context = Context(
        member=node.member,
        roles=node.roles,
        database=database,
        ledger=Ledger(network.url, network.deployment),
        view=view,
        peers=node.peers,
        signers={each: node.signers[each] for each in (KeyPurpose.STATEMENT, KeyPurpose.TOKEN)},
        log_signer=node.log,
        transaction_address=node.signers[KeyPurpose.TRANSACTION].address,
        settings={"log_keys": log_keys},
        ports={"sources": {}},
    )
    node.app = _application(node, network)


@pytest.fixture
def person() -> Callable[[], Person]:
    """A new person with a code of its own at each call."""
    return lambda: Person(f"P{secrets.randbelow(10**12):012d}")


@pytest.fixture
def grant_terms(network: Network) -> Callable[[bytes], GrantTerms]:
    """A grant's terms as the owner's node keeps them."""

    def read(grant_id: bytes) -> GrantTerms:
        for node in network.nodes.values():
            with node.context.database.read() as session:
                from registry.grants.store import Grant

                row = session.get(Grant, grant_id)
            if row is not None:
                return GrantTerms.from_json(row.terms)
        raise AssertionError("no such grant")

    return read
