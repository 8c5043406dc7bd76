"""The protocol ``scorecard``: results, what each party receives, bad input, and peers that die or
send wrong messages at every step.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from federated.card import Baseline
from federated.errors import BadInput, Conflict, PeerFault
from federated.job import Job, JobResult, Table
from federated.vertical.binning import STEP
from federated.vertical.plain_scorecard import fit_scorecard
from federated.vertical.plan import ScorecardPlan, read_plan
from federated.vertical.points import ScorecardPart
from federated.vertical.results import worse_than_alone
from federated.vertical.whitening import Whitening
from tests.federated.vertical.city import (
    DEPARTMENTS,
    Line,
    Recorder,
    Run,
    altered,
    common_ids,
    constant,
    cut_off,
    people,
    refused,
    scorecard_of,
    written_after_the_fact,
)

TABLES = people()
Outcomes = dict[str, JobResult]


@pytest.fixture(
    scope="module",
    params=[*(pytest.param(departments, marks=pytest.mark.long) for departments in (1, 2)), 3],
)
def trained(request: pytest.FixtureRequest) -> tuple[Job, Outcomes]:
    """A training with one, two and three departments."""
    job = scorecard_of(request.param)
    return job, Run(job, TABLES).outcomes()


def part_of(outcomes: Outcomes, party: str) -> ScorecardPart:
    return ScorecardPart.from_bytes(outcomes[party].files["model.json"])


def scores(outcome: JobResult) -> dict[bytes, dict[str, str]]:
    rows = csv.DictReader(io.StringIO(outcome.files["scores.csv"].decode()))
    return {row["id"].encode(): row for row in rows}


def points_of(party: str, part: ScorecardPart) -> dict[bytes, int]:
    table = TABLES[party]
    return dict(
        zip(table.ids.tolist(), part.points_of(table.columns, len(table)).tolist(), strict=True)
    )


# --- What comes out -------------------------------------------------------------------------------


def test_the_bank_learns_the_sum_of_all_parties_points_for_every_common_row(
    trained: tuple[Job, Outcomes],
) -> None:
    job, outcomes = trained
    owners = [*job.with_role("features"), "bank"]
    points = [points_of(name, part_of(outcomes, name)) for name in owners]
    scored = scores(outcomes["bank"])
    assert set(scored) == common_ids({name: TABLES[name] for name in owners})
    assert all(
        int(row["score"]) == sum(party_points[person] for party_points in points)
        for person, row in scored.items()
    )


def test_the_model_ranks_as_one_trained_on_all_rows_in_one_place(
    trained: tuple[Job, Outcomes],
) -> None:
    job, outcomes = trained
    scored = scores(outcomes["bank"])
    evidence = pooled_evidence(job, outcomes, list(scored))
    bad = np.array([row["bad"] == "1" for row in scored.values()])
    test = np.array([row["part"] == "test" for row in scored.values()])
    plain = LogisticRegression(C=1e6, max_iter=1000).fit(evidence[~test], bad[~test])
    expected = roc_auc_score(bad[test], plain.decision_function(evidence[test]))
    assert abs(outcomes["bank"].metrics["auc"] - expected) < 0.01
    assert outcomes["bank"].metrics["auc"] > 0.7


def pooled_evidence(job: Job, outcomes: Outcomes, ids: list[bytes]) -> Any:
    columns = []
    for name in [*job.with_role("features"), "bank"]:
        index = {person: row for row, person in enumerate(TABLES[name].ids.tolist())}
        rows = np.array([index[person] for person in ids])
        for column in part_of(outcomes, name).columns:
            columns.append(
                np.append(column.woe, 0.0)[
                    column.bins.codes(TABLES[name].columns[column.bins.column][rows])
                ]
            )
    return np.column_stack(columns)


def test_columns_whose_points_run_against_the_evidence_are_named() -> None:
    bank = TABLES["bank"]
    noise = np.random.default_rng(2).normal(0, 12, len(bank))
    tables = altered(TABLES, "bank", "debt", lambda _: bank.columns["income"] * 2 + noise * 6)
    outcomes = Run(scorecard_of(2, iterations=20), tables).outcomes()
    for name in ("bank", "tax", "estate"):
        columns = part_of(outcomes, name).columns
        contrary = [column.bins.column for column in columns if column.weight < 0]
        assert outcomes[name].metrics["against_evidence"] == contrary
    facts = json.loads(outcomes["bank"].files["card.json"])["facts"]
    named = outcomes["bank"].metrics["against_evidence"]
    assert facts.get("points against the evidence", "bank: ") == "bank: " + ", ".join(named)


def test_a_special_value_has_points_of_its_own() -> None:
    tables = altered(
        TABLES,
        "tax",
        "expenses",
        lambda column: np.where(np.arange(600)[: len(column)] % 5, column, -1),
    )
    special = {"tax": {"expenses": [-1]}}
    outcomes = Run(scorecard_of(2, special=special), tables).outcomes()
    (column,) = [
        column for column in part_of(outcomes, "tax").columns if column.bins.column == "expenses"
    ]
    assert column.bins.special == (-1,)
    assert column.bins.names[-1] == "= -1"
    (points,) = column.points_of(np.array([-1.0]))
    assert points == column.points[-1]


@pytest.mark.parametrize(
    ("special", "code"),
    [
        ({"tax": {"home": [1]}}, "spec_columns"),
        ({"nobody": {"records": [1]}}, "spec_parameters"),
        ({"tax": {"expenses": []}}, "spec_parameters"),
        ({"tax": {"expenses": [1, 1.0]}}, "spec_parameters"),
        ({"tax": {"expenses": ["none"]}}, "spec_parameters"),
        ({"tax": {"expenses": [True]}}, "spec_parameters"),
        ({"tax": {"expenses": list(range(9))}}, "spec_parameters"),
        ({"tax": ["expenses"]}, "spec_parameters"),
        (["tax"], "spec_parameters"),
    ],
)
def test_special_values_that_are_wrong_are_refused(special: Any, code: str) -> None:
    with refused(code):
        read_plan(scorecard_of(1, special=special))


def test_a_penalty_gives_the_weights_of_ridge_regression_on_pooled_columns() -> None:
    job = scorecard_of(2, test_column="late", iterations=20, l2=25)
    outcomes = Run(job, TABLES).outcomes()
    scored = scores(outcomes["bank"])
    bad = np.array([row["bad"] == "1" for row in scored.values()])
    train = np.array([row["part"] == "train" for row in scored.values()])
    whitened, owners = [], []
    for name in ("tax", "estate", "bank"):
        one = {person: row for row, person in enumerate(TABLES[name].ids.tolist())}
        rows = np.array([one[person] for person in scored])
        evidence = np.column_stack(
            [
                np.append(column.woe, 0.0)[
                    column.bins.codes(TABLES[name].columns[column.bins.column][rows])
                ]
                for column in part_of(outcomes, name).columns
            ]
        )
        whitening = Whitening.of(evidence[train])
        owners.append((name, whitening))
        whitened.append(whitening.transform(evidence[train]))
    ridge = LogisticRegression(C=1 / 25, tol=1e-8).fit(np.column_stack(whitened), bad[train])
    free = LogisticRegression(C=1e6, tol=1e-8).fit(np.column_stack(whitened), bad[train])
    start = 0
    for name, whitening in owners:
        end = start + len(whitening.means)
        found = [column.weight for column in part_of(outcomes, name).columns]
        expected = whitening.weights(ridge.coef_[0, start:end])
        assert np.abs(np.array(found) - expected).max() < 0.05
        start = end
    assert np.abs(free.coef_).sum() > 1.15 * np.abs(ridge.coef_).sum()


def test_neutral_missing_values_take_no_points() -> None:
    outcomes = Run(scorecard_of(2, missing="neutral"), TABLES).outcomes()
    (column,) = [
        column for column in part_of(outcomes, "estate").columns if column.bins.column == "assets"
    ]
    assert not column.bins.missing
    assert column.points_of(np.array([np.nan])).tolist() == [column.elsewhere]
    with refused("spec_parameters"):
        read_plan(scorecard_of(1, missing="mean"))


def test_a_penalty_beyond_the_rows_is_refused() -> None:
    with refused("spec_parameters"):
        Run(scorecard_of(1, l2=100), TABLES).outcomes()


def test_more_parties_make_a_better_model() -> None:
    many = people(count=2000)
    alone, together = (
        Run(scorecard_of(count, test_column="late"), many).outcomes()["bank"].metrics["auc"]
        for count in (1, 3)
    )
    assert together > alone + 0.01


def test_each_party_keeps_its_own_columns_and_no_other_partys(
    trained: tuple[Job, Outcomes],
) -> None:
    job, outcomes = trained
    ids = {part_of(outcomes, name).model for name in [*job.with_role("features"), "bank"]}
    assert len(ids) == 1
    for name in job.with_role("features"):
        part = part_of(outcomes, name)
        assert [column.bins.column for column in part.columns] == list(DEPARTMENTS[name])
        assert (part.base, part.scale) == (0, None)
        assert set(outcomes[name].files) == {"model.json", "points.csv"}
    assert [column.bins.column for column in part_of(outcomes, "bank").columns] == [
        "income",
        "debt",
    ]
    assert set(outcomes["bank"].files) == {
        "model.json",
        "points.csv",
        "scores.csv",
        "card.json",
        "card.html",
    }
    assert outcomes["dealer"].files == {}


def test_the_card_is_of_the_rows_that_were_scored(trained: tuple[Job, Outcomes]) -> None:
    _, outcomes = trained
    scored, card = (
        scores(outcomes["bank"]).values(),
        json.loads(outcomes["bank"].files["card.json"]),
    )
    test = [row for row in scored if row["part"] == "test"]
    assert card["evaluation"]["test"]["rows"] == len(test) == round(0.2 * len(scored))
    assert card["evaluation"]["test"]["bad"] == sum(row["bad"] == "1" for row in test)
    auc = roc_auc_score([row["bad"] == "1" for row in test], [-int(row["score"]) for row in test])
    assert abs(card["evaluation"]["test"]["auc"] - auc) < 1e-6
    assert outcomes["bank"].metrics["auc"] == card["evaluation"]["test"]["auc"]


def test_the_card_shows_what_the_bank_can_do_alone(trained: tuple[Job, Outcomes]) -> None:
    job, outcomes = trained
    scored = scores(outcomes["bank"])
    same, everybody = json.loads(outcomes["bank"].files["card.json"])["baselines"]
    tested = {person for person, row in scored.items() if row["part"] == "test"}
    assert same["name"] == "bank alone, on the same rows"
    assert same["training_rows"] == len(scored) - len(tested)
    assert everybody["training_rows"] == len(TABLES["bank"]) - len(tested)
    assert same["test"]["rows"] == everybody["test"]["rows"] == len(tested)
    card = fit_scorecard(
        *own_training(lambda person: person not in tested), ScorecardPlan.read(job.parameters)
    )
    columns, bad = own_training(lambda person: person in tested)
    auc = roc_auc_score(bad, -card.points_of(columns, len(bad)))
    assert abs(everybody["test"]["auc"] - auc) < 1e-6
    assert outcomes["bank"].metrics["baselines"][everybody["name"]] == everybody["test"]["auc"]
    assert everybody["test"]["auc"] < outcomes["bank"].metrics["auc"]


def own_training(chosen: Callable[[bytes], bool]) -> tuple[dict[str, Any], Any]:
    """The bank's own columns and bad rows of the people chosen."""
    table = TABLES["bank"]
    rows = np.array([chosen(person) for person in table.ids.tolist()])
    own = {name: table.columns[name][rows] for name in ("income", "debt")}
    return own, table.columns["status"][rows] == "bad"


