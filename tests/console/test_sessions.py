"""Log-in, sessions and the protection of forms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from nodes.config import Console
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from nodes.console.accounts.store import ConsoleSession
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from registry.pages import PageRequest
from tests.support.console import PASSWORD, TestConsole, running_console

CLERK = PersonRole.CLERK


def test_a_page_sends_who_is_not_logged_in_to_the_log_in_and_back(console: TestConsole) -> None:
    visitor = console.visitor()
    answer = visitor.get("/assets?q=tax")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fassets%3Fq%3Dtax"
    person = console.person(CLERK, login="wang")
    fields = {"login": "wang", "password": PASSWORD, "target": "/assets?q=tax"}
    again = console.visitor()
    answer = again.post("/login", {**fields, "csrf": again.hidden("/login")["csrf"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/assets?q=tax")
    assert "Catalogue" in person.page("/assets")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "/\tevil",
        "javascript:alert(1)",
    ],
)
def test_a_log_in_leads_to_no_other_site(console: TestConsole, target: str) -> None:
    console.person(CLERK, login="wang")
    visitor = console.visitor()
    fields = {"login": "wang", "password": PASSWORD, "target": target}
    answer = visitor.post("/login", {**fields, "csrf": visitor.hidden("/login")["csrf"]})
    assert answer.headers["location"] == "/"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(console: TestConsole) -> None:
    console.person(CLERK, login="wang")
    wrong = console.visitor().log_in("wang", "another-long-password")
    unknown = console.visitor().log_in("nobody", "another-long-password")
    assert wrong.status_code == unknown.status_code == 401
    shown = [re.sub(r'value="[^"]*"', "", answer.text) for answer in (wrong, unknown)]
    assert shown[0] == shown[1]


def test_wrong_passwords_are_heard_ever_more_slowly_and_the_right_one_counts_again(
    console: TestConsole,
) -> None:
    console.person(CLERK, login="wang")
    codes = [
        console.visitor().log_in("wang", f"wrong-password-{n}").status_code for n in range(100)
    ]
    assert set(codes) == {401, 429}
    assert codes.count(401) < 12
    assert console.visitor().log_in("wang", PASSWORD).status_code == 429
    console.clock.at += 901
    assert console.visitor().log_in("wang", PASSWORD).status_code == 303


def test_a_log_in_gets_a_fresh_session_and_ends_the_former_one(console: TestConsole) -> None:
    person = console.person(CLERK, login="wang")
    former = dict(person.http.cookies)
    person.http.get("/login")
    with console.context.database.read() as session:
        before = session.scalars(select(ConsoleSession.digest)).all()
    visit = console.visitor()
    visit.http.cookies.update(former)
    csrf = re.search(r'name="csrf" value="(\w+)"', visit.page("/"))
    assert csrf
    visit.post("/login", {"login": "wang", "password": PASSWORD, "csrf": csrf[1]})
    with console.context.database.read() as session:
        after = session.scalars(select(ConsoleSession.digest)).all()
    assert len(before) == len(after) == 1
    assert before != after


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(console: TestConsole) -> None:
    person = console.person(CLERK)
    console.clock.at += 1_700
    assert person.get("/").status_code == 200
    console.clock.at += 1_801
    assert person.get("/").status_code == 303
    other = console.person(CLERK)
    for _ in range(26):
        console.clock.at += 1_700
        last = other.get("/").status_code
    assert last == 303


def test_after_a_session_has_ended_the_same_browser_logs_in_again(console: TestConsole) -> None:
    person = console.person(CLERK, login="wang")
    console.clock.at += 1_801
    assert person.get("/").status_code == 303
    assert person.log_in("wang", PASSWORD).headers["location"] == "/"
    assert person.get("/").status_code == 200


def test_a_session_that_was_logged_out_is_worth_nothing(console: TestConsole) -> None:
    person = console.person(CLERK)
    stolen = dict(person.http.cookies)
    assert person.send("/", "/logout", {}).headers["location"] == "/login"
    thief = console.visitor()
    thief.http.cookies.update(stolen)
    assert thief.get("/assets").status_code == 303


def test_a_changed_password_ends_every_session_of_the_account(console: TestConsole) -> None:
    person = console.person(CLERK, login="wang")
    second = console.visitor()
    second.log_in("wang", PASSWORD)
    assert second.get("/").status_code == 200
    fields = {"current": PASSWORD, "password": "copper-lantern-9-river"}
    fields["repeated"] = fields["password"]
    assert person.send("/account", "/account/password", fields).status_code == 303
    assert second.get("/").status_code == 303
    assert console.visitor().log_in("wang", PASSWORD).status_code == 401
    assert console.visitor().log_in("wang", fields["password"]).status_code == 303


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "passwordpassword",
        "aaaaaaaaaaaaaaa",
        "abcdefghijklmnop",
        "wangwangwangwang",
        "x" * 129,
    ],
)
def test_a_weak_password_is_refused(console: TestConsole, password: str) -> None:
    person = console.person(CLERK, login="wang")
    fields = {"current": PASSWORD, "password": password, "repeated": password}
    answer = person.send("/account", "/account/password", fields)
    assert answer.status_code == 422
    assert "password_weak" in answer.text


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1:8445", "https://127.0.0.1:8444"],
)
def test_a_form_of_another_site_does_nothing(console: TestConsole, origin: str) -> None:
    person = console.person(CLERK)
    answer = person.post("/logout", person.hidden("/"), origin=origin)
    assert answer.status_code == 403
    assert "csrf_refused" in answer.text
    assert person.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/logout", "/account/password", "/language"])
def test_a_form_without_its_token_or_with_another_browsers_does_nothing(
    console: TestConsole, path: str
) -> None:
    person, other = console.person(CLERK), console.person(CLERK)
    for fields in ({}, {"csrf": ""}, {"csrf": other.hidden("/")["csrf"]}, {"csrf": "é"}):
        answer = person.post(path, fields)
        assert answer.status_code in (403, 422)
        assert "login" not in answer.headers.get("location", "")
    assert person.get("/").status_code == 200


def test_a_page_of_an_ended_session_says_that_its_form_was_not_carried_out(
    console: TestConsole,
) -> None:
    person = console.person(CLERK)
    fields = {**person.hidden("/account"), "current": PASSWORD, "password": "x", "repeated": "x"}
    console.clock.at += 40_000
    answer = person.post("/account/password", fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?expired=1")
    assert "The form was not carried out" in person.page("/login?expired=1")


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(console: TestConsole) -> None:
    visitor = console.visitor()
    console.person(CLERK, login="wang")
    answer = visitor.log_in("wang", PASSWORD)
    (cookie,) = [
        value for value in answer.headers.get_list("set-cookie") if "session" in value.split("=")[0]
    ]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))


def test_every_page_has_the_security_headers(console: TestConsole) -> None:
    person = console.person(CLERK)
    for answer in (person.get("/"), person.get("/nothing"), console.visitor().get("/login")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "<script>" not in answer.text
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text


def test_a_form_of_a_stranger_is_small(console: TestConsole) -> None:
    visitor = console.visitor()
    csrf = visitor.hidden("/login")["csrf"]
    answer = visitor.post("/login", {"csrf": csrf, "login": "x" * 20_000, "password": "y"})
    assert answer.status_code == 413


def test_log_ins_and_refused_ones_are_in_the_log(console: TestConsole) -> None:
    console.person(CLERK, login="wang")
    console.visitor().log_in("wang", "a-wrong-long-password")
    rows = acts.listing(console.context, ActFilter(), PageRequest()).rows
    assert [(row.kind, row.outcome) for row in rows[:2]] == [
        ("log-in-refused", "login_refused"),
        ("log-in", "done"),
    ]
    assert rows[1].person == "某人 wang (wang)"


def test_a_demos_link_logs_in_once_and_only_where_the_console_says_so(tmp_path: Path) -> None:
    with running_console(tmp_path, links_log_in=True) as console:
        first = accounts.invite(console.context, login="wang", name="王", roles=[PersonRole.CLERK])
        second = accounts.another_link(console.context, console.account_id("wang"))
        for token in (first, second):
            visitor = console.visitor()
            assert visitor.get(f"/invitations/{token}").status_code == 303
            assert visitor.get("/assets").status_code == 200
            assert console.visitor().get(f"/invitations/{token}").status_code == 404


def test_a_link_asks_for_a_password_elsewhere(console: TestConsole) -> None:
    token = accounts.invite(console.context, login="wang", name="王", roles=[PersonRole.CLERK])
    visitor = console.visitor()
    assert 'name="repeated"' in visitor.page(f"/invitations/{token}")
    assert visitor.get("/assets").status_code != 200


def test_links_log_in_without_tls_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="links_log_in"):
        Console(links_log_in=True)


def test_only_who_is_logged_in_is_told_how_long_a_page_took(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK)
    assert clerk.get("/account").headers["server-timing"].startswith("page;dur=")
    stranger = console.visitor()
    for path in ("/login", "/account"):
        assert "server-timing" not in stranger.get(path).headers
