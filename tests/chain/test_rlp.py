"""RLP: one encoding a value, and every other text of it refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import rlp as independent  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from chain.core.errors import Malformed
from chain.ethereum import rlp

LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"

# The examples of the Ethereum wiki and yellow paper, and of Ethereum's own tests
# (RLPTests/rlptest.json).
VECTORS: list[tuple[rlp.Item, str]] = [
    (b"", "80"),
    (b"\x00", "00"),
    (b"\x7f", "7f"),
    (b"\x80", "8180"),
    (b"dog", "83646f67"),
    (LOREM[:55], "b7" + LOREM[:55].hex()),
    (LOREM, "b838" + LOREM.hex()),
    (b"a" * 1024, "b90400" + "61" * 1024),
    ([], "c0"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    ([b"asdf", b"qwer", b"zxcv"] * 4, "f83c" + "84617364668471776572847a786376" * 4),
    ([b"zw", [b"\x04"], b"\x01"], "c6827a77c10401"),
]


def code_of(data: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        rlp.decode(data)
    return caught.value.code


@pytest.mark.parametrize(("item", "encoded"), VECTORS, ids=[encoded[:12] for _, encoded in VECTORS])
def test_the_standards_examples_are_encoded_and_decoded(item: rlp.Item, encoded: str) -> None:
    assert rlp.encode(item).hex() == encoded
    assert rlp.decode(bytes.fromhex(encoded)) == item


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "80"),
        (15, "0f"),
        (127, "7f"),
        (128, "8180"),
        (1000, "8203e8"),
        (2**256, "a1" + "01" + "00" * 32),
    ],
)
def test_numbers_are_big_endian_without_leading_zeros(number: int, encoded: str) -> None:
    assert rlp.encode(rlp.integer(number)).hex() == encoded
    assert rlp.as_integer(rlp.decode(bytes.fromhex(encoded))) == number


def test_a_number_below_zero_is_not_written() -> None:
    with pytest.raises(OverflowError):
        rlp.integer(-1)


items = st.recursive(
    st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=30
).filter(lambda item: depth(item) <= 16)


def depth(item: Any) -> int:
    return 0 if isinstance(item, bytes) else 1 + max((depth(entry) for entry in item), default=0)


@given(items)
def test_what_is_encoded_is_decoded_and_another_library_agrees(item: rlp.Item) -> None:
    encoded = rlp.encode(item)
    assert rlp.decode(encoded) == item
    assert encoded == independent.encode(item)


@given(st.binary(max_size=120))
@example(bytes.fromhex("8100"))
@example(bytes.fromhex("c1"))
@example(bytes.fromhex("f800"))
def test_whatever_bytes_are_decoded_are_the_only_encoding_of_what_they_gave(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert rlp.encode(rlp.decode(data)) == data


@given(items, st.data())
def test_bytes_cut_short_or_with_more_behind_are_refused(
    item: rlp.Item, data: st.DataObject
) -> None:
    encoded = rlp.encode(item)
    assert code_of(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) == "rlp_malformed"
    assert code_of(encoded + data.draw(st.binary(min_size=1, max_size=4))) == "rlp_malformed"


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("", id="nothing"),
        pytest.param("8100", id="a byte below 128 behind a prefix"),
        pytest.param("817f", id="the last byte below 128 behind a prefix"),
        pytest.param("c28101", id="the same in a list"),
        pytest.param("b800", id="a long form of no length"),
        pytest.param("b80161", id="a long form of length 1"),
        pytest.param("b837" + "61" * 55, id="a long form of a short string"),
        pytest.param("b90038" + "61" * 56, id="a length with a leading zero"),
        pytest.param("f800", id="a long form of an empty list"),
        pytest.param("f837" + "61" * 55, id="a long form of a short list"),
        pytest.param("f90038" + "61" * 56, id="a list's length with a leading zero"),
        pytest.param("b8", id="no length where one belongs"),
        pytest.param("b904", id="half a length"),
        pytest.param("bfffffffffffffffff", id="a length beyond memory"),
        pytest.param("ffffffffffffffffff", id="a list's length beyond memory"),
        pytest.param("c3836162", id="an item longer than its list"),
        pytest.param("c483616263" + "00", id="something behind the list"),
        pytest.param("c2c28080", id="a list that reaches out of its list"),
        pytest.param("c4c2826162", id="bytes that reach out of their list into the next item"),
        pytest.param("c1b8" + "38" + "61" * 56, id="a length outside the list that needs it"),
    ],
)
def test_what_is_not_the_one_encoding_is_refused(encoded: str) -> None:
    assert code_of(bytes.fromhex(encoded)) == "rlp_malformed"


def test_nesting_made_to_exhaust_the_stack_is_refused() -> None:
    item: rlp.Item = []
    for _ in range(16):
        item = [item]
    assert rlp.decode(rlp.encode(item)) == item
    assert code_of(rlp.encode([item])) == "rlp_malformed"
    assert code_of(b"\xc1" * 100_000) == "rlp_malformed"


def test_a_list_where_bytes_belong_and_bytes_where_a_list_belongs_are_refused() -> None:
    for wrong in (
        lambda: rlp.decode_list(bytes.fromhex("83646f67")),
        lambda: rlp.as_bytes([b"dog"]),
        lambda: rlp.as_bytes(b"dog", length=4),
        lambda: rlp.as_integer([]),
        lambda: rlp.as_integer(b"\x00"),
        lambda: rlp.as_integer(b"\x00\x01"),
    ):
        with pytest.raises(Malformed) as caught:
            wrong()
        assert caught.value.code == "rlp_malformed"
    assert rlp.as_bytes(b"dog", length=3) == b"dog"
    assert rlp.as_integer(b"") == 0
