"""Masking (脱敏): what of a column may leave the gateway. Pure functions of a value and a rule.

A rule is text. Which rules a column takes depends on its type; one that does not fit is refused
when the asset is published:

| rule | column types | result |
|---|---|---|
| ``keep`` | all | the value |
| ``drop`` | all | the column cannot be asked for |
| ``constant`` | all | ``***``: only whether there is a value |
| ``prefix:4`` | text, integer | the first characters, the rest as asterisks |
| ``range:10`` | integer, decimal | the interval: ``30-39`` of integers, ``[30,40)`` of decimals |
| ``round:100`` | integer, decimal | the nearest multiple, halves up |

Every rule keeps an absent value absent. A value that its rule cannot mask is an error, never hidden
silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from chain.core.errors import BadInput, Forbidden
from registry.sources import (
    BOOLEAN,
    DECIMAL,
    INTEGER,
    TEXT,
    TYPES,
    Record,
    SourceColumn,
    canonical_decimal,
)

MAX_PREFIX = 64
_RULE = re.compile(r"(keep|drop|constant)|(range|round|prefix):([1-9][0-9]{0,11})")
_FITTING = {
    "keep": TYPES,
    "drop": TYPES,
    "constant": TYPES,
    "prefix": (TEXT, INTEGER),
    "range": (INTEGER, DECIMAL),
    "round": (INTEGER, DECIMAL),
}
_FOR_TYPE = {
    type_: ", ".join(
        f"{name}:N" if name in ("prefix", "range", "round") else name
        for name, types in _FITTING.items()
        if type_ in types
    )
    for type_ in (TEXT, INTEGER, DECIMAL, BOOLEAN)
}


def require_rules(rules: Mapping[str, str], columns: Sequence[SourceColumn]) -> dict[str, str]:
    """The complete rule of every column; one that names no rule is withheld (``drop``).

    Raises:
        BadInput: ``masking_unknown_column``, ``masking_rule_malformed``, ``masking_rule_unfit``.
    """
    types = {column.name: column.type for column in columns}
    for column, rule in rules.items():
        if column not in types:
            raise BadInput(
                "masking_unknown_column",
                f"The masking names {column}, which is no column of the source.",
                column=column,
            )
        _require_rule(column, rule, types[column])
    return {column: rules.get(column, "drop") for column in types}


def _require_rule(column: str, rule: str, type_: str) -> None:
    found = _RULE.fullmatch(rule)
    if found is None or (found.group(2) == "prefix" and int(found.group(3)) > MAX_PREFIX):
        raise BadInput(
            "masking_rule_malformed",
            f"The masking rule of {column} is none of keep, drop, constant, range:N, round:N, "
            f"prefix:N (N at most {MAX_PREFIX} for prefix).",
            column=column,
        )
    if type_ not in _FITTING[found.group(1) or found.group(2)]:
        raise BadInput(
            "masking_rule_unfit",
            f"The column {column} holds {type_} values, which {rule} cannot mask.",
            hint=f"For {type_}: {_FOR_TYPE[type_]}. If the column should hold "
            "numbers, correct the cells that are none.",
            column=column,
        )


def served_columns(rules: Mapping[str, str]) -> list[str]:
    """The columns that can be asked for: all that are not withheld."""
    return [column for column, rule in rules.items() if rule != "drop"]


def require_columns(wanted: Sequence[str], rules: Mapping[str, str]) -> None:
    """Refuse columns that do not exist (``column_unknown``) or never leave the gateway
    (``column_withheld``).
    """
    for column in wanted:
        if column not in rules:
            raise BadInput("column_unknown", f"The asset has no column {column}.", column=column)
        if rules[column] == "drop":
            raise Forbidden(
                "column_withheld", f"The column {column} does not leave its owner.", column=column
            )


def mask(record: Mapping[str, Any], columns: Sequence[str], rules: Mapping[str, str]) -> Record:
    """The asked columns of a record, each under its rule.

    Raises:
        BadInput: ``column_unknown``, ``masking_failed`` with the column; Forbidden:
            ``column_withheld``.
    """
    require_columns(columns, rules)
    return {column: _masked_cell(record, column, rules[column]) for column in columns}


def _masked_cell(record: Mapping[str, Any], column: str, rule: str) -> Any:
    if column not in record:
        raise _failed(column, rule)
    try:
        return masked(record[column], rule)
    except BadInput as error:
        raise _failed(column, rule) from error


def _failed(column: str, rule: str) -> BadInput:
    return BadInput(
        "masking_failed", f"The value of {column} cannot be masked by {rule}.", column=column
    )


def masked(value: Any, rule: str) -> Any:
    """One value under one rule; ``masking_failed`` for a value the rule does not fit."""
    if value is None or rule == "keep":
        return value
    name, _, argument = rule.partition(":")
    if name == "constant":
        return "***"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadInput("masking_failed", "The value is neither text nor a number.")
    if name == "prefix":
        text = str(value)
        return text[: int(argument)] + "*" * max(0, len(text) - int(argument))
    if name == "range":
        return _interval(value, int(argument))
    if name == "round":
        return _rounded(value, int(argument))
    raise BadInput("masking_failed", "The rule is none that is known.")


def _interval(value: int | str, width: int) -> str:
    if isinstance(value, int):
        low = value // width * width
        return f"{low}-{low + width - 1}"
    low = math.floor(_number(value) / width) * width
    return f"[{low},{low + width})"


def _rounded(value: int | str, step: int) -> int | str:
    if isinstance(value, int):
        return (value + step // 2) // step * step
    return str(math.floor(_number(value) / step + Fraction(1, 2)) * step)


def _number(text: str) -> Fraction:
    """The exact number of a decimal's text."""
    try:
        return Fraction(canonical_decimal(text))
    except ValueError as error:
        raise BadInput("masking_failed", "The value is no number.") from error
