"""Pictures of console pages, taken by the machine's Chromium from its command line."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from chain.core.errors import Unavailable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60
WIDTH = 1_280


def chromium() -> Path | None:
    """The browser, or None where there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    return None if found is None else Path(found)


def take(url: str, picture: Path, *, height: int, language: str = "en") -> None:
    """Take a picture of a page on loopback; a one-time link is followed to where it leads.

    Raises:
        Unavailable: ``browser_missing``, ``picture_failed``.
    """
    program = chromium()
    if program is None:
        raise Unavailable(
            "browser_missing",
            "There is no Chromium on this machine.",
            hint="Install it: apt-get install chromium",
        )
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [
            str(program),
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            f"--accept-lang={language}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--window-size={WIDTH},{height}",
            "--virtual-time-budget=5000",
            f"--screenshot={picture.resolve()}",
            url,
        ]
        picture.unlink(missing_ok=True)
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _failed(url) from error
    if done.returncode != 0 or not picture.is_file():
        raise _failed(url)


def _failed(url: str) -> Unavailable:
    return Unavailable("picture_failed", f"Chromium took no picture of {url.partition('?')[0]}.")
