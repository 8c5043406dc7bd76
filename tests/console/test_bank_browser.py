"""A bank's clerk in a real browser, on real nodes: from the catalogue to a file of calls with one
bad row, spending to the fen, and a credit report as a PDF.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pypdf import PdfReader

from tests.console.test_browser import accept
from tests.support.browser import (
    IN_TURN,
    LANGUAGES,
    axe_findings,
    chromium,
    console_messages,
)
from tests.support.console_market import PRICE, PURPOSE, SUBJECT, ConsoleMarket, running_market
from tests.support.turns import in_turn
from tests.support.waiting import wait_for

pytestmark = pytest.mark.system
SECONDS = 60_000
"""A bound in milliseconds for what a busy machine may delay, not a measure."""
FILE = f"主体,名称\n{SUBJECT},甲\nB2,乙\n9.24407E+17,丙\nD4,丁\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def market(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleMarket]:
    """Not started where there is no browser."""
    with running_market(tmp_path_factory.mktemp("market")) as running:
        running.publish()
        running.consented()
        yield running


@pytest.fixture(scope="module")
def statistics(market: ConsoleMarket) -> str:
    """An agreement for statistics."""
    return market.agreed("statistics", 10 * PRICE)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(SECONDS)
    yield opened
    context.close()


def test_a_clerk_hands_in_a_file_with_one_bad_row_and_sees_what_it_cost(
    market: ConsoleMarket, statistics: str, page: Page
) -> None:
    errors = console_messages(page)
    accept(page, market.bank.invite("clerk-1", "clerk"))
    url = market.bank.url

    client = market.client("bank", "clerk")
    what = "the catalogue to have read the department's offer"
    path = "/v1/catalogue?column=age&price=1-10"
    wait_for(lambda: client.get(path)["assets"] or None, what, seconds=180)
    page.goto(f"{url}/assets?q=人员&column=age&price=1-10")
    page.get_by_role("link", name="people", exact=True).click()
    expect(page.get_by_text("请本单位处理。")).to_be_visible()
    page.get_by_role("link", name="签署并开立协议").click()
    page.get_by_role("link", name="提交主体文件").click()
    table = {"name": "客户.csv", "mimeType": "text/csv", "buffer": FILE.encode("gb18030")}
    page.set_input_files("#table", files=[table])  # type: ignore[list-item]
    page.locator("input[name=columns]").first.check()
    page.get_by_role("button", name="检查文件").click()
    expect(page.locator("h1")).to_have_text("客户.csv")
    expect(page.get_by_text("subject_rounded")).to_be_visible()
    expect(page.locator("dd strong")).to_have_text("3.69")
    page.get_by_role("button", name="开始调用").click()
    expect(page.get_by_role("status").filter(has_text="已完成")).to_be_visible(timeout=SECONDS)
    page.reload()
    expect(page.get_by_text("subject_unknown")).to_be_visible()
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="导出结果 CSV").click()
    text = Path(downloaded.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert [row[3] for row in rows[1:]] == ["", "", "subject_rounded", "subject_unknown"]
    assert [row[5] for row in rows[1:]] == ["1.23", "1.23", "0.00", "0.00"]
    assert rows[1][-1] == "30-39"
    page.get_by_role("link", name="打开").first.click()
    expect(page.get_by_text("30-39")).to_be_visible()
    page.goto(f"{url}/spending")
    expect(page.locator(".figures b").first).to_have_text("2.46")
    page.goto(f"{url}/assets/{market.asset_id}")
    expect(page.get_by_text("手续齐备，可以调用。")).to_be_visible()
    assert errors == []


def test_a_clerk_makes_a_credit_report_and_takes_it_as_a_pdf(
    market: ConsoleMarket, page: Page
) -> None:
    market.agreed(PURPOSE, 10 * PRICE)
    accept(page, market.bank.invite("clerk-2", "clerk"))
    page.goto(f"{market.bank.url}/consents")
    expect(page.get_by_text("同意书允许")).to_be_visible()
    page.get_by_role("link", name=SUBJECT).click()
    page.get_by_role("button", name="生成报告").click()
    expect(page.locator("h1")).to_have_text("一站式信用报告")
    expect(page.get_by_text("30-39")).to_be_visible()

    def anchored() -> bool:
        page.reload()
        return page.get_by_text("尚未锚定").count() == 0

    wait_for(lambda: anchored() or None, "the report's query to be anchored")
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="下载 PDF").click()
    made = PdfReader(downloaded.value.path())
    text = "\n".join(sheet.extract_text() for sheet in made.pages)
    for shown in ("一站式信用报告", "江门银行", SUBJECT, "30-39", "华侨城", "clerk-2 王"):
        assert shown in text, text
    assert "qiaolian credit bundle 0x" in text.replace("\n", " ")
    assert all("clerk-2 王 (clerk-2)" in sheet.extract_text() for sheet in made.pages)


@IN_TURN
def test_the_banks_pages_have_no_serious_accessibility_finding_and_fit_a_telephone(
    market: ConsoleMarket, statistics: str, page: Page, of: int
) -> None:
    accept(page, market.bank.invite(f"clerk-3-{of}", "clerk"))
    url = market.bank.url
    paths = (
        "/assets",
        f"/assets/{market.asset_id}",
        "/call-files",
        f"/call-files/new?agreement={statistics}",
        "/consents",
        "/reports",
        f"/reports/new?subject={SUBJECT}",
        "/spending",
    )
    for turn, language in enumerate(LANGUAGES):
        page.get_by_role("button", name=language).click()
        for path in in_turn(paths, turn, of):
            page.goto(url + path)
            assert axe_findings(page) == [], path
        page.set_viewport_size({"width": 360, "height": 800})
        for path in in_turn(paths, turn, of):
            page.goto(url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        page.set_viewport_size({"width": 1280, "height": 800})
