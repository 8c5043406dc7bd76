"""One organisation's services in this process: database, proved view, endpoints, outbox worker, and
the way to its peers.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import errors
from chain.core.database import Base, Database
from chain.core.errors import QiaolianError
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.ledger import Event, Ledger
from chain.ethereum.view import ChainView
from chain.outbox import OutboxWorker, outcome
from chain.outbox.store import OperationStatus
from chain.statements.members import KeyPurpose
from registry.access import Principal
from registry.sources import ConfiguredSources
from tests.support.organisations import Organisation
from tests.support.sealing import SealedForTests
from tests.support.waiting import SECONDS, wait_for

IDLE_SECONDS = 0.2
"""How often a view or an outbox looks when nobody waits for it; who waits wakes it."""

Projection = Callable[[Session, Sequence[Event], Context], None]
RolesOf = Callable[[Context, Request, str], frozenset[str]]
"""The roles of a member that calls, where an endpoint asks for them."""

_ERRORS: dict[int, type[QiaolianError]] = {
    400: errors.BadInput,
    401: errors.Unauthorised,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.BadInput,
    503: errors.Unavailable,
}


@dataclass
class LocalPeers:
    """The Peers port over the other organisations' endpoints in this process, with the failures a
    test asks for.
    """

    member: str
    nodes: Mapping[str, LocalNode]
    """By member id; nodes may join later."""
    broken: bool = False
    """No peer can be reached."""
    down: set[str] = field(default_factory=set)
    """Peers that cannot be reached."""
    silent: set[str] = field(default_factory=set)
    """Peers that take a request and never answer."""
    lost: int = 0
    """How many of the next answers to what is posted are lost."""
    refusal: QiaolianError | None = None
    """What prevents calls: a proxy's answer, or that of the peer's token check."""
    altered: Callable[[Any], Any] | None = None
    """Changes each answer."""
    sent: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body of what was posted."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Member and path of each GET."""

    async def post(
        self, member: str, path: str, body: Any, *, idempotency_key: str | None = None
    ) -> Any:
        body = json.loads(body) if isinstance(body, bytes) else body
        self.sent.append((path, body))
        if self.refusal is not None and path == "/v1/peer/calls":
            raise self.refusal
        return await self._send(member, "POST", path, body)

    async def get(self, member: str, path: str) -> Any:
        self.asked.append((member, path))
        return await self._send(member, "GET", path, None)

    async def _send(self, member: str, method: str, path: str, body: Any) -> Any:
        if self.broken or member in self.down:
            raise errors.Unavailable("peer_unreachable", "The peer cannot be reached.")
        if member in self.silent:
            await asyncio.Event().wait()
        answer = await self.nodes[member].request(method, path, body, {"x-member": self.member})
        if self.lost and method == "POST":
            self.lost -= 1
            raise errors.Unavailable("peer_timeout", "The answer was lost.")
        value = read(answer)
        return self.altered(value) if self.altered else value


def read(answer: httpx.Response) -> Any:
    """The content of an answer; an error as the error it is."""
    value = answer.json()
    if answer.status_code >= 400:
        kind = _ERRORS.get(answer.status_code, QiaolianError)
        raise kind(value.get("code", "invalid"), value.get("detail", str(value)))
    return value


