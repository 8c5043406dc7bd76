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
from datetime import UTC, datetime

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


class JsonFormatter(logging.Formatter):
    """Renders a record of the standard library's loggers as one JSON object."""

    def __init__(self, *, tracebacks: bool = False) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        line: dict[str, object] = {
            name: getattr(record, name) for name in FIELDS if hasattr(record, name)
        }
        line |= {"level": record.levelname.lower(), "logger": record.name, "time": time}
        error = None if record.exc_info is None else record.exc_info[1]
        if error is not None:
            # Its text may quote values and is dropped.
            line |= {"exception": type(error).__name__, "stack": stack_locations(error)}
            if self._tracebacks:
                line["traceback"] = "".join(traceback.format_exception(error))
        line["message"] = record.getMessage()
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str = "INFO") -> None:
    """Send every logger of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(tracebacks=level == "DEBUG"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "urllib3", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def stack_locations(error: BaseException | None) -> list[str]:
    """Return the code locations of an exception, innermost last: file:line function."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-12:]]


def _short(filename: str) -> str:
    return "/".join(filename.rsplit("/", 3)[-3:])
