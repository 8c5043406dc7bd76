"""The ASGI layer of every request to the console: limits, language, session, security headers.

A request that changes something must come from one of the console's own pages: its ``Origin`` is
compared before anything is read, and every form carries a token besides (``forms.check_csrf``).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from chain.context import Context
from chain.core.errors import Forbidden
from nodes import problems
from nodes.bodies import too_large
from nodes.config import Console, NodeConfig
from nodes.console import assets_files
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import SessionLimits, Visit
from nodes.console.errors import error_page
from nodes.console.i18n import LANGUAGES, preferred_language
from nodes.console.subjects import service as subjects
from nodes.rates import RateLimiter

log = logging.getLogger("qiaolian.console")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOADS = "/publish/upload"
"""Where files are uploaded, under a limit of their own."""
FORM_BYTES = 65_536
"""What a form has besides its file."""
LOGIN_BODY_BYTES = 16_384
"""Largest form of somebody who is not logged in."""

_SECURITY = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=()"),
)
_NO_STORE = (b"cache-control", b"no-store")
_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")


@dataclass(frozen=True, slots=True)
class CookieNames:
    """The console's cookies. They carry the member's code, because browsers do not keep the
    cookies of two ports of one host apart.
    """

    session: str
    visitor: str
    language: str
    openid: str

    @classmethod
    def of(cls, member: str, *, secure: bool) -> CookieNames:
        """Under TLS the session's cookie is bound to the host (``__Host-``)."""
        host = "__Host-" if secure else ""
        return cls(
            f"{host}qiaolian-session-{member}",
            f"{host}qiaolian-visitor-{member}",
            f"qiaolian-language-{member}",
            f"{host}qiaolian-openid-{member}",
        )


def cookie(name: str, value: str, *, secure: bool, seconds: int | None = None) -> str:
    """A ``Set-Cookie`` value: for this host alone, out of reach of scripts."""
    parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if secure:
        parts.append("Secure")
    if seconds is not None:
        parts.append(f"Max-Age={seconds}")
    return "; ".join(parts)


_FAVICON = "/favicon.ico"
"""What a browser asks for by itself, on a page that names no icon."""


