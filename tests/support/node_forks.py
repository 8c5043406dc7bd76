"""Forks node processes from one process that has imported the program.

Of the three seconds of a core that a node's start takes, two are imports. A fork starts with them
done; all else is the process of ``python -m nodes``: arguments, environment, folder, log and
session of its own. Tests of ``nodes.provision`` and refused starts begin the program itself.

Run as a program, this module is the process that forks. It reads one request a line, as JSON, from
its standard input, and answers each with a line.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from nodes.initialise import CONFIG_FILE
from nodes.provision import NodeProcess

_begin = NodeProcess._spawn
ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.02


# --- In the test process --------------------------------------------------------------------------


class ForkedProcess(subprocess.Popen[bytes]):
    """A forked process, as ``Popen`` shows one that it started."""

    _child_created = False  # it is another process's child

    def __init__(self, pid: int, arguments: list[str]) -> None:
        self.pid, self.args = pid, arguments
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _forker().ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(LOOK_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        # A process that ended keeps its id until it is asked for.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)


class _Forker:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,  # an interrupt is for those who asked for the nodes
        )
        self._one_at_a_time = threading.Lock()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        assert line, "The process that forks nodes has ended."
        return json.loads(line)


@cache
def _forker() -> _Forker:
    return _Forker()


def spawn(node: NodeProcess, action: str) -> subprocess.Popen[bytes]:
    """Start a process of a node; replaces ``NodeProcess._spawn``, which begins a program of
    another name itself.
    """
    if node.program != "nodes":
        return _begin(node, action)
    arguments = [action, "--config", str(node.directory / CONFIG_FILE)]
    request = {
        "arguments": arguments,
        "folder": str(node.directory),
        "log": f"{action}.log",
        "environment": {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    }
    return ForkedProcess(_forker().ask({"fork": request}), arguments)


# --- In the process that forks --------------------------------------------------------------------


def _serve() -> list[str]:
    """Answer requests until the end of the input; in a fork, return its arguments."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(2, 1)  # what an import or a fork prints is no answer
    for line in requests:
        request = json.loads(line)
        if "fork" in request:
            pid = os.fork()
            if pid == 0:
                requests.close()
                return _become(request["fork"])
            answer: int | None = pid
        else:
            answer = _exit_code(request["ended"])
        os.write(answers, json.dumps(answer).encode() + b"\n")
    sys.exit(0)


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(request: dict[str, Any]) -> list[str]:
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    arguments: list[str] = request["arguments"]
    sys.argv = ["nodes", *arguments]
    return arguments


def _program() -> int:
    from nodes import outbox, server
    from nodes.__main__ import main

    assert outbox
    assert server
    assert threading.active_count() == 1, "A fork has only the thread that forked it."
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main(_serve())


if __name__ == "__main__":
    sys.exit(_program())
