"""How values are shown: the city's time with its zone, money in yuan, short ids."""

from __future__ import annotations

import datetime

from markupsafe import Markup

from chain.core.zone import city_zone, local_time

SHORT = 10
"""Characters shown of a long id; the whole one is in its title and is copied with it."""


def moment(seconds: float | None) -> Markup:
    """Unix seconds as a ``<time>`` in the city's zone; a dash for none. A time beyond the calendar,
    which a stranger's statement may name, is shown as a number.
    """
    if seconds is None:
        return Markup("<span class='none'>–</span>")
    try:
        exact = datetime.datetime.fromtimestamp(int(seconds), city_zone()).isoformat()
    except (ValueError, OverflowError, OSError):
        return Markup("<span>{} s</span>").format(int(seconds))
    return Markup('<time datetime="{}">{}</time>').format(exact, local_time(seconds))


def yuan(fen: int) -> str:
    """Fen as yuan with two decimals: ``1,234.56``."""
    sign, amount = ("-" if fen < 0 else ""), abs(fen)
    return f"{sign}{amount // 100:,}.{amount % 100:02d}"


def count(number: int) -> str:
    """An integer with separators between thousands."""
    return f"{number:,}"


def short(identifier: str) -> Markup:
    """A long id, cut in the middle; hovering and copying give the whole one."""
    if len(identifier) <= 2 * SHORT:
        return Markup('<code class="id">{}</code>').format(identifier)
    cut = f"{identifier[:SHORT]}…{identifier[-6:]}"
    return Markup('<code class="id" title="{}">{}</code>').format(identifier, cut)


def hexadecimal(data: bytes) -> str:
    """Bytes as 0x hex."""
    return "0x" + data.hex()


FILTERS = {
    "moment": moment,
    "yuan": yuan,
    "count": count,
    "short": short,
    "hex": hexadecimal,
}
"""The filters of the templates, by name."""
