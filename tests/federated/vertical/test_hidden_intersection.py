"""A scorecard trained over a hidden intersection: its results, what each party receives, and that
nothing that anybody has names a common row.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection import OpprfReceiver, lead_opprf
from federated.job import Job, JobResult, Table
from federated.scoring import SCORING
from federated.vertical import hidden_intersection
from federated.vertical.binning import BinLayout, WeightsOfEvidence
from federated.vertical.plan import read_plan
from federated.vertical.points import ScorecardPart
from federated.vertical.score_histogram import BUCKETS_PER_UNIT
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

NOBODY = {"reveal": "nobody", "pad_to": 64}
TABLES = people(count=1200)
SMALL = people()
NAMES = ("tax", "estate", "social", "bank", "dealer")


def hidden_intersection_of(departments: int = 2, **parameters: Any) -> Job:
    return scorecard_of(departments, **{"alignment": NOBODY, **parameters})


@dataclass
class Watched:
    """A training with everything that its parties sent and received, and what only a test may put
    together: who sits where, and the words.
    """

    job: Job
    outcomes: dict[str, JobResult]
    watch: dict[str, Recorder]
    opprf: OpprfReceiver
    words: dict[str, list[NDArray[np.uint64]]]

    @property
    def test(self) -> NDArray[np.bool_]:
        """The test bins, which are announced to all parties."""
        frame = next(
            frame
            for _, way, kind, frame in self.watch["bank"].frames
            if (way, kind) == ("sent", "circuit/test")
        )
        test: NDArray[np.bool_] = np.frombuffer(frame, np.uint8)[-len(self.opprf.row_of_bin) :] == 1
        return test

    @property
    def order(self) -> NDArray[np.int64]:
        """Bins in the order of everything that is computed."""
        return np.argsort(self.test, kind="stable")

    def member(self, tables: Any) -> NDArray[np.bool_]:
        """Bins of common rows."""
        common, ids = (
            common_ids({name: tables[name] for name in (*self.job.with_role("features"), "bank")}),
            tables["bank"].ids,
        )
        return np.array(
            [index >= 0 and ids[index] in common for index in self.opprf.row_of_bin.tolist()]
        )


def watched(job: Job, tables: Any, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Watched:
    receivers: list[OpprfReceiver] = []
    words: dict[str, list[NDArray[np.uint64]]] = {}
    lead = lead_opprf

    async def recorded_opprf(*how: Any) -> OpprfReceiver:
        receiver = await lead(*how)
        receive = receiver.receive

        async def kept_words(follower: str, count: int) -> Any:
            words.setdefault(follower, []).append(await receive(follower, count))
            return words[follower][-1]

        monkeypatch.setattr(receiver, "receive", kept_words)
        receivers.append(receiver)
        return receiver

    monkeypatch.setattr(hidden_intersection, "lead_opprf", recorded_opprf)
    watch = {name: Recorder() for name in job.parties}
    outcomes = Run(job, tables, watch=watch, seed=seed).outcomes()
    return Watched(job, outcomes, watch, receivers[0], words)


@pytest.fixture(
    scope="module",
    params=[2, *(pytest.param(departments, marks=pytest.mark.long) for departments in (1, 3))],
)
def trained(request: pytest.FixtureRequest) -> Watched:
    """A training with one, two and three departments."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return watched(hidden_intersection_of(request.param, iterations=20), TABLES, monkeypatch)


def part_of(outcomes: dict[str, JobResult], party: str) -> ScorecardPart:
    return ScorecardPart.from_bytes(outcomes[party].files["model.json"])


def columns_at(table: Table, names: Any, people_: list[bytes]) -> dict[str, NDArray[Any]]:
    index = {person: row for row, person in enumerate(table.ids.tolist())}
    rows = np.array([index[person] for person in people_])
    return {name: table.columns[name][rows] for name in names}


def common_people(
    trained: Watched, tables: Any = TABLES
) -> tuple[list[bytes], NDArray[np.bool_], NDArray[np.bool_]]:
    """The common identifiers, which are for the test, and which are bad."""
    bins = np.flatnonzero(trained.member(tables))
    people_ = tables["bank"].ids[trained.opprf.row_of_bin[bins]].tolist()
    bad = columns_at(tables["bank"], ["status"], people_)["status"] == "bad"
    return people_, trained.test[bins], bad


