"""The demo of joint models: a bank and three departments as processes of their own, from the
officers' approvals to the replay of every message.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from federated import sources
from federated.card import Baseline, Card
from federated.errors import QiaolianError
from federated.evaluation import RankingCurve
from federated.job import Job
from federated.vertical.plan import ScorecardPlan
from scripts.demo_steps.memory import MemoryWatch
from scripts.demo_steps.screen import Screen
from scripts.federated_demo import baselines, page
from scripts.federated_demo.parties import KEY, Parties
from scripts.federated_demo.promises import broken
from scripts.federated_demo.tables import (
    BANK,
    COLUMNS,
    DEPARTMENTS,
    LABEL,
    MORTGAGE_COLUMNS,
    MORTGAGE_LABEL,
    MORTGAGE_OUTCOMES,
    MORTGAGES,
    OUTCOMES,
    SOURCE,
    TEST,
    common,
    tables,
)
from scripts.federated_demo.watch import watched

PARTS = ("parties", "models")
"""What a run leaves in its folder beside the report."""
DEALER = "data-administration"
PURPOSE = "credit-assessment"
LATE = "tax"
"""The department whose officer has not approved at first."""
TREES = {"trees": 12, "max_depth": 3}
BATCH = 100
CHANGED_BIT = 1
STEPS = 8
OWNER = "real-estate"
MIN_ROWS = 10
POLICY = f"""period = "demo"
purposes = ["{PURPOSE}"]
functions = ["count", "avg"]
min_rows = {MIN_ROWS}
releases = 10

[sources.{SOURCE}.Home]
type = "text"
uses = ["group"]
known = "values"

