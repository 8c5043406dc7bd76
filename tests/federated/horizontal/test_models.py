"""Models and local training: gradients against differences, scikit-learn as the reference,
FedProx's pull.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from federated.horizontal.models import Logistic, Model, Neural, Vector, sigmoid, train_locally
from federated.randomness import Randomness

NUMBERS = np.random.default_rng(3)
ROWS = NUMBERS.uniform(-1, 1, (300, 4))
LABELS = (NUMBERS.random(300) < sigmoid(ROWS @ np.array([2.0, -1.0, 0.5, 0.0]) - 0.3)).astype(
    np.float64,
)
MODELS: list[Model] = [Logistic(4, 0.01), Neural(4, 3, 0.01)]


def loss(model: Any, parameters: Vector) -> float:
    mean = float(
        np.mean(
            np.logaddexp(0, model.logits(parameters, ROWS))
            - LABELS * model.logits(parameters, ROWS)
        )
    )
    weights = (
        [parameters[:-1]] if isinstance(model, Logistic) else [parameters[:12], parameters[15:18]]
    )
    return float(mean + model.l2 / 2 * sum(float((weight**2).sum()) for weight in weights))


def train(model: Model, *, mu: float = 0.0, epochs: int = 5, seed: bytes = b"t" * 32) -> Vector:
    start = model.initial(Randomness(b"i" * 32))
    return train_locally(
        model,
        start,
        ROWS,
        LABELS,
        epochs=epochs,
        batch=64,
        rate=0.5,
        mu=mu,
        randomness=Randomness(seed),
    )


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_the_loss(model: Model) -> None:
    point = np.random.default_rng(4).normal(0, 0.5, model.size)
    steps = np.eye(model.size) * 1e-6
    differences = np.array(
        [(loss(model, point + step) - loss(model, point - step)) / 2e-6 for step in steps],
    )
    assert np.allclose(model.gradient(point, ROWS, LABELS), differences, atol=1e-7)


def test_logistic_training_finds_what_scikit_learn_finds() -> None:
    model = Logistic(4, 0.01)
    found = train_locally(
        model,
        np.zeros(5),
        ROWS,
        LABELS,
        epochs=3000,
        batch=300,
        rate=2.0,
        mu=0.0,
        randomness=Randomness(b"t" * 32),
    )
    reference = LogisticRegression(C=1 / (0.01 * len(ROWS)), tol=1e-10).fit(ROWS, LABELS)
    assert np.allclose(found[:-1], reference.coef_[0], atol=1e-4)
    assert np.isclose(found[-1], reference.intercept_[0], atol=1e-4)


def test_the_network_learns_what_a_line_cannot() -> None:
    rows = np.random.default_rng(5).uniform(-1, 1, (400, 2))
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.float64)
    model = Neural(2, 8)
    found = train_locally(
        model,
        model.initial(Randomness(b"i" * 32)),
        rows,
        labels,
        epochs=300,
        batch=50,
        rate=0.5,
        mu=0.0,
        randomness=Randomness(b"t" * 32),
    )
    assert log_loss(labels, sigmoid(model.logits(found, rows))) < 0.25
    assert log_loss(labels, LogisticRegression().fit(rows, labels).predict_proba(rows)) > 0.6


@pytest.mark.parametrize("model", MODELS)
def test_training_repeats_to_the_bit(model: Model) -> None:
    assert train(model).tobytes() == train(model).tobytes()
    assert train(model).tobytes() != train(model, seed=b"u" * 32).tobytes()


@pytest.mark.parametrize("model", MODELS)
def test_fedprox_stays_nearer_to_the_start(model: Model) -> None:
    start = model.initial(Randomness(b"i" * 32))
    distances = [float(np.linalg.norm(train(model, mu=mu) - start)) for mu in (0.0, 0.1, 1.0)]
    assert distances[0] > distances[1] > distances[2] > 0


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
