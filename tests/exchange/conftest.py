"""Two or more nodes' services in one process, over the real contracts on a throw-away chain."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

import contracts
from chain import anvil, rlp
from chain.context import Context
from chain.crypto import address_of, keccak256, new_private_key, sign_digest
from chain.database import Base, Database
from chain.deploy import Governor, deploy
from chain.deployment import CloseWindow, Deployment
from chain.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.finality import CheckedHeader, UnsealedForTestsOnly
from chain.keys import Ed25519Signer, Secp256k1Signer
from chain.ledger import Ledger
from chain.outbox import OutboxWorker, outcome
from chain.statements import (
    Approval,
    GrantDecision,
    GrantRevocation,
    KeyPurpose,
    Operation,
    Role,
    Share,
    Unit,
)
from chain.transactions import gas_for, sign_transaction
from chain.trust import Trust, ValidatorSet
from chain.view import ChainView
from chain.words import MemberWord
from exchange import projection as exchange_projection
from exchange.agreements import api as agreements_api
from exchange.agreements import service as agreements
from exchange.agreements.model import Offer
from exchange.agreements.service import Proposal
from exchange.metering import api as metering_api
from exchange.metering import service as metering
from exchange.metering.model import CallResult, Query
from exchange.reconciliation import api as reconciliation_api
from exchange.reports import api as reports_api
from exchange.settlement import api as settlement_api
from exchange.settlement import service as settlement
from registry import projection as registry_projection
from registry.access import Principal
from registry.assets import api as assets_api
from registry.assets import service as assets
from registry.credit import api as credit_api
from registry.evidence import api as evidence_api
from registry.evidence import service as evidence
from registry.grants import api as grants_api
from registry.grants import service as grants
from registry.sources import Column, Schema
from registry.uscc import with_check_character

T = TypeVar("T")
RECORDS = {
    f"92440700MA4W{number:06d}": {
        "code": f"92440700MA4W{number:06d}",
        "seniority": number,
        "job": "fixed",
        "age": 30 + number,
    }
    for number in range(40)
}
_KINDS: dict[int, type[QiaolianError]] = {403: Forbidden, 404: NotFound, 409: Conflict, 422: BadInput, 503: Unavailable}


VALIDATOR = new_private_key()


class SealedForTests(UnsealedForTestsOnly):
    """The test chain's headers, dressed as the consortium engine's and sealed by a validator of our own, so that bundles verify."""

    def check(self, answer: Mapping[str, Any]) -> CheckedHeader:
        checked = super().check(answer)
        return dataclasses.replace(checked, header_rlp=sealed(checked))


def sealed(checked: CheckedHeader) -> bytes:
    """A header of the consortium engine's form over the same state, with one validator's seal."""
    vanity = bytes(32)
    validators = [bytes.fromhex(address_of(VALIDATOR)[2:])]
    fields: list[Any] = [
        checked.parent_hash,
        bytes(20),
        checked.state_root,
        bytes(32),
        bytes(32),
        bytes(256),
        rlp.integer(1),
        rlp.integer(checked.height),
        b"",
        rlp.integer(checked.timestamp),
        b"",
        vanity + rlp.encode([validators, bytes(65), []]),
        b"",
        b"",
        b"",
    ]
    seal = sign_digest(VALIDATOR, keccak256(keccak256(rlp.encode(fields)) + b"\x02"))
    fields[11] = vanity + rlp.encode([validators, bytes(65), [seal[:64] + bytes([seal[64] - 27])]])
    return rlp.encode(fields)


def trust_for(deployment: Deployment) -> Trust:
    """What an outside verifier would hold true of the test chain."""
    return Trust(
        chain_id=deployment.chain_id,
        genesis_hash="0x" + deployment.genesis_hash.hex(),
        validator_sets=(ValidatorSet(0, None, frozenset({address_of(VALIDATOR)})),),
        contracts=deployment.contracts,
        storage={name: contracts.artifact(name).storage for name in contracts.NAMES},
        witnesses={},
        required_witnesses=0,
    )


class Rows:
    """Records in memory, behind the Source port."""

    name = "people"

    def schema(self) -> Schema:
        columns = (("code", "text"), ("seniority", "integer"), ("job", "text"), ("age", "integer"))
        return Schema("code", tuple(Column(*each) for each in columns))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        yield from RECORDS.values()

    def lookup(self, key: str) -> Mapping[str, Any] | None:
        return RECORDS.get(key)

    def line_of(self, position: int) -> int:
        return position + 1


@dataclass
class Line:
    """The way between nodes: the peer's own endpoints, in this process. ``broken`` cuts it; ``lost`` drops answers to what was posted;
    ``refusal`` is raised in place of a calls' exchange.
    """

    member: str
    nodes: dict[str, Node]
    broken: bool = False
    lost: int = 0
    refusal: QiaolianError | None = None
    """What stands in the way of calls: a proxy's answer, or that of the peer's token check."""
    altered: Callable[[Any], Any] | None = None
    sent: list[Any] = field(default_factory=list)

    async def post(self, member: str, path: str, body: Any, *, idempotency_key: str | None = None) -> Any:
        body = json.loads(body) if isinstance(body, bytes) else body
        self.sent.append((path, body))
        if self.refusal is not None and path == "/v1/peer/calls":
            raise self.refusal
        return await self._send(member, "POST", path, body)

    async def get(self, member: str, path: str) -> Any:
        return await self._send(member, "GET", path, None)

    async def _send(self, member: str, method: str, path: str, body: Any) -> Any:
        if self.broken:
            raise Unavailable("peer_unreachable", "The line is cut.")
        transport = httpx.ASGITransport(app=self.nodes[member].app)
        async with httpx.AsyncClient(transport=transport, base_url="http://peer") as client:
            answer = await client.request(method, path, json=body, headers={"x-member": self.member})
        if self.lost and method == "POST":
            self.lost -= 1
            raise Unavailable("peer_timeout", "The answer was lost.")
        value = answer.json()
        if answer.status_code >= 400:
            raise _KINDS.get(answer.status_code, QiaolianError)(value["code"], value["detail"])
        return self.altered(value) if self.altered else value


@dataclass
class Node:
    """One organisation: context, endpoints, outbox worker."""

    context: Context
    line: Line
    app: FastAPI
    officer: Secp256k1Signer
    transaction: Secp256k1Signer
    url: str
    stop: threading.Event = field(default_factory=threading.Event)
    worker: threading.Thread | None = None
    height: int = 0

    @property
    def member(self) -> str:
        return self.context.member

    def start(self) -> None:
        ledger = Ledger(self.url, self.context.ledger.deployment)
        worker = OutboxWorker(self.context.database, ledger, self.transaction, poll_seconds=0.01, block_seconds=0.02)
        self.worker = threading.Thread(target=worker.run, args=(self.stop,), daemon=True)
        self.worker.start()

    def project(self) -> None:
        """Take the chain's events up to the latest block, and wait until the view has seen it."""
        latest = self.context.ledger.height()
        self.context.view.wait_for_height(latest, 10)
        if latest > self.height:
            found = self.context.view.logs(self.height + 1, latest)
            events = [event for block in found.blocks for event in self.context.ledger.decode_logs(block)]

            def change(session: Any) -> None:
                registry_projection.apply(session, events, self.context)
                exchange_projection.apply(session, events, self.context)

            self.context.database.write(change)
            self.height = self.context.projected_height = found.height

    def done(self, operation: str, *, seconds: float = 60) -> None:
        """Wait for an outbox operation; raises the contract's refusal."""
        deadline = time.monotonic() + seconds
        while True:
            with self.context.database.read() as session:
                found = outcome(session, operation)
            if found.final:
                found.require_done()
                return
            assert time.monotonic() < deadline, f"{operation} is {found.state}"
            time.sleep(0.01)

    def restarted(self) -> None:
        """Forget everything in memory, as a new process would."""
        for name in ("exchange.gateway", "exchange.buyer"):
            self.context.ports.pop(name, None)


