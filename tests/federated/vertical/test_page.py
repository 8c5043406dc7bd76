"""The page of scorecards states the code's vectors, defaults and limits."""

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
from federated.vertical import preprocessing
from federated.vertical.common_rows import MAX_EIGENVALUE_PER_ROW
from federated.vertical.correlated_randomness import PartyRandomness
from federated.vertical.fixed_point import (
    ERROR_FRACTION,
    FRACTION,
    MAX_SHIFT_BITS,
    shift_bits_for_eigenvalue,
)
from federated.vertical.masked_sums import PairwiseMask
from federated.vertical.plan import ScorecardPlan, read_plan
from federated.vertical.results import MAX_LOG_ODDS_DEVIATION
from federated.vertical.score_histogram import BUCKETS, BUCKETS_PER_UNIT
from federated.vertical.sigmoid import COEFFICIENTS
from tests.federated.vertical.city import scorecard_of

PAGES = Path(__file__).parents[3] / "docs" / "protocols"
PAGE, HIDDEN = ((PAGES / name).read_text() for name in ("scorecard.md", "hidden-intersection.md"))
SEED = bytes(range(32))


def fresh() -> Randomness:
    return Randomness(SEED)


def test_the_masks_are_those_of_the_page() -> None:
    step = preprocessing.step_shares(fresh(), preprocessing.BlockShape(4, {"tax": 1, "bank": 2}), 0)
    found = [
        preprocessing.column_mask(fresh(), 1, 2),
        preprocessing.bin_mask(fresh(), 2, 2),
        preprocessing.label_mask(fresh(), 4),
        preprocessing.counts_share(fresh(), 2, 2),
        *(mask[:1] for mask in (step.rho, step.forward, step.error, step.backward)),
        step.angle,
        step.fourier_terms[0, :1],
        *(mask[:1] for mask in (step.shift.mask, step.shift.shifted, step.shift.top)),
        PairwiseMask(((SEED, True),)).apply(np.array([5, -7]), 0),
    ]
    assert all(f"`{mask.tobytes().hex()}`" in PAGE for mask in found)


def test_a_mask_that_is_added_is_taken_away_again() -> None:
    points = np.array([5, -7, 11])
    first, second = (PairwiseMask(((SEED, adds),)).apply(points, 4) for adds in (True, False))
    assert (first + second).view(np.int32).tolist() == [10, -14, 22]
    assert (first != PairwiseMask(((SEED, True),)).apply(points, 5)).all()


def test_the_defaults_and_limits_are_those_of_the_page() -> None:
    plan = ScorecardPlan("Status")
    for line in (
        "| `bins` | maximum number of bins of a column, besides those for missing and for other "
        f"values | {plan.bins} |",
        f"| minimum number of training rows in a bin (10 or more) | {plan.min_rows} |",
        f"that has its own weight (5 or more) count as this many | {plan.min_cases} |",
        f"| steps of training (1 to 20) | {plan.iterations} |",
        f"drawn by the label party for the test | {plan.test_share} |",
        f"| {plan.base_points}, {plan.base_odds}, {plan.points_to_double} |",
        f"| fraction bits of a value | {FRACTION} |",
        f"| fraction bits of the error | {ERROR_FRACTION} |",
        f"standard deviation above {MAX_LOG_ODDS_DEVIATION}",
        ", ".join(str(coefficient).replace("-", "−") for coefficient in COEFFICIENTS),
    ):
        assert line in PAGE, line


@pytest.mark.parametrize(("departments", "most"), [(1, 262_144), (2, 131_072), (3, 131_072)])
def test_more_rows_than_the_page_says_are_refused(departments: int, most: int) -> None:
    _, sides = read_plan(scorecard_of(departments))
    assert sides.shape(most).rows == most
    assert f"{most:,}" in PAGE
    with pytest.raises(
        BadInput,
        check=lambda error: error.code == "too_many_rows" and str(most) in (error.hint or ""),
    ):
        sides.shape(most + 1)


def test_the_specifications_on_the_page_are_accepted() -> None:
    blocks = re.findall(r'^    (\{"job".*?\}\})$', PAGE, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        job = Job.from_json(json.loads(block.replace("0x…", "0x" + "ab" * 32)))
        assert protocol_of(job).name == job.protocol


# --- Hidden intersection --------------------------------------------------------------------------


def test_the_masks_of_a_hidden_intersection_training_match_the_page() -> None:
    randomness = PartyRandomness(Session("tax", {}, fresh()), fresh(), "dealer", last=False)
    table = asyncio.run(randomness.dealt_share("scores/table/0", 1, 2 * BUCKETS, dtype=np.uint16))
    found = [
        randomness.mask("membership/0/left", 1, 1),
        randomness.mask("membership/bit", 1),
        randomness.mask("columns/selector", 1),
        randomness.mask("evidence/left", 2, 2, dtype=np.uint16),
        randomness.mask("eigenvalue/mask", 1),
        randomness.mask("scores/index", 1),
        table[:, :4],
    ]
    assert all(f"`{mask.tobytes().hex()}`" in HIDDEN for mask in found)


def test_the_limits_of_a_hidden_intersection_training_match_the_page() -> None:
    for line in (
        f"rows is above {MAX_EIGENVALUE_PER_ROW}, the rows are refused as `rows_unlike`",
        f"counted in buckets of 1/{BUCKETS_PER_UNIT} of log-odds",
        f"a table of {2 * BUCKETS} words",
        f"Buckets reach from −{BUCKETS // 2 // BUCKETS_PER_UNIT} to {BUCKETS // 2 // BUCKETS_PER_UNIT}",
        "the largest eigenvalue is above 2^19",
        "more than 2^20 rows at a party after padding",
    ):
        assert line in HIDDEN, line
    assert (
        shift_bits_for_eigenvalue(2.0**19)
        == MAX_SHIFT_BITS
        < shift_bits_for_eigenvalue(2.0**19 + 1)
    )
    assert ScorecardPlan("Status", alignment={"reveal": "nobody"}).terms.max_rows == 1 << 20


def test_the_parameters_on_the_page_are_accepted() -> None:
    (block,) = re.findall(r'^    "parameters": (\{.*\})$', HIDDEN, re.M)
    assert ScorecardPlan.read(json.loads(block)).hidden_intersection
