"""The console in a real browser, on a real node: first log-in, pages, accessibility."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import IN_TURN, LANGUAGES, axe_findings, chromium, console_messages
from tests.support.console import PASSWORD
from tests.support.console_network import ConsoleNode, running_node
from tests.support.turns import in_turn
from tests.support.waiting import wait_for

pytestmark = pytest.mark.system

PUBLICATION = {
    "name": "employment",
    "source": "people",
    "description": {
        "titleZh": "从业信息<script>",
        "titleEn": "Employment",
        "description": "Test records",
        "grade": 3,
    },
    "masking": {"age": "range:10", "area": "keep", "note": "drop"},
    "purposes": {"statistics": {"consent": False}},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def node(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleNode]:
    """A department's node that has published one asset. Not started where there is no browser."""
    with running_node(tmp_path_factory.mktemp("console")) as running:
        client = running.organisation.client("clerk")
        asset = client.post("/v1/assets", PUBLICATION)
        wait_for(
            lambda: client.get("/v1/assets?q=employment")["assets"] or None, asset["operation"]
        )
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    yield opened
    context.close()


def accept(page: Page, link: str) -> None:
    """Follow a one-time link and set a password, by keyboard alone."""
    page.goto(link)
    page.locator("#password").focus()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("您好")


def test_a_clerk_finds_an_asset_and_its_proof(node: ConsoleNode, page: Page) -> None:
    errors = console_messages(page)
    accept(page, node.invite("clerk-1", "clerk"))
    page.get_by_role("link", name="数据目录").first.click()
    expect(page.get_by_role("cell", name="employment")).to_be_visible()
    page.get_by_role("link", name="employment", exact=True).click()
    page.get_by_role("link", name="#").first.click()
    expect(page.locator("h1")).to_have_text("数据资产登记")
    expect(page.get_by_text("AssetRegistry")).to_be_visible()
    asset = page.url.rsplit("/", 1)[1]
    page.goto(f"{node.url}/grants/request?asset={asset}")
    expect(page.locator("input[name=columns]")).to_have_count(2)
    page.get_by_role("link", name="成员单位").first.click()
    page.get_by_role("link", name="市社保局").last.click()
    expect(page.get_by_role("cell", name="声明签署")).to_be_visible()
    page.get_by_role("link", name="节点状态").click()
    expect(page.get_by_role("cell", name="数据库")).to_be_visible()
    assert errors == []


@IN_TURN
def test_the_pages_have_no_serious_accessibility_finding_in_either_language(
    node: ConsoleNode, page: Page, of: int
) -> None:
    accept(page, node.invite(f"auditor-1-{of}", "auditor", "administrator"))
    page.goto(node.url + "/assets")
    detail = page.locator("tbody a").first.get_attribute("href")
    paths = ("/", "/assets", detail, "/acts", "/accounts", "/account", "/nothing")
    for turn, language in enumerate(LANGUAGES):
        page.get_by_role("button", name=language).click()
        for path in in_turn(paths, turn, of):
            page.goto(node.url + str(path))
            assert axe_findings(page) == [], path


@pytest.mark.parametrize("width", [360, 768, 1920, 3840])
def test_no_page_is_wider_than_its_window(node: ConsoleNode, page: Page, width: int) -> None:
    accept(page, node.invite(f"auditor-{width}", "auditor", "administrator"))
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", "/assets", "/acts", "/accounts", "/account", "/nothing"):
        page.goto(node.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_page_loads_nothing_from_elsewhere(node: ConsoleNode, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(node.url + "/login")
    assert asked
    assert [url for url in asked if not url.startswith(node.url)] == []
