"""The allowed SQL of a submitted analysis, parsed from its syntax tree into our own forms.

    SELECT Home, floor(Age / 10) AS decade, count(*),
           avg(Income) FILTER (WHERE Status = 'bad') AS income
    FROM records WHERE Age >= 18 GROUP BY Home, floor(Age / 10)

One SELECT over one table; keys computed from columns; ``count``, ``sum`` and ``avg`` over bare
columns, optionally with a filter. Every node and every argument of a node is on a list of allowed
ones; anything else is refused, whatever it means. The submitted text never runs: the SQL that runs
is generated from these forms (``statement``), so that comments, quoting, escapes and dialects have
no effect.

No allowed form gives a single row's value (``min``, ``max``, ``first``, ``string_agg``, quantiles),
weighs rows differently within an aggregate (expressions, conditions, DISTINCT, second moments), or
fails on some data and not on other (casts, division by what may be zero).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federated.errors import BadInput

MAX_CHARACTERS = 4096
MAX_DEPTH = 32
MAX_NODES = 400
_MAX_NUMBER = 1e15

Function = Literal["count", "sum", "avg"]
Use = Literal["group", "filter", "aggregate"]


@dataclass(frozen=True)
class ColumnReference:
    """A column of the source."""

    name: str


@dataclass(frozen=True)
class Value:
    """A constant: a number or a text."""

    value: float | str


@dataclass(frozen=True)
class Call:
    """An operation on a row's values; the names are those of ``statement``."""

    name: str
    arguments: tuple[Expression, ...]


Expression = ColumnReference | Value | Call


@dataclass(frozen=True)
class Key:
    """An output that rows are grouped by."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class Cell:
    """An output computed from a group.

    ``function`` over the values of ``column`` (``None``: over rows), of the rows where ``only``
    holds.
    """

    name: str
    function: Function
    column: str | None
    only: Expression | None


@dataclass(frozen=True)
class Analysis:
    """A submitted analysis that was understood as a whole."""

    table: str
    outputs: tuple[Key | Cell, ...]
    where: Expression | None

    @property
    def keys(self) -> tuple[Key, ...]:
        """The outputs that rows are grouped by; none: all rows are one group."""
        return tuple(output for output in self.outputs if isinstance(output, Key))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The outputs computed from each group."""
        return tuple(output for output in self.outputs if isinstance(output, Cell))

    def uses(self) -> set[tuple[str, Use]]:
        """Return which column has which use."""
        used: set[tuple[str, Use]] = {
            (name, "group") for key in self.keys for name in columns_of(key.expression)
        }
        used |= {
            (name, "filter")
            for condition in (self.where, *(cell.only for cell in self.cells))
            if condition is not None
            for name in columns_of(condition)
        }
        return used | {(cell.column, "aggregate") for cell in self.cells if cell.column is not None}

    def columns(self) -> set[str]:
        """Return the columns that are read."""
        return {name for name, _ in self.uses()}

    def functions(self) -> set[str]:
        """Return the functions over groups."""
        return {cell.function for cell in self.cells}


def read(sql: object) -> Analysis:
    """Parse an analysis.

    Raises:
        BadInput: ``analysis_text`` (no text, too long, invisible characters),
            ``analysis_unreadable`` (not SQL), ``analysis_too_deep``, ``analysis_refused`` (SQL
            outside the forms above).
    """
    text = _text(sql)
    try:
        if any(token.comments for token in sqlglot.tokenize(text, read="duckdb")):
            raise BadInput(
                "analysis_refused",
                "An analysis has no comments: its reader approves exactly what runs.",
            )
        parsed = sqlglot.parse(text, read="duckdb")
    except RecursionError as error:
        raise _too_deep() from error
    except (SqlglotError, ValueError) as error:
        raise BadInput(
            "analysis_unreadable",
            "The analysis is not SQL that can be read.",
        ) from error
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Select):
        raise BadInput("analysis_refused", "An analysis is one SELECT.")
    return _Reader().select(parsed[0])


def columns_of(expression: Expression) -> Iterator[str]:
    """Yield the columns in an expression."""
    if isinstance(expression, ColumnReference):
        yield expression.name
    elif isinstance(expression, Call):
        for argument in expression.arguments:
            yield from columns_of(argument)


