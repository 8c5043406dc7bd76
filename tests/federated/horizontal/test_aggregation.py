"""The protocol ``aggregation``: specifications, training over channels, dropouts, privacy,
replay.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from federated.errors import BadInput, Conflict, NotFound, PeerFault, QiaolianError
from federated.horizontal import AGGREGATION
from federated.horizontal.aggregation import plan_of
from federated.horizontal.budget import Budget
from federated.horizontal.models import sigmoid, train_locally
from federated.job import Job, JobResult, Party, Table
from federated.local import run_local
from federated.randomness import Randomness
from federated.session import Session

MEMBERS = ("tax", "health", "housing")
FEATURES = {"income": [0, 100], "home": ["owner", "rent"]}
PARAMETERS: dict[str, Any] = {
    "label": "bad",
    "features": FEATURES,
    "rounds": 4,
    "epochs": 2,
    "batch": 32,
    "rate": 0.5,
    "max_rows": 1000,
}
PRIVATE = PARAMETERS | {"fraction": 16, "rounds": 2, "privacy": {"clip": 1.0, "noise": 3.0}}
SEEDS = {name: bytes([index]) * 32 for index, name in enumerate(("server", *MEMBERS))}


def job_of(parameters: Mapping[str, Any] = PARAMETERS, **parties: Party) -> Job:
    members = {name: Party("member", "rows", ("income", "home", "bad")) for name in MEMBERS}
    return Job(
        "j",
        "aggregation",
        "credit",
        {"server": Party("aggregator")} | members | parties,
        parameters,
    )


def table_of(seed: int, count: int = 120) -> Table:
    numbers = np.random.default_rng(seed)
    income, home = (
        numbers.uniform(0, 100, count),
        numbers.choice(["owner", "rent", "other"], count).astype(object),
    )
    income[:3], home[3:5] = np.nan, None
    bad = (
        numbers.random(count)
        < sigmoid((50 - np.nan_to_num(income, nan=50)) / 12 + (home == "rent"))
    ).astype(np.float64)
    bad[7] = np.nan
    return Table(np.arange(count).astype("S8"), {"income": income, "home": home, "bad": bad})


TABLES = {name: table_of(index) for index, name in enumerate(MEMBERS)}


class Gone(Exception):
    """A party that stops."""


def run(job: Job, **more: Any) -> dict[str, Any]:
    """All roles in one process; the first member's error, if there is one."""
    outcomes = run_all(job, **more)
    for name in (
        *MEMBERS,
        "server",
    ):  # a member's own error comes before what the server makes of its absence
        if (
            isinstance(outcomes[name], QiaolianError)
            and getattr(outcomes[name], "code", "") != "peer_gone"
        ):
            raise outcomes[name]
    return outcomes


def run_all(
    job: Job,
    *,
    tables: Mapping[str, Table] = TABLES,
    budgets: Mapping[str, Path] | None = None,
    gone: Mapping[str, int] | None = None,
    alter: Callable[[Session], None] | None = None,
) -> dict[str, Any]:
    """All roles in one process; the outcome of each. ``gone``: how many messages a party sends to
    the server before it stops.

    ``alter`` changes what the server sends.
    """

    def role(name: str) -> Any:
        async def play(session: Session) -> JobResult | QiaolianError | None:
            settings = (
                {} if budgets is None or name not in budgets else {"budget": str(budgets[name])}
            )
            session = Session(
                session.party,
                session.channels,
                session.randomness,
                settings=settings,
            )
            if gone and name in gone:
                _limit(session, gone[name])
            if alter and name == "server":
                alter(session)
            try:
                return await AGGREGATION.roles[job.parties[name].role](
                    session,
                    tables.get(name),
                    job,
                )
            except Gone:
                return None
            except QiaolianError as error:
                return error

        return play

    return run_local({name: role(name) for name in job.parties}, seeds=SEEDS)


