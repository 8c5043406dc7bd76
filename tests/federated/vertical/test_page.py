"""The protocols' page says what the code does: its vectors, its defaults and its limits."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest

from federated.errors import BadInput
from federated.job import Job
from federated.protocols import protocol_of
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical import dealing
from federated.vertical.buckets import BUCKETS, IN_ONE
from federated.vertical.fixed import ERROR_FRACTION, FRACTION, MOST_SHIFT_BITS, shift_bits_of
from federated.vertical.hands import Hand
from federated.vertical.plan import Plan, agreed
from federated.vertical.results import MOST_SPREAD
from federated.vertical.sigmoid import COEFFICIENTS
from federated.vertical.sums import Veil
from federated.vertical.unseen import MOST_UNLIKE
from tests.federated.vertical.city import scorecard_of

PAGES = Path(__file__).parents[3] / "docs" / "protocols"
PAGE, UNSEEN = ((PAGES / name).read_text() for name in ("scorecard.md", "unseen.md"))
SEED = bytes(range(32))


def fresh() -> Randomness:
    return Randomness(SEED)


def test_the_masks_are_those_of_the_page() -> None:
    step = dealing.shares(fresh(), dealing.Shape(4, {"tax": 1, "bank": 2}), 0)
    found = [
        dealing.mask(fresh(), 1, 2),
        dealing.bins_mask(fresh(), 2, 2),
        dealing.label_mask(fresh(), 4),
        dealing.counts_share(fresh(), 2, 2),
        *(each[:1] for each in (step.rho, step.forward, step.error, step.backward)),
        step.angle,
        step.waves[0, :1],
        *(each[:1] for each in (step.shift.mask, step.shift.shifted, step.shift.top)),
        Veil(((SEED, True),)).over(np.array([5, -7]), 0),
    ]
    assert all(f"`{each.tobytes().hex()}`" in PAGE for each in found)


def test_a_mask_that_is_added_is_taken_away_again() -> None:
    points = np.array([5, -7, 11])
    first, second = (Veil(((SEED, adds),)).over(points, 4) for adds in (True, False))
    assert (first + second).view(np.int32).tolist() == [10, -14, 22]
    assert (first != Veil(((SEED, True),)).over(points, 5)).all()


def test_the_defaults_and_limits_are_those_of_the_page() -> None:
    plan = Plan("Status")
    for line in (
        f"| `bins` | of a column at most, the missing and the other values apart | {plan.bins} |",
        f"training rows of a bin at least (10 or more) | {plan.least_rows} |",
        f"training rows of bins that are told apart at least (5 or more) | {plan.least_cases} |",
        f"| steps of training (1 to 20) | {plan.iterations} |",
        f"drawn by the label party | {plan.test_share} |",
        f"| {plan.base_points}, {plan.base_odds}, {plan.points_to_double} |",
        f"| fraction bits of a value | {FRACTION} |",
        f"| fraction bits of the error | {ERROR_FRACTION} |",
        f"standard deviation above {MOST_SPREAD}",
        ", ".join(str(each).replace("-", "−") for each in COEFFICIENTS),
    ):
        assert line in PAGE, line


@pytest.mark.parametrize(("departments", "most"), [(1, 262_144), (2, 131_072), (3, 131_072)])
def test_more_rows_than_the_page_says_are_refused(departments: int, most: int) -> None:
    _, sides = agreed(scorecard_of(departments))
    assert sides.shape(most).rows == most
    assert f"{most:,}" in PAGE
    with pytest.raises(BadInput, check=lambda error: error.code == "too_many_rows" and str(most) in (error.hint or "")):
        sides.shape(most + 1)


def test_the_specifications_on_the_page_are_accepted() -> None:
    blocks = re.findall(r'^    (\{"job".*?\}\})$', PAGE, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        job = Job.from_json(json.loads(block.replace("0x…", "0x" + "ab" * 32)))
        assert protocol_of(job).name == job.protocol


# --- Rows that nobody learns ----------------------------------------------------------------------------------------------------------


def test_the_masks_of_a_training_on_rows_that_nobody_learns_are_those_of_the_page() -> None:
    hand = Hand(Session("tax", {}, fresh()), fresh(), "dealer", last=False)
    table = asyncio.run(hand.share("scores/table/0", 1, 2 * BUCKETS, kind=np.uint16))
    found = [
        hand.mask("membership/0/left", 1, 1),
        hand.mask("membership/bit", 1),
        hand.mask("columns/keep", 1),
        hand.mask("evidence/left", 2, 2, kind=np.uint16),
        hand.mask("curvature/mask", 1),
        hand.mask("scores/place", 1),
        table[:, :4],
    ]
    assert all(f"`{each.tobytes().hex()}`" in UNSEEN for each in found)


def test_the_limits_of_a_training_on_rows_that_nobody_learns_are_those_of_the_page() -> None:
    for line in (
        f"If the bound is above {MOST_UNLIKE} for each common row",
        f"counted in buckets of 1/{IN_ONE} of log-odds",
        f"a table of {2 * BUCKETS} words",
        f"Buckets reach from −{BUCKETS // 2 // IN_ONE} to {BUCKETS // 2 // IN_ONE}",
        "the curvature is above 2^19",
        "more than 2^20 rows at a party after padding",
    ):
        assert line in UNSEEN, line
    assert shift_bits_of(2.0**19) == MOST_SHIFT_BITS < shift_bits_of(2.0**19 + 1)
    assert Plan("Status", alignment={"reveal": "nobody"}).terms.most_rows == 1 << 20


def test_the_parameters_on_the_page_are_accepted() -> None:
    (block,) = re.findall(r'^    "parameters": (\{.*\})$', UNSEEN, re.M)
    assert Plan.read(json.loads(block)).unseen
