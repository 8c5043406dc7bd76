"""Points of a scorecard: an integer for each bin of each column, stored by the party that holds the
column.

The score of a row is the base, stored by the label party, plus the points of its bins at all
parties. More points mean less risk. Odds of ``base_odds`` good rows to one bad row score
``base_points``; ``points_to_double`` more points double the odds (Siddiqi, *Credit Risk
Scorecards*, 2006).
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
from federated.vertical.binning import BinLayout, Bins, WeightsOfEvidence

VERSION = 1
MAX_POINTS = 1 << 24
"""The largest absolute value of one bin's points: sums over all columns fit into 32 bits."""

Points = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The scale from log-odds to points."""

    base_points: int
    base_odds: float
    points_to_double: float

    @property
    def factor(self) -> float:
        """Points per unit of log-odds."""
        return self.points_to_double / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.base_points - self.factor * math.log(self.base_odds)

    def probability(self, scores: Points) -> NDArray[np.float64]:
        """Return the probability of bad for each score."""
        return np.asarray(
            1 / (1 + np.exp(np.clip((scores - self.offset) / self.factor, -700, 700))), np.float64
        )


@dataclass(frozen=True)
class ScorecardColumn:
    """One column of a scorecard. ``points`` by bin; ``elsewhere``: the points of a row without a
    bin.
    """

    bins: Bins
    rows: tuple[int, ...]
    woe: tuple[float, ...]
    weight: float
    points: tuple[int, ...]
    elsewhere: int

    @classmethod
    def of(
        cls,
        bins: Bins,
        layout: BinLayout,
        evidence: WeightsOfEvidence,
        *,
        weight: float,
        mean: float,
        factor: float,
    ) -> ScorecardColumn:
        """Compute the points from the column's weight in the model, which expects
        centred evidence.
        """
        *points, elsewhere = (
            np.rint(-factor * weight * (np.array([*evidence.woe, 0.0]) - mean))
            .clip(-MAX_POINTS, MAX_POINTS)
            .astype(int)
            .tolist()
        )
        return cls(
            bins,
            layout.rows,
            tuple(round(woe, 4) for woe in evidence.woe),
            weight,
            tuple(points),
            elsewhere,
        )

    def points_of(self, values: NDArray[Any]) -> Points:
        """Return the points of each row."""
        return np.array([*self.points, self.elsewhere], np.int64)[self.bins.codes(values)]

    def to_json(self) -> dict[str, Any]:
        """Return the form in the model's file. Weights are rounded: the points are what counts."""
        given = asdict(self.bins)
        table = [
            {"bin": name, "rows": rows, "woe": woe, "points": points}
            for name, rows, woe, points in zip(
                self.bins.names, self.rows, self.woe, self.points, strict=True
            )
        ]
        return {
            **given,
            "weight": round(self.weight, 6),
            "bins": table,
            "elsewhere": self.elsewhere,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ScorecardColumn:
        """Read it back; ``KeyError``, ``TypeError`` or ``ValueError`` if it is malformed."""
        bins = Bins(
            value["column"],
            value["numeric"],
            tuple(map(float, value["edges"])),
            tuple(value["values"]),
            value["other"],
            value["missing"],
            tuple(map(float, value.get("special", ()))),
            tuple(map(float, value.get("rare", ()))),
        )
        table = value["bins"]
        points = [*(row["points"] for row in table), value["elsewhere"]]
        if [row["bin"] for row in table] != bins.names or not all(
            type(point) is int and abs(point) <= MAX_POINTS for point in points
        ):
            raise ValueError("the points do not fit the bins")
        rows, woe = (
            tuple(int(row["rows"]) for row in table),
            tuple(float(row["woe"]) for row in table),
        )
        return cls(bins, rows, woe, float(value["weight"]), tuple(points[:-1]), points[-1])


@dataclass(frozen=True)
class ScorecardPart:
    """One party's part of a scorecard. ``model``: the identifier that all parts share.

    At the label party only: ``base``, ``scale``, and ``features``, the departments that hold the
    other parts. ``salt`` hides the content of the file from parties that see its digest.
    """

    model: str
    salt: str
    columns: tuple[ScorecardColumn, ...]
    base: int = 0
    scale: Scale | None = None
    features: tuple[str, ...] = ()

    def points_of(self, columns: Mapping[str, NDArray[Any]], count: int) -> Points:
        """Return each row's points from this party's columns, base included; ``column_missing``,
        ``column_differs``.
        """
        total = np.full(count, self.base, np.int64)
        for column in self.columns:
            name = column.bins.column
            if name not in columns:
                raise BadInput(
                    "column_missing",
                    f"The model needs the column {name}, which the job does not name.",
                )
            total += column.points_of(with_dtype_of(columns[name], column.bins))
        return total

    def to_bytes(self) -> bytes:
        """``model.json``."""
        value = {
            "version": VERSION,
            "kind": "scorecard",
            "model": self.model,
            "salt": self.salt,
            "columns": [column.to_json() for column in self.columns],
        }
        if self.scale is not None:
            value |= {
                "base": self.base,
                "scale": asdict(self.scale),
                "features": list(self.features),
            }
        return json.dumps(value, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ScorecardPart:
        """Read ``model.json``; ``model_malformed``."""
        try:
            value = json.loads(data)
            if (value["version"], value["kind"]) != (VERSION, "scorecard"):
                raise ValueError("of another version or kind")
            scale = None if "scale" not in value else Scale(**value["scale"])
            columns, features = (
                tuple(ScorecardColumn.from_json(entry) for entry in value["columns"]),
                tuple(map(str, value.get("features", ()))),
            )
            return cls(
                value["model"], value["salt"], columns, int(value.get("base", 0)), scale, features
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput("model_malformed", f"The model's file is malformed: {error}.") from error


def with_dtype_of(values: NDArray[Any], bins: Bins) -> NDArray[Any]:
    """Return the values with the type of the bins. A column whose values are all missing has no
    type of its own. Raises ``column_differs``.
    """
    numeric = values.dtype.kind == "f"
    if numeric == bins.numeric:
        return values
    if bool(np.isnan(values).all()) if numeric else all(value is None for value in values):
        return np.full(
            len(values), np.nan if bins.numeric else None, np.float64 if bins.numeric else object
        )
    raise BadInput(
        "column_differs",
        f"The column {bins.column} was "
        f"{'a number' if bins.numeric else 'a text'} when the model was trained.",
    )


def printed_rows(part: ScorecardPart) -> Sequence[tuple[str, str, int, float, int]]:
    """Return the printed scorecard: column, bin, training rows, weight of evidence, points."""
    return [
        (column.bins.column, name, rows, woe, points)
        for column in part.columns
        for name, rows, woe, points in zip(
            column.bins.names, column.rows, column.woe, column.points, strict=True
        )
    ]
