"""Two or more nodes' services in one process, over the real contracts on a throw-away chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest
from fastapi import Request

from chain.bundle.trust import Trust
from chain.context import Context
from chain.ethereum.deployment import Deployment
from chain.ethereum.proved_records import member_record
from chain.statements.grants import GrantDecision, GrantRevocation, Operation
from chain.statements.members import Role
from chain.statements.trade import MeteredUnit, Share
from exchange import projection as exchange_projection
from exchange.agreements import api as agreements_api
from exchange.agreements import offers, proposals
from exchange.agreements.model import AgreementView, Offer, ProposalRequest
from exchange.banking import api as banking_api
from exchange.clearing import api as clearing_api
from exchange.closing import api as closing_api
from exchange.closing.buyer import ClosingLocks
from exchange.conservation import api as conservation_api
from exchange.disputes import api as disputes_api
from exchange.looks import api as looks_api
from exchange.metering import api as metering_api
from exchange.metering import service as metering
from exchange.metering.buyer import Buyer
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallQuery, CallResult
from exchange.reconciliation import api as reconciliation_api
from exchange.reports import api as reports_api
from exchange.settlement import api as settlement_api
from exchange.settlement import deposits
from exchange.settlement import service as settlement
from registry import projection as registry_projection
from registry.assets import api as assets_api
from registry.assets import publication, publication_api
from registry.assets.model import Description, Publication
from registry.credit import api as credit_api
from registry.credit import consent_api
from registry.demands import api as demands_api
from registry.evidence import anchors, checkpoints
from registry.evidence import api as evidence_api
from registry.evidence import log as evidence_log
from registry.grants import api as grants_api
from registry.grants import service as grants
from registry.grants.model import GrantRequest
from registry.members import api as members_api
from registry.pages import PageRequest
from registry.sources import SourceColumn, SourceSchema
from tests.support.node import LocalNode, LocalPeers, application, make_context, sources_of
from tests.support.organisations import Governance, Organisation
from tests.support.sealing import trust_for
from tests.support.world import running_world

T = TypeVar("T")
RECORDS = {
    f"92440700MA4W{number:06d}": {
        "code": f"92440700MA4W{number:06d}",
        "seniority": number,
        "job": "fixed",
        "age": 30 + number,
    }
    for number in (*range(40), 90, 105, 118)
}


class Rows:
    """Records in memory, behind the Source port."""

    name = "people"

    def schema(self) -> SourceSchema:
        columns = (("code", "text"), ("seniority", "integer"), ("job", "text"), ("age", "integer"))
        return SourceSchema("code", tuple(SourceColumn(*column) for column in columns))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        yield from RECORDS.values()

    def lookup(self, key: str) -> Mapping[str, Any] | None:
        return RECORDS.get(key)

    def line_of(self, position: int) -> int:
        return position + 1


class Node(LocalNode):
    """An organisation of the market."""

    def restarted(self) -> None:
        """Forget everything in memory, as a new process would."""
        self.context.services.drop(Gateway, Buyer, ClosingLocks)


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
            node.sync()

    def mine(self, blocks: int, seconds: int) -> None:
        rpc = self.department.context.ledger.rpc
        rpc.call("evm_increaseTime", seconds)
        rpc.call("anvil_mine", hex(blocks))
        self.settle()

    def run(self, coroutine: Awaitable[T]) -> T:
        return LOOP.run_until_complete(coroutine)

    def deposit(self, member: str, amount: int, reference: str) -> None:
        made = deposits.confirm_deposit(
            self.settlement_bank.context, member=member, amount=amount, reference=reference
        )
        self.settlement_bank.done(made.operation)

    def grant(
        self,
        *,
        purpose: str = "statistics",
        max_uses: int = 10_000,
        columns: tuple[str, ...] = ("seniority", "age"),
    ) -> bytes:
        now = self.bank.context.now()
        wanted = GrantRequest(
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
        self.bank.done(made.operation)
        self.settle()
        grant_id: bytes = made.grant_id
        decision = GrantDecision(
            version=1, grant_id=grant_id, approved=True, reason="agreed", deadline=2**40
        )
        digest = decision.digest(self.department.context.domain("GrantRegistry"))
        operation = grants.decide(
            self.department.context,
            grant_id,
            decision,
            self.department.organisation.officer.sign_digest(digest),
        )
        self.department.done(operation)
        self.settle()
        return grant_id

    def revoke(self, grant_id: bytes) -> None:
        revocation = GrantRevocation(version=1, grant_id=grant_id, reason="ended", deadline=2**40)
        digest = revocation.digest(self.department.context.domain("GrantRegistry"))
        grants.revoke(
            self.department.context,
            grant_id,
            revocation,
            self.department.organisation.officer.sign_digest(digest),
        )

    def offer(self, **changes: Any) -> Offer:
        terms: dict[str, Any] = {
            "asset_id": self.asset_id,
            "asset_version": 1,
            "unit": MeteredUnit.CALL,
            "price": 50,
            "max_cap": 1_000_000,
            "max_units": 0,
            "max_per_call": 50,
            "max_lanes": 8,
            "max_seconds": 10_000_000,
            "close_window_blocks": 3,
            "close_window_seconds": 5,
            "shares": (Share(self.department.member, 9000), Share(self.operator.member, 1000)),
        }
        offered = Offer(**(terms | changes))
        offers.offer(self.department.context, offered)
        return offered

    def seen(self) -> bytes:
        """The hash of the department's offer as the bank's people are shown it now."""
        shown = self.run(
            offers.offers_of(self.bank.context, self.department.member, PageRequest(200))
        ).rows
        ours = (self.asset_id, 1)
        return next(
            offer.terms_hash() for offer in shown if (offer.asset_id, offer.asset_version) == ours
        )

    def propose(self, grant_id: bytes, *, key: str | None = None, **wanted: Any) -> AgreementView:
        """An order on the current offer, as the bank's own system makes it."""
        if "offer_hash" not in wanted:
            wanted["offer_hash"] = self.seen()
        terms: dict[str, Any] = {"cap": 1000} | wanted
        return self.run(
            proposals.propose(
                self.bank.context, ProposalRequest(grant_id=grant_id, **terms), idempotency_key=key
            )
        )

    def open(self, grant_id: bytes, **wanted: Any) -> bytes:
        """An open agreement, seen by everyone."""
        made = self.propose(grant_id, **wanted)
        self.bank.done(made.open_operation)
        self.settle()
        return made.agreement_id

    def anchor(self, node: Node | None = None) -> None:
        """Checkpoint and anchor a node's log now, by default the department's."""
        node = self.department if node is None else node
        context = node.context
        checkpoints.make_checkpoint(context)
        if anchors.anchor_if_due(context, at_once=True):
            node.done(f"anchor/{evidence_log.LOG_EPOCH}/{evidence_log.log_size(context)}")
        self.settle()
        anchors.complete_anchors(context)

    @property
    def trust(self) -> Trust:
        return trust_for(self.department.context.ledger.deployment)

    def claim(self, agreement_id: bytes) -> None:
        for operation in settlement.claim(self.department.context, agreement_id).operations:
            self.department.done(operation)
        self.settle()

    def query(self, number: int = 1, **changes: Any) -> CallQuery:
        return query(number, **changes)

    def call(
        self, agreement_id: bytes, number: int = 1, *, key: str | None = None, **changes: Any
    ) -> CallResult:
        return self.run(
            metering.call(
                self.bank.context, agreement_id, query(number, **changes), idempotency_key=key
            )
        )