# --- What comes out -------------------------------------------------------------------------------


def test_everybody_learns_how_many_rows_are_common(trained: Watched) -> None:
    people_, test, _ = common_people(trained)
    assert len(people_) == len(
        common_ids({name: TABLES[name] for name in (*trained.job.with_role("features"), "bank")})
    )
    for name in trained.job.with_role("features"):
        metrics = trained.outcomes[name].metrics
        assert (metrics["rows"], metrics["training_rows"]) == (len(people_), int((~test).sum()))
    metrics = trained.outcomes["bank"].metrics
    assert (metrics["rows"], metrics["test_rows"]) == (len(people_), int(test.sum()))


@dataclass(frozen=True)
class Pooled:
    """The common rows in one place: all parties' evidence by the parts they keep, and the points
    these give.
    """

    evidence: NDArray[np.float64]
    points: NDArray[np.int64]
    test: NDArray[np.bool_]
    bad: NDArray[np.bool_]

    @classmethod
    def of(cls, trained: Watched, tables: Any) -> Pooled:
        people_, test, bad = common_people(trained, tables)
        evidence, points = [], np.zeros(len(people_), np.int64)
        for name in (*trained.job.with_role("features"), "bank"):
            part = part_of(trained.outcomes, name)
            held = columns_at(
                tables[name], [column.bins.column for column in part.columns], people_
            )
            evidence += [
                np.append(column.woe, 0.0)[column.bins.codes(held[column.bins.column])]
                for column in part.columns
            ]
            points += part.points_of(held, len(people_))
        return cls(np.column_stack(evidence), points, test, bad)

    def aucs(self) -> tuple[float, float]:
        """Of the test rows: by logistic regression in one place, and by the points."""
        plain = LogisticRegression(C=1e6, max_iter=1000).fit(
            self.evidence[~self.test], self.bad[~self.test]
        )
        bad = self.bad[self.test]
        return roc_auc_score(bad, plain.decision_function(self.evidence[self.test])), roc_auc_score(
            bad, -self.points[self.test]
        )


def test_the_model_ranks_as_one_trained_on_the_common_rows_in_one_place(trained: Watched) -> None:
    expected, ours = Pooled.of(trained, TABLES).aucs()
    assert abs(ours - expected) < 0.01
    assert ours > 0.7


def test_the_histogram_at_the_bank_is_that_of_its_models_scores(trained: Watched) -> None:
    pooled, scale = Pooled.of(trained, TABLES), part_of(trained.outcomes, "bank").scale
    assert scale is not None
    card = json.loads(trained.outcomes["bank"].files["card.json"])["evaluation"]
    assert abs(card["test"]["auc"] - pooled.aucs()[1]) < 0.01
    spread, points = card["distribution"], pooled.points[pooled.test]
    assert sum(spread["bad"]) == int((pooled.bad & pooled.test).sum())
    assert sum(spread["good"]) == int((~pooled.bad & pooled.test).sum())
    reach = (
        scale.factor / BUCKETS_PER_UNIT + 0.5 * pooled.evidence.shape[1] + 1
    )  # a bucket, and what rounding to whole points leaves
    assert abs(spread["edges"][0] - points.min()) < reach
    assert abs(spread["edges"][-1] - points.max()) < reach


def with_others(count: int, expenses: float, yes: float) -> dict[str, Table]:
    """The tax bureau holds so many more firms, of which these spend so much and that share has
    records.
    """
    tables, numbers = people(count=2000), np.random.default_rng(5)
    table = tables["tax"]
    ids = np.concatenate([table.ids, np.array([b"92660703%08d" % index for index in range(count)])])
    records = np.concatenate(
        [
            table.columns["records"],
            numbers.choice(["yes", "no"], count, p=[yes, 1 - yes]).astype(object),
        ]
    )
    spent = np.concatenate([table.columns["expenses"], numbers.normal(expenses, 15, count)])
    return {**tables, "tax": Table(ids, {"records": records, "expenses": spent})}


