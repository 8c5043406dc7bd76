"""Every sentence of the console has a Chinese translation, and none is left over."""

from __future__ import annotations

import re
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from nodes.console.i18n import CONSOLE

KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}
PLACEHOLDER = re.compile(r"%\(\w+\)s")
LONE_PERCENT = re.compile(r"%(?!\(\w+\)[sd])")
"""Breaks the page: ``%`` begins a value's name, and a per cent sign is written ``%%``."""


def written() -> dict[str, str]:
    """Each message of templates and code, and the file that has it."""
    found: dict[str, str] = {}
    for file, _line, message, _comments, _context in extract_from_dir(
        str(CONSOLE),
        method_map=[
            ("**/node_modules/**", "ignore"),
            ("**/templates/**.html", "jinja2.ext:babel_extract"),
            ("**.py", "python"),
        ],
        keywords=KEYWORDS,
        directory_filter=lambda path: "node_modules" not in path,
    ):
        found.setdefault(message if isinstance(message, str) else message[0], file)
    return found


def translated() -> dict[str, tuple[Path, str]]:
    """Each translation and the file that has it."""
    found: dict[str, tuple[Path, str]] = {}
    for path in CONSOLE.glob("**/zh_CN.po"):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh_CN"):
                key = message.id if isinstance(message.id, str) else message.id[0]
                text = message.string if isinstance(message.string, str) else message.string[0]
                if key:
                    assert key not in found, f"{key!r} is translated twice"
                    found[key] = (path, text)
    return found


def test_every_message_has_a_chinese_translation() -> None:
    known = translated()
    missing = {message: file for message, file in written().items() if message not in known}
    assert missing == {}


def test_no_translation_is_empty_or_left_over() -> None:
    used = written()
    known = translated()
    assert [key for key, (_, text) in known.items() if not text] == []
    assert [key for key in known if key not in used] == []


def test_a_translation_names_the_same_values() -> None:
    differing = [
        key
        for key, (_, text) in translated().items()
        if set(PLACEHOLDER.findall(key)) != set(PLACEHOLDER.findall(text))
    ]
    assert differing == []


def test_a_per_cent_sign_is_written_twice() -> None:
    broken = [
        key
        for key, (_, text) in translated().items()
        if any(LONE_PERCENT.search(message.replace("%%", "")) for message in (key, text))
    ]
    assert broken == []
