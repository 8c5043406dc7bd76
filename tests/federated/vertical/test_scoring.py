"""The protocol ``scoring``: the stored models of one training score rows, singly or in batches;
what each party learns; what is refused.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.errors import BadInput, Conflict, PeerFault
from federated.job import Job, JobResult, Table
from federated.scoring import SCORING
from federated.vertical.points import Scale, ScorecardPart
from tests.federated.vertical.city import (
    DEPARTMENTS,
    Line,
    Recorder,
    Run,
    common_ids,
    cut_off,
    people,
    refused,
    scorecard_of,
)

TABLES = people()
OTHERS = people(seed=23, count=120)
PARTIES = (*DEPARTMENTS, "bank")
Homes = dict[str, Path]


@pytest.fixture(scope="module")
def trained() -> dict[str, JobResult]:
    return Run(scorecard_of(3), TABLES).outcomes()


@pytest.fixture
def homes(tmp_path: Path, trained: dict[str, JobResult]) -> Homes:
    """Each party's folder with its model, where a daemon leaves it."""
    for name in PARTIES:
        output = tmp_path / name / "jobs" / "credit" / "1-a" / "output"
        output.mkdir(parents=True)
        (output / "model.json").write_bytes(trained[name].files["model.json"])
    return {name: tmp_path / name for name in PARTIES}