@pytest.mark.parametrize(
    ("count", "expenses", "yes"),
    [
        (5000, 80, 0.3),
        *(
            pytest.param(*others, marks=pytest.mark.long)
            for others in ((5000, 20, 0.02), (20_000, 90, 0.01))
        ),
    ],
)
def test_a_department_with_many_more_rows_of_other_kinds_trains_as_good_a_model(
    monkeypatch: pytest.MonkeyPatch, count: int, expenses: float, yes: float
) -> None:
    # Its columns are white over all of its rows and not over the common ones; the measured step
    # makes up for it.
    tables = with_others(count, expenses, yes)
    expected, ours = Pooled.of(
        watched(hidden_intersection_of(2, iterations=20), tables, monkeypatch), tables
    ).aucs()
    assert abs(ours - expected) < 0.01


def test_no_file_names_a_row(trained: Watched) -> None:
    ids = {person for table in TABLES.values() for person in table.ids.tolist()}
    for name, outcome in trained.outcomes.items():
        expected = {
            "bank": {"model.json", "points.csv", "card.json", "card.html"},
            "dealer": set(),
        }.get(name, {"model.json", "points.csv"})
        assert set(outcome.files) == expected
        assert not any(person in data for data in outcome.files.values() for person in ids)


def test_a_departments_points_are_of_all_its_own_rows_and_the_banks_of_the_common_ones(
    trained: Watched,
) -> None:
    _, test, _ = common_people(trained)
    for name in trained.job.with_role("features"):
        for column in part_of(trained.outcomes, name).columns:
            assert sum(column.rows) in (
                len(TABLES[name]),
                len(TABLES[name])
                - int((column.bins.codes(TABLES[name].columns[column.bins.column]) < 0).sum()),
            )
    assert all(
        sum(column.rows) == int((~test).sum())
        for column in part_of(trained.outcomes, "bank").columns
    )


def test_the_bank_weighs_the_departments_bins_by_the_common_rows(trained: Watched) -> None:
    people_, test, bad = common_people(trained)
    for name in trained.job.with_role("features"):
        for column in part_of(trained.outcomes, name).columns:
            codes = column.bins.codes(
                columns_at(TABLES[name], [column.bins.column], people_)[column.bins.column]
            )[~test]
            rows, bads = (
                np.bincount(codes[which], minlength=len(column.rows))
                for which in (codes >= 0, (codes >= 0) & bad[~test])
            )
            layout = BinLayout(
                len(column.bins.edges) + 1 if column.bins.numeric else 0, tuple(rows.tolist())
            )
            assert (
                column.woe
                == WeightsOfEvidence.of(layout, bads.tolist(), min_cases=10).rounded().woe
            )


def test_the_same_seeds_give_the_same_files(trained: Watched) -> None:
    again = Run(trained.job, TABLES).outcomes()
    assert all(again[name].files == trained.outcomes[name].files for name in trained.job.parties)


def test_a_column_with_one_value_is_left_out_and_named() -> None:
    outcomes = Run(hidden_intersection_of(2), constant(SMALL, "tax", "expenses")).outcomes()
    assert outcomes["bank"].metrics["dropped"] == {"tax": ["expenses"]}
    assert [column.bins.column for column in part_of(outcomes, "tax").columns] == ["records"]


def test_a_bank_without_columns_of_its_own_still_makes_a_model() -> None:
    job = hidden_intersection_of(2)
    bare = replace(
        job, parties={**job.parties, "bank": replace(job.parties["bank"], columns=("status",))}
    )
    outcomes = Run(bare, SMALL).outcomes()
    assert part_of(outcomes, "bank").columns == ()
    assert outcomes["bank"].metrics["auc"] > 0.6


def test_a_hidden_intersection_works_with_national_algorithms() -> None:
    outcomes = Run(
        hidden_intersection_of(1, alignment={**NOBODY, "suite": "sm"}, iterations=2), SMALL
    ).outcomes()
    assert outcomes["tax"].metrics["rows"] == len(
        common_ids({name: SMALL[name] for name in ("tax", "bank")})
    )


