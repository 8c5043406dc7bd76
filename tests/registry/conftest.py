"""Six organisations' services over the real contracts on a throw-away chain: databases, proved
views, outboxes and peers, in one process.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi import Request

from chain.bundle.trust import Trust
from chain.context import Context
from chain.core.crypto import address_of, new_private_key, sign_digest
from chain.ethereum.deployment import Deployment
from chain.ethereum.eip712 import Statement
from chain.ethereum.ledger import Ledger
from chain.keys.files import Ed25519Signer, Secp256k1Signer
from chain.statements.commitment import commit, consent_id, new_salt
from chain.statements.credit import Consent, ConsentRegistration
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms, Operation
from chain.statements.members import KeyPurpose, Role, SubjectKeyCertificate
from registry import projection
from registry.assets import api as assets_api
from registry.assets import publication, publication_api
from registry.assets.model import Description, Publication
from registry.credit import api as credit_api
from registry.credit import certificates, consent_api, consents
from registry.evidence import anchors, checkpoints
from registry.evidence import api as evidence_api
from registry.grants import api as grants_api
from registry.grants import service as grants
from registry.grants.model import GrantRequest
from registry.members import api as members_api
from registry.property import api as property_api
from registry.property import register_api
from registry.sources import Record, SourceColumn, SourceSchema
from tests.support.node import LocalNode, LocalPeers, application, make_context, sources_of
from tests.support.organisations import Governance, Organisation
from tests.support.sealing import trust_for
from tests.support.waiting import SECONDS, wait_for
from tests.support.world import running_world

ORGANISATIONS = {
    "operator": Role.OPERATOR,
    "supervisor": Role.SUPERVISOR,
    "tax": Role.DEPARTMENT,
    "registrar": Role.DEPARTMENT,
    "bank": Role.BANK,
    "agency": Role.AGENCY,
}
GOVERNORS = ("operator", "supervisor", "tax")
YEAR = 365 * 86_400
PURPOSES = {"credit-assessment": True, "statistics": False, "anti-fraud": True}

T = TypeVar("T")


@dataclass
class Rows:
    """A source whose records lie in memory."""

    name: str
    records: list[dict[str, Any]]
    key: str = "subject"

    def schema(self) -> SourceSchema:
        kinds = {int: "integer", bool: "boolean"}
        return SourceSchema(
            self.key,
            tuple(
                SourceColumn(name, kinds.get(type(value), "text"))
                for name, value in self.records[0].items()
            ),
        )

    def rows(self) -> Iterator[Record]:
        yield from self.records

    def lookup(self, key: str) -> Record | None:
        return next((record for record in self.records if record[self.key] == key), None)

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


class Node(LocalNode):
    """An organisation of the network."""

    @property
    def name(self) -> str:
        return self.organisation.name

    @property
    def signers(self) -> dict[KeyPurpose, Secp256k1Signer]:
        return self.organisation.signers

    @property
    def log(self) -> Ed25519Signer:
        return self.organisation.log

    def sign(self, statement: Statement, purpose: KeyPurpose) -> bytes:
        return self.signers[purpose].sign_digest(
            statement.digest(self.context.domain(statement.contract))
        )

    def done(self, operation: str, *, seconds: float = SECONDS) -> None:
        """Wait until a call is in a block, and take its events."""
        super().done(operation, seconds=seconds)
        self.sync()

    def anchor(self) -> None:
        """Checkpoint, anchor and store the proof."""
        checkpoints.make_checkpoint(self.context)
        anchors.anchor_if_due(self.context, at_once=True)
        self.outbox.wake()

        def settled() -> bool:
            self.context.view.wait_for_height(self.context.ledger.height(), SECONDS)
            anchors.complete_anchors(self.context)
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
    """By name."""
    ledger: Ledger
    governance: Governance

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @staticmethod
    def wait_for(found: Callable[[], T | None], what: str) -> T:
        return wait_for(found, what)

    def node(self, member: str) -> Node:
        return next(node for node in self.nodes.values() if node.member == member)

    def sync(self) -> None:
        """Every node up to the head."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.sync, self.nodes.values()))

    def execute(self, function: str, *arguments: Any) -> None:
        """A directory action approved by two governors."""
        self.governance.execute(function, *arguments)

    @property
    def trust(self) -> Trust:
        return trust_for(self.deployment)

    # --- what many tests begin with ---------------------------------------------------------------

    def publish(
        self, owner: str, records: list[dict[str, Any]], *, masking: dict[str, str] | None = None
    ) -> bytes:
        """Publish an asset of a fresh name; its id."""
        node = self[owner]
        name = f"asset-{secrets.token_hex(4)}"
        sources_of(node.context)[name] = Rows(name, records)
        description = Description("数据", "Data", "for tests", 3, "test")
        wanted = Publication(
            name, name, description, masking or dict.fromkeys(records[0], "keep"), purposes=PURPOSES
        )
        made = publication.publish(node.context, wanted)
        node.done(made.operation)
        self.sync()
        return made.asset_id

    def request_grant(
        self, grantee: str, owner: str, asset_id: bytes, columns: list[str], **changed: Any
    ) -> bytes:
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
        made = asyncio.run(grants.request(node.context, GrantRequest(**{**wanted, **changed})))
        node.done(made.operation)
        self.sync()
        return made.grant_id

    def decide(self, owner: str, grant_id: bytes, *, approved: bool = True) -> str:
        """The chief data officer's decision, on the chain."""
        node = self[owner]
        decision = GrantDecision(
            version=1, grant_id=grant_id, approved=approved, reason="in-order", deadline=2**40
        )
        operation = grants.decide(
            node.context, grant_id, decision, node.sign(decision, KeyPurpose.APPROVAL)
        )
        node.done(operation)
        self.sync()
        return operation

    def revocation(self, owner: str, grant_id: bytes) -> tuple[GrantRevocation, bytes]:
        revocation = GrantRevocation(version=1, grant_id=grant_id, reason="misuse", deadline=2**40)
        return revocation, self[owner].sign(revocation, KeyPurpose.APPROVAL)

    def certify(
        self, office: str, person: Person, purpose: str
    ) -> tuple[SubjectKeyCertificate, bytes]:
        """An office's certificate of a person's key."""
        certified = certificates.certify(
            self[office].context,
            identity=person.identity,
            salt=person.salt,
            key=person.address,
            purpose=purpose,
            not_after=int(time.time()) + YEAR,
        )
        return certified.certificate, certified.signature

    def vouch(
        self, name: str, person: Person, purpose: str, **changed: Any
    ) -> tuple[SubjectKeyCertificate, bytes]:
        """A certificate that any member signs with code of its own: its node need not agree, nor
        keep it.
        """
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
        self,
        office: str,
        person: Person,
        bank: str,
        *,
        certified: tuple[SubjectKeyCertificate, bytes] | None = None,
        **changed: Any,
    ) -> dict[str, Any]:
        """A consent package of a person whose key the office certifies, or with another
        certificate; not yet on the chain.
        """
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
        consent = Consent(
            **{**known, **{k: v for k, v in changed.items() if k in Consent.__dataclass_fields__}}
        )
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
        commitment = commit(
            bytes.fromhex(package["salt"][2:]), "qiaolian.consent.v1", consent.to_json()
        )
        registration = ConsentRegistration(
            version=1, commitment=commitment, authority=person.address, deadline=2**40
        )
        node = self[relayer]
        node.done(
            consents.relay_consent(
                node.context, registration, person.sign(registration, self.deployment)
            )
        )
        self.sync()
        return consent_id(commitment, person.address)