def test_rows_of_the_test_period_train_no_baseline() -> None:
    job = scorecard_of(2, test_column="late")
    *_, everybody = json.loads(Run(job, TABLES).outcomes()["bank"].files["card.json"])["baselines"]
    assert everybody["training_rows"] == int((TABLES["bank"].columns["late"] == 0).sum())


def test_a_card_that_ranks_worse_than_the_bank_alone_warns() -> None:
    baselines = [Baseline(name, 90, {"auc": auc}) for name, auc in (("weak", 0.6), ("own", 0.8))]
    assert worse_than_alone(0.7981, baselines) == []
    (warning,) = worse_than_alone(0.7979, baselines)
    assert "worse than own (AUC 0.7979, and 0.8000)" in warning
    assert worse_than_alone(0.7, []) == []


def test_the_bank_may_say_which_rows_are_for_the_test() -> None:
    outcomes = Run(scorecard_of(2, test_column="late"), TABLES).outcomes()
    late = dict(
        zip(TABLES["bank"].ids.tolist(), TABLES["bank"].columns["late"].tolist(), strict=True)
    )
    for person, row in scores(outcomes["bank"]).items():
        assert (row["part"] == "test") == (late[person] == 1)


def test_a_bank_without_columns_of_its_own_still_learns_scores() -> None:
    job = scorecard_of(2)
    bare = replace(
        job, parties={**job.parties, "bank": replace(job.parties["bank"], columns=("status",))}
    )
    outcomes = Run(bare, TABLES).outcomes()
    assert part_of(outcomes, "bank").columns == ()
    assert outcomes["bank"].metrics["auc"] > 0.6


