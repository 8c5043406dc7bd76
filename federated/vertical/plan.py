"""The plan of a scorecard's training, read from the job: what all parties agree on.

    {"label": "Status", "bad": "bad", "good": "good", "test_share": 0.2, "test_column": null,
     "bins": 10, "min_rows": 30, "min_cases": 10, "iterations": 20, "l2": 0, "base_points": 600,
     "base_odds": 50, "points_to_double": 40, "alignment": {}, "reasons": null, "special": {},
     "missing": "bin"}

``label`` is a column of the label party; each value must be ``bad`` or ``good``. ``test_column``,
if given, is another of its columns, 1 for test rows and 0 for training rows (split by date, for
example); otherwise a share of ``test_share`` rows is drawn. ``alignment`` holds the parameters of
the intersections, ``reasons`` what may be said about low scores (``vertical.reasons``), and
``special`` the numbers that are codes, such as ``{"tax": {"Expenses": [-999]}}``. Missing values
have a bin, or with ``neutral`` no bin and weight 0. A party's own columns are those the
specification names for it, without label and test column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.holdout import holdout_mask
from federated.intersection import PsiTerms
from federated.job import Job, Table
from federated.randomness import Randomness
from federated.vertical.fixed_point import VALUE_BITS, ring_bits_needed
from federated.vertical.points import Scale
from federated.vertical.preprocessing import BlockShape
from federated.vertical.reasons import ReasonTerms

MAX_PARTIES = 8
"""Parties that bring data."""
MAX_SPECIAL = 8
"""Special values of a column."""
MAX_COLUMNS = 256
"""Columns of all parties together."""
MAX_PENALTY_PER_ROW = 0.1
"""The largest ``l2`` for each training row: the step size is that of the loss alone."""
MIN_ROWS_PER_COLUMN = 10
"""Training rows that each column needs (Peduzzi and others, *J. Clin. Epidemiol.* 49, 1996,
recommend ten cases).
"""

_NUMBERS = {
    "bins": (2, 64, int),
    "min_rows": (10, 10**6, int),
    "min_cases": (5, 10**6, int),
    "iterations": (1, 20, int),
    "l2": (0, 10**5, float),
    "base_points": (0, 10**6, int),
    "test_share": (0.01, 0.9, float),
    "base_odds": (1e-3, 1e6, float),
    "points_to_double": (1, 10**4, float),
}


@dataclass(frozen=True)
class ScorecardPlan:
    """The parameters of a training, named as in the specification."""

    label: str
    bad: str | float = 1
    good: str | float = 0
    test_share: float = 0.2
    test_column: str | None = None
    bins: int = 10
    min_rows: int = 30
    min_cases: int = 10
    iterations: int = 20
    l2: float = 0
    base_points: int = 600
    base_odds: float = 50
    points_to_double: float = 40
    alignment: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, Any] | None = None
    special: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    missing: str = "bin"

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> ScorecardPlan:
        """Read the parameters of a specification; ``spec_parameters``."""
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown or "label" not in given:
            raise BadInput(
                "spec_parameters",
                f"A scorecard has no parameter {unknown[0]:.40}."
                if unknown
                else "A scorecard needs a label.",
            )
        plan = cls(**given)
        for name, (minimum, maximum, kind) in _NUMBERS.items():
            value = getattr(plan, name)
            if (
                type(value) not in ((int,) if kind is int else (int, float))
                or not minimum <= value <= maximum
            ):
                number = "a whole number" if kind is int else "a number"
                raise BadInput(
                    "spec_parameters", f"{name} is not {number} from {minimum} to {maximum}."
                )
        texts = (
            isinstance(plan.label, str)
            and (plan.test_column is None or isinstance(plan.test_column, str))
            and plan.label != plan.test_column
        )
        outcomes = {type(plan.bad), type(plan.good)}
        if (
            not texts
            or not (outcomes == {str} or outcomes <= {int, float})
            or plan.bad == plan.good
        ):
            raise BadInput(
                "spec_parameters",
                "label and test_column name two columns; bad and "
                "good are two texts or two numbers.",
            )
        if plan.missing not in ("bin", "neutral"):
            raise BadInput("spec_parameters", "missing is bin or neutral.")
        if plan.hidden_intersection and plan.test_column is not None:
            raise BadInput(
                "spec_parameters",
                "A test column reveals which rows are common; with "
                "reveal nobody the test rows are drawn.",
            )
        if plan.hidden_intersection and plan.reasons is not None:
            raise BadInput(
                "spec_parameters", "With reveal nobody no row has a score, so none has reasons."
            )
        return plan

    @property
    def max_bins(self) -> int:
        """The most bins of a column, with those of missing, other and special values."""
        of_columns = (codes for columns in self.special.values() for codes in columns.values())
        return self.bins + 2 + max(map(len, of_columns), default=0)

    def special_values(self, party: str) -> Mapping[str, Sequence[float]]:
        """Return the special values of a party's columns."""
        return self.special.get(party, {})

    def require_penalty(self, rows: int) -> None:
        """Raise ``spec_parameters`` if the penalty is too large for the steps of so few rows."""
        if self.l2 > MAX_PENALTY_PER_ROW * rows:
            raise BadInput(
                "spec_parameters",
                f"l2 is above {MAX_PENALTY_PER_ROW:g} for each of {rows} training rows.",
            )

    @property
    def hidden_intersection(self) -> bool:
        """Whether no party may learn which rows are common."""
        return self.terms.reveal == "nobody"

    @property
    def terms(self) -> PsiTerms:
        """How the common rows are found."""
        return alignment_terms(self.alignment, also="nobody")

    @property
    def scale(self) -> Scale:
        """How log-odds are scaled to points."""
        return Scale(self.base_points, self.base_odds, self.points_to_double)

    # --- At the label party -----------------------------------------------------------------------

    def outcomes(self, table: Table) -> NDArray[np.bool_]:
        """Return which rows are bad; ``label_not_binary`` if a value is neither bad nor good."""
        values = table.columns[self.label]
        if (values.dtype.kind == "f") != (not isinstance(self.bad, str)):
            raise BadInput(
                "label_not_binary",
                f"The label {self.label} is "
                f"{'a text' if values.dtype.kind != 'f' else 'a number'}, unlike bad and good.",
            )
        bad, good = values == self.bad, values == self.good
        if not (bad | good).all():
            count = int((~(bad | good)).sum())
            raise BadInput(
                "label_not_binary",
                f"{count} rows have a label that is neither bad nor good.",
                hint="Map every value, and leave out open cases.",
            )
        return np.asarray(bad, np.bool_)

    def tested(self, table: Table, randomness: Randomness) -> NDArray[np.bool_]:
        """Return the test rows; ``column_not_binary``."""
        return holdout_mask(table, randomness, share=self.test_share, column=self.test_column)


