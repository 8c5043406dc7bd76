"""A scorecard's points: whole numbers for each bin of each column, kept by the party that holds the column.

A row's score is the base, which the label party keeps, plus the points of its bins at all parties; more points are less risk. ``base_odds`` good rows
to one bad are worth ``base_points``, and ``points_to_double`` more points are twice these odds (Siddiqi, *Credit Risk Scorecards*, 2006).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.vertical.binning import Bins, Evidence, Layout

VERSION = 1
MOST_POINTS = 1 << 24
"""In size, of one bin: sums of all columns stay within 32 bits."""

Points = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """How log-odds become points."""

    base_points: int
    base_odds: float
    points_to_double: float

    @property
    def factor(self) -> float:
        """Points for one unit of log-odds."""
        return self.points_to_double / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.base_points - self.factor * math.log(self.base_odds)

    def chance(self, scores: Points) -> NDArray[np.float64]:
        """The chance of bad that a score stands for."""
        return np.asarray(1 / (1 + np.exp(np.clip((scores - self.offset) / self.factor, -700, 700))), np.float64)


@dataclass(frozen=True)
class Column:
    """One column of a scorecard. ``points``: of each bin; ``elsewhere``: of a row that stands in none."""

    bins: Bins
    rows: tuple[int, ...]
    woe: tuple[float, ...]
    weight: float
    points: tuple[int, ...]
    elsewhere: int

    @classmethod
    def of(cls, bins: Bins, layout: Layout, evidence: Evidence, *, weight: float, mean: float, factor: float) -> Column:
        """Points by the column's weight in the model, which expects the evidence less its mean."""
        *points, elsewhere = np.rint(-factor * weight * (np.array([*evidence.woe, 0.0]) - mean)).clip(-MOST_POINTS, MOST_POINTS).astype(int).tolist()
        return cls(bins, layout.rows, tuple(round(each, 4) for each in evidence.woe), weight, tuple(points), elsewhere)

    def of_rows(self, values: NDArray[Any]) -> Points:
        """The points of each row."""
        return np.array([*self.points, self.elsewhere], np.int64)[self.bins.codes(values)]

    def to_json(self) -> dict[str, Any]:
        """For the model's file. Weights are rounded: what counts are the points."""
        given = asdict(self.bins)
        table = [
            {"bin": name, "rows": rows, "woe": woe, "points": points}
            for name, rows, woe, points in zip(self.bins.names, self.rows, self.woe, self.points, strict=True)
        ]
        return {**given, "weight": round(self.weight, 6), "bins": table, "elsewhere": self.elsewhere}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Column:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is none."""
        bins = Bins(value["column"], value["numeric"], tuple(map(float, value["edges"])), tuple(value["values"]), value["other"], value["missing"])
        table = value["bins"]
        points = [*(each["points"] for each in table), value["elsewhere"]]
        if [each["bin"] for each in table] != bins.names or not all(type(each) is int and abs(each) <= MOST_POINTS for each in points):
            raise ValueError("the points do not fit the bins")
        rows, woe = tuple(int(each["rows"]) for each in table), tuple(float(each["woe"]) for each in table)
        return cls(bins, rows, woe, float(value["weight"]), tuple(points[:-1]), points[-1])


@dataclass(frozen=True)
class Part:
    """A party's part of a scorecard. ``model``: what all parts of one scorecard have in common.

    At the label party only: ``base`` and ``scale``, and ``features``, the departments that hold the other parts.

    ``salt`` keeps the file's digest, which other parties are shown, from telling anything of its content.
    """

    model: str
    salt: str
    columns: tuple[Column, ...]
    base: int = 0
    scale: Scale | None = None
    features: tuple[str, ...] = ()

    def of_rows(self, columns: Mapping[str, NDArray[Any]], count: int) -> Points:
        """The points of each row from this party's columns, the base among them; ``column_missing``, ``column_differs``."""
        total = np.full(count, self.base, np.int64)
        for each in self.columns:
            name = each.bins.column
            if name not in columns:
                raise BadInput("column_missing", f"The model needs the column {name}, which the job does not name.")
            total += each.of_rows(typed(columns[name], each.bins))
        return total

    def to_bytes(self) -> bytes:
        """``model.json``."""
        value = {
            "version": VERSION,
            "kind": "scorecard",
            "model": self.model,
            "salt": self.salt,
            "columns": [each.to_json() for each in self.columns],
        }
        if self.scale is not None:
            value |= {"base": self.base, "scale": asdict(self.scale), "features": list(self.features)}
        return json.dumps(value, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Part:
        """Read ``model.json``; ``model_malformed``."""
        try:
            value = json.loads(data)
            if (value["version"], value["kind"]) != (VERSION, "scorecard"):
                raise ValueError("of another version or kind")
            scale = None if "scale" not in value else Scale(**value["scale"])
            columns, features = tuple(Column.from_json(each) for each in value["columns"]), tuple(map(str, value.get("features", ())))
            return cls(value["model"], value["salt"], columns, int(value.get("base", 0)), scale, features)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput("model_malformed", f"The model's file is none of this version: {error}.") from error


def typed(values: NDArray[Any], bins: Bins) -> NDArray[Any]:
    """The values, of the kind the bins are of; where all are missing, a source does not know the kind. ``column_differs``."""
    numeric = values.dtype.kind == "f"
    if numeric == bins.numeric:
        return values
    if bool(np.isnan(values).all()) if numeric else all(each is None for each in values):
        return np.full(len(values), np.nan if bins.numeric else None, np.float64 if bins.numeric else object)
    raise BadInput("column_differs", f"The column {bins.column} was {'a number' if bins.numeric else 'a text'} when the model was made.")


def lines(part: Part) -> Sequence[tuple[str, str, int, float, int]]:
    """The scorecard as it is printed: column, bin, training rows, weight of evidence, points."""
    return [
        (each.bins.column, name, rows, woe, points)
        for each in part.columns
        for name, rows, woe, points in zip(each.bins.names, each.rows, each.woe, each.points, strict=True)
    ]