def test_the_same_seeds_give_the_same_files(trained: tuple[Job, Outcomes]) -> None:
    job, outcomes = trained
    again = Run(job, TABLES).outcomes()
    assert all(again[name].files == outcomes[name].files for name in job.parties)


def test_points_follow_the_scale() -> None:
    # 600 points are odds of 50 at any scale; twice the points to double, and every row is twice as
    # far from there.
    first, second = (
        scores(Run(scorecard_of(1, points_to_double=points), TABLES).outcomes()["bank"])
        for points in (40, 80)
    )
    rounding = 0.5 * (2 + 2 + 1) * 3
    assert all(
        abs((int(second[row]["score"]) - 600) - 2 * (int(first[row]["score"]) - 600)) <= rounding
        for row in first
    )


def test_rows_may_be_aligned_with_national_algorithms() -> None:
    outcomes = Run(scorecard_of(1, alignment={"suite": "sm"}, iterations=2), TABLES).outcomes()
    assert set(scores(outcomes["bank"])) == common_ids(
        {name: TABLES[name] for name in ("tax", "bank")}
    )


def test_an_alignment_that_reveals_more_is_refused() -> None:
    with refused("reveal_not_offered"):
        read_plan(scorecard_of(1, alignment={"reveal": "both"}))


# --- What each party receives ---------------------------------------------------------------------


