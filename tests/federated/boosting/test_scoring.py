"""The protocol ``scoring`` with a forest: what was trained together scores rows together, and
nothing is scored by half a model.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.boosting import BOOSTING
from federated.errors import BadInput, Conflict, PeerFault, QiaolianError
from federated.job import Job, JobResult, Table
from federated.scoring import SCORING
from tests.federated.boosting.conftest import MakeJob, MakeTables
from tests.federated.vertical.city import Line, Recorder, Run

NAMES = ("bank", "tax", "social")
COLUMNS = {
    "bank": ["Income", "Debt"],
    "tax": ["Records", "Expenses"],
    "social": ["Seniority", "Age"],
}
Homes = dict[str, Path]
Tables = dict[str, Table]


def refused(code: str, kind: type[QiaolianError] = Conflict) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


@pytest.fixture(scope="module")
def trained(make_job: MakeJob, tables: MakeTables) -> dict[str, JobResult]:
    return Run(make_job(NAMES), tables(NAMES), protocol=BOOSTING).outcomes()


def store(homes: Homes, outcomes: dict[str, JobResult]) -> None:
    for name, home in homes.items():
        model_of(home).parent.mkdir(parents=True, exist_ok=True)
        model_of(home).write_bytes(outcomes[name].files["model.json"])


@pytest.fixture
def homes(tmp_path: Path, trained: dict[str, JobResult]) -> Homes:
    """Each party's folder with its part, where a daemon leaves it."""
    made = {name: tmp_path / name for name in NAMES}
    store(made, trained)
    return made


def model_of(home: Path) -> Path:
    return home / "jobs" / "forest" / "1-a" / "output" / "model.json"


def scoring_of(homes: Homes, names: tuple[str, ...] = NAMES, **parameters: Any) -> Job:
    parties = {
        name: {
            "role": "label" if name == "bank" else "features",
            "source": "rows",
            "columns": COLUMNS[name],
        }
        for name in names
    }
    models = {
        name: "0x" + hashlib.sha256(model_of(homes[name]).read_bytes()).hexdigest()
        for name in names
    }
    given = {"training": "forest", "models": models, "alignment": {"method": "ecdh"}, **parameters}
    return Job.from_json(
        {
            "job": "ask",
            "protocol": "scoring",
            "purpose": "credit",
            "parties": parties,
            "parameters": given,
        }
    )


def run_of(
    homes: Homes, tables: Tables, job: Job | None = None, **more: Any
) -> dict[str, JobResult]:
    settings = {name: {"home": home} for name, home in homes.items()}
    return Run(
        job or scoring_of(homes), tables, settings=settings, protocol=SCORING, **more
    ).outcomes()


def rows(outcome: JobResult) -> dict[str, dict[str, str]]:
    return {
        row["id"]: row for row in csv.DictReader(io.StringIO(outcome.files["scores.csv"].decode()))
    }


