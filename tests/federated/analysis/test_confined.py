"""The process that answers has the rows and nothing else: what the checker would refuse is handed
to it all the same, and gets nowhere.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from federated.analysis import child
from federated.analysis.confined import bounded, compute, encode_rows, run_child
from federated.analysis.policy import AnalysisLimits, Policy
from federated.analysis.statement import write
from federated.analysis.syntax import read
from federated.errors import QiaolianError, Unavailable
from federated.job import Table
from scripts.federated_demo.watch import watched

ROWS = pa.table(
    {
        "r": pa.array(range(100), pa.int32()),
        "c0": pa.array([float(number % 3) for number in range(100)]),
    }
)
MARKED = "CREATE TEMP TABLE marked AS SELECT r, c0 AS k0 FROM rows"
GROUPS = "CREATE TEMP TABLE groups AS SELECT CAST(row_number() OVER () - 1 AS INTEGER) AS g, * FROM (SELECT k0, count(*) AS n0 FROM marked GROUP BY k0)"
MEMBERS = "SELECT r, g FROM marked JOIN groups USING (k0)"


def run(
    *,
    marked: str = MARKED,
    groups: str = GROUPS,
    members: str = MEMBERS,
    memory: int = 256,
    seconds: int = 20,
    max_groups: int = 1000,
    most: int = 1 << 24,
    rows: pa.Table = ROWS,
) -> tuple[int, bytes]:
    limits = {"memory_mb": memory, "seconds": seconds}
    request = {
        "marked": marked,
        "parameters": [],
        "groups": groups,
        "members": members,
        "max_groups": max_groups,
        "limits": limits,
    }
    return run_child(request, rows, seconds=seconds, max_bytes=most)


def test_the_process_answers() -> None:
    code, answer = run()
    source = pa.BufferReader(answer)
    groups, members = pa.ipc.open_stream(source).read_all(), pa.ipc.open_stream(source).read_all()
    assert code == 0
    assert sorted(groups.column("n0").to_pylist()) == [33, 33, 34]
    assert len(members) == 100


# --- Files and network ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS r, content AS k0 FROM read_text('{path}')",
        "SELECT 1 AS r, * FROM read_csv('{path}')",
        "SELECT 1 AS r, * FROM '{path}'",
        "SELECT 1 AS r, * FROM glob('{folder}/*')",
        "SELECT 1 AS r, * FROM read_blob('{folder}/*')",
        "SELECT 1 AS r, getenv('PATH') AS k0",
    ],
)
def test_no_file_is_read(tmp_path: Path, query: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with watched([secret]) as seen:
        marked = "CREATE TEMP TABLE marked AS " + query.format(path=secret, folder=tmp_path)
        code, answer = run(
            marked=marked,
            groups="CREATE TEMP TABLE groups AS SELECT 0 AS g, 1 AS n0",
            members="SELECT * FROM marked",
        )
        assert (code, answer) == (child.FAULT, b"")
        assert seen() == {}


@pytest.mark.parametrize(
    "statement",
    [
        "COPY rows TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SET threads = 64",
        "RESET lock_configuration",
        "PRAGMA enable_profiling; PRAGMA profiling_output = '{folder}/out'",
        "CREATE SECRET (TYPE s3, KEY_ID 'x', SECRET 'y')",
    ],
)
def test_nothing_is_written_loaded_or_set(tmp_path: Path, statement: str) -> None:
    """Each goes before statements that would answer, so only its own refusal ends the run."""
    code, answer = run(marked=f"{statement.format(folder=tmp_path)}; {MARKED}")
    assert (code, answer) == (child.FAULT, b"")
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.csv"
        code, _ = run(marked=f"CREATE TEMP TABLE marked AS SELECT 1 AS r, * FROM read_csv('{url}')")
        assert code == child.FAULT
        with pytest.raises(TimeoutError):
            server.accept()


ENDLESS = "CREATE TEMP TABLE marked AS SELECT count(*) AS r, 0 AS k0 FROM range(10000000) a, range(10000000) b"


def shown(folder: Path) -> dict[str, str]:
    """What the kernel says of a process or thread."""
    return {
        name: value.strip()
        for name, _, value in (
            line.partition(":") for line in (folder / "status").read_text().splitlines()
        )
    }


def working() -> Path | None:
    """The process that answers, once it has confined itself."""
    for process_folder in Path("/proc").glob("[0-9]*"):
        try:
            about = shown(process_folder)
            if (
                about["PPid"] == str(os.getpid())
                and about["Seccomp"] == "2"
                and child.__file__.encode() in (process_folder / "cmdline").read_bytes()
            ):
                return process_folder
        except OSError:
            continue
    return None


@contextmanager
def threads_at_work() -> Iterator[list[Path]]:
    """Every thread of a process that works on an endless analysis."""
    running = threading.Thread(target=lambda: run(marked=ENDLESS))
    running.start()
    process, deadline = None, time.monotonic() + 15
    try:
        while process is None and time.monotonic() < deadline:
            process = working()
        assert process is not None
        yield sorted((process / "task").iterdir())
    finally:
        if process is not None:
            os.kill(int(process.name), signal.SIGKILL)
        running.join()


def test_every_thread_of_the_process_is_confined() -> None:
    """The libraries' own threads too: any of them could otherwise be made to open what the first
    one may not.
    """
    with threads_at_work() as threads:
        assert len(threads) > 1
        assert {(about["Seccomp"], about["NoNewPrivs"]) for about in map(shown, threads)} == {
            ("2", "1"),
        }


def test_every_thread_of_the_process_has_left_the_network() -> None:
    allowed = subprocess.run(
        [sys.executable, "-c", f"{CHILD}; print(child.leave_network())"],
        capture_output=True,
        check=True,
    )
    if allowed.stdout != b"True\n":
        pytest.skip("this kernel gives no network of its own")
    with socket.create_server(("127.0.0.1", 0)) as server, threads_at_work() as threads:
        port = f"0100007F:{server.getsockname()[1]:04X}"
        assert port in Path("/proc/thread-self/net/tcp").read_text()
        assert [
            thread.name for thread in threads if port in (thread / "net" / "tcp").read_text()
        ] == []


CHILD = f"import sys; sys.path.append({str(Path(child.__file__).parent)!r}); import child"
"""Imports the module as its process does: without the rest of the package, which takes longer to
load than any of these tests.
"""


def inside(body: str) -> subprocess.CompletedProcess[str]:
    """Python of ours in a process that has confined itself."""
    lines = [
        "import ctypes, mmap, os, signal, socket, subprocess, sys, threading",
        CHILD,
        "ready = child.confine(256, 20)",
    ]
    code = "\n".join([*lines, "assert ready", body])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_confined_code_still_computes_and_writes_to_what_is_open() -> None:
    done = inside("print(sum(range(10)))")
    assert (done.returncode, done.stdout) == (0, "45\n"), done.stderr


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/hostname')",
        "open('{folder}/x', 'w')",
        "os.listdir('/')",
        "os.stat('/etc/hostname')",
        "os.mkdir('{folder}/x')",
        "os.unlink('{folder}/victim')",
        "os.rename('{folder}/victim', '{folder}/x')",
        "os.memfd_create('x')",
        "os.dup(1)",
        "os.pipe()",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair()",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "threading.Thread(target=print).start()",
        "os.kill(os.getppid(), 0)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "os.setuid(0)",
        "os.chroot('/')",
    ],
)
def test_confined_code_can_open_start_and_reach_nothing(tmp_path: Path, attempt: str) -> None:
    (tmp_path / "victim").write_text("x")
    attempt = attempt.format(folder=tmp_path)
    done = inside(
        f"try:\n    {attempt}\nexcept (OSError, RuntimeError) as error:\n    print('stopped')\nelse:\n    print('done')",
    )
    assert done.stdout == "stopped\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


@pytest.mark.parametrize(
    "attempt",
    [
        "os.stat('/etc/hostname')",
        "os.chdir('/')",
        "os.kill(os.getpid(), 0)",
        "threading.Thread(target=print).start()",
    ],
)
def test_a_thread_that_was_there_before_can_do_no_more(attempt: str) -> None:
    """Started before the process confines itself, it tries only afterwards."""
    body = f"try:\n        {attempt}\n    except (OSError, RuntimeError):\n        print('stopped', flush=True)\n    else:\n        print('done', flush=True)"
    lines = [
        "import os, threading",
        CHILD,
        "confined = threading.Event()",
        f"def other():\n    confined.wait()\n    {body}",
        "early = threading.Thread(target=other)",
        "early.start()",
        "assert child.confine(256, 20)",
        "confined.set()",
        "early.join()",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "stopped\n", done.stderr


def test_a_thread_that_cannot_take_the_filter_stops_everything() -> None:
    """One with a filter of its own cannot be brought under a common one: nothing runs then."""
    lines = [
        "import ctypes, sys, threading",
        CHILD,
        "libc, ready, over = ctypes.CDLL(None), threading.Event(), threading.Event()",
        "libc.prctl(child._PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)",
        "def other():\n    print(child._filter_calls(libc), flush=True)\n    ready.set()\n    over.wait()",
        "early, everyone = threading.Thread(target=other), child._SECCOMP_FILTER_FLAG_TSYNC",
        "child._SECCOMP_FILTER_FLAG_TSYNC = 0",
        "early.start()",
        "ready.wait()",
        "child._SECCOMP_FILTER_FLAG_TSYNC = everyone",
        "print(child._filter_calls(libc), flush=True)",
        "over.set()",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True\nFalse\n", done.stderr


def test_confined_code_cannot_lift_its_limits_or_be_looked_into() -> None:
    body = (
        "import resource\nfor what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):\n    try:\n        resource.setrlimit(what, (1 << 40, 1 << 40))\n"
        "    except (OSError, ValueError):\n        print('stopped')\nprint(ctypes.CDLL(None).ptrace(0, 0, 0, 0))"
    )
    done = inside(body)
    assert done.stdout.splitlines() == ["stopped"] * 3 + ["-1"], done.stderr


def test_the_process_has_no_secrets_of_its_parent(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its environment, descriptors and folder, as the kernel shows them while it works."""
    monkeypatch.setenv("TOKEN", "secret")
    held = (tmp_path / "held").open("w")
    shown: dict[str, Any] = {}

    def look() -> None:
        while not shown:
            for process_folder in Path("/proc").glob("[0-9]*"):
                try:
                    arguments = (process_folder / "cmdline").read_bytes().split(b"\0")
                    if child.__file__.encode() in arguments and b"-I" in arguments:
                        shown.update(
                            environment=(process_folder / "environ").read_bytes(),
                            open={
                                path.readlink().name for path in (process_folder / "fd").iterdir()
                            },
                        )
                except OSError:
                    continue

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    run()
    looking.join(10)
    assert shown["environment"] == b""
    assert "held" not in shown["open"]
    held.close()