def test_a_department_receives_rounded_weights_and_no_label() -> None:
    watch = Recorder()
    outcomes = Run(scorecard_of(2), TABLES, watch={"tax": watch}).outcomes()
    received = {
        (peer, kind)
        for peer, way, kind, _ in watch.frames
        if way == "received" and not kind.startswith(("intersection/", "ot/"))
    }
    assert received == {
        ("dealer", "scorecard/seed"),
        ("bank", "scorecard/test"),
        ("bank", "counting/label"),
        ("bank", "scorecard/evidence"),
        ("bank", "scorecard/model"),
        *(
            (peer, kind)
            for peer in ("bank", "estate")
            for kind in (
                "vertical/columns",
                "vertical/step-weights",
                "vertical/shift",
                "vertical/weights",
            )
        ),
        ("bank", "vertical/angle"),
        ("bank", "vertical/error"),
    }
    for column in part_of(outcomes, "tax").columns:
        assert all(float(woe / STEP).is_integer() for woe in column.woe)


def test_bins_label_columns_and_points_are_uniform_on_the_wire() -> None:
    # Two runs with other seeds: of what hides rows nearly every byte differs, whatever is sent.
    seen = []
    for seed in (1, 2):
        watch = {name: Recorder() for name in ("tax", "bank")}
        Run(scorecard_of(2, test_column="late"), TABLES, seed=seed, watch=watch).outcomes()
        seen.append(
            {
                (peer, kind): frame
                for peer, way, kind, frame in watch["tax"].frames + watch["bank"].frames
                if way == "sent"
                and kind
                in (
                    "counting/bins",
                    "counting/label",
                    "counting/share",
                    "vertical/columns",
                    "points/masked",
                )
            }
        )
    assert len(seen[0]) == 8
    for key, frame in seen[0].items():
        body = np.frombuffer(frame[frame.index(b"}") + 1 :], np.uint8)
        other = np.frombuffer(seen[1][key], np.uint8)[-len(body) :]
        assert (body == other).mean() < 0.15, key
        assert abs(body.astype(float).mean() - 127.5) < 40, key


