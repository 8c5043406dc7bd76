"""Result tables as files."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv


def csv_of(**columns: list[Any]) -> bytes:
    """Columns of equal length as CSV."""
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out)
    return out.getvalue()