def test_the_parts_score_other_rows(trained: Watched, tmp_path: Any) -> None:
    others, models, homes = people(seed=23, count=120), {}, {}
    owners = (*trained.job.with_role("features"), "bank")
    for name in owners:
        output = tmp_path / name / "jobs" / "credit" / "1-a" / "output"
        output.mkdir(parents=True)
        (output / "model.json").write_bytes(trained.outcomes[name].files["model.json"])
        models[name], homes[name] = (
            digest(trained.outcomes[name].files["model.json"]),
            {"home": tmp_path / name},
        )
    parties: dict[str, Any] = {
        name: {"role": "features", "source": "rows", "columns": list(DEPARTMENTS[name])}
        for name in owners[:-1]
    }
    parties["bank"] = {"role": "label", "source": "rows", "columns": ["income", "debt"]}
    given = {"training": "credit", "models": models}
    job = Job.from_json(
        {
            "job": "ask",
            "protocol": "scoring",
            "purpose": "credit-assessment",
            "parties": parties,
            "parameters": given,
        }
    )
    result = Run(job, others, settings=homes, protocol=SCORING).outcomes()["bank"]
    scored = {
        row["id"].encode(): int(row["score"])
        for row in csv.DictReader(io.StringIO(result.files["scores.csv"].decode()))
    }
    assert set(scored) == common_ids({name: others[name] for name in owners})
    expected = dict.fromkeys(scored, 0)
    for name in owners:
        points = part_of(trained.outcomes, name).points_of(others[name].columns, len(others[name]))
        for person, own in zip(others[name].ids.tolist(), points.tolist(), strict=True):
            if person in expected:
                expected[person] += own
    assert scored == expected


def digest(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()


# --- Nobody learns which rows are common ----------------------------------------------------------


def half_common(first: int) -> dict[str, Table]:
    """The same rows of the tax bureau, of which it names 400 as the bank names its own from
    ``first`` on; the others are nobody else's.
    """
    bank, tax = SMALL["bank"], SMALL["tax"]
    theirs = np.array([b"92660703%08d" % index for index in range(len(tax))])
    theirs[:400] = np.sort(bank.ids)[first : first + 400]
    return {**SMALL, "tax": Table(theirs, tax.columns)}


def test_who_is_common_changes_no_messages_number_order_or_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    for first in (0, 150):
        run = watched(hidden_intersection_of(1, iterations=2), half_common(first), monkeypatch)
        assert run.outcomes["tax"].metrics["rows"] == 400
        lines: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
        for name, recorder in run.watch.items():
            for peer, way, kind, frame in recorder.frames:
                lines.setdefault((name, peer, way), []).append((kind, len(frame)))
        seen.append(lines)
    assert seen[0] == seen[1]


PER_ROW = {
    "circuit/and": "uint64",
    "circuit/bits": "uint64",
    "products/selector": "uint64",
    "products/left": "uint16",
    "products/columns": "",
    "vertical/columns": "uint64",
    "vertical/angle": "uint16",
    "vertical/error": "uint64",
    "scores/index": "uint64",
}
"""What is opened of rows, with the width of its words."""


def bits_of(data: NDArray[Any]) -> NDArray[np.float64]:
    return np.unpackbits(np.ascontiguousarray(data).view(np.uint8)).astype(np.float64)


def require_uniform(data: NDArray[Any]) -> None:
    bits = bits_of(data)
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(bits))


def test_the_words_that_the_bank_decodes_do_not_tell_whose_row_is_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = watched(hidden_intersection_of(1, iterations=2), half_common(0), monkeypatch)
    member, full = run.member(half_common(0)), run.opprf.row_of_bin >= 0
    assert member.sum() == 400 < full.sum() < len(full)
    for words in run.words["tax"]:
        for rows in (member, full & ~member, ~full):
            require_uniform(words[rows])
        # Bit by bit, and word by word: no column of bits ranks common rows above others.
        for bits in np.unpackbits(words[full].view(np.uint8), axis=1).T:
            inside, outside = bits[member[full]], bits[~member[full]]
            assert abs(inside.mean() - outside.mean()) < 6 * 0.5 * math.sqrt(
                1 / len(inside) + 1 / len(outside)
            )
        assert len(np.unique(words[:, 0])) == len(words)


