"""The ASGI layer of every request (authority, size, strict JSON) and every answer (problem+json,
security headers, metrics).

One plain ASGI layer around the application. Nothing of a body is read before the caller's authority
and the route allow it. Then the whole body (bounded) is read before the endpoint sees anything,
since a token vouches for the body's bytes and a body that breaks JSON's rules must not reach a
parser that is more forgiving.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core import canonical
from chain.core.errors import BadInput, QiaolianError, Unauthorised
from chain.statements.members import Role
from nodes import problems, program_acts
from nodes.access import LocalAccess, TokenEntry
from nodes.bodies import BodyBudget, too_large
from nodes.connections import ClientConnection
from nodes.console.acts.service import BEGUN, DONE
from nodes.metrics import Metrics
from nodes.program_acts import ProgramAct
from nodes.rates import RateLimiter
from nodes.tokens import SCHEME, Authenticated, TokenVerifier
from registry.access import ACT_CHANGE, Principal

log = logging.getLogger("qiaolian.http")

PROJECTED_HEIGHT = b"qiaolian-projected-height"
BLOCKS_BEHIND = b"qiaolian-blocks-behind"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"cache-control", b"no-store"),
]
MAX_VALUES = 200_000
"""Values in one body: a batch of the largest size has a third of it."""
_INLINE_BYTES = 1 << 16
"""A body up to this size is read in about a millisecond."""
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY)


class ClientDisconnected(Exception):
    """The client hung up before its request was complete."""


@dataclass
class GateServices:
    """What the gate depends on; the verifier is set once the node has started."""

    member: str
    access: LocalAccess
    metrics: Metrics
    bodies: BodyBudget
    strangers: RateLimiter
    """Requests without accepted authority, by address."""
    members: RateLimiter
    """Requests of other members' nodes, by member."""
    verifier: TokenVerifier | None = None
    context: Context | None = None

    def projection(self) -> list[tuple[bytes, bytes]]:
        """How far the events were read that lists and searches are made of, as headers of an
        answer.
        """
        behind = None if self.context is None else self.context.blocks_behind
        if self.context is None or behind is None:
            return []
        return [
            (PROJECTED_HEIGHT, b"%d" % (self.context.projected_height or 0)),
            (BLOCKS_BEHIND, b"%d" % behind),
        ]


@dataclass(frozen=True)
class _Authority:
    """The caller, and the token that the body has to match."""

    principal: Principal | None = None
    token: Authenticated | None = None
    caller: str = ""
    """Whose connections and rates it counts among."""
    holder: TokenEntry | None = None
    """The holder of an access token of this organisation."""