@dataclass(frozen=True)
class PartyRoles:
    """The role of each party of a job, and its own columns."""

    label: str
    features: tuple[str, ...]
    dealer: str
    columns: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, job: Job, plan: ScorecardPlan) -> PartyRoles:
        """Read the roles of a job; ``spec_roles``, ``spec_columns``."""
        label, dealer, features = (
            job.only("label"),
            job.only("dealer"),
            tuple(job.with_role("features")),
        )
        if not features:
            raise BadInput(
                "spec_roles", "A scorecard needs at least one party in the role features."
            )
        if len(features) >= MAX_PARTIES:
            raise BadInput(
                "spec_roles", f"At most {MAX_PARTIES} parties bring data into a scorecard."
            )
        if job.parties[dealer].source is not None or job.parties[dealer].columns:
            raise BadInput(
                "spec_roles", "The dealer brings no data and must have no source and no columns."
            )
        excluded = {plan.label} | ({plan.test_column} if plan.test_column else set())
        columns = {name: job.parties[name].columns for name in features}
        columns[label] = tuple(name for name in job.parties[label].columns if name not in excluded)
        for name, own in columns.items():
            if job.parties[name].source is None:
                raise BadInput(
                    "spec_roles", f"{name} has no source; every party but the dealer needs one."
                )
            if len(set(own)) != len(own) or (name != label and not own):
                raise BadInput("spec_columns", f"{name} must name its columns, without duplicates.")
        if excluded - set(job.parties[label].columns):
            raise BadInput(
                "spec_columns",
                f"{label} must name the label among its columns, and "
                "the test column if there is one.",
            )
        if sum(map(len, columns.values())) > MAX_COLUMNS:
            raise BadInput("spec_columns", f"A scorecard has at most {MAX_COLUMNS} columns.")
        return cls(label, features, dealer, columns)

    @property
    def data_parties(self) -> tuple[str, ...]:
        """The parties that hold shares, in the order of the preprocessing: the label party is the
        last.
        """
        return (*self.features, self.label)

    def require_rows(self, rows: int) -> None:
        """Raise ``too_few_rows`` unless these training rows are enough."""
        width = sum(map(len, self.columns.values()))
        if rows < MIN_ROWS_PER_COLUMN * max(width, 2):
            raise BadInput(
                "too_few_rows",
                f"{rows} training rows are too few for {width} columns.",
                hint="At least ten rows per column are needed.",
            )

    def block_shape(self, rows: int) -> BlockShape:
        """Return the shape of ``rows`` rows of all columns. The label party has one more column, of
        ones.
        """
        return BlockShape(
            rows,
            {name: len(self.columns[name]) for name in self.features}
            | {self.label: len(self.columns[self.label]) + 1},
        )

    def shape(self, rows: int) -> BlockShape:
        """Return the shape of a training; ``too_few_rows``, ``too_many_rows``."""
        self.require_rows(rows)
        if ring_bits_needed(rows, len(self.columns)) > VALUE_BITS:
            maximum = 1 << math.floor(math.log2(rows))
            while ring_bits_needed(maximum, len(self.columns)) > VALUE_BITS:
                maximum >>= 1
            raise BadInput(
                "too_many_rows",
                f"{rows} rows do not fit into the ring.",
                hint=f"Train with at most {maximum} rows, such as a sample.",
            )
        return self.block_shape(rows)


