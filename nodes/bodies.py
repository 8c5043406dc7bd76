"""Limits on request bodies: per route, per caller, and in total.

The limits hold before the first byte of a body is read. Where no body is allowed, none is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Match

from chain.core.errors import QiaolianError, Unavailable
from registry.access import Principal

_SHARES = 4
"""One caller may hold this part of what all bodies together may."""


class BodyTooLarge(QiaolianError):
    """The request's body is over the node's limit."""

    status = 413


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes of one body: at routes for many items, at all others, and of callers without a token;
    and of all bodies at a time.
    """

    large: int
    statement: int
    stranger: int
    total: int


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """The route of a request: its path with names in place of ids, their values, and its marks."""

    path: str
    parameters: Mapping[str, Any]
    marks: Mapping[str, Any]


class BodyBudget:
    """The limits, and the bytes in memory now. Belongs to one event loop."""

    def __init__(self, limits: BodyLimits, routes: Sequence[BaseRoute] = ()) -> None:
        self.limits = limits
        self.routes = routes
        self._reserved: Counter[str] = Counter()

    def limit(self, scope: Any, caller: Principal | None) -> int:
        """Return the largest body of this request in bytes; 0 where none is read."""
        found = self.route(scope)
        if found is None:
            return 0
        marks = found.marks
        if marks.get("x-streamed-body"):
            return 0
        if caller is None:
            return self.limits.stranger if marks.get("x-open-to-strangers") else 0
        return (
            self.limits.large
            if marks.get("x-large-body")
            else min(self.limits.statement, self.limits.large)
        )

    def streams(self, scope: Any) -> bool:
        """Whether the request's route reads its body itself while it answers."""
        found = self.route(scope)
        return found is not None and bool(found.marks.get("x-streamed-body"))

    def route(self, scope: Any) -> MatchedRoute | None:
        """The route that serves a request; it is looked for once."""
        state = scope.setdefault("state", {})
        if "route" not in state:
            state["route"] = self._match(scope)
        found: MatchedRoute | None = state["route"]
        return found

    def _match(self, scope: Any) -> MatchedRoute | None:
        for route in self.routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                marks = getattr(route, "openapi_extra", None) or {}
                return MatchedRoute(getattr(route, "path", ""), child["path_params"], marks)
        return None

    @contextmanager
    def reserve(self, caller: Principal | None, size: int) -> Iterator[None]:
        """Count a body while it is in memory.

        Raises:
            Unavailable: ``node_busy`` when this caller, or all together, hold too much already.
        """
        if caller is None:
            # Bounded by the number of strangers' connections.
            yield
            return
        own, all_held = self._reserved[caller.member], self._reserved.total()
        share = max(self.limits.total // _SHARES, self.limits.large)
        if all_held and (own + size > share or all_held + size > self.limits.total):
            raise Unavailable(
                "node_busy",
                "The node holds too many request bodies.",
                hint="Send the request again in a second.",
            )
        self._reserved[caller.member] += size
        try:
            yield
        finally:
            self._reserved[caller.member] -= size
            if not self._reserved[caller.member]:
                del self._reserved[caller.member]


def too_large(limit: int) -> BodyTooLarge:
    """Return the refusal of a body over its limit."""
    return BodyTooLarge(
        "body_too_large",
        f"The request's body is over {limit} bytes.",
        hint="Send it in several requests.",
        limit=limit,
    )
