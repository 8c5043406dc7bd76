"""Joint computations over real daemons, TLS and files, each beside a peer or a plain computation of
the same run.

A time is the longest of the parties' own, from their hellos to their receipts: reading and
committing to sources, the protocol, comparing heads and writing results are in it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from federated.job import Job
from scripts.benches import analyses, forests, scorecards, secure_sums
from scripts.benches.figure import Figure
from scripts.federated_demo.parties import KEY, Parties

Say = Callable[[str], None]

LARGE = 1_000_000
SMALL = 4_000
"""Identifiers the slow peers are measured with."""


def run(say: Say) -> list[Figure]:
    """All of them, in the order of the page."""
    return [
        *_intersections(say),
        *scorecards.run(say),
        *forests.run(say),
        *secure_sums.run(say),
        *analyses.run(say),
    ]


def seconds(receipts: Mapping[str, Any]) -> float:
    """How long the slowest party took."""
    return max(float(receipt["seconds"]) for receipt in receipts.values())


def sent(receipts: Mapping[str, Any]) -> int:
    """Bytes sent by all parties together."""
    return sum(int(receipt["sentBytes"]) for receipt in receipts.values())


@contextmanager
def parties(sources: Mapping[str, Mapping[str, pa.Table]], *, form: str = "csv") -> Any:
    """Daemons over these sources in a folder that goes away."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Parties.make(Path(directory), sources, form=form) as made,
    ):
        yield made


def identifiers(count: int, first: int) -> pa.Array:
    """Codes of 18 characters, in an order of their own."""
    numbers = np.random.default_rng(first + 1).permutation(count) + first
    return pa.array([f"91440703{number:010d}" for number in numbers.tolist()])


# --- Intersection ---------------------------------------------------------------------------------


def _intersections(say: Say) -> list[Figure]:
    tables = {
        "bank": {"rows": pa.table({KEY: identifiers(LARGE, 0)})},
        "tax": {"rows": pa.table({KEY: identifiers(LARGE, LARGE // 2)})},
    }
    say(f"openmined-psi: {SMALL:,} identifiers on each side")
    peer = _openmined()
    figures = []
    for suite, form, aim in (
        ("aes", "csv", "≤ 9.5 s"),
        ("aes", "parquet", "≤ 9.5 s"),
        ("sm", "csv", "≤ 15 s"),
    ):
        say(f"{LARGE:,} × {LARGE:,}, {suite}, {form}")
        with parties(tables, form=form) as made:
            job = _intersection(suite)
            made.approve(job)
            receipts = made.run(job)
            assert receipts["bank"]["metrics"]["size"] == LARGE // 2
            name = f"intersection {LARGE:,} × {LARGE:,}, {suite}, {form}"
            figures.append(
                Figure(
                    name, seconds(receipts), "s", LARGE / peer, "openmined-psi at its own rate", aim
                )
            )
            if form == "csv":
                width = sent(receipts) / LARGE
                figures.append(
                    Figure(
                        f"{name}, sent",
                        width,
                        "bytes an identifier",
                        32 * 2,
                        "two curve points",
                        "≤ 110",
                    )
                )
                peak = max(made.peak_megabytes(party) for party in made.names)
                rows = tables["bank"]["rows"].nbytes / 2**20
                figures.append(
                    Figure(
                        f"{name}, peak memory of a party",
                        peak,
                        "MB",
                        rows,
                        "the rows alone",
                        "≤ 1,500",
                    )
                )
    return figures


def _intersection(suite: str) -> Job:
    owners = {
        "bank": {"role": "receiver", "source": "rows"},
        "tax": {"role": "sender", "source": "rows"},
    }
    spec = {
        "job": "intersection",
        "protocol": "intersection",
        "purpose": "measurement",
        "parties": owners,
    }
    return Job.from_json({**spec, "parameters": {"method": "kkrt", "suite": suite}})


def _openmined() -> float:
    """Identifiers a second of openmined-psi (ECDH), both sides in this process,
    without a network.
    """
    import private_set_intersection.python as psi

    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    ours, theirs = identifiers(SMALL, 0).to_pylist(), identifiers(SMALL, SMALL // 2).to_pylist()
    started = time.perf_counter()
    setup = server.CreateSetupMessage(1e-9, SMALL, theirs, psi.DataStructure.RAW)
    found = client.GetIntersection(setup, server.ProcessRequest(client.CreateRequest(ours)))
    spent = time.perf_counter() - started
    assert len(found) == SMALL // 2
    return SMALL / spent