def test_whatever_is_opened_of_a_row_is_uniform_for_common_rows_as_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = watched(hidden_intersection_of(1, iterations=2), half_common(0), monkeypatch)
    member = run.member(half_common(0))[run.order]
    train = int((~run.test).sum())
    seen = set()
    for name in ("bank", "tax"):
        for _, way, kind, frame in run.watch[name].frames:
            if way != "received" or kind not in PER_ROW:
                continue
            length, header = int.from_bytes(frame[8:12], "big"), 12
            dtype, (count,) = json.loads(frame[header : header + length])["fields"][0][1:]
            body = np.frombuffer(frame, dtype, count, header + length)
            if kind == "circuit/and" or (kind, dtype) == ("circuit/bits", "uint64"):
                require_uniform(body)
                seen.add(kind)
                continue
            rows = (
                train
                if kind in ("products/left", "vertical/angle", "vertical/error")
                or dtype == "uint16"
                else len(member)
            )
            table = body.reshape(rows, -1)
            for which in (member[:rows], ~member[:rows]):
                if table.shape[1]:
                    require_uniform(table[which])
            seen.add(kind)
    assert seen == set(PER_ROW)


def test_a_department_receives_counts_weights_and_otherwise_uniform_values() -> None:
    watch = Recorder()
    Run(hidden_intersection_of(2, iterations=2), SMALL, watch={"tax": watch}).outcomes()
    received = {
        (peer, kind)
        for peer, way, kind, _ in watch.frames
        if way == "received" and not kind.startswith(("intersection/", "ot/"))
    }
    assert received == {
        ("dealer", "scorecard/seed"),
        *(("bank", f"circuit/{kind}") for kind in ("frame", "test", "and", "bits", "step")),
        *((peer, "circuit/size") for peer in ("bank", "estate")),
        *(("bank", f"products/{kind}") for kind in ("selector", "left", "columns")),
        *(("bank", f"eigenvalue/{kind}") for kind in ("scale", "shift", "factor", "square")),
        ("bank", "scorecard/evidence"),
        ("bank", "scorecard/model"),
        *(("bank", f"vertical/{kind}") for kind in ("columns", "angle", "error")),
        *(
            (peer, f"vertical/{kind}")
            for peer in ("bank", "estate")
            for kind in ("step-weights", "shift", "weights")
        ),
        *((peer, "scores/weights") for peer in ("bank", "estate")),
        ("bank", "scores/index"),
    }


def test_no_recording_holds_an_identifier(trained: Watched) -> None:
    for recorder in trained.watch.values():
        everything = b"".join(frame for *_, frame in recorder.frames)
        assert not any(person in everything for person in TABLES["bank"].ids.tolist()[:50])


def test_two_trainings_that_differ_by_one_identifier_tell_whether_it_is_common() -> None:
    # The leak that the page names, carried out: the number of common rows is exact.
    job, table, bank = (
        hidden_intersection_of(1, iterations=1),
        SMALL["tax"],
        set(SMALL["bank"].ids.tolist()),
    )
    theirs = np.array([person in bank for person in table.ids.tolist()])
    common, other = int(np.flatnonzero(theirs)[0]), int(np.flatnonzero(~theirs)[0])
    whole, less, same = (
        Run(job, {**SMALL, "tax": table.take(np.setdiff1d(np.arange(len(table)), left_out))})
        .outcomes()["tax"]
        .metrics["rows"]
        for left_out in ([], [common], [other])
    )
    assert (whole - less, whole - same) == (1, 0)


# --- What is refused ------------------------------------------------------------------------------


def few_common(count: int) -> dict[str, Table]:
    """As many rows as ever at the tax bureau, of which so many are the bank's too."""
    table = SMALL["tax"]
    ids = np.array([b"92660703%08d" % index for index in range(len(table))])
    ids[:count] = sorted(common_ids(SMALL))[:count]
    return {**SMALL, "tax": Table(ids, table.columns)}


