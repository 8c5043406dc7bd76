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


def month_start(seconds: float) -> int:
    """Unix seconds of the city's midnight at the start of that moment's month."""
    moment = datetime.datetime.fromtimestamp(int(seconds), city_zone())
    return int(moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


def local_day(seconds: float) -> str:
    """The city's day of that moment: ``2026-11-30``."""
    return datetime.datetime.fromtimestamp(int(seconds), city_zone()).date().isoformat()


def day_bounds(day: str) -> tuple[int, int]:
    """Unix seconds of a day's start and end, written as ``2026-11-30``; ``day_malformed``."""
    try:
        date = datetime.date.fromisoformat(day)
        midnight = datetime.datetime.combine(date, datetime.time(), city_zone())
        following = datetime.datetime.combine(
            date + datetime.timedelta(days=1), datetime.time(), city_zone()
        )
    except (ValueError, OverflowError) as error:
        raise BadInput("day_malformed", "A day is written as 2026-11-30.") from error
    return int(midnight.timestamp()), int(following.timestamp())


def day_after(day: str) -> str:
    """The day after a day, both written as ``2026-11-30``; ``day_malformed``."""
    return local_day(day_bounds(day)[1])