class RequestGate:
    """The gate around the application; the module docstring has its rules."""

    def __init__(self, app: App, guards: GateServices) -> None:
        self._app = app
        self._guards = guards
        self._roles: dict[int, frozenset[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reads = scope["method"] == "GET" and scope["path"].startswith("/v1/")
        exchange = _Exchange(send, self._guards.member, self._guards.projection if reads else list)
        started = time.perf_counter()
        try:
            await self._serve(scope, receive, exchange)
        except ClientDisconnected:
            return
        except Exception as error:
            ours = problems.translate_error(error)
            if ours.code == "internal_error":
                log.error("unexpected failure", exc_info=error, extra={"route": _route(scope)})
            await exchange.refuse(ours)
        self._account(scope, exchange, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        has_body = _has_body(headers)
        state = scope.setdefault("state", {})
        state["exchange"] = exchange
        authority = await self._authority(scope, headers)
        principal = authority.principal
        declared = _declared(headers)
        if has_body and authority.holder is not None and self._guards.bodies.streams(scope):
            await self._stream(scope, receive, headers, authority, exchange)
            return
        limit = self._guards.bodies.limit(scope, principal) if has_body else 0
        if limit and declared is not None and declared > limit:
            raise too_large(limit)
        with self._guards.bodies.reserve(
            principal, (limit if declared is None else declared) if limit else 0
        ):
            # Where no body may be read, the endpoint sees none: its own guard says what is missing.
            body = await _read(receive, limit) if limit else b""
            if authority.token is not None and has_body and not limit:
                # The token vouches for a body nobody read: it proves nothing.
                principal = None
            else:
                self._accept(scope, authority, body)
            state["principal"] = principal
            if body:
                # Whatever the body calls itself: no endpoint takes anything but JSON, and a header
                # is not to switch the strictness off.
                state["json"] = await _strict(body, limit)
            if authority.holder is not None:
                await self._begin_act(scope, headers, authority.holder, exchange)
            await self._app(scope, _replay(body, receive), exchange.send)

    async def _stream(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        authority: _Authority,
        exchange: _Exchange,
    ) -> None:
        """Serve a request whose body the endpoint reads itself, for as long as it takes."""
        assert authority.holder is not None
        self._accept(scope, authority, b"")
        visitor: ClientConnection | None = scope["state"].get("visitor")
        if visitor is not None:
            visitor.read_without_deadline()
        scope["state"]["principal"] = authority.principal
        await self._begin_act(scope, headers, authority.holder, exchange)
        await self._app(scope, receive, exchange.send)

    async def _begin_act(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        holder: TokenEntry,
        exchange: _Exchange,
    ) -> None:
        """Record what an access token's holder begins; the answer records how it ends."""
        context, found = self._guards.context, self._guards.bodies.route(scope)
        if context is None or found is None:
            return
        act = program_acts.begun(
            context,
            holder,
            method=scope["method"],
            route=found.path,
            parameters=found.parameters,
            body=scope["state"].get("json"),
            command=headers.get(program_acts.COMMAND_HEADER, b"").decode("latin-1"),
        )
        if act is not None and act.begins:
            await act.record(BEGUN)
        exchange.act = act
        if act is not None:
            scope["state"][ACT_CHANGE] = act.store

    async def _authority(self, scope: Scope, headers: dict[bytes, bytes]) -> _Authority:
        """Who calls, decided before the body; nobody for a caller who shows nothing (public
        endpoints, and ``token_missing`` from all others).

        What shows no authority is counted by address, so that refusing it stays cheap.
        """
        visitor: ClientConnection | None = scope["state"].get("visitor")
        address = scope["client"][0] if scope.get("client") else ""
        raw = headers.get(b"authorization")
        if raw is None:
            self._guards.strangers.take(address)
            return _Authority()
        header = raw.decode("latin-1")
        if not header.startswith("Bearer ") and (visitor is None or not visitor.trusted):
            self._guards.strangers.take(address)
        try:
            found = await self._principal(scope, header)
        except QiaolianError:
            if header.startswith("Bearer ") or (visitor is not None and visitor.trusted):
                self._guards.strangers.take(address)
            raise
        return found

    def _accept(self, scope: Scope, authority: _Authority, body: bytes) -> None:
        """Use up a member's token for the body it names; from then on the connection and the
        request count for the caller.
        """
        if authority.token is not None:
            assert self._guards.verifier is not None
            self._guards.verifier.consume(authority.token, body)
            self._guards.members.take(authority.caller)
        visitor: ClientConnection | None = scope["state"].get("visitor")
        if authority.caller and visitor is not None and not visitor.trusted:
            visitor.trust(authority.caller)

    async def _principal(self, scope: Scope, header: str) -> _Authority:
        scheme = header.partition(" ")[0]
        verifier = self._guards.verifier
        if scheme == SCHEME and verifier is not None:
            found = await verifier.authenticate(
                header, method=scope["method"], target=_target(scope)
            )
            roles = self._role_names(found.caller.roles)
            return _Authority(
                Principal(kind="member", member=found.caller.member, roles=roles),
                found,
                found.caller.member,
            )
        if scheme == "Bearer":
            holder = self._guards.access.holder_of(header)
            roles = frozenset({holder.role})
            caller = f"token:{holder.name}"
            return _Authority(
                Principal(kind="local", member=self._guards.member, roles=roles, person=caller),
                caller=caller,
                holder=holder,
            )
        raise Unauthorised(
            "token_malformed",
            "The Authorization header is neither a node's token nor a bearer token.",
            hint=f"Use `{SCHEME} …` between nodes and `Bearer …` within the organisation.",
        )

    def _role_names(self, roles: int) -> frozenset[str]:
        names = self._roles.get(roles)
        if names is None:
            names = frozenset(
                role.name.lower() for role in Role if role.name is not None and roles & role
            )
            self._roles[roles] = names
        return names

    def _account(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = _route(scope)
        labels = {"method": scope["method"], "route": route, "status": str(exchange.status)}
        self._guards.metrics.count("qiaolian_requests_total", labels)
        self._guards.metrics.observe(route, seconds)
        if exchange.code:
            self._guards.metrics.count(
                "qiaolian_refusals_total", {"code": exchange.code, "route": route}
            )
            log.info(
                "refused", extra={"route": route, "status": exchange.status, "code": exchange.code}
            )


class _Exchange:
    """The answer of one request."""

    def __init__(
        self, send: Send, member: str, more: Callable[[], list[tuple[bytes, bytes]]]
    ) -> None:
        self._send = send
        self._member = member
        self._more = more
        self._started = False
        self.status = 0
        self.code = ""
        self.act: ProgramAct | None = None
        """What is recorded before the answer begins."""

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, with the security headers."""
        if message["type"] == "http.response.start":
            act, self.act = self.act, None
            if act is not None:
                failed = message["status"] >= 400
                if failed or not act.is_stored:
                    await act.record((self.code or str(message["status"])) if failed else DONE)
            self._started = True
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers} & _SECURITY_NAMES
            headers.extend(pair for pair in _SECURITY if pair[0] not in present)
            headers.extend(self._more())
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, error: QiaolianError) -> None:
        """Answer with problem+json; nothing can be added once an answer has begun."""
        self.code = error.code
        if self._started:
            return
        status, body = problems.problem(error, member=self._member)
        headers = [
            (b"content-type", problems.CONTENT_TYPE),
            (b"content-length", str(len(body)).encode()),
        ]
        if status in (429, 503):
            headers.append((b"retry-after", b"1"))
        if status == 401:
            headers.append((b"www-authenticate", SCHEME.encode() + b", Bearer"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body again for the application; after it, whatever the connection says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body, which is within the limit."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _declared(headers: dict[bytes, bytes]) -> int | None:
    """The body's size as the request declares it; None where it declares none."""
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() and len(declared) < 20 else None


async def _strict(body: bytes, limit: int) -> Any:
    """The body as strict JSON; a large one is read in a thread, so that others are served
    meanwhile.
    """
    if len(body) <= _INLINE_BYTES:
        return _loads(body, limit)
    return await asyncio.to_thread(_loads, body, limit)


def _loads(body: bytes, limit: int) -> Any:
    try:
        return canonical.loads(body, max_bytes=limit, max_values=MAX_VALUES)
    except RecursionError as error:
        raise BadInput("json_too_deep", "The JSON nests too deeply.") from error


def _target(scope: Scope) -> str:
    """Path and query exactly as sent."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _route(scope: Scope) -> str:
    """The route's template, so that no identifier becomes a label."""
    route = scope.get("route")
    return str(getattr(route, "path", "none"))
