"""Reasons for a low score: the columns that took most points from it.

    "reasons": {"below": 540, "columns": {"tax": ["Records"]}, "most": 4, "against": "mean",
                "step": 10}

Rows that score less than ``below`` get up to ``most`` reasons. The label party's own columns count
always; of a department only those listed in ``columns``. Each party computes what its own columns
took, against the points of the mean training row (which are 0, for points are centred) or of the
column's ``best`` bin. A department is asked only about rows below the cut-off, sends at most
``most`` listed columns of each, and rounds the points down to multiples of ``step``; less than that
is no reason. It thus learns which of its rows score below the cut-off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, PeerFault
from federated.job import Job
from federated.session import Session
from federated.vertical.messages import receive_array, send_array
from federated.vertical.points import MAX_POINTS, Points, ScorecardPart, with_dtype_of

MAX_REASONS = 16
_KINDS = ("mean", "best")

Lost = Callable[[Sequence[str]], Points]
"""Points that each named column took from each row: (rows, names)."""


@dataclass(frozen=True)
class Reason:
    """A column that took points from a score."""

    party: str
    column: str
    points: int

    def __str__(self) -> str:
        return f"{self.party}: {self.column} -{self.points}"


@dataclass(frozen=True)
class ReasonTerms:
    """What the specification allows. ``columns``: by department."""

    below: int
    columns: Mapping[str, tuple[str, ...]]
    most: int = 4
    against: str = "mean"
    step: int = 10

    @classmethod
    def read(cls, given: Any, job: Job) -> ReasonTerms | None:
        """Read the parameter ``reasons`` of a job, ``None`` if there is none; ``spec_parameters``,
        ``spec_columns``.
        """
        if given is None:
            return None
        if not isinstance(given, Mapping) or set(given) - set(cls.__dataclass_fields__):
            raise BadInput(
                "spec_parameters",
                "reasons has the parameters below, columns, most, against and step.",
            )
        whole = {"below": 1 << 30, "most": MAX_REASONS, "step": 10**4}
        numbers = {"most": cls.most, "step": cls.step, **given}
        for name, maximum in whole.items():
            value, minimum = numbers.get(name), -maximum if name == "below" else 1
            if type(value) is not int or not minimum <= value <= maximum:
                raise BadInput(
                    "spec_parameters",
                    f"reasons: {name} is not a whole number from {minimum} to {maximum}.",
                )
        if given.get("against", cls.against) not in _KINDS:
            raise BadInput("spec_parameters", "reasons: against is mean or best.")
        return cls(
            numbers["below"],
            _allowed(given.get("columns", {}), job),
            numbers["most"],
            given.get("against", cls.against),
            numbers["step"],
        )

    # --- At each party ----------------------------------------------------------------------------

    def lost(
        self, part: ScorecardPart, columns: Mapping[str, NDArray[Any]], names: Sequence[str]
    ) -> Points:
        """Return the points that these columns took from each row, (rows, names), as multiples of
        the step. A column that is not in the model took none.
        """
        by_name = {column.bins.column: column for column in part.columns}
        taken = []
        for name in names:
            if name not in by_name:
                taken.append(np.zeros(len(columns[name]), np.int64))
                continue
            column = by_name[name]
            points = column.points_of(with_dtype_of(columns[name], column.bins))
            reference = max(column.points) if self.against == "best" else 0
            taken.append(np.maximum(reference - points, 0) // self.step * self.step)
        return np.column_stack(taken)

    async def answer(self, session: Session, label: str, lost: Lost, rows: int) -> None:
        """At a department: answer which listed columns took most points from the rows that the
        label party asks about. ``rows``: how many there are. Raises ``message_malformed``.
        """
        names = self.columns.get(session.party, ())
        if not names:
            return
        count = (await session.to(label).receive("reasons/count")).integer("rows", maximum=rows)
        asked = await receive_array(session, label, "reasons/rows", count, "uint32")
        if (asked >= rows).any() or (np.diff(asked.astype(np.int64)) <= 0).any():
            raise PeerFault(
                "message_malformed", f"{label} asks about rows that are not there.", peer=label
            )
        taken = lost(names)[asked.astype(np.int64)]
        chosen = np.argsort(-taken, axis=1, kind="stable")[:, : self.most]
        points = np.take_along_axis(taken, chosen, axis=1)
        # A column that took nothing is not named: its place is that of the first column.
        await send_array(
            session, label, "reasons/columns", np.where(points > 0, chosen, 0).astype(np.uint16)
        )
        await send_array(session, label, "reasons/points", points.astype(np.uint32))

    async def ask(
        self,
        session: Session,
        departments: Sequence[str],
        own: Sequence[str],
        lost: Lost,
        scores: Points,
    ) -> list[tuple[Reason, ...]]:
        """At the label party: return the reasons of each row, none for rows that do not score
        below the cut-off. ``own``: its columns. Raises ``message_malformed``.
        """
        rows = np.flatnonzero(scores < self.below)
        found: list[list[Reason]] = [[] for _ in rows]
        if own:
            _collect(found, session.party, own, None, lost(own)[rows])
        for name in departments:
            allowed = self.columns.get(name, ())
            if allowed:
                await session.to(name).send("reasons/count", rows=len(rows))
                await send_array(session, name, "reasons/rows", rows.astype(np.uint32))
        for name in departments:
            allowed = self.columns.get(name, ())
            if allowed:
                chosen, points = await self._answered(session, name, len(rows), len(allowed))
                _collect(found, name, allowed, chosen, points)
        reasons: list[tuple[Reason, ...]] = [()] * len(scores)
        for row, candidates in zip(rows.tolist(), found, strict=True):
            strongest = sorted(candidates, key=lambda reason: -reason.points)
            reasons[row] = tuple(strongest[: self.most])
        return reasons

    async def _answered(
        self, session: Session, name: str, rows: int, columns: int
    ) -> tuple[NDArray[np.int64], Points]:
        width = min(self.most, columns)
        chosen = await _matrix(session, name, "reasons/columns", rows, width, "uint16")
        points = await _matrix(session, name, "reasons/points", rows, width, "uint32")
        malformed = (chosen >= columns).any() or (points > 2 * MAX_POINTS).any()
        if malformed or (points % self.step).any():
            raise PeerFault("message_malformed", f"{name}'s reasons are malformed.", peer=name)
        return chosen, points


async def _matrix(
    session: Session, name: str, kind: str, rows: int, width: int, dtype: str
) -> NDArray[np.int64]:
    flat = await receive_array(session, name, kind, rows * width, dtype)
    return flat.astype(np.int64).reshape(rows, width)


def _collect(
    found: list[list[Reason]],
    party: str,
    names: Sequence[str],
    chosen: NDArray[np.int64] | None,
    points: Points,
) -> None:
    """Add a party's reasons. ``chosen``: the column of each figure, if they are not in order."""
    for row, place in zip(*np.nonzero(points), strict=True):
        column = names[place if chosen is None else chosen[row, place]]
        found[row].append(Reason(party, column, int(points[row, place])))


