"""One measured figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """What was measured, against what in the same run, and what was aimed at."""

    name: str
    value: float
    unit: str
    baseline: float
    baseline_is: str
    target: str

    @property
    def ratio(self) -> float:
        """The figure as a part or multiple of its baseline."""
        return self.value / self.baseline if self.baseline else 0.0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "baseline": round(self.baseline, 3),
            "baseline_is": self.baseline_is,
            "ratio": round(self.ratio, 3),
            "target": self.target,
        }
