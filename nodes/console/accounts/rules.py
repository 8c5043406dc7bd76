"""Rules of accounts: passwords, names, lock-out. They read no clock."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path

from chain.core.errors import BadInput
from registry.text import is_plain

MIN_PASSWORD, MAX_PASSWORD = 12, 128
MAX_NAME = 100
FREE_FAILURES = 5
"""Failed log-ins before the first wait."""
MAX_ACCOUNT_WAIT, MAX_ADDRESS_WAIT = 60, 900
"""Longest waits in seconds. An account's is short: a stranger who keeps guessing delays its owner
by at most a minute, and never locks the only administrator out.
"""

_LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}[a-z0-9]")

_COMMON = frozenset(
    (Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").split()
)
"""Common passwords long enough to pass the length rule (NIST SP 800-63B, 5.1.1.2)."""


def is_login(text: str) -> bool:
    """Whether a text has the form of a log-in name."""
    return _LOGIN.fullmatch(text) is not None


def require_login(text: str) -> str:
    """The log-in name in lowercase; ``login_malformed``."""
    login = text.strip().lower()
    if not is_login(login):
        raise BadInput(
            "login_malformed",
            "A log-in name has 3 to 64 letters a–z, digits, dots, hyphens or underscores.",
        )
    return login


def require_name(text: str) -> str:
    """The person's name in normal form C; ``person_name_malformed``."""
    name = unicodedata.normalize("NFC", text.strip())
    if not is_plain(name, limit=MAX_NAME):
        raise BadInput(
            "person_name_malformed", f"A person's name has 1 to {MAX_NAME} visible characters."
        )
    return name


def require_password(password: str, *, login: str, name: str) -> None:
    """Refuse a password that is too short, common or made of the person's name.

    Raises:
        BadInput: ``password_weak``.
    """
    folded = unicodedata.normalize("NFKC", password).casefold()
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise _weak(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    if folded in _COMMON or len(set(folded)) < 5 or _is_sequence(folded):
        raise _weak("This password is one of the first that are guessed.")
    for part in (login, name.casefold()):
        if len(part) > 2 and len(folded.replace(part, "")) < MIN_PASSWORD // 2:
            raise _weak("A password that is mostly the person's name is guessed soon.")


def wait_after(failures: int, longest: int) -> int:
    """Seconds until the next attempt is heard, after so many failures in a row."""
    if failures < FREE_FAILURES:
        return 0
    return min(longest, 1 << min(failures - FREE_FAILURES, 20))


def _is_sequence(text: str) -> bool:
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(text)}
    return len(steps) == 1 and steps <= {-1, 0, 1}


def _weak(sentence: str) -> BadInput:
    return BadInput(
        "password_weak", sentence, hint="Take several words that do not belong together."
    )