def digest(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()


def model_of(home: Path) -> Path:
    return home / "jobs" / "credit" / "1-a" / "output" / "model.json"


def scoring_of(homes: Homes, departments: int = 3, **parameters: Any) -> Job:
    names = list(DEPARTMENTS)[:departments]
    parties: dict[str, Any] = {
        name: {"role": "features", "source": "rows", "columns": list(DEPARTMENTS[name])}
        for name in names
    }
    parties["bank"] = {"role": "label", "source": "rows", "columns": ["income", "debt"]}
    given = {
        "training": "credit",
        "models": {name: digest(model_of(homes[name]).read_bytes()) for name in parties},
        **parameters,
    }
    return Job.from_json(
        {
            "job": "ask",
            "protocol": "scoring",
            "purpose": "credit-assessment",
            "parties": parties,
            "parameters": given,
        }
    )


def run_of(job: Job, homes: Homes, tables: Any = OTHERS, **more: Any) -> Run:
    return Run(
        job,
        tables,
        settings={name: {"home": home} for name, home in homes.items()},
        protocol=SCORING,
        **more,
    )


def scores(outcome: JobResult) -> dict[bytes, dict[str, str]]:
    return {
        row["id"].encode(): row
        for row in csv.DictReader(io.StringIO(outcome.files["scores.csv"].decode()))
    }


# --- What comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_every_common_row_gets_the_sum_of_all_parties_points(
    homes: Homes, trained: dict[str, JobResult], batch: int
) -> None:
    outcomes = run_of(scoring_of(homes, batch=batch), homes).outcomes()
    scored = scores(outcomes["bank"])
    assert set(scored) == common_ids(OTHERS)
    expected = dict.fromkeys(scored, 0)
    for name in PARTIES:
        part, table = ScorecardPart.from_bytes(trained[name].files["model.json"]), OTHERS[name]
        for person, points in zip(
            table.ids.tolist(), part.points_of(table.columns, len(table)).tolist(), strict=True
        ):
            if person in expected:
                expected[person] += points
    assert {person: int(row["score"]) for person, row in scored.items()} == expected
    assert outcomes["bank"].metrics["requests"] == -(-len(scored) // batch)
    assert all(outcomes[name].metrics["scored"] == len(scored) for name in DEPARTMENTS)


def test_a_left_join_scores_every_row_and_names_who_does_not_have_it(
    homes: Homes, trained: dict[str, JobResult]
) -> None:
    job = scoring_of(homes, batch=7, alignment={"join": "left"})
    scored = scores(run_of(job, homes).outcomes()["bank"])
    assert set(scored) == set(OTHERS["bank"].ids.tolist())
    expected, unknown_to = dict.fromkeys(scored, 0), {person: set[str]() for person in scored}
    for name in PARTIES:
        part = ScorecardPart.from_bytes(trained[name].files["model.json"])
        table = OTHERS[name].with_missing_row()
        points = part.points_of(table.columns, len(table)).tolist()
        by_person = dict(zip(table.ids.tolist(), points, strict=True))
        for person in scored:
            expected[person] += by_person.get(person, points[-1])
            if person not in by_person:
                unknown_to[person].add(name)
    assert {person: int(row["score"]) for person, row in scored.items()} == expected
    assert {person: set(row["unknown_to"].split()) for person, row in scored.items()} == unknown_to
    assert any(unknown_to.values())


def test_the_chance_beside_a_score_is_that_of_the_scale(homes: Homes) -> None:
    for row in scores(run_of(scoring_of(homes), homes).outcomes()["bank"]).values():
        odds = 50 * 2 ** ((int(row["score"]) - 600) / 40)
        assert abs(float(row["probability"]) - 1 / (1 + odds)) < 1e-6


def test_600_points_are_odds_of_fifty_and_forty_more_double_them() -> None:
    assert Scale(600, 50, 40).probability(np.array([600, 640, 560])) == pytest.approx(
        [1 / 51, 1 / 101, 1 / 26]
    )


def test_a_text_never_seen_and_a_missing_value_are_scored(homes: Homes) -> None:
    table = OTHERS["tax"]
    strange = np.array([None, "perhaps"] * (len(table) // 2), object)
    tables = {
        **OTHERS,
        "tax": Table(
            table.ids,
            {**table.columns, "records": strange, "expenses": np.full(len(table), None, object)},
        ),
    }
    assert set(scores(run_of(scoring_of(homes), homes, tables).outcomes()["bank"])) == common_ids(
        OTHERS
    )


def test_a_single_row_is_scored(homes: Homes) -> None:
    person = sorted(common_ids(OTHERS))[0]
    tables = {**OTHERS, "bank": OTHERS["bank"].take(np.flatnonzero(OTHERS["bank"].ids == person))}
    assert list(scores(run_of(scoring_of(homes, batch=1), homes, tables).outcomes()["bank"])) == [
        person
    ]


# --- Who learns what ------------------------------------------------------------------------------


def test_a_department_receives_no_score_and_writes_nothing(homes: Homes) -> None:
    watch = Recorder()
    outcomes = run_of(scoring_of(homes, batch=16), homes, watch={"tax": watch}).outcomes()
    kinds = {
        kind
        for _, way, kind, _ in watch.frames
        if way == "received" and not kind.startswith(("intersection/", "ot/"))
    }
    assert kinds == {"scoring/model", "scoring/request"}
    assert all(outcomes[name].files == {} for name in DEPARTMENTS)


def test_the_same_rows_asked_of_departments_in_other_batches_show_nothing(homes: Homes) -> None:
    # The masks belong to a request: what two departments answer to different requests does not add
    # up to anything.
    watch = Recorder()

    def ask_for_less(_kind: str, fields: dict[str, Any]) -> None:
        fields["count"] -= 1

    job = scoring_of(homes, batch=40)
    with pytest.raises(PeerFault):
        run_of(
            job,
            homes,
            watch={"bank": watch},
            lines={"bank": Line(ask_for_less, kind="scoring/request")},
        ).outcomes()
    answers = [
        np.frombuffer(frame, np.uint32, offset=len(frame) - 4 * rows)
        for frame, rows in zip(_answers(watch), (39, 40), strict=False)
    ]
    total = (answers[0][:39] + answers[-1][:39]).view(np.int32)
    assert (np.abs(total) > 10**6).mean() > 0.9


def _answers(watch: Recorder) -> list[bytes]:
    return [
        frame
        for _, way, kind, frame in watch.frames
        if way == "received" and kind == "points/masked"
    ]


# --- Models that are not there, or not the same ---------------------------------------------------


def test_a_party_without_the_pinned_model_is_refused(homes: Homes) -> None:
    with refused("model_unknown"):
        run_of(scoring_of(homes, training="other"), homes).outcomes()
    job = scoring_of(homes)
    model_of(homes["estate"]).unlink()
    with refused("model_unknown"):
        run_of(job, homes).outcomes()
    with refused("model_unknown"):
        Run(job, OTHERS, protocol=SCORING).outcomes()


@pytest.mark.parametrize("party", PARTIES)
def test_one_changed_byte_in_a_stored_model_is_detected(homes: Homes, party: str) -> None:
    job, path = scoring_of(homes), model_of(homes[party])
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"elsewhere": ', b'"elsewhere": 1', 1))
    assert path.read_bytes() != data
    with refused("model_differs", Conflict):
        run_of(job, homes).outcomes()


def test_parts_of_two_trainings_are_not_added_up(homes: Homes) -> None:
    other = Run(scorecard_of(3), TABLES, seed=9).outcomes()
    model_of(homes["tax"]).write_bytes(other["tax"].files["model.json"])
    with refused("model_differs", Conflict):
        run_of(scoring_of(homes), homes).outcomes()


def test_a_score_without_one_departments_points_is_not_given(homes: Homes) -> None:
    with refused("model_differs", Conflict):
        run_of(scoring_of(homes, departments=2), homes).outcomes()


def test_a_departments_part_does_not_serve_as_the_label_partys(homes: Homes) -> None:
    model_of(homes["bank"]).write_bytes(model_of(homes["tax"]).read_bytes())
    with refused("model_differs", Conflict):
        run_of(scoring_of(homes), homes).outcomes()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: {**model, "version": 2},
        lambda model: {**model, "kind": "forest"},
        lambda model: {**model, "kind": "network"},
        lambda model: {**model, "kind": ["scorecard"]},
        lambda model: {**model, "columns": [{**model["columns"][0], "values": ["yes"]}]},
        lambda model: {**model, "columns": [{**model["columns"][0], "elsewhere": 1.5}]},
        lambda model: {**model, "columns": [{**model["columns"][0], "elsewhere": 1 << 40}]},
        lambda model: {name: value for name, value in model.items() if name != "columns"},
        lambda model: [model],
    ],
)
def test_a_pinned_file_that_is_no_model_is_refused(
    homes: Homes, change: Callable[[Any], Any]
) -> None:
    path = model_of(homes["tax"])
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    with refused("model_malformed"):
        run_of(scoring_of(homes), homes).outcomes()


def test_a_part_survives_its_file(trained: dict[str, JobResult]) -> None:
    for name in PARTIES:
        data = trained[name].files["model.json"]
        assert ScorecardPart.from_bytes(data).to_bytes() == data


def test_the_digest_of_a_part_says_nothing_of_its_points(trained: dict[str, JobResult]) -> None:
    # 16 secret bytes are in every file: whoever is shown its digest cannot try all scorecards.
    assert len(
        {ScorecardPart.from_bytes(trained[name].files["model.json"]).salt for name in PARTIES}
    ) == len(PARTIES)
    assert all(
        len(bytes.fromhex(ScorecardPart.from_bytes(trained[name].files["model.json"]).salt)) == 16
        for name in PARTIES
    )


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "code", "kind"),
    [
        (
            {
                **OTHERS,
                "tax": Table(
                    OTHERS["tax"].ids,
                    {**OTHERS["tax"].columns, "records": np.ones(len(OTHERS["tax"]))},
                ),
            },
            "column_differs",
            BadInput,
        ),
        (
            {
                **OTHERS,
                "tax": Table(
                    OTHERS["tax"].ids,
                    {**OTHERS["tax"].columns, "expenses": np.full(len(OTHERS["tax"]), np.inf)},
                ),
            },
            "column_malformed",
            BadInput,
        ),
        (
            {
                **OTHERS,
                "tax": Table(
                    np.char.replace(OTHERS["tax"].ids, b"9144", b"9266"), OTHERS["tax"].columns
                ),
            },
            "intersection_empty",
            Conflict,
        ),
        ({**OTHERS, "bank": None}, "ids_empty", BadInput),
    ],
)
def test_rows_the_model_cannot_score_are_refused(
    homes: Homes, tables: Any, code: str, kind: Any
) -> None:
    with refused(code, kind):
        run_of(scoring_of(homes), homes, tables).outcomes()


