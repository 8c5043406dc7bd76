"""The whole demo as processes: a run that holds and whose measurements are shown breaches, and runs
that are interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from nodes.cli.main import main
from nodes.cli.verify import CHECKERS
from nodes.provision import Organisation
from scripts.demo_steps import disputes, kills, proof, report, trade
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoAgreement, DemoState
from scripts.demo_steps.world import World

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
CALLS, DEALS = 12, 2
DEADLINE = 480.0


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "nodes.cli.main",
        "demo",
        "--out",
        str(out),
        "--calls",
        str(CALLS),
        "--deals",
        str(DEALS),
        *options,
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_behind(out: Path) -> list[str]:
    """Processes that still name the demo's folder, or run in it."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join([*process.cmdline(), process.cwd()])
        except psutil.Error:
            continue
        if str(out) in line and process.pid != os.getpid():
            lines.append(line)
    return lines


@dataclass
class Finished:
    """A finished run, and what its measurements report of breaches that are made during it."""

    out: Path
    report: dict[str, Any]
    lost: list[str]
    """What the search for lost records found where the tax bureau's database misses one lane's
    receipts.
    """
    counters_agree: bool
    """Whether gateway, buyer and chain agreed over that database."""
    unrevoked_seconds: float | None
    """How long a revocation took that was never sent."""