def _text(sql: object) -> str:
    if not isinstance(sql, str) or not sql.strip() or len(sql) > MAX_CHARACTERS:
        raise BadInput(
            "analysis_text",
            f"An analysis is a text of at most {MAX_CHARACTERS} characters.",
        )
    for character in sql:
        # With direction marks, joiners or unusual spaces a text could read otherwise than it
        # parses.
        if unicodedata.category(character)[0] in "CZ" and character not in " \n\t":
            raise BadInput(
                "analysis_text",
                f"The analysis holds U+{ord(character):04X}, an invisible character.",
                hint="Write it with plain spaces.",
            )
    return sql


def _too_deep() -> BadInput:
    return BadInput(
        "analysis_too_deep",
        f"An analysis has at most {MAX_NODES} parts, nested at most {MAX_DEPTH} deep.",
    )


_OPERATIONS: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.EQ: ("=", ("this", "expression")),
    exp.NEQ: ("<>", ("this", "expression")),
    exp.LT: ("<", ("this", "expression")),
    exp.LTE: ("<=", ("this", "expression")),
    exp.GT: (">", ("this", "expression")),
    exp.GTE: (">=", ("this", "expression")),
    exp.And: ("and", ("this", "expression")),
    exp.Or: ("or", ("this", "expression")),
    exp.Not: ("not", ("this",)),
    exp.Between: ("between", ("this", "low", "high")),
    exp.Add: ("+", ("this", "expression")),
    exp.Sub: ("-", ("this", "expression")),
    exp.Mul: ("*", ("this", "expression")),
    exp.Div: ("/", ("this", "expression")),
    exp.Neg: ("negative", ("this",)),
    exp.Abs: ("abs", ("this",)),
    exp.Floor: ("floor", ("this",)),
    exp.Ceil: ("ceil", ("this",)),
    exp.Round: ("round", ("this",)),
    exp.Lower: ("lower", ("this",)),
    exp.Upper: ("upper", ("this",)),
    exp.Length: ("length", ("this",)),
    exp.Left: ("left", ("this", "expression")),
}
_FUNCTIONS: dict[type[exp.Expr], Function] = {exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg"}


class _Reader:
    """Reads one tree, counting its nodes."""

    def __init__(self) -> None:
        self._nodes = 0

    def select(self, select: exp.Select) -> Analysis:
        parts = _parts(select, ("expressions", "from_", "where", "group"))
        where = None if parts["where"] is None else self._where(parts["where"])
        grouped: list[Expression] = []
        if parts["group"] is not None:
            keys_of_group = _parts(parts["group"], ("expressions",))["expressions"] or ()
            grouped = [self.expression(part) for part in keys_of_group]
        outputs = tuple(
            self._output(index, part) for index, part in enumerate(parts["expressions"] or ())
        )
        analysis = Analysis(self._table(parts["from_"]), outputs, where)
        names = [output.name for output in outputs]
        if len(set(names)) != len(names):
            raise BadInput(
                "analysis_refused",
                "Two outputs have one name.",
                hint="Give each a name of its own with AS.",
            )
        keys = [key.expression for key in analysis.keys]
        if (
            len(set(grouped)) != len(grouped)
            or len(keys) != len(grouped)
            or set(keys) != set(grouped)
        ):
            hint = "Write each one in both places; single rows are not released."
            raise BadInput(
                "analysis_refused",
                "What is selected outside aggregates must be exactly what rows are grouped by.",
                hint=hint,
            )
        if not all(any(columns_of(key)) for key in keys):
            raise BadInput("analysis_refused", "Every grouping key must name a column.")
        if not analysis.cells:
            raise BadInput("analysis_refused", "An analysis has at least one aggregate.")
        return analysis

    def _table(self, node: exp.Expr | None) -> str:
        if node is None:
            raise BadInput("analysis_refused", "An analysis names the source it reads.")
        table = _parts(node, ("this",))["this"]
        if not isinstance(table, exp.Table):
            raise _refused(table)
        name = _name(_parts(table, ("this",))["this"])
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise BadInput("analysis_refused", "The source has a plain name: no path, no address.")
        return name

    def _output(self, index: int, node: exp.Expr) -> Key | Cell:
        name, inner = None, node
        if isinstance(node, exp.Alias):
            parts = _parts(node, ("this", "alias"))
            name, inner = _name(parts["alias"]), parts["this"]
        only = None
        if isinstance(inner, exp.Filter):
            parts = _parts(inner, ("this", "expression"))
            inner, only = parts["this"], self._where(parts["expression"])
        function = _FUNCTIONS.get(type(inner))
        if function is not None:
            column = self._argument(inner, function)
            return Cell(
                name or (function if column is None else f"{function}_{column}"),
                function,
                column,
                only,
            )
        if only is not None:
            raise _refused(inner)
        expression = self.expression(inner)
        return Key(
            name
            or (expression.name if isinstance(expression, ColumnReference) else f"key_{index}"),
            expression,
        )

    def _argument(self, node: exp.Expr, function: Function) -> str | None:
        argument = _parts(node, ("this",), ignored=("big_int",))["this"]
        if function == "count" and isinstance(argument, exp.Star):
            _parts(argument, ())
            return None
        column = self.expression(argument) if argument is not None else None
        if not isinstance(column, ColumnReference):
            raise BadInput(
                "analysis_refused",
                f"{function} is over a column, not over an expression.",
                hint="Filter with FILTER (WHERE …).",
            )
        return column.name

    def _where(self, node: exp.Expr) -> Expression:
        return self.expression(_parts(node, ("this",))["this"])

    def expression(self, node: exp.Expr, depth: int = 0) -> Expression:
        """Parse an expression over one row."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _too_deep()
        deeper = depth + 1
        if isinstance(node, exp.Paren):
            return self.expression(_parts(node, ("this",))["this"], deeper)
        if isinstance(node, exp.Column):
            return ColumnReference(_name(_parts(node, ("this",))["this"]))
        if isinstance(node, exp.Literal):
            return _constant(node)
        if isinstance(node, exp.Is):
            parts = _parts(node, ("this", "expression"))
            if not isinstance(parts["expression"], exp.Null):
                raise _refused(node)
            return Call("is null", (self.expression(parts["this"], deeper),))
        if isinstance(node, exp.In):
            parts = _parts(node, ("this", "expressions"))
            return Call(
                "in",
                tuple(
                    self.expression(operand, deeper)
                    for operand in (parts["this"], *(parts["expressions"] or ()))
                ),
            )
        if isinstance(node, exp.Case):
            return self._case(node, deeper)
        if type(node) not in _OPERATIONS:
            raise _refused(node)
        name, names = _OPERATIONS[type(node)]
        parts = _parts(node, names, ignored=("typed", "safe"))
        if any(parts[name] is None for name in names):
            raise _refused(node)
        return Call(name, tuple(self.expression(parts[name], deeper) for name in names))

    def _case(self, node: exp.Case, depth: int) -> Call:
        parts = _parts(node, ("ifs", "default"))
        if parts["default"] is None:
            raise BadInput("analysis_refused", "A CASE has an ELSE.")
        arguments: list[Expression] = []
        for part in parts["ifs"] or ():
            inner = _parts(part, ("this", "true"))
            arguments += [
                self.expression(inner["this"], depth),
                self.expression(inner["true"], depth),
            ]
        return Call("case", (*arguments, self.expression(parts["default"], depth)))


def _parts(node: object, names: Sequence[str], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """Return a node's arguments of these names; ``analysis_refused`` if it has any other."""
    if not isinstance(node, exp.Expr):
        raise _refused(node)
    given = {
        name: value
        for name, value in node.args.items()
        if value is not None and value is not False and value != []
    }
    if set(given) - {*names, *ignored}:
        raise _refused(node)
    return {name: given.get(name) for name in names}


def _name(node: object) -> str:
    if (
        not isinstance(node, exp.Identifier)
        or not isinstance(node.this, str)
        or not 0 < len(node.this) <= 64
    ):
        raise BadInput(
            "analysis_refused",
            "Names are plain: no paths, no schemas, at most 64 characters.",
        )
    return node.this


def _constant(node: exp.Literal) -> Value:
    if node.is_string:
        return Value(str(node.this))
    try:
        number = float(node.this)
    except ValueError:
        number = math.nan
    if not abs(number) <= _MAX_NUMBER:
        raise BadInput(
            "analysis_refused",
            f"The number {str(node.this)[:40]} is invalid or too large.",
        )
    return Value(number)


def _refused(node: object) -> BadInput:
    what = type(node).__name__
    return BadInput(
        "analysis_refused",
        f"An analysis may not use {what}, or not in this way.",
        hint="See docs/protocols/analysis.md.",
    )
