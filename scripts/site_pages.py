"""A hook of ``mkdocs``: the navigation lists every protocol and every decision by the title that
its page has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

SECTIONS = {"Joint models": "protocols", "Decisions": "adr"}
"""Sections of the navigation, each filled from a folder of ``docs/``."""
ELSEWHERE = re.compile(r"""<script src=["']?https?://[^>]*></script>""")


def on_config(config: Any, **_: Any) -> Any:
    """Fill the sections before ``mkdocs`` reads the navigation."""
    docs = Path(config["docs_dir"])
    for section in config["nav"]:
        for name, folder in SECTIONS.items():
            if name in section:
                section[name] = [
                    {title(page): f"{folder}/{page.name}"}
                    for page in sorted((docs / folder).glob("*.md"))
                ]
    return config


def title(page: Path) -> str:
    """A page's first heading."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("# ") for line in lines if line.startswith("# "))


def on_post_page(output: str, **_: Any) -> str:
    """Leave out the one script that the theme would fetch from elsewhere. It only lets pages be
    searched that are opened as files.
    """
    return ELSEWHERE.sub("", output)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page that says that a page does not exist."""
    return ELSEWHERE.sub("", output_content)
