"""Models for parties that hold different rows, and a party's local training.

Logistic regression, and a network with one hidden layer. Parameters are one vector of float64, so
that every model is summed alike. Products use ``einsum`` without BLAS, whose order of summation
does not depend on threads: the same build of numpy on the same kind of CPU gives the same bits, as
replay requires.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness

Vector = NDArray[np.float64]


def digest_of(parameters: Vector) -> bytes:
    """Return SHA-256 of a model's parameters, which parties compare."""
    return hashlib.sha256(parameters.tobytes()).digest()


class Model(Protocol):
    """A binary classifier over a vector of parameters."""

    @property
    def size(self) -> int:
        """The number of parameters."""

    def initial(self, randomness: Randomness) -> Vector:
        """Return the initial parameters; the same for all parties."""

    def logits(self, parameters: Vector, rows: Vector) -> Vector:
        """Return the log-odds of label 1 for each row; ``rows`` is (rows, features)."""

    def gradient(self, parameters: Vector, rows: Vector, labels: Vector) -> Vector:
        """Return the gradient of the mean loss over these rows."""


@dataclass(frozen=True)
class Logistic:
    """Logistic regression: one weight a feature, and the intercept last.

    ``l2`` does not apply to the intercept.
    """

    features: int
    l2: float = 0.0

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.features + 1

    def initial(self, randomness: Randomness) -> Vector:
        """Return zeros."""
        return np.zeros(self.size)

    def logits(self, parameters: Vector, rows: Vector) -> Vector:
        """Return the log-odds."""
        return np.asarray(np.einsum("nf,f->n", rows, parameters[:-1]) + parameters[-1], np.float64)

    def gradient(self, parameters: Vector, rows: Vector, labels: Vector) -> Vector:
        """Return the gradient of the mean cross-entropy plus ``l2``/2 times the squared weights."""
        slope = (sigmoid(self.logits(parameters, rows)) - labels) / len(rows)
        return np.append(np.einsum("n,nf->f", slope, rows) + self.l2 * parameters[:-1], slope.sum())


@dataclass(frozen=True)
class Neural:
    """One hidden layer of tanh units.

    The vector holds the layer's weights (features, hidden), its biases, the output's weights and
    its bias.
    """

    features: int
    hidden: int
    l2: float = 0.0

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.features * self.hidden + 2 * self.hidden + 1

    def initial(self, randomness: Randomness) -> Vector:
        """Return uniform weights of the scale of Glorot and Bengio (2010) for tanh; zero biases."""
        uniform = randomness.words(self.size).astype(np.float64) / 2.0**63 - 1.0
        first, split = self.features * self.hidden, self.features * self.hidden + self.hidden
        uniform[:first] *= np.sqrt(6 / (self.features + self.hidden))
        uniform[first:split] = 0.0
        uniform[split:-1] *= np.sqrt(6 / (self.hidden + 1))
        uniform[-1] = 0.0
        return uniform

    def logits(self, parameters: Vector, rows: Vector) -> Vector:
        """Return the log-odds."""
        _, _, weights, bias = self._parts(parameters)
        return np.asarray(
            np.einsum("nh,h->n", self._layer(parameters, rows), weights) + bias,
            np.float64,
        )

    def gradient(self, parameters: Vector, rows: Vector, labels: Vector) -> Vector:
        """Return the gradient of the mean cross-entropy plus ``l2``/2 times all squared weights.

        Biases are not penalised.
        """
        matrix, _, weights, _ = self._parts(parameters)
        layer = self._layer(parameters, rows)
        slope = (sigmoid(self.logits(parameters, rows)) - labels) / len(rows)
        inner = slope[:, None] * weights * (1 - layer * layer)
        return np.concatenate(
            [
                (np.einsum("nf,nh->fh", rows, inner) + self.l2 * matrix).ravel(),
                inner.sum(axis=0),
                np.einsum("n,nh->h", slope, layer) + self.l2 * weights,
                [slope.sum()],
            ]
        )

    def _layer(self, parameters: Vector, rows: Vector) -> Any:
        matrix, biases, _, _ = self._parts(parameters)
        return np.tanh(np.einsum("nf,fh->nh", rows, matrix) + biases)

    def _parts(self, parameters: Vector) -> tuple[Vector, Vector, Vector, Any]:
        first = self.features * self.hidden
        matrix = parameters[:first].reshape(self.features, self.hidden)
        return (
            matrix,
            parameters[first : first + self.hidden],
            parameters[first + self.hidden : -1],
            parameters[-1],
        )


def sigmoid(logits: Vector) -> Vector:
    """Return 1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def train_locally(
    model: Model,
    start: Vector,
    rows: Vector,
    labels: Vector,
    *,
    epochs: int,
    batch: int,
    rate: float,
    mu: float,
    randomness: Randomness,
) -> Vector:
    """Return a party's parameters after gradient descent from the common ones.

    ``mu`` 0 is FedAvg (McMahan et al., 2017); above 0 it is FedProx (Li et al., 2020), whose term
    mu/2·|w - start|**2 keeps the parties close.
    """
    parameters = start.copy()
    for _ in range(epochs):
        order = randomness.permutation(len(rows))
        for begin in range(0, len(rows), batch):
            chosen = order[begin : begin + batch]
            step = model.gradient(parameters, rows[chosen], labels[chosen]) + mu * (
                parameters - start
            )
            parameters -= rate * step
    return parameters
