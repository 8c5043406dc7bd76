"""Runs an analysis in a process that has the rows, a processor and some memory, and nothing else.

The rows go to the process (``child``) in a sealed memory file, in their order and without
identifiers; the answer comes back through a pipe, which accepts no more than an answer can have.
The process has no environment and no other descriptor; its errors are discarded, as an error's text
may hold values. The submitter gets one code for any failure; which limit it was stays with the
owner.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from federated.analysis import child
from federated.analysis.policy import AnalysisLimits, ColumnRule
from federated.analysis.statement import CompiledAnalysis
from federated.errors import BadInput, Unavailable
from federated.job import Table

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
_REASONS = {
    child.MEMORY: "it needed more memory than the policy allows",
    child.GROUPS: "it has more groups than the policy allows",
    child.CONFINEMENT: "this system does not let the process be confined",
    -signal.SIGSEGV: "it needed more memory than the policy allows, or met a fault",
    -signal.SIGKILL: "it needed more time than the policy allows",
    -signal.SIGXCPU: "it needed more time than the policy allows",
}


@dataclass(frozen=True)
class Computed:
    """The answer of the process.

    ``keys``: of each group, largest first. ``sizes``: for each statistic the number of rows or
    values, (groups, statistics); ``sums``: their sum, 0 for those that only count. For each
    selected row, ``rows``: its index in the source, ``groups``: its group, ``filters``: which
    filters it passes, (filters, selected rows).
    """

    keys: list[tuple[float | str | None, ...]]
    sizes: NDArray[np.int64]
    sums: NDArray[np.int64]
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    filters: NDArray[np.bool_]


def encode_rows(
    table: Table, statement: CompiledAnalysis, rules: Mapping[str, ColumnRule]
) -> pa.Table:
    """Return the columns that an analysis needs, under generated names.

    Plain values for keys and filters, bounded integers for sums.

    Raises:
        BadInput: ``policy_types`` if the source holds something else than the policy says, or lacks
            values where the policy does not say that this is known.
    """
    arrays: dict[str, pa.Array] = {"r": pa.array(np.arange(len(table), dtype=np.int32))}
    for name in {*statement.columns, *statement.values}:
        if (table.columns[name].dtype.kind == "f") != (rules[name].type == "number"):
            raise BadInput(
                "policy_types",
                f"The column {name} does not hold what the policy says: {rules[name].type}s.",
            )
    for index, name in enumerate(statement.columns):
        arrays[f"c{index}"] = pa.array(
            table.columns[name],
            pa.float64() if rules[name].type == "number" else pa.string(),
            from_pandas=True,
        )
    for index, name in enumerate(statement.values):
        values, missing = bounded(table.columns[name], rules[name])
        if rules[name].known is None and missing.any():
            hint = (
                'Say known = "missing" if it is known which rows lack '
                "one, or fill the gaps in the source."
            )
            raise BadInput(
                "policy_types",
                f"Some rows lack a value of {name}; the policy does "
                "not say that it is known which.",
                hint=hint,
            )
        arrays[f"a{index}"] = pa.array(values, mask=missing)
    return pa.table(arrays)


def bounded(column: NDArray[Any], rule: ColumnRule) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return bounded values in units of the last decimal place, and which are missing."""
    missing = np.isnan(column)
    scale = 10.0**rule.decimals
    scaled = np.rint(
        np.clip(np.where(missing, rule.low or 0.0, column), rule.low, rule.high) * scale,
    )
    return scaled.astype(np.int64), missing


def compute(
    rows: pa.Table, statement: CompiledAnalysis, limits: AnalysisLimits, *, max_groups: int
) -> Computed:
    """Run the statements; Unavailable ``analysis_failed`` for any failure."""
    if len(rows) > limits.rows:
        raise failed("the source has more rows than the policy allows")
    request = {
        "marked": statement.marked,
        "parameters": list(statement.parameters),
        "groups": statement.groups,
        "members": statement.members,
        "max_groups": max_groups,
        "limits": {"memory_mb": limits.memory_mb, "seconds": limits.seconds},
    }
    code, answer = run_child(
        request,
        rows,
        seconds=limits.seconds,
        max_bytes=_max_answer(len(rows), statement, max_groups),
    )
    if code != 0:
        raise failed(_REASONS.get(code, "its process ended without an answer"))
    try:
        return _read(answer, len(rows), statement, max_groups)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise failed("its process gave an invalid answer") from error


