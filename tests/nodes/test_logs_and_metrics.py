"""Logs carry what is fixed and nothing that may quote a record; metrics are bounded and read by
Prometheus' own parser.
"""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodes.logs import formatter
from nodes.metrics import MAX_SERIES, Metrics


def logged(*, tracebacks: bool = False, **extra: Any) -> dict[str, Any]:
    """One line, logged beside an exception that quotes a person's number."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(tracebacks=tracebacks))
    log = logging.Logger("qiaolian.test")
    log.addHandler(handler)
    try:
        raise ValueError("440703199001010001")
    except ValueError:
        log.exception("a round of %s failed", "claims", extra=extra)
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def test_a_line_has_its_fixed_fields_and_not_the_exceptions_text() -> None:
    line = logged(code="source_drift", subject="440703199001010001")
    assert (line["message"], line["level"], line["logger"], line["code"]) == (
        "a round of claims failed",
        "error",
        "qiaolian.test",
        "source_drift",
    )
    assert (line["exception"], line["time"][-1]) == ("ValueError", "Z")
    assert line["stack"][-1].endswith("logged")
    assert "440703199001010001" not in json.dumps(line)


def test_only_debug_adds_the_traceback() -> None:
    assert "440703199001010001" in logged(tracebacks=True)["traceback"]


def samples(metrics: Metrics, name: str) -> list[tuple[dict[str, str], float]]:
    families = text_string_to_metric_families(metrics.text())
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


def test_counters_durations_and_gauges_are_exposed() -> None:
    metrics = Metrics()
    labels = {"method": "POST", "route": "/v1/calls", "status": "200"}
    for _ in range(2):
        metrics.count("qiaolian_requests_total", labels)
        metrics.observe("/v1/calls", 0.02)
    metrics.gauge("qiaolian_outbox_depth", "Calls owed to the chain.", lambda: 3)
    metrics.gauge("qiaolian_view_age_seconds", "Age of the chain view's head.", lambda: None)
    assert samples(metrics, "qiaolian_requests_total") == [(labels, 2)]
    assert ({"route": "/v1/calls", "le": "0.025"}, 2) in samples(
        metrics, "qiaolian_request_seconds_bucket"
    )
    assert samples(metrics, "qiaolian_outbox_depth") == [({}, 3)]
    assert samples(metrics, "qiaolian_view_age_seconds") == []


@pytest.mark.parametrize("many", [10 * MAX_SERIES])
def test_however_many_codes_there_are_the_series_are_bounded(many: int) -> None:
    metrics = Metrics()
    for number in range(many):
        metrics.count("qiaolian_refusals_total", {"code": f"code_{number}", "route": "/v1/calls"})
    assert len(samples(metrics, "qiaolian_refusals_total")) < many