def test_with_one_department_the_bank_learns_its_points_and_with_two_only_their_sum() -> None:
    # The leak that the protocol's page names: a single department has nobody to hide behind.
    single = Run(scorecard_of(1), TABLES).outcomes()
    scored, own, theirs = (
        scores(single["bank"]),
        *(points_of(name, part_of(single, name)) for name in ("bank", "tax")),
    )
    assert all(int(row["score"]) - own[person] == theirs[person] for person, row in scored.items())

    watch = Recorder()
    double = Run(scorecard_of(2), TABLES, watch={"bank": watch}).outcomes()
    masked = {
        peer: frame
        for peer, way, kind, frame in watch.frames
        if way == "received" and kind == "points/masked"
    }
    order = list(scores(double["bank"]))
    for peer in ("tax", "estate"):
        shown = np.frombuffer(masked[peer], np.uint32, offset=len(masked[peer]) - 4 * len(order))
        real = points_of(peer, part_of(double, peer))
        assert (shown.view(np.int32) == np.array([real[person] for person in order])).mean() < 0.01
        assert len(np.unique(shown)) > 0.99 * len(
            order
        )  # the points themselves take a few dozen values
    both = {
        peer: np.frombuffer(frame, np.uint32, offset=len(frame) - 4 * len(order))
        for peer, frame in masked.items()
    }
    total = (both["tax"] + both["estate"]).view(np.int32)
    parts = [points_of(peer, part_of(double, peer)) for peer in ("tax", "estate")]
    assert total.tolist() == [
        sum(party_points[person] for party_points in parts) for person in order
    ]


def test_the_points_of_a_single_department_sort_its_firms_into_their_bins() -> None:
    # What the bank can do with them, carried out: firms of equal points are in the same bins of
    # all the department's columns.
    single = Run(scorecard_of(1), TABLES).outcomes()
    part, table = part_of(single, "tax"), TABLES["tax"]
    bins = np.column_stack(
        [column.bins.codes(table.columns[column.bins.column]) for column in part.columns]
    )
    seen = part.points_of(table.columns, len(table))
    assert len(np.unique(bins, axis=0)) > 6
    agreeing = [len(np.unique(bins[seen == value], axis=0)) == 1 for value in np.unique(seen)]
    assert sum(agreeing) / len(agreeing) > 0.8


# --- Specifications -------------------------------------------------------------------------------