def without_receipts(world: World, key: str, directory: Path) -> World:
    """The world with a copy of one organisation's database in which the receipts of one lane are
    missing.
    """
    organisation = world.organisations[key]
    (directory / "data").mkdir(parents=True)
    with (
        closing(sqlite3.connect(organisation.plan.directory / "data" / "node.db")) as original,
        closing(sqlite3.connect(directory / "data" / "node.db", isolation_level=None)) as altered,
    ):
        original.backup(altered)
        altered.execute("DELETE FROM exchange_gateway_call WHERE lane = 0")
    plan = dataclasses.replace(organisation.plan, directory=directory)
    return dataclasses.replace(
        world,
        organisations={**world.organisations, key: Organisation(plan, organisation.admission)},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the command. Each breach touches a copy, or a grant that is revoked afterwards, so
    that the run itself holds.
    """
    out, copies = tmp_path_factory.mktemp("demo") / "out", tmp_path_factory.mktemp("copies")
    done = Finished(out, {}, [], True, None)
    count_lost, compare, revoke = trade.lost_records, trade.counters_agree, kills.revoke
    caller, send = kills.CallingClient, World.send

    def count_lost_twice(world: World, acknowledged: Iterable[dict[str, Any]]) -> list[str]:
        receipts = list(acknowledged)
        done.lost = count_lost(without_receipts(world, "tax", copies / "lost"), receipts)
        return count_lost(world, receipts)

    def compare_twice(world: World, deals: Iterable[DemoAgreement]) -> bool:
        compared = list(deals)
        done.counters_agree = compare(without_receipts(world, "tax", copies / "compared"), compared)
        return compare(world, compared)

    def send_no_revocation(world: World, contract: str, function: str, *arguments: Any) -> bytes:
        return bytes(32) if function == "revoke" else send(world, contract, function, *arguments)

    def revoke_twice(world: World, screen: Screen, state: DemoState) -> None:
        unsent = dataclasses.replace(
            state,
            acknowledged=[],
            reporting={key: dataclasses.replace(deal) for key, deal in state.reporting.items()},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(World, "send", send_no_revocation)
            patch.setattr(kills, "REVOCATION_SECONDS", 2.0)
            patch.setattr(
                kills,
                "CallingClient",
                lambda world, deal, state, _name, *, pause: caller(
                    world, deal, state, "unsent revocation", pause=pause
                ),
            )
            revoke(world, screen, unsent)
        done.unrevoked_seconds = unsent.revocation_seconds
        revoke(world, screen, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trade, "lost_records", count_lost_twice)
        patch.setattr(trade, "counters_agree", compare_twice)
        patch.setattr(kills, "revoke", revoke_twice)
        assert (
            main(
                ["demo", "--out", str(out), "--calls", str(CALLS), "--deals", str(DEALS), "--clean"]
            )
            == 0
        )
    done.report = json.loads((out / "report.json").read_text())
    return done


# --- A run that holds -----------------------------------------------------------------------------


def test_the_demo_holds_from_end_to_end(finished: Finished) -> None:
    report = finished.report
    assert report["broken"] == []
    assert (report["validators"], report["members"]) == (4, 9)
    assert report["trade"]["calls"] == CALLS
    assert report["trade"]["withdrawn_fen"] > 0
    assert report["property"]["registered"] == DEALS
    assert 0 < report["seconds"] < DEADLINE
    assert report["peak_memory_mb"] > 500
    assert [step["number"] for step in report["steps"]] == list(range(1, 11))


def test_whoever_breaks_an_agreement_pays_for_it_to_the_fen(finished: Finished) -> None:
    trade_figures = finished.report["trade"]
    ended = {case["name"]: case["ended"] for case in trade_figures["cases"]}
    assert ended == {
        disputes.SILENT_BUYER: "paid_uncontested",
        disputes.TWO_RECEIPTS: "equivocation_proved",
        disputes.OTHER_ANSWER: "ruled",
        disputes.SLEEPER: "notice_unanswered",
    }
    money = {case["name"]: (case["paid_fen"], case["taken_fen"]) for case in trade_figures["cases"]}
    assert money == {
        disputes.SILENT_BUYER: (100, 0),
        disputes.TWO_RECEIPTS: (100, disputes.BOND),
        disputes.OTHER_ANSWER: (0, disputes.STAKE),
        disputes.SLEEPER: (0, 0),
    }
    changes = {row["party"]: row["change"] for row in trade_figures["balances"]}
    assert changes == {
        "bank": 340,
        "social-security": -310,
        "real-estate": 0,
        "tax": -40,
        "operator": 10,
    }
    assert (trade_figures["disputes"], trade_figures["equivocations_slashed"]) == (2, 1)
    assert (trade_figures["kills"], trade_figures["lost"]) == (3, 0)
    assert trade_figures["calls_per_second"] > 0


def test_every_step_shows_a_proof_or_a_figure(finished: Finished) -> None:
    for step in finished.report["steps"]:
        assert any(
            line["proof"] or any(sign.isdigit() for sign in line["text"]) for line in step["lines"]
        ), step["title"]


def test_nothing_runs_on_after_the_end(finished: Finished) -> None:
    assert left_behind(finished.out) == []


def test_a_clean_run_leaves_reports_and_bundles_alone(finished: Finished) -> None:
    left = {path.name for path in finished.out.iterdir() if not path.name.startswith(".")}
    # The picture of the supervisor's page needs a browser.
    assert left - {"supervisor.png"} == {"bundles", "report.html", "report.json", "trust.json"}


def test_the_page_shows_the_figures_of_the_report(finished: Finished) -> None:
    page = (finished.out / "report.html").read_text()
    assert "Every step held" in page
    for bundle in finished.report["bundles"]:
        assert f'href="{bundle["file"]}"' in page
        assert (finished.out / bundle["file"]).is_file()


@pytest.mark.parametrize("profile", CHECKERS)
def test_its_bundles_hold_once_the_network_is_gone(finished: Finished, profile: str) -> None:
    bundle = str(finished.out / "bundles" / f"{profile}.json")
    assert main(["verify", bundle, "--trust", str(finished.out / "trust.json")]) == 0


# --- What its measurements say of a breach --------------------------------------------------------


def test_a_receipt_missing_from_a_database_is_found(finished: Finished) -> None:
    assert finished.lost
    assert all(index.startswith("tax:") for index in finished.lost)
    assert not finished.counters_agree


def test_a_revocation_that_was_never_sent_has_no_duration(finished: Finished) -> None:
    assert finished.report["revocation_seconds"] is not None
    assert finished.unrevoked_seconds is None


def test_a_damaged_bundle_and_an_unnoticed_change_are_recorded(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    damaged = out / "bundles" / "grant.json"
    damaged.write_bytes(damaged.read_bytes().replace(b'"signature":"0x', b'"signature":"0X', 1))
    monkeypatch.setattr(proof, "_with_a_byte_changed", lambda data, index: data)
    bundles: list[dict[str, Any]] = [
        {"name": profile, "story": profile, "file": f"bundles/{profile}.json"}
        for profile in ("grant", "property")
    ]
    screen = Screen()
    screen.step(9, "Proofs")
    proof.verify(screen, DemoState(bundles=bundles), out)
    assert [bundle["verified"] for bundle in bundles] == [False, True]
    assert [bundle["tampered_exit_code"] == 0 for bundle in bundles] == [False, True]


def test_the_page_names_a_broken_promise(finished: Finished, tmp_path: Path) -> None:
    broken = ["A bundle does not verify."]
    report.write(tmp_path, {**finished.report, "broken": broken}, members=[], agreements=[])
    page = (tmp_path / "report.html").read_text()
    assert "Some promises did not hold" in page
    assert broken[0] in page


# --- Interrupted ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment",
    [
        "starting the nodes",
        *(
            pytest.param(later, marks=pytest.mark.long)
            for later in ("making the validators", "[3/10]")
        ),
    ],
)
def test_an_interrupt_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    out = tmp_path / "out"
    process = started(out)
    assert process.stdout is not None
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        assert any(moment in line for line in process.stdout)
        os.killpg(
            process.pid, signal.SIGINT
        )  # as a terminal does: everything in the foreground gets it
        process.stdout.read()
        assert process.wait(60) == 130
    finally:
        watchdog.cancel()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()
    deadline = time.monotonic() + 60
    while left_behind(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(out) == []


@pytest.mark.parametrize("options", [("--calls", "11"), ("--deals", "1")])
def test_a_demo_too_small_to_show_anything_is_refused(
    tmp_path: Path, options: tuple[str, str]
) -> None:
    process = started(tmp_path / "out", *options)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "demo_too_small" in errors
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "out" / "network" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep")
    process = started(tmp_path / "out")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "demo_out_in_use" in errors
    assert mine.read_text() == "keep"
