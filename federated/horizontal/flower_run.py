"""Flower on this machine: a SuperLink and one SuperNode a member, and trainings on them.

They are processes of their own over TLS on 127.0.0.1. Only registered keys may take part (P-384,
Flower's node authentication), only over the certificate made for this deployment, and a node only
runs the app whose digest it was given. Each member's settings name all members' registered keys,
under which their nodes sign what they advertise, and the folder of its own officer's approvals.
Nothing leaves the loopback: telemetry, the update check and the installation of packages are
switched off, and Flower's home is inside the deployment's folder. Flower has its own environment;
this module only starts its programs.

    with Deployment(folder, python, members) as deployment:
        result = deployment.train(plan, rows={"tax": Path("tax.csv"), ...},
                                  gates={"tax": Path("tax/approvals"), ...})
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import federated
from chain.core.loopback import free_ports
from chain.keys.files import tls_certificate, tls_private_pem, write_private
from federated.errors import BadInput, PeerFault, Unavailable
from federated.horizontal.training import TrainingPlan

PYTHON_VARIABLE = "QIAOLIAN_FLOWER"
VERSION = "1.41.0"
_ROOT = Path(federated.__file__).resolve().parent.parent
_START = 60.0
_COMMAND = 60.0
_LOOK = 30.0
"""Seconds between two questions whether a run has failed: each is a command of Flower, which takes
seconds of a core.
"""
_END = 5.0

_APP = f"""[project]
name = "qiaolian"
version = "1.0.0"
description = "Federated training with secure aggregation"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={VERSION}"]

[tool.flwr.app]
publisher = "qiaolian"
fab-format-version = 1
flwr-version-target = "{VERSION}"

[tool.flwr.app.components]
serverapp = "qiaolian_app.app:server"
clientapp = "qiaolian_app.app:client"

