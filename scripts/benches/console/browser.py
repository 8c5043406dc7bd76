"""What a person waits for in a browser: a page's first paint, and the verdict on a bundle."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from chain.core.errors import Unavailable
from scripts.demo_steps import screenshots
from scripts.verifier_page import PAGE

RUNS = 5
RECORDED = Path(__file__).parents[3] / "tests" / "data" / "bundles"
_PAINTED = """() => new Promise(resolve => {
    const painted = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const look = () => painted() === undefined ? requestAnimationFrame(look) : resolve(painted());
    look();
})"""
_EMPTY = "data:text/html,<p>empty</p>"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's browser, which reaches nothing but loopback; ``browser_missing``."""
    program = screenshots.chromium()
    if program is None:
        raise Unavailable(
            "browser_missing",
            "There is no Chromium on this machine.",
            hint="Install it: apt-get install chromium",
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        try:
            yield browser
        finally:
            browser.close()


def first_paint(browser: Browser, link: str, address: str, pages: Sequence[str]) -> float:
    """Milliseconds until something of a page is painted, in a browser that has loaded none of it
    before: the slowest of the pages' medians.

    Args:
        link: the one-time link of a person.
        address: where the console is.
    """
    context = browser.new_context(locale="zh-CN")
    context.new_page().goto(link)
    cookies = context.cookies()
    context.close()
    found = []
    for page in pages:
        times = []
        for _ in range(RUNS):
            context = browser.new_context(locale="zh-CN")
            context.add_cookies([{**cookie} for cookie in cookies])  # type: ignore[typeddict-item]
            times.append(_paint(context.new_page(), address + page))
            context.close()
        found.append(statistics.median(times))
    return max(found)


def empty_paint(browser: Browser) -> float:
    """The same of a page without anything on it."""
    times = []
    for _ in range(RUNS):
        context = browser.new_context()
        times.append(_paint(context.new_page(), _EMPTY))
        context.close()
    return statistics.median(times)


def _paint(page: Page, address: str) -> float:
    page.goto(address)
    return float(page.evaluate(_PAINTED))


def bundle_check(browser: Browser) -> dict[str, float]:
    """Milliseconds from the choice of a bundle to its verdict, by the bundle's name."""
    found = {}
    for file in sorted(RECORDED.glob("*.json")):
        if file.stem == "trust":
            continue
        times = []
        for _ in range(RUNS):
            context = browser.new_context(locale="en-GB")
            page = context.new_page()
            page.goto(PAGE.as_uri())
            page.locator("#trust").set_input_files(RECORDED / "trust.json")
            page.evaluate("window.began = performance.now()")
            page.locator("#bundle").set_input_files(file)
            verdict = page.wait_for_function(
                """() => { const shown = document.querySelector("#verdict h2");
                    return shown && [shown.textContent, performance.now() - window.began]; }"""
            ).json_value()
            if verdict[0] != "VALID":
                raise ValueError(f"{file.name} is not valid in the browser")
            times.append(float(verdict[1]))
            context.close()
        found[file.stem] = statistics.median(times)
    return found
