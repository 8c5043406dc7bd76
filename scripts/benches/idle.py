"""What a network takes while nobody uses it: one validator and six nodes, thirteen processes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from scripts.benches.figure import Figure
from scripts.demo_steps import records, world
from scripts.demo_steps.memory import proportional_bytes
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.world import ORGANISATIONS, World

NODES = 6
SETTLING_SECONDS = 10
SECONDS = 60
Say = Callable[[str], None]


def run(say: Say) -> list[Figure]:
    """Lay out the network, let it settle, and look at its processes for a minute."""
    cast = [
        replace(organisation, validator=organisation.key == "operator")
        for organisation in ORGANISATIONS[:NODES]
    ]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        screen = Screen()
        screen.step(1, "a small network for the bench")
        living = world.build(
            root, records.write_sources(root / "sources", records.loans()), screen, cast=cast
        )
        try:
            processes = [psutil.Process(pid) for pid in living.pids()]
            say(f"{len(processes)} processes, {SETTLING_SECONDS} s to settle, {SECONDS} s at rest")
            time.sleep(SETTLING_SECONDS)
            before = {process.pid: _spent(process) for process in processes}
            time.sleep(SECONDS)
            spent = {process.pid: _spent(process) - before[process.pid] for process in processes}
            memory = sum(proportional_bytes(process.pid) for process in processes) / 1e6
            parts = _parts(living, spent)
        finally:
            living.stop()
    validator = parts["validator"]
    return [
        Figure(
            "network at rest, processor time",
            sum(parts.values()) / SECONDS * 100,
            "% of a core",
            validator / SECONDS * 100,
            "the validator alone",
            "≤ 6 %",
        ),
        *(
            Figure(
                f"at rest: {name}", parts[name] / SECONDS * 100, "% of a core", 100.0, "a core", "–"
            )
            for name in ("validator", "six APIs", "six outboxes")
        ),
        Figure("network at rest, memory", memory, "MB", 1_200.0, "the aim", "≤ 1,200 MB"),
    ]


def _spent(process: psutil.Process) -> float:
    """Processor seconds so far."""
    times = process.cpu_times()
    return times.user + times.system


def _parts(living: World, spent: dict[int, float]) -> dict[str, float]:
    """Processor seconds by kind of process."""
    nodes = [organisation.node for organisation in living.organisations.values()]
    apis = sum(spent[node.api.pid] for node in nodes if node.api is not None)
    outboxes = sum(spent[node.outbox.pid] for node in nodes if node.outbox is not None)
    return {
        "validator": sum(spent.values()) - apis - outboxes,
        "six APIs": apis,
        "six outboxes": outboxes,
    }
