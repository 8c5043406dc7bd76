"""A party's columns cut into bins, and what the label party is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import PeerFault
from federated.session import Session
from federated.vertical.binning import Bins, Codes, Evidence, Layout, cut
from federated.vertical.plan import Plan


@dataclass(frozen=True)
class Cut:
    """A party's columns, cut by the training rows: for each its bins, every training row's bin, and the layout."""

    bins: tuple[Bins, ...]
    codes: tuple[Codes, ...]
    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], plan: Plan) -> Cut:
        """Cut; ``column_constant``, ``column_malformed``."""
        bins = tuple(cut(name, values, most=plan.bins, least=plan.least_rows) for name, values in columns.items())
        codes = tuple(each.codes(columns[each.column]) for each in bins)
        return cls(bins, codes, tuple(Layout.of(each, code) for each, code in zip(bins, codes, strict=True)))

    def inside(self, rows: int) -> NDArray[np.bool_]:
        """(rows, all bins): which bin of each column a row stands in."""
        return np.column_stack([np.empty((rows, 0), np.bool_), *(code[:, None] == np.arange(len(each.rows)) for code, each in self._laid_out)])

    def evidence(self, told: tuple[Evidence, ...]) -> NDArray[np.float64]:
        """(rows, columns): the weight of evidence of each training row."""
        return np.column_stack([each.column(code) for each, code in zip(told, self.codes, strict=True)])

    @property
    def _laid_out(self) -> Any:
        return zip(self.codes, self.layouts, strict=True)


def layouts_of(message: Message, columns: int, rows: int, plan: Plan) -> tuple[Layout, ...]:
    """A department's layouts as received; ``message_malformed`` if they cannot be such."""
    value = message.value("columns")
    try:
        layouts = tuple(Layout(each["ordered"], tuple(each["rows"])) for each in value)
        sound = len(layouts) == columns and all(_sound(each, rows, plan) for each in layouts)
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise PeerFault("message_malformed", f"{message.peer}'s bins are not as agreed.", peer=message.peer)
    return layouts


def _sound(layout: Layout, rows: int, plan: Plan) -> bool:
    if not all(type(each) is int and each >= 0 for each in (layout.ordered, *layout.rows)):
        return False
    fits = layout.ordered <= len(layout.rows) and 2 <= len(layout.rows) <= plan.bins + 2
    return fits and sum(layout.rows) <= rows and min(layout.rows) >= plan.least_rows


async def told_evidence(session: Session, label: str, cut_: Cut) -> tuple[Evidence, ...]:
    """As a department, the weights of evidence of its bins; ``message_malformed``."""
    bins = [len(each.rows) for each in cut_.layouts]
    woe = (await session.to(label).receive("scorecard/evidence")).array("words", "float64", [sum(bins)])
    if not (np.abs(woe) < 32).all():
        raise PeerFault("message_malformed", f"{label}'s weights of evidence are none.", peer=label)
    return tuple(Evidence(tuple(each.tolist()), 0.0) for each in np.split(woe, np.cumsum(bins)[:-1]))
