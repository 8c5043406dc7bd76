"""Signing in a real browser with a wallet of our own (EIP-1193)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from chain.core.crypto import address_of, new_private_key
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from tests.console.test_signing import router
from tests.support.browser import axe_findings, chromium, console_messages
from tests.support.console import PASSWORD, running_console, served
from tests.support.wallet import WALLET, add_wallet


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en")
    yield context.new_page()
    context.close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A console with one page more, whose form is signed; an officer ``wang`` may log in."""
    with running_console(tmp_path) as console:
        console.app.include_router(router)
        token = accounts.invite(
            console.context, login="wang", name="王", roles=[PersonRole.CHIEF_DATA_OFFICER]
        )
        accounts.accept_invitation(console.context, token, PASSWORD)
        with served(console) as address:
            yield address


def log_in(page: Page, url: str) -> None:
    page.goto(url + "/login")
    page.fill("#login", "wang")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Welcome")


def test_a_wallet_signs_what_the_contract_checks(page: Page, url: str) -> None:
    key = new_private_key()
    add_wallet(page, key)
    errors = console_messages(page)
    log_in(page, url)
    page.goto(url + "/test/panel")
    assert axe_findings(page) == []
    page.locator("[data-wallet-sign]").click()
    expect(page.locator("body")).to_have_text(address_of(key))
    assert errors == []


def test_a_wallet_that_refuses_leaves_the_page(page: Page, url: str) -> None:
    page.expose_function("walletAddress", lambda: "0x" + "11" * 20)
    page.add_init_script(WALLET.replace("await window.walletSign(params[1])", "Promise.reject()"))
    log_in(page, url)
    page.goto(url + "/test/panel")
    page.locator("[data-wallet-sign]").click()
    expect(page.locator("[data-wallet-refused]")).to_be_visible()
    assert page.url.endswith("/test/panel")


def test_without_a_wallet_the_page_says_so(page: Page, url: str) -> None:
    log_in(page, url)
    page.goto(url + "/test/panel")
    expect(page.locator("[data-wallet-missing]")).to_be_visible()
    expect(page.locator("[data-wallet-sign]")).to_be_hidden()


def test_the_request_is_downloaded_in_the_browser(page: Page, url: str, tmp_path: Path) -> None:
    log_in(page, url)
    page.goto(url + "/test/panel")
    for _ in range(2):
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the request").click()
        download.value.save_as(tmp_path / "request.json")
        assert json.loads((tmp_path / "request.json").read_text())["type"] == "GrantRevocation"


def test_the_pages_of_an_account_are_accessible(page: Page, url: str) -> None:
    log_in(page, url)
    for path in ("/account", "/account/second-factor", "/approvals"):
        page.goto(url + path)
        assert axe_findings(page) == [], path
    page.set_viewport_size({"width": 360, "height": 800})
    for path in ("/account/second-factor", "/approvals", "/test/panel"):
        page.goto(url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
