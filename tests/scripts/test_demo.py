"""The whole demo as processes: a run that holds, a run in which promises are broken on purpose, and runs that are interrupted."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.cli import main
from scripts.demo_run import Demo
from scripts.demo_steps import kills, proof, trade
from scripts.demo_steps.state import State
from scripts.demo_steps.world import World
from scripts.verify import STORIES

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
CALLS, DEALS = 12, 2
DEADLINE = 480.0


def started(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.cli", "demo", "--out", str(out), "--calls", str(CALLS), "--deals", str(DEALS), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def left_behind(out: Path) -> list[str]:
    """Processes that still name the demo's folder."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(out) in line and process.pid != os.getpid():
            lines.append(line)
    return lines


@dataclass
class Finished:
    out: Path
    code: int
    screen: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("demo") / "out"
    process = started(out, "--clean")
    screen, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, screen[-4_000:] + errors
    return Finished(out, process.returncode, screen, json.loads((out / "report.json").read_text()))


# --- A run that holds -----------------------------------------------------------------------------------------------------------


def test_the_demo_holds_from_end_to_end(finished: Finished) -> None:
    report = finished.report
    assert report["broken"] == []
    assert (report["validators"], report["members"]) == (4, 9)
    assert report["trade"]["calls"] == CALLS
    assert report["trade"]["withdrawn_fen"] > 0
    assert report["property"]["registered"] == DEALS
    assert 0 < report["seconds"] < DEADLINE
    assert report["peak_memory_mb"] > 500
    assert [step["number"] for step in report["steps"]] == list(range(1, 10))


def test_every_step_shows_a_proof_or_a_figure(finished: Finished) -> None:
    for step in finished.report["steps"]:
        assert any(line["proof"] or any(sign.isdigit() for sign in line["text"]) for line in step["lines"]), step["title"]


def test_nothing_runs_on_after_the_end(finished: Finished) -> None:
    assert left_behind(finished.out) == []


def test_a_clean_run_leaves_reports_and_bundles_alone(finished: Finished) -> None:
    left = sorted(each.name for each in finished.out.iterdir() if not each.name.startswith("."))
    assert left == ["bundles", "report.html", "report.json", "trust.json"]


def test_the_page_says_what_the_report_says(finished: Finished) -> None:
    page = (finished.out / "report.html").read_text()
    assert "Every step held" in page
    for bundle in finished.report["bundles"]:
        assert f'href="{bundle["file"]}"' in page
        assert (finished.out / bundle["file"]).is_file()


@pytest.mark.parametrize("story", STORIES)
def test_its_bundles_hold_once_the_network_is_gone(finished: Finished, story: str) -> None:
    bundle = str(finished.out / "bundles" / f"{story}.json")
    assert main(["verify", bundle, "--trust", str(finished.out / "trust.json")]) == 0


# --- A run whose promises are broken on purpose ---------------------------------------------------------------------------------------


def test_the_report_names_each_promise_that_was_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt deleted from the gateway's database, a revocation never sent, a bundle damaged on disk, another that is not changed at all."""
    count_lost, export, change, send = trade.lost_records, proof.export, proof._with_a_byte_changed, World.send

    def lose_one(world: World, acknowledged: Iterable[dict[str, Any]]) -> list[str]:
        places = list(acknowledged)
        path = world.organisations["tax"].plan.directory / "data" / "node.db"
        lost = next(each for each in places if each["provider"] == "tax" and each["buyer"] == "bank")
        with sqlite3.connect(path, timeout=30) as connection:
            key = (bytes.fromhex(lost["agreementId"][2:]), lost["lane"])
            connection.execute("DELETE FROM exchange_gateway_call WHERE agreement_id = ? AND lane = ?", key)
        connection.close()
        return count_lost(world, places)

    def damage_one(world: World, screen: Any, state: State, out: Path) -> None:
        # Exports need the row that was deleted: everything but the trade's own stories is exported.
        monkeypatch.setattr(proof, "_stories", lambda given, all_stories=proof._stories: _without(all_stories(given), "trade", "lane"))
        export(world, screen, state, out)
        path = out / "bundles" / "grant.json"
        path.write_bytes(path.read_bytes().replace(b'"signature":"0x', b'"signature":"0X', 1))

    def change_all_but_one(data: bytes, place: Any) -> bytes:
        return data if place is proof._PLACES["property"] else change(data, place)

    def send_no_revocation(world: World, contract: str, function: str, *arguments: Any) -> bytes:
        return bytes(32) if function == "revoke" else send(world, contract, function, *arguments)

    monkeypatch.setattr(trade, "lost_records", lose_one)
    monkeypatch.setattr(proof, "export", damage_one)
    monkeypatch.setattr(proof, "_with_a_byte_changed", change_all_but_one)
    monkeypatch.setattr(World, "send", send_no_revocation)
    monkeypatch.setattr(kills, "REVOCATION_SECONDS", 3.0)
    broken = Demo(tmp_path / "out", calls=CALLS, deals=DEALS, serve=False).run()
    assert broken == [
        "Gateway, buyer and chain do not agree on what was used.",
        "A record acknowledged to a client is missing after the kills.",
        "The gateway went on serving after the grant was revoked.",
        "Not every story was exported as a bundle.",
        "A bundle does not verify.",
        "A bundle with a byte changed passed.",
    ]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["broken"] == broken
    assert report["lost_records"]
    assert all(each.startswith("tax:") for each in report["lost_records"])
    assert "Some promises did not hold" in (tmp_path / "out" / "report.html").read_text()


def _without(stories: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: each for name, each in stories.items() if name not in names}


# --- Interrupted ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["making the validators", "starting the nodes", "[3/9]"])
def test_an_interrupt_leaves_no_process_behind(tmp_path: Path, moment: str) -> None:
    out = tmp_path / "out"
    process = started(out)
    assert process.stdout is not None
    watchdog = threading.Timer(DEADLINE, process.kill)
    watchdog.start()
    try:
        assert any(moment in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everything in the foreground gets it
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
def test_a_demo_too_small_to_show_anything_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
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
