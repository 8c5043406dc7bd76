"""The process that ``confined`` starts: it answers one request over the rows it received.

It is self-contained: a fresh interpreter that imports nothing of the project, with no environment,
and no files but a sealed memory file (descriptor 0) and a pipe (1). It leaves the network
(``leave_network``), loads the rows, gives up everything but memory and arithmetic (``confine``),
and only then runs the statements.

DuckDB and Arrow start threads of their own as they are imported and used. A namespace applies to a
thread and those it starts later: it is left before any import. The filter of system calls is
installed on all threads at once.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import platform
import resource
import signal
import struct
import sys
from typing import Any

MEMORY, GROUPS, CONFINEMENT, FAULT = 3, 4, 5, 6
"""Exit codes."""

_RESERVED_MB = 512
"""Addresses beyond DuckDB's own limit, which it reserves without using.

Its limit, which ends in an error, is so reached before the kernel's.
"""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_ERRNO_EPERM, _ALLOW, _KILL = 0x00050001, 0x7FFF0000, 0x80000000

# Calls for memory, time, locks, reading and writing open files, and exit. None opens, connects,
# starts or signals anything.
_CALLS: dict[str, tuple[int, list[int]]] = {
    "x86_64": (
        0xC000003E,
        [
            0,
            1,
            3,
            5,
            8,
            9,
            10,
            11,
            12,
            13,
            14,
            15,
            24,
            25,
            28,
            35,
            39,
            60,
            96,
            98,
            99,
            186,
            202,
            204,
            219,
            228,
            230,
            231,
            309,
            318,
            324,
            334,
        ],
    ),
    "aarch64": (
        0xC00000B7,
        [
            57,
            62,
            63,
            64,
            80,
            93,
            94,
            98,
            101,
            113,
            115,
            123,
            124,
            128,
            134,
            135,
            139,
            168,
            172,
            178,
            179,
            214,
            215,
            216,
            222,
            226,
            233,
            278,
            283,
        ],
    ),
}


def main() -> int:
    """Answer the request in descriptor 0; return an exit code of the above."""
    leave_network()
    import duckdb
    import pyarrow as pa

    with mmap.mmap(0, 0, prot=mmap.PROT_READ) as memory:
        size = int.from_bytes(memory[:8], "big")
        request = json.loads(memory[8 : 8 + size])
        given = pa.ipc.open_stream(pa.py_buffer(memory).slice(8 + size)).read_all()
        limits = request["limits"]
        base = duckdb.connect(":memory:", config=settings(limits["memory_mb"]))
        try:
            base.register("given", given)
            base.execute("CREATE TABLE rows AS SELECT * FROM given")
            base.unregister("given")
            base.execute("SET lock_configuration = true")
            del given
            if not confine(limits["memory_mb"], limits["seconds"]):
                return CONFINEMENT
            return _answer(base, request)
        except (duckdb.OutOfMemoryException, MemoryError):
            return MEMORY
        except Exception:
            return FAULT  # the error may hold values, so it goes nowhere


def _answer(base: Any, request: dict[str, Any]) -> int:
    import pyarrow as pa

    base.execute(request["marked"], request["parameters"])
    base.execute(request["groups"])
    if base.execute("SELECT count(*) FROM groups").fetchone()[0] > request["max_groups"]:
        return GROUPS
    with open(1, "wb", closefd=False) as out:
        for query in ("SELECT * FROM groups ORDER BY g", request["members"]):
            table = base.execute(query).to_arrow_table()
            with pa.ipc.new_stream(out, table.schema) as stream:
                stream.write_table(table)
    return 0


def settings(memory_mb: int) -> dict[str, str | bool | int | float | list[str]]:
    """Return DuckDB's settings: no files, extensions, network, other threads or spilling."""
    return {
        "threads": "1",
        "memory_limit": f"{memory_mb}MB",
        "enable_external_access": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": "",
    }


def leave_network() -> bool:
    """Enter a network namespace of its own, for this thread and those it starts from now on.

    A second barrier. False where the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(
        libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0,
    )


def confine(memory_mb: int, seconds: int) -> bool:
    """Give up further memory, time, files, processes and the network, for good and on every thread.

    False if the kernel does not grant the filter.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    with open("/proc/self/statm", encoding="utf-8") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, held + (memory_mb + _RESERVED_MB << 20)),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    return libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and _filter_calls(libc)


def _filter_calls(libc: Any) -> bool:
    """Install a filter (seccomp(2)) that refuses every system call but those listed.

    On all threads or on none; no new privileges go with it.
    """
    machine = platform.machine()
    if machine not in _CALLS:
        return False
    architecture, calls = _CALLS[machine]
    load, equal, answer = 0x20, 0x15, 0x06
    instructions = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (answer, 0, 0, _KILL),
        (load, 0, 0, 0),
    ]
    instructions += [(equal, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    instructions += [(answer, 0, 0, _ERRNO_EPERM), (answer, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    held = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(
        struct.pack("HP", len(instructions), ctypes.addressof(held)),
    )
    libc.syscall.restype = ctypes.c_long
    arguments = (_SECCOMP[machine], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC)
    # Anything but 0 is an error, or the id of a thread that did not accept the filter.
    return bool(libc.syscall(*(ctypes.c_long(argument) for argument in arguments), program) == 0)


if __name__ == "__main__":
    sys.exit(main())
