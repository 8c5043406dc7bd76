"""The bundle verifier's page in a real browser, opened from a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from chain.core.canonical import dumps
from scripts.verifier_page import PAGE
from tests.support.browser import axe_findings, chromium, console_messages

pytestmark = pytest.mark.system

RECORDED = Path(__file__).parents[1] / "data" / "bundles"
TRUST = RECORDED / "trust.json"
HOSTILE = "\u202e<img src=x onerror=alert(1)>\x1b[2J" + "x" * 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """The page, whose requests and errors are none but for the file itself."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    requests: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    messages = console_messages(opened)
    opened.goto(PAGE.as_uri())
    yield opened
    assert requests == [PAGE.as_uri()]
    assert messages == []
    context.close()


def load(page: Page, bundle: Path, trust: Path = TRUST) -> None:
    page.locator("#trust").set_input_files(trust)
    page.locator("#bundle").set_input_files(bundle)


@pytest.mark.parametrize("name", ["trade", "lane", "look", "grant", "credit", "property"])
def test_a_recorded_bundle_is_valid_in_a_browser(page: Page, name: str) -> None:
    bundle = RECORDED / f"{name}.json"
    load(page, bundle)
    verdict = page.locator("#verdict")
    expect(verdict.locator("h2")).to_have_text("VALID")
    expect(verdict).to_contain_text("cannot prove that nobody looked earlier")
    for path in (bundle, TRUST):
        expect(verdict).to_contain_text(hashlib.sha256(path.read_bytes()).hexdigest())


def test_an_altered_bundle_is_refused_with_its_code(page: Page, tmp_path: Path) -> None:
    value = json.loads((RECORDED / "trade.json").read_bytes())
    value["statements"][0]["message"]["price"] = "1"
    altered = tmp_path / "altered.json"
    altered.write_bytes(dumps(value))
    load(page, altered)
    verdict = page.locator("#verdict")
    expect(verdict.locator("h2")).to_have_text("NOT VALID")
    expect(verdict).to_contain_text("signer_unknown")
    expect(verdict).to_contain_text("Nobody known to the network signed the")
    load(page, RECORDED / "trade.json")
    expect(verdict.locator("h2")).to_have_text("VALID")


def test_text_of_a_bundle_is_shown_escaped_and_cut(page: Page, tmp_path: Path) -> None:
    value = json.loads((RECORDED / "trade.json").read_bytes())
    value["story"] = HOSTILE
    hostile = tmp_path / "hostile.json"
    hostile.write_bytes(dumps(value))
    load(page, hostile)
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("profile_unknown")
    expect(verdict).to_contain_text(r"\u202e<img src=x onerror=alert(1)>\x1b[2J")
    assert page.locator("img").count() == 0
    assert len(verdict.inner_text()) < 3_000


def test_the_page_is_used_by_keyboard_in_chinese_and_is_accessible(page: Page) -> None:
    load(page, RECORDED / "grant.json")
    expect(page.locator("#verdict h2")).to_have_text("VALID")
    assert axe_findings(page) == []
    page.keyboard.press("Tab")
    for _ in range(8):
        if page.evaluate("document.activeElement.id") == "language":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict h2")).to_have_text("有效")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.locator("#verdict")).to_contain_text("首席数据官")
    assert axe_findings(page) == []


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    load(page, RECORDED / "property.json")
    expect(page.locator("#verdict h2")).to_have_text("VALID")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
