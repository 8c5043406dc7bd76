"""The auditor of a supervisor and the operator's clerk, in a real browser on three real nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.test_browser import PUBLICATION, accept
from tests.support.browser import (
    IN_TURN,
    LANGUAGES,
    PATIENCE,
    axe_findings,
    chromium,
    console_messages,
)
from tests.support.console_network import ConsoleNode, running_network
from tests.support.turns import in_turn
from tests.support.waiting import wait_for

pytestmark = pytest.mark.system

Nodes = tuple[ConsoleNode, ConsoleNode, ConsoleNode]
PATHS = (
    "/network",
    "/flows",
    "/validators",
    "/nodes",
    "/trace",
    "/reconciliation",
    "/violations",
    "/freeze",
    "/clearing",
    "/verifier",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def nodes(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A department that has published an asset, the operator and the supervisor."""
    with running_network(tmp_path_factory.mktemp("supervision")) as running:
        department, operator, supervisor = running
        department.organisation.client("clerk").post("/v1/assets", PUBLICATION)
        deposit = {"member": department.organisation.member, "amount": 12_345, "reference": "1"}
        operator.organisation.client("clerk").post("/v1/deposits", deposit)
        auditor = supervisor.organisation.client("auditor")
        wait_for(lambda: auditor.get("/v1/assets?q=employment")["assets"] or None, "the asset")
        wait_for(
            lambda: auditor.get("/v1/clearing/days")["days"][0]["sums"]["entries"] or None,
            "the deposit",
        )
        wait_for(
            lambda: all(row["askedAt"] for row in auditor.get("/v1/network/nodes")["nodes"]),
            "the nodes' answers",
        )
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(2 * PATIENCE)
    opened = context.new_page()
    yield opened
    context.close()


def test_an_auditor_watches_the_network_and_traces_a_record(nodes: Nodes, page: Page) -> None:
    department, _, supervisor = nodes
    errors = console_messages(page)
    accept(page, supervisor.invite("auditor-1", "auditor"))
    page.get_by_role("link", name="全网实时").first.click()
    expect(page.get_by_text("正常成员")).to_be_visible()
    expect(page.locator(".figures a[href='/nodes']")).to_have_text("2 / 2")
    page.get_by_role("link", name="节点与证书").first.click()
    expect(page.get_by_role("link", name="市社保局")).to_be_visible()
    expect(page.get_by_text("剩余").first).to_be_visible()
    page.get_by_role("link", name="记录溯源").first.click()
    asset = supervisor.organisation.client("auditor").get("/v1/assets?q=employment")["assets"][0]
    page.get_by_label("标识、成员代码或日志位置").fill(asset["assetId"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="追溯来源")).to_be_visible()
    expect(page.get_by_role("heading", name="市社保局")).to_be_visible()
    page.get_by_role("link", name="查看证明").first.click()
    expect(page.locator("h1")).to_have_text("数据资产登记")
    page.goto(f"{supervisor.url}/trace?q={department.organisation.member}/0")
    expect(page.get_by_text("日志检查点所含条目数")).to_be_visible()
    assert errors == []


def test_an_auditor_starts_a_run_and_sees_it_end(nodes: Nodes, page: Page) -> None:
    supervisor = nodes[2]
    accept(page, supervisor.invite("auditor-2", "auditor"))
    page.goto(supervisor.url + "/reconciliation")
    page.get_by_role("button", name="立即核对全部协议").click()
    expect(page.get_by_text("已完成")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("cell", name="是", exact=True)).to_be_visible()


def test_an_officer_holds_an_asset_and_releases_it(nodes: Nodes, page: Page) -> None:
    supervisor = nodes[2]
    accept(page, supervisor.invite("officer-1", "chief_data_officer"))
    asset = supervisor.organisation.client("auditor").get("/v1/assets?q=employment")["assets"][0]
    page.goto(f"{supervisor.url}/freeze?asset={asset['assetId']}")
    page.get_by_role("button", name="冻结", exact=True).click()
    page.wait_for_url("**/operations/**")

    def held() -> bool:
        page.goto(supervisor.url + "/freeze")
        return page.get_by_role("button", name="解除冻结").is_visible()

    wait_for(held, "the hold")
    page.get_by_role("button", name="解除冻结").click()
    page.wait_for_url("**/operations/**")


def test_an_operator_reads_the_book_of_today_which_cannot_be_closed(
    nodes: Nodes, page: Page
) -> None:
    operator = nodes[1]
    accept(page, operator.invite("clerk-1", "clerk"))
    page.get_by_role("link", name="清算账簿").first.click()
    page.locator("tbody a").first.click()
    expect(page.get_by_role("cell", name="123.45").first).to_be_visible()
    expect(page.get_by_role("button", name="日终关账")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="导出").click()
    assert "12345" in download.value.path().read_text(encoding="utf-8-sig")


@IN_TURN
def test_the_pages_are_accessible_and_fit_a_telephone(nodes: Nodes, page: Page, of: int) -> None:
    supervisor = nodes[2]
    roles = ("auditor", "administrator", "chief_data_officer")
    accept(page, supervisor.invite(f"auditor-3-{of}", *roles))
    for turn, language in enumerate(LANGUAGES):
        page.get_by_role("button", name=language).click()
        for path in in_turn(PATHS, turn, of):
            page.goto(supervisor.url + path)
            assert axe_findings(page) == [], path
    page.set_viewport_size({"width": 360, "height": 800})
    for path in PATHS:
        page.goto(supervisor.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