def listed(reasons: Sequence[tuple[Reason, ...]]) -> list[str]:
    """Return the reasons of each row for ``scores.csv``."""
    return ["; ".join(map(str, row)) for row in reasons]


def by_column(reasons: Sequence[tuple[Reason, ...]]) -> list[dict[str, Any]]:
    """Return for each column how many rows have it as a reason, and as the first one."""
    named = Counter(f"{reason.party}: {reason.column}" for row in reasons for reason in row)
    first = Counter(f"{row[0].party}: {row[0].column}" for row in reasons if row)
    return [
        {"column": name, "rows": rows, "first": first[name]}
        for name, rows in sorted(named.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _allowed(given: Any, job: Job) -> dict[str, tuple[str, ...]]:
    departments = job.with_role("features")
    if not isinstance(given, Mapping) or set(given) - set(departments):
        raise BadInput(
            "spec_parameters", "reasons: columns maps departments to the columns they may name."
        )
    for name, columns in given.items():
        if (
            not isinstance(columns, list)
            or not all(isinstance(column, str) for column in columns)
            or len(set(columns)) != len(columns)
            or set(columns) - set(job.parties[name].columns)
        ):
            raise BadInput(
                "spec_columns",
                f"reasons: columns of {name} are not columns of its part in the job.",
            )
    return {name: tuple(columns) for name, columns in given.items()}
