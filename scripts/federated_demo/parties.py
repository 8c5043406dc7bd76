"""The parties of a joint model: each has a folder, a pinned certificate, its sources and a daemon
process of its own.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from chain.core.loopback import free_ports
from federated.attempt import replay
from federated.daemon import ask
from federated.errors import QiaolianError, Unavailable
from federated.gate import FolderGate
from federated.job import Job
from federated.party import PartyConfig
from federated.transport import make_identity
from nodes.provision import signals_deferred

KEY = "code"
"""The column of every source that identifies its rows."""
OFFICERS = "the data officer"
START_SECONDS = 300.0
"""How long a daemon may take to listen, on a machine that is busy."""
Watch = Callable[[str, float], None]


def _unwatched(_stage: str, _share: float) -> None: ...


@dataclass
class Parties:
    """All parties of the demo or of a measurement."""

    root: Path
    names: tuple[str, ...]
    _processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        root: Path,
        sources: Mapping[str, Mapping[str, pa.Table]],
        *,
        form: str = "csv",
        policies: Mapping[str, str] | None = None,
    ) -> Parties:
        """Make each party's folder: identity, sources (``{party: {source: table}}``) and
        configuration; everybody pins everybody.
        """
        names = tuple(sources)
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        shown = {name: make_identity(root / name, name) for name in names}
        for name, tables in sources.items():
            lines = [
                f'name = "{name}"',
                *([f'policy = "{name}-policy.toml"'] if name in (policies or {}) else []),
                "[listen]",
                f"port = {ports[name]}",
            ]
            for peer in names:
                if peer != name:
                    lines += [f"[peers.{peer}]", f'address = "127.0.0.1:{ports[peer]}"']
                    lines += [
                        f'certificate = "../{peer}/certificate.pem"',
                        f'fingerprint = "{shown[peer]}"',
                    ]
            for source, table in tables.items():
                path = root / name / f"{source}.{form}"
                (csv.write_csv if form == "csv" else parquet.write_table)(table, path)
                lines += [f"[sources.{source}]", f'path = "{path.name}"', f'key = "{KEY}"']
            (root / name / "party.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, policy in (policies or {}).items():
            (root / name / f"{name}-policy.toml").write_text(policy, encoding="utf-8")
        return cls(root, names)

    def config(self, name: str) -> PartyConfig:
        """A party's configuration, as its daemon reads it."""
        return PartyConfig.load(self.root / name / "party.toml")

    def source(self, name: str, source: str) -> Path:
        """Return the path of a source's file."""
        config = self.config(name)
        return config.home / config.source(source).path

    # --- Processes --------------------------------------------------------------------------------

    def __enter__(self) -> Parties:
        """Start every daemon, and wait until it listens; ``daemon_not_ready``."""
        try:
            for name in self.names:
                command = [
                    sys.executable,
                    "-m",
                    "nodes.cli.main",
                    "federated",
                    "daemon",
                    "--party",
                    str(self.root / name / "party.toml"),
                ]
                with (
                    (self.root / name / "daemon.log").open("w", encoding="utf-8") as log,
                    signals_deferred(),
                ):
                    self._processes[name] = subprocess.Popen(
                        command, stdout=subprocess.PIPE, stderr=log, text=True
                    )
            for name, process in self._processes.items():
                _wait_for_line(process, name, START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the daemons."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()

    def pids(self) -> list[int]:
        """The processes of all daemons."""
        return [process.pid for process in self._processes.values()]

    def peak_megabytes(self, name: str) -> float:
        """The most memory a party's process has held at once (resident set, from the kernel)."""
        for line in (
            Path(f"/proc/{self._processes[name].pid}/status")
            .read_text(encoding="utf-8")
            .splitlines()
        ):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise Unavailable(
            "memory_unknown", "The kernel does not say how much memory a process has held."
        )

    # --- Jobs -------------------------------------------------------------------------------------

    def approve(self, job: Job, names: Iterable[str] | None = None, *, uses: int = 100) -> None:
        """Approve the job as each owner's data officer."""
        for name in names or job.owners():
            FolderGate(self.root / name / "approvals").approve(
                job, uses=uses, not_after=int(time.time()) + 86_400, by=OFFICERS
            )

    def run(self, job: Job, watch: Watch = _unwatched) -> dict[str, dict[str, Any]]:
        """Have every party's daemon run the job; receipts by party, each with ``folder``. The first
        party's own error is raised.
        """
        return asyncio.run(self._run(job, watch))

    async def _run(self, job: Job, watch: Watch) -> dict[str, dict[str, Any]]:
        before = {name: set(self._attempts(name, job)) for name in job.parties}
        first = next(iter(job.parties))

        async def one(name: str) -> Any:
            try:
                return await ask(
                    self.root / name, {"run": job.to_json()}, watch if name == first else _unwatched
                )
            except QiaolianError as error:
                return error

        ended = dict(
            zip(
                job.parties, await asyncio.gather(*(one(name) for name in job.parties)), strict=True
            )
        )
        errors = [error for error in ended.values() if isinstance(error, QiaolianError)]
        if errors:
            # A party that only reports another's failure has not the cause.
            raise next(
                (error for error in errors if error.code not in ("peer_failed", "peer_gone")),
                errors[0],
            )
        for name, receipt in ended.items():
            (folder,) = set(self._attempts(name, job)) - before[name]
            receipt["folder"] = folder
        return ended

    def replay(self, name: str, folder: Path) -> dict[str, Any]:
        """Replay a party's side of an attempt, inside its own folder."""
        return asyncio.run(replay(self.config(name), folder, _unwatched))

    def _attempts(self, name: str, job: Job) -> list[Path]:
        return list((self.root / name / "jobs" / job.name).glob("*"))


def _wait_for_line(process: subprocess.Popen[str], name: str, seconds: float) -> None:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), True)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(seconds) or "listens" not in process.stdout.readline():
            raise Unavailable(
                "daemon_not_ready",
                f"The daemon of {name} did not start.",
                hint=f"See {name}/daemon.log.",
            )
