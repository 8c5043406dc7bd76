"""The second factor: enrolment, codes that count once, recovery codes."""

from __future__ import annotations

import re
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import select

from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from nodes.console.accounts.store import ConsoleAccount
from tests.support.console import PASSWORD, ConsolePerson, TestConsole


def code_at(console: TestConsole, secret: str, *, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(int(console.clock.at) + 30 * steps)


def enrolled(console: TestConsole, login: str = "wang") -> tuple[str, list[str]]:
    """A clerk with a second factor: its secret and recovery codes."""
    person = console.person(PersonRole.CLERK, login=login)
    page = person.page("/account/second-factor")
    found = re.search(r'name="secret" value="(\w+)"', page)
    assert found
    assert "viewBox" in page
    fields = {**person.hidden("/account/second-factor"), "secret": found[1]}
    wrong = person.post("/account/second-factor", {**fields, "code": "000000"})
    assert wrong.status_code == 401
    answer = person.post("/account/second-factor", {**fields, "code": code_at(console, found[1])})
    assert answer.status_code == 200
    codes = re.findall(r"<code>([0-9a-f]{8}-[0-9a-f]{8})</code>", answer.text)
    assert len(codes) == 10
    return found[1], codes


def half_logged_in(console: TestConsole, login: str = "wang") -> ConsolePerson:
    visitor = console.visitor()
    answer = visitor.log_in(login, PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login/code")
    return visitor


def send_code(visitor: ConsolePerson, code: str) -> int:
    return visitor.send("/login/code", "/login/code", {"code": code}).status_code


def test_no_page_is_shown_before_the_second_factor(console: TestConsole) -> None:
    enrolled(console)
    visitor = half_logged_in(console)
    for path in ("/", "/assets", "/assets.csv", "/account", "/account/second-factor"):
        answer = visitor.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login/code")
    assert "/assets" not in visitor.page("/login/code")


def test_a_code_opens_one_session_and_counts_once(console: TestConsole) -> None:
    secret, _ = enrolled(console)
    assert send_code(half_logged_in(console), code_at(console, secret)) == 401
    console.clock.at += 30
    visitor = half_logged_in(console)
    assert send_code(visitor, code_at(console, secret)) == 303
    assert visitor.get("/assets").status_code == 200
    assert send_code(half_logged_in(console), code_at(console, secret)) == 401


def test_an_old_code_is_refused_and_a_clock_may_be_a_step_off(console: TestConsole) -> None:
    secret, _ = enrolled(console)
    console.clock.at += 300
    assert send_code(half_logged_in(console), code_at(console, secret, steps=-2)) == 401
    assert send_code(half_logged_in(console), code_at(console, secret, steps=-1)) == 303


def test_a_recovery_code_stands_in_once(console: TestConsole) -> None:
    _, codes = enrolled(console)
    assert send_code(half_logged_in(console), codes[0]) == 303
    assert send_code(half_logged_in(console), codes[0]) == 401
    assert send_code(half_logged_in(console), codes[1].upper()) == 303


def test_guessing_codes_is_slowed_down(console: TestConsole) -> None:
    enrolled(console)
    visitor = half_logged_in(console)
    answers = [send_code(visitor, f"{number:06d}") for number in range(100)]
    assert set(answers) == {401, 429}
    assert answers.count(401) < 10


def test_the_secret_is_not_in_the_database(console: TestConsole) -> None:
    secret, codes = enrolled(console)
    with console.context.database.read() as session:
        row = session.scalars(select(ConsoleAccount)).one()
    assert row.totp_secret is not None
    assert secret.encode() not in row.totp_secret
    stored = Path(console.context.database.url.removeprefix("sqlite:///")).read_bytes()
    assert secret.encode() not in stored
    assert codes[0].encode() not in stored


def test_taking_it_off_needs_the_factor_itself(console: TestConsole) -> None:
    secret, _ = enrolled(console)
    console.clock.at += 60
    visitor = half_logged_in(console)
    assert send_code(visitor, code_at(console, secret)) == 303
    path = "/account/second-factor/remove"
    assert visitor.send("/account", path, {"code": "123456"}).status_code == 401
    console.clock.at += 60
    assert visitor.send("/account", path, {"code": code_at(console, secret)}).status_code == 303
    assert console.visitor().log_in("wang", PASSWORD).headers["location"] == "/"


def test_a_reset_ends_password_factor_and_sessions(console: TestConsole) -> None:
    enrolled(console)
    token = accounts.reset(console.context, console.account_id("wang"))
    assert console.visitor().log_in("wang", PASSWORD).status_code == 401
    accounts.accept_invitation(console.context, token, "copper-lantern-9-river")
    answer = console.visitor().log_in("wang", "copper-lantern-9-river")
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("secret", ["", "A" * 31, "a" * 32, "1" * 32, "A" * 33])
def test_a_secret_that_the_page_did_not_offer_is_refused(console: TestConsole, secret: str) -> None:
    person = console.person(PersonRole.CLERK)
    fields = {**person.hidden("/account/second-factor"), "secret": secret, "code": "123456"}
    answer = person.post("/account/second-factor", fields)
    assert (answer.status_code, "totp_secret_malformed" in answer.text) == (422, True)
