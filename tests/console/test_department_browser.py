"""A data clerk in a real browser, on real nodes: a file with a fault is corrected, previewed and
registered, and a bank finds it; a bank's demand is answered with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.test_browser import accept
from tests.support.browser import axe_findings, chromium, console_messages
from tests.support.console_network import ConsoleNode, running_department_and_bank
from tests.support.waiting import wait_for

pytestmark = pytest.mark.system

FAULTY = "编号,年龄,地区\nA1,31,华侨城\nA1,42,北新区\n".encode("gb18030")
MENDED = "编号,年龄,地区\nA1,31,华侨城\nB2,42,北新区\n".encode("gb18030")
NARROW = 360
BUSY_MS = 60_000
"""A bound for what a busy machine may delay, not a measure."""
expect.set_options(timeout=BUSY_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def nodes(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConsoleNode, ConsoleNode]]:
    with running_department_and_bank(tmp_path_factory.mktemp("department")) as running:
        yield running


def opened(browser: Browser) -> Page:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(BUSY_MS)
    return page


def require_sound(page: Page) -> None:
    """No serious accessibility finding, and nothing wider than a telephone."""
    assert axe_findings(page) == [], page.url
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW, page.url
    page.set_viewport_size({"width": 1280, "height": 800})


def test_a_file_with_a_fault_becomes_an_asset_that_a_bank_finds(
    browser: Browser, nodes: tuple[ConsoleNode, ConsoleNode]
) -> None:
    department, bank = nodes
    page = opened(browser)
    errors = console_messages(page)
    accept(page, department.invite("clerk-1", "clerk"))
    page.goto(department.url + "/publish")
    require_sound(page)
    faulty = {"name": "人员.csv", "mimeType": "text/csv", "buffer": FAULTY}
    page.locator("#file").set_input_files(faulty)
    page.get_by_role("button", name="上传并检查").click()
    expect(page.get_by_role("cell", name="主体标识重复")).to_be_visible()
    expect(page.get_by_role("cell", name="A1")).to_be_visible()
    require_sound(page)
    page.locator("#file").set_input_files({**faulty, "buffer": MENDED})
    page.get_by_role("button", name="上传并检查").click()
    expect(page.get_by_text("未发现问题")).to_be_visible()
    page.reload()
    page.get_by_role("link", name="继续").click()
    page.get_by_label("年龄 的脱敏方式").select_option("range")
    page.get_by_label("年龄 的数值").fill("10")
    page.get_by_label("地区 的脱敏方式").select_option("keep")
    require_sound(page)
    page.get_by_role("button", name="保存并预览").click()
    delivered = page.get_by_role("region", name="实际提供的内容")
    expect(delivered.get_by_role("cell", name="30-39")).to_be_visible()
    expect(delivered.get_by_role("cell", name="A1")).to_have_count(0)
    require_sound(page)
    page.get_by_role("link", name="继续").click()
    page.locator("#title_zh").fill("人员信息")
    page.locator("#title_en").fill("People")
    page.locator("#name").fill("people-of-the-city")
    page.locator("#description").fill("测试记录")
    page.get_by_label("统计分析", exact=True).check()
    require_sound(page)
    page.get_by_role("button", name="保存并继续").click()
    require_sound(page)
    page.get_by_role("button", name="登记", exact=True).click()
    page.get_by_role("link", name="查看登记进度").click()
    expect(page.locator("#operation .state")).to_have_text("已上链")
    _listed(department)
    page.get_by_role("link", name="返回").click()
    expect(page.get_by_text("可以读取")).to_be_visible()
    require_sound(page)
    for path in ("/usage", "/earnings", "/record-disputes", "/demands"):
        page.goto(department.url + path)
        require_sound(page)
    assert errors == []

    buyer = opened(browser)
    accept(buyer, bank.invite("buyer-1", "clerk"))
    _listed(bank)
    buyer.goto(bank.url + "/assets")
    expect(buyer.get_by_role("link", name="people-of-the-city")).to_be_visible()
    _demand_is_answered(page, buyer, department, bank)


def _listed(node: ConsoleNode) -> None:
    """Wait until a node's catalogue has the asset."""
    path = "/v1/assets?q=people-of-the-city"
    client = node.organisation.client("clerk")
    wait_for(lambda: client.get(path)["assets"] or None, "the catalogue")


def _demand_is_answered(
    clerk: Page, buyer: Page, department: ConsoleNode, bank: ConsoleNode
) -> None:
    buyer.goto(bank.url + "/demands")
    buyer.locator("#title").fill("餐饮企业用水量")
    buyer.locator("#text").fill("用于估算营业收入。")
    require_sound(buyer)
    buyer.get_by_role("button", name="发布").click()
    expect(buyer.locator("h1")).to_have_text("餐饮企业用水量")
    wait_for(
        lambda: (
            department.organisation.client("clerk").get("/v1/received-demands")["demands"] or None
        ),
        "the demand at the department",
    )
    clerk.goto(department.url + "/demands")
    clerk.get_by_role("link", name="餐饮企业用水量").click()
    require_sound(clerk)
    clerk.get_by_role("button", name="发送答复").click()
    expect(clerk.get_by_text("本部门已答复")).to_be_visible()
    buyer.reload()
    expect(buyer.get_by_role("link", name="people-of-the-city")).to_be_visible()
    require_sound(buyer)
