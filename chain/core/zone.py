"""The city's time zone, in which people read times and days. Stored times are Unix seconds."""

from __future__ import annotations

import datetime
import functools
import os
import zoneinfo

from chain.core.errors import BadInput

VARIABLE = "QIAOLIAN_ZONE"
DEFAULT = "Asia/Shanghai"
_CHINA = datetime.timezone(datetime.timedelta(hours=8))
DAY_SECONDS = 86_400


@functools.cache
def city_zone(name: str | None = None) -> datetime.tzinfo:
    """The zone named, else the one in ``QIAOLIAN_ZONE``, else Asia/Shanghai; ``zone_unknown``."""
    wanted = name or os.environ.get(VARIABLE) or DEFAULT
    try:
        return zoneinfo.ZoneInfo(wanted)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        if wanted == DEFAULT:
            # A machine without a zone database; China has had one offset since 1991.
            return _CHINA
        raise BadInput(
            "zone_unknown",
            f"There is no time zone named {wanted}.",
            hint=f"Set {VARIABLE} to a name such as {DEFAULT}.",
        ) from error


def local_time(seconds: float) -> str:
    """Unix seconds as the city's time with its offset: ``2026-11-30 14:05 +08:00``."""
    moment = datetime.datetime.fromtimestamp(int(seconds), city_zone())
    return f"{moment:%Y-%m-%d %H:%M} {moment:%z}"[:-2] + ":" + f"{moment:%z}"[-2:]


def day_start(seconds: float, *, days: int = 0) -> int:
    """Unix seconds of the city's midnight at the start of that moment's day, plus ``days`` days."""
    moment = datetime.datetime.fromtimestamp(int(seconds), city_zone())
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight + datetime.timedelta(days=days)).timestamp())