@dataclass
class Market:
    """A department, two banks (one of them the settlement bank), an operator, and a supervisor."""

    url: str
    nodes: dict[str, Node]
    department: Node
    bank: Node
    settlement_bank: Node
    operator: Node
    supervisor: Node
    governance: Governance
    asset_id: bytes = b""

    def settle(self) -> None:
        for node in self.nodes.values():
            node.project()

    def mine(self, blocks: int, seconds: int) -> None:
        rpc = self.department.context.ledger.rpc
        rpc.call("evm_increaseTime", seconds)
        rpc.call("anvil_mine", hex(blocks))
        self.settle()

    def run(self, coroutine: Awaitable[T]) -> T:
        return LOOP.run_until_complete(coroutine)

    def deposit(self, member: str, amount: int, reference: str) -> None:
        made = settlement.confirm_deposit(self.settlement_bank.context, member=member, amount=amount, reference=reference)
        self.settlement_bank.done(made["operation"])

    def grant(self, *, purpose: str = "statistics", max_uses: int = 10_000, columns: tuple[str, ...] = ("seniority", "age")) -> bytes:
        now = self.bank.context.now()
        wanted = grants.GrantRequest(
            asset_id=self.asset_id,
            asset_version=1,
            owner=self.department.member,
            operations=int(Operation.USE),
            scene="credit",
            purpose=purpose,
            columns=columns,
            not_before=now - 100,
            not_after=now + 10_000_000,
            max_uses=max_uses,
        )
        made = self.run(grants.request(self.bank.context, wanted))
        self.bank.done(made["operation"])
        self.settle()
        grant_id = bytes.fromhex(made["grantId"][2:])
        decision = GrantDecision(version=1, grant_id=grant_id, approved=True, reason="agreed", deadline=2**40)
        digest = decision.digest(self.department.context.domain("GrantRegistry"))
        operation = grants.decide(self.department.context, grant_id, decision, self.department.officer.sign_digest(digest))
        self.department.done(operation)
        self.settle()
        return grant_id

    def revoke(self, grant_id: bytes) -> None:
        revocation = GrantRevocation(version=1, grant_id=grant_id, reason="ended", deadline=2**40)
        digest = revocation.digest(self.department.context.domain("GrantRegistry"))
        grants.revoke(self.department.context, grant_id, revocation, self.department.officer.sign_digest(digest))

    def offer(self, **changes: Any) -> Offer:
        terms: dict[str, Any] = {
            "asset_id": self.asset_id,
            "asset_version": 1,
            "unit": Unit.CALL,
            "price": 50,
            "most_cap": 1_000_000,
            "most_units": 0,
            "most_per_call": 50,
            "most_lanes": 8,
            "most_seconds": 10_000_000,
            "close_window_blocks": 3,
            "close_window_seconds": 5,
            "shares": (Share(self.department.member, 9000), Share(self.operator.member, 1000)),
        }
        offered = Offer(**(terms | changes))
        agreements.offer(self.department.context, offered)
        return offered

    def seen(self) -> bytes:
        """The hash of the department's offer as the bank's people are shown it now."""
        shown = self.run(agreements.offers_of(self.bank.context, self.department.member))
        ours = ("0x" + self.asset_id.hex(), 1)
        return next(bytes.fromhex(offer["offerHash"][2:]) for offer in shown if (offer["assetId"], offer["assetVersion"]) == ours)

    def propose(self, grant_id: bytes, *, key: str | None = None, **wanted: Any) -> dict[str, Any]:
        """An order on the current offer, as the bank's own system makes it."""
        if "offer_hash" not in wanted:
            wanted["offer_hash"] = self.seen()
        terms: dict[str, Any] = {"cap": 1000} | wanted
        return self.run(agreements.propose(self.bank.context, Proposal(grant_id=grant_id, **terms), idempotency_key=key))

    def open(self, grant_id: bytes, **wanted: Any) -> bytes:
        """An open agreement, seen by everyone."""
        made = self.propose(grant_id, **wanted)
        self.bank.done(made["openOperation"])
        self.settle()
        return bytes.fromhex(made["agreementId"][2:])

    def anchor(self) -> None:
        """Checkpoint and anchor the department's log now."""
        context = self.department.context
        evidence.make_checkpoint(context)
        if evidence.anchor_if_due(context, at_once=True):
            self.department.done(f"anchor/{evidence.INCARNATION}/{evidence.log_size(context)}")
        self.settle()
        evidence.settle_anchors(context)

    @property
    def trust(self) -> Trust:
        return trust_for(self.department.context.ledger.deployment)

    def claim(self, agreement_id: bytes) -> None:
        for operation in settlement.claim(self.department.context, agreement_id)["operations"]:
            self.department.done(operation)
        self.settle()

    def query(self, number: int = 1, **changes: Any) -> Query:
        return query(number, **changes)

    def call(self, agreement_id: bytes, number: int = 1, *, key: str | None = None, **changes: Any) -> CallResult:
        return self.run(metering.call(self.bank.context, agreement_id, query(number, **changes), idempotency_key=key))


