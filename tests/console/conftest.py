"""A console in this process, for tests of one page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console import TestConsole, running_console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[TestConsole]:
    with running_console(tmp_path) as made:
        yield made
