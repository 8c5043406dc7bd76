"""What an analysis may say: everything that is not on the list is refused, with a code that does
not depend on data.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.analysis.syntax import MAX_CHARACTERS, Call, Cell, ColumnReference, Key, Value, read
from federated.errors import BadInput

CODES = {"read", "analysis_text", "analysis_unreadable", "analysis_too_deep", "analysis_refused"}


def code_of(sql: object) -> str:
    with pytest.raises(BadInput) as caught:
        read(sql)
    return caught.value.code


def test_an_analysis_is_read_into_keys_cells_and_filters() -> None:
    sql = "SELECT Home, floor(Age / 10) AS decade, count(*), avg(Income) FILTER (WHERE Status = 'bad') AS income FROM records WHERE Age >= 18 GROUP BY floor(Age / 10), Home"
    analysis = read(sql)
    assert analysis.table == "records"
    assert analysis.keys == (
        Key("Home", ColumnReference("Home")),
        Key("decade", Call("floor", (Call("/", (ColumnReference("Age"), Value(10.0))),))),
    )
    assert analysis.cells == (
        Cell("count", "count", None, None),
        Cell("income", "avg", "Income", Call("=", (ColumnReference("Status"), Value("bad")))),
    )
    assert analysis.where == Call(">=", (ColumnReference("Age"), Value(18.0)))
    assert analysis.uses() == {
        ("Home", "group"),
        ("Age", "group"),
        ("Age", "filter"),
        ("Income", "aggregate"),
        ("Status", "filter"),
    }


def verdict(sql: str) -> str:
    """The code of its refusal, or ``read`` for an analysis whose every aggregate is of the
    three.
    """
    try:
        analysis = read(sql)
    except BadInput as error:
        return error.code
    return (
        "read"
        if analysis.functions() and analysis.functions() <= {"count", "sum", "avg"}
        else "wrong"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM records",
        'SELECT "Home", sum("Income") FROM "records" GROUP BY "Home"',
        "SELECT count(Income) FROM records WHERE NOT (Age BETWEEN 1 AND 2 OR Home IN ('a', 'b')) AND Status IS NOT NULL",
        "select CASE WHEN Age < 30 THEN 'young' ELSE 'old' END as g, count(*) from records group by CASE WHEN Age < 30 THEN 'young' ELSE 'old' END",
        "SELECT upper(left(Home, 2)), count(*) FROM records WHERE length(lower(Home)) > 3 AND abs(-Age) <> ceil(1.5) GROUP BY upper(left(Home, 2));",
    ],
)
def test_what_is_on_the_list_passes(sql: str) -> None:
    assert read(sql).table == "records"


@pytest.mark.parametrize(
    ("attack", "sql"),
    [
        ("raw rows", "SELECT Home, Income FROM records"),
        ("all columns", "SELECT * FROM records"),
        ("all columns, grouped", "SELECT *, count(*) FROM records GROUP BY ALL"),
        ("keys that are not grouped by", "SELECT Income, count(*) FROM records GROUP BY Home"),
        ("keys that are not shown", "SELECT count(*) FROM records GROUP BY Home"),
        ("group by place", "SELECT Home, count(*) FROM records GROUP BY 1"),
        ("no aggregate", "SELECT Home FROM records GROUP BY Home"),
        ("distinct rows", "SELECT DISTINCT Home, count(*) FROM records GROUP BY Home"),
        ("the least value", "SELECT min(Income) FROM records"),
        ("the largest value", "SELECT max(Income) FROM records"),
        ("any value", "SELECT any_value(Income) FROM records"),
        ("the first value", "SELECT first(Income) FROM records"),
        ("a list of values", "SELECT list(Income) FROM records"),
        ("values as one text", "SELECT string_agg(Home, ',') FROM records"),
        ("the median", "SELECT median(Income) FROM records"),
        ("a quantile", "SELECT quantile_cont(Income, 0.01) FROM records"),
        ("the row of the largest", "SELECT arg_max(Home, Income) FROM records"),
        ("second moments", "SELECT stddev(Income) FROM records"),
        ("distinct values", "SELECT count(DISTINCT Income) FROM records"),
        ("sum of distinct", "SELECT sum(DISTINCT Income) FROM records"),
        ("one row by CASE", "SELECT sum(CASE WHEN Age = 43 THEN Income ELSE 0 END) FROM records"),
        ("one row by IF", "SELECT sum(IF(Age = 43, Income, 0)) FROM records"),
        ("one row by COALESCE", "SELECT count(COALESCE(Income, Age)) FROM records"),
        ("one row by NULLIF", "SELECT count(NULLIF(Income, 3217)) FROM records"),
        (
            "one row by a CASE that is missing",
            "SELECT count(CASE WHEN Income > 5 THEN 1 END) FROM records",
        ),
        ("a condition as a number", "SELECT sum(CAST(Income > 5 AS INTEGER)) FROM records"),
        ("a condition as a number, in arithmetic", "SELECT sum(Income * (Age = 43)) FROM records"),
        ("a condition that is counted", "SELECT count(Income > 5) FROM records"),
        ("how many hold", "SELECT count_if(Income > 5) FROM records"),
        ("the value at the least", "SELECT arg_min(Income, Age) FROM records"),
        (
            "groups by their sum",
            "SELECT Home, count(*) FROM records GROUP BY Home HAVING sum(Income) > 5",
        ),
        ("rows weighed apart", "SELECT sum(Income * Age) FROM records"),
        ("powers", "SELECT sum(Income * Income) FROM records"),
        ("aggregate of a constant", "SELECT sum(1) FROM records"),
        ("arithmetic on aggregates", "SELECT sum(Income) - 1 FROM records"),
        ("window", "SELECT sum(Income) OVER (PARTITION BY Home) FROM records"),
        (
            "window in a key",
            "SELECT row_number() OVER (), count(*) FROM records GROUP BY row_number() OVER ()",
        ),
        ("qualify", "SELECT Home, count(*) FROM records GROUP BY Home QUALIFY count(*) = 1"),
        (
            "small groups alone",
            "SELECT Home, count(*) FROM records GROUP BY Home HAVING count(*) = 1",
        ),
        ("order and limit", "SELECT Home, count(*) FROM records GROUP BY Home ORDER BY 2 LIMIT 1"),
        ("offset", "SELECT Home, count(*) FROM records GROUP BY Home OFFSET 1"),
        ("sample", "SELECT count(*) FROM records USING SAMPLE 1 ROWS"),
        ("table sample", "SELECT count(*) FROM records TABLESAMPLE 1%"),
        ("rollup", "SELECT Home, count(*) FROM records GROUP BY ROLLUP (Home)"),
        ("grouping sets", "SELECT Home, count(*) FROM records GROUP BY GROUPING SETS ((Home), ())"),
        ("subquery in FROM", "SELECT count(*) FROM (SELECT * FROM records)"),
        (
            "subquery in WHERE",
            "SELECT count(*) FROM records WHERE Income = (SELECT max(Income) FROM records)",
        ),
        ("exists", "SELECT count(*) FROM records WHERE EXISTS (SELECT 1 FROM records)"),
        ("in subquery", "SELECT count(*) FROM records WHERE Age IN (SELECT Age FROM records)"),
        ("with", "WITH x AS (SELECT * FROM records) SELECT count(*) FROM x"),
        (
            "recursion",
            "WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT 1 FROM x) SELECT count(*) FROM x",
        ),
        ("union", "SELECT count(*) FROM records UNION SELECT count(*) FROM records"),
        ("join", "SELECT count(*) FROM records JOIN records AS other ON true"),
        ("cross join", "SELECT count(*) FROM records, records AS other"),
        ("lateral", "SELECT count(*) FROM records, LATERAL (SELECT 1)"),
        ("file by name", "SELECT count(*) FROM '/etc/passwd'"),
        ("file by quoted name", 'SELECT count(*) FROM "/etc"."passwd"'),
        ("csv", "SELECT count(*) FROM read_csv('/etc/passwd')"),
        ("text file", "SELECT count(*) FROM read_text('/etc/passwd')"),
        ("parquet over http", "SELECT count(*) FROM 'https://example.org/x.parquet'"),
        ("glob", "SELECT count(*) FROM glob('/*')"),
        ("range", "SELECT count(*) FROM range(1000000000)"),
        ("schema", "SELECT count(*) FROM main.records"),
        ("catalogue", "SELECT count(*) FROM information_schema.tables"),
        ("settings", "SELECT count(*) FROM duckdb_settings()"),
        ("table alias", "SELECT count(*) FROM records AS r"),
        ("qualified column", "SELECT count(records.Income) FROM records"),
        ("struct field", "SELECT count(*) FROM records WHERE Home.x = 1"),
        ("environment", "SELECT count(*) FROM records WHERE getenv('HOME') = 'x'"),
        (
            "setting of the session",
            "SELECT count(*) FROM records WHERE current_setting('threads') = '1'",
        ),
        ("clock", "SELECT count(*) FROM records WHERE now() > Age"),
        ("chance", "SELECT count(*) FROM records WHERE random() < 0.5"),
        ("sleep", "SELECT count(*) FROM records WHERE sleep_ms(10) IS NULL"),
        ("error at will", "SELECT count(*) FROM records WHERE error('x')"),
        ("cast", "SELECT count(*) FROM records WHERE CAST(Home AS INTEGER) = 1"),
        ("short cast", "SELECT count(*) FROM records WHERE Home::INTEGER = 1"),
        ("try cast", "SELECT count(*) FROM records WHERE TRY_CAST(Home AS INTEGER) = 1"),
        ("pattern", "SELECT count(*) FROM records WHERE regexp_matches(Home, '(a+)+$')"),
        ("repetition", "SELECT count(*) FROM records WHERE repeat(Home, 1000000000) = 'x'"),
        ("power", "SELECT count(*) FROM records WHERE Age ** 1000 > 1"),
        ("parameter", "SELECT count(*) FROM records WHERE Age = ?"),
        ("named parameter", "SELECT count(*) FROM records WHERE Age = $1"),
        ("lambda", "SELECT count(*) FROM records WHERE list_filter([1], x -> x = Age) = []"),
        ("star in columns", "SELECT count(COLUMNS('.*')) FROM records"),
        ("function without an argument", "SELECT count(*) FROM records WHERE abs() = 1"),
        ("function with one too many", "SELECT count(*) FROM records WHERE round(Age, 400) = 1"),
        ("count of nothing", "SELECT count() FROM records"),
        (
            "case without else",
            "SELECT count(*) FROM records WHERE CASE WHEN Age > 1 THEN 1 END = 1",
        ),
        ("null", "SELECT count(*) FROM records WHERE Age = NULL"),
        ("a constant key", "SELECT 1 AS k, count(*) FROM records GROUP BY 1"),
        ("two names alike", "SELECT count(*) AS n, sum(Income) AS n FROM records"),
        ("filter on a key", "SELECT Home FILTER (WHERE true), count(*) FROM records GROUP BY Home"),
        ("order within an aggregate", "SELECT sum(Income ORDER BY Age) FROM records"),
        ("comment", "SELECT count(*) /* of all */ FROM records"),
        ("comment at the end", "SELECT count(*) FROM records -- all"),
        ("two statements", "SELECT count(*) FROM records; SELECT count(*) FROM records"),
        ("copy", "COPY records TO '/tmp/x'"),
        ("attach", "ATTACH '/tmp/x.db'"),
        ("pragma", "PRAGMA database_list"),
        ("set", "SET threads = 8"),
        ("load", "LOAD httpfs"),
        ("install", "INSTALL httpfs"),
        ("create", "CREATE TABLE x AS SELECT count(*) FROM records"),
        ("select into", "SELECT count(*) INTO x FROM records"),
        ("insert", "INSERT INTO records VALUES (1)"),
        ("explain", "EXPLAIN ANALYZE SELECT count(*) FROM records"),
        ("from first", "FROM records"),
        ("pivot", "PIVOT records ON Home USING count(*)"),
        ("call", "CALL pragma_version()"),
        ("a number too large", "SELECT count(*) FROM records WHERE Age > 1e300"),
        ("no source", "SELECT count(*)"),
        ("values", "VALUES (1)"),
    ],
)
def test_attack_by_syntax_is_refused(attack: str, sql: str) -> None:
    assert code_of(sql) in ("analysis_refused", "analysis_unreadable"), attack


@pytest.mark.parametrize(
    "sql",
    [
        None,
        7,
        [],
        "",
        "  \n",
        "SELECT count(*) FROM records" + " " * MAX_CHARACTERS,
        "SELECT count(*) FROM records\0",
    ],
)
def test_what_is_no_text_of_fair_length_is_refused(sql: object) -> None:
    assert code_of(sql) == "analysis_text"


@pytest.mark.parametrize(
    "sign",
    ["\u202e", "\u200b", "\u00a0", "\u2028", "\u0007", "\ufeff", "\ud800", "\ue000"],
)
def test_signs_that_let_a_text_read_otherwise_than_it_parses_are_refused(sign: str) -> None:
    assert code_of(f"SELECT count(*) FROM records WHERE Home = '{sign}'") == "analysis_text"


def test_letters_of_all_scripts_are_plain() -> None:
    assert read("SELECT count(*) FROM records WHERE Home = '自有住房'").where == Call(
        "=",
        (ColumnReference("Home"), Value("自有住房")),
    )


@pytest.mark.parametrize(
    "where",
    [
        "(" * 500 + "Age" + ")" * 500 + " = 1",
        "NOT " * 500 + "Age = 1",
        "-" + " -" * 500 + "Age = 1",
        "abs(" * 200 + "Age" + ")" * 200 + " = 1",
        " AND ".join(["Age = 1"] * 200),
        "Age IN (" + ",".join(["1"] * 900) + ")",
        "CASE WHEN Age = 1 THEN " * 60 + "1" + " ELSE 1 END" * 60 + " = 1",
    ],
)
def test_nesting_and_length_are_bounded(where: str) -> None:
    assert code_of(f"SELECT count(*) FROM records WHERE {where}") in (
        "analysis_too_deep",
        "analysis_unreadable",
    )


PIECES = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "BY",
        "ORDER",
        "LIMIT",
        "HAVING",
        "count(*)",
        "sum(Income)",
        "avg",
        "(",
        ")",
        ",",
        ".",
        ";",
        "*",
        "/",
        "+",
        "-",
        "--",
        "/*",
        "*/",
        "=",
        "<>",
        "<",
        "'a'",
        "'",
        '"',
        "records",
        "Home",
        "Age",
        "Income",
        "1",
        "0",
        "NULL",
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        "FILTER",
        "floor",
        "left",
        "OVER",
        "AS",
        "WITH",
        "UNION",
        "read_csv",
        "::",
        "[",
        "]",
        "{",
        "}",
        "$1",
        "?",
        "x'00'",
        "e'\\n'",
        "$$",
        "->",
    ]
)


@given(
    st.lists(PIECES, max_size=30).map(" ".join)
    | st.text(max_size=80)
    | st.binary(max_size=40).map(lambda data: data.decode("latin-1"))
)
def test_any_text_is_read_or_refused_with_a_code(text: str) -> None:
    assert verdict(text) in CODES


@given(st.data())
def test_a_sound_analysis_with_a_piece_replaced_is_read_or_refused(data: st.DataObject) -> None:
    tokens = [
        "SELECT",
        "Home",
        ",",
        "count(*)",
        ",",
        "avg",
        "(",
        "Income",
        ")",
        "FILTER",
        "(",
        "WHERE",
        "Age",
        ">",
        "30",
        ")",
        "FROM",
        "records",
        "WHERE",
        "Age",
        "<",
        "60",
        "AND",
        "Home",
        "<>",
        "'x'",
        "GROUP",
        "BY",
        "Home",
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(PIECES)
    assert verdict(" ".join(tokens)) in CODES
