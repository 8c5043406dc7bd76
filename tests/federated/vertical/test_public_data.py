"""Joint scorecards on public data sets, beside plain models of the pooled columns and of the bank's
own. Nothing is tuned to a data set.
"""

from __future__ import annotations

from statistics import mean

import pytest

from federated.vertical.plan import ScorecardPlan
from scripts.federated_demo.baselines import plain
from tests.federated.vertical.city import Run
from tests.federated.vertical.public_data import (
    DATA_SETS,
    OUTCOME,
    PublicData,
    SplitData,
    auc_one_hot,
)

SEEDS = 10
MEAN_GAP = 0.002
WORST_GAP = 0.01


def auc_joint(split: SplitData) -> float:
    outcomes = Run(split.job(), split.tables()).outcomes()
    return float(outcomes["bank"].metrics["auc"])


def auc_bank(split: SplitData) -> float:
    own = {name: split.columns[name] for name in split.owners["bank"]}
    return float(plain(own, split.bad, split.test, ScorecardPlan(OUTCOME))["test"]["auc"])


HMDA = next(data for data in DATA_SETS if data.item == "HMDA")


def test_a_joint_scorecard_uses_rare_values() -> None:
    # 48 of 2,380 applicants were refused mortgage insurance, and nearly all of them the loan.
    split = SplitData.of(HMDA, seed=0)
    joint = auc_joint(split)
    assert joint > auc_bank(split)
    assert joint > auc_one_hot(split) - WORST_GAP


@pytest.mark.long
@pytest.mark.parametrize("data", DATA_SETS, ids=lambda data: data.name)
def test_a_joint_scorecard_is_as_good_as_pooled_columns(data: PublicData) -> None:
    splits = [SplitData.of(data, seed) for seed in range(SEEDS)]
    joint = [auc_joint(split) for split in splits]
    pooled = mean(map(auc_one_hot, splits))
    bank = mean(map(auc_bank, splits))
    print(f"{data.name}: joint {mean(joint):.4f}, pooled {pooled:.4f}, bank {bank:.4f}")
    assert mean(joint) > pooled - WORST_GAP
    assert mean(joint) > bank - MEAN_GAP