def with_party(job: Job, name: str, **changes: Any) -> Job:
    return replace(job, parties={**job.parties, name: replace(job.parties[name], **changes)})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda job: replace(job, parameters={}), "spec_parameters"),
        (lambda job: with_party(job, "dealer", source="rows"), "spec_roles"),
        (lambda job: with_party(job, "dealer", columns=("age",)), "spec_roles"),
        (lambda job: with_party(job, "tax", source=None), "spec_roles"),
        (lambda job: with_party(job, "bank", source=None), "spec_roles"),
        (lambda job: with_party(job, "tax", role="dealer", source=None, columns=()), "spec_roles"),
        (lambda job: with_party(job, "tax", role="label"), "spec_roles"),
        (lambda job: with_party(job, "tax", columns=()), "spec_columns"),
        (lambda job: with_party(job, "tax", columns=("records", "records")), "spec_columns"),
        (lambda job: with_party(job, "bank", columns=("income",)), "spec_columns"),
        (
            lambda job: with_party(
                job, "tax", columns=tuple(f"c{number}" for number in range(257))
            ),
            "spec_columns",
        ),
        (
            lambda job: replace(
                job,
                parties={
                    name: party for name, party in job.parties.items() if party.role != "features"
                },
            ),
            "spec_roles",
        ),
        (
            lambda job: replace(
                job,
                parties={
                    name: party for name, party in job.parties.items() if party.role != "dealer"
                },
            ),
            "spec_roles",
        ),
        (
            lambda job: replace(
                job, parties={**job.parties, **{f"d{n}": job.parties["tax"] for n in range(8)}}
            ),
            "spec_roles",
        ),
    ],
)
def test_specifications_nobody_can_run_are_refused(change: Callable[[Job], Job], code: str) -> None:
    with refused(code):
        read_plan(change(scorecard_of(1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": 3},
        {"label": None},
        {"bad": None},
        {"bad": "good"},
        {"bad": 1},
        {"bad": True, "good": False},
        {"test_share": 0},
        {"test_share": 1.0},
        {"test_column": 5},
        {"test_column": "status"},
        {"bins": 1},
        {"bins": 5.0},
        {"min_rows": 9},
        {"min_cases": 4},
        {"iterations": 0},
        {"iterations": 21},
        {"iterations": True},
        {"base_odds": 0},
        {"points_to_double": "20"},
        {"points_to_double": float("nan")},
        {"alignment": 3},
        {"alignment": {"unheard": 1}},
        {"unheard": 1},
    ],
)
def test_parameters_nobody_can_run_are_refused(wrong: dict[str, Any]) -> None:
    with refused("spec_parameters"):
        scorecard = scorecard_of(1)
        read_plan(replace(scorecard, parameters={**scorecard.parameters, **wrong}))


# --- Bad rows -------------------------------------------------------------------------------------


def put(index: int, value: Any) -> Callable[[Any], Any]:
    def change(column: Any) -> Any:
        copy = column.copy()
        copy[index] = value
        return copy

    return change


def first_rows(count: int) -> dict[str, Table]:
    """Only so many of the bank's rows that are common to all."""
    table, common = TABLES["bank"], common_ids(TABLES)
    rows = np.flatnonzero([person in common for person in table.ids.tolist()])[:count]
    return {**TABLES, "bank": table.take(rows)}


@pytest.mark.parametrize(
    ("tables", "code", "kind"),
    [
        (
            {
                **TABLES,
                "tax": Table(
                    np.char.replace(TABLES["tax"].ids, b"9144", b"9266"), TABLES["tax"].columns
                ),
            },
            "intersection_empty",
            Conflict,
        ),
        (
            altered(TABLES, "bank", "status", lambda column: np.full(len(column), "good", object)),
            "one_class",
            BadInput,
        ),
        (
            altered(TABLES, "bank", "status", lambda column: np.full(len(column), "bad", object)),
            "one_class",
            BadInput,
        ),
        (altered(TABLES, "bank", "status", put(3, None)), "label_not_binary", BadInput),
        (altered(TABLES, "bank", "status", put(3, "open")), "label_not_binary", BadInput),
        (
            altered(TABLES, "bank", "status", lambda column: (column == "bad").astype(np.float64)),
            "label_not_binary",
            BadInput,
        ),
        (constant(TABLES, "bank", "income", "debt"), "column_constant", BadInput),
        (constant(TABLES, "tax", "records", "expenses"), "column_constant", BadInput),
        (altered(TABLES, "tax", "expenses", put(5, np.inf)), "column_malformed", BadInput),
        (altered(TABLES, "bank", "income", put(5, -np.inf)), "column_malformed", BadInput),
        (written_after_the_fact(TABLES), "label_separated", BadInput),
        (first_rows(40), "too_few_rows", BadInput),
        ({**TABLES, "tax": TABLES["tax"].take(np.array([1, 1, 2]))}, "ids_repeat", BadInput),
        ({**TABLES, "tax": None}, "ids_empty", BadInput),
    ],
)
def test_rows_that_no_model_can_be_made_of_are_refused(tables: Any, code: str, kind: Any) -> None:
    with refused(code, kind):
        Run(scorecard_of(2), tables).outcomes()


def test_a_left_join_trains_on_every_row_of_the_bank() -> None:
    known = {**TABLES, "tax": TABLES["tax"].take(np.arange(0, len(TABLES["tax"]), 2))}
    outcomes = Run(scorecard_of(2, alignment={"join": "left"}), known).outcomes()
    assert set(scores(outcomes["bank"])) == set(TABLES["bank"].ids.tolist())
    assert outcomes["tax"].metrics["rows"] == len(TABLES["bank"])
    matched = len(common_ids({name: known[name] for name in ("bank", "tax")}))
    assert outcomes["tax"].metrics["matched"] == matched
    assert all(column.bins.missing for column in part_of(outcomes, "tax").columns)
    facts = json.loads(outcomes["bank"].files["card.json"])["facts"]
    assert f"tax has {matched} of {len(TABLES['bank'])}" in facts["rows"]


def test_columns_with_one_value_are_left_out_and_named() -> None:
    tables = constant(constant(TABLES, "tax", "expenses"), "bank", "income")
    outcomes = Run(scorecard_of(2), tables).outcomes()
    bank = outcomes["bank"]
    assert bank.metrics["dropped"] == {"bank": ["income"], "tax": ["expenses"]}
    assert [column.bins.column for column in part_of(outcomes, "tax").columns] == ["records"]
    assert "one value only" in outcomes["tax"].metrics["dropped"]["expenses"]
    facts = json.loads(bank.files["card.json"])["facts"]
    assert facts["left out"].startswith("bank: income; tax: expenses")
    assert "expenses" not in facts["made of"]
    assert "left out" in bank.files["card.html"].decode()


def test_a_column_that_is_the_label_weighs_nothing() -> None:
    # A bin without a single good row would tell the owner its rows' labels, so it is weighed with
    # its neighbour.
    copied = altered(
        TABLES,
        "bank",
        "debt",
        lambda _: (TABLES["bank"].columns["status"] == "bad").astype(np.float64),
    )
    outcomes = Run(scorecard_of(2), copied).outcomes()
    assert outcomes["bank"].metrics["information_values"]["bank"]["debt"] == 0
    assert set(part_of(outcomes, "bank").columns[1].points) == {0}


def test_a_missing_value_is_a_value_like_any_other() -> None:
    outcomes = Run(
        scorecard_of(2),
        altered(
            TABLES,
            "tax",
            "expenses",
            lambda column: np.where(np.arange(len(column)) % 5 == 0, np.nan, column),
        ),
    ).outcomes()
    (expenses,) = (
        column for column in part_of(outcomes, "tax").columns if column.bins.column == "expenses"
    )
    assert expenses.bins.names[-1] == "missing"


def test_a_test_column_that_is_neither_0_nor_1_is_refused() -> None:
    with refused("column_not_binary"):
        Run(
            scorecard_of(1, test_column="late"),
            altered(TABLES, "bank", "late", lambda column: column / 2),
        ).outcomes()


def test_rows_to_test_with_of_one_outcome_are_refused() -> None:
    good = TABLES["bank"].columns["status"] == "good"
    with refused("one_class"):
        Run(
            scorecard_of(1, test_column="late"),
            altered(
                TABLES, "bank", "late", lambda column: (good & (column == 1)).astype(np.float64)
            ),
        ).outcomes()


# --- Peers that die or lie ------------------------------------------------------------------------


def sends(sender: str, departments: int) -> int:
    line = Line(lambda *_: None)
    Run(scorecard_of(departments, iterations=2), TABLES, lines={sender: line}).outcomes()
    return line.count


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("sender", ["bank", "tax", "dealer"])
def test_a_peer_that_dies_before_any_message_ends_the_run_at_all(sender: str, step: int) -> None:
    total = sends(sender, 1)
    assert total > 8
    for at in range(0, total, step):
        with pytest.raises(PeerFault, check=lambda error: error.code == "peer_gone"):
            Run(
                scorecard_of(1, iterations=2), TABLES, lines={sender: Line(cut_off, at=at)}
            ).outcomes()


def shorten(name: str) -> Callable[[str, dict[str, Any]], None]:
    return lambda _kind, fields: fields.update({name: fields[name][:-1]})


def assign(name: str, value: Any) -> Callable[[str, dict[str, Any]], None]:
    return lambda _kind, fields: fields.update({name: value})


LAYOUT = {"ordered": 2, "rows": [100, 100]}

LIES = [
    ("dealer", "scorecard/seed", shorten("seed"), "message_malformed"),
    ("dealer", "counting/rest", shorten("words"), "message_malformed"),
    ("dealer", "vertical/step", shorten("backward"), "message_malformed"),
    ("dealer", "vertical/forward", shorten("words"), "message_malformed"),
    ("dealer", "vertical/fourier", shorten("words"), "message_malformed"),
    ("bank", "scorecard/test", shorten("words"), "message_malformed"),
    (
        "bank",
        "scorecard/test",
        lambda _kind, fields: fields.update({"words": fields["words"] + np.uint8(2)}),
        "message_malformed",
    ),
    (
        "bank",
        "scorecard/test",
        lambda _kind, fields: fields.update({"words": fields["words"] * 0 + np.uint8(1)}),
        "too_few_rows",
    ),
    ("bank", "scorecard/size", assign("rows", 0), "message_malformed"),
    ("bank", "scorecard/size", assign("rows", 1 << 31), "too_many_rows"),
    ("bank", "scorecard/size", assign("bins", {"tax": 10**9, "estate": 5}), "message_malformed"),
    ("bank", "scorecard/size", assign("bins", {"tax": 5}), "message_malformed"),
    ("bank", "counting/label", shorten("words"), "message_malformed"),
    ("bank", "scorecard/evidence", shorten("words"), "message_malformed"),
    (
        "bank",
        "scorecard/evidence",
        lambda _kind, fields: fields.update({"words": fields["words"] * np.nan}),
        "message_malformed",
    ),
    ("bank", "vertical/columns", shorten("words"), "message_malformed"),
    ("bank", "vertical/angle", shorten("words"), "message_malformed"),
    ("bank", "vertical/weights", shorten("words"), "message_malformed"),
    ("bank", "scorecard/model", assign("model", "x" * 33), "message_malformed"),
    ("tax", "scorecard/bins", assign("columns", None), "message_malformed"),
    ("tax", "scorecard/bins", assign("columns", [LAYOUT]), "message_malformed"),
    (
        "tax",
        "scorecard/bins",
        assign("columns", [LAYOUT, {"ordered": 2, "rows": [100, -1]}]),
        "message_malformed",
    ),
    (
        "tax",
        "scorecard/bins",
        assign("columns", [LAYOUT, {"ordered": 2, "rows": [100, 3]}]),
        "message_malformed",
    ),
    (
        "tax",
        "scorecard/bins",
        assign("columns", [LAYOUT, {"ordered": 5, "rows": [100, 100]}]),
        "message_malformed",
    ),
    (
        "tax",
        "scorecard/bins",
        assign("columns", [LAYOUT, {"ordered": 2, "rows": [10**6, 100]}]),
        "message_malformed",
    ),
    (
        "tax",
        "scorecard/bins",
        assign("columns", [LAYOUT, {"ordered": 2, "rows": [100.5, 100]}]),
        "message_malformed",
    ),
    ("tax", "counting/bins", shorten("words"), "message_malformed"),
    ("tax", "counting/share", shorten("words"), "message_malformed"),
    (
        "tax",
        "counting/share",
        lambda _kind, fields: fields.update({"words": fields["words"] + np.uint16(9999)}),
        "counts_impossible",
    ),
    ("tax", "vertical/columns", shorten("words"), "message_malformed"),
    ("tax", "vertical/step-weights", shorten("words"), "message_malformed"),
    ("tax", "vertical/angle", shorten("words"), "message_malformed"),
    ("tax", "vertical/error", shorten("words"), "message_malformed"),
    ("tax", "vertical/shift", shorten("words"), "message_malformed"),
    ("tax", "points/seed", shorten("seed"), "message_malformed"),
    ("tax", "points/masked", shorten("words"), "message_malformed"),
]


@pytest.mark.parametrize(("sender", "kind", "change", "code"), LIES)
def test_a_peer_that_lies_is_found(sender: str, kind: str, change: Any, code: str) -> None:
    with pytest.raises((PeerFault, BadInput), check=lambda error: error.code == code):
        Run(
            scorecard_of(2, iterations=2), TABLES, lines={sender: Line(change, kind=kind)}
        ).outcomes()
