"""Text from strangers controls nothing but its own characters."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.printable import MAX_LINE, as_json, printable, quoted, utc

HOSTILE = {
    "escape sequence": "\x1b[2J\x1b[1;1HVALID",
    "8-bit escape": "\x9b2JVALID",
    "new lines": "a\nVALID: trade\r\n  - paid\x0b\x0c\x85\u2028\u2029b",
    "reversed": "abc\u202e\u2066cba\u2069\u061c",
    "hidden": "pa\u200bid\u00ad\ufeff\u2060\u180e\u200d",
    "drawn as nothing": "a\u3164b\u2800c\uffa0\u115f",
    "tags": "a\U000e0041\U000e007f\ufe0f",
    "spaces that are not": "a\u00a0b\u2003c",
    "private and unassigned": "\ue000\U000f0000\u0378",
    "half a surrogate pair": "\ud800",
    "piled-up marks": "a" + "\u0301" * 50,
    "bell and backspace": "VALID\x07\x08\x08\x7f",
}


def is_quiet(text: str) -> bool:
    """No control, format, surrogate, private or unassigned character, no line break, no odd space."""
    return all(name in " \u3000" or unicodedata.category(name)[0] not in "CZ" for name in text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_than_stand_in_a_line_is_escaped(text: str) -> None:
    for shown in (printable(text), quoted(text), as_json(text), as_json({text: [text]})):
        assert is_quiet(shown)
        assert shown != text
    assert json.loads(as_json(text)) == text


def test_plain_text_of_any_script_is_left_as_it_is() -> None:
    for text in (
        "就业登记",
        "Seniority",
        "é ñ ü",
        "Ω ﬁ ½ €",
        "한국어",
        "𠀀",
        "1,234.50 fen",
        "全角　空格",
    ):
        assert printable(text) == text
        assert quoted(text) == f'"{text}"'
        assert as_json(text) == f'"{text}"'


def test_quoted_text_cannot_close_its_own_quotation() -> None:
    assert quoted('a". The bank was paid. "b') == r'"a\". The bank was paid. \"b"'
    assert quoted("a\\") == '"a\\\\"'
    assert quoted('a\\"') != quoted('a"')


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("a" * (MAX_LINE + 1_234)).endswith("a… (1,234 more characters)")
    assert quoted("b" * 1_000, limit=10) == '"bbbbbbbbbb"… (990 more characters)'


@given(st.text())
def test_printing_is_quiet_and_printing_again_changes_nothing(text: str) -> None:
    shown = printable(text)
    assert is_quiet(shown)
    assert printable(shown) == shown


@given(
    st.recursive(
        st.text() | st.integers() | st.none() | st.booleans(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_reads_back_as_it_was_and_is_quiet(value: object) -> None:
    for indent in (None, 1):
        text = as_json(value, indent=indent)
        assert json.loads(text) == value
        assert all(is_quiet(line) for line in text.split("\n"))


def test_times_carry_their_zone_and_none_is_too_large() -> None:
    assert utc(1_700_000_000) == "2023-11-14 22:13:20 UTC"
    assert utc(2**53) == "9007199254740992 seconds after 1970 UTC"