def run_child(
    request: Mapping[str, Any],
    rows: pa.Table,
    *,
    seconds: float,
    max_bytes: int,
) -> tuple[int, bytes]:
    """Start the process, send it the request, and receive its answer.

    Returns its exit code (negative: a signal's number) and its output.
    """
    memory = os.memfd_create("rows", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        head = json.dumps(request).encode()
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(len(head).to_bytes(8, "big") + head)
            with pa.ipc.new_stream(file, rows.schema) as stream:
                stream.write_table(rows)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        command = [sys.executable, "-I", "-B", "-X", "utf8", str(Path(child.__file__))]
        process = subprocess.Popen(
            command,
            stdin=memory,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            close_fds=True,
        )
    finally:
        os.close(memory)
    with process:
        try:
            answer = _drain(process, time.monotonic() + seconds, max_bytes)
            return (process.wait(5), answer) if answer is not None else (-signal.SIGKILL, b"")
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL, b""
        finally:
            process.kill()


def failed(reason: str) -> Unavailable:
    """Return the one error for all failures once the source is open."""
    return Unavailable(
        "analysis_failed",
        f"The analysis failed: {reason}.",
        hint="The submitter gets this code alone.",
    )


def _drain(process: subprocess.Popen[bytes], deadline: float, max_bytes: int) -> bytes | None:
    """Return all that the process writes; ``None`` if it is too slow or writes too much."""
    assert process.stdout is not None
    pieces, size = list[bytes](), 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                return None
    return None


def _max_answer(rows: int, statement: CompiledAnalysis, max_groups: int) -> int:
    """Return more bytes than an answer can have: fixed widths, and keys of any length of text."""
    row_bytes = 16 + 2 * statement.filters
    group_bytes = 64 * len(statement.statistics) + (1 << 12) * len(statement.key_types)
    return (1 << 24) + rows * row_bytes + max_groups * group_bytes


def _read(answer: bytes, rows: int, statement: CompiledAnalysis, max_groups: int) -> Computed:
    """Parse the answer. Nothing of it is trusted: every number must be possible."""
    source = pa.BufferReader(answer)
    groups, members = pa.ipc.open_stream(source).read_all(), pa.ipc.open_stream(source).read_all()
    count = len(groups)
    for batch in (groups, members):
        batch.validate(full=True)
    sizes = np.stack(
        [_integers(groups, f"n{index}") for index in range(len(statement.statistics))],
        axis=1,
    )
    sums = np.zeros_like(sizes)
    for index, statistic in enumerate(statement.statistics):
        if statistic.column is not None:
            sums[:, index] = _integers(groups, f"s{index}")
    row_of, group_of = _integers(members, "r"), _integers(members, "g")
    filters = np.zeros((statement.filters, len(members)), np.bool_)
    for index in range(statement.filters):
        filters[index] = members.column(f"f{index}").to_numpy(zero_copy_only=False)
    valid = count <= max_groups and bool((_integers(groups, "g") == np.arange(count)).all())
    valid = valid and bool(
        ((row_of >= 0) & (row_of < rows) & (group_of >= 0) & (group_of < count)).all(),
    )
    once = valid and bool((np.bincount(row_of, minlength=1) <= 1).all())
    if not once or (np.bincount(group_of, minlength=count) != sizes[:, 0]).any():
        raise ValueError("groups and members do not fit")
    columns = [groups.column(f"k{index}").to_pylist() for index in range(len(statement.key_types))]
    keys: list[tuple[float | str | None, ...]] = [()] * count
    if columns:
        keys = list(zip(*columns, strict=True))
    return Computed(keys, sizes, sums, row_of, group_of, filters)


def _integers(table: pa.Table, name: str) -> NDArray[np.int64]:
    column = table.column(name)
    if column.null_count or not pa.types.is_integer(column.type):
        raise ValueError(f"{name} is not a column of integers")
    return np.asarray(column.to_numpy(), np.int64)