def test_a_job_that_does_not_name_the_models_columns_is_refused(homes: Homes) -> None:
    job = scoring_of(homes)
    for party in ("tax", "bank"):
        fewer = replace(
            job,
            parties={
                **job.parties,
                party: replace(job.parties[party], columns=job.parties[party].columns[:1]),
            },
        )
        with refused("column_missing"):
            run_of(fewer, homes).outcomes()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"training": None}, "spec_parameters"),
        ({"training": "../credit"}, "spec_parameters"),
        ({"models": None}, "spec_parameters"),
        ({"models": {"bank": "0x" + "00" * 32}}, "spec_parameters"),
        ({"batch": 0}, "spec_parameters"),
        ({"batch": True}, "spec_parameters"),
        ({"alignment": []}, "spec_parameters"),
        ({"alignment": {"reveal": "size", "method": "ecdh"}}, "reveal_not_offered"),
        ({"unheard": 1}, "spec_parameters"),
    ],
)
def test_parameters_nobody_can_run_are_refused(
    homes: Homes, change: dict[str, Any], code: str
) -> None:
    with refused(code):
        SCORING.check(scoring_of(homes, **change))


def test_roles_are_checked(homes: Homes) -> None:
    job = scoring_of(homes)
    alone = {"bank": job.parties["bank"], "tax": replace(job.parties["tax"], role="label")}
    for parties, code in (
        (alone, "spec_roles"),
        ({"bank": job.parties["bank"]}, "spec_roles"),
        ({**job.parties, "tax": replace(job.parties["tax"], source=None)}, "spec_roles"),
        ({**job.parties, "tax": replace(job.parties["tax"], columns=())}, "spec_columns"),
    ):
        with refused(code):
            SCORING.check(replace(job, parties=parties))


