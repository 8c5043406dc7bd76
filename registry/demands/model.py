"""Demands and their answers. Times in Unix seconds.

A bank posts a **demand** at its own node: what it needs, for which purpose. The nodes of
departments fetch the open demands of all banks. A department answers with one of its assets; the
answer goes to the bank's node. Nothing of it is a right: the bank asks for a grant as for any
asset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Demand:
    """A bank's demand for data."""

    demand_id: str
    """32 hexadecimal digits."""
    title: str
    text: str
    purpose: str
    columns: tuple[str, ...]
    """Wanted columns in the bank's own words."""
    posted_at: int

    def to_json(self) -> dict[str, Any]:
        """As other nodes read it."""
        return {
            "demandId": self.demand_id,
            "title": self.title,
            "text": self.text,
            "purpose": self.purpose,
            "columns": list(self.columns),
            "postedAt": self.posted_at,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` writes, without checking it."""
        return cls(
            demand_id=value["demandId"],
            title=value["title"],
            text=value["text"],
            purpose=value["purpose"],
            columns=tuple(value["columns"]),
            posted_at=value["postedAt"],
        )


@dataclass(frozen=True, slots=True)
class DemandAnswer:
    """A department's asset in answer to a demand."""

    department: str
    asset_id: bytes
    note: str
    answered_at: int


@dataclass(frozen=True, slots=True)
class OwnDemand:
    """A demand of this bank with its answers."""

    demand: Demand
    withdrawn_at: int | None
    answers: tuple[DemandAnswer, ...]


@dataclass(frozen=True, slots=True)
class ReceivedDemand:
    """A demand of another member, and what this department answered."""

    bank: str
    demand: Demand
    answered_with: bytes | None
    """The asset; None where there is no answer of this department."""
