"""Scoring by a scorecard: the label party adds up the departments' masked points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import Conflict
from federated.job import Table
from federated.session import Session
from federated.vertical.masked_sums import PairwiseMask, send_masked_points, sum_points
from federated.vertical.points import Points, ScorecardPart


class LabelPoints:
    """The label party's points of all rows of its table."""

    def __init__(self, part: ScorecardPart, table: Table) -> None:
        if part.scale is None:
            raise Conflict("model_differs", "The pinned model is not that of a label party.")
        self.model, self.features, self._scale = part.model, part.features, part.scale
        self._own = part.points_of(table.columns, len(table))
        self.part, self.table = part, table

    async def scores(
        self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]
    ) -> Points:
        """Return the points of the rows, own and others' together."""
        return await sum_points(session, departments, self._own[rows])

    def probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of bad on the scorecard's scale."""
        return self._scale.probability(scores)


class FeaturePoints:
    """A department's points of all rows of its table."""

    def __init__(self, part: ScorecardPart, table: Table) -> None:
        self.model, self._own = part.model, part.points_of(table.columns, len(table))
        self.part, self.table = part, table

    async def prepare(self, session: Session, departments: Sequence[str]) -> None:
        """Agree on pairwise masks."""
        self._mask = await PairwiseMask.agree(session, departments)

    async def answer(
        self, session: Session, label: str, rows: NDArray[np.int64], first: int
    ) -> None:
        """Send masked points."""
        await send_masked_points(session, label, self._mask, self._own[rows], first)


def label_scorer(data: bytes, table: Table) -> LabelPoints:
    """Read ``model.json``; ``model_malformed``, ``model_differs``, ``column_missing``,
    ``column_differs``.
    """
    return LabelPoints(ScorecardPart.from_bytes(data), table)


def feature_scorer(data: bytes, table: Table) -> FeaturePoints:
    """Read ``model.json``; the errors of ``label_scorer``."""
    return FeaturePoints(ScorecardPart.from_bytes(data), table)
