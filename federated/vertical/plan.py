"""What all parties of a scorecard's training agree on, read from the job.

    {"label": "Status", "bad": "bad", "good": "good", "test_share": 0.2, "test_column": null, "bins": 8, "least_rows": 30, "least_cases": 10,
     "iterations": 20, "base_points": 600, "base_odds": 50, "points_to_double": 40, "alignment": {}}

``label`` is a column of the label party; each of its values must be ``bad`` or ``good``. ``test_column``, if given, is another column of it with 1
for rows to test with and 0 for rows to train with (by date, say); otherwise ``test_share`` of the rows are drawn. ``alignment``: parameters of the
intersections. Own columns of a party are those the specification names for it, without label and test column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.holdout import held_out
from federated.intersection import Terms
from federated.job import Job, Table
from federated.randomness import Randomness
from federated.vertical.dealing import Shape
from federated.vertical.fixed import LARGEST, bits_needed
from federated.vertical.points import Scale

MOST_PARTIES = 8
"""That bring data."""
MOST_COLUMNS = 256
"""Of all parties together."""
ROWS_FOR_A_COLUMN = 10
"""Training rows that each column takes at least (Peduzzi and others, *J. Clin. Epidemiol.* 49, 1996, say ten cases)."""

_NUMBERS = {
    "bins": (2, 64, int),
    "least_rows": (10, 10**6, int),
    "least_cases": (5, 10**6, int),
    "iterations": (1, 20, int),
    "base_points": (0, 10**6, int),
    "test_share": (0.01, 0.9, float),
    "base_odds": (1e-3, 1e6, float),
    "points_to_double": (1, 10**4, float),
}


@dataclass(frozen=True)
class Plan:
    """The parameters. Names as in the specification."""

    label: str
    bad: str | float = 1
    good: str | float = 0
    test_share: float = 0.2
    test_column: str | None = None
    bins: int = 8
    least_rows: int = 30
    least_cases: int = 10
    iterations: int = 20
    base_points: int = 600
    base_odds: float = 50
    points_to_double: float = 40
    alignment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Plan:
        """Parameters from a specification; ``spec_parameters``."""
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown or "label" not in given:
            raise BadInput("spec_parameters", f"A scorecard has no parameter {unknown[0]:.40}." if unknown else "A scorecard needs a label.")
        plan = cls(**given)
        for name, (least, most, kind) in _NUMBERS.items():
            value = getattr(plan, name)
            if type(value) not in ((int,) if kind is int else (int, float)) or not least <= value <= most:
                raise BadInput("spec_parameters", f"{name} is not {'a whole number' if kind is int else 'a number'} from {least} to {most}.")
        texts = isinstance(plan.label, str) and (plan.test_column is None or isinstance(plan.test_column, str)) and plan.label != plan.test_column
        outcomes = {type(plan.bad), type(plan.good)}
        if not texts or not (outcomes == {str} or outcomes <= {int, float}) or plan.bad == plan.good:
            raise BadInput("spec_parameters", "label and test_column name two columns; bad and good are two texts or two numbers.")
        if plan.unseen and plan.test_column is not None:
            raise BadInput("spec_parameters", "A test column tells which rows are common: with reveal nobody rows to test with are drawn.")
        return plan

    @property
    def unseen(self) -> bool:
        """Whether nobody is to learn which rows are common."""
        return self.terms.reveal == "nobody"

    @property
    def terms(self) -> Terms:
        """How common rows are found."""
        return alignment_terms(self.alignment, also="nobody")

    @property
    def scale(self) -> Scale:
        """How log-odds become points."""
        return Scale(self.base_points, self.base_odds, self.points_to_double)

    # --- At the label party ----------------------------------------------------------------------------------------------------------

    def outcomes(self, table: Table) -> NDArray[np.bool_]:
        """Which rows are bad; ``label_not_binary`` if a value is neither."""
        values = table.columns[self.label]
        if (values.dtype.kind == "f") != (not isinstance(self.bad, str)):
            raise BadInput(
                "label_not_binary", f"The label {self.label} is {'a text' if values.dtype.kind != 'f' else 'a number'}, unlike bad and good."
            )
        bad, good = values == self.bad, values == self.good
        if not (bad | good).all():
            count = int((~(bad | good)).sum())
            raise BadInput(
                "label_not_binary", f"{count} rows have a label that is neither bad nor good.", hint="Map every value, and leave open cases out."
            )
        return np.asarray(bad, np.bool_)

    def tested(self, table: Table, randomness: Randomness) -> NDArray[np.bool_]:
        """Which rows are kept for the test; ``column_not_binary``."""
        return held_out(table, randomness, share=self.test_share, column=self.test_column)


@dataclass(frozen=True)
class Sides:
    """Who is what in a job, and each one's own columns."""

    label: str
    features: tuple[str, ...]
    dealer: str
    columns: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, job: Job, plan: Plan) -> Sides:
        """Read them; ``spec_roles``, ``spec_columns``."""
        label, dealer, features = job.only("label"), job.only("dealer"), tuple(job.with_role("features"))
        if not features:
            raise BadInput("spec_roles", "A scorecard needs at least one party in the role features.")
        if len(features) >= MOST_PARTIES:
            raise BadInput("spec_roles", f"At most {MOST_PARTIES} parties bring data into a scorecard.")
        if job.parties[dealer].source is not None or job.parties[dealer].columns:
            raise BadInput("spec_roles", "The dealer brings no data: give it no source and no columns.")
        taken = {plan.label} | ({plan.test_column} if plan.test_column else set())
        columns = {name: job.parties[name].columns for name in features}
        columns[label] = tuple(each for each in job.parties[label].columns if each not in taken)
        for name, own in columns.items():
            if job.parties[name].source is None:
                raise BadInput("spec_roles", f"{name} brings no source; every party but the dealer needs one.")
            if len(set(own)) != len(own) or (name != label and not own):
                raise BadInput("spec_columns", f"{name} must name its columns, each once.")
        if taken - set(job.parties[label].columns):
            raise BadInput("spec_columns", f"{label} must name the label among its columns, and the test column if there is one.")
        if sum(map(len, columns.values())) > MOST_COLUMNS:
            raise BadInput("spec_columns", f"A scorecard has at most {MOST_COLUMNS} columns.")
        return cls(label, features, dealer, columns)

    @property
    def data_parties(self) -> tuple[str, ...]:
        """Who holds shares, in the dealing's order: the label party is the last."""
        return (*self.features, self.label)

    def require_rows(self, rows: int) -> None:
        """``too_few_rows`` if these are too few to train with."""
        width = sum(map(len, self.columns.values()))
        if rows < ROWS_FOR_A_COLUMN * max(width, 2):
            raise BadInput("too_few_rows", f"{rows} rows to train with are too few for {width} columns.", hint="Ten rows a column are the least.")

    def sized(self, rows: int) -> Shape:
        """So many rows of all columns; the label party has one column more, of ones."""
        return Shape(rows, {name: len(self.columns[name]) for name in self.features} | {self.label: len(self.columns[self.label]) + 1})

    def shape(self, rows: int) -> Shape:
        """The training's size; ``too_few_rows``, ``too_many_rows``."""
        self.require_rows(rows)
        if bits_needed(rows, len(self.columns)) > LARGEST:
            most = 1 << math.floor(math.log2(rows))
            while bits_needed(most, len(self.columns)) > LARGEST:
                most >>= 1
            raise BadInput("too_many_rows", f"{rows} rows do not fit the ring.", hint=f"Train with at most {most} rows; a sample is enough.")
        return self.sized(rows)


def agreed(job: Job) -> tuple[Plan, Sides]:
    """A job's plan and sides, checked."""
    plan = Plan.read(job.parameters)
    return plan, Sides.of(job, plan)


def alignment_terms(given: Any, *, also: str = "receiver") -> Terms:
    """The parameters of the intersections with the departments; ``spec_parameters``, ``reveal_not_offered`` and the other codes of ``Terms``.

    ``also``: what they may reveal besides what the label party needs to know of a row.
    """
    if not isinstance(given, Mapping):
        raise BadInput("spec_parameters", "alignment holds the parameters of an intersection.")
    terms = Terms.read(given)
    if terms.reveal not in ("receiver", also):
        raise BadInput("reveal_not_offered", "An alignment reveals what its model needs; leave reveal at receiver.")
    return terms


def require_finite(columns: Mapping[str, NDArray[Any]]) -> None:
    """``column_malformed`` for an infinite value; a missing one is a value like any other."""
    for name, values in columns.items():
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise BadInput("column_malformed", f"The column {name} has an infinite value.")