def _limit(session: Session, count: int) -> None:
    channel, left = session.channels["server"], [count]
    send = channel.send

    async def counted(kind: str, **fields: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Gone
        await send(kind, **fields)

    channel.send = counted  # type: ignore[method-assign]


def refused(code: str, kind: type[Exception] = BadInput) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


# --- Specifications -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "forest"},
        {"label": 3},
        {"features": {}},
        {"features": {"income": [5, 5]}},
        {"features": {"income": [0, "much"]}},
        {"features": {"home": ["a", "a"]}},
        {"features": {"bad": [0, 1]}},
        {"rounds": 0},
        {"rounds": True},
        {"batch": 1.5},
        {"rate": 0},
        {"mu": -1},
        {"l2": "0"},
        {"privacy": {"clip": 1.0}},
        {"privacy": {"clip": 1.0, "noise": 0}},
        {"privacy": {"clip": 1.0, "noise": 3.0}, "clip": 4.0, "fraction": 40},
        {"unheard": 1},
        {"colluders": -1},
        {"colluders": True},
    ],
)
def test_parameters_nobody_can_run_are_refused(wrong: dict[str, Any]) -> None:
    with refused("spec_parameters"):
        AGGREGATION.check(job_of(PARAMETERS | wrong))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"clip": 1e8, "fraction": 40}, "grid_wrong"),
        ({"clip": 2.0**20, "fraction": 30, "max_rows": 2**32}, "ring_too_small"),
        ({"threshold": 1}, "threshold_wrong"),
        ({"threshold": 4}, "threshold_wrong"),
        ({"threshold": 2, "colluders": 1}, "threshold_wrong"),
        ({"colluders": 2}, "threshold_wrong"),
        ({"fraction": 16, "privacy": {"clip": 1.0, "noise": 1e6}}, "noise_wrong"),
    ],
)
def test_sums_that_would_wrap_or_hide_nothing_are_refused(wrong: dict[str, Any], code: str) -> None:
    with refused(code):
        AGGREGATION.check(job_of(PARAMETERS | wrong))


def test_roles_and_columns_are_checked() -> None:
    AGGREGATION.check(job_of())
    with refused("spec_roles"):
        AGGREGATION.check(job_of(second=Party("aggregator")))
    with refused("spec_roles"):
        AGGREGATION.check(job_of(server=Party("aggregator", "rows", ("income",))))
    with refused("spec_columns"):
        AGGREGATION.check(job_of(tax=Party("member", "rows", ("income", "home", "bad", "name"))))
    with refused("spec_columns"):
        AGGREGATION.check(job_of(tax=Party("member")))
    with refused("too_few_members"):
        AGGREGATION.check(
            Job(
                "j",
                "aggregation",
                "credit",
                {name: party for name, party in job_of().parties.items() if name != "tax"},
                PARAMETERS,
            )
        )


# --- Training -------------------------------------------------------------------------------------


def test_training_over_secure_sums_is_federated_averaging() -> None:
    # The same with all rows in one place, in plain floating point.
    job = job_of()
    plan = plan_of(job)
    data = {name: plan.prepare(TABLES[name].columns) for name in MEMBERS}
    common = plan.initial()
    for number in range(4):
        local = {}
        for name in MEMBERS:
            order = Randomness(SEEDS[name]).child("training").child(f"order/{number}")
            local[name] = train_locally(
                plan.model,
                common,
                *data[name],
                epochs=2,
                batch=32,
                rate=0.5,
                mu=0.0,
                randomness=order,
            )
        weights = {name: len(data[name][0]) for name in MEMBERS}
        weighted = [local[name] * weights[name] for name in MEMBERS]
        common = np.sum(weighted, axis=0) / sum(weights.values())
    outcomes = run(job)
    models = {json.dumps(json.loads(outcome.files["model.json"])) for outcome in outcomes.values()}
    assert len(models) == 1
    assert np.allclose(json.loads(models.pop())["parameters"], common, atol=1e-6)


