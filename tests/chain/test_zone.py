"""People's days are the city's days, wherever the machine believes to be."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.core.errors import BadInput
from chain.core.zone import DAY_SECONDS, city_zone, day_start, local_time

# 2026-11-30 23:30 UTC is already 1 December in the city.
LATE = int(datetime.datetime(2026, 11, 30, 23, 30, tzinfo=datetime.UTC).timestamp())


def test_times_are_shown_in_the_citys_zone_with_its_offset() -> None:
    assert local_time(LATE) == "2026-12-01 07:30 +08:00"


def test_a_day_begins_at_the_citys_midnight() -> None:
    assert local_time(day_start(LATE)) == "2026-12-01 00:00 +08:00"
    assert local_time(day_start(LATE, days=1)) == "2026-12-02 00:00 +08:00"


def test_the_machines_own_zone_changes_nothing() -> None:
    code = f"from chain.core.zone import local_time; print(local_time({LATE}))"
    environment = {**os.environ, "TZ": "America/New_York"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "2026-12-01 07:30 +08:00"


@settings(max_examples=50)
@given(st.integers(1_000_000_000, 4_000_000_000))
def test_every_moment_is_within_the_day_that_is_named(moment: int) -> None:
    assert day_start(moment) <= moment < day_start(moment) + DAY_SECONDS


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="Guangdong"):
        city_zone("China/Guangdong")
