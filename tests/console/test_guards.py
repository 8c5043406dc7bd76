"""The guards of every page and form: who is refused, what the menu shows, and a session that ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute

from chain.statements.members import Role
from nodes.console.accounts.model import PersonRole
from nodes.console.domains import NAVIGATION, ROUTERS
from nodes.console.permissions import guards_of
from tests.console.test_pages import PUBLIC
from tests.support.console import ConsolePerson, TestConsole
from tests.support.console_walk import visit_of

NODES = (Role.DEPARTMENT, Role.BANK, Role.SUPERVISOR, Role.OPERATOR, Role.AGENCY)


def forms_and_pages() -> Iterator[tuple[str, str, APIRoute]]:
    """Method, a path and the route of everything that has a guard."""
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute) and route.path not in PUBLIC:
            for method in route.methods:
                yield method, re.sub(r"\{[^}]*\}", "0x" + "11" * 32, route.path), route


def sent(person: ConsolePerson, method: str, path: str, csrf: str) -> tuple[int, str]:
    """Status of the answer, and where it leads."""
    answer = person.get(path) if method == "GET" else person.post(path, {"csrf": csrf})
    return answer.status_code, answer.headers.get("location", "")


@pytest.mark.parametrize("node", [Role.DEPARTMENT, Role.BANK, Role.SUPERVISOR])
def test_nobody_gets_a_page_or_sends_a_form_that_a_guard_keeps_for_others(
    console: TestConsole, node: Role
) -> None:
    console.context.roles = node
    tried = 0
    for role in PersonRole:
        person = console.person(role)
        visit, csrf = visit_of(console, person), person.hidden("/account")["csrf"]
        for method, path, route in forms_and_pages():
            if not all(guard.admits(visit, node) for guard in guards_of(route)):
                assert sent(person, method, path, csrf)[0] == 403, (role, method, path)
                tried += 1
    assert tried > 200


def test_a_menu_entry_is_shown_to_those_whom_its_page_admits(console: TestConsole) -> None:
    permissions = console.app.state.permissions
    visits = [visit_of(console, console.person(role)) for role in PersonRole]
    for entry in NAVIGATION:
        for node in NODES:
            for visit in visits:
                shown = entry.shown_to(visit, node)
                assert shown == permissions.may(visit, node, entry.path), (entry, node, visit)


def test_no_form_is_carried_out_for_a_session_that_has_ended(console: TestConsole) -> None:
    person = console.person(*PersonRole)
    csrf = person.hidden("/account")["csrf"]
    console.clock.at += 86_400
    for method, path, _ in forms_and_pages():
        if method == "POST":
            log_in = "/my/login" if path.startswith("/my/") else "/login"
            assert sent(person, method, path, csrf) == (303, f"{log_in}?expired=1"), path


def test_a_link_to_nowhere_is_offered_to_nobody(console: TestConsole) -> None:
    visit = visit_of(console, console.person(*PersonRole))
    permissions = console.app.state.permissions
    for path in ("", "/", "/nothing", "/assets/a/b/c", "https://evil.example/assets"):
        expected = path == "/"
        assert permissions.may(visit, Role.BANK, path) is expected, path
    assert not permissions.may(visit, Role.BANK, "/assets", "POST")
    assert not permissions.may(None, Role.BANK, "/assets")
