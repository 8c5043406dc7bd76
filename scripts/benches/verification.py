"""Offline verification of the recorded bundles and of a large lane, against the bare recovery of as
many signatures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from chain.bundle import trust
from chain.bundle.verifier import verify
from chain.core.crypto import keccak256, recover, sign_digest
from chain.core.errors import Unavailable
from nodes.cli.verify import CHECKERS
from scripts.benches import made_chain
from scripts.benches.figure import Figure
from scripts.benches.made_lane import MadeLane

RECORDED = (Path("tests/data/bundles"), Path("var/demo/bundles"))
ROUNDS = 15
LARGE_LANE = 10_000


def run(say: Callable[[str], None]) -> list[Figure]:
    """Time the trade bundle whole, the lane export by signature and a lane of 10,000 calls."""
    found = next((path for path in RECORDED if (path / "trade.json").exists()), None)
    if found is None:
        raise Unavailable(
            "bundles_missing", "There are no bundles to verify.", hint="Run ./scripts/demo first."
        )
    trust_file = (
        found / "trust.json" if (found / "trust.json").exists() else found.parent / "trust.json"
    )
    held = trust.read(trust_file.read_bytes())
    trade, lane = (
        _milliseconds((found / f"{name}.json").read_bytes(), held) for name in ("trade", "lane")
    )
    signatures = len(json.loads((found / "lane.json").read_bytes())["statements"])
    bare = _bare_recovery()
    say(f"making a lane of {LARGE_LANE:,} positions")
    large = MadeLane(calls=LARGE_LANE).bundle()
    started = time.perf_counter()
    verify(large, made_chain.trust(), CHECKERS)
    seconds = time.perf_counter() - started
    return [
        Figure(
            "verification of a trade bundle",
            trade,
            "ms",
            bare,
            "one bare signature recovery",
            "≤ 100 ms",
        ),
        Figure(
            "verification of a lane export, a signature",
            lane / signatures,
            "ms",
            bare,
            "one bare recovery",
            "≤ 1 ms",
        ),
        Figure(
            f"verification of a lane of {LARGE_LANE:,} positions ({len(large) / 1e6:.0f} MB)",
            seconds,
            "s",
            2 * LARGE_LANE * bare / 1_000,
            "as many bare recoveries",
            "≤ 15 s",
        ),
    ]


def _milliseconds(data: bytes, held: trust.Trust) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        verify(data, held, CHECKERS)
        times.append((time.perf_counter() - started) * 1_000)
    return statistics.median(times)


def _bare_recovery() -> float:
    digest = keccak256(b"bench")
    signature = sign_digest(keccak256(b"key"), digest)
    started = time.perf_counter()
    for _ in range(1_000):
        recover(digest, signature)
    return time.perf_counter() - started
