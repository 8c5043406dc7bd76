"""The parameters of a joint forest, and how they read the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.boosting.trees import TreeParameters
from federated.errors import BadInput
from federated.intersection import PsiTerms

SCHEMES = ("ou", "paillier")
MAX_BINS = 256

_WHOLE = {
    "trees": (1, 1000),
    "max_depth": (1, 8),
    "bins": (2, MAX_BINS),
    "min_rows": (1, 1 << 20),
    "min_rows_summed": (1, 1 << 20),
    "first_trees_local": (0, 1000),
}
_REAL = {
    "learning_rate": (1e-6, 1.0),
    "reg_lambda": (0.0, 1e6),
    "gamma": (0.0, 1e6),
    "min_child_weight": (0.0, 1e6),
    "test_share": (0.01, 0.9),
}


@dataclass(frozen=True)
class ForestTerms:
    """A job's parameters.

    ``label``: the column. ``bad``: the value of it to predict. ``trees``: the number of trees, of
    which the first ``first_trees_local`` use only the label party's columns. ``max_depth``,
    ``learning_rate``, ``reg_lambda``, ``gamma``, ``min_child_weight`` and ``min_rows`` as in
    ``TreeParameters``. ``bins``: at most per column, each of at least ``min_rows`` rows.

    ``min_rows_summed``: a feature party discloses no sum over fewer rows, and none that follows by
    subtracting sums of one column. With 1 all sums are disclosed, and the trees are those of
    xgboost. ``test_column``: another column of the label party, 1 for test rows and 0 for training
    rows; without it a share of ``test_share`` common rows is drawn. ``scheme``: ``ou`` or
    ``paillier``. ``alignment``: the parameters of the intersection.
    """

    label: str
    bad: str | float = 1
    trees: int = 20
    max_depth: int = 5
    learning_rate: float = 0.3
    reg_lambda: float = 1.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    min_rows: int = 20
    min_rows_summed: int = 20
    bins: int = 32
    first_trees_local: int = 0
    test_share: float = 0.3
    test_column: str | None = None
    scheme: str = "ou"
    alignment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> ForestTerms:
        """Read the parameters of a job; ``spec_parameters`` and the codes of the intersection's
        terms.
        """
        unknown = sorted(set(given) - {parameter.name for parameter in fields(cls)})
        if unknown:
            raise BadInput("spec_parameters", f"Boosting has no parameter {unknown[0]:.40}.")
        if not isinstance(given.get("label"), str):
            raise BadInput("spec_parameters", "label must be the name of a column.")
        terms = cls(**given)
        if (
            not (terms.test_column is None or isinstance(terms.test_column, str))
            or terms.test_column == terms.label
        ):
            raise BadInput("spec_parameters", "test_column must be a column other than the label.")
        for name, (minimum, maximum) in _WHOLE.items():
            if (
                type(getattr(terms, name)) is not int
                or not minimum <= getattr(terms, name) <= maximum
            ):
                raise BadInput(
                    "spec_parameters", f"{name} is not an integer from {minimum} to {maximum}."
                )
        for name, bounds in _REAL.items():
            if (
                type(getattr(terms, name)) not in (int, float)
                or not bounds[0] <= getattr(terms, name) <= bounds[1]
            ):
                raise BadInput(
                    "spec_parameters",
                    f"{name} is not a number from {bounds[0]:g} to {bounds[1]:g}.",
                )
        if type(terms.bad) not in (int, float, str):
            raise BadInput(
                "spec_parameters",
                "bad must be a text or a number: the value of the label to predict.",
            )
        if terms.first_trees_local > terms.trees:
            raise BadInput("spec_parameters", "first_trees_local exceeds trees.")
        if terms.scheme not in SCHEMES:
            raise BadInput(
                "spec_parameters",
                f"Unknown scheme {terms.scheme!r:.40}; known are {', '.join(SCHEMES)}.",
            )
        if not isinstance(terms.alignment, Mapping):
            raise BadInput(
                "spec_parameters", "alignment must hold the parameters of an intersection."
            )
        terms.intersection()
        return terms

    def intersection(self) -> PsiTerms:
        """Return how rows are aligned."""
        terms = PsiTerms.read(self.alignment)
        if terms.reveal != "receiver":
            hint = "Use reveal receiver; only the scorecard allows a hidden intersection."
            raise BadInput("reveal_not_offered", "Boosting allows only reveal receiver.", hint=hint)
        return terms

    def rule(self) -> TreeParameters:
        """Return how trees grow."""
        return TreeParameters(
            self.max_depth,
            float(self.learning_rate),
            float(self.reg_lambda),
            float(self.gamma),
            float(self.min_child_weight),
            self.min_rows,
        )

    @property
    def excluded_columns(self) -> set[str]:
        """The label party's columns that are not features."""
        return {self.label} | ({self.test_column} if self.test_column else set())

    def order(self, test: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
        """Return the order of the common rows with training rows first, and the number of training
        rows; ``too_few_rows``.
        """
        train = int((~test).sum())
        if train < 2 * self.min_rows or train == len(test):
            sentence = (
                f"{train} of {len(test)} common rows for training are too few for leaves of "
                f"{self.min_rows} rows and a test."
            )
            raise BadInput("too_few_rows", sentence, hint="Lower min_rows, or bring more rows.")
        return np.argsort(test, kind="stable"), train

    def outcomes(self, column: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which labels are bad; ``label_missing``, ``label_not_binary``."""
        texts = column.dtype.kind != "f"
        if (np.array([value is None for value in column]) if texts else np.isnan(column)).any():
            raise BadInput(
                "label_missing",
                f"The label {self.label} is missing in a row.",
                hint="Remove such rows from the source.",
            )
        if len(np.unique(column.astype(str) if texts else column)) > 2:
            raise BadInput("label_not_binary", f"The label {self.label} has more than two values.")
        if texts == (type(self.bad) is not str):
            kind = "texts" if texts else "numbers"
            sentence = f"The label {self.label} has {kind}, and bad has another type."
            raise BadInput("label_not_binary", sentence, hint="Give bad as a value of the column.")
        outcomes: NDArray[np.bool_] = (column == self.bad).astype(np.bool_)
        return outcomes
