"""The oblivious programmable PRF of circuit PSI, beside the plain intersection of the same rows.

Both parties run in one fresh process, over queues: a time is the work of both, a peak the memory of
both with the interpreter and the identifiers.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.intersection import PsiTerms, follow_opprf, lead_opprf, psi
from federated.local import run_local
from federated.session import Session
from scripts.benches.figure import Figure

CASES = (("aes", 30_000, 12), ("aes", 300_000, 2), ("sm", 300_000, 2))
ROUNDS = 3
_LABEL = "opprf"


@dataclass(frozen=True)
class OpprfMeasurement:
    """Seconds of the OPPRF with one table and of the plain intersection, bytes sent, peak
    megabytes.
    """

    seconds: float
    plain: float
    sent: int
    peak: float


def run(say: Callable[[str], None]) -> list[Figure]:
    """The median of some runs for each case."""
    figures = []
    for suite, rows, words in CASES:
        name = f"OPPRF {rows:,} × {rows:,}, {words} words, {suite}"
        say(name)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            found = fresh.submit(_measure, suite, rows, words).result()
        figures.append(
            Figure(name, found.seconds, "s", found.plain, "the plain intersection", "≤ 6 ×")
        )
        figures.append(
            Figure(
                f"{name}, sent",
                found.sent / rows,
                "bytes an identifier",
                8 * words,
                "the words alone",
                "≤ 80 + 32 a word",
            )
        )
        figures.append(
            Figure(
                f"{name}, peak memory of both",
                found.peak,
                "MB",
                3 * 8 * words * rows / 2**20,
                "the words programmed alone",
                "≤ 1,500",
            )
        )
    return figures


def _measure(suite: str, rows: int, words: int) -> OpprfMeasurement:
    bank, tax = (
        np.array([b"91440703%010d" % number for number in range(first, first + rows)])
        for first in (0, rows // 2)
    )
    measured, plain = list[tuple[float, int]](), list[tuple[float, int]]()
    for _ in range(ROUNDS):  # alternating, so that other work on the machine slows both
        measured.append(_timed(lambda: _opprf(bank, tax, suite, words)))
        plain.append(_timed(lambda: _plain(bank, tax, suite)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return OpprfMeasurement(
        sorted(measured)[ROUNDS // 2][0], sorted(plain)[ROUNDS // 2][0], measured[0][1], peak
    )


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    sent = work()
    return time.perf_counter() - started, sent


def _opprf(bank: NDArray[np.bytes_], tax: NDArray[np.bytes_], suite: str, words: int) -> int:
    """Run one table, check the values of common rows, and return the bytes sent."""
    terms = PsiTerms(suite=suite, reveal="nobody")

    async def lead(session: Session) -> Any:
        opprf = await lead_opprf(session, bank, ["tax"], terms, _LABEL)
        got = await opprf.receive("tax", words)
        channel = session.to("tax")
        return got, channel.sent_bytes + channel.received_bytes

    async def follow(session: Session) -> Any:
        entries = await follow_opprf(session, tax, "bank", terms, _LABEL)
        targets = session.randomness.child("targets").words(entries.bins, words)
        await entries.send(targets[entries.bin])
        return targets, 0

    results = run_local({"bank": lead, "tax": follow})
    (got, sent), (targets, _) = results["bank"], results["tax"]
    assert int((got == targets).all(axis=1).sum()) == len(bank) - len(bank) // 2
    return int(sent)


def _plain(bank: NDArray[np.bytes_], tax: NDArray[np.bytes_], suite: str) -> int:
    terms = PsiTerms(suite=suite)

    async def receive(session: Session) -> int:
        _, found = await psi.run_receiver(session, "tax", bank, terms, _LABEL)
        assert int(found.sum()) == len(bank) - len(bank) // 2
        return session.to("tax").sent_bytes + session.to("tax").received_bytes

    async def serve(session: Session) -> int:
        await psi.run_sender(session, "bank", tax, terms, _LABEL)
        return 0

    return run_local({"bank": receive, "tax": serve})["bank"]