LOOP = asyncio.new_event_loop()


def query(number: int = 1, **changes: Any) -> CallQuery:
    asked: dict[str, Any] = {
        "subject": f"92440700MA4W{number:06d}",
        "columns": ("seniority", "age"),
        "purpose": "statistics",
    }
    return CallQuery(**(asked | changes))


@pytest.fixture(scope="session")
def ask() -> Callable[..., CallQuery]:
    """Builds queries."""
    return query


ROLES = {
    "operator": Role.OPERATOR,
    "supervisor": Role.SUPERVISOR,
    "department": Role.DEPARTMENT,
    "bank": Role.BANK,
    "settlement_bank": Role.SETTLEMENT_BANK,
}
FOUNDERS = ("operator", "supervisor", "department")
APIS = (
    publication_api,
    assets_api,
    agreements_api,
    metering_api,
    settlement_api,
    closing_api,
    conservation_api,
    disputes_api,
    reconciliation_api,
    reports_api,
    looks_api,
    banking_api,
    clearing_api,
    grants_api,
    consent_api,
    credit_api,
    demands_api,
    evidence_api,
    members_api,
)


def roles_of(context: Context, request: Request, member: str) -> frozenset[str]:
    """A member's roles as the directory shows them, where an endpoint asks for them."""
    path = request.url.path
    if not path.startswith(("/v1/peer/log", "/v1/peer/payouts")) and not path.endswith("bundle"):
        return frozenset()
    record = context.view.proved([member_record(member)]).member(member)
    return frozenset(name for name, role in ROLES.items() if record.has_role(role))


NewDatabase = Callable[[], str]
"""Makes an empty database; returns its URL."""


def make_node(
    new_database: NewDatabase,
    organisation: Organisation,
    url: str,
    deployment: Deployment,
    nodes: Mapping[str, Node],
) -> Node:
    peers = LocalPeers(organisation.member, nodes)
    context = make_context(organisation, new_database(), url, deployment, peers)
    sources_of(context)["people"] = Rows()
    app = application(context, [api.router for api in APIS], roles_of)
    projections = (registry_projection.apply, exchange_projection.apply)
    node = Node(
        organisation, context, peers, app, url, projections, height=deployment.deployed_at - 1
    )
    node.start_outbox()
    return node


@pytest.fixture(scope="module")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """What gives each node of the market its database."""
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('database')}/node.db"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Market]:
    """A running market with one published asset."""
    directory = tmp_path_factory.mktemp("market")
    with running_world(directory, ROLES, FOUNDERS, partial(make_node, new_database)) as world:
        nodes = {node.member: node for node in world.nodes.values()}
        for node in nodes.values():
            node.context.witness_peers = tuple(nodes)
        market = Market(world.url, nodes, governance=world.governance, **world.nodes)
        publish(market)
        yield market


@pytest.fixture(scope="module")
def grant_id(market: Market) -> bytes:
    """The bank's grant on the asset, which is on offer."""
    market.offer()
    return market.grant()


@pytest.fixture
def agreement_id(market: Market, grant_id: bytes) -> bytes:
    """An open agreement of one lane with a cap of 1,000 fen."""
    return market.open(grant_id, cap=1000)


def publish(market: Market) -> None:
    wanted = Publication(
        name="people",
        source="people",
        description=Description("人员", "People", "For tests", 2, "people"),
        masking={"seniority": "keep", "age": "range:10", "job": "drop", "code": "drop"},
        data_item="people",
        purposes={"credit-assessment": True, "statistics": False},
    )
    made = publication.publish(market.department.context, wanted)
    market.department.done(made.operation)
    market.asset_id = made.asset_id
    market.deposit(market.bank.member, 1_000_000, "first")
    market.settle()