def test_auc_and_counts_of_all_rows_come_out_of_sums() -> None:
    outcome = run(job_of())["server"]
    plan = plan_of(job_of())
    parameters = np.array(json.loads(outcome.files["model.json"])["parameters"])
    data = [plan.prepare(TABLES[name].columns) for name in MEMBERS]
    scores = np.concatenate([sigmoid(plan.model.logits(parameters, rows)) for rows, _ in data])
    labels = np.concatenate([column for _, column in data])
    assert abs(outcome.metrics["auc"] - roc_auc_score(labels, np.floor(scores * 1000))) < 1e-12
    assert outcome.metrics["auc"] > 0.8
    assert outcome.metrics["rows"] == len(labels) == 3 * 119
    assert outcome.metrics["positives"] == labels.sum()
    assert outcome.metrics["survivors"] == [3] * 5


@pytest.mark.parametrize("more", [{"model": "neural", "hidden": 4, "rate": 0.3}, {"mu": 0.5}])
def test_the_network_and_fedprox_train_too(more: dict[str, Any]) -> None:
    assert run(job_of(PARAMETERS | more))["server"].metrics["auc"] > 0.75


def test_the_same_seeds_give_the_same_model() -> None:
    first, second = (run(job_of())["tax"].files["model.json"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("sent", [0, 1, 2, 3, 4, 6, 9])
def test_training_goes_on_when_one_of_three_stops(sent: int) -> None:
    outcomes = run(job_of(), gone={"health": sent})
    assert outcomes["health"] is None
    assert outcomes["server"].metrics["survivors"][-1] == 2
    assert outcomes["tax"].files == outcomes["server"].files


def test_training_ends_when_two_of_three_stop() -> None:
    with refused("too_few_members", PeerFault):
        run(job_of(), gone={"health": 1, "tax": 6})


# --- An aggregator that is not the same to all ----------------------------------------------------


def another_model_for(name: str, number: int) -> Callable[[Session], None]:
    """What alters an aggregator's session: this member gets another model after this sum."""

    def alter(session: Session) -> None:
        channel, sums = session.channels[name], itertools.count()
        send = channel.send

        async def changed(kind: str, **fields: Any) -> None:
            if kind == "aggregation/model" and next(sums) == number:
                fields["parameters"] = fields["parameters"] + 5.0
            await send(kind, **fields)

        channel.send = changed  # type: ignore[method-assign]

    return alter


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_model_given_to_one_member_alone_ends_the_training_of_all(number: int) -> None:
    ends = run_all(job_of(), alter=another_model_for("tax", number))
    assert {ends[name].code for name in MEMBERS} <= {"models_differ", "peer_failed", "peer_gone"}
    assert ends["tax"].code == "models_differ"


def test_the_last_model_of_a_private_training_is_compared_too(tmp_path: Path) -> None:
    paths = ledgers(tmp_path, 10**9)
    ends = run_all(job_of(PRIVATE), budgets=paths, alter=another_model_for("health", 1))
    assert {ends[name].code for name in MEMBERS} == {"models_differ"}


# --- Bad rows -------------------------------------------------------------------------------------


def column(name: str, value: Any, dtype: Any) -> dict[str, Table]:
    table = TABLES["tax"]
    return {
        **TABLES,
        "tax": Table(table.ids, {**table.columns, name: np.array([value] * len(table), dtype)}),
    }


@pytest.mark.parametrize(
    ("tables", "code"),
    [
        (column("bad", 2.0, np.float64), "label_not_binary"),
        (column("bad", "yes", object), "label_not_binary"),
        (column("bad", np.nan, np.float64), "no_rows"),
        (column("income", "much", object), "column_not_numeric"),
        (
            {**TABLES, "tax": Table(TABLES["tax"].ids, {"bad": TABLES["tax"].columns["bad"]})},
            "column_missing",
        ),
        ({**TABLES, "tax": table_of(9, 1100)}, "too_many_rows"),
        ({**TABLES, "tax": None}, "no_rows"),
    ],
)
def test_rows_that_do_not_fit_the_plan_are_refused(tables: dict[str, Table], code: str) -> None:
    with refused(code):
        run(job_of(), tables=tables)


def test_one_label_only_is_refused_at_the_evaluation() -> None:
    tables = {
        name: Table(rows.ids, {**rows.columns, "bad": np.zeros(len(rows))})
        for name, rows in TABLES.items()
    }
    with refused("one_class"):
        run(job_of(), tables=tables)


def test_infinite_values_and_strange_categories_count_as_missing() -> None:
    plan = plan_of(job_of())
    columns = {
        "income": np.array([np.inf, np.nan, -5.0, 500.0]),
        "home": np.array(["owner", "castle", None, "rent"], object),
        "bad": np.array([0.0, 1.0, 0.0, 1.0]),
    }
    rows, _ = plan.prepare(columns)
    assert rows.tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 1], [-1, 0, 0, 0, 1], [1, 0, 0, 1, 0]]