def unlike() -> dict[str, Table]:
    """The tax bureau has fifty times as many firms, and one in two of the common ones, more often a
    bad one, is of a kind that is rare among them.
    """
    table, common = SMALL["tax"], common_ids(SMALL)
    bank = SMALL["bank"]
    bad = set(bank.ids[bank.columns["status"] == "bad"].tolist())
    ids = np.concatenate(
        [table.ids, np.array([b"92660703%08d" % index for index in range(30_000)])]
    )
    rare = np.array(
        [
            person in common and int(person[-2:]) % 10 < (7 if person in bad else 4)
            for person in table.ids.tolist()
        ],
        object,
    )
    more = {
        name: np.concatenate([column, np.resize(column, 30_000)])
        for name, column in table.columns.items()
    }
    more["records"] = np.array(
        ["yes" if rare_row else "no" for rare_row in [*rare, *[False] * 30_000]], object
    )
    return {**SMALL, "tax": Table(ids, more)}


@pytest.mark.parametrize(
    ("tables", "code", "kind"),
    [
        (few_common(0), "intersection_empty", Conflict),
        (few_common(40), "too_few_rows", BadInput),
        (
            altered(SMALL, "bank", "status", lambda column: np.full(len(column), "good", object)),
            "one_class",
            BadInput,
        ),
        (
            altered(SMALL, "bank", "status", lambda column: np.full(len(column), "bad", object)),
            "one_class",
            BadInput,
        ),
        (
            altered(
                SMALL,
                "bank",
                "status",
                lambda column: np.where(np.arange(len(column)) == 3, None, column),
            ),
            "label_not_binary",
            BadInput,
        ),
        (constant(SMALL, "bank", "income", "debt"), "column_constant", BadInput),
        (constant(SMALL, "tax", "records", "expenses"), "column_constant", BadInput),
        (
            altered(
                SMALL,
                "tax",
                "expenses",
                lambda column: np.where(np.arange(len(column)) == 3, np.inf, column),
            ),
            "column_malformed",
            BadInput,
        ),
        (written_after_the_fact(SMALL), "label_separated", BadInput),
        (unlike(), "rows_unlike", BadInput),
        ({**SMALL, "tax": SMALL["tax"].take(np.array([*range(100), 1]))}, "ids_repeat", BadInput),
        ({**SMALL, "tax": None}, "ids_empty", BadInput),
    ],
)
def test_rows_that_no_model_can_be_made_of_are_refused(tables: Any, code: str, kind: Any) -> None:
    with refused(code, kind):
        Run(hidden_intersection_of(2), tables).outcomes()


def test_a_test_column_would_tell_which_rows_are_common_and_is_refused() -> None:
    with refused("spec_parameters"):
        read_plan(hidden_intersection_of(1, test_column="late"))


@pytest.mark.parametrize(
    "alignment",
    [
        {"reveal": "nobody", "method": "ecdh"},
        {"reveal": "both"},
        {"reveal": "size", "method": "ecdh"},
    ],
)
def test_other_ways_of_telling_nobody_or_more_are_refused(alignment: dict[str, Any]) -> None:
    with refused("reveal_not_offered"):
        read_plan(scorecard_of(1, alignment=alignment))


def test_scoring_names_rows_and_so_takes_no_alignment_that_nobody_learns() -> None:
    job = hidden_intersection_of(1)
    parties = {name: party for name, party in job.parties.items() if party.role != "dealer"}
    given = {
        "training": "credit",
        "models": dict.fromkeys(parties, "0x" + "00" * 32),
        "alignment": NOBODY,
    }
    with refused("reveal_not_offered"):
        SCORING.check(replace(job, protocol="scoring", parties=parties, parameters=given))


# --- Peers that die or lie ------------------------------------------------------------------------


def kinds_sent(sender: str) -> list[str]:
    watch = Recorder()
    Run(hidden_intersection_of(1, iterations=1), SMALL, watch={sender: watch}).outcomes()
    return list(dict.fromkeys(kind for _, way, kind, _ in watch.frames if way == "sent"))


STEPS = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
"""Every fifth kind of message, or each of them."""


