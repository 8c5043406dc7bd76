"""Identifiers: which forms are taken, tags, and finding rows by tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.errors import BadInput, Conflict, QiaolianError
from federated.intersection.identifiers import IdentifierFormat, locate, tags_of
from federated.intersection.suites import SUITES, suite_of

CODES = np.array([b"91310115MA1K35J19Q", b"91310115MA1K35J29C"])


def refused(code: str, kind: type[QiaolianError] = BadInput) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


def form(*ids: bytes) -> IdentifierFormat:
    return IdentifierFormat.of(np.array(ids))


def test_a_form_tells_width_fixedness_and_case() -> None:
    assert form(b"ab1", b"cd2") == IdentifierFormat(3, True, "lower")
    assert form(b"AB1", b"C") == IdentifierFormat(3, False, "upper")
    assert form(b"1", b"22") == IdentifierFormat(2, False, "none")
    assert form(b"a", b"B") == IdentifierFormat(1, True, "mixed")
    assert IdentifierFormat.of(np.array([b"ab"], "S60")) == IdentifierFormat(2, True, "lower")


def test_characters_beside_the_letters_have_no_case() -> None:
    assert form(b"@[`{", b"\xe4\xb8\xad1") == IdentifierFormat(4, True, "none")


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (np.array([], "S18"), "ids_empty"),
        (np.array([b"a", b""]), "ids_malformed"),
        (np.array([b"x" * 65]), "ids_malformed"),
        (np.array([b"\0b"]), "ids_malformed"),
        (np.array(["text"]), "ids_malformed"),
        (np.array([[b"a"]]), "ids_malformed"),
        (np.array([1, 2]), "ids_malformed"),
    ],
)
def test_identifiers_of_no_form_are_refused(ids: Any, code: str) -> None:
    with refused(code):
        IdentifierFormat.of(ids)


def test_fixed_widths_that_differ_are_refused() -> None:
    with refused("ids_form_differs", Conflict):
        form(b"123").common_width(form(b"12"))


def test_varying_widths_share_the_longer_one() -> None:
    assert form(b"1", b"22").common_width(form(b"333")) == 3


def test_small_against_large_letters_is_refused() -> None:
    with refused("ids_form_differs", Conflict):
        form(b"1a").common_width(form(b"1A"))
    assert form(b"1a").common_width(form(b"11")) == 2


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_identifiers_have_the_same_tags_whatever_their_arrays_are_wide(suite: str) -> None:
    wide = CODES.astype("S40")
    assert (
        tags_of(CODES, 18, SUITES[suite], bytes(16)) == tags_of(wide, 18, SUITES[suite], bytes(16))
    ).all()
    assert (
        tags_of(CODES, 18, SUITES[suite], bytes(16))
        != tags_of(CODES, 18, SUITES[suite], bytes(15) + b"\1")
    ).any()


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("aes", "5b1073930fa8f35038ce909960bb5a9698c48c4c38a8d34a66ff8baae709fdd8"),
        ("sm", "e06a74f7a41064377595ea50c48a32b1fa891f11ccd39e7b3191496b1c761db4"),
    ],
)
def test_vectors_of_tags(suite: str, expected: str) -> None:
    tags = tags_of(CODES, 18, SUITES[suite], bytes(range(16)))
    assert tags.tobytes().hex() == expected


def test_an_identifier_on_two_rows_is_refused() -> None:
    with refused("ids_repeat"):
        tags_of(np.array([b"a", b"b", b"a"]), 1, SUITES["aes"], bytes(16))


def test_an_unknown_suite_is_refused() -> None:
    for name in ("des", None, ["aes"]):
        with refused("suite_unknown"):
            suite_of(name)


WORD = st.integers(0, 3)  # few values, so that heads repeat


@given(st.sets(st.tuples(WORD, WORD)), st.lists(st.tuples(WORD, WORD)))
def test_rows_are_found_by_both_words(
    held: set[tuple[int, int]],
    wanted: list[tuple[int, int]],
) -> None:
    rows = list(held)
    found = locate(
        np.array(rows, np.uint64).reshape(-1, 2),
        np.array(wanted, np.uint64).reshape(-1, 2),
    )
    assert found.tolist() == [rows.index(tag) if tag in held else -1 for tag in wanted]
