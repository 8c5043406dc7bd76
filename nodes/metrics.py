"""Counters and histograms in Prometheus' text form.

Only what a node itself knows: requests by route and status, refusals by code, durations, and gauges asked for at the
time of the scrape. Labels are route templates and codes, never member data or identifiers.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Mapping

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the duration buckets, in seconds."""

_MOST_SERIES = 500

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All series of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, int]] = {}
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._gauges: list[tuple[str, str, Callable[[], float | None]]] = []
        self._help = {
            "qiaolian_requests_total": "Requests answered, by route, method and status.",
            "qiaolian_refusals_total": "Requests refused, by stable code.",
            "qiaolian_worker_failures_total": "Rounds of a background worker that failed, by code.",
        }

    def count(self, name: str, labels: Mapping[str, str]) -> None:
        """One more."""
        key = tuple(labels.items())
        with self._lock:
            series = self._counters.setdefault(name, {})
            if key in series or len(series) < _MOST_SERIES:
                series[key] = series.get(key, 0) + 1

    def observe(self, route: str, seconds: float) -> None:
        """A request to ``route`` took so long."""
        with self._lock:
            buckets = self._durations.get(route)
            if buckets is None:
                if len(self._durations) >= _MOST_SERIES:
                    return
                buckets = self._durations[route] = [0] * (len(BUCKETS) + 1)
            buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def gauge(self, name: str, text: str, value: Callable[[], float | None]) -> None:
        """Register a value that is asked for at each scrape; None leaves it out."""
        self._gauges.append((name, text, value))

    def text(self) -> str:
        """The exposition, format version 0.0.4."""
        with self._lock:
            lines = self._counter_lines() + self._duration_lines()
        for name, text, value in self._gauges:
            now = value()
            if now is not None:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {now:.15g}"]
        return "\n".join(lines) + "\n"

    def _counter_lines(self) -> list[str]:
        lines: list[str] = []
        for name, series in self._counters.items():
            lines += [f"# HELP {name} {self._help.get(name, name)}", f"# TYPE {name} counter"]
            lines += [f"{name}{_labels(key)} {count}" for key, count in series.items()]
        return lines

    def _duration_lines(self) -> list[str]:
        name = "qiaolian_request_seconds"
        lines = [
            f"# HELP {name} Seconds from a request's last byte to its answer, by route.",
            f"# TYPE {name} histogram",
        ]
        for route, buckets in self._durations.items():
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
                total += count
                lines.append(f"{name}_bucket{_labels((('route', route), ('le', bound)))} {total}")
            lines.append(f"{name}_sum{_labels((('route', route),))} {self._seconds[route]:.6f}")
            lines.append(f"{name}_count{_labels((('route', route),))} {total}")
        return lines


def _labels(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escape(value)}"' for name, value in labels)
    return "{" + inside + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
