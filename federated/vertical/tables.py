"""Result tables as CSV."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv


def csv_bytes(**columns: list[Any]) -> bytes:
    """Return columns of equal length as CSV."""
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out)
    return out.getvalue()