[sources.{SOURCE}.Assets]
type = "number"
uses = ["aggregate"]
low = 0
high = 300000
decimals = 0
known = "missing"
"""
"""What the registration centre lets submitted analyses do. Who owns and who rents is in its public
register, as is who has stated no assets.
"""
PERMITTED = "SELECT Home, count(*) AS firms, avg(Assets) AS assets FROM records GROUP BY Home"
FORBIDDEN = "SELECT Home, max(Assets) AS most FROM records GROUP BY Home"

REASONS = {
    "below": 400,
    "columns": {"tax": ["Records"], "social-security": ["Seniority", "Job"]},
    "most": 3,
}
"""Up to three reasons for scores below 400, and the columns that two departments may name."""
COMPARED = ("bank", "joint", "pooled", "one_hot", "xgboost")
"""The models of a data set that are compared, in the order of the report."""

Columns = Mapping[str, tuple[str, ...]]
Receipts = dict[str, dict[str, Any]]


class FederatedDemo:
    """One run."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._screen = Screen(count=STEPS)
        self._held = tables()
        self._report: dict[str, Any] = {"common_rows": len(common(self._held))}
        self._runs: dict[str, Receipts] = {}
        self._models: list[dict[str, Any]] = []

    def run(self) -> list[str]:
        """The promises that did not hold; the report is written either way."""
        started = time.monotonic()
        self._screen.step(
            1, "A bank, three departments and a dealer, each in its own process 参与方"
        )
        parties = Parties.make(
            self._out / "parties", {**self._held, DEALER: {}}, policies={OWNER: POLICY}
        )
        watch = MemoryWatch(parties.pids)
        watch.start()
        try:
            with parties:
                self._introduce()
                self._gate(parties)
                self._intersection(parties)
                self._scorecard(parties)
                self._trees(parties)
                self._scoring(parties)
                self._analysis(parties)
                self._replays(parties)
        finally:
            peak = watch.stop()
        self._screen.finish()
        self._report |= {
            "parties": list(parties.names),
            "models": self._models,
            "seconds": round(time.monotonic() - started, 1),
            "peak_memory_mb": round(peak / 2**20),
            "steps": self._screen.as_json(),
        }
        self._report["broken"] = broken(self._report)
        page.write(self._out, self._report)
        return list(self._report["broken"])

    # --- 1 to 3 -----------------------------------------------------------------------------------

    def _introduce(self) -> None:
        for party, held in self._held.items():
            self._screen.line(
                f"{party} holds {len(held[SOURCE]):,} firms: {', '.join(COLUMNS[party])}",
                f"parties/{party}/{SOURCE}.csv",
            )
        self._screen.line(
            f"{DEALER} provides the correlated randomness; it holds and receives no data"
        )

    def _gate(self, parties: Parties) -> None:
        """Check that a job without one officer's approval opens no source, by inotify."""
        self._screen.step(
            2, "No source is read before every data officer has approved 未经授权不读数据"
        )
        job = self._scorecard_job()
        files = [parties.source(party, SOURCE) for party in self._held]
        parties.approve(job, [party for party in self._held if party != LATE])
        with watched(files) as seen:
            self._report["refused_as"] = _refusal(parties, job)
            self._report["bytes_read_without_yes"] = sum(seen().values())
        self._screen.line(
            f"{LATE}'s officer has not approved the scorecard: "
            f"{self._report['refused_as'] or 'not refused'}; "
            f"{self._report['bytes_read_without_yes']} bytes of {len(files)} sources were read"
        )
        with watched(files) as seen:
            self._run(parties, self._intersection_job())
            self._report["bytes_read_with_yes"] = sum(seen().values())
        self._screen.line(
            "an approved job reads "
            f"{self._report['bytes_read_with_yes']:,} bytes, as the same monitor shows"
        )

    def _intersection(self, parties: Parties) -> None:
        self._screen.step(3, "Which firms both know: private set intersection 隐私求交")
        receipts = self._runs["intersection"]
        self._report["psi_pair_rows"] = receipts[BANK]["metrics"]["size"]
        expected = common({party: self._held[party] for party in (BANK, LATE)})
        found = {row["id"] for row in _rows(_output(receipts, BANK) / "intersection.csv")}
        self._report["psi_equal"] = found == set(expected)
        self._screen.line(
            f"{BANK} and {LATE} have {self._report['psi_pair_rows']:,} firms in common; "
            f"{_sent(receipts):,} bytes, {_seconds(receipts):.1f} s",
            f"receipt {receipts[BANK]['attempt']}",
        )

    # --- Models -----------------------------------------------------------------------------------

    def _scorecard(self, parties: Parties) -> None:
        self._screen.step(
            4,
            "A scorecard on secret shares, beside the bank's own and a pooled one 联合评分卡",
        )
        receipts = self._run(parties, self._scorecard_job())
        metrics = receipts[BANK]["metrics"]
        self._report["psi_rows"] = metrics["rows"]
        scored = _rows(_output(receipts, BANK) / "scores.csv")
        bad, test = (
            np.array([row["bad"] == "1" for row in scored]),
            np.array([row["part"] == "test" for row in scored]),
        )
        self._beside_baselines(parties, self._scorecard_job(), COLUMNS)
        # The reported AUC is recomputed from the bank's file of scores.
        probability = np.array([-float(row["score"]) for row in scored])
        self._report["auc_recomputed"] = round(
            RankingCurve.of(probability[test], bad[test]).auc(), 6
        )
        self._screen.line(
            f"{metrics['rows']:,} firms are common to all four; "
            f"{metrics['test_rows']:,} of them form the test set"
        )
        self._print_models(SOURCE)
        self._screen.line(
            f"the parties sent each other {_sent(receipts) / 2**20:.1f} MB in "
            f"{_seconds(receipts):.1f} s; each keeps the points of its own columns",
            "models/scorecard/card.html",
        )
        self._hidden_intersection(parties)
        self._mortgages(parties)

    def _beside_baselines(self, parties: Parties, job: Job, held: Columns) -> None:
        """Compare a joint scorecard with plain models of the bank's and of the pooled columns, on
        the same test rows; the comparison goes onto the demo's copy of the model card.
        """
        receipts, source = self._runs[job.name], job.parties[BANK].source
        assert source is not None
        # In the order of the codes: xgboost depends on it, and that of the alignment is drawn.
        scored = sorted(_rows(_output(receipts, BANK) / "scores.csv"), key=lambda row: row["id"])
        bad = np.array([row["bad"] == "1" for row in scored])
        test = np.array([row["part"] == "test" for row in scored])
        plan = ScorecardPlan.read(job.parameters)
        pooled = self._columns(parties, source, [row["id"] for row in scored], held)
        own = {name: values for name, values in pooled.items() if name in held[BANK]}
        self._compare("bank alone 银行自有", baselines.plain(own, bad, test, plan), source=source)
        self._store_card("joint scorecard 联合", receipts, source=source)
        in_the_open = {
            "pooled, same bins 集中": baselines.plain(pooled, bad, test, plan),
            "pooled, one-hot, scikit-learn": baselines.one_hot(pooled, bad, test),
            "pooled, trees, xgboost": baselines.trees(pooled, bad, test),
        }
        for name, evaluation in in_the_open.items():
            self._compare(name, evaluation, source=source)
        folder = self._out / "models" / job.name
        card = Card.from_json(json.loads((folder / "card.json").read_text(encoding="utf-8")))
        further = [
            Baseline(f"{name} (nobody may train it)", int((~test).sum()), evaluation["test"])
            for name, evaluation in in_the_open.items()
        ]
        for file, data in replace(card, baselines=[*card.baselines, *further]).files().items():
            (folder / file).write_bytes(data)
        figures = [model["evaluation"]["test"] for model in self._models_of(source)]
        suffix = "" if source == SOURCE else f"_{source}"
        for name, figure in zip(COMPARED, figures, strict=True):
            self._report |= {
                f"auc_{name}{suffix}": figure["auc"],
                f"ks_{name}{suffix}": figure["ks"],
            }

    def _mortgages(self, parties: Parties) -> None:
        """A second data set: every applicant of the bank is used, and a column is left out."""
        parts = {
            party: {
                "role": "label" if party == BANK else "features",
                "source": MORTGAGES,
                "columns": [*columns, *([TEST] if party == BANK else [])],
            }
            for party, columns in MORTGAGE_COLUMNS.items()
        }
        given = {
            "label": MORTGAGE_LABEL,
            **MORTGAGE_OUTCOMES,
            "test_column": TEST,
            "alignment": {"join": "left"},
        }
        job = Job.from_json(
            _spec(MORTGAGES, "scorecard", {**parts, DEALER: {"role": "dealer"}}, given)
        )
        metrics = self._run(parties, job)[BANK]["metrics"]
        self._beside_baselines(parties, job, MORTGAGE_COLUMNS)
        self._report |= {
            "mortgage_rows": metrics["rows"],
            "mortgages_of_bank": self._held[BANK][MORTGAGES].num_rows,
            "mortgages_dropped": metrics["dropped"],
        }
        facts = json.loads((self._out / "models" / MORTGAGES / "card.json").read_bytes())["facts"]
        self._screen.line(
            f"a second data set: {metrics['rows']:,} applications for a mortgage, all of the "
            f"bank's; {facts['rows'].partition('; ')[2]}"
        )
        self._print_models(MORTGAGES)
        left_out = facts.get("left out", "no column")
        self._screen.line(f"left out: {left_out}", "models/mortgages/card.html")

    def _print_models(self, source: str) -> None:
        for model in self._models_of(source):
            figures = model["evaluation"]["test"]
            self._screen.line(f"{model['name']}: AUC {figures['auc']:.4f}, KS {figures['ks']:.4f}")

    def _models_of(self, source: str) -> list[dict[str, Any]]:
        return [model for model in self._models if model["source"] == source]

    def _hidden_intersection(self, parties: Parties) -> None:
        """The same, but nobody learns which firms are common. It draws its own test rows: a column
        of them would show it.
        """
        receipts = self._run(
            parties,
            self._job(
                "hidden-intersection",
                "scorecard",
                {"label": LABEL, "alignment": {"reveal": "nobody"}, **OUTCOMES},
                tested=False,
            ),
        )
        self._store_card("joint, nobody knows the rows 交集不可见", receipts)
        metrics = receipts[BANK]["metrics"]
        files = [
            path.read_bytes() for party in receipts for path in _output(receipts, party).iterdir()
        ]
        codes = {
            code for held in self._held.values() for code in held[SOURCE].column(KEY).to_pylist()
        }
        self._report |= {"hidden_rows": metrics["rows"], "auc_hidden": metrics["auc"]}
        self._report["hidden_named"] = sum(
            code.encode() in content for content in files for code in codes
        )
        self._screen.line(
            f"trained again on {metrics['rows']:,} common firms that no party learned: AUC "
            f"{metrics['auc']:.4f} on test rows of its own; "
            f"{_sent(receipts) / 2**20:.1f} MB in {_seconds(receipts):.1f} s; "
            f"{self._report['hidden_named']} firms are named in the files",
            "models/hidden-intersection/card.html",
        )

    def _trees(self, parties: Parties) -> None:
        self._screen.step(5, "Boosted trees under homomorphic encryption 联合提升树")
        receipts = self._run(
            parties,
            self._job("boosting", "boosting", {"label": LABEL, "bad": OUTCOMES["bad"], **TREES}),
        )
        self._store_card("joint trees 联合树", receipts)
        metrics = receipts[BANK]["metrics"]
        self._report |= {"boost_auc": metrics["auc"], "boost_ks": metrics["ks"]}
        self._report["tests_equal"] = self._tested("boosting") == self._tested("scorecard")
        self._screen.line(
            f"{TREES['trees']} trees of depth {TREES['max_depth']}: AUC "
            f"{metrics['auc']:.4f} on the same test rows; "
            f"{_sent(receipts) / 2**20:.1f} MB in {_seconds(receipts):.1f} s",
            "models/boosting/card.html",
        )

    def _scoring(self, parties: Parties) -> None:
        self._screen.step(6, "Firms scored by model parts that stay with their parties 联合打分")
        equal = []
        for training, what in (
            ("scorecard", "a department learns no score, the bank no column"),
            ("boosting", "a department answers for every split"),
        ):
            receipts = self._run(parties, self._scoring_job(training))
            before = {
                row["id"]: row for row in _rows(_output(self._runs[training], BANK) / "scores.csv")
            }
            after = _rows(_output(receipts, BANK) / "scores.csv")
            known = [row for row in after if not row["unknown_to"]]
            equal.append(
                {row["id"] for row in known} == set(before)
                and all(_same(before[row["id"]], row) for row in known)
            )
            self._report["scored_rows"] = len(after)
            self._screen.line(
                f"all {len(after):,} firms of the bank scored by the {training} job's model in "
                f"batches of {BATCH} in {_seconds(receipts):.1f} s; {what}",
                f"receipt {receipts[BANK]['attempt']}",
            )
            self._screen.line(
                f"{len(after) - len(known):,} of them are unknown to a department, which answered "
                "as for missing values; scores.csv names it"
            )
            code, score, probability = (known[0][name] for name in ("id", "score", "probability"))
            self._screen.line(
                f"{code}: score {float(score):.6g}, probability of bad "
                f"{float(probability):.3f}, as in the training"
            )
            self._print_reasons(after)
        self._report["scores_equal"] = all(equal)
        self._report["bank_rows"] = self._held[BANK][SOURCE].num_rows

    def _print_reasons(self, scored: list[dict[str, str]]) -> None:
        low = [row for row in scored if row.get("reasons")]
        if low:
            row = min(low, key=lambda row: int(row["score"]))
            self._screen.line(
                f"{len(low):,} firms below {REASONS['below']} points get reasons; {row['id']} "
                f"with {row['score']} points: {row['reasons']}"
            )

    def _scoring_job(self, training: str) -> Job:
        pinned = {party: self._runs[training][party]["files"]["model.json"] for party in self._held}
        roles = {party: part.role for party, part in self._scorecard_job().parties.items()}
        parts = {
            party: {"role": roles[party], "source": SOURCE, "columns": self._own(party)}
            for party in self._held
        }
        return Job.from_json(
            _spec(
                f"scoring-{training}",
                "scoring",
                parts,
                {
                    "training": training,
                    "models": pinned,
                    "batch": BATCH,
                    "alignment": {"join": "left"},
                }
                | ({"reasons": REASONS} if training == "scorecard" else {}),
            )
        )

    # --- Algorithm to data ------------------------------------------------------------------------

    def _analysis(self, parties: Parties) -> None:
        self._screen.step(
            7, "An analysis runs at the data, and only a permitted result is returned 算法找数据"
        )
        receipts = self._run(parties, self._analysis_job("homes", PERMITTED, ["Home", "Assets"]))
        rows = _rows(_output(receipts, BANK) / "result.csv")
        table = sources.read(parties.source(OWNER, SOURCE), key=KEY, columns=["Home"])
        groups = Counter(table.columns["Home"].tolist())
        returned = {row["Home"] or None: int(row["firms"]) for row in rows}
        self._report["analysis_right"] = returned == {
            home: count for home, count in groups.items() if count >= MIN_ROWS
        }
        self._screen.line(f"{BANK} submits: {PERMITTED}")
        shown = ", ".join(
            (
                f"{row['Home'] or 'unknown'} {row['firms']} firms, "
                f"{float(row['assets'] or 'nan'):,.0f} yuan"
            )
            for row in rows
        )
        self._screen.line(
            f"{OWNER} answers: {shown}; {len(groups) - len(rows)} "
            f"groups below {MIN_ROWS} firms are withheld"
        )
        forbidden = self._analysis_job("most", FORBIDDEN, ["Home", "Assets"])
        parties.approve(forbidden)
        self._report["analysis_refused_as"] = _refusal(parties, forbidden)
        self._screen.line(
            "an analysis of each group's largest value, which is a single firm's: "
            f"{self._report['analysis_refused_as'] or 'not refused'}"
        )

    def _analysis_job(self, name: str, sql: str, columns: list[str]) -> Job:
        parts = {
            OWNER: {"role": "owner", "source": SOURCE, "columns": columns},
            BANK: {"role": "analyst"},
        }
        return Job.from_json(_spec(name, "analysis", parts, {"sql": sql}))

    # --- Replay -----------------------------------------------------------------------------------

    def _replays(self, parties: Parties) -> None:
        self._screen.step(8, "Every run replayed inside each party's premises 回放核验")
        differing = []
        for name, receipts in self._runs.items():
            messages = 0
            for party, receipt in receipts.items():
                try:
                    messages += parties.replay(party, receipt["folder"])["messages"]
                except QiaolianError as error:
                    differing.append(f"{name} at {party}: {error.sentence}")
            self._screen.line(
                f"{name}: {messages:,} messages of {len(receipts)} parties match their records"
            )
        for sentence in differing:
            self._screen.line(sentence)
        self._report["replay_equal"] = not differing
        self._report["replay_change_found"] = self._change_is_found(parties)

    def _change_is_found(self, parties: Parties) -> bool:
        """One byte of one recorded message changed, in a copy."""
        folder = self._runs["scorecard"][LATE]["folder"]
        copy = folder.with_name(folder.name + "-changed")
        shutil.copytree(folder, copy)
        recorded = bytearray((copy / "received").read_bytes())
        recorded[len(recorded) // 2] ^= CHANGED_BIT
        (copy / "received").write_bytes(recorded)
        try:
            parties.replay(LATE, copy)
        except QiaolianError as error:
            self._screen.line(f"one byte of {len(recorded):,} changed: {error.sentence}")
            return error.code in ("recording_altered", "replay_mismatch")
        finally:
            shutil.rmtree(copy)
        self._screen.line(f"one byte of {len(recorded):,} changed, and not detected")
        return False

    # --- Jobs -------------------------------------------------------------------------------------

    def _run(self, parties: Parties, job: Job) -> Receipts:
        parties.approve(job)
        last = [0.0]

        def watch(stage: str, share: float) -> None:
            if time.monotonic() - last[0] > 2:
                last[0] = time.monotonic()
                self._screen.say(f"{job.name}: {stage} {share:.0%}")

        self._runs[job.name] = parties.run(job, watch)
        return self._runs[job.name]

    def _intersection_job(self) -> Job:
        parts = {
            BANK: {"role": "receiver", "source": SOURCE},
            LATE: {"role": "sender", "source": SOURCE},
        }
        return Job.from_json(_spec("intersection", "intersection", parts, {}))

    def _scorecard_job(self) -> Job:
        return self._job("scorecard", "scorecard", {"label": LABEL, **OUTCOMES})

    def _job(self, name: str, protocol: str, given: dict[str, Any], *, tested: bool = True) -> Job:
        """A vertical job between the bank, which holds the label, and the departments. ``tested``:
        by the bank's column of test rows.
        """
        parts: dict[str, Any] = {
            BANK: {
                "role": "label",
                "source": SOURCE,
                "columns": [*COLUMNS[BANK], *([TEST] if tested else [])],
            }
        }
        parts |= {
            department: {"role": "features", "source": SOURCE, "columns": list(COLUMNS[department])}
            for department in DEPARTMENTS
        }
        if protocol == "scorecard":
            parts[DEALER] = {"role": "dealer"}
        return Job.from_json(
            _spec(name, protocol, parts, given | ({"test_column": TEST} if tested else {}))
        )

    def _store_card(self, name: str, receipts: Receipts, *, source: str = SOURCE) -> None:
        """Copy the bank's model card to the output folder and add its figures to the report."""
        job = Path(receipts[BANK]["folder"]).parent.name
        folder = self._out / "models" / job
        folder.mkdir(parents=True)
        for file in ("card.json", "card.html"):
            shutil.copy(_output(receipts, BANK) / file, folder / file)
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        self._compare(
            name,
            card["evaluation"],
            seconds=_seconds(receipts),
            sent=_sent(receipts),
            source=source,
        )

    def _tested(self, job: str) -> set[str]:
        """The firms that a training set aside for the test."""
        return {
            row["id"]
            for row in _rows(_output(self._runs[job], BANK) / "scores.csv")
            if row["part"] == "test"
        }

    def _compare(
        self,
        name: str,
        evaluation: dict[str, Any],
        *,
        seconds: float | None = None,
        sent: int | None = None,
        source: str = SOURCE,
    ) -> None:
        self._models.append(
            {
                "name": name,
                "source": source,
                "evaluation": evaluation,
                "seconds": seconds,
                "sent": sent,
            }
        )

    def _own(self, party: str) -> list[str]:
        return [name for name in COLUMNS[party] if name != LABEL]

    def _columns(
        self, parties: Parties, source: str, codes: list[str], held: Columns
    ) -> dict[str, Any]:
        """All parties' columns of these firms, in this order: what no party could put together."""
        joined: dict[str, Any] = {}
        for party, columns in held.items():
            own = [name for name in columns if name not in (LABEL, MORTGAGE_LABEL)]
            table = sources.read(parties.source(party, source), key=KEY, columns=own)
            index = {code.decode(): row for row, code in enumerate(table.ids.tolist())}
            joined |= table.take(np.array([index.get(code, -1) for code in codes])).columns
        return joined


def _spec(name: str, protocol: str, parts: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {
        "job": name,
        "protocol": protocol,
        "purpose": PURPOSE,
        "parties": parts,
        "parameters": given,
    }


def _refusal(parties: Parties, job: Job) -> str:
    try:
        parties.run(job)
    except QiaolianError as error:
        return error.code
    return ""


def _output(receipts: Receipts, party: str) -> Path:
    return Path(receipts[party]["folder"]) / "output"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _same(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether a row got what the training gave it: its points, or of a forest, whose scores the
    training does not list, its chance.
    """
    return (
        before["score"] == after["score"]
        if "score" in before
        else round(float(before["probability"]), 6) == float(after["probability"])
    )


def _sent(receipts: Receipts) -> int:
    return sum(int(receipt["sentBytes"]) for receipt in receipts.values())


def _seconds(receipts: Receipts) -> float:
    return max(float(receipt["seconds"]) for receipt in receipts.values())
