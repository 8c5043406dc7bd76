"""Which pages a person reaches: links are followed from the first page, a few addresses of each
route, so that a new page is measured as soon as something leads to it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import httpx
from fastapi.routing import APIRoute

from nodes.console.domains import ROUTERS

PER_ROUTE = 6
PER_QUESTION = 2
"""Addresses of a route that ask for the same parameters."""
SEARCHES = (
    "/assets?q=%E7%BA%B3%E7%A8%8E",
    "/assets?q=rec&grade=3",
    "/assets?column=Column7",
    "/acts?kind=copy",
    "/acts?kind=view&object=grant",
    "/deals?stage=open",
    "/grants?state=revoked",
    "/disputes?live=yes",
    "/flows?days=365",
)
"""What a person types or chooses in a form, where no link leads."""
_FILES = (".csv", ".json", ".pdf")
_OUTSIDE = ("/static/", "/login", "/logout", "/invitations/", "/my")
"""What a person who is logged in does not open; subjects log in with keys of their own."""


@dataclass(frozen=True, slots=True)
class FoundPage:
    """An address that answered with a page."""

    route: str
    address: str


@dataclass
class Crawl:
    """What was found, and what answered with something else than a page."""

    pages: list[FoundPage] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """Status by address."""


class _Links(HTMLParser):
    """The addresses that a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the target of a link."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def links_of(text: str) -> list[str]:
    """The addresses that a page links to within the console, in order."""
    parser = _Links()
    parser.feed(text)
    return [link.partition("#")[0] for link in parser.found if link.startswith("/")]


def page_routes() -> list[tuple[str, re.Pattern[str]]]:
    """The console's routes for pages, in the order in which they are tried."""
    return [
        (route.path, route.path_regex)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    ]


class Crawler:
    """Walks one person's pages.

    Args:
        passed: routes that are not opened.
    """

    def __init__(self, client: httpx.Client, *, passed: Sequence[str] = ()) -> None:
        self._client = client
        self._passed = frozenset(passed)
        self._routes = page_routes()
        self._seen: set[str] = set()
        self._taken: dict[tuple[str, frozenset[str]], int] = {}

    def walk(self, first: Sequence[str] = ("/", *SEARCHES)) -> Crawl:
        """Follow links until nothing new comes."""
        found, waiting = Crawl(), deque(self._wanted(first))
        while waiting:
            page = waiting.popleft()
            answer = self._client.get(page.address)
            if answer.status_code != 200:
                found.refused[page.address] = answer.status_code
                continue
            found.pages.append(page)
            waiting.extend(self._wanted(links_of(answer.text)))
        return found

    def _wanted(self, addresses: Sequence[str]) -> Iterator[FoundPage]:
        """Those of these addresses that are pages, new, and not the same in other words."""
        for address in addresses:
            parts = urlsplit(address)
            route = self._route_of(parts.path)
            if route is None or route in self._passed or address in self._seen:
                continue
            self._seen.add(address)
            question = frozenset(name for name, _ in parse_qsl(parts.query))
            of_route = sum(count for (name, _), count in self._taken.items() if name == route)
            key = (route, question)
            if of_route < PER_ROUTE and self._taken.get(key, 0) < PER_QUESTION:
                self._taken[key] = self._taken.get(key, 0) + 1
                yield FoundPage(route, address)

    def _route_of(self, path: str) -> str | None:
        if path.startswith(_OUTSIDE) or path.endswith(_FILES):
            return None
        return next((route for route, pattern in self._routes if pattern.match(path)), None)
