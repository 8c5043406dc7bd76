"""Rounds of federated training (FedAvg, FedProx), independent of how the sums are made.

A plan is read from a job's parameters:

    {"model": "logistic", "label": "Status", "positive": "bad",
     "features": {"Income": [0, 500], "Home": ["owner", "rent"]},
     "rounds": 10, "epochs": 1, "batch": 256, "rate": 0.5, "mu": 0.0, "l2": 0.0001,
     "clip": 4.0, "fraction": 24, "max_rows": 1000000}

``features`` are public: a number's range, or a category's values. A number is clipped to its range
and scaled to [-1, 1]; a category becomes one column a value; anything else counts as missing: 0 in
all columns, and 1 in a column of its own. No statistic of any party's rows is needed beforehand.

In each round a member sends the number of its rows times the change of its parameters, clipped
element by element, and that number; the quotient of the sums moves the common parameters. With
``"privacy": {"clip": 1.0, "noise": 4.0}`` (and at most 20 fraction bits) changes have equal weight,
are clipped in L2 norm, and carry the member's share of discrete Gaussian noise. Without it a last
sum counts scores by label, from which AUC and KS of all rows follow.

``"colluders": 1`` is the number of members that may share all they know with the aggregator without
revealing another's vector; 0 by default. The threshold follows from it, or may be set higher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.horizontal import privacy
from federated.horizontal.models import Logistic, Model, Neural, Vector, sigmoid, train_locally
from federated.horizontal.quantise import Quantiser
from federated.horizontal.secagg import SecureSumTerms, min_threshold
from federated.randomness import Randomness

SCORE_BINS = 1000

_DEFAULTS: dict[str, Any] = {
    "model": "logistic",
    "hidden": 8,
    "positive": None,
    "rounds": 10,
    "epochs": 1,
    "batch": 256,
    "rate": 0.5,
    "mu": 0.0,
    "l2": 0.0,
    "clip": 4.0,
    "fraction": 24,
    "max_rows": 1_000_000,
    "threshold": 0,
    "colluders": 0,
    "privacy": None,
}


@dataclass(frozen=True)
class TrainingPlan:
    """The terms of a training, equal at all parties."""

    name: str
    members: tuple[str, ...]
    parameters: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, members: Sequence[str], parameters: Mapping[str, Any]) -> TrainingPlan:
        """Check a job's parameters.

        Raises:
            BadInput: ``spec_parameters``, and those of ``SecureSumTerms``, ``Quantiser`` and the
                noise.
        """
        unknown = set(parameters) - set(_DEFAULTS) - {"label", "features"}
        if unknown:
            raise BadInput(
                "spec_parameters",
                f"This protocol has no parameter {sorted(unknown)[0]}.",
            )
        plan = cls(name, tuple(members), {**_DEFAULTS, **parameters})
        plan._check()
        return plan

    # --- What follows from the parameters ---------------------------------------------------------

    @property
    def rounds(self) -> int:
        """The number of training rounds."""
        return int(self.parameters["rounds"])

    @property
    def sums(self) -> range:
        """The numbers of all sums: the rounds, and the evaluation.

        A private training has no evaluation: it would be a release that no budget covers.
        """
        return range(self.rounds if self.private else self.rounds + 1)

    @property
    def private(self) -> bool:
        """Whether sums carry noise."""
        return self.parameters["privacy"] is not None

    @property
    def model(self) -> Model:
        """The model, for as many columns as the features have."""
        columns, l2 = len(feature_names(self.parameters["features"])), float(self.parameters["l2"])
        if self.parameters["model"] == "logistic":
            return Logistic(columns, l2)
        return Neural(columns, self.parameters["hidden"], l2)

    @property
    def quantiser(self) -> Quantiser:
        """The fixed-point encoding of changes."""
        return Quantiser(float(self.parameters["clip"]), self.parameters["fraction"])

    @property
    def norm(self) -> int:
        """The L2 clip of a private change, in integers."""
        return int(self.parameters["privacy"]["clip"] * 2.0 ** self.parameters["fraction"])

    @property
    def sigma(self) -> int:
        """Each member's noise.

        It suffices when only the threshold of members remain and a reader subtracts the noise it
        knows.
        """
        return privacy.party_sigma(
            self.norm,
            float(self.parameters["privacy"]["noise"]),
            self._unknown_shares,
        )

    @property
    def cost(self) -> int:
        """Micro-rho that the whole training costs each member; 0 for exact sums."""
        if not self.private:
            return 0
        one_sum = privacy.cost(self.norm, self.sigma, self._unknown_shares, self.model.size)
        return self.rounds * one_sum

    @property
    def _threshold(self) -> int:
        return self.parameters["threshold"] or self._min_threshold

    @property
    def _min_threshold(self) -> int:
        return min_threshold(len(self.members), self.parameters["colluders"])

    @property
    def _unknown_shares(self) -> int:
        """The least number of noise shares that a reader of the sum does not know.

        A member knows its own; colluders know all of theirs.
        """
        return self._threshold - max(1, int(self.parameters["colluders"]))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the whole plan, which an owner's gate approves where there is no job."""
        whole = {
            "protocol": "flower",
            "name": self.name,
            "members": list(self.members),
            "parameters": dict(self.parameters),
        }
        return hashlib.sha256(
            json.dumps(whole, sort_keys=True, separators=(",", ":")).encode(),
        ).digest()

    def initial(self) -> Vector:
        """Return the common initial parameters, which anyone can compute from the plan."""
        seed = hashlib.sha256(
            json.dumps(
                [self.name, dict(self.parameters)],
                sort_keys=True,
                separators=(",", ":"),
            ).encode()
        ).digest()
        return self.model.initial(Randomness(seed, "initial"))

    # --- Rounds -----------------------------------------------------------------------------------

    def terms(self, number: int) -> SecureSumTerms:
        """Return the terms of a round's sum, from 0; round ``rounds`` is the evaluation."""
        label = f"{self.name}/{number}"
        if number == self.rounds:
            return SecureSumTerms(
                label,
                self.members,
                2 * SCORE_BINS,
                self.parameters["max_rows"],
                64,
                self._threshold,
            )
        if self.private:
            return SecureSumTerms(
                label,
                self.members,
                self.model.size,
                privacy.noisy_bound(self.norm, self.sigma),
                64,
                self._threshold,
            )
        return SecureSumTerms(
            label,
            self.members,
            self.model.size + 1,
            self.quantiser.bound * self.parameters["max_rows"],
            64,
            self._threshold,
        )

    def contribution(
        self,
        number: int,
        common: Vector,
        rows: Vector,
        labels: Vector,
        randomness: Randomness,
    ) -> NDArray[np.int64]:
        """Return a member's vector in a round: its weighted change, or its counted scores."""
        if number == self.rounds:
            return self._counted(common, rows, labels)
        local = train_locally(
            self.model,
            common,
            rows,
            labels,
            epochs=self.parameters["epochs"],
            batch=self.parameters["batch"],
            rate=float(self.parameters["rate"]),
            mu=float(self.parameters["mu"]),
            randomness=randomness.child(f"order/{number}"),
        )
        change = self.quantiser.quantise(local - common)
        if self.private:
            return privacy.add_noise(
                change,
                self.norm,
                self.sigma,
                randomness.child(f"noise/{number}"),
            )
        return np.append(change * len(rows), len(rows))

    def step(self, common: Vector, total: NDArray[np.int64], survivors: Sequence[str]) -> Vector:
        """Return the common parameters after a round's sum."""
        if self.private:
            return np.asarray(common + self.quantiser.restore(total) / len(survivors), np.float64)
        if total[-1] < 1:
            raise BadInput("no_rows", "The members have no rows.")
        return np.asarray(common + self.quantiser.restore(total[:-1]) / int(total[-1]), np.float64)

    def evaluation(self, total: NDArray[np.int64]) -> dict[str, Any]:
        """Return AUC, KS and counts over all members' rows, from the last sum.

        Scores in the same bin of 1/1000 count as ties.
        """
        bad, good = total[:SCORE_BINS], total[SCORE_BINS:]
        if min(bad.sum(), good.sum()) < 1:
            raise BadInput("one_class", "All rows of all members have the same label.")
        # Pairs of one row of each label: correct if the bad one scores higher, ties count half.
        below = np.cumsum(good) - good
        right = int((bad.astype(object) * (2 * below + good)).sum())
        gap = np.abs(np.cumsum(bad) / bad.sum() - np.cumsum(good) / good.sum()).max()
        return {
            "auc": right / (2 * int(bad.sum()) * int(good.sum())),
            "ks": float(gap),
            "rows": int(total.sum()),
            "positives": int(bad.sum()),
        }

    def _counted(self, common: Vector, rows: Vector, labels: Vector) -> NDArray[np.int64]:
        bins = np.minimum(
            (sigmoid(self.model.logits(common, rows)) * SCORE_BINS).astype(np.int64),
            SCORE_BINS - 1,
        )
        return np.concatenate(
            [np.bincount(bins[labels == label], minlength=SCORE_BINS) for label in (1, 0)],
        ).astype(np.int64)

    # --- Data -------------------------------------------------------------------------------------

    def prepare(self, columns: Mapping[str, NDArray[Any]]) -> tuple[Vector, Vector]:
        """Return a member's rows as the model takes them, and its labels.

        Rows without a label are left out.

        Raises:
            BadInput: ``column_missing``, ``column_not_numeric``, ``label_not_binary``, ``no_rows``,
                ``too_many_rows``.
        """
        features, label = self.parameters["features"], self.parameters["label"]
        for name in (*features, label):
            if name not in columns:
                raise BadInput("column_missing", f"The rows have no column {name}.")
        labels = _labels(columns[label], self.parameters["positive"], label)
        keep = ~np.isnan(labels)
        rows = np.column_stack([_encode(name, columns[name], features[name]) for name in features])[
            keep
        ]
        if not len(rows):
            raise BadInput("no_rows", "There is no row with a label.")
        if len(rows) > self.parameters["max_rows"]:
            raise BadInput(
                "too_many_rows",
                f"The plan allows {self.parameters['max_rows']} rows "
                f"a member; there are {len(rows)}.",
            )
        return rows, labels[keep]

    def _check(self) -> None:
        given = self.parameters
        _require(given["model"] in ("logistic", "neural"), "model must be logistic or neural")
        _require(isinstance(given.get("label"), str), "label must name a column")
        _require(
            given["positive"] is None or isinstance(given["positive"], str),
            "positive must be a text",
        )
        _require(
            _are_features(given.get("features"), given.get("label")),
            "features must give each column a range [low, high] or a list of different texts",
        )
        for name, most in (
            ("rounds", 10_000),
            ("epochs", 1000),
            ("batch", 10**6),
            ("hidden", 10_000),
            ("max_rows", 2**32),
        ):
            _require(
                type(given[name]) is int and 1 <= given[name] <= most,
                f"{name} must be an integer from 1 to {most}",
            )
        for name, low, high in (
            ("rate", 1e-9, 1e3),
            ("mu", 0, 1e3),
            ("l2", 0, 1e3),
            ("clip", 1e-9, 1e9),
        ):
            _require(
                _is_number(given[name]) and low <= given[name] <= high,
                f"{name} must be a number from {low:g} to {high:g}",
            )
        _require(
            type(given["fraction"]) is int and type(given["threshold"]) is int,
            "fraction and threshold must be integers",
        )
        _require(
            type(given["colluders"]) is int and 0 <= given["colluders"] <= len(self.members),
            "colluders must be a number of members",
        )
        least, count = self._min_threshold, len(self.members)
        if self._threshold < least or least > count >= 3:
            raise BadInput(
                "threshold_wrong",
                f"With {given['colluders']} of {count} members colluding, vectors are hidden only "
                f"from a threshold of {least}.",
                hint="Leave the threshold out, as it follows from "
                "colluders; or assume fewer, or add members.",
            )
        if self.private:
            noise = given["privacy"]
            _require(
                isinstance(noise, dict) and set(noise) == {"clip", "noise"},
                "privacy must have clip and noise",
            )
            _require(
                all(_is_number(amount) and 0 < amount <= 1e6 for amount in noise.values()),
                "privacy's clip and noise must be numbers above 0",
            )
            _require(
                self.quantiser.bound <= privacy.MAX_ELEMENT and self.norm >= 1,
                "clip and fraction are too large for private sums, or privacy's clip too small",
            )
        for number in (0, self.rounds):
            self.terms(number)


