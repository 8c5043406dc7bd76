"""One process of a kind a database, and processes that end on signals however many come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.core.errors import Conflict
from nodes.exclusive import exclusive_process
from nodes.initialise import CONFIG_FILE
from nodes.provision import Organisation, free_ports  # type: ignore[attr-defined]
from tests.nodes.conftest import TestNetwork, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def department(network: TestNetwork) -> Iterator[Organisation]:
    found = network.of("department")
    yield found
    found.node.start()
    found.node.wait_ready(found.client(None))


def second(
    directory: Path, action: str, config: str = CONFIG_FILE
) -> subprocess.CompletedProcess[str]:
    """The same node's process once more; it is expected to end by itself."""
    command = [sys.executable, "-m", "nodes", action, "--config", str(directory / config)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )


def test_a_second_outbox_on_one_database_does_not_start_and_names_the_first(
    department: Organisation,
) -> None:
    done = second(department.plan.directory, "outbox")
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert "outbox_running" in last_line
    assert f"Process {department.node.outbox.pid} runs" in last_line


def test_a_second_node_on_one_database_does_not_start_even_at_another_address(
    department: Organisation,
) -> None:
    directory = department.plan.directory
    text = (directory / CONFIG_FILE).read_text()
    port = str(department.plan.port)
    assert f"port = {port}" in text
    (directory / "second.toml").write_text(
        text.replace(f"port = {port}", f"port = {free_ports(1)[0]}")
    )
    (directory / "second.toml").chmod(0o600)
    done = second(directory, "run", "second.toml")
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert "node_running" in last_line
    assert f"Process {department.node.api.pid} runs" in last_line


def test_the_lock_of_a_killed_process_blocks_nobody(department: Organisation) -> None:
    department.node.kill()
    department.node.kill_outbox()
    department.node.start()
    department.node.wait_ready(department.client(None))
    assert department.node.outbox.poll() is None


def test_the_process_lock_is_released_and_separate_for_node_and_outbox(
    database_url: str,
) -> None:
    url = database_url
    with exclusive_process("node", url), exclusive_process("outbox", url):
        with pytest.raises(Conflict) as caught, exclusive_process("node", url):
            pass
        assert (caught.value.code, caught.value.context["pid"]) == ("node_running", os.getpid())
    with exclusive_process("node", url):
        pass


@pytest.mark.parametrize("name", ["api", "outbox"])
def test_a_process_ends_well_however_many_signals_come(department: Organisation, name: str) -> None:
    """Each of the first signals finds the process at another place; a handler that waits for a lock
    would deafen it.
    """
    if name == "outbox":
        log = department.plan.directory / "outbox.log"
        assert eventually(
            lambda: (
                '"outbox runs"'
                in [line for line in log.read_text().splitlines() if '"outbox ' in line][-1]
            )
        )
    process = getattr(department.node, name)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        for number in (
            (signal.SIGTERM, signal.SIGTERM, signal.SIGINT)
            if name == "outbox"
            else (signal.SIGTERM,) * 3
        ):
            process.send_signal(number)
    assert process.wait(1) == 0


SIGNALLED = """
import sys, threading
from chain.core.signals import run_until_signalled

def work(stop):
    print("ready", flush=True)
    while not stop.wait(0.00001):
        pass
    print("ending", flush=True)
    sys.stdin.readline()

run_until_signalled(work)
print("ended", flush=True)
"""


def test_hundreds_of_signals_while_an_event_is_waited_for_end_the_work_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            for _ in range(300):
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "ending\n"
            # Signals that come while it cleans up change nothing either.
            process.send_signal(signal.SIGTERM)
            process.stdin.write("\n")
            process.stdin.close()
            assert process.stdout.readline() == "ended\n"
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_work_that_ends_by_itself_leaves_signals_as_they_were() -> None:
    program = "import signal\nfrom chain.core.signals import TERMINATION_SIGNALS, run_until_signalled\nrun_until_signalled(lambda stop: None)\n"
    program += "assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & TERMINATION_SIGNALS\nprint('as before')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "as before\n")