# --- Exhaustion -----------------------------------------------------------------------------------

BIG = "CREATE TEMP TABLE marked AS SELECT r, {} FROM rows"


def test_memory_is_bounded() -> None:
    huge = "CREATE TEMP TABLE marked AS SELECT i AS r, i AS k0 FROM range(1000000000) t(i)"
    code, answer = run(marked=huge, memory=64)
    assert code == child.MEMORY
    assert answer == b""


def test_the_database_keeps_to_its_own_limit_before_the_kernel_must() -> None:
    with (
        duckdb.connect(":memory:", config=child.settings(64)) as base,
        pytest.raises(duckdb.OutOfMemoryException),
    ):
        base.execute("CREATE TEMP TABLE marked AS SELECT i AS r FROM range(100000000) t(i)")


def test_one_huge_value_does_not_get_memory_either() -> None:
    code, _ = run(
        marked="CREATE TEMP TABLE marked AS SELECT r, repeat(repeat('x', 100000), 100000) AS k0 FROM rows",
        memory=64,
    )
    assert code not in (0, child.CONFINEMENT)


def test_time_is_bounded() -> None:
    code, answer = run(marked=ENDLESS, seconds=2)
    assert code < 0
    assert answer == b""


def test_groups_and_bytes_are_bounded() -> None:
    assert run(max_groups=2)[0] == child.GROUPS
    assert run(most=100)[1] == b""