APIS = (
    members_api,
    publication_api,
    assets_api,
    grants_api,
    consent_api,
    credit_api,
    register_api,
    property_api,
    evidence_api,
)


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The running network; its tests use fresh names, so they do not meet."""
    directory = tmp_path_factory.mktemp("registry")
    make_node = partial(_make_node, directory)
    with running_world(directory, ORGANISATIONS, GOVERNORS, make_node) as world:
        network = Network(world.url, world.deployment, world.nodes, world.ledger, world.governance)
        network.sync()
        yield network


def _make_node(
    directory: Path,
    organisation: Organisation,
    url: str,
    deployment: Deployment,
    nodes: Mapping[str, Node],
) -> Node:
    peers = LocalPeers(organisation.member, nodes)
    database_url = f"sqlite:///{directory}/{organisation.name}.db"
    context = make_context(organisation, database_url, url, deployment, peers)

    def roles_of(_context: Context, _request: Request, member: str) -> frozenset[str]:
        return frozenset(str(role.name).lower() for role in nodes[member].context.roles)

    app = application(context, [api.router for api in APIS], roles_of)
    node = Node(organisation, context, peers, app, url, (projection.apply,))
    node.start_outbox()
    return node


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
                from registry.grants.store import GrantRow

                row = session.get(GrantRow, grant_id)
            if row is not None:
                return GrantTerms.from_json(row.terms)
        raise AssertionError("no such grant")

    return read
