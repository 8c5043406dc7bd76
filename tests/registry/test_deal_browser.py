"""A property deal in the browser, from the agent's draft to the registered title: each party at its
own console, seller and buyer with their own keys on a telephone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole
from registry.property import deals
from registry.property.model import DealStage
from tests.registry.conftest import Network
from tests.registry.test_deals import Sale, put_up
from tests.support.browser import PATIENCE, axe_findings, chromium, console_messages
from tests.support.console import PASSWORD, served
from tests.support.node_console import console_of
from tests.support.waiting import wait_for
from tests.support.wallet import add_wallet

pytestmark = pytest.mark.system
PARTIES = ("agency", "tax", "bank", "registrar")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def consoles(network: Network) -> Iterator[dict[str, str]]:
    """The address of each party's console; a clerk ``deals`` may log in at each."""
    with ExitStack() as stack:
        found = {}
        for name in PARTIES:
            console = console_of(network[name])
            token = accounts.invite(
                console.context, login="deals", name="王", roles=[PersonRole.CLERK]
            )
            accounts.accept_invitation(console.context, token, PASSWORD)
            found[name] = stack.enter_context(served(console))
        yield found


@pytest.fixture
def sale(network: Network, person: Callable[[], Any]) -> Sale:
    return put_up(network, person(), person())


def clerk(browser: Browser, url: str) -> Page:
    page = browser.new_context(locale="zh-CN").new_page()
    page.set_default_timeout(2 * PATIENCE)
    page.goto(url + "/login")
    page.fill("#login", "deals")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("您好")
    return page


def test_a_deal_goes_from_draft_to_title_by_its_parties(
    browser: Browser, network: Network, consoles: dict[str, str], sale: Sale, tmp_path: Path
) -> None:
    files = {
        "title": {"title": sale.title.to_json(), "signature": "0x" + sale.title_signature.hex()},
        "seller": sale.seller_key.to_json(),
        "buyer": sale.buyer_key.to_json(),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    clerks = {name: clerk(browser, url) for name, url in consoles.items()}
    agent = clerks["agency"]
    errors = console_messages(agent)
    agent.goto(consoles["agency"] + "/deals/new")
    assert axe_findings(agent) == []
    for name in files:
        agent.set_input_files(f"#{name}", tmp_path / f"{name}.json")
    for field, value in {
        "unit": sale.number,
        "area": "120.00",
        "price": "1050000",
        "loan": "600000",
        "months": "12",
        "homes": "0",
        "tax": network["tax"].member,
        "notary": network["agency"].member,
        "bank": network["bank"].member,
    }.items():
        agent.fill(f"#{field}", value)
    agent.get_by_role("button", name="起草并发送各方").click()
    expect(agent.locator("h1")).to_contain_text(sale.number)
    deal = agent.url.rsplit("/", 1)[1]
    assert axe_findings(agent) == []

    def settled(name: str, step: str) -> None:
        def done() -> bool | None:
            network[name].outbox.wake()
            network.sync()
            found = deals.describe(network["agency"].context, bytes.fromhex(deal[2:]))
            heights = {one.step.name.lower(): one.height for one in found.steps}
            return bool(heights.get(step)) or None

        wait_for(done, step)

    for side, who in (("seller", sale.seller), ("buyer", sale.buyer)):
        phone = browser.new_context(locale="zh-CN", viewport={"width": 360, "height": 740})
        page = phone.new_page()
        page.set_default_timeout(2 * PATIENCE)
        add_wallet(page, who.key)
        page.goto(consoles["agency"] + "/my/login")
        page.fill("#key", who.address)
        page.get_by_role("button", name="下一步").click()
        page.locator("[data-wallet-sign]").click()
        expect(page.locator("h1")).to_contain_text("您好")
        page.get_by_role("link", name="我的不动产交易").first.click()
        page.get_by_role("link", name=sale.number).click()
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_role("link", name="签署…").click()
        page.locator("[data-wallet-sign]").click()
        expect(page.locator("h1")).to_contain_text(sale.number)
        settled("agency", side)
        phone.close()

    for step, name, number in (
        ("agent", "agency", ""),
        ("tax", "tax", ""),
        ("mortgage", "bank", "M-1"),
        ("notary", "agency", "N-1"),
        ("register", "registrar", "R-1"),
    ):
        page = clerks[name]
        page.goto(f"{consoles[name]}/deals?q={sale.number}")
        page.get_by_role("link", name=sale.number).click()
        if number:
            page.fill(f"#number-{step}", number)
        page.get_by_role("button", name="以本单位名义签署").click()
        settled(name, step)

    found = deals.describe(network["agency"].context, bytes.fromhex(deal[2:]))
    assert found.stage is DealStage.REGISTERED
    for name in PARTIES:
        page = clerks[name]
        page.goto(f"{consoles[name]}/deals/{deal}")
        expect(page.locator(".timeline > li.done")).to_have_count(7)
        expect(page.get_by_text("R-1").first).to_be_visible()
        assert axe_findings(page) == [], name
    page.goto(f"{consoles['registrar']}/deals/{deal}/certificate")
    assert axe_findings(page) == []
    page.emulate_media(media="print")
    expect(page.get_by_text("不动产交易办理证明").last).to_be_visible()
    assert errors == []
    for page in clerks.values():
        page.context.close()