def read_plan(job: Job) -> tuple[ScorecardPlan, PartyRoles]:
    """Read and check the plan and the roles of a job."""
    plan = ScorecardPlan.read(job.parameters)
    ReasonTerms.read(plan.reasons, job)
    _require_special(plan.special, job)
    return plan, PartyRoles.of(job, plan)


def _require_special(given: Any, job: Job) -> None:
    """Check the special values; ``spec_parameters``, ``spec_columns``."""
    if not isinstance(given, Mapping) or not all(
        isinstance(columns, Mapping) and name in job.owners() for name, columns in given.items()
    ):
        raise BadInput(
            "spec_parameters", "special maps parties to columns, and columns to lists of numbers."
        )
    for name, columns in given.items():
        unknown = sorted(set(columns) - set(job.parties[name].columns))
        if unknown:
            raise BadInput(
                "spec_columns",
                f"special names the column {unknown[0]:.40} of {name}, which the job does not.",
            )
        for codes in columns.values():
            numbers = isinstance(codes, list) and all(
                type(code) in (int, float) and math.isfinite(code) for code in codes
            )
            if not numbers or not 1 <= len(set(codes)) == len(codes) <= MAX_SPECIAL:
                raise BadInput(
                    "spec_parameters",
                    f"special: a column has 1 to {MAX_SPECIAL} different numbers.",
                )


def alignment_terms(given: Any, *, also: str = "receiver") -> PsiTerms:
    """Read the parameters of the intersections; ``spec_parameters``, ``reveal_not_offered`` and the
    codes of ``PsiTerms``.

    ``also``: a value of ``reveal`` that is allowed besides ``receiver``.
    """
    if not isinstance(given, Mapping):
        raise BadInput("spec_parameters", "alignment must hold the parameters of an intersection.")
    terms = PsiTerms.read(given)
    if terms.reveal not in ("receiver", also):
        raise BadInput("reveal_not_offered", "This protocol allows only reveal receiver.")
    return terms


def require_finite(columns: Mapping[str, NDArray[Any]]) -> None:
    """Raise ``column_malformed`` for an infinite value. Missing values are allowed."""
    for name, values in columns.items():
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise BadInput("column_malformed", f"The column {name} has an infinite value.")
