"""Chromium on the pages of a console, and the accessibility rules of axe-core on each page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.real_parts import real_part
from tests.support.turns import turns

AXE = Path(__file__).parents[1] / "console" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
LANGUAGES = ("English", "中文")
IN_TURN = turns(len(LANGUAGES))
"""A page is checked in one language, the next one in the other; in the long run in both."""
PATIENCE = 60_000
"""Milliseconds that an expectation waits on a busy machine."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium without a window; it reaches nothing but loopback."""
    program = real_part("chromium")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            # In another locale Chromium reads no file whose path has Chinese characters.
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        try:
            yield browser
        finally:
            browser.close()


def axe_findings(page: Page) -> list[str]:
    """Serious findings of axe-core's WCAG 2.2 AA rules, as ``rule: element``."""
    script = AXE.read_text(encoding="utf-8")
    # The page's own policy lets no foreign script in: it runs outside of the page's reach.
    page.evaluate(script + "\n; window.axe = axe;")
    found: dict[str, Any] = page.evaluate(
        """() => axe.run(document, {resultTypes: ["violations"], runOnly: {type: "tag", values: [
            "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}})"""
    )
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def console_messages(page: Page) -> list[str]:
    """Collects errors that the page reports from now on, such as what its policy blocked."""
    found: list[str] = []
    page.on(
        "console", lambda message: found.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
