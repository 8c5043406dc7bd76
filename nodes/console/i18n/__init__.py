"""The console's two languages. English is written in the source; Chinese is in ``zh_CN.po`` files,
one beside the templates of each folder.

Messages are looked up when a page is rendered, in the language of that request.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from babel.messages.pofile import read_po

CONSOLE = Path(__file__).parents[1]
CHINESE, ENGLISH = "zh-CN", "en"
LANGUAGES = {CHINESE: "中文", ENGLISH: "English"}
"""Language tag and the language's own name."""

_language: ContextVar[str] = ContextVar("console_language", default=CHINESE)


def N_(message: str) -> str:
    """Mark a message for extraction; it is translated where it is shown."""
    return message


def gettext(message: str) -> str:
    """The message in the language of this request."""
    if _language.get() == ENGLISH:
        return message
    return _catalogue().get(message, message)


def ngettext(singular: str, plural: str, number: int) -> str:
    """The form of the message for a number of things."""
    if _language.get() == ENGLISH:
        return singular if number == 1 else plural
    return _catalogue().get(singular, singular)


def current_language() -> str:
    """The tag of the language of this request."""
    return _language.get()


@contextmanager
def in_language(language: str) -> Iterator[None]:
    """Translate into a language within the block."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def preferred_language(header: str) -> str:
    """The first known language of an ``Accept-Language`` header; Chinese if it names none."""
    for part in header.split(","):
        tag = part.partition(";")[0].strip().lower()
        if tag.startswith("zh"):
            return CHINESE
        if tag.startswith("en"):
            return ENGLISH
    return CHINESE


@functools.cache
def _catalogue() -> dict[str, str]:
    """Every translated message of every folder."""
    found: dict[str, str] = {}
    for path in sorted(CONSOLE.glob("**/zh_CN.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh_CN"):
                key, text = _first(message.id), _first(message.string)
                if key and text:
                    found[key] = text
    return found


def _first(text: str | Sequence[str] | None) -> str:
    """The text, or the first of its plural forms: Chinese has one form."""
    return text if isinstance(text, str) else text[0] if text else ""