# --- Peers that die or lie ------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("sender", ["bank", "tax"])
def test_a_peer_that_dies_before_any_message_ends_the_run(
    homes: Homes, sender: str, step: int
) -> None:
    trained = Run(scorecard_of(1), TABLES).outcomes()
    for name in ("bank", "tax"):
        model_of(homes[name]).write_bytes(trained[name].files["model.json"])
    job, line = scoring_of(homes, 1, batch=60), Line(lambda *_: None)
    run_of(job, homes, lines={sender: line}).outcomes()
    assert line.count >= 6
    for at in range(0, line.count, step):
        with pytest.raises(PeerFault, check=lambda error: error.code == "peer_gone"):
            run_of(job, homes, lines={sender: Line(cut_off, at=at)}).outcomes()


def assign(name: str, value: Any) -> Callable[[str, dict[str, Any]], None]:
    return lambda _kind, fields: fields.update({name: value})


@pytest.mark.parametrize(
    ("sender", "kind", "change"),
    [
        ("bank", "scoring/request", assign("first", 5)),
        ("bank", "scoring/request", assign("count", 10**6)),
        ("bank", "scoring/request", assign("count", -1)),
        ("bank", "scoring/model", assign("model", "x" * 65)),
        ("tax", "points/seed", assign("seed", b"short")),
        ("tax", "points/masked", assign("words", np.zeros(3, np.uint32))),
        ("tax", "points/masked", assign("words", np.zeros(16, np.uint64))),
    ],
)
def test_a_peer_that_lies_is_found(homes: Homes, sender: str, kind: str, change: Any) -> None:
    with refused("message_malformed", PeerFault):
        run_of(
            scoring_of(homes, batch=16), homes, lines={sender: Line(change, kind=kind)}
        ).outcomes()