class ConsoleGate:
    """The layer around the console's pages; the module docstring has its rules."""

    def __init__(self, app: App, config: NodeConfig, settings: Console) -> None:
        self._app = app
        self._secure = not settings.plain_http
        self._limits = SessionLimits(settings.session_idle_seconds, settings.session_seconds)
        self._body_bytes = config.limits.body_bytes
        self._upload_bytes = config.limits.upload_bytes + FORM_BYTES
        self._names = CookieNames.of(config.member, secure=self._secure)
        limits = config.limits
        self._strangers = RateLimiter(
            limits.stranger_requests_per_second, limits.stranger_requests_burst
        )
        self._language = settings.language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, secure=self._secure)
        if scope["path"] == _FAVICON:
            await answer.whole(308, b"", [(b"location", assets_files.ICON_PATH.encode())])
            return
        if scope["path"].startswith(assets_files.PREFIX):
            await self._static(scope, answer)
            return
        await self._page(scope, receive, answer)

    async def _page(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = dict(scope["headers"])
        cookies = _cookies(headers.get(b"cookie", b""))
        state = scope.setdefault("state", {})
        state["visit"], state["csrf"], state["session_ended"] = None, "", False
        state["language"] = self._chosen_language(cookies, headers)
        state["cookies"], state["secure"] = self._names, self._secure
        bounded = _Bounded(receive)
        try:
            visit = await self._visit(scope["app"].state.context, cookies)
            state["visit"] = visit
            answer.timed = visit is not None
            state["session_ended"] = visit is None and bool(cookies.get(self._names.session))
            state["csrf"] = visit.csrf if visit else self._visitor(cookies, answer)
            self._admit(scope, visit)
            self._require_own_page(scope, headers)
            bounded.limit = self._limit(scope["path"]) if visit else LOGIN_BODY_BYTES
            bounded.require_declared(headers)
            await self._app(scope, bounded, answer)
        except Exception as error:
            ours = problems.translate_error(error)
            if ours.code == "internal_error":
                log.error("unexpected failure", exc_info=error)
            if not answer.started:
                page = await run_in_threadpool(error_page, Request(scope), ours)
                await page(scope, receive, answer)

    def _limit(self, path: str) -> int:
        """Bytes of a person's form."""
        uploads = path == UPLOADS or path.startswith(UPLOADS + "/")
        return self._upload_bytes if uploads else self._body_bytes

    async def _visit(self, context: Context, cookies: dict[str, str]) -> Visit | None:
        token = cookies.get(self._names.session, "")
        if not token:
            return None
        find = subjects.visit_of if token.startswith(subjects.TOKEN_PREFIX) else accounts.visit_of
        return await run_in_threadpool(find, context, token, self._limits)

    def _visitor(self, cookies: dict[str, str], answer: _Answer) -> str:
        """The anti-forgery token of somebody who is not logged in."""
        token = cookies.get(self._names.visitor, "")
        if not token:
            token = secrets.token_urlsafe(32)
            answer.add_cookie(cookie(self._names.visitor, token, secure=self._secure))
        return accounts.csrf_of(token)

    def _admit(self, scope: Scope, visit: Visit | None) -> None:
        """Count strangers' requests by address; a person's connection is a stranger's no more."""
        connection = scope.get("state", {}).get("visitor")
        if visit is None:
            self._strangers.take(_address(scope))
        elif connection is not None and not connection.trusted:
            connection.trust(f"console:{visit.account.id}")

    def _require_own_page(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if scope["method"] in ("GET", "HEAD"):
            return
        host = headers.get(b"host", b"").decode("latin-1")
        scheme = "https" if self._secure else "http"
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not host or origin != f"{scheme}://{host}":
            raise Forbidden(
                "csrf_refused",
                "The request does not come from a page of this console; nothing was done.",
                hint="Open the console itself and send the form from there.",
            )

    def _chosen_language(self, cookies: dict[str, str], headers: dict[bytes, bytes]) -> str:
        chosen = cookies.get(self._names.language, "")
        if chosen in LANGUAGES:
            return chosen
        header = headers.get(b"accept-language")
        return self._language if header is None else preferred_language(header.decode("latin-1"))

    async def _static(self, scope: Scope, answer: _Answer) -> None:
        found = assets_files.static_file(scope["path"].removeprefix(assets_files.PREFIX))
        if found is None or scope["method"] not in ("GET", "HEAD"):
            await answer.whole(404, b"", [(b"content-type", b"text/plain")])
            return
        known = f'"{found.version}"'.encode()
        head = [
            (b"content-type", found.media_type.encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"etag", known),
        ]
        if dict(scope["headers"]).get(b"if-none-match") == known:
            await answer.whole(304, b"", head)
            return
        await answer.whole(200, found.content if scope["method"] == "GET" else b"", head)


class _Answer:
    """The answer to one request, with the security headers and the cookies set on the way."""

    def __init__(self, send: Send, *, secure: bool) -> None:
        self._send = send
        self._secure = secure
        self._cookies: list[str] = []
        self._began = time.perf_counter()
        self.started = False
        self.timed = False
        """Whether the answer shows how long it took: to who is logged in, never to a stranger."""

    def add_cookie(self, value: str) -> None:
        """Set a cookie with the answer."""
        self._cookies.append(value)

    async def __call__(self, message: Message) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            headers.extend(pair for pair in self._added() if pair[0] not in names)
            headers.extend((b"set-cookie", value.encode()) for value in self._cookies)
            message = {**message, "headers": headers}
        await self._send(message)

    def _added(self) -> Iterable[tuple[bytes, bytes]]:
        yield from _SECURITY
        yield _NO_STORE
        if self.timed:
            yield b"server-timing", b"page;dur=%.1f" % ((time.perf_counter() - self._began) * 1e3)
        if self._secure:
            yield _TRANSPORT

    async def whole(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A complete answer."""
        head = [*headers, (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": head})
        await self({"type": "http.response.body", "body": body})


class _Bounded:
    """A request's body, as far as its limit."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = 0
        self.limit = 0

    async def __call__(self) -> Message:
        """The next part of the body; ``body_too_large``."""
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self.limit:
            raise too_large(self.limit)
        return message

    def require_declared(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a body that declares itself too large before any of it is read."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:19]) > self.limit:
            raise too_large(self.limit)


def _address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def _cookies(header: bytes) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header.decode("latin-1"))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}
