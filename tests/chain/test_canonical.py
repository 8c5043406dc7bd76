"""Canonical JSON: one text a value, and nothing else is read, however hostile."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from chain.core.canonical import MAX_BYTES, MAX_DEPTH, dumps, loads, loads_canonical, same
from chain.core.errors import Malformed

LIMIT = 2**53 - 1

# RFC 8785's own examples (3.2.2, 3.2.3) and its authors' test data, without their fractions.
VECTORS = {
    "serialisation": (
        r'{"string":"\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}',
        r"""{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}""",
    ),
    "sorting by UTF-16 units": (
        r"""{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
             "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}""",
        '{"\\r":"Carriage Return","1":"One","\x80":"Control","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign",'
        '"😀":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
    ),
    "arrays": (
        '[\n  56,\n  {\n    "d": true,\n    "10": null,\n    "1": [ ]\n  }\n]',
        '[56,{"1":[],"10":null,"d":true}]',
    ),
    "structures": (
        r'{"1":{"f":{"f":"hi","F":5},"\n":56},"10":{},"":"empty","a":{},"111":[{"e":"yes","E":"no"}],"A":{}}',
        r'{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}',
    ),
    "no normalisation": (
        '{"Unnormalized Unicode":"A\\u030a"}',
        '{"Unnormalized Unicode":"A\u030a"}',
    ),
}


def code_of(data: bytes, read: Any = loads) -> str:
    with pytest.raises(Malformed) as caught:
        read(data)
    assert caught.value.exit_code == 10
    return caught.value.code


@pytest.mark.parametrize("name", VECTORS)
def test_the_standards_vectors_have_their_canonical_bytes(name: str) -> None:
    given_text, canonical = VECTORS[name]
    assert dumps(loads(given_text.encode())) == canonical.encode()
    assert loads_canonical(canonical.encode()) == json.loads(given_text)
    assert code_of(given_text.encode(), loads_canonical) == "json_not_canonical"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LIMIT, LIMIT)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert loads_canonical(dumps(value)) == value


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(anything)
def test_the_quick_writer_and_the_standards_never_differ(value: Any) -> None:
    def outcome(write: Callable[[Any], bytes]) -> object:
        try:
            return write(value)
        except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
            return type(error)

    assert outcome(dumps) == outcome(rfc8785.dumps)


@given(values)
def test_any_other_text_of_the_same_value_is_not_canonical(value: Any) -> None:
    for text in (json.dumps(value, indent=1), json.dumps(value) + "\n", " " + json.dumps(value)):
        if text.encode() != dumps(value):
            assert loads(text.encode()) == value
            assert code_of(text.encode(), loads_canonical) == "json_not_canonical"


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2}',
        '{"a": 1}',
        '["\\u0041"]',
        '["\\/"]',
        '["\\u000A"]',
        '["\\u000F"]',
        '["\\u20ac"]',
        '{"\ufb33":1,"😀":1}',
        "[1]\n",
    ],
)
def test_a_second_text_of_a_value_is_not_canonical(text: str) -> None:
    loads(text.encode())
    assert code_of(text.encode(), loads_canonical) == "json_not_canonical"


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '[{"b":{"a":1,"c":2,"a":3}}]']
)
def test_a_key_given_twice_is_refused_however_it_is_spelt(text: str) -> None:
    assert code_of(text.encode()) == "json_duplicate_key"


@pytest.mark.parametrize("number", [0, 1, -1, LIMIT, -LIMIT])
def test_whole_numbers_that_every_reader_holds_exactly_are_read(number: int) -> None:
    assert loads_canonical(str(number).encode()) == number


@pytest.mark.parametrize(
    "text",
    [
        str(LIMIT + 1),
        str(-LIMIT - 1),
        "9" * 17,
        "9" * 5_000,
        "-" + "9" * 1_000_000,
        "1.0",
        "0.1",
        "1e3",
        "1E400",
        "1e-400",
        "-0",
        "-0.0",
        "NaN",
        "Infinity",
        "-Infinity",
    ],
    ids=lambda text: text[:12],
)
def test_a_number_that_two_readers_could_hold_differently_is_refused(text: str) -> None:
    for around in ("%s", '{"a":%s}', "[0,%s]"):
        assert code_of((around % text).encode()) == "json_number_out_of_range"