# --- What comes in, and what may come out ---------------------------------------------------------


def test_the_owner_alone_learns_which_limit_it_was(policy: Policy) -> None:
    analysis = read("SELECT Home, count(*) FROM records GROUP BY Home")
    rules = policy.sources["records"]
    table = Table(
        np.arange(100).astype("S4"),
        {"Home": np.array([f"h{number % 3}" for number in range(100)], object)},
    )
    for limits, max_groups, reason in (
        (AnalysisLimits(rows=99), 10, "more rows"),
        (AnalysisLimits(), 2, "more groups"),
    ):
        statement = write(analysis, rules, min_rows=10, max_groups=max_groups)
        with pytest.raises(
            Unavailable,
            check=lambda error: error.code == "analysis_failed",
        ) as caught:
            compute(encode_rows(table, statement, rules), statement, limits, max_groups=max_groups)
        assert reason in caught.value.sentence


def test_identifiers_and_unused_columns_are_not_handed_over(policy: Policy) -> None:
    statement = write(
        read("SELECT Home, avg(Income) FROM records GROUP BY Home"),
        policy.sources["records"],
        min_rows=10,
        max_groups=10,
    )
    table = Table(
        np.array([b"ID-1", b"ID-2"]),
        {
            "Home": np.array(["x", None], object),
            "Income": np.array([1.0, np.nan]),
            "Age": np.ones(2),
        },
    )
    rows = encode_rows(table, statement, policy.sources["records"])
    assert rows.to_pydict() == {"r": [0, 1], "c0": ["x", None], "a0": [100, None]}


def test_values_beyond_the_bounds_are_taken_as_the_bounds(policy: Policy) -> None:
    values, missing = bounded(
        np.array([-5.0, 0.004, 0.006, 12.345, 5000.0, 1e300, np.inf, -np.inf, np.nan]),
        policy.sources["records"]["Income"],
    )
    assert values.tolist() == [0, 0, 1, 1234, 500_000, 500_000, 500_000, 0, 0]
    assert missing.tolist() == [False] * 8 + [True]


def test_a_source_of_another_type_than_the_policy_says_is_refused(policy: Policy) -> None:
    statement = write(
        read("SELECT Home, count(*) FROM records GROUP BY Home"),
        policy.sources["records"],
        min_rows=10,
        max_groups=10,
    )
    with pytest.raises(QiaolianError, check=lambda error: error.code == "policy_types"):
        encode_rows(
            Table(np.array([b"a"]), {"Home": np.ones(1)}),
            statement,
            policy.sources["records"],
        )


# --- Where the kernel does not help ---------------------------------------------------------------


def test_without_a_filter_of_system_calls_nothing_runs() -> None:
    """On a processor whose calls are not listed the process gives up before the analysis."""
    code = f"import platform\nplatform.machine = lambda: 'another'\n{CHILD}\nprint(child.confine(256, 20))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