[tool.flwr.app.config]
settings = ""
"""
_DIGEST = """
import hashlib, pathlib, sys
from flwr.cli.build import build_fab_from_disk
print(hashlib.sha256(build_fab_from_disk(pathlib.Path(sys.argv[1]))).hexdigest())
"""
_APP_CODE = (
    'from federated.horizontal.flower_app import client, server\n\n__all__ = ["client", "server"]\n'
)


def find_python() -> Path:
    """Return the Python of Flower's environment.

    It is ``QIAOLIAN_FLOWER``, or ``.venv-flower`` beside the packages; Unavailable
    ``flower_missing``.
    """
    python = Path(os.environ.get(PYTHON_VARIABLE) or _ROOT / ".venv-flower" / "bin" / "python")
    if not (python.parent / "flower-superlink").exists():
        raise Unavailable(
            "flower_missing",
            f"There is no Flower at {python}.",
            hint="Make its environment from requirements/flower.txt at .venv-flower, or name its "
            f"python in {PYTHON_VARIABLE}.",
        )
    return python


class FlowerDeployment:
    """Flower's processes for one aggregator and these members, from ``__enter__`` to ``__exit__``.

    It ends the processes that it started, and no others.
    """

    def __init__(
        self,
        folder: Path,
        python: Path,
        members: Sequence[str],
        *,
        tracer: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """``tracer`` returns the command under which a party's process runs, such as strace."""
        self._folder, self._python, self._members = folder.resolve(), python, list(members)
        self._tracer = tracer
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(["aggregator", *members], free_ports(len(members) + 1), strict=True))
        self._nodes: dict[str, int] = {}
        self._runs = 0
        self._next_look = 0.0

    def __enter__(self) -> FlowerDeployment:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def train(
        self,
        plan: TrainingPlan,
        rows: Mapping[str, Path],
        *,
        gates: Mapping[str, Path],
        budgets: Mapping[str, Path] | None = None,
        patience: float = 30.0,
        timeout: float = 600.0,
    ) -> dict[str, Any]:
        """Run one training; return its metrics, and ``parameters``.

        ``gates``: the folders of the members' approvals; a member without one, or without an
        approval of exactly this plan, takes no part. ``patience``: seconds that one exchange may
        take before a node counts as missing. ``timeout``: seconds for the whole training.

        Raises:
            PeerFault: the server's code, such as ``too_few_members``; BadInput: ``members_wrong``;
                Unavailable: ``flower_failed``, ``flower_timeout``.
        """
        if list(plan.members) != self._members or set(rows) != set(self._members):
            raise BadInput("members_wrong", "The plan's members are not those of this deployment.")
        self._runs += 1
        out = self._folder / "aggregator" / f"run-{self._runs}"
        out.mkdir()
        agreed = {
            "name": plan.name,
            "members": list(plan.members),
            "parameters": dict(plan.parameters),
        }
        keys = {
            name: (self._folder / name / "node.pub").read_text(encoding="utf-8")
            for name in self._members
        }
        for name in self._members:
            home = self._folder / name
            own = {
                "plan": agreed,
                "party": name,
                "rows": str(rows[name].resolve()),
                "state": str(home / "state"),
                "key": str(home / "node"),
                "keys": keys,
            }
            gate = {"gate": str(gates[name].resolve())} if name in gates else {}
            ledger = {} if budgets is None else {"budget": str(budgets[name].resolve())}
            _write_json(home / "settings.json", own | gate | ledger)
        _write_json(
            out / "settings.json",
            {"plan": agreed, "nodes": self._nodes, "out": str(out), "patience": patience},
        )
        started = self._flwr(
            "run",
            str(self._folder / "aggregator" / "app"),
            "local",
            "--run-config",
            f'settings="{out / "settings.json"}"',
        )
        self._wait_for(
            lambda: (out / "result.json").exists() or self._has_ended(str(started["run-id"])),
            timeout,
            "the training",
        )
        return _read_result(out)

    def processes(self) -> list[psutil.Process]:
        """Return the running processes that were started; each may have children."""
        return [
            psutil.Process(process.pid)
            for process in self._processes.values()
            if process.poll() is None
        ]

    def stop_node(self, name: str) -> None:
        """End one member's SuperNode, as if its machine had failed."""
        _end([self._processes.pop(name)])

    def close(self) -> None:
        """End all processes that were started."""
        _end(list(self._processes.values()))
        self._processes = {}

    # --- Starting ---------------------------------------------------------------------------------

    def _start(self) -> None:
        home = self._folder / "aggregator"
        home.mkdir(parents=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(home / "key.pem", tls_private_pem(key))
        write_private(home / "certificate.pem", tls_certificate(key, "aggregator"))
        self._write_app(home)
        tls = self._tls(home)
        address = ["--host", "127.0.0.1", "--port", str(self._ports["aggregator"])]
        self._spawn(
            "aggregator",
            [
                self._program("flower-superlink"),
                *tls,
                *address,
                "--enable-supernode-auth",
                "--disable-runtime-dependency-installation",
            ],
        )
        self._wait_for(lambda: _listens(self._ports["aggregator"]), _START, "the SuperLink")
        with ThreadPoolExecutor() as pool:
            digest = pool.submit(self._build)
            self._nodes = dict(
                zip(self._members, pool.map(self._register, self._members), strict=True),
            )
            app = digest.result()
        for name in self._members:
            self._start_node(name, app)
        for name in self._members:
            self._wait_for(partial(_listens, self._ports[name]), _START, f"the SuperNode of {name}")

    def _start_node(self, name: str, app: str) -> None:
        home = self._folder / name
        authority = self._folder / "aggregator" / "certificate.pem"
        command = [
            *(str(self._python), "-m", "federated.horizontal.flower_node"),
            *(
                "--superlink",
                f"127.0.0.1:{self._ports['aggregator']}",
                "--root-certificates",
                str(authority),
            ),
            *("--auth-supernode-private-key", str(home / "node")),
            *("--host", "127.0.0.1", "--port", str(self._ports[name]), *self._tls(home)),
            *("--node-config", f'settings="{home / "settings.json"}"'),
        ]
        self._spawn(name, command, QIAOLIAN_FAB=app)

    def _register(self, name: str) -> int:
        """Make a member's keys and register them at the SuperLink; return the node's id."""
        home = self._folder / name
        (home / "state").mkdir(parents=True, mode=0o700)
        tls, node = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
        write_private(home / "key.pem", tls_private_pem(tls))
        write_private(home / "certificate.pem", tls_certificate(tls, name))
        private = node.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        write_private(home / "node", private)
        public = node.public_key().public_bytes(
            serialization.Encoding.OpenSSH,
            serialization.PublicFormat.OpenSSH,
        )
        (home / "node.pub").write_bytes(public)
        return int(self._flwr("supernode", "register", str(home / "node.pub"), "local")["node-id"])

    def _write_app(self, home: Path) -> None:
        """Write the app that Flower distributes: one import of what every party has installed."""
        package = home / "app" / "qiaolian_app"
        package.mkdir(parents=True)
        (home / "app" / "pyproject.toml").write_text(_APP, encoding="utf-8")
        (home / "app" / "README.md").write_text(
            "Federated training with secure aggregation.\n",
            encoding="utf-8",
        )
        (home / "app" / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
        (package / "__init__.py").write_text("", encoding="utf-8")
        (package / "app.py").write_text(_APP_CODE, encoding="utf-8")
        (home / "flwr").mkdir()
        link = (
            f'address = "127.0.0.1:{self._ports["aggregator"]}"\nroot-certificates = '
            f'"{home / "certificate.pem"}"\n'
        )
        (home / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "local"\n\n[superlink.local]\n{link}',
            encoding="utf-8",
        )

    def _build(self) -> str:
        """Return SHA-256 of the app as Flower packs it."""
        return self._command(
            [str(self._python), "-c", _DIGEST, str(self._folder / "aggregator" / "app")],
        ).split()[-1]

    # --- Processes --------------------------------------------------------------------------------

    def _spawn(self, name: str, command: list[str], **more: str) -> None:
        with (self._folder / name / "log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*(() if self._tracer is None else self._tracer(name)), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder / name,
                env=self._environment(name) | more,
                start_new_session=True,
            )

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        """Run Flower's command line; return its JSON answer."""
        output = self._command([self._program("flwr"), *arguments, "--format", "json"])
        try:
            answer = json.loads(output)
        except ValueError:
            answer = {}
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise Unavailable(
                "flower_failed",
                f"flwr {arguments[0]} failed: {output.strip()[-500:]}",
            )
        return answer

    def _command(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment("aggregator"),
                cwd=self._folder,
                timeout=_COMMAND,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                "flower_timeout",
                f"{Path(command[0]).name} did not answer in {_COMMAND:g} s.",
            ) from error
        if done.returncode:
            raise Unavailable(
                "flower_failed",
                f"{Path(command[0]).name} failed: "
                f"{(done.stdout + done.stderr).decode(errors='replace').strip()[-500:]}",
            )
        return done.stdout.decode()

    def _has_ended(self, run: str) -> bool:
        """Return whether the run ended without a result; asked seldom, as it starts a process."""
        if self._processes["aggregator"].poll() is not None:
            raise Unavailable(
                "flower_failed",
                "The SuperLink has ended.",
                hint=f"See {self._folder / 'aggregator' / 'log'}.",
            )
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _LOOK
        runs = self._flwr("ls", "local")["runs"]
        return any(
            listed["run-id"] == run and str(listed["status"]).startswith("finished")
            for listed in runs
        )

    def _wait_for(self, holds: Callable[[], bool], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        self._next_look = time.monotonic() + _LOOK
        while not holds():
            if time.monotonic() > deadline:
                raise Unavailable(
                    "flower_timeout",
                    f"Flower: {what} took longer than {timeout:g} s.",
                    hint=f"See the logs in {self._folder}.",
                )
            dead = [
                name
                for name, process in self._processes.items()
                if process.poll() is not None and what.startswith("the Super")
            ]
            if dead:
                raise Unavailable(
                    "flower_failed",
                    f"Flower's process of {dead[0]} ended at once.",
                    hint=f"See {self._folder / dead[0] / 'log'}.",
                )
            time.sleep(0.05)

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": f"{self._python.parent}:/usr/bin:/bin",
            "HOME": str(self._folder / name),
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),  # noqa: S108
            "PYTHONPATH": str(_ROOT),
            "FLWR_HOME": str(self._folder / name / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "NO_PROXY": "*",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def _program(self, name: str) -> str:
        return str(self._python.parent / name)

    @staticmethod
    def _tls(home: Path) -> list[str]:
        certificate = str(home / "certificate.pem")
        return [
            "--ssl-certfile",
            certificate,
            "--ssl-keyfile",
            str(home / "key.pem"),
            "--ssl-ca-certfile",
            certificate,
        ]


def _read_result(out: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unavailable(
            "flower_failed",
            "The training ended without a result.",
            hint=f"See {out.parent / 'log'}.",
        ) from None
    if "code" in result:
        refused = ", ".join(f"{name} ({code})" for name, code in sorted(result["refused"].items()))
        raise PeerFault(
            result["code"],
            result["sentence"],
            hint=f"Refused by {refused}." if refused else "",
            refused=result["refused"],
        )
    return result | {
        "parameters": json.loads((out / "parameters.json").read_text(encoding="utf-8")),
    }


def _write_json(path: Path, value: Any) -> None:
    write_private(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End these processes and all they started: terminate, then kill after some seconds."""
    family: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            family += [parent, *parent.children(recursive=True)]
    for started in family:
        with suppress(psutil.NoSuchProcess):
            started.terminate()
    for survivor in psutil.wait_procs(family, timeout=_END)[1]:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(family, timeout=_END)
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END)