@pytest.mark.parametrize("batch", [13, 10_000])
def test_rows_are_scored_as_in_the_training_to_the_last_digit(
    homes: Homes, tables: MakeTables, trained: dict[str, JobResult], batch: int
) -> None:
    outcomes = run_of(homes, tables(NAMES), scoring_of(homes, batch=batch))
    before, after = rows(trained["bank"]), rows(outcomes["bank"])
    assert before.keys() == after.keys()
    assert all(
        round(float(before[row]["probability"]), 6) == float(after[row]["probability"])
        for row in before
    )
    assert len({row["score"] for row in after.values()}) > 10
    assert all(
        outcomes[name].files == {} and outcomes[name].metrics["scored"] == 700
        for name in ("tax", "social")
    )
    assert outcomes["bank"].metrics["requests"] == -(-700 // batch)


def test_a_text_never_seen_and_a_missing_number_go_right(
    homes: Homes, tables: MakeTables, trained: dict[str, JobResult]
) -> None:
    held = tables(NAMES)
    tax = held["tax"]
    held["tax"] = Table(
        tax.ids,
        {"Records": np.full(len(tax), "perhaps", object), "Expenses": np.full(len(tax), np.nan)},
    )
    watch = Recorder()
    run_of(homes, held, watch={"bank": watch})
    splits = json.loads(trained["tax"].files["model.json"])["splits"]
    assert splits
    sent = [
        frame
        for peer, way, kind, frame in watch.frames
        if (peer, way, kind) == ("tax", "received", "scoring/sides")
    ]
    size = -(-700 * len(splits) // 8)
    answered = np.unpackbits(np.frombuffer(sent[0], np.uint8, offset=len(sent[0]) - size))[
        : 700 * len(splits)
    ].reshape(700, -1)
    assert not answered[
        :, [split["column"] == "Records" or "missing" not in split["left"] for split in splits]
    ].any()


def test_a_department_sees_neither_a_rows_way_nor_its_score(
    homes: Homes, tables: MakeTables
) -> None:
    watch = Recorder()
    run_of(homes, tables(NAMES), watch={"tax": watch})
    kinds = {
        kind
        for _, way, kind, _ in watch.frames
        if way == "received" and not kind.startswith(("intersection/", "ecdh/"))
    }
    assert kinds == {"scoring/model", "scoring/request"}


def test_parts_of_two_trainings_score_nothing(
    homes: Homes, tables: MakeTables, make_job: MakeJob
) -> None:
    """The job is the same, so nothing but the part's own number tells them apart."""
    again = Run(make_job(NAMES), tables(NAMES), protocol=BOOSTING, seed=5).outcomes()
    model_of(homes["tax"]).write_bytes(again["tax"].files["model.json"])
    with refused("model_differs"):
        run_of(homes, tables(NAMES))


def test_a_forest_is_not_walked_without_a_department_it_was_grown_with(
    homes: Homes, tables: MakeTables
) -> None:
    with refused("model_differs"):
        run_of(homes, tables(NAMES), scoring_of(homes, ("bank", "tax")))


def test_a_departments_part_is_no_label_partys(homes: Homes, tables: MakeTables) -> None:
    model_of(homes["bank"]).write_bytes(model_of(homes["tax"]).read_bytes())
    with refused("model_differs"):
        run_of(homes, tables(NAMES))


def test_a_model_without_a_column_or_with_another_kind_of_it_scores_nothing(
    homes: Homes, tables: MakeTables
) -> None:
    held = tables(NAMES)
    texts = np.full(len(held["tax"]), "much", object)
    held["tax"] = Table(held["tax"].ids, {**held["tax"].columns, "Expenses": texts})
    with refused("column_differs", BadInput):
        run_of(homes, held)
    job = scoring_of(homes).to_json()
    job["parties"]["tax"]["columns"] = ["Records"]
    with refused("column_missing", BadInput):
        run_of(homes, tables(NAMES), Job.from_json(job))


@pytest.mark.parametrize(
    ("party", "change"),
    [
        ("tax", lambda model: {**model, "version": 2}),
        ("tax", lambda model: {**model, "splits": [{"column": "Wealth", "code": 0}]}),
        ("tax", lambda model: {**model, "splits": [{**model["splits"][0], "code": 99}]}),
        ("tax", lambda model: {**model, "columns": [{**model["columns"][0], "speed": 1}]}),
        ("bank", lambda model: {**model, "trees": [[{"rows": 1, "weight": "much"}]]}),
        (
            "bank",
            lambda model: {
                **model,
                "trees": [
                    [
                        {"rows": 9, "party": "tax", "split": 0, "left": 0, "right": 1},
                        {"rows": 1, "weight": 0.1},
                    ]
                ],
            },
        ),
        (
            "bank",
            lambda model: {
                **model,
                "trees": [
                    [
                        {"rows": 9, "party": "water", "split": 0, "left": 1, "right": 1},
                        {"rows": 1, "weight": 0.1},
                    ]
                ],
            },
        ),
        (
            "bank",
            lambda model: {
                **model,
                "trees": [
                    [
                        {"rows": 9, "party": "bank", "split": 99, "left": 1, "right": 1},
                        {"rows": 1, "weight": 0.1},
                    ]
                ],
            },
        ),
        ("bank", lambda model: {**model, "trees": 7}),
    ],
)
def test_a_pinned_file_that_is_no_forest_is_refused(
    homes: Homes, tables: MakeTables, party: str, change: Callable[[Any], Any]
) -> None:
    path = model_of(homes[party])
    path.write_text(json.dumps(change(json.loads(path.read_bytes()))))
    with refused("model_malformed", BadInput):
        run_of(homes, tables(NAMES))


def test_sides_of_more_rows_or_fewer_than_were_asked_for_are_refused(
    homes: Homes, tables: MakeTables
) -> None:
    def change(alter: Callable[[Any], Any]) -> Callable[[str, dict[str, Any]], None]:
        def act(_kind: str, fields: dict[str, Any]) -> None:
            fields["words"] = alter(fields["words"])

        return act

    for alter in (
        lambda words: words[:-1],
        lambda words: np.append(words, np.uint8(0)),
        lambda words: np.append(words[:-1], words[-1] | np.uint8(1)),
    ):
        job = scoring_of(
            homes, batch=9
        )  # of 9 rows' bits some are left over in the last byte, for any number of splits that 8 does not divide
        with refused("message_malformed", PeerFault):
            run_of(
                homes, tables(NAMES), job, lines={"tax": Line(change(alter), kind="scoring/sides")}
            )