@pytest.mark.parametrize("value", [LIMIT + 1, -LIMIT - 1, float("nan"), float("inf")])
def test_a_number_that_could_not_be_read_back_is_not_written(value: float) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        dumps({"a": value})


@pytest.mark.parametrize("brackets", ["[]", '{"a":', "mixed"])
def test_nesting_is_read_up_to_its_limit_and_no_further(brackets: str) -> None:
    def nested(depth: int) -> bytes:
        opening = {"[]": "[", '{"a":': '{"a":', "mixed": '[{"a":'}[brackets]
        closing = {"[]": "]", '{"a":': "}", "mixed": "}]"}[brackets]
        times = depth // 2 if brackets == "mixed" else depth
        return (opening * times + "1" + closing * times).encode()

    loads(nested(MAX_DEPTH))
    assert code_of(nested(MAX_DEPTH + 2)) == "json_too_deep"
    assert code_of(nested(1_000_000)) == "json_too_deep"


def test_brackets_in_strings_are_no_nesting() -> None:
    text = json.dumps(["[" * 1_000, '\\"' + "{" * 1_000, "]" * 1_000, {"[" * 500: '"' + "[" * 500}])
    assert loads(text.encode()) == json.loads(text)


def test_brackets_after_a_string_with_escapes_are_nesting() -> None:
    assert code_of(b'["\\\\",' + b"[" * 100) == "json_too_deep"
    assert code_of(b'["\\"",' + b"[" * 100) == "json_too_deep"
    assert code_of(b'["' + b"[" * 100) == "json_malformed"


@pytest.mark.parametrize(
    "data",
    [
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xe2\x82"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        '{"a":1}'.encode("utf-16"),
        '{"a":"ü"}'.encode("latin-1"),
    ],
)
def test_wrong_utf_8_is_refused(data: bytes) -> None:
    assert code_of(data) == "json_not_utf8"


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\udc00"', r'{"\ud83d":1}', r'["\ude00\ud83d"]', r'"\ud83d\u0041"']
)
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    for read in (loads, loads_canonical):
        assert code_of(text.encode(), read) == "json_not_unicode"


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert loads(rb'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"[1]x",
        b"[1][2]",
        b"nul",
        b"01",
        b"+1",
        b'"\n"',
        b'"\\x41"',
        b"// a\n1",
        b"\xef\xbb\xbf1",
        b"[\x00]",
        b"]" * 100,
    ],
)
def test_what_is_not_json_is_malformed(data: bytes) -> None:
    assert code_of(data) == "json_malformed"


def test_100_megabytes_are_refused_before_anything_is_made_of_them() -> None:
    data = b"[" + b" " * 99_999_998 + b"]"
    tracemalloc.start()
    try:
        assert code_of(data) == "json_too_large"
        assert code_of(data, loads_canonical) == "json_too_large"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_of_size_is_exact() -> None:
    assert loads(b" " * (MAX_BYTES - 1) + b"1") == 1
    assert code_of(b" " * MAX_BYTES + b"1") == "json_too_large"
    assert loads(b"[1]", max_bytes=3) == [1]
    assert code_of(b"[1]", lambda data: loads(data, max_bytes=2)) == "json_too_large"


@pytest.mark.parametrize(
    "hostile",
    [
        "b'\"' + b'a' * 5_000_000",
        "b'\"' + b'\\\\' * 5_000_001",
        "b'\"' + b'\\\\a' * 2_500_000",
        "b'\"\\\\' * 2_500_000",
        "b'[\"\\\\\"' * 1_500_000",
    ],
)
def test_text_made_to_be_tried_again_and_again_is_read_once(hostile: str) -> None:
    """Work that grows with the square of five megabytes would not end within any deadline."""
    program = f"""
from chain.core.canonical import loads
from chain.core.errors import Malformed
try:
    loads({hostile})
except Malformed as error:
    print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout in ("json_malformed\n", "json_too_deep\n"), done.stderr


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"b": [1, "é"], "a": None}, {"a": None, "b": [1, "é"]}, True),
        ({"a": 1}, {"a": True}, False),
        ([0], [False], False),
        ([1, 2], [2, 1], False),
        (2**53, 2**53, False),
        ("\ud800", "\ud800", False),
    ],
)
def test_values_are_the_same_when_their_canonical_bytes_are(
    one: Any, other: Any, equal: bool
) -> None:
    assert same(one, other) is equal
