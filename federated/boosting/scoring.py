"""Rows scored by a forest: a department says for each of its splits which of the rows that are asked for go left, the label party walks the trees.

A department answers for all its splits, whatever way a row takes through the trees: it learns neither the way nor the score. The label party learns
one bit of each split for each row, which ``docs/protocols/boosting.md`` weighs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.boosting.messages import packed
from federated.boosting.model import LabelPart, Part, Sides, read_forest, read_part
from federated.boosting.trees import Scores, chances
from federated.errors import Conflict, PeerFault
from federated.job import Table
from federated.session import Session
from federated.vertical.messages import receive_words, send_words


class LabelTrees:
    """The trees, and where all rows of the label party's table go at its own splits."""

    def __init__(self, forest: LabelPart, table: Table) -> None:
        self.model, self.features, self._forest = forest.own.model, forest.features, forest
        self._own = forest.own.sides(table.columns, len(table))

    async def scores(self, session: Session, departments: Sequence[str], rows: NDArray[np.int64]) -> Scores:
        """Log-odds of bad."""
        sides = {self._forest.party: self._own[rows]}
        for name in departments:
            sides[name] = await _receive(session, name, len(rows), self._forest.splits(name))
        return await asyncio.to_thread(self._forest.scores, sides, len(rows))

    def chances(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """By the logistic function."""
        return chances(scores)


class FeatureSides:
    """Where all rows of a department's table go at its splits."""

    def __init__(self, part: Part, table: Table) -> None:
        self.model, self._own = part.model, part.sides(table.columns, len(table))

    async def prepare(self, _session: Session, _departments: Sequence[str]) -> None:
        """Nothing: sides of several departments do not add up, so none hides behind another."""

    async def answer(self, session: Session, label: str, rows: NDArray[np.int64], _first: int) -> None:
        """Send the sides."""
        await send_words(session, label, "scoring/sides", packed(self._own[rows]))


def label_side(data: bytes, table: Table) -> LabelTrees:
    """From ``model.json``; ``model_malformed``, ``model_differs``, ``column_missing``, ``column_differs``."""
    forest = read_forest(data)
    if forest is None:
        raise Conflict("model_differs", "The pinned model is not that of a label party.")
    return LabelTrees(forest, table)


def feature_side(data: bytes, table: Table) -> FeatureSides:
    """From ``model.json``; as ``label_side``."""
    return FeatureSides(read_part(data), table)


async def _receive(session: Session, peer: str, rows: int, splits: int) -> Sides:
    data = await receive_words(session, peer, "scoring/sides", -(-rows * splits // 8), "uint8") if splits else np.empty(0, np.uint8)
    sides = np.unpackbits(data.astype(np.uint8)).astype(np.bool_)
    if sides[rows * splits :].any():
        raise PeerFault("message_malformed", f"{peer} sends sides of more rows than were asked for.", peer=peer)
    return sides[: rows * splits].reshape(rows, splits)
