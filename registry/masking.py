"""Masking (脱敏): what of a column may leave the gateway. Pure functions of a value and a rule.

A rule is text: ``keep``; ``drop`` (the column cannot be asked for); ``range:10`` (whole numbers as the interval of that width they fall in);
``round:100`` (to the nearest multiple, halves up); ``prefix:4`` (the first characters, the rest as asterisks); ``constant`` (only whether there is a
value). Every rule keeps an absent value absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chain.errors import BadInput, Forbidden

_RULE = re.compile(r"keep|drop|constant|(?:range|round|prefix):[1-9][0-9]{0,11}")


def require_rules(rules: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    """The complete rule of every column; one that names no rule is kept back (``drop``).

    Raises:
        BadInput: ``masking_unknown_column`` or ``masking_rule_malformed``.
    """
    unknown = sorted(set(rules) - set(columns))
    if unknown:
        raise BadInput("masking_unknown_column", f"The masking names {unknown[0]}, which is no column of the source.")
    for column, rule in rules.items():
        if not _RULE.fullmatch(rule):
            raise BadInput(
                "masking_rule_malformed",
                f"The masking rule of {column} is none of keep, drop, constant, range:N, round:N, prefix:N.",
            )
    return {column: rules.get(column, "drop") for column in columns}


def require_columns(wanted: Sequence[str], rules: Mapping[str, str]) -> None:
    """Refuse columns that do not exist (``column_unknown``) or never leave the gateway (``column_withheld``)."""
    for column in wanted:
        if column not in rules:
            raise BadInput("column_unknown", f"The asset has no column {column}.", column=column)
        if rules[column] == "drop":
            raise Forbidden("column_withheld", f"The column {column} does not leave its owner.", column=column)


def mask(record: Mapping[str, Any], columns: Sequence[str], rules: Mapping[str, str]) -> dict[str, Any]:
    """The asked columns of a record, each under its rule."""
    require_columns(columns, rules)
    return {column: masked(record[column], rules[column]) for column in columns}


def masked(value: Any, rule: str) -> Any:
    """One value under one rule."""
    if value is None or rule == "keep":
        return value
    name, _, argument = rule.partition(":")
    if name == "constant":
        return "***"
    if name == "prefix":
        text = str(value)
        return text[: int(argument)] + "*" * max(0, len(text) - int(argument))
    width = int(argument)
    if not isinstance(value, int) or isinstance(value, bool):
        return "***"
    if name == "range":
        low = value // width * width
        return f"{low}-{low + width - 1}"
    return (value + width // 2) // width * width
