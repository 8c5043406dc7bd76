"""Which pages and forms a visitor may use, read from the guards of the routes themselves.

A template asks ``may(path)`` before it shows a link, and ``may(path, "POST")`` before it shows a
form, so no page offers what its guard would refuse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import APIRouter
from fastapi.routing import APIRoute

from chain.statements.members import Role
from nodes.console.access import PersonGuard
from nodes.console.accounts.model import Visit


def guards_of(route: APIRoute) -> list[PersonGuard]:
    """The guards of a page or form."""
    return [
        dependency.call
        for dependency in route.dependant.dependencies
        if isinstance(dependency.call, PersonGuard)
    ]


class Permissions:
    """The console's routes by method and first part of the path, in the order of matching."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._routes: defaultdict[tuple[str, str], list[APIRoute]] = defaultdict(list)
        for route in (route for router in routers for route in router.routes):
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    self._routes[method, _first_part(route.path)].append(route)

    def route(self, target: str, method: str = "GET") -> APIRoute | None:
        """The route that answers a link or form, or None where nothing is there."""
        parts = urlsplit(target)
        path = "" if parts.netloc else parts.path
        candidates = self._routes.get((method, _first_part(path)), ())
        return next((route for route in candidates if route.path_regex.match(path)), None)

    def may(self, visit: Visit | None, node: Role, target: str, method: str = "GET") -> bool:
        """Whether the visitor passes every guard, at a node of these roles."""
        found = self.route(target, method)
        return found is not None and all(guard.admits(visit, node) for guard in guards_of(found))


def _first_part(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
