"""Structured logs: one JSON object a line on standard error, without personal data.

A line has time, level, logger, message and fixed fields. Request bodies, queries, identifiers and
exception messages (which may quote values) are never logged; of an unexpected exception the type
and the code locations are. The level DEBUG adds whole tracebacks, whose texts may quote values:
it is for finding a fault, not for daily use.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

FIELDS = (
    "method",
    "route",
    "status",
    "code",
    "hint",
    "peer",
    "seconds",
    "worker",
    "source",
    "height",
    "trace_id",
)
"""What a line may carry beside its message; whatever else a caller adds is left out."""
Event = MutableMapping[str, Any]


def formatter(*, tracebacks: bool = False) -> ProcessorFormatter:
    """Renders each record of the standard library's loggers as one JSON object."""
    return ProcessorFormatter(
        foreign_pre_chain=[
            ExtraAdder(allow=FIELDS),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _describe_exception if not tracebacks else _describe_exception_with_traceback,
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(serializer=json.dumps, ensure_ascii=False),
        ],
    )


def configure(level: str = "INFO") -> None:
    """Send every logger of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(tracebacks=level == "DEBUG"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "urllib3", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def stack_locations(error: BaseException | None) -> list[str]:
    """Return the code locations of an exception, innermost last: file:line function."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-12:]]


def _describe_exception(_: Any, __: str, event: Event) -> Event:
    """Return type and locations of an exception; its text may quote values and is dropped."""
    error = _exception(event)
    event.pop("exc_info", None)
    if error is not None:
        event["exception"], event["stack"] = type(error).__name__, stack_locations(error)
    return event


def _describe_exception_with_traceback(logger: Any, name: str, event: Event) -> Event:
    error = _exception(event)
    if error is not None:
        event["traceback"] = "".join(traceback.format_exception(error))
    return _describe_exception(logger, name, event)


def _exception(event: Event) -> BaseException | None:
    found = event.get("exc_info")
    return found[1] if isinstance(found, tuple) else None


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 3)[-3:])
