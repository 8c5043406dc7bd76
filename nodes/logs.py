"""Structured logs: one JSON object a line on standard error, without personal data.

A line has time, level, logger, message and fixed fields. Request bodies, queries, identifiers and exception messages
(which may quote values) are never logged; of an unexpected exception the type and the places in the code are. The level
DEBUG adds whole tracebacks, whose texts may quote values: it is for finding a fault, not for daily use.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

_FIELDS = ("method", "route", "status", "code", "hint", "peer", "seconds", "worker", "source", "height", "trace_id")


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, record.__dict__[name]) for name in _FIELDS if name in record.__dict__)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["places"] = places(record.exc_info[1])
            if self._tracebacks:
                line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def places(error: BaseException | None) -> list[str]:
    """Where an exception came through, innermost last: file:line function."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return [f"{_short(each.filename)}:{each.lineno} {each.name}" for each in frames[-12:]]


def configure(level: str = "INFO") -> None:
    """Send every logger of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(tracebacks=level == "DEBUG"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "urllib3", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 3)[-3:])
