"""Log-in at a real OpenID provider."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from chain.core.loopback import free_ports
from nodes.config import OpenId
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import AccountState, PersonRole
from tests.support.console import BASE, ConsolePerson, TestConsole, running_console

HERE = Path(__file__).parent
CALLBACK = f"{BASE}/login/openid/callback"
PEOPLE = {
    "zhang": {"name": "张伟", "preferred_username": "zhang.wei", "groups": ["data", "all"]},
    "guest": {"name": "Guest", "preferred_username": "guest", "groups": ["all"]},
    "boss": {"name": "Boss", "preferred_username": "admin", "groups": ["administrators"]},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The provider's address; a process of its own."""
    node = shutil.which("node")
    assert node, "Node is missing; ./scripts/test installs it"
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [node, str(HERE / "provider.mjs"), str(port), CALLBACK, json.dumps(PEOPLE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("listening" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def console(tmp_path: Path, issuer: str) -> Iterator[TestConsole]:
    (tmp_path / "secret").write_text("a secret of the console & its provider\n")
    settings = {
        "issuer": issuer,
        "client_id": "console",
        "client_secret_file": "secret",
        "roles": {"data": "clerk"},
    }
    with running_console(tmp_path, openid=settings) as made:
        made.clock.at = time.time()
        yield made


def at_provider(url: str, person: str) -> str:
    """Log in at the provider and agree, as its pages ask; the address it sends the browser to."""
    with httpx.Client(follow_redirects=False) as browser:
        answer = browser.get(url)
        for _ in range(12):
            if answer.is_redirect:
                following = urljoin(str(answer.url), answer.headers["location"])
                if following.startswith(CALLBACK):
                    return following
                answer = browser.get(following)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert form, answer.text
            assert prompt, answer.text
            fields = {"prompt": prompt[1], "login": person, "password": "any"}
            answer = browser.post(urljoin(str(answer.url), form[1]), data=fields)
    raise AssertionError("the provider never came back")


def begin(person: ConsolePerson) -> str:
    answer = person.get("/login/openid?next=/assets")
    assert answer.status_code == 303
    return answer.headers["location"]


def back(person: ConsolePerson, address: str) -> httpx.Response:
    return person.get(address.removeprefix(BASE))


def test_a_person_logs_in_with_the_role_of_the_group(console: TestConsole) -> None:
    person = console.visitor()
    assert "/login/openid" in person.page("/login")
    asked = parse_qs(urlsplit(begin(person)).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert {"state", "nonce", "code_challenge"} <= set(asked)
    answer = back(person, at_provider(begin(person), "zhang"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/assets")
    assert person.get("/assets").status_code == 200
    (account,) = accounts.listing(console.context)
    assert (account.login, account.name) == ("zhang.wei", "张伟")
    assert account.roles == {PersonRole.CLERK}


def test_the_same_person_has_one_account(console: TestConsole) -> None:
    for _ in range(2):
        person = console.visitor()
        back(person, at_provider(begin(person), "zhang"))
    assert len(accounts.listing(console.context)) == 1


@pytest.mark.parametrize("who", ["guest", "boss"])
def test_nobody_gets_in_without_a_group_of_a_role(console: TestConsole, who: str) -> None:
    person = console.visitor()
    answer = back(person, at_provider(begin(person), who))
    assert (answer.status_code, "openid_no_role" in answer.text) == (403, True)
    assert accounts.listing(console.context) == []


def test_a_disabled_person_does_not_come_back_in(console: TestConsole) -> None:
    person = console.visitor()
    back(person, at_provider(begin(person), "zhang"))
    (account,) = accounts.listing(console.context)
    accounts.disable(console.context, account.id)
    assert back(person, at_provider(begin(person), "zhang")).status_code == 401
    assert accounts.account(console.context, account.id).state == AccountState.DISABLED


def test_a_code_counts_in_the_browser_that_asked_for_it_and_once(console: TestConsole) -> None:
    person, thief = console.visitor(), console.visitor()
    address = at_provider(begin(person), "zhang")
    begin(thief)
    answer = back(thief, address)
    assert (answer.status_code, "openid_refused" in answer.text) == (401, True)
    assert back(person, address).status_code == 303
    assert back(person, address).status_code == 401


@pytest.mark.parametrize("change", ["state", "code", "late", "error"])
def test_an_answer_that_was_changed_is_refused(console: TestConsole, change: str) -> None:
    person = console.visitor()
    query = {
        name: values[0]
        for name, values in parse_qs(urlsplit(at_provider(begin(person), "zhang")).query).items()
    }
    if change == "late":
        console.clock.at += 601
    elif change == "error":
        query = {"error": "access_denied", "state": query["state"]}
    else:
        query[change] = query[change][:-2] + "xx"
    answer = person.http.get("/login/openid/callback", params=query)
    assert answer.status_code == 401
    assert person.get("/assets").status_code == 303


def test_a_token_of_another_log_in_is_refused(console: TestConsole) -> None:
    """A code of the same client that was asked for with another nonce and verifier."""
    person = console.visitor()
    other = parse_qs(urlsplit(at_provider(begin(console.visitor()), "zhang")).query)
    own = parse_qs(urlsplit(begin(person)).query)
    query = {"state": own["state"][0], "code": other["code"][0]}
    answer = person.http.get("/login/openid/callback", params=query)
    assert (answer.status_code, "openid_refused" in answer.text) == (401, True)


def test_a_console_without_a_provider_has_no_such_page(tmp_path: Path) -> None:
    with running_console(tmp_path) as plain:
        assert plain.visitor().get("/login/openid").status_code == 404
        assert "/login/openid" not in plain.visitor().page("/login")


@pytest.mark.parametrize("issuer_url", ["http://login.example.gov.cn", "ftp://127.0.0.1", "x"])
def test_a_provider_is_reached_over_tls(issuer_url: str) -> None:
    with pytest.raises(ValueError, match="issuer"):
        OpenId(
            issuer=issuer_url,
            client_id="console",
            client_secret_file=Path("secret"),
            roles={"data": "clerk"},
        )


def test_no_group_makes_an_administrator() -> None:
    given = {
        "issuer": "https://login.example.gov.cn",
        "client_id": "console",
        "client_secret_file": "secret",
        "roles": {"data": "administrator"},
    }
    with pytest.raises(ValueError, match="roles"):
        OpenId.model_validate(given)
