"""A walk through a console: every link that a reader's pages show, and every form, by the guards of
the routes behind them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx

from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import SessionLimits, Visit
from nodes.console.permissions import Permissions
from nodes.console.subjects import service as subjects
from tests.support.console import ConsolePerson, TestConsole

ALIKE = 2
"""How many pages of one route, with the same names in the query, are opened."""
BROKEN = frozenset({403, 404, 405, 422, 500})
"""Answers that no link may lead to. Others say that something has to be waited for."""
OF_THE_PROCESS = frozenset({"/health"})
"""Pages about the node's process, which services in a test's process lack."""


@dataclass
class _Links(HTMLParser):
    """What a page leads to: links, parts it renews itself with, search forms; and what it sends."""

    links: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    _search: tuple[str, dict[str, str]] | None = None
    _to_be_filled: bool = False
    """Whether the search form has a field that only a person can fill."""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(named.get("href", ""))
        elif tag == "form" and named.get("method") == "post":
            self.forms.append(named.get("action", ""))
        elif tag == "form":
            self._search, self._to_be_filled = (named.get("action", ""), {}), False
        elif tag == "input" and self._search is not None and named.get("type") != "checkbox":
            self._search[1][named.get("name", "")] = named.get("value", "")
        if self._search is not None and "required" in named and not named.get("value"):
            self._to_be_filled = True
        if "hx-get" in named:
            self.links.append(named["hx-get"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._search is not None:
            action, values = self._search
            if not self._to_be_filled:
                self.links.append(f"{action}?{urlencode({n: v for n, v in values.items() if n})}")
            self._search = None


@dataclass
class Walk:
    """A reader's way through every page that the pages lead to."""

    console: TestConsole
    person: ConsolePerson
    seen: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    waiting: Counter[str] = field(default_factory=Counter)
    """Routes whose pages were refused for now, by route and status."""
    pages: dict[str, str] = field(default_factory=dict)
    """A path of each route that answered with a page."""

    @property
    def permissions(self) -> Permissions:
        """What the console's own templates ask."""
        permissions: Permissions = self.console.app.state.permissions
        return permissions

    def from_page(self, start: str, check: Callable[[str, str], None] | None = None) -> Walk:
        """Open ``start`` and everything it leads to; ``check`` gets each page's path and text."""
        found, visit = deque([(start, "")]), visit_of(self.console, self.person)
        node = self.console.context.roles
        while found:
            path, on = found.popleft()
            text = self._open(path, on)
            if text is None:
                continue
            if check is not None:
                check(path, text)
            page = _Links()
            page.feed(text)
            for link in page.links:
                target = urljoin(path, link).partition("#")[0]
                if target.startswith("/"):
                    found.append((target, path))
            for action in (urljoin(path, form) for form in page.forms):
                if not self.permissions.may(visit, node, action, "POST"):
                    self.faults.append(f"{path} shows a form for {action}")
        return self

    def _open(self, path: str, on: str) -> str | None:
        """A page's text, or None where it was opened before or is no page."""
        route = self.permissions.route(path)
        name = urlsplit(path).path if route is None else route.path
        if name.startswith("/static") or name in OF_THE_PROCESS:
            return None
        query = tuple(sorted(key for key, _ in parse_qsl(urlsplit(path).query)))
        self.seen[name, query] += 1
        if self.seen[name, query] > ALIKE:
            return None
        answer = self.person.get(path)
        if route is None or answer.status_code in BROKEN:
            self.faults.append(f"{on} leads to {path}: {answer.status_code} {_code(answer)}")
        elif answer.status_code == 303:
            return self._open(answer.headers["location"], path)
        elif answer.status_code != 200:
            self.waiting[f"{name} {answer.status_code} {_code(answer)}"] += 1
        if not answer.headers["content-type"].startswith("text/html"):
            return None
        self.pages.setdefault(name, path)
        return answer.text


def visit_of(console: TestConsole, person: ConsolePerson) -> Visit:
    """The visit behind a browser's session."""
    name, limits = "qiaolian-session", SessionLimits(10**9, 10**9)
    token = next(value for key, value in person.http.cookies.items() if name in key)
    find = subjects.visit_of if token.startswith(subjects.TOKEN_PREFIX) else accounts.visit_of
    found = find(console.context, token, limits)
    assert found is not None
    return found


def _code(answer: httpx.Response) -> str:
    """The error's code that a page names."""
    return answer.text.rpartition("<dd><code>")[2].partition("</code>")[0][:60]
