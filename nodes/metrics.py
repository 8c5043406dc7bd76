"""A node's metrics for Prometheus: requests by route and status, refusals by code, durations, and
gauges read at each scrape.

Labels are route templates and codes, never member data or identifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the duration buckets, in seconds."""
MAX_SERIES = 500
"""Label values of one counter; further ones are not counted."""
COUNTERS = {
    "qiaolian_requests_total": (
        "Requests answered, by route, method and status.",
        ("route", "method", "status"),
    ),
    "qiaolian_refusals_total": ("Requests refused, by stable code.", ("code", "route")),
    "qiaolian_worker_failures_total": (
        "Rounds of a background worker that failed, by code.",
        ("worker", "code"),
    ),
}
"""Every counter: what it counts, and its labels."""


class Metrics:
    """All metrics of one node. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, text, labels, registry=self._registry)
            for name, (text, labels) in COUNTERS.items()
        }
        self._durations = Histogram(
            "qiaolian_request_seconds",
            "Seconds from a request's last byte to its answer, by route.",
            ("route",),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._series: set[tuple[str, ...]] = set()
        self._gauges = _Gauges()
        self._registry.register(self._gauges)

    def count(self, name: str, labels: Mapping[str, str]) -> None:
        """One more of a counter of ``COUNTERS``."""
        if self._has_room((name, *labels.values())):
            self._counters[name].labels(**labels).inc()

    def observe(self, route: str, seconds: float) -> None:
        """A request to ``route`` took so long."""
        if self._has_room(("", route)):
            self._durations.labels(route=route).observe(seconds)

    def gauge(self, name: str, text: str, value: Callable[[], float | None]) -> None:
        """Register a value that is read at each scrape; None leaves it out."""
        self._gauges.values.append((name, text, value))

    def text(self) -> str:
        """The exposition in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry).decode()

    def _has_room(self, series: tuple[str, ...]) -> bool:
        if series in self._series:
            return True
        if len(self._series) >= MAX_SERIES * (len(COUNTERS) + 1):
            return False
        self._series.add(series)
        return True


class _Gauges(Collector):
    """Values that are read at each scrape."""

    def __init__(self) -> None:
        self.values: list[tuple[str, str, Callable[[], float | None]]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges that have a value now."""
        for name, text, read in self.values:
            value = read()
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)


prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