@dataclass
class LocalNode:
    """One running organisation."""

    organisation: Organisation
    context: Context
    peers: LocalPeers
    app: FastAPI
    url: str
    projections: Sequence[Projection]
    height: int = 0
    """The last block whose events are in the database."""
    outbox: OutboxWorker = field(init=False)
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    _syncing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def member(self) -> str:
        return self.context.member

    def start_outbox(self) -> None:
        """Start the worker that sends this organisation's calls."""
        self.stopped = threading.Event()
        ledger = Ledger(self.url, self.context.ledger.deployment)
        signer = self.organisation.transaction
        self.outbox = OutboxWorker(
            self.context.database,
            ledger,
            signer,
            UnsealedForTestsOnly(),
            poll_seconds=IDLE_SECONDS,
            block_seconds=IDLE_SECONDS,
        )
        self.thread = threading.Thread(target=self._send, args=(ledger,), daemon=True)
        self.thread.start()

    def _send(self, ledger: Ledger) -> None:
        try:
            self.outbox.run(self.stopped)
        finally:
            ledger.close()

    def stop_outbox(self) -> None:
        """End the worker, and wait until it has ended."""
        self.stopped.set()
        if self.thread is not None:
            self.thread.join(SECONDS)

    def close(self) -> None:
        """End everything."""
        self.stop_outbox()
        self.context.view.stop()
        self.context.ledger.close()
        self.context.database.close()

    def sync(self) -> None:
        """Bring the proved view and the database up to the chain's head."""
        context = self.context
        with self._syncing:
            head = context.ledger.height()
            context.view.wait_for_height(head, SECONDS)
            if head <= self.height:
                return
            found = context.view.logs(self.height + 1, head)
            events = [
                event for block in found.blocks for event in context.ledger.decode_logs(block)
            ]

            def change(session: Session) -> None:
                for apply in self.projections:
                    apply(session, events, context)

            context.database.write(change)
            self.height = context.projected_height = found.height

    def outcome(self, operation: str, *, seconds: float = SECONDS) -> OperationStatus:
        """How a call ended; waits for it."""
        self.outbox.wake()

        def ended() -> OperationStatus | None:
            with self.context.database.read() as session:
                found = outcome(session, operation)
            return found if found.final else None

        return wait_for(ended, operation, seconds=seconds)

    def done(self, operation: str, *, seconds: float = SECONDS) -> None:
        """Wait until a call is in a block. Raises the contract's refusal."""
        self.outcome(operation, seconds=seconds).require_done()

    async def request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> httpx.Response:
        """A request to this node's endpoints."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.request(method, path, json=body, headers=dict(headers))

    async def answer(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        """What this node's endpoints answer; an error is raised."""
        return read(await self.request(method, path, body, headers))

    def call(self, method: str, path: str, body: Any = None, *, role: str | None = None) -> Any:
        """Call this node's endpoints as someone of the organisation, or as a stranger."""
        return asyncio.run(
            self.answer(method, path, body, {} if role is None else {"x-local": role})
        )


def make_context(
    organisation: Organisation,
    database_url: str,
    url: str,
    deployment: Deployment,
    peers: LocalPeers,
) -> Context:
    """An organisation's database, view and ledger over the chain at ``url``; the view runs."""
    database = Database(database_url)
    Base.metadata.create_all(database.engine)
    view = ChainView(url, deployment, SealedForTests(), poll_seconds=IDLE_SECONDS)
    view.start(wait_seconds=SECONDS)
    context = Context(
        member=organisation.member,
        roles=organisation.roles,
        database=database,
        ledger=Ledger(url, deployment),
        view=view,
        peers=peers,
        signers={
            purpose: organisation.signers[purpose]
            for purpose in (KeyPurpose.STATEMENT, KeyPurpose.TOKEN)
        },
        log_signer=organisation.log,
        transaction_address=organisation.transaction.address,
    )
    context.services.put(ConfiguredSources({}))
    return context


def sources_of(context: Context) -> dict[str, Any]:
    """The node's sources, to add to and change."""
    configured = context.services.find(ConfiguredSources)
    assert configured is not None
    assert isinstance(configured.by_name, dict)
    return configured.by_name


def application(context: Context, routers: Sequence[APIRouter], roles_of: RolesOf) -> FastAPI:
    """The packages' endpoints, with the caller named by a header as the node's middleware would
    after its checks.

    ``x-member`` names a peer; ``x-local`` the roles of somebody of the organisation, separated by
    commas, and ``x-person`` who that is.
    """
    app = FastAPI()
    app.state.context = context
    for router in routers:
        app.include_router(router)

    @app.middleware("http")
    async def principal(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Any:
        member, local = request.headers.get("x-member"), request.headers.get("x-local")
        request.state.principal = None
        if member is not None:
            request.state.principal = Principal(
                "member", member, roles_of(context, request, member)
            )
        elif local is not None:
            request.state.principal = Principal(
                "local",
                context.member,
                frozenset(local.split(",")),
                request.headers.get("x-person", ""),
            )
        return await call_next(request)

    @app.exception_handler(QiaolianError)
    async def problem(_request: Request, error: QiaolianError) -> JSONResponse:
        return JSONResponse(
            {"code": error.code, "detail": error.sentence, "hint": error.hint},
            status_code=error.status,
        )

    return app
