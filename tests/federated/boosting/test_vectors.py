"""The code computes the test vectors of docs/protocols/boosting.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from federated.boosting.he import OU, PAILLIER
from federated.boosting.packing import Packing
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import ForestTerms
from federated.boosting.trees import TreeParameters, gradients
from federated.randomness import Randomness

PAGE = (Path(__file__).parents[3] / "docs" / "protocols" / "boosting.md").read_text(
    encoding="utf-8"
)


def test_gradients_packing_and_leaves() -> None:
    pairs = gradients(np.array([0.0, 0.5, -1.25, 2.0]), np.array([True, False, True, False]))
    packing = Packing.of(4, OU)
    packed = [int(plaintext) for plaintext in packing.packed(pairs)]
    joined = sum(plaintext << packing.slot_bits * index for index, plaintext in enumerate(packed))
    assert f"slots of {packing.slot_bits} bits" in PAGE
    for value in (
        pairs.tolist(),
        hex(joined),
        TreeParameters().weight(pairs.sum(axis=0)),
        *map(hex, packed),
    ):
        assert f"`{value}`" in PAGE
    assert (packing.opened([joined], 4) == pairs).all()


def test_the_order_of_cuts() -> None:
    assert f"`{Randomness(bytes(32)).child('order/0').permutation(10).tolist()}`" in PAGE


def test_sums_of_cuts() -> None:
    a, b = np.array([1, 1, 2, 3, 3, np.nan, np.nan, 2]), np.array(list("xxyyyxxy"), object)
    cuts = SplitCandidates.of({"a": a, "b": b}, 8, max_bins=4, min_rows=2)
    pairs = np.arange(1, 9)[:, None] * np.array([1, 10])
    assert f"`{cuts.sums(np.zeros(8, np.int64), 1, pairs)[0].tolist()}`" in PAGE


def test_every_parameter_is_on_the_page_with_its_default() -> None:
    for name in ForestTerms.__dataclass_fields__:
        assert f"`{name}`" in PAGE
    slots = [Packing.of(30_000, scheme).slots for scheme in (OU, PAILLIER)]
    assert "at 30,000 rows {} (`ou`), {} (`paillier`)".format(*slots) in PAGE
    packing = Packing.of(30_000, OU)
    assert (packing.hessian_bits, packing.slot_bits) == (22 + 15, 47 + 2 * 15)
