"""Training inside Flower: real SuperLink and SuperNodes on the loopback, our secure aggregation
inside.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from federated.errors import BadInput, PeerFault, Unavailable
from federated.gate import FolderGate
from federated.horizontal.budget import Budget
from federated.horizontal.flower_run import PYTHON_VARIABLE, FlowerDeployment, find_python
from federated.horizontal.models import sigmoid
from federated.horizontal.training import TrainingPlan
from nodes.cli.main import main

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
MEMBERS = ["tax", "health", "housing"]
PARAMETERS: dict[str, Any] = {
    "label": "bad",
    "features": {f"x{index}": [-1, 1] for index in range(3)},
    "rounds": 1,
    "epochs": 5,
    "batch": 32,
    "rate": 0.5,
}
NOISE = {"fraction": 16, "privacy": {"clip": 1.0, "noise": 2.0}}
PRIVATE = PARAMETERS | {"model": "neural", "mu": 0.1} | NOISE


@pytest.fixture(scope="module")
def python() -> Path:
    """Flower's Python. A full run needs it, so its absence is a failure."""
    try:
        return find_python()
    except Unavailable as error:
        pytest.fail(f"{error} {error.hint}")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each member's rows, of one truth."""
    folder, numbers = tmp_path_factory.mktemp("rows"), np.random.default_rng(6)
    for name in MEMBERS:
        features = numbers.uniform(-1, 1, (300, 3))
        labels = numbers.random(300) < sigmoid(features @ np.array([3.0, -4.0, 1.0]))
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [
                    ["x0", "x1", "x2", "bad"],
                    *(
                        [*row, int(label)]
                        for row, label in zip(features.tolist(), labels, strict=True)
                    ),
                ]
            )
    return {name: folder / f"{name}.csv" for name in MEMBERS}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each process's calls that name an address are written."""
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def deployment(
    python: Path,
    traces: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FlowerDeployment]:
    """Flower, running under strace; where the machine has none, its processes' connections are
    looked up again and again.
    """
    strace = shutil.which("strace")

    def tracer(name: str) -> list[str]:
        return [
            str(strace),
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-e",
            "trace=connect,sendto,sendmsg,sendmmsg",
            "-o",
            str(traces / name),
        ]

    folder = tmp_path_factory.mktemp("flower") / "deployment"
    deployed = FlowerDeployment(folder, python, MEMBERS, tracer=tracer if strace else None)
    with deployed as running, nullcontext() if strace else looked_at(deployed, traces):
        yield running


@contextmanager
def looked_at(running: FlowerDeployment, traces: Path) -> Iterator[None]:
    """Write down whom each party's processes are connected to, in strace's words."""
    ended, found = threading.Event(), set[tuple[str, str]]()

    def look() -> None:
        while not ended.wait(0.02):
            for name, process in dict(running._processes).items():
                with suppress(psutil.Error):
                    parent = psutil.Process(process.pid)
                    reached = {
                        connection.raddr.ip
                        for one in (parent, *parent.children(recursive=True))
                        for connection in one.net_connections("inet")
                        if connection.raddr
                    }
                    for address in reached - {known for party, known in found if party == name}:
                        found.add((name, address))
                        with (traces / name).open("a") as file:
                            file.write(f'inet_addr("{address}")\n')

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def approved(folder: Path, plan: TrainingPlan, members: Sequence[str] = MEMBERS) -> dict[str, Path]:
    """Folders of approvals, in which the officers of these members have approved the plan."""
    gates = {name: folder / f"{name}-approvals" for name in MEMBERS}
    for name in members:
        FolderGate(gates[name]).approve(plan, uses=1, not_after=2**40, by="Li")
    return gates


def budgets_of(plan: TrainingPlan, folder: Path) -> dict[str, Path]:
    """Ledgers of the members that reach for the plan exactly."""
    budgets = {name: folder / f"{name}.json" for name in MEMBERS}
    for path in budgets.values():
        Budget.create(path, plan.cost)
    return budgets


def addresses(trace: str) -> set[str]:
    """The addresses of the Internet families in a trace of system calls."""
    return set(re.findall(r'inet_addr\("([^"]+)"\)', trace)) | set(
        re.findall(r'inet_pton\(AF_INET6, "([^"]+)"', trace),
    )


def test_a_missing_flower_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))
    with pytest.raises(
        Unavailable,
        check=lambda error: error.code == "flower_missing" and PYTHON_VARIABLE in error.hint,
    ):
        find_python()


