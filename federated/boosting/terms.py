"""What the parties of a joint forest agree on, and what it asks of the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.boosting.trees import Rule
from federated.errors import BadInput
from federated.intersection import Terms as Intersection

SCHEMES = ("ou", "paillier")
MOST_BINS = 256

_WHOLE = {
    "trees": (1, 1000),
    "depth": (1, 8),
    "bins": (2, MOST_BINS),
    "least_rows": (1, 1 << 20),
    "least_summed": (1, 1 << 20),
    "first_trees_local": (0, 1000),
}
_REAL = {"rate": (1e-6, 1.0), "penalty": (0.0, 1e6), "gamma": (0.0, 1e6), "least_weight": (0.0, 1e6), "test_share": (0.01, 0.9)}


@dataclass(frozen=True)
class Terms:
    """A job's parameters.

    ``label``: the column; ``bad``: its value that is to be predicted. ``trees``, the first ``first_trees_local`` of them from the label party's
    columns alone; ``depth``, ``rate``, ``penalty``, ``gamma``, ``least_weight``, ``least_rows`` as in ``Rule``. ``bins`` of a column at most, each
    of ``least_rows`` rows at least. ``least_summed``: of fewer rows a feature party lets no sum be known, nor found by subtracting sums of one
    column; with 1 it tells all, and the trees are xgboost's. ``test_column``, if given, is another column of the label party with 1 for rows to
    test with and 0 for rows to train with; otherwise ``test_share`` of the common rows are drawn. ``scheme`` ``ou`` or ``paillier``. ``alignment``:
    parameters of the intersection.
    """

    label: str
    bad: str | float = 1
    trees: int = 20
    depth: int = 5
    rate: float = 0.3
    penalty: float = 1.0
    gamma: float = 0.0
    least_weight: float = 1.0
    least_rows: int = 20
    least_summed: int = 20
    bins: int = 32
    first_trees_local: int = 0
    test_share: float = 0.3
    test_column: str | None = None
    scheme: str = "ou"
    alignment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Terms:
        """Terms from a job's parameters; ``spec_parameters``, and what an intersection's terms refuse."""
        unknown = sorted(set(given) - {each.name for each in fields(cls)})
        if unknown:
            raise BadInput("spec_parameters", f"Boosting has no parameter {unknown[0]:.40}.")
        if not isinstance(given.get("label"), str):
            raise BadInput("spec_parameters", "The label is the name of a column.")
        terms = cls(**given)
        if not (terms.test_column is None or isinstance(terms.test_column, str)) or terms.test_column == terms.label:
            raise BadInput("spec_parameters", "The test column is another one than the label.")
        for name, (least, most) in _WHOLE.items():
            if type(getattr(terms, name)) is not int or not least <= getattr(terms, name) <= most:
                raise BadInput("spec_parameters", f"{name} is not a whole number from {least} to {most}.")
        for name, bounds in _REAL.items():
            if type(getattr(terms, name)) not in (int, float) or not bounds[0] <= getattr(terms, name) <= bounds[1]:
                raise BadInput("spec_parameters", f"{name} is not a number from {bounds[0]:g} to {bounds[1]:g}.")
        if type(terms.bad) not in (int, float, str):
            raise BadInput("spec_parameters", "bad is a text or a number: the label's value that is to be predicted.")
        if terms.first_trees_local > terms.trees:
            raise BadInput("spec_parameters", "There are more trees of the label party alone than trees.")
        if terms.scheme not in SCHEMES:
            raise BadInput("spec_parameters", f"There is no scheme {terms.scheme!r:.40}; there are {', '.join(SCHEMES)}.")
        if not isinstance(terms.alignment, Mapping):
            raise BadInput("spec_parameters", "alignment holds the parameters of an intersection.")
        terms.intersection()
        return terms

    def intersection(self) -> Intersection:
        """How rows are aligned."""
        terms = Intersection.read(self.alignment)
        if terms.reveal != "receiver":
            hint = "Leave reveal at receiver; an alignment that nobody learns is offered by the scorecard alone."
            raise BadInput("reveal_not_offered", "An alignment reveals what its model needs.", hint=hint)
        return terms

    def rule(self) -> Rule:
        """How trees grow."""
        return Rule(self.depth, float(self.rate), float(self.penalty), float(self.gamma), float(self.least_weight), self.least_rows)

    @property
    def told(self) -> set[str]:
        """The label party's columns that are none to train with."""
        return {self.label} | ({self.test_column} if self.test_column else set())

    def order(self, test: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
        """The common rows with those to train with first, and how many these are; ``too_few_rows``."""
        train = int((~test).sum())
        if train < 2 * self.least_rows or train == len(test):
            sentence = f"{train} of {len(test)} common rows to train with are too few for leaves of {self.least_rows} rows and a test."
            raise BadInput("too_few_rows", sentence, hint="Lower least_rows, or bring more rows.")
        return np.argsort(test, kind="stable"), train

    def outcomes(self, column: NDArray[Any]) -> NDArray[np.bool_]:
        """The label as bad or not; ``label_missing``, ``label_not_binary``."""
        texts = column.dtype.kind != "f"
        if (np.array([each is None for each in column]) if texts else np.isnan(column)).any():
            raise BadInput("label_missing", f"The label {self.label} is missing in a row.", hint="Leave such rows out of the source.")
        if len(np.unique(column.astype(str) if texts else column)) > 2:
            raise BadInput("label_not_binary", f"The label {self.label} has more than two values.")
        if texts == (type(self.bad) is not str):
            kind = "texts" if texts else "numbers"
            raise BadInput("label_not_binary", f"The label {self.label} has {kind}, and bad is none.", hint="Give bad as the column has it.")
        outcomes: NDArray[np.bool_] = (column == self.bad).astype(np.bool_)
        return outcomes
