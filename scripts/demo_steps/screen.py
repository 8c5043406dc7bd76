"""The demo's terminal output: steps, figures, proofs and progress, one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar

T = TypeVar("T")


@dataclass
class StepLine:
    """One result: what was done, the figure, and its proof (a transaction hash or a file)."""

    text: str
    proof: str = ""


@dataclass
class DemoStep:
    """One numbered step with its lines and how long it took."""

    number: int
    title: str
    lines: list[StepLine] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Screen:
    """Prints each step and records it for the report."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    count: int = 10
    """How many steps there will be."""
    steps: list[DemoStep] = field(default_factory=list)
    _began: float = 0.0

    def step(self, number: int, title: str) -> None:
        """Begin a step."""
        self.finish()
        self._began = time.monotonic()
        self.steps.append(DemoStep(number, title))
        self._print(f"\n[{number}/{self.count}] {title}")

    def finish(self) -> None:
        """End the step under way."""
        if self.steps and not self.steps[-1].seconds:
            self.steps[-1].seconds = time.monotonic() - self._began

    def line(self, text: str, proof: str = "") -> None:
        """Print a result with its proof."""
        self.steps[-1].lines.append(StepLine(text, proof))
        self._print(f"      {text}" + (f"  [{proof}]" if proof else ""))

    def progress(self, items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
        """Yield the items and print the progress every two seconds."""
        whole = total if total is not None else len(items) if isinstance(items, Sized) else None
        last = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            if time.monotonic() - last > 2:
                last = time.monotonic()
                self._print(f"      … {what}: {done}" + (f" of {whole}" if whole else ""))

    def say(self, text: str) -> None:
        """Print a remark that is not in the report."""
        self._print(f"      … {text}")

    def as_json(self) -> list[dict[str, Any]]:
        """The steps for ``report.json``."""
        return [
            {
                "number": step.number,
                "title": step.title,
                "seconds": round(step.seconds, 1),
                "lines": [{"text": line.text, "proof": line.proof} for line in step.lines],
            }
            for step in self.steps
        ]

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)
