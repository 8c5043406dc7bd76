"""One party's columns in bins, and what the label party receives of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import PeerFault
from federated.session import Session
from federated.vertical.binning import (
    NO_BIN,
    BinLayout,
    Bins,
    Codes,
    ColumnConstant,
    WeightsOfEvidence,
    bin_column,
)
from federated.vertical.plan import ScorecardPlan

_NOTHING: Mapping[str, Sequence[float]] = {}


@dataclass(frozen=True)
class BinnedColumns:
    """One party's columns, binned over the training rows.

    ``bins``, ``codes`` and ``layouts`` have one entry per column: its bins, the bin of every
    training row, and the number of rows in each bin. ``dropped``: the columns without bins, and
    why each cannot be used.
    """

    bins: tuple[Bins, ...]
    codes: tuple[Codes, ...]
    layouts: tuple[BinLayout, ...]
    dropped: Mapping[str, str]

    @classmethod
    def of(
        cls,
        columns: Mapping[str, NDArray[Any]],
        plan: ScorecardPlan,
        special: Mapping[str, Sequence[float]] = _NOTHING,
    ) -> BinnedColumns:
        """Bin the columns. A column with one value only is dropped. ``special``: by column.

        Raises ``column_constant`` if every column is, ``column_malformed`` for an infinite number.
        """
        bins: list[Bins] = []
        dropped: dict[str, str] = {}
        for name, values in columns.items():
            try:
                column_bins = bin_column(
                    name,
                    values,
                    max_bins=plan.bins,
                    min_rows=plan.min_rows,
                    special=special.get(name, ()),
                    missing_bin=plan.missing == "bin",
                )
                bins.append(column_bins)
            except ColumnConstant as error:
                dropped[name] = error.sentence
                if len(dropped) == len(columns):
                    raise
                bins.append(Bins.none(name))
        codes = tuple(column_bins.codes(columns[column_bins.column]) for column_bins in bins)
        layouts = tuple(map(BinLayout.of, bins, codes))
        return cls(tuple(bins), codes, layouts, dropped)

    def one_hot(self, rows: int) -> NDArray[np.bool_]:
        """Return (rows, all bins): whether a row falls into a bin."""
        return np.column_stack(
            [
                np.empty((rows, 0), np.bool_),
                *(
                    code[:, None] == np.arange(len(layout.rows))
                    for code, layout in self._in_bucket_order
                ),
            ]
        )

    def own_evidence(
        self, bad: NDArray[np.bool_], plan: ScorecardPlan
    ) -> tuple[WeightsOfEvidence, ...]:
        """Return the weights of evidence of each column, for the party that knows which training
        rows are bad.
        """
        return tuple(
            WeightsOfEvidence.of(
                layout,
                np.bincount(codes[(codes != NO_BIN) & bad], minlength=len(layout.rows)).tolist(),
                min_cases=plan.min_cases,
            )
            for codes, layout in self._in_bucket_order
        )

    def evidence(self, column_evidence: tuple[WeightsOfEvidence, ...]) -> NDArray[np.float64]:
        """Return (rows, columns): the weight of evidence of each training row."""
        return np.column_stack(
            [
                evidence.column(code)
                for evidence, code in zip(column_evidence, self.codes, strict=True)
            ]
        )

    @property
    def _in_bucket_order(self) -> Any:
        return zip(self.codes, self.layouts, strict=True)


def read_layouts(
    message: Message, columns: int, rows: int, plan: ScorecardPlan
) -> tuple[BinLayout, ...]:
    """Read a department's layouts; ``message_malformed`` if they break the plan."""
    value = message.value("columns")
    try:
        layouts = tuple(BinLayout(column["ordered"], tuple(column["rows"])) for column in value)
        sound = (
            len(layouts) == columns
            and all(_sound(layout, rows, plan) for layout in layouts)
            and not all(layout.dropped for layout in layouts)
        )
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise PeerFault(
            "message_malformed", f"{message.peer}'s bins do not follow the plan.", peer=message.peer
        )
    return layouts


def _sound(layout: BinLayout, rows: int, plan: ScorecardPlan) -> bool:
    if not all(type(count) is int and count >= 0 for count in (layout.ordered, *layout.rows)):
        return False
    if layout.dropped:
        return layout.ordered == 0
    fits = layout.ordered <= len(layout.rows) and 2 <= len(layout.rows) <= plan.max_bins
    return fits and sum(layout.rows) <= rows and min(layout.rows) >= plan.min_rows


async def receive_evidence(
    session: Session, label: str, binned: BinnedColumns
) -> tuple[WeightsOfEvidence, ...]:
    """Receive the weights of evidence of a department's own bins; ``message_malformed``."""
    bins = [len(layout.rows) for layout in binned.layouts]
    woe = (await session.to(label).receive("scorecard/evidence")).array(
        "words", "float64", [sum(bins)]
    )
    if not (np.abs(woe) < 32).all():
        raise PeerFault(
            "message_malformed", f"{label}'s weights of evidence are malformed.", peer=label
        )
    return tuple(
        WeightsOfEvidence(tuple(weights.tolist()), 0.0)
        for weights in np.split(woe, np.cumsum(bins)[:-1])
    )
