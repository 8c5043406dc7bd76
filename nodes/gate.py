"""What every request passes first: size, principal, strict JSON; and what every answer gets: problem+json, security
headers, metrics.

One plain ASGI layer around the application. It reads the whole body (bounded) before anything else, since a token
vouches for the body's bytes and a body that breaks JSON's rules must not reach a parser that is more forgiving.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from chain import canonical
from chain.context import Context
from chain.errors import BadInput, QiaolianError, Unauthorised
from chain.statements import Role
from nodes import problems
from nodes.access import LocalAccess
from nodes.metrics import Metrics
from nodes.tokens import SCHEME, Verifier
from registry.access import Principal

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
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"cache-control", b"no-store"),
]
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY)


class BodyTooLarge(QiaolianError):
    """The request's body is over the node's limit."""

    status = 413


class ClientGone(Exception):
    """The client hung up before its request was complete."""


@dataclass
class Guards:
    """What the gate asks; the verifier is there once the node has started."""

    member: str
    access: LocalAccess
    metrics: Metrics
    body_bytes: int
    verifier: Verifier | None = None
    context: Context | None = None

    def projection(self) -> list[tuple[bytes, bytes]]:
        """How far the events were read that lists and searches are made of, as headers of an answer."""
        behind = None if self.context is None else self.context.blocks_behind
        if self.context is None or behind is None:
            return []
        return [(PROJECTED_HEIGHT, b"%d" % (self.context.projected_height or 0)), (BLOCKS_BEHIND, b"%d" % behind)]


class Gate:
    """See the module's text."""

    def __init__(self, app: App, guards: Guards) -> None:
        self._app = app
        self._guards = guards
        self._limit = guards.body_bytes
        self._roles: dict[int, frozenset[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reads = scope["method"] == "GET" and scope["path"].startswith("/v1/")
        exchange = _Exchange(send, self._guards.projection if reads else list)
        started = time.perf_counter()
        try:
            await self._serve(scope, receive, exchange)
        except ClientGone:
            return
        except Exception as error:
            ours = problems.as_ours(error)
            if ours.code == "internal_error":
                log.error("unexpected failure", exc_info=error, extra={"route": _route(scope)})
            await exchange.refuse(ours)
        self._account(scope, exchange, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        body = await self._body(headers, receive)
        state = scope.setdefault("state", {})
        state["exchange"] = exchange
        state["principal"] = await self._principal(scope, headers, body)
        if body:
            # Whatever the body calls itself: no endpoint takes anything but JSON, and a header is not to switch the strictness off.
            state["json"] = _strict(body, self._limit)
        await self._app(scope, _replay(body, receive), exchange.send)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            raise _too_large(self._limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise _too_large(self._limit)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _principal(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> Principal | None:
        """Who calls; None for a caller who shows nothing (public endpoints, and ``token_missing`` from all others)."""
        raw = headers.get(b"authorization")
        if raw is None:
            return None
        header = raw.decode("latin-1")
        scheme = header.partition(" ")[0]
        verifier = self._guards.verifier
        if scheme == SCHEME and verifier is not None:
            caller = await verifier.verify(header, method=scope["method"], target=_target(scope), body=body)
            return Principal(kind="member", member=caller.member, roles=self._role_names(caller.roles))
        if scheme == "Bearer":
            role = self._guards.access.role_of(header)
            return Principal(kind="local", member=self._guards.member, roles=frozenset({role}))
        raise Unauthorised(
            "token_malformed",
            "The Authorization header is neither a node's token nor a bearer token.",
            hint=f"Use `{SCHEME} …` between nodes and `Bearer …` within the organisation.",
        )

    def _role_names(self, roles: int) -> frozenset[str]:
        names = self._roles.get(roles)
        if names is None:
            names = frozenset(role.name.lower() for role in Role if role.name is not None and roles & role)
            self._roles[roles] = names
        return names

    def _account(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = _route(scope)
        labels = {"method": scope["method"], "route": route, "status": str(exchange.status)}
        self._guards.metrics.count("qiaolian_requests_total", labels)
        self._guards.metrics.observe(route, seconds)
        if exchange.code:
            self._guards.metrics.count("qiaolian_refusals_total", {"code": exchange.code, "route": route})
            log.info("refused", extra={"route": route, "status": exchange.status, "code": exchange.code})


class _Exchange:
    """The answer's side of one request."""

    def __init__(self, send: Send, more: Callable[[], list[tuple[bytes, bytes]]]) -> None:
        self._send = send
        self._more = more
        self._started = False
        self.status = 0
        self.code = ""

    async def send(self, message: Message) -> None:
        """Pass on what the application sends, with the security headers."""
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers} & _SECURITY_NAMES
            headers.extend(pair for pair in _SECURITY if pair[0] not in present)
            headers.extend(self._more())
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, error: QiaolianError) -> None:
        """Answer with problem+json; nothing can be said any more once an answer has begun."""
        self.code = error.code
        if self._started:
            return
        status, body = problems.problem(error)
        headers = [(b"content-type", problems.CONTENT_TYPE), (b"content-length", str(len(body)).encode())]
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


def _strict(body: bytes, limit: int) -> Any:
    try:
        return canonical.loads(body, max_bytes=limit)
    except RecursionError as error:
        raise BadInput("json_too_deep", "The JSON nests too deeply.") from error


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge("body_too_large", f"The request's body is over {limit} bytes.", hint="Send it in several requests.", limit=limit)


def _target(scope: Scope) -> str:
    """Path and query exactly as sent."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + b"?" + query if query else raw).decode("latin-1")


def _route(scope: Scope) -> str:
    """The route's template, so that no identifier becomes a label."""
    route = scope.get("route")
    return str(getattr(route, "path", "none"))
