"""Taxes on a home's sale, against amounts computed by hand from the cited rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.errors import BadInput
from registry.property.rules import require_content
from registry.property.tax import CURRENT, TaxFacts, TaxSheet, compute, half_up, rules

YUAN = 100
SQUARE_METRE = 10_000


def facts(**changed: Any) -> TaxFacts:
    """A first home of 90 m² for a million yuan, held ten years, the seller's only home."""
    fields: dict[str, Any] = {
        "price": 1_000_000 * YUAN,
        "area": 90 * SQUARE_METRE,
        "months_held": 120,
        "only_home": True,
        "buyer_homes": 0,
        "original_price": None,
    }
    return TaxFacts(**(fields | changed))


def lines(sheet: TaxSheet) -> dict[str, int]:
    return {line.tax: line.amount for line in sheet.lines}


def test_an_only_home_held_long_pays_deed_tax_alone() -> None:
    sheet = compute(facts())
    assert lines(sheet) == {
        "deed-tax": 10_000 * YUAN,
        "value-added-tax": 0,
        "urban-maintenance-tax": 0,
        "education-surcharge": 0,
        "local-education-surcharge": 0,
        "income-tax": 0,
    }
    assert (sheet.buyer, sheet.seller, sheet.total) == (1_000_000, 0, 1_000_000)


def test_a_home_held_under_two_years_pays_on_the_price_without_value_added_tax() -> None:
    # 1,050,000 yuan with 5 % included: 50,000 tax, base 1,000,000. Surcharges 7 %, 3 %, 2 % of
    # 50,000, halved: 1,750, 750, 500. Deed tax 1 % of 1,000,000; income tax 1 % of it.
    sheet = compute(facts(price=1_050_000 * YUAN, months_held=23, only_home=False))
    assert lines(sheet) == {
        "deed-tax": 10_000 * YUAN,
        "value-added-tax": 50_000 * YUAN,
        "urban-maintenance-tax": 1_750 * YUAN,
        "education-surcharge": 750 * YUAN,
        "local-education-surcharge": 500 * YUAN,
        "income-tax": 10_000 * YUAN,
    }
    assert sheet.total == (10_000 + 50_000 + 3_000 + 10_000) * YUAN


@pytest.mark.parametrize(
    ("changed", "rate"),
    [
        ({"buyer_homes": 0, "area": 140 * SQUARE_METRE}, 100),
        ({"buyer_homes": 0, "area": 140 * SQUARE_METRE + 1}, 150),
        ({"buyer_homes": 1, "area": 140 * SQUARE_METRE}, 100),
        ({"buyer_homes": 1, "area": 140 * SQUARE_METRE + 1}, 200),
        ({"buyer_homes": 2, "area": 60 * SQUARE_METRE}, 300),
    ],
)
def test_the_deed_tax_follows_homes_owned_and_area(changed: dict[str, int], rate: int) -> None:
    (line,) = [item for item in compute(facts(**changed)).lines if item.tax == "deed-tax"]
    assert (line.rate, line.amount) == (rate, 1_000_000 * YUAN * rate // 10_000)


@pytest.mark.parametrize(
    ("changed", "amount"),
    [
        ({"months_held": 59}, 10_000),  # held too short, though the only home: 1 % of the price
        ({"only_home": False}, 10_000),
        (
            {"only_home": False, "original_price": 900_000 * YUAN},
            20_000,
        ),  # 20 % of the gain of 100,000
        ({"only_home": False, "original_price": 1_200_000 * YUAN}, 0),  # no gain, no tax
        ({"months_held": 60}, 0),
    ],
)
def test_income_tax_is_on_the_gain_or_on_the_price(changed: dict[str, Any], amount: int) -> None:
    assert lines(compute(facts(**changed)))["income-tax"] == amount * YUAN


@given(st.integers(0, 10**18), st.integers(1, 10**9))
def test_rounding_is_half_up(numerator: int, denominator: int) -> None:
    rounded = half_up(numerator, denominator)
    assert -denominator <= 2 * (numerator - rounded * denominator) < denominator


@given(
    st.integers(1, 10**12),
    st.integers(1, 10**8),
    st.integers(0, 600),
    st.booleans(),
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(0, 10**12)),
)
def test_every_sheet_adds_up_and_nobody_pays_less_than_nothing(
    price: int, area: int, months: int, only: bool, homes: int, original: int | None
) -> None:
    sheet = compute(TaxFacts(price, area, months, only, homes, original))
    amounts = [line.amount for line in sheet.lines]
    assert min(amounts) >= 0
    assert sum(amounts) == sheet.total == sheet.buyer + sheet.seller
    assert sheet.total < price


@pytest.mark.parametrize(
    "changed",
    [
        {"price": 0},
        {"price": 10**16},
        {"area": 0},
        {"months_held": -1},
        {"buyer_homes": -1},
        {"original_price": -1},
    ],
)
def test_facts_no_sale_can_have_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(BadInput) as refused:
        compute(facts(**changed))
    assert refused.value.code == "tax_facts_wrong"


def test_unknown_rules_are_refused_and_the_known_ones_cite_their_sources() -> None:
    with pytest.raises(BadInput) as refused:
        compute(facts(), rules_name="tax-rules-1999")
    assert refused.value.code == "tax_rules_unknown"
    assert rules(CURRENT)["id"] == CURRENT
    assert {"deedTax, valueAddedTax", "incomeTax"} <= {
        source["for"] for source in rules()["sources"]
    }


CONTENT = {
    "unit": "440703-000001",
    "area": 900_000,
    "price": "100000000",
    "loan": "60000000",
    "monthsHeld": 120,
    "onlyHome": True,
    "buyerHomes": 0,
    "originalPrice": None,
}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"price": 100000000}, "amount_malformed"),
        ({"price": "1e8"}, "amount_malformed"),
        ({"price": "-1"}, "amount_malformed"),
        ({"price": "٣"}, "amount_malformed"),
        ({"price": "9" * 16}, "amount_malformed"),
        ({"loan": "100000001"}, "loan_above_price"),
        ({"area": 90.5}, "content_malformed"),
        ({"area": True}, "content_malformed"),
        ({"area": 2**53}, "content_malformed"),
        ({"onlyHome": 1}, "content_malformed"),
        ({"unit": None}, "content_malformed"),
        ({"remark": "cash"}, "content_malformed"),
        ({"price": "0", "loan": "0"}, "tax_facts_wrong"),
    ],
)
def test_a_deals_content_is_exact(changed: dict[str, Any], code: str) -> None:
    require_content(CONTENT)
    with pytest.raises(BadInput) as refused:
        require_content(CONTENT | changed)
    assert refused.value.code == code
    with pytest.raises(BadInput):
        require_content({name: value for name, value in CONTENT.items() if name != "area"})