def feature_names(features: Mapping[str, Any]) -> list[str]:
    """Return the names of the model's columns, in order."""
    names = []
    for name, form in features.items():
        names += [f"{name}={value}" for value in form] if isinstance(form[0], str) else [name]
        names.append(f"{name} missing")
    return names


def _encode(name: str, values: NDArray[Any], form: Sequence[Any]) -> Vector:
    if isinstance(form[0], str):
        columns = [np.array([value == bound for value in values], np.float64) for bound in form]
        return np.column_stack([*columns, 1.0 - np.sum(columns, axis=0)])
    if values.dtype.kind not in "fiu":
        raise BadInput("column_not_numeric", f"The column {name} has values that are not numbers.")
    low, high = float(form[0]), float(form[1])
    missing = ~np.isfinite(values)
    scaled = (np.clip(np.where(missing, low, values), low, high) - low) * (2 / (high - low)) - 1
    return np.column_stack([np.where(missing, 0.0, scaled), missing.astype(np.float64)])


def _labels(values: NDArray[Any], positive: str | None, name: str) -> Vector:
    if positive is not None:
        return np.array(
            [np.nan if value is None else float(value == positive) for value in values],
            np.float64,
        )
    if values.dtype.kind not in "fiu" or not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise BadInput(
            "label_not_binary",
            f"The label {name} has values other than 0 and 1.",
            hint='Name the text that counts as 1: "positive".',
        )
    return values.astype(np.float64)


def _are_features(features: Any, label: Any) -> bool:
    if not isinstance(features, dict) or not 1 <= len(features) <= 1000 or label in features:
        return False
    return all(_is_range(form) or _is_category(form) for form in features.values())


def _is_range(form: Any) -> bool:
    if not isinstance(form, list) or len(form) != 2:
        return False
    return all(_is_number(bound) for bound in form) and form[0] < form[1]


def _is_category(form: Any) -> bool:
    if not isinstance(form, list) or not 1 <= len(form) <= 1000:
        return False
    return all(isinstance(value, str) for value in form) and len(set(form)) == len(form)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise BadInput("spec_parameters", f"The parameter {sentence}.")
