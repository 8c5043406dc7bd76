"""Parties as real processes over TLS, run from the command line."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from chain.core.loopback import free_ports
from federated.daemon import attempt_name
from nodes.cli.main import main
from scripts.federated_demo.watch import watched

QIAOLIAN = [sys.executable, "-m", "nodes.cli.main"]
PARTIES = ("bank", "tax")


def cli(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that needs no process of its own in this one, as starting Python takes longer
    than most commands.
    """
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = main(["federated", *map(str, arguments)])
        except SystemExit as refusal:  # of the parser of arguments
            code = int(refusal.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())


def start(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*QIAOLIAN, "federated", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def homes(tmp_path: Path, common: list[str]) -> dict[str, Path]:
    """Two parties made by ``init``, that know each other, with a source each."""
    ports = free_ports(2)
    shown, homes = {}, {}
    for name, port in zip(PARTIES, ports, strict=True):
        homes[name] = tmp_path / name
        made = cli("init", homes[name], "--name", name, "--port", port)
        assert made.returncode == 0, made.stderr
        (shown[name],) = re.findall("0x[0-9a-f]{64}", made.stdout)
    for name, other, port in zip(PARTIES, reversed(PARTIES), reversed(ports), strict=True):
        home = homes[name]
        (home / "peers").mkdir()
        (home / "peers" / "it.pem").write_bytes((homes[other] / "certificate.pem").read_bytes())
        (home / "rows.csv").write_text(
            "code\n" + "\n".join([*common, *(f"{name}-{index}" for index in range(500))]) + "\n"
        )
        with (home / "party.toml").open("a") as file:
            file.write(
                f'[peers.{other}]\naddress = "127.0.0.1:{port}"\ncertificate = "peers/it.pem"\nfingerprint = "{shown[other]}"\n'
            )
            file.write(
                '[sources.rows]\npath = "rows.csv"\nkey = "code"\n[limits]\njoin = 6.0\nsilent = 3.0\n'
            )
    return homes


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    parties = {
        name: {"role": role, "source": "rows"}
        for name, role in zip(PARTIES, ("receiver", "sender"), strict=True)
    }
    path = tmp_path / "job.json"
    path.write_text(
        json.dumps(
            {
                "job": "common",
                "protocol": "intersection",
                "purpose": "credit",
                "parties": parties,
                "parameters": {"reveal": "both"},
            }
        )
    )
    return path


def config(homes: dict[str, Path], name: str) -> Path:
    return homes[name] / "party.toml"


def approve(homes: dict[str, Path], spec: Path, names: tuple[str, ...] = PARTIES) -> None:
    for name in names:
        result = cli(
            "approve", spec, "--party", config(homes, name), "--by", "Officer Li", "--uses", 20
        )
        assert result.returncode == 0, result.stderr


def run_both(homes: dict[str, Path], spec: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    going = {name: start("run", spec, "--party", config(homes, name), "--json") for name in PARTIES}
    out = {name: process.communicate(timeout=60) for name, process in going.items()}
    return {
        name: subprocess.CompletedProcess([], going[name].returncode, *out[name])
        for name in PARTIES
    }


def attempts(home: Path) -> list[Path]:
    return sorted((home / "jobs" / "common").iterdir()) if (home / "jobs").exists() else []


def test_names_of_attempts_sort_by_age() -> None:
    names = [attempt_name() for _ in range(100)]
    assert names == sorted(names)


def require_no_output(home: Path) -> None:
    for folder in attempts(home):
        assert {path.name for path in folder.iterdir()} <= {"spec.json", "state.json"}


@contextmanager
def daemon(homes: dict[str, Path], name: str) -> Iterator[subprocess.Popen[str]]:
    process = start("daemon", "--party", config(homes, name))
    assert process.stdout is not None
    try:
        assert "listens" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


# --- A whole job ----------------------------------------------------------------------------------


def test_two_people_run_a_job_and_each_replays_it(
    homes: dict[str, Path], spec: Path, common: list[str]
) -> None:
    approve(homes, spec)
    ended = run_both(homes, spec)
    receipts = {
        name: json.loads(result.stdout) for name, result in ended.items() if result.returncode == 0
    }
    assert set(receipts) == set(PARTIES), [result.stderr for result in ended.values()]
    assert receipts["bank"]["directions"] == receipts["tax"]["directions"]
    for name in PARTIES:
        (attempt,) = attempts(homes[name])
        lines = (attempt / "output" / "intersection.csv").read_text().split()
        assert sorted(line.strip('"') for line in lines[1:]) == common
        again = cli("replay", attempt, "--party", config(homes, name))
        assert again.returncode == 0, again.stderr
        assert "match" in again.stdout
        recording = attempt / "received"
        whole = recording.read_bytes()
        recording.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
        again = cli("replay", attempt, "--party", config(homes, name))
        assert again.returncode != 0
        assert "recording_altered" in again.stderr
        assert "done" in cli("status", "--party", config(homes, name)).stdout


def test_daemons_run_jobs_and_tell_their_people(homes: dict[str, Path], spec: Path) -> None:
    approve(homes, spec)
    with daemon(homes, "bank"), daemon(homes, "tax") as tax:
        for _ in range(2):
            ended = run_both(homes, spec)
            assert [result.returncode for result in ended.values()] == [0, 0], ended
            assert "intersection: 100%" in ended["bank"].stderr
        second = cli("daemon", "--party", config(homes, "bank"))
        assert second.returncode != 0
        assert "port_in_use" in second.stderr
        for _ in range(20):
            tax.send_signal(signal.SIGTERM)
        assert tax.wait(60) == 0
    assert len(attempts(homes["bank"])) == 2


# --- The gate -------------------------------------------------------------------------------------


def test_a_source_without_a_yes_is_never_opened(homes: dict[str, Path], spec: Path) -> None:
    """Watched by the kernel, on the real processes."""
    approve(homes, spec, ("bank",))
    sources = {name: homes[name] / "rows.csv" for name in PARTIES}
    with watched(list(sources.values())) as seen:
        ended = run_both(homes, spec)
        assert "gate_refused" in ended["tax"].stderr
        assert "gate_refused" in ended["bank"].stderr
        assert seen() == {}
        approve(homes, spec)
        assert [result.returncode for result in run_both(homes, spec).values()] == [0, 0]
        assert set(seen()) == set(sources.values())
    assert not (attempts(homes["tax"])[0] / "output").exists()


def test_an_approval_is_for_this_very_job(homes: dict[str, Path], spec: Path) -> None:
    approve(homes, spec)
    changed = json.loads(spec.read_text())
    changed["purpose"] = "marketing"
    spec.write_text(json.dumps(changed))
    ended = run_both(homes, spec)
    assert all("gate_refused" in result.stderr for result in ended.values())


# --- Peers that are not there, not the same, or gone ----------------------------------------------


def test_a_peer_that_never_comes_is_named(homes: dict[str, Path], spec: Path) -> None:
    approve(homes, spec)
    alone = cli("run", spec, "--party", config(homes, "tax"))
    assert alone.returncode != 0
    assert "peer_absent" in alone.stderr
    assert "bank" in alone.stderr


def test_parties_with_other_specifications_do_not_start(
    homes: dict[str, Path], spec: Path, tmp_path: Path
) -> None:
    approve(homes, spec)
    changed = json.loads(spec.read_text())
    changed["parameters"]["reveal"] = "receiver"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    bank = start("run", spec, "--party", config(homes, "bank"))
    tax = start("run", other, "--party", config(homes, "tax"))
    outputs = [process.communicate(timeout=60)[1] for process in (bank, tax)]
    assert bank.returncode
    assert tax.returncode
    assert all("spec_differs" in output for output in outputs), outputs
    for home in homes.values():
        require_no_output(home)


def test_a_certificate_that_is_not_the_pinned_one_is_refused(
    homes: dict[str, Path], spec: Path, tmp_path: Path
) -> None:
    approve(homes, spec)
    assert cli("init", tmp_path / "new", "--name", "bank", "--port", 1).returncode == 0
    for name in ("certificate.pem", "tls.key", "key.pem"):
        if (tmp_path / "new" / name).exists():
            (homes["bank"] / name).write_bytes((tmp_path / "new" / name).read_bytes())
    ended = run_both(homes, spec)
    assert ended["bank"].returncode
    assert ended["tax"].returncode
    assert "certificate_not_pinned" in ended["tax"].stderr
    (homes["tax"] / "peers" / "it.pem").write_bytes(
        (homes["bank"] / "certificate.pem").read_bytes()
    )
    assert "certificate_not_pinned" in cli("status", "--party", config(homes, "tax")).stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_peer_that_is_killed_or_stops_in_the_middle_leaves_nothing(
    homes: dict[str, Path], spec: Path, how: signal.Signals
) -> None:
    """The tax bureau's process ends as soon as its state says that the protocol runs."""
    few = {name: (homes[name] / "rows.csv").read_bytes() for name in PARTIES}
    for name in PARTIES:
        with (homes[name] / "rows.csv").open("a") as file:
            file.writelines(f"{name}{index:015d}\n" for index in range(200_000))
    approve(homes, spec)
    tax = start("run", spec, "--party", config(homes, "tax"))
    bank = start("run", spec, "--party", config(homes, "bank"))
    try:
        deadline = time.monotonic() + 120
        while not any(
            '"running"' in path.read_text() for path in homes["tax"].glob("jobs/*/*/state.json")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        tax.send_signal(how)
        output = bank.communicate(timeout=120)[1]
    finally:
        tax.kill()
        tax.communicate()
    assert bank.returncode
    assert ("peer_gone" if how == signal.SIGKILL else "peer_silent") in output
    require_no_output(homes["bank"])
    assert not (attempts(homes["tax"])[0] / "output").exists()
    assert "interrupted" in cli("status", "--party", config(homes, "tax")).stdout
    for name in PARTIES:
        (homes[name] / "rows.csv").write_bytes(few[name])
    assert [result.returncode for result in run_both(homes, spec).values()] == [0, 0]


# --- What people get wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda value: value.update(protocol="magic"), "protocol_unknown"),
        (lambda value: value["parties"].pop("bank"), "spec_malformed"),
        (lambda value: value["parties"]["tax"].update(role="dealer"), "spec_roles"),
        (lambda value: value["parties"]["tax"].update(source="none"), "source_unknown"),
        (lambda value: value.update(job="../../etc"), "spec_malformed"),
        (lambda value: value.update(more=1), "spec_malformed"),
        (
            lambda value: value.update(
                parties={"a": {"role": "receiver"}, "b": {"role": "sender"}}
            ),
            "not_a_party",
        ),
    ],
)
def test_a_wrong_specification_is_refused_before_anything_starts(
    homes: dict[str, Path], spec: Path, change: Any, code: str
) -> None:
    value = json.loads(spec.read_text())
    change(value)
    spec.write_text(json.dumps(value))
    result = cli("run", spec, "--party", config(homes, "tax"))
    assert result.returncode not in (0, 1)
    assert code in result.stderr
    assert "Traceback" not in result.stderr
    assert attempts(homes["tax"]) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "nowhere.json"], "spec_missing"),
        (["replay", "nowhere"], "attempt_unknown"),
        (["budget"], "budget"),
        (["run", os.devnull], "spec_malformed"),
    ],
)
def test_what_is_missing_is_named(homes: dict[str, Path], arguments: list[str], code: str) -> None:
    result = cli(*arguments, "--party", config(homes, "tax"))
    assert result.returncode != 0
    assert code in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_in_use_and_a_missing_configuration_are_named(
    homes: dict[str, Path], tmp_path: Path
) -> None:
    assert "folder_in_use" in cli("init", homes["bank"], "--name", "bank", "--port", 9).stderr
    assert "config_missing" in cli("daemon", "--party", tmp_path / "none.toml").stderr
