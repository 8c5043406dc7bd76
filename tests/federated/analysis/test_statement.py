"""A statement that the checker accepts runs in DuckDB, computes what it states, and returns only
groups that are large enough.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federated.analysis import child
from federated.analysis.answer import permitted, table
from federated.analysis.confined import Computed, _read, bounded, compute, encode_rows
from federated.analysis.policy import AnalysisLimits, Policy
from federated.analysis.releases import Released
from federated.analysis.statement import CompiledAnalysis, write
from federated.analysis.syntax import (
    Analysis,
    Call,
    Cell,
    ColumnReference,
    Expression,
    Key,
    Value,
    read,
)
from federated.errors import BadInput
from federated.job import Table
from tests.federated.analysis.conftest import POLICY, make_table

MIN_ROWS = 10
TABLE = make_table(200)
RULES = Policy.parse(
    POLICY.replace('uses = ["filter"]', 'uses = ["group", "filter"]').encode(),
).sources["records"]

# --- A second reading of the forms, one row at a time ---------------------------------------------


def value_of(expression: Expression, row: dict[str, Any]) -> Any:
    """An expression's value; ``None`` is missing, as in SQL."""
    if isinstance(expression, ColumnReference):
        value = row[expression.name]
        return (
            value
            if value is None or isinstance(value, str)
            else None
            if value != value
            else float(value)
        )
    if isinstance(expression, Value):
        return expression.value
    if expression.name == "case":
        *pairs, default = expression.arguments
        for condition, result in zip(pairs[::2], pairs[1::2], strict=True):
            if value_of(condition, row) is True:
                return value_of(result, row)
        return value_of(default, row)
    values = [value_of(argument, row) for argument in expression.arguments]
    if expression.name == "is null":
        return values[0] is None
    if expression.name in ("and", "or"):
        decisive = expression.name == "or"
        return decisive if decisive in values else None if None in values else not decisive
    if expression.name == "in":
        first, *rest = values
        return None if first is None else True if first in rest else None if None in rest else False
    if expression.name == "between":
        parts = [
            None if None in values[:2] else values[0] >= values[1],
            None if None in values[::2] else values[0] <= values[2],
        ]
        return False if False in parts else None if None in parts else True
    return None if None in values else OPERATIONS[expression.name](*values)


def half_away(value: float) -> float:
    return value if not math.isfinite(value) else math.copysign(math.floor(abs(value) + 0.5), value)


OPERATIONS: dict[str, Any] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "not": lambda a: not a,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "negative": lambda a: -a,
    "abs": abs,
    "floor": lambda a: float(math.floor(a)),
    "ceil": lambda a: float(math.ceil(a)),
    "round": half_away,
    "lower": str.lower,
    "upper": str.upper,
    "length": lambda a: float(len(a)),
    "left": lambda a, n: a[: int(n)],
}


