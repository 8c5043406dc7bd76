"""Column types that the exchange's tables share."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


class Fen(sa.TypeDecorator[int]):
    """An amount of up to 128 bits, stored as decimal text: no database's numbers reach that far
    without rounding.
    """

    impl = sa.String(39)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Any) -> int | None:
        return None if value is None else int(value)
