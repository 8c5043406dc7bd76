"""The node's application: the domain packages' routers behind the gate, and the workers."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from chain.core.errors import QiaolianError
from chain.core.memory import return_freed_memory
from chain.statements.members import KeyPurpose
from nodes import health, health_api, network, operations, own_keys, problems
from nodes.access import LocalAccess
from nodes.assembly import AssembledNode, assemble
from nodes.bodies import BodyBudget, BodyLimits
from nodes.certificate import ServerCertificate
from nodes.config import NodeConfig
from nodes.gate import GateServices, RequestGate
from nodes.metrics import Metrics
from nodes.migrate import upgrade_apart
from nodes.openapi import DescribedApp
from nodes.rates import RateLimiter
from nodes.routers import routers
from nodes.version import VERSION
from nodes.webhooks import api as webhooks_api
from nodes.workers import Scheduler, Worker, node_workers
from nodes.workers.certificate import CertificateWorker
from nodes.workers.peers import PeerMonitor
from nodes.workers.status import WorkerMonitor
from nodes.workers.webhooks import webhook_worker

MAX_THREADS = 64

_DESCRIPTION = """\
One organisation's node of the Qiaolian network. The organisation's own systems and people use a
bearer token and the paths under `/v1/`; other members' nodes use self-issued tokens and the paths
under `/v1/peer/`. Errors are `application/problem+json` with a stable `code`."""


def create_app(
    config: NodeConfig,
    certificate: ServerCertificate,
    *,
    console: FastAPI | None = None,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Return the application; it opens everything at startup and closes it at shutdown. The console
    gets the same context. ``clock`` gives Unix seconds.
    """
    metrics = Metrics()
    access = LocalAccess.load(config.path(config.access.tokens))
    guards = _guards(config, access, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # One blocked database or chain node must not take the threads that others wait for.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_THREADS, "work"))
        try:
            await asyncio.to_thread(upgrade_apart, config.database_url, lock_dir=config.data)
            node = await asyncio.to_thread(functools.partial(assemble, config, clock=clock))
            monitor, peers = WorkerMonitor(clock), PeerMonitor(node.peers, clock=clock)
            app.state.context = node.context
            if console is not None:
                console.state.context = node.context
            app.state.health = _health(node, metrics, _watched(node, monitor, peers, certificate))
            if console is not None:
                console.state.health = app.state.health
            guards.verifier = node.verifier
            guards.context = node.context
            node.start()
            nodes = network.NetworkMonitor(node.context, node.peers, peers)
            node.context.services.put(nodes)
            own_workers = _own_workers(node, certificate, peers, nodes)
            workers = Scheduler([*node_workers(node), *own_workers], metrics, monitor)
            workers.start()
            await asyncio.to_thread(return_freed_memory)
        except Exception as error:  # the command reports whatever it is
            app.state.failure = error
            raise
        try:
            yield
        finally:
            await workers.stop()
            app.state.health.close()
            await asyncio.to_thread(node.close)

    app = described_app(config.name, lifespan=lifespan)
    app.state.config = config
    app.state.failure = None
    app.state.metrics = metrics
    guards.bodies.routes = app.endpoints
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_middleware(RequestGate, guards=guards)
    return app


def described_app(name: str, *, lifespan: Lifespan[FastAPI] | None = None) -> DescribedApp:
    """Return the node's routes with their description, without what serves them."""
    app = DescribedApp(
        title=f"Qiaolian node of {name}",
        description=_DESCRIPTION,
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    served = (
        *routers(),
        health_api.router,
        network.router,
        operations.router,
        own_keys.router,
        webhooks_api.router,
    )
    for router in served:
        app.include_router(router)
    routes = (route for router in served for route in router.routes)
    app.endpoints = [route for route in routes if isinstance(route, APIRoute)]
    return app


def _guards(config: NodeConfig, access: LocalAccess, metrics: Metrics) -> GateServices:
    limits = config.limits
    sizes = BodyLimits(
        large=limits.body_bytes,
        statement=limits.statement_bytes,
        stranger=limits.stranger_bytes,
        total=limits.bodies_bytes,
    )
    return GateServices(
        member=config.member,
        access=access,
        metrics=metrics,
        bodies=BodyBudget(sizes),
        strangers=RateLimiter(limits.stranger_requests_per_second, limits.stranger_requests_burst),
        members=RateLimiter(
            limits.member_requests_per_second, 2 * int(limits.member_requests_per_second)
        ),
    )


def _operation_id(route: APIRoute) -> str:
    """``post_v1_calls_batch``: the method and path, which are unique."""
    words = re.findall(r"[A-Za-z0-9_]+", f"{min(route.methods or {'any'})} {route.path}")
    return "_".join(words).lower()


def _own_workers(
    node: AssembledNode,
    certificate: ServerCertificate,
    peers: PeerMonitor,
    nodes: network.NetworkMonitor,
) -> list[Worker]:
    """Return the workers of the node program itself, without those of the domain packages."""
    config = node.config
    return [
        Worker(
            "certificate",
            config.workers.certificate_seconds,
            CertificateWorker(certificate).round,
        ),
        Worker("peers", config.workers.peer_seconds, peers.round),
        *([Worker("nodes", config.workers.peer_seconds, nodes.round)] if nodes.watches else []),
        webhook_worker(node),
    ]


def _watched(
    node: AssembledNode,
    monitor: WorkerMonitor,
    peers: PeerMonitor,
    certificate: ServerCertificate,
) -> health.MonitoredParts:
    return health.MonitoredParts(
        restore_guard=node.restore_guard,
        sources=node.source_monitor,
        peers=peers,
        workers=monitor,
        certificate_ends=lambda: certificate.info.ends_at,
        keys=lambda: {**node.keys, KeyPurpose.TLS: certificate.info.fingerprint},
    )


HEALTH_GAUGES: tuple[tuple[str, str, Callable[[health.Health], float | None]], ...] = (
    ("qiaolian_view_age_seconds", "Age of the chain view's head.", health.Health.view_age),
    (
        "qiaolian_projection_behind_blocks",
        "Blocks of the view whose events are not in the database yet.",
        health.Health.blocks_behind,
    ),
    ("qiaolian_outbox_depth", "Calls owed to the chain.", health.Health.outbox_depth),
    ("qiaolian_log_size", "Entries in the evidence log.", health.Health.log_size),
    (
        "qiaolian_source_incidents",
        "Calls refused because a source departs from what was published; see GET /v1/incidents.",
        health.Health.source_incidents,
    ),
    (
        "qiaolian_sources_down",
        "Configured sources that cannot be read; see /readyz.",
        health.Health.sources_down,
    ),
    (
        "qiaolian_certificate_days_left",
        "Days until this node's TLS certificate ends.",
        health.Health.certificate_days,
    ),
    (
        "qiaolian_peer_certificate_days_left",
        "Days until the first of the peers' certificates ends.",
        health.Health.peer_certificate_days,
    ),
    (
        "qiaolian_keys_ended",
        "Keys of this node that are not live in the directory.",
        health.Health.keys_ended,
    ),
    (
        "qiaolian_clock_offset_seconds",
        "This node's clock minus the blocks' time, else most peers' clocks.",
        health.Health.clock_offset,
    ),
    (
        "qiaolian_log_uncosigned_seconds",
        "How long the first checkpoint has waited for a witness.",
        health.Health.uncosigned_seconds,
    ),
    (
        "qiaolian_workers_failing",
        "Background workers whose latest round failed; see /readyz.",
        health.Health.workers_failing,
    ),
    (
        "qiaolian_peers_down",
        "Members whose nodes do not answer; see /readyz.",
        health.Health.peers_down,
    ),
    (
        "qiaolian_unknown_subject_refusals",
        "Refusals of unknown subjects within the limit's period.",
        health.Health.unknown_subject_refusals,
    ),
    (
        "qiaolian_unknown_subject_grants_refused",
        "Grants whose calls are refused for too many unknown subjects.",
        health.Health.unknown_subject_grants_refused,
    ),
)
"""Name, help text and reading of the gauges that every node has."""


def _health(node: AssembledNode, metrics: Metrics, watched: health.MonitoredParts) -> health.Health:
    config = node.config
    found = health.Health(
        context=node.context,
        watched=watched,
        data=config.data,
        limits=config.limits,
        projects=config.workers.projector,
    )
    for name, text, reading in HEALTH_GAUGES:
        metrics.gauge(name, text, functools.partial(reading, found))
    for name, text, value in (*found.claim_gauges(), *found.money_gauges()):
        metrics.gauge(name, text, value)
    return found


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, problems.invalid(error.errors()))


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, problems.of_status(error.status_code, str(error.detail)))


def _answer(request: Request, error: QiaolianError) -> Response:
    exchange: Any = request.state.exchange
    exchange.code = error.code
    status, body = problems.problem(error, member=request.app.state.config.member)
    return Response(body, status_code=status, media_type=problems.CONTENT_TYPE.decode())
