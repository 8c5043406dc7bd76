"""An analysis as the SQL that DuckDB runs, generated from its parsed forms.

Columns have generated names and every constant is a bound parameter. Expressions have types
(number, text, truth), checked here against the policy's, so that what passes cannot fail in DuckDB:
numbers are doubles, whose arithmetic never raises, and a division is by a constant that is not
zero. Numbers that are not finite become missing keys.

There are three statements. ``marked`` selects the rows of the analysis, with their keys, values and
filters. ``groups`` has one row for each group that is large enough, largest first, with the
statistics. ``members`` says which row is in which group, for the check of what may be released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from federated.analysis.policy import ColumnRule
from federated.analysis.syntax import Analysis, Call, Cell, ColumnReference, Expression, Value
from federated.errors import BadInput

Type = Literal["number", "text", "truth"]

# Operation: types of its arguments, type of its result, SQL.
_FIXED: dict[str, tuple[tuple[Type, ...], Type, str]] = {
    "and": (("truth", "truth"), "truth", "({} AND {})"),
    "or": (("truth", "truth"), "truth", "({} OR {})"),
    "not": (("truth",), "truth", "(NOT {})"),
    "+": (("number", "number"), "number", "({} + {})"),
    "-": (("number", "number"), "number", "({} - {})"),
    "*": (("number", "number"), "number", "({} * {})"),
    "/": (("number", "number"), "number", "({} / {})"),
    "negative": (("number",), "number", "(- {})"),
    "abs": (("number",), "number", "abs({})"),
    "floor": (("number",), "number", "floor({})"),
    "ceil": (("number",), "number", "ceil({})"),
    "round": (("number",), "number", "round({})"),
    "lower": (("text",), "text", "lower({})"),
    "upper": (("text",), "text", "upper({})"),
    "length": (("text",), "number", "CAST(length({}) AS DOUBLE)"),
    "left": (("text", "number"), "text", "left({}, CAST({} AS BIGINT))"),
}
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Statistic:
    """What is computed from each group: the number of rows or values, and their sum.

    ``column``: ``None`` for rows; ``only``: the filter's index, ``None`` for all rows.
    """

    column: str | None
    only: int | None


@dataclass(frozen=True)
class CompiledAnalysis:
    """The SQL of an analysis, and how to read its answer.

    ``columns``: sent as c0, c1, …; ``values``: columns sent as integers a0, a1, …; ``statistics``:
    sizes come back as n0, n1, …, sums as s0, s1, …; the first is the group itself.
    """

    marked: str
    parameters: tuple[float | str, ...]
    groups: str
    members: str
    columns: tuple[str, ...]
    values: tuple[str, ...]
    key_types: tuple[Type, ...]
    filters: int
    statistics: tuple[Statistic, ...]

    def statistic_of(self, cell: Cell, filters: tuple[Expression, ...]) -> int:
        """Return the index of the statistic that a cell is made from."""
        return self.statistics.index(_statistic_of(cell, filters))


def _statistic_of(cell: Cell, filters: tuple[Expression, ...]) -> Statistic:
    return Statistic(cell.column, None if cell.only is None else filters.index(cell.only))


def filters_of(analysis: Analysis) -> tuple[Expression, ...]:
    """Return the filters of aggregates, without repetition."""
    return tuple(dict.fromkeys(cell.only for cell in analysis.cells if cell.only is not None))


def write(
    analysis: Analysis,
    rules: Mapping[str, ColumnRule],
    *,
    min_rows: int,
    max_groups: int,
) -> CompiledAnalysis:
    """Return the statements of an analysis.

    Raises:
        BadInput: ``analysis_types`` if an operation does not fit its arguments.
    """
    filters = filters_of(analysis)
    columns = tuple(sorted({name for name, use in analysis.uses() if use != "aggregate"}))
    values = tuple(sorted({cell.column for cell in analysis.cells if cell.column is not None}))
    writer = _Writer({name: rules[name].type for name in columns}, columns)
    keys = [writer.expression(key.expression) for key in analysis.keys]
    truths = [writer.truth(condition) for condition in filters]
    where = "TRUE" if analysis.where is None else writer.truth(analysis.where)
    for kind, _ in keys:
        if kind == "truth":
            raise BadInput(
                "analysis_types",
                "Rows are grouped by numbers or texts.",
                hint="Name the two cases with CASE.",
            )
    selected = [
        "r",
        *(f"{_key(kind, sql)} AS k{index}" for index, (kind, sql) in enumerate(keys)),
        *(f"a{index}" for index in range(len(values))),
        *(f"({sql}) IS TRUE AS f{index}" for index, sql in enumerate(truths)),
    ]
    requested = [_statistic_of(cell, filters) for cell in analysis.cells]
    statistics = tuple(dict.fromkeys([Statistic(None, None), *requested]))
    names = [f"k{index}" for index in range(len(keys))]
    computed = [
        part
        for index, statistic in enumerate(statistics)
        for part in _statistic(index, statistic, values)
    ]
    grouped = f" GROUP BY {', '.join(names)}" if names else ""
    selected_groups = ", ".join([*names, *computed])
    inner = f"SELECT {selected_groups} FROM marked{grouped} HAVING count(*) >= {min_rows:d}"  # noqa: S608
    order = ", ".join(["n0 DESC", *(f"{name} NULLS LAST" for name in names)])
    numbered = f"CAST(row_number() OVER (ORDER BY {order}) - 1 AS INTEGER) AS g, *"
    limit = max_groups + 1
    matched = (
        " AND ".join(f"marked.{name} IS NOT DISTINCT FROM groups.{name}" for name in names)
        or "TRUE"
    )
    member_columns = ", ".join(["r", "g", *(f"f{index}" for index in range(len(filters)))])
    return CompiledAnalysis(
        marked=f"CREATE TEMP TABLE marked AS SELECT {', '.join(selected)} FROM rows WHERE {where}",  # noqa: S608
        parameters=tuple(writer.parameters),
        groups=f"CREATE TEMP TABLE groups AS SELECT {numbered} FROM ({inner}) LIMIT {limit}",  # noqa: S608
        members=f"SELECT {member_columns} FROM marked JOIN groups ON {matched}",  # noqa: S608
        columns=columns,
        values=values,
        key_types=tuple(kind for kind, _ in keys),
        filters=len(filters),
        statistics=statistics,
    )


def _key(kind: Type, sql: str) -> str:
    # Adding zero turns -0 into 0.
    return (
        f"CASE WHEN isfinite({sql}) THEN {sql} + CAST(0 AS DOUBLE) END" if kind == "number" else sql
    )


def _statistic(index: int, statistic: Statistic, values: tuple[str, ...]) -> list[str]:
    only = "" if statistic.only is None else f" FILTER (WHERE f{statistic.only})"
    if statistic.column is None:
        return [f"count(*){only} AS n{index}"]
    column = f"a{values.index(statistic.column)}"
    return [
        f"count({column}){only} AS n{index}",
        f"CAST(coalesce(sum({column}){only}, 0) AS BIGINT) AS s{index}",
    ]


class _Writer:
    def __init__(self, types: Mapping[str, Type], columns: tuple[str, ...]) -> None:
        self._types, self._columns = types, columns
        self.parameters: list[float | str] = []

    def truth(self, expression: Expression) -> str:
        kind, sql = self.expression(expression)
        if kind != "truth":
            raise BadInput("analysis_types", f"A condition is true or false; this one is a {kind}.")
        return sql

    def expression(self, expression: Expression) -> tuple[Type, str]:
        if isinstance(expression, ColumnReference):
            return self._types[expression.name], f"c{self._columns.index(expression.name)}"
        if isinstance(expression, Value):
            self.parameters.append(expression.value)
            text = isinstance(expression.value, str)
            parameter = f"${len(self.parameters)}"
            if text:
                return "text", f"CAST({parameter} AS VARCHAR)"
            return "number", f"CAST({parameter} AS DOUBLE)"
        return self._call(expression)

    def _call(self, call: Call) -> tuple[Type, str]:
        if call.name in ("/", "left"):
            _require_constant(call)
        kinds, texts = zip(*(self.expression(argument) for argument in call.arguments), strict=True)
        if call.name == "is null":
            return "truth", f"({texts[0]} IS NULL)"
        if call.name == "case":
            return self._case(kinds, texts)
        if call.name in (*_COMPARISONS, "in", "between"):
            if len(set(kinds)) != 1 or kinds[0] == "truth" or len(texts) < 2:
                raise _mismatch(call)
            if call.name == "in":
                return "truth", f"({texts[0]} IN ({', '.join(texts[1:])}))"
            return (
                "truth",
                f"({texts[0]} BETWEEN {texts[1]} AND {texts[2]})"
                if call.name == "between"
                else f"({texts[0]} {call.name} {texts[1]})",
            )
        wanted, kind, form = _FIXED[call.name]
        if kinds != wanted:
            raise _mismatch(call)
        return kind, form.format(*texts)

    def _case(self, kinds: tuple[Type, ...], texts: tuple[str, ...]) -> tuple[Type, str]:
        conditions, results = kinds[:-1:2], {*kinds[1:-1:2], kinds[-1]}
        if set(conditions) != {"truth"} or len(results) != 1:
            raise BadInput("analysis_types", "A CASE has conditions, and results of one type.")
        whens = " ".join(
            f"WHEN {texts[index]} THEN {texts[index + 1]}" for index in range(0, len(texts) - 1, 2)
        )
        return kinds[-1], f"(CASE {whens} ELSE {texts[-1]} END)"


def _require_constant(call: Call) -> None:
    second = call.arguments[1]
    number = second.value if isinstance(second, Value) else None
    if not isinstance(number, float) or number == 0:
        raise BadInput(
            "analysis_types",
            "A division is by a constant that is not zero."
            if call.name == "/"
            else "left takes a number of characters.",
        )
    if call.name == "left" and not (number.is_integer() and 1 <= number <= 64):
        raise BadInput("analysis_types", "left takes 1 to 64 characters.")


def _mismatch(call: Call) -> BadInput:
    return BadInput(
        "analysis_types",
        f"The operation {call.name} does not fit the types of its arguments.",
    )
