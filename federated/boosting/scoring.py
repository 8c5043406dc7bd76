"""Scoring by a forest: departments send the sides of the requested rows at their splits, and the
label party walks the trees.

A department answers for all its splits, whatever path a row takes: it learns neither path nor
score. The label party learns one bit per split and row; ``docs/protocols/boosting.md`` assesses
that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.boosting.messages import pack_bits
from federated.boosting.model import ForestPart, LabelForestPart, SplitSides, read_forest, read_part
from federated.boosting.trees import Scores, probabilities
from federated.errors import Conflict, PeerFault
from federated.job import Table
from federated.session import Session
from federated.vertical.messages import receive_array, send_array


class LabelTrees:
    """The trees, and the sides of all rows of the label party's table at its own splits."""

    def __init__(self, forest: LabelForestPart, table: Table) -> None:
        self.model, self.features, self._forest = forest.own.model, forest.features, forest
        self._own = forest.own.sides(table.columns, len(table))

    async def scores(
        self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]
    ) -> Scores:
        """Return the log-odds of bad."""
        sides = {self._forest.party: self._own[rows]}
        for name in departments:
            sides[name] = await _receive(session, name, len(rows), self._forest.splits(name))
        return await asyncio.to_thread(self._forest.scores, sides, len(rows))

    def probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logistic function of the scores."""
        return probabilities(scores)


class FeatureSides:
    """The sides of all rows of a department's table at its splits."""

    def __init__(self, part: ForestPart, table: Table) -> None:
        self.model, self._own = part.model, part.sides(table.columns, len(table))

    async def prepare(self, _session: Session, _departments: Sequence[str]) -> None:
        """Do nothing: sides of several departments do not add up, so pairwise masks cannot hide
        them.
        """

    async def answer(
        self, session: Session, label: str, rows: NDArray[np.int64], _first: int
    ) -> None:
        """Send the sides."""
        await send_array(session, label, "scoring/sides", pack_bits(self._own[rows]))


def label_scorer(data: bytes, table: Table) -> LabelTrees:
    """Read ``model.json``; ``model_malformed``, ``model_differs``, ``column_missing``,
    ``column_differs``.
    """
    forest = read_forest(data)
    if forest is None:
        raise Conflict("model_differs", "The pinned model is not that of a label party.")
    return LabelTrees(forest, table)


def feature_scorer(data: bytes, table: Table) -> FeatureSides:
    """Read ``model.json``; the errors of ``label_scorer``."""
    return FeatureSides(read_part(data), table)


async def _receive(session: Session, peer: str, rows: int, splits: int) -> SplitSides:
    data = (
        await receive_array(session, peer, "scoring/sides", -(-rows * splits // 8), "uint8")
        if splits
        else np.empty(0, np.uint8)
    )
    sides = np.unpackbits(data.astype(np.uint8)).astype(np.bool_)
    if sides[rows * splits :].any():
        raise PeerFault(
            "message_malformed", f"{peer} sent sides of more rows than requested.", peer=peer
        )
    return sides[: rows * splits].reshape(rows, splits)