@STEPS
@pytest.mark.parametrize("sender", ["bank", "tax", "dealer"])
def test_a_peer_that_dies_at_any_stage_ends_the_run_at_all(sender: str, step: int) -> None:
    kinds = kinds_sent(sender)
    assert len(kinds) > 15
    for kind in kinds[::step]:
        with pytest.raises(PeerFault, check=lambda error: error.code == "peer_gone"):
            Run(
                hidden_intersection_of(1, iterations=1),
                SMALL,
                lines={sender: Line(cut_off, kind=kind)},
            ).outcomes()


@STEPS
@pytest.mark.parametrize("sender", ["bank", "tax", "dealer"])
def test_an_array_of_another_length_is_found_at_every_stage(sender: str, step: int) -> None:
    watch = Recorder()
    Run(hidden_intersection_of(1, iterations=1), SMALL, watch={sender: watch}).outcomes()
    arrays: dict[str, Any] = {}
    for _, way, kind, frame in watch.frames:
        fields = json.loads(frame[12 : 12 + int.from_bytes(frame[8:12], "big")])["fields"]
        long = [name for name, form, _ in fields if form.startswith(("uint", "int", "float"))]
        if way == "sent" and long and not kind.startswith(("intersection/", "ot/")):
            arrays.setdefault(kind, long[0])
    assert len(arrays) > 12
    for kind, name in list(arrays.items())[::step]:

        def shorten(_kind: str, fields: dict[str, Any], name: str = name) -> None:
            fields[name] = fields[name].reshape(-1)[:-1]

        with refused("message_malformed", PeerFault):
            Run(
                hidden_intersection_of(1, iterations=1),
                SMALL,
                lines={sender: Line(shorten, kind=kind)},
            ).outcomes()


def assign(name: str, value: Any) -> Callable[[str, dict[str, Any]], None]:
    return lambda _kind, fields: fields.update({name: value})


def add(amount: Any) -> Callable[[str, dict[str, Any]], None]:
    return lambda _kind, fields: fields.update(
        {"words": fields["words"] + fields["words"].dtype.type(amount)}
    )


LIES = [
    ("bank", "circuit/frame", assign("rows", 1 << 40), "message_malformed"),
    ("bank", "circuit/frame", assign("rows", 100), "message_malformed"),
    ("bank", "circuit/frame", assign("train", 0), "message_malformed"),
    ("bank", "circuit/frame", assign("bins", {"tax": 5}), "message_malformed"),
    (
        "bank",
        "circuit/frame",
        assign("bins", {"tax": 10**9, "estate": 5, "bank": 5}),
        "message_malformed",
    ),
    (
        "bank",
        "circuit/test",
        lambda _kind, fields: fields.update({"words": fields["words"] * 0}),
        "message_malformed",
    ),
    ("bank", "eigenvalue/scale", assign("bits", 64), "message_malformed"),
    ("bank", "circuit/step", assign("bits", 63), "message_malformed"),
    (
        "bank",
        "scorecard/evidence",
        lambda _kind, fields: fields.update({"words": fields["words"] * np.nan}),
        "message_malformed",
    ),
    ("bank", "scorecard/model", assign("model", "x" * 33), "message_malformed"),
    ("tax", "circuit/bins", assign("bins", np.array([5, 99], np.int64)), "message_malformed"),
    ("tax", "circuit/bins", assign("ordered", np.array([5, 99], np.int64)), "message_malformed"),
    ("tax", "circuit/size", add(1 << 40), "counts_impossible"),
    ("tax", "circuit/bad", add(1 << 40), "counts_impossible"),
    ("tax", "circuit/counts", add(9999), "counts_impossible"),
    ("tax", "scores/counts", add(9999), "counts_impossible"),
]


@pytest.mark.parametrize(("sender", "kind", "change", "code"), LIES)
def test_a_peer_that_lies_is_found(sender: str, kind: str, change: Any, code: str) -> None:
    with refused(code, PeerFault):
        Run(
            hidden_intersection_of(2, iterations=2), SMALL, lines={sender: Line(change, kind=kind)}
        ).outcomes()