def test_a_member_refuses_a_lying_server_in_flower_too(python: Path, tmp_path: Path) -> None:
    checks = [str(python), str(Path(__file__).with_name("flower_checks.py")), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_HOME": str(tmp_path / "flwr"),
    }
    done = subprocess.run(
        checks,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_fedavg_over_flower(
    deployment: FlowerDeployment, rows: dict[str, Path], tmp_path: Path
) -> None:
    plan = TrainingPlan.read("average", MEMBERS, PARAMETERS)
    result = deployment.train(plan, rows, gates=approved(tmp_path, plan), patience=120, timeout=480)
    assert result["survivors"] == [3, 3]
    assert result["rows"] == 900
    assert result["auc"] > 0.85


def test_a_private_training_over_flower_is_charged_to_every_member(
    deployment: FlowerDeployment,
    rows: dict[str, Path],
    tmp_path: Path,
) -> None:
    """One sum, as there is no evaluation: of a training in Flower the shortest."""
    plan = TrainingPlan.read("charged", MEMBERS, PRIVATE)
    budgets = budgets_of(plan, tmp_path)
    result = deployment.train(
        plan,
        rows,
        gates=approved(tmp_path, plan),
        budgets=budgets,
        patience=120,
        timeout=480,
    )
    assert result["survivors"] == [3]
    assert len(result["parameters"]) == plan.model.size
    assert result["parameters"] != plan.initial().tolist()
    assert {Budget(path).balance().left for path in budgets.values()} == {0}


@pytest.mark.long
def test_a_plan_that_officers_have_not_approved_reads_no_row_and_charges_nothing(
    deployment: FlowerDeployment,
    rows: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Without processes it is one of ``flower_checks``, which every run makes."""
    plan = TrainingPlan.read("refused", MEMBERS, PARAMETERS | NOISE)
    other = TrainingPlan.read("refused", MEMBERS, {**plan.parameters, "rounds": 2})
    budgets = budgets_of(plan, tmp_path)
    gates = approved(tmp_path, plan, ["tax"]) | {
        "health": approved(tmp_path / "other", other)["health"],
    }
    del gates["housing"]
    with pytest.raises(PeerFault) as caught:
        deployment.train(plan, rows, gates=gates, budgets=budgets, patience=120, timeout=480)
    assert caught.value.code == "too_few_members"
    assert caught.value.context["refused"] == {"health": "gate_refused", "housing": "gate_missing"}
    assert {name: Budget(path).balance().spent for name, path in budgets.items()} == {
        "tax": plan.cost,
        "health": 0,
        "housing": 0,
    }


@pytest.mark.long
def test_fedprox_with_noise_over_flower_goes_on_without_one_member(
    deployment: FlowerDeployment,
    rows: dict[str, Path],
    tmp_path: Path,
) -> None:
    plan = TrainingPlan.read("private", MEMBERS, PRIVATE)
    budgets = budgets_of(plan, tmp_path)
    deployment.stop_node("health")
    result = deployment.train(
        plan,
        rows,
        gates=approved(tmp_path, plan),
        budgets=budgets,
        patience=12,
        timeout=480,
    )
    assert result["survivors"] == [2]
    assert len(result["parameters"]) == plan.model.size
    assert {name: Budget(path).balance().left for name, path in budgets.items()} == {
        "tax": 0,
        "health": plan.cost,
        "housing": 0,
    }


@pytest.mark.long
def test_a_training_in_flower_from_the_command_line(
    rows: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = {"name": "command", "members": MEMBERS, "parameters": PARAMETERS}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    given = [
        word
        for name, path in rows.items()
        for word in (
            "--rows",
            f"{name}={path}",
            "--gate",
            f"{name}={tmp_path / name / 'approvals'}",
        )
    ]
    for name in MEMBERS:
        assert (
            main(["federated", "init", str(tmp_path / name), "--name", name, "--port", "9999"]) == 0
        )
        assert (
            main(
                [
                    "federated",
                    "approve",
                    str(tmp_path / "plan.json"),
                    "--party",
                    str(tmp_path / name / "party.toml"),
                    "--by",
                    "Li",
                ]
            )
            == 0
        )
    assert (
        main(
            [
                "federated",
                "flower",
                str(tmp_path / "plan.json"),
                "--out",
                str(tmp_path / "out"),
                "--patience",
                "120",
                *given,
            ]
        )
        == 0
    )
    model = json.loads((tmp_path / "out" / "model.json").read_text())
    assert model["columns"] == ["x0", "x0 missing", "x1", "x1 missing", "x2", "x2 missing"]
    assert model["parameters"][0] > 0 > model["parameters"][2]
    assert "survivors: [3, 3]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plan", "given", "code"),
    [
        ({"name": "x", "members": MEMBERS}, MEMBERS, "spec_malformed"),
        (
            {"name": "x", "members": MEMBERS, "parameters": {**PARAMETERS, "speed": 1}},
            MEMBERS,
            "spec_parameters",
        ),
        ({"name": "x", "members": MEMBERS, "parameters": PARAMETERS}, MEMBERS[:2], "members_wrong"),
        (
            {"name": "x", "members": MEMBERS, "parameters": PARAMETERS},
            [*MEMBERS[:2], "housing=nowhere.csv"],
            "source_missing",
        ),
    ],
)
def test_an_unsound_order_starts_nothing(
    rows: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    plan: Any,
    given: list[str],
    code: str,
) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command_line = [
        word
        for member in given
        for word in ("--rows", member if "=" in member else f"{member}={rows[member]}")
    ]
    command_line += [
        word for member in given for word in ("--gate", f"{member.partition('=')[0]}={tmp_path}")
    ]
    assert (
        main(
            [
                "federated",
                "flower",
                str(tmp_path / "plan.json"),
                "--out",
                str(tmp_path / "out"),
                *command_line,
            ]
        )
        != 0
    )
    assert f"error[{code}]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_plans_for_other_members_are_refused(
    deployment: FlowerDeployment, rows: dict[str, Path]
) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "members_wrong"):
        deployment.train(
            TrainingPlan.read("other", ["tax", "health", "water"], PARAMETERS), rows, gates={}
        )


def test_only_the_loopback_was_spoken_to(deployment: FlowerDeployment, traces: Path) -> None:
    # After the trainings above: each process has connected, and to nowhere else.
    for name in ("aggregator", *MEMBERS):
        assert addresses((traces / name).read_text()) == {"127.0.0.1"}, name


def test_what_was_started_is_ended_and_nothing_else(deployment: FlowerDeployment) -> None:
    family = [
        started
        for process in deployment.processes()
        for started in (process, *process.children(recursive=True))
    ]
    assert len(family) >= 3
    deployment.close()
    assert not any(
        psutil.pid_exists(process.pid)
        and process.is_running()
        and process.status() != psutil.STATUS_ZOMBIE
        for process in family
    )
    assert psutil.Process().is_running()
