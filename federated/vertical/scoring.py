"""Rows scored by a scorecard: the departments' points under masks, added up at the label party."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import Conflict
from federated.job import Table
from federated.session import Session
from federated.vertical.points import Part, Points
from federated.vertical.sums import Veil, add_points, sum_points


class LabelPoints:
    """The label party's points, of all rows of its table."""

    def __init__(self, part: Part, table: Table) -> None:
        if part.scale is None:
            raise Conflict("model_differs", "The pinned model is not that of a label party.")
        self.model, self.features, self._scale = part.model, part.features, part.scale
        self._own = part.of_rows(table.columns, len(table))

    async def scores(self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]) -> Points:
        """Points, own and others'."""
        return await sum_points(session, departments, self._own[rows])

    def chances(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """By the scorecard's scale."""
        return self._scale.chance(scores)


class FeaturePoints:
    """A department's points, of all rows of its table."""

    def __init__(self, part: Part, table: Table) -> None:
        self.model, self._own = part.model, part.of_rows(table.columns, len(table))

    async def prepare(self, session: Session, departments: Sequence[str]) -> None:
        """Agree on masks."""
        self._veil = await Veil.agree(session, departments)

    async def answer(self, session: Session, label: str, rows: NDArray[np.int64], first: int) -> None:
        """Points under masks."""
        await add_points(session, label, self._veil, self._own[rows], first)


def label_side(data: bytes, table: Table) -> LabelPoints:
    """From ``model.json``; ``model_malformed``, ``model_differs``, ``column_missing``, ``column_differs``."""
    return LabelPoints(Part.from_bytes(data), table)


def feature_side(data: bytes, table: Table) -> FeaturePoints:
    """From ``model.json``; as ``label_side``."""
    return FeaturePoints(Part.from_bytes(data), table)