# --- Privacy --------------------------------------------------------------------------------------


def ledgers(folder: Path, limit: int) -> dict[str, Path]:
    for name in MEMBERS:
        Budget.create(folder / f"{name}.json", limit)
    return {name: folder / f"{name}.json" for name in MEMBERS}


def test_a_private_training_is_charged_to_every_member_as_a_whole(tmp_path: Path) -> None:
    job = job_of(PRIVATE)
    cost = plan_of(job).cost
    paths = ledgers(tmp_path, cost + 5)
    metrics = run(job, budgets=paths)["server"].metrics
    assert {Budget(path).balance().left for path in paths.values()} == {5}
    assert metrics["micro_rho"] == cost > 0
    assert metrics["epsilon"] > 0
    assert "auc" not in metrics  # nobody has paid for an evaluation


def test_the_threshold_follows_from_the_colluders_that_are_named() -> None:
    assert plan_of(job_of()).terms(0).threshold == 2
    assert plan_of(job_of(PARAMETERS | {"colluders": 1})).terms(0).threshold == 3


@pytest.mark.parametrize(("colluders", "threshold", "unknown"), [(0, 0, 1), (0, 3, 2), (1, 0, 2)])
def test_what_is_charged_holds_against_a_member_that_takes_its_own_noise_away(
    colluders: int,
    threshold: int,
    unknown: int,
) -> None:
    # Only the threshold remain; one of them, or all colluders, subtract what they added.
    plan = plan_of(job_of(PRIVATE | {"colluders": colluders, "threshold": threshold}))
    left = plan.sigma * math.sqrt(unknown)
    assert plan.terms(0).threshold - max(1, colluders) == unknown
    assert left >= 3.0 * plan.norm
    assert plan.cost >= plan.rounds * (plan.norm / left) ** 2 / 2 * 10**6


def test_noise_is_in_the_model() -> None:
    # Without privacy two runs differ by nothing; the noise of 3 times the clip of 1.0 is far above
    # the rounding.
    plan = plan_of(job_of(PRIVATE))
    rows, labels = plan.prepare(TABLES["tax"].columns)
    noisy = [
        plan.contribution(0, plan.initial(), rows, labels, Randomness(bytes([seed]) * 32))
        for seed in range(200)
    ]
    assert abs(np.std(noisy, axis=0).mean() / plan.sigma - 1) < 0.05


@pytest.mark.parametrize("limit", [0, 1])
def test_an_exhausted_budget_ends_the_run_before_anything_is_sent(
    tmp_path: Path,
    limit: int,
) -> None:
    paths = ledgers(tmp_path, limit)
    with refused("budget_exhausted", Conflict):
        run(job_of(PRIVATE), budgets=paths)
    assert Budget(paths["tax"]).balance().spent == 0


def test_a_private_training_without_a_ledger_is_refused() -> None:
    with refused("budget_missing", NotFound):
        run(job_of(PRIVATE))


def test_what_a_member_spent_is_not_given_back_when_the_run_fails(tmp_path: Path) -> None:
    paths = ledgers(tmp_path, 10**9)
    with refused("too_few_members", PeerFault):
        run(job_of(PRIVATE), budgets=paths, gone={"health": 1, "tax": 2})
    assert Budget(paths["housing"]).balance().spent == plan_of(job_of(PRIVATE)).cost
