"""A firm on its telephone: it logs in with its certified key, sees who looked at its records, takes
a proof that verifies offline, and withdraws a consent, after which the bank's next call is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page, expect

from chain.core.canonical import dumps
from exchange.metering.model import CallStatus
from nodes.cli.main import main
from registry.credit import consents
from tests.exchange.conftest import Market
from tests.exchange.test_reports import SUBJECT, Subject
from tests.support.browser import PATIENCE, axe_findings, chromium, console_messages
from tests.support.console import served
from tests.support.node_console import console_of
from tests.support.waiting import wait_for
from tests.support.wallet import add_wallet

pytestmark = pytest.mark.system
T = TypeVar("T")
PHONE = {"width": 360, "height": 740}


class KeyedSubject(Subject):
    """A firm that keeps the key of its consent."""

    consent_key: bytes = b""

    def certified(self, purpose: str, office: Any) -> tuple[bytes, dict[str, Any]]:
        key, shown = super().certified(purpose, office)
        self.consent_key = key
        return key, shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def places(market: Market) -> Iterator[dict[str, str]]:
    """The consoles of department and bank."""
    with (
        served(console_of(market.department)) as department,
        served(console_of(market.bank)) as bank,
    ):
        yield {"department": department, "bank": bank}


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/my/login")
    assert axe_findings(page) == []
    page.get_by_role("button", name="从浏览器钱包读取").click()
    expect(page.locator("#key")).not_to_have_value("")
    page.get_by_role("button", name="下一步").click()
    expect(page.locator("h1")).to_have_text("签署登录请求")
    assert axe_findings(page) == []
    page.locator("[data-wallet-sign]").click()
    expect(page.locator("h1")).to_contain_text("您好")


def apart(work: Callable[[], T]) -> T:
    """Run what has an event loop of its own: Playwright's runs in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"])


def test_a_firm_sees_who_looked_takes_the_proof_and_withdraws_its_consent(
    browser: Browser, market: Market, places: dict[str, str], tmp_path: Path
) -> None:
    firm = KeyedSubject(market)

    def looked_at() -> tuple[bytes, dict[str, str]]:
        """An agreement, and the query of a call under it that the firm consented to."""
        market.offer()
        agreement = market.open(market.grant(purpose="credit-assessment"), cap=10_000)
        consented = {"purpose": "credit-assessment", "consent": firm.consents()}
        query = {"subject": SUBJECT, **consented}
        assert market.call(agreement, **query).status == CallStatus.SERVED
        market.anchor()
        return agreement, query

    agreement, query = apart(looked_at)
    consent = query["consent"]
    context = browser.new_context(locale="zh-CN", viewport=PHONE)
    context.set_default_timeout(2 * PATIENCE)
    page = context.new_page()
    add_wallet(page, firm.consent_key)
    errors = console_messages(page)

    log_in(page, places["department"])
    page.get_by_role("link", name="谁查询了我的记录").first.click()
    entry = page.locator(".entries > li").first
    expect(entry).to_contain_text("信用评估")
    expect(entry).to_contain_text("seniority、age")
    assert axe_findings(page) == []
    assert fits(page)
    with page.expect_download() as download:
        entry.get_by_role("link", name="下载证明").click()
    download.value.save_as(tmp_path / "look.json")
    (tmp_path / "trust.json").write_bytes(dumps(market.trust.to_json()))
    proved = ["verify", str(tmp_path / "look.json"), "--trust", str(tmp_path / "trust.json")]
    assert main(proved) == 0
    page.get_by_role("button", name="核对清单是否完整").click()
    expect(page.get_by_role("status").last).to_be_visible()
    assert axe_findings(page) == []
    assert fits(page)
    page.goto(places["department"] + "/my/records")
    expect(page.get_by_text("fixed").first).to_be_visible()
    assert axe_findings(page) == []
    assert fits(page)

    log_in(page, places["bank"])
    page.goto(places["bank"] + "/my/consents")
    expect(page.locator(".entries")).to_contain_text("有效")
    assert axe_findings(page) == []
    assert fits(page)
    page.get_by_role("link", name="撤回…").first.click()
    assert axe_findings(page) == []
    assert fits(page)
    page.locator("[data-wallet-sign]").click()
    expect(page.get_by_text("已提交上链").first).to_be_visible()

    def withdrawn() -> bool | None:
        market.bank.outbox.wake()
        market.settle()
        status = consents.consent_status(market.bank.context, bytes.fromhex(consent[2:]))
        return status.withdrawn_at > 0 or None

    apart(lambda: wait_for(withdrawn, "the withdrawal"))
    page.goto(places["bank"] + "/my/consents")
    expect(page.locator(".entries")).to_contain_text("已撤回")
    refused = apart(lambda: market.call(agreement, **query))
    assert (refused.status, refused.reason) == (CallStatus.REFUSED, "consent_withdrawn")
    page.goto(places["bank"] + "/my/looks")
    expect(page.locator(".entries > li").first).to_contain_text("consent_withdrawn")
    assert errors == []
    context.close()


def test_the_pages_of_subjects_are_accessible_in_english(
    browser: Browser, places: dict[str, str]
) -> None:
    context = browser.new_context(locale="en", viewport=PHONE)
    context.set_default_timeout(2 * PATIENCE)
    page = context.new_page()
    for path in ("/my/login", "/my/help"):
        page.goto(places["department"] + path)
        assert axe_findings(page) == [], path
        assert fits(page), path
    context.close()
