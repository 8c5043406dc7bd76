"""Masking rules and column types: unusable rules are refused at publication, the others never
reveal more than they state.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.canonical import dumps
from chain.core.errors import BadInput, QiaolianError
from registry.masking import MAX_PREFIX, mask, masked, require_rules, served_columns
from registry.sources import TYPES, SourceColumn, canonical_decimal, normalised

RULES = ("keep", "drop", "constant", "range:10", "round:100", "prefix:2")
FITTING = {
    "text": {"keep", "drop", "constant", "prefix:2"},
    "integer": set(RULES),
    "decimal": {"keep", "drop", "constant", "range:10", "round:100"},
    "boolean": {"keep", "drop", "constant"},
}
DECIMALS = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4
)
VALUES = {
    "text": st.text(st.characters(codec="utf-8"), max_size=20),
    "integer": st.integers(-(2**53) + 1_000, 2**53 - 1_000),
    "decimal": DECIMALS.map(lambda number: canonical_decimal(format(number, "f"))),
    "boolean": st.booleans(),
}


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_accepted_exactly_where_it_fits_the_columns_type(type_: str, rule: str) -> None:
    columns = [SourceColumn("value", type_)]
    if rule in FITTING[type_]:
        assert require_rules({"value": rule}, columns) == {"value": rule}
        return
    with pytest.raises(BadInput) as refused:
        require_rules({"value": rule}, columns)
    assert (refused.value.code, refused.value.context) == (
        "masking_rule_unfit",
        {"column": "value"},
    )
    assert type_ in refused.value.sentence


@pytest.mark.parametrize(
    "rule", [f"prefix:{MAX_PREFIX + 1}", "prefix:0", "round:0", "range:1.5", "hash:3", "KEEP"]
)
def test_an_unknown_rule_or_one_with_a_parameter_out_of_range_is_refused(rule: str) -> None:
    with pytest.raises(BadInput) as refused:
        require_rules({"value": rule}, [SourceColumn("value", "integer")])
    assert refused.value.code == "masking_rule_malformed"


def test_a_rule_for_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        require_rules({"other": "keep"}, [SourceColumn("value", "text")])
    assert refused.value.code == "masking_unknown_column"


@given(st.data(), st.sampled_from(sorted(TYPES)))
def test_a_fitting_rule_masks_every_value_of_its_type_into_something_that_can_be_committed_to(
    data: Any, type_: str
) -> None:
    value = data.draw(VALUES[type_])
    rule = data.draw(st.sampled_from(sorted(FITTING[type_] - {"drop"})))
    shown = masked(normalised(value, type_), rule)
    dumps({"value": shown})
    assert shown != "***" or rule == "constant" or value == "***"


@given(
    st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none(), st.floats()),
    st.sampled_from([*RULES, "hash", ""]),
)
def test_masking_anything_gives_a_value_or_an_error_with_a_code(value: Any, rule: str) -> None:
    codes = set()
    try:
        mask({"value": value}, ["value"], {"value": rule})
    except QiaolianError as error:
        codes.add(error.code)
    assert codes <= {"masking_failed", "column_withheld"}


@given(DECIMALS, st.integers(1, 10**6))
def test_a_decimals_range_holds_its_value_and_says_nothing_finer(
    number: Decimal, width: int
) -> None:
    shown = masked(canonical_decimal(format(number, "f")), f"range:{width}")
    low, high = (int(part) for part in shown[1:-1].split(","))
    assert (shown[0], shown[-1], high - low, low % width) == ("[", ")", width, 0)
    assert low <= number < high


@given(DECIMALS, st.integers(1, 10**6))
def test_a_decimal_is_rounded_to_the_nearest_multiple(number: Decimal, step: int) -> None:
    shown = masked(canonical_decimal(format(number, "f")), f"round:{step}")
    assert isinstance(shown, str)
    assert int(shown) % step == 0
    assert abs(int(shown) - Fraction(number)) * 2 <= step


@given(DECIMALS, st.integers(0, 6))
def test_a_decimal_has_one_published_form_however_it_is_written(
    number: Decimal, zeros: int
) -> None:
    written = format(number, "f")
    more = written + ("." if "." not in written else "") + "0" * (zeros + 1)
    assert canonical_decimal(written) == canonical_decimal(more)
    assert Decimal(canonical_decimal(written)) == number
    assert canonical_decimal(canonical_decimal(written)) == canonical_decimal(written)


@pytest.mark.parametrize(
    ("written", "form"),
    [("12.50", "12.5"), ("3.00", "3"), ("-0.0", "0"), ("0", "0"), ("1e-07", "0.0000001"), (7, "7")],
)
def test_the_canonical_form_of_a_decimal(written: Any, form: str) -> None:
    assert canonical_decimal(written) == form


@pytest.mark.parametrize(
    "written",
    ["", "1,5", "+1", ".5", "5.", "01", "1e5", "nan", "inf", "١", "1 ", "1" * 39, None, True, 1.5],
)
def test_what_is_no_plain_decimal_is_not_read_as_one(written: Any) -> None:
    with pytest.raises(ValueError, match="decimal"):
        canonical_decimal(written)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("约30", "integer"),
        ("007", "integer"),
        (2**53, "integer"),
        (True, "integer"),
        (1.5, "decimal"),
        ("yes", "boolean"),
        (1, "boolean"),
        ("\ud800", "text"),
    ],
)
def test_a_value_of_another_type_does_not_conform(value: Any, type_: str) -> None:
    with pytest.raises(ValueError):
        normalised(value, type_)


@pytest.mark.parametrize(
    ("value", "type_", "form"),
    [("31", "integer", 31), (31, "text", "31"), ("true", "boolean", True), (True, "text", "true")],
)
def test_a_value_that_is_exactly_another_types_takes_its_form(
    value: Any, type_: str, form: Any
) -> None:
    assert normalised(value, type_) == form


def test_columns_that_are_kept_back_are_not_offered() -> None:
    assert served_columns({"id": "drop", "age": "range:10", "area": "keep"}) == ["age", "area"]
