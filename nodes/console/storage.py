"""What services of the console need of a node: its database and a clock.

A running node's ``Context`` has both; a command on a stopped or running node opens them itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from chain.core.database import Database


class Records(Protocol):
    """Database and clock."""

    @property
    def database(self) -> Database:
        """The node's database."""

    def now(self) -> int:
        """Unix seconds."""


@dataclass(frozen=True)
class OpenRecords:
    """The records of a node, opened by a command."""

    database: Database

    def now(self) -> int:
        """Unix seconds."""
        return int(time.time())
