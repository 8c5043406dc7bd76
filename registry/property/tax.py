"""Taxes on the sale of a home (税证联办), computed from versioned rule data.

The functions are pure: the same facts and rules give the same sheet anywhere.

The rule files in ``data/`` name their sources, their validity and their rounding. Money is fen,
rates are basis points, areas are square centimetres, holding periods are whole months.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from chain.core.errors import BadInput

CURRENT = "tax-rules-2024-12"
_KNOWN = (CURRENT,)
MAX_FEN = 10**15


@dataclass(frozen=True)
class TaxFacts:
    """What the taxes of one sale follow from."""

    price: int
    """Fen, value-added tax included."""
    area: int
    """Square centimetres."""
    months_held: int
    """Whole months the seller has held the home."""
    only_home: bool
    """Whether it is the only home of the seller's family."""
    buyer_homes: int
    """Homes the buyer's family owns already."""
    original_price: int | None = None
    """What the seller paid and spent on it, in fen; None when it cannot be shown, then income tax
    is on the price.
    """


@dataclass(frozen=True, slots=True)
class TaxLine:
    """One tax: base and amount in fen, the rate in basis points."""

    tax: str
    payer: str
    """``buyer`` or ``seller``."""
    base: int
    rate: int
    amount: int
    ground: str


@dataclass(frozen=True, slots=True)
class TaxSheet:
    """The taxes of one sale; fen."""

    rules: str
    """Name of the rule file."""
    price: int
    lines: tuple[TaxLine, ...]

    @property
    def buyer(self) -> int:
        """What the buyer pays."""
        return sum(line.amount for line in self.lines if line.payer == "buyer")

    @property
    def seller(self) -> int:
        """What the seller pays."""
        return sum(line.amount for line in self.lines if line.payer == "seller")

    @property
    def total(self) -> int:
        """All taxes."""
        return sum(line.amount for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """The record that the tax authority's step states; fen as text."""
        return {
            "rules": self.rules,
            "price": str(self.price),
            "lines": [
                {**asdict(line), "base": str(line.base), "amount": str(line.amount)}
                for line in self.lines
            ],
            "buyer": str(self.buyer),
            "seller": str(self.seller),
            "total": str(self.total),
        }


@functools.cache
def rules(name: str = CURRENT) -> Mapping[str, Any]:
    """A rule file by name; ``tax_rules_unknown``."""
    if name not in _KNOWN:
        raise BadInput(
            "tax_rules_unknown", "There are no tax rules of that name.", hint=", ".join(_KNOWN)
        )
    text = resources.files("registry.property").joinpath("data", f"{name}.json").read_text("utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def compute(facts: TaxFacts, *, rules_name: str = CURRENT) -> TaxSheet:
    """The tax sheet: a line for each tax.

    Raises:
        BadInput: ``tax_facts_wrong`` for facts that no sale can have, ``tax_rules_unknown``.
    """
    _require(facts)
    book = rules(rules_name)
    vat, base = _value_added_tax(book, facts)
    lines = (
        _deed_tax(book, facts, base),
        vat,
        *_surcharges(book, vat),
        _income_tax(book, facts, base),
    )
    return TaxSheet(book["id"], facts.price, lines)


@dataclass(frozen=True, slots=True)
class LegalSource:
    """A law or notice that a tax rests on."""

    name: str
    valid_from: str
    """An ISO date."""


_RULE_OF = {
    "deed-tax": "deedTax",
    "value-added-tax": "valueAddedTax",
    "income-tax": "incomeTax",
}
"""The part of a rule file that a tax is computed from; any other tax is a surcharge."""


def sources_of(line: TaxLine, *, rules_name: str = CURRENT) -> list[LegalSource]:
    """The sources of a line's rate and base, as the rule file names them;
    ``tax_rules_unknown``.
    """
    part = _RULE_OF.get(line.tax, "valueAddedTax.surcharges")
    wanted = {part, "base"}
    if line.ground == "further-home":
        wanted |= {"deedTax.otherwise"}
    return [
        LegalSource(source["name"], source["validFrom"])
        for source in rules(rules_name)["sources"]
        if wanted & {name.strip() for name in source["for"].split(",")}
    ]


def half_up(numerator: int, denominator: int) -> int:
    """The quotient rounded half up, for numbers that are not negative."""
    return (2 * numerator + denominator) // (2 * denominator)


def _value_added_tax(book: Mapping[str, Any], facts: TaxFacts) -> tuple[TaxLine, int]:
    """The tax's line and the price without it."""
    part, whole = book["valueAddedTax"], book["basisPoints"]
    if facts.months_held >= part["exemptFromMonthsHeld"]:
        return TaxLine(
            "value-added-tax", part["payer"], facts.price, 0, 0, "held-long-enough"
        ), facts.price
    amount = half_up(facts.price * part["rate"], whole + part["rate"])
    net = facts.price - amount
    return TaxLine(
        "value-added-tax", part["payer"], net, part["rate"], amount, "held-too-short"
    ), net


def _surcharges(book: Mapping[str, Any], vat: TaxLine) -> list[TaxLine]:
    part, whole = book["valueAddedTax"], book["basisPoints"]
    ground = "halved" if vat.amount else "no-value-added-tax"
    return [
        TaxLine(
            surcharge["tax"],
            part["payer"],
            vat.amount,
            surcharge["rate"] * surcharge["due"] // whole,
            half_up(vat.amount * surcharge["rate"] * surcharge["due"], whole * whole),
            ground,
        )
        for surcharge in part["surcharges"]
    ]


def _deed_tax(book: Mapping[str, Any], facts: TaxFacts, base: int) -> TaxLine:
    part = book["deedTax"]
    for bracket in part["brackets"]:
        fits = bracket["areaUpTo"] is None or facts.area <= bracket["areaUpTo"]
        if bracket["buyerHomesBefore"] == facts.buyer_homes and fits:
            rate, ground = bracket["rate"], ("first-home", "second-home")[facts.buyer_homes]
            break
    else:
        rate, ground = part["otherwise"], "further-home"
    amount = half_up(base * rate, book["basisPoints"])
    return TaxLine("deed-tax", part["payer"], base, rate, amount, ground)


def _income_tax(book: Mapping[str, Any], facts: TaxFacts, base: int) -> TaxLine:
    part, whole = book["incomeTax"], book["basisPoints"]
    if facts.months_held >= part["exemptFromMonthsHeld"] and facts.only_home:
        return TaxLine("income-tax", part["payer"], base, 0, 0, "only-home-held-five-years")
    if facts.original_price is None:
        amount = half_up(base * part["rateOnPrice"], whole)
        return TaxLine("income-tax", part["payer"], base, part["rateOnPrice"], amount, "on-price")
    gain = max(0, base - facts.original_price)
    amount = half_up(gain * part["rateOnGain"], whole)
    return TaxLine("income-tax", part["payer"], gain, part["rateOnGain"], amount, "on-gain")


def _require(facts: TaxFacts) -> None:
    original = facts.original_price
    if not 0 < facts.price <= MAX_FEN or (original is not None and not 0 <= original <= MAX_FEN):
        raise BadInput("tax_facts_wrong", "A sale has a price above zero, in fen.")
    if facts.area <= 0 or facts.months_held < 0 or facts.buyer_homes < 0:
        raise BadInput(
            "tax_facts_wrong", "A home has an area; months held and homes owned are not negative."
        )