def expected(analysis: Analysis) -> dict[tuple[Any, ...], list[tuple[int, int]]]:
    """For each group of at least ``MIN_ROWS`` rows: each cell's number of rows or values, and their
    sum.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    scaled = {name: bounded(TABLE.columns[name], RULES[name]) for name in ("Income",)}
    for index in range(len(TABLE)):
        row = {name: column[index] for name, column in TABLE.columns.items()} | {"place": index}
        if analysis.where is None or value_of(analysis.where, row) is True:
            groups[tuple(value_of(key.expression, row) for key in analysis.keys)].append(row)
    out = {}
    for key, rows in groups.items():
        if len(rows) >= MIN_ROWS:
            out[key] = [_cell(cell, rows, scaled) for cell in analysis.cells]
    return out


def _cell(cell: Cell, rows: list[dict[str, Any]], scaled: dict[str, Any]) -> tuple[int, int]:
    selected = [
        row["place"] for row in rows if cell.only is None or value_of(cell.only, row) is True
    ]
    if cell.column is None:
        return len(selected), 0
    values, missing = scaled[cell.column]
    held = [int(values[index]) for index in selected if not missing[index]]
    return len(held), sum(held)


# --- Expressions of all shapes --------------------------------------------------------------------

NUMBERS = st.integers(-90, 90).map(lambda number: Value(float(number))) | st.sampled_from(
    [Value(0.5), Value(1e15), ColumnReference("Age")],
)
TEXTS = st.sampled_from(
    [
        Value("owner"),
        Value("x'y"),
        Value('"; DROP TABLE rows; --'),
        Value("自有"),
        Value(""),
        ColumnReference("Home"),
        ColumnReference("Status"),
    ]
)


def bigger(number: Any, text: Any, truth: Any) -> tuple[Any, Any, Any]:
    def call(name: str, *arguments: Any) -> Any:
        return st.tuples(*arguments).map(lambda values: Call(name, values))

    constant = st.sampled_from([Value(10.0), Value(-3.0), Value(0.25)])
    numbers = [call(name, number, number) for name in "+-*"] + [
        call(name, number) for name in ("negative", "abs", "floor", "ceil", "round")
    ]
    numbers += [
        call("/", number, constant),
        call("length", text),
        call("case", truth, number, number),
    ]
    texts = [
        call("lower", text),
        call("upper", text),
        call("left", text, st.integers(1, 64).map(lambda number: Value(float(number)))),
    ]
    texts += [call("case", truth, text, truth, text, text)]
    truths = [
        call(name, kind, kind)
        for name in ("=", "<>", "<", "<=", ">", ">=")
        for kind in (number, text)
    ]
    truths += [
        call("and", truth, truth),
        call("or", truth, truth),
        call("not", truth),
        call("between", number, number, number),
    ]
    truths += [call("in", text, text, text), call("is null", text), call("is null", number)]
    return number | st.one_of(numbers), text | st.one_of(texts), truth | st.one_of(truths)


def shapes(depth: int) -> tuple[Any, Any, Any]:
    number, text = NUMBERS, TEXTS
    truth = st.tuples(st.sampled_from([ColumnReference("Age")]), NUMBERS).map(
        lambda arguments: Call(">", arguments),
    )
    for _ in range(depth):
        number, text, truth = bigger(number, text, truth)
    return number, text, truth


NUMBER, TEXT, TRUTH = shapes(2)


@st.composite
def analyses(draw: Any) -> Analysis:
    keys = tuple(
        Key(f"k{index}", expression)
        for index, expression in enumerate(draw(st.lists(NUMBER | TEXT, max_size=2, unique=True)))
    )
    cells = tuple(
        Cell(f"v{index}", function, column, only)
        for index, ((function, column), only) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.sampled_from(
                            [
                                ("count", None),
                                ("count", "Income"),
                                ("sum", "Income"),
                                ("avg", "Income"),
                            ]
                        ),
                        st.none() | TRUTH,
                    ),
                    min_size=1,
                    max_size=3,
                )
            )
        )
    )
    return Analysis("records", keys + cells, draw(st.none() | TRUTH))


def in_this_process(
    statement: CompiledAnalysis, max_groups: int, source: Table = TABLE
) -> Computed:
    """The child's own steps with its own settings, without its process: for the many small cases
    here.
    """
    rows = encode_rows(source, statement, RULES)
    base = duckdb.connect(":memory:", config=child.settings(256))
    base.register("given", rows)
    base.execute("CREATE TABLE rows AS SELECT * FROM given")
    base.execute("SET lock_configuration = true")
    base.execute(statement.marked, list(statement.parameters))
    base.execute(statement.groups)
    out = pa.BufferOutputStream()
    for query in ("SELECT * FROM groups ORDER BY g", statement.members):
        answer = base.sql(query).to_arrow_table()
        with pa.ipc.new_stream(out, answer.schema) as stream:
            stream.write_table(answer)
    base.close()
    return _read(out.getvalue().to_pybytes(), len(rows), statement, max_groups)


@given(analyses())
@settings(suppress_health_check=list(HealthCheck))
def test_what_passes_runs_and_gives_only_permitted_cells(analysis: Analysis) -> None:
    statement = write(analysis, RULES, min_rows=MIN_ROWS, max_groups=1000)
    computed = in_this_process(statement, 1000)
    wanted = expected(analysis)
    indexes = [
        statement.statistic_of(
            cell,
            tuple(dict.fromkeys(cell.only for cell in analysis.cells if cell.only is not None)),
        )
        for cell in analysis.cells
    ]
    got = {
        keys: [
            (int(computed.sizes[group, index]), int(computed.sums[group, index]))
            for index in indexes
        ]
        for group, keys in enumerate(computed.keys)
    }
    assert got == wanted
    holds = {"Income": ~np.isnan(TABLE.columns["Income"])}
    allowed = permitted(Released(), computed, statement, holds, len(TABLE), MIN_ROWS)
    rows = table(analysis, statement, RULES, computed, allowed, computed.sizes, computed.sums)
    assert len(rows) <= len(wanted)
    for row in rows:
        cells = wanted[tuple(row[: len(analysis.keys)])]
        for value, (size, total), cell in zip(
            row[len(analysis.keys) :],
            cells,
            analysis.cells,
            strict=True,
        ):
            if value is not None:
                assert size >= MIN_ROWS
                assert value == {"count": size, "sum": total / 100, "avg": total / 100 / size}[
                    cell.function
                ] or value == pytest.approx(total / 100 / size)


@given(st.lists(analyses(), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=settings().max_examples // 5, suppress_health_check=list(HealthCheck))
def test_which_groups_and_cells_are_given_out_does_not_depend_on_values_that_are_not_known(
    asked: list[Analysis],
    seed: int,
) -> None:
    """Two sources that are alike in what is known, and hold other incomes: whatever is asked, in
    whatever order, the same is held back.
    """
    other = TABLE.columns["Income"] * 0 + np.random.default_rng(seed).uniform(
        -9000,
        9000,
        len(TABLE),
    )
    sources = [TABLE, Table(TABLE.ids, {**TABLE.columns, "Income": other})]
    shown: list[list[Any]] = [[], []]
    for source, seen in zip(sources, shown, strict=True):
        released, holds = Released(), {"Income": ~np.isnan(source.columns["Income"])}
        for analysis in asked:
            statement = write(analysis, RULES, min_rows=MIN_ROWS, max_groups=1000)
            computed = in_this_process(statement, 1000, source)
            seen.append(
                (
                    computed.keys,
                    permitted(released, computed, statement, holds, len(source), MIN_ROWS).tolist(),
                )
            )
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "where",
    [
        "Home > 1",
        "Age = 'x'",
        "Home + 1 = 2",
        "Age",
        "Home",
        "NOT Age",
        "Age AND Age > 1",
        "lower(Age) = 'x'",
        "abs(Home) = 1",
        "left(Home, Age) = 'x'",
        "left(Home, 0) = 'x'",
        "left(Home, 1.5) = 'x'",
        "left(Home, 65) = 'x'",
        "Age IN (1, 'x')",
        "Age BETWEEN 1 AND 'x'",
        "(Age > 1) = (Age > 2)",
        "CASE WHEN Age THEN 1 ELSE 2 END = 1",
        "CASE WHEN Age > 1 THEN 1 ELSE 'x' END = 1",
        "1 / Age > 1",
        "Age / 0 > 1",
        "Age / (1 - 1) > 1",
    ],
)
def test_operations_that_do_not_fit_or_may_fail_on_some_data_are_refused(where: str) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "analysis_types"):
        write(
            read(f"SELECT count(*) FROM records WHERE {where}"),
            RULES,
            min_rows=MIN_ROWS,
            max_groups=10,
        )


def test_nothing_of_the_submitted_text_is_in_what_runs() -> None:
    analysis = read(
        "SELECT \"Home\" AS \"'; DROP TABLE rows; --\", count(*) FROM records WHERE Home <> '''; DROP TABLE rows; --' GROUP BY Home",
    )
    statement = write(analysis, RULES, min_rows=MIN_ROWS, max_groups=10)
    assert "DROP" not in statement.marked + statement.groups + statement.members
    assert statement.parameters == ("'; DROP TABLE rows; --",)


def test_numbers_that_are_not_finite_are_missing_keys() -> None:
    big = " * ".join(["Age", *(["1000000000000000"] * 25)])
    analysis = read(f"SELECT {big} AS k, count(*) FROM records GROUP BY {big}")
    computed = in_this_process(write(analysis, RULES, min_rows=MIN_ROWS, max_groups=10), 10)
    assert computed.keys == [(None,)]
    assert computed.sizes.tolist() == [[200]]


def test_the_two_zeros_are_one_key() -> None:
    analysis = read("SELECT -0 * Age AS k, count(*) FROM records GROUP BY -0 * Age")
    computed = in_this_process(write(analysis, RULES, min_rows=MIN_ROWS, max_groups=10), 10)
    assert [math.copysign(1, key) for (key,) in computed.keys if isinstance(key, float)] == [1.0]


def test_the_confined_process_computes_the_same() -> None:
    sql = "SELECT Home, floor(Age / 20) AS a, count(*), sum(Income) FILTER (WHERE Status = 'bad') FROM records WHERE Age > 20 GROUP BY Home, floor(Age / 20)"
    statement = write(read(sql), RULES, min_rows=MIN_ROWS, max_groups=100)
    here = in_this_process(statement, 100)
    there = compute(
        encode_rows(TABLE, statement, RULES), statement, AnalysisLimits(), max_groups=100
    )
    assert here.keys == there.keys
    assert (here.sizes == there.sizes).all()
    assert (here.sums == there.sums).all()
    assert sorted(zip(here.rows.tolist(), here.groups.tolist(), strict=True)) == sorted(
        zip(there.rows.tolist(), there.groups.tolist(), strict=True),
    )


# --- A process that lies --------------------------------------------------------------------------


def written(groups: pa.Table, members: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    for batch in (groups, members):
        with pa.ipc.new_stream(out, batch.schema) as stream:
            stream.write_table(batch)
    return bytes(out.getvalue().to_pybytes())


GROUPS = pa.table({"g": pa.array([0, 1], pa.int32()), "k0": ["a", "b"], "n0": [2, 1]})
MEMBERS = pa.table({"r": pa.array([0, 1, 2], pa.int32()), "g": pa.array([0, 0, 1], pa.int32())})


@pytest.mark.parametrize(
    ("groups", "members"),
    [
        (GROUPS.set_column(2, "n0", pa.array([3, 1])), MEMBERS),
        (GROUPS.set_column(2, "n0", pa.array([2.0, 1.0])), MEMBERS),
        (GROUPS.set_column(2, "n0", pa.array([2, None])), MEMBERS),
        (GROUPS.set_column(0, "g", pa.array([1, 0])), MEMBERS),
        (GROUPS.drop_columns("k0"), MEMBERS),
        (GROUPS, MEMBERS.set_column(0, "r", pa.array([0, 0, 2]))),
        (GROUPS, MEMBERS.set_column(0, "r", pa.array([0, 1, 3]))),
        (GROUPS, MEMBERS.set_column(0, "r", pa.array([0, 1, -1]))),
        (GROUPS, MEMBERS.set_column(1, "g", pa.array([0, 0, 2]))),
        (GROUPS, MEMBERS.set_column(1, "g", pa.array([0, 0, -1]))),
        (GROUPS, MEMBERS.drop_columns("g")),
    ],
)
def test_an_answer_that_cannot_be_is_not_taken(groups: pa.Table, members: pa.Table) -> None:
    statement = write(
        read("SELECT Home, count(*) FROM records GROUP BY Home"),
        RULES,
        min_rows=MIN_ROWS,
        max_groups=10,
    )
    assert _read(written(GROUPS, MEMBERS), 3, statement, 10).keys == [("a",), ("b",)]
    with pytest.raises((ValueError, KeyError)):
        _read(written(groups, members), 3, statement, 10)
    with pytest.raises((ValueError, OSError)):
        _read(written(GROUPS, MEMBERS)[:-40], 3, statement, 10)