LOOP = asyncio.new_event_loop()


def query(number: int = 1, **changes: Any) -> Query:
    asked: dict[str, Any] = {
        "subject": f"92440700MA4W{number:06d}",
        "columns": ("seniority", "age"),
        "purpose": "statistics",
    }
    return Query(**(asked | changes))


@pytest.fixture(scope="session")
def ask() -> Callable[..., Query]:
    """Builds queries."""
    return query


ROLES = {
    "operator": Role.OPERATOR,
    "supervisor": Role.SUPERVISOR,
    "department": Role.DEPARTMENT,
    "bank": Role.BANK,
    "settlement_bank": Role.SETTLEMENT_BANK,
}


@dataclass
class Keys:
    member: str
    admin: Secp256k1Signer
    transaction: Secp256k1Signer
    statement: Secp256k1Signer
    officer: Secp256k1Signer
    log: Ed25519Signer


def make_keys(place: int) -> Keys:
    signers = [Secp256k1Signer(new_private_key()) for _ in range(4)]
    member = with_check_character(f"11440700MB2X0C{place:03d}")
    return Keys(member, *signers, Ed25519Signer(new_private_key()))


class Governance:
    """Directory actions by two governors, sent directly."""

    def __init__(self, ledger: Ledger, governors: list[Keys]) -> None:
        self.ledger, self.governors, self.nonce = ledger, governors, 0

    def execute(self, function: str, *arguments: Any) -> None:
        self.nonce += 1
        _, data = self.ledger.encode("MemberDirectory", function, *arguments)
        approval = Approval(version=1, call_hash=keccak256(data), nonce=self.nonce, deadline=2**40)
        digest = approval.digest(self.ledger.deployment.domain("MemberDirectory"))
        signatures = [each.admin.sign_digest(digest) for each in self.governors[:2]]
        address, call = self.ledger.encode("MemberDirectory", "execute", data, self.nonce, 2**40, signatures)
        signer = self.governors[0].transaction
        signed = sign_transaction(
            signer,
            chain_id=self.ledger.deployment.chain_id,
            nonce=self.ledger.nonce(signer.address),
            to=address,
            data=call,
            gas=gas_for(call),
        )
        self.ledger.simulate(address, call, sender=signer.address)
        (answer,) = self.ledger.send([signed.raw])
        assert isinstance(answer, bytes), answer
        deadline = time.monotonic() + 60
        while (receipt := self.ledger.receipt(signed.transaction_hash)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert receipt.succeeded


def admit_all(governance: Governance, keys: dict[str, Keys]) -> None:
    def entry(fingerprint: bytes, purpose: KeyPurpose, algorithm: int = 1) -> tuple[bytes, int, int]:
        return (fingerprint, int(purpose), algorithm)

    for role, each in keys.items():
        added = [
            entry(each.statement.fingerprint, KeyPurpose.STATEMENT),
            entry(each.officer.fingerprint, KeyPurpose.APPROVAL),
            entry(each.log.fingerprint, KeyPurpose.LOG, 2),
        ]
        if role in ("bank", "settlement_bank"):
            added += [
                entry(each.admin.fingerprint, KeyPurpose.ADMIN),
                entry(each.transaction.fingerprint, KeyPurpose.TRANSACTION),
            ]
            governance.execute("admit", each.member, role, int(ROLES[role]), added)
        else:
            for one in added:
                governance.execute("addKey", each.member, one)


def roles_of(context: Context, request: Request, member: str) -> frozenset[str]:
    """A member's roles as the directory shows them, where an endpoint asks for them."""
    if not request.url.path.startswith("/v1/peer/log"):
        return frozenset()
    word = MemberWord.decode(context.view.word("MemberDirectory", "members", member).value)
    return frozenset(name for name, role in ROLES.items() if word.has_role(role))


def app_of(context: Context) -> FastAPI:
    """The packages' endpoints, with the caller named by a header as the node's middleware would after its checks."""
    app = FastAPI()
    app.state.context = context

    @app.middleware("http")
    async def principal(request: Request, call_next: Any) -> Any:
        member, local = request.headers.get("x-member"), request.headers.get("x-local")
        if member:
            request.state.principal = Principal("member", member, roles_of(context, request, member))
        elif local:
            request.state.principal = Principal("local", context.member, frozenset(local.split(",")))
        return await call_next(request)

    @app.exception_handler(QiaolianError)
    async def problem(_request: Request, error: QiaolianError) -> JSONResponse:
        return JSONResponse({"code": error.code, "detail": error.sentence, "hint": error.hint}, status_code=error.status)

    for module in (assets_api, agreements_api, metering_api, settlement_api, reconciliation_api, reports_api, grants_api, credit_api, evidence_api):
        app.include_router(module.router)
    return app


def make_node(role: str, keys: Keys, directory: Path, url: str, deployment: Deployment, nodes: dict[str, Node]) -> Node:
    database = Database(f"sqlite:///{directory / role}.db")
    Base.metadata.create_all(database.engine)
    view = ChainView(url, deployment, SealedForTests(), poll_seconds=0.02)
    line = Line(keys.member, nodes)
    context = Context(
        member=keys.member,
        roles=ROLES[role],
        database=database,
        ledger=Ledger(url, deployment),
        view=view,
        peers=line,
        signers={KeyPurpose.STATEMENT: keys.statement},
        log_signer=keys.log,
        transaction_address=keys.transaction.address,
        settings={},
        ports={"sources": {"people": Rows()}},
    )
    view.start(wait_seconds=60)
    node = Node(context, line, app_of(context), keys.officer, keys.transaction, url)
    node.height = deployment.deployed_at - 1
    node.start()
    return node


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A running market with one published asset."""
    directory = tmp_path_factory.mktemp("market")
    url, process = anvil.start(directory / "anvil.log", keeps_history=True)
    nodes: dict[str, Node] = {}
    try:
        keys = {role: make_keys(place) for place, role in enumerate(ROLES)}
        founders = [keys[role] for role in ("operator", "supervisor", "department")]
        governors = [
            Governor(each.member, f"governor {place}", roles, each.admin.address, each.transaction.address)
            for place, (each, roles) in enumerate(zip(founders, (Role.OPERATOR, Role.SUPERVISOR, Role.DEPARTMENT), strict=True))
        ]
        deployment = deploy(url, new_private_key(), governors, min_close_window=CloseWindow(2, 2))
        governance_ledger = Ledger(url, deployment)
        governance = Governance(governance_ledger, founders)
        admit_all(governance, keys)
        made = {role: make_node(role, each, directory, url, deployment, nodes) for role, each in keys.items()}
        nodes.update({node.member: node for node in made.values()})
        log_keys = {node.member: "0x" + node.context.log_signer.public_key.hex() for node in nodes.values()}
        for node in nodes.values():
            node.context.settings = {"log_keys": log_keys, "peers": tuple(log_keys)}
        market = Market(url, nodes, governance=governance, **made)
        publish(market)
        yield market
        governance_ledger.close()
    finally:
        for node in nodes.values():
            node.stop.set()
        for node in nodes.values():
            if node.worker is not None:
                node.worker.join(timeout=10)
            node.context.view.stop()
            node.context.ledger.close()
            node.context.database.close()
        anvil.end(process)


def publish(market: Market) -> None:
    wanted = assets.Publication(
        name="people",
        source="people",
        description={
            "titleZh": "人员",
            "titleEn": "People",
            "description": "For tests",
            "grade": 2,
            "category": "people",
        },
        masking={"seniority": "keep", "age": "range:10", "job": "drop", "code": "drop"},
        data_item="people",
        purposes={"credit-assessment": True, "statistics": False},
    )
    made = assets.publish(market.department.context, wanted)
    market.department.done(made["operation"])
    market.asset_id = bytes.fromhex(made["assetId"][2:])
    market.deposit(market.bank.member, 1_000_000, "first")
    market.settle()
