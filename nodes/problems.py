"""Errors as RFC 9457 ``problem+json``: a stable code, one sentence, a hint, never a stack trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from chain.core.error_codes import problem_type
from chain.core.errors import QiaolianError, RefusedBy, Refuser, Unavailable

CONTENT_TYPE = b"application/problem+json"

_OWN = {"type", "title", "status", "detail", "code", "hint", "refusedBy"}
_TITLES = {
    400: "Bad request",
    401: "Unauthorised",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    408: "Timeout",
    422: "Not valid",
    429: "Too many requests",
    500: "Internal error",
    502: "Bad gateway",
    503: "Unavailable",
    504: "Gateway timeout",
}


def problem(error: QiaolianError, *, member: str) -> tuple[int, bytes]:
    """Return status and body of a refusal by the node of ``member`` (its code).

    Unless the error names another party, this node refused; a clock that is off is compared
    with this node's.
    """
    refused_by = error.refused_by
    if refused_by.kind in (Refuser.NODE, Refuser.CLOCK) and not refused_by.member:
        refused_by = RefusedBy(refused_by.kind, member=member)
    value: dict[str, Any] = {
        "type": problem_type(error.code),
        "title": _TITLES.get(error.status, "Refused"),
        "status": error.status,
        "detail": error.sentence,
        "code": error.code,
        "refusedBy": refused_by.to_json(),
    }
    if error.hint:
        value["hint"] = error.hint
    value.update((name, _plain(item)) for name, item in error.context.items() if name not in _OWN)
    return error.status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def translate_error(error: BaseException) -> QiaolianError:
    """Any exception as an error for the caller; what is unexpected says nothing of itself."""
    if isinstance(error, QiaolianError):
        return error
    if isinstance(error, DBAPIError):
        return Unavailable(
            "database_unavailable",
            "The node's database did not answer.",
            hint="Check the disk's free space and the database's "
            "state, then send the same request again.",
        )
    internal = QiaolianError(
        "internal_error",
        "Something unexpected failed in this node.",
        hint="Its log has the code location; the request can be repeated.",
    )
    internal.status = 500
    return internal


def start_failure(error: Exception) -> QiaolianError:
    """Why a node's process could not start, with a code and what to do. Texts of other libraries
    are left out: they may quote passwords.
    """
    if isinstance(error, QiaolianError):
        return error
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        return Unavailable(
            "package_missing",
            f"The node needs the Python package {error.name}, which is not installed.",
            hint="Install it into the node's environment; a database URL may name its driver.",
        )
    if isinstance(error, NoSuchModuleError | ArgumentError):
        return Unavailable(
            "database_url_wrong",
            "The URL of the node's database cannot be used.",
            hint="Correct database in the node's configuration, and "
            "install the driver that it names.",
        )
    if isinstance(error, SQLAlchemyError):
        return Unavailable(
            "database_unavailable",
            f"The node's database cannot be used ({kind}).",
            hint="Check that it runs, and database in the node's "
            "configuration; --log-level DEBUG shows the cause.",
        )
    if isinstance(error, OSError):
        about = f" ({error.filename})" if error.filename else ""
        return Unavailable(
            "system",
            f"The operating system refused: {error.strerror or kind}{about}.",
            hint="Check the file's owner and mode, and the disk's free space.",
        )
    failure = QiaolianError(
        "start_failed",
        f"Something unexpected failed while the process started or ran ({kind}).",
        hint="Run it again with --log-level DEBUG: the log then has the whole traceback.",
    )
    failure.exit_code = 1
    return failure


def invalid(errors: Sequence[Mapping[str, Any]]) -> QiaolianError:
    """The validation errors of a request, naming fields and rules but no values."""
    fields = [
        {
            "field": ".".join(str(part) for part in item["loc"]),
            "rule": str(item["type"]),
            "message": str(item["msg"]),
        }
        for item in errors[:20]
    ]
    first = fields[0] if fields else {"field": "request", "message": "is not valid"}
    error = QiaolianError(
        "request_invalid",
        f"The request's {first['field']} is not valid: {first['message']}.",
        hint="Compare the request with /openapi.json.",
        fields=fields,
    )
    error.status = 422
    return error


def of_status(status: int, detail: str) -> QiaolianError:
    """What the framework itself refuses, such as an unknown path."""
    codes = {404: "path_unknown", 405: "method_not_allowed"}
    sentences = {404: "There is nothing at this path.", 405: "This path does not take that method."}
    error = QiaolianError(codes.get(status, "request_refused"), sentences.get(status, detail))
    error.status = status
    return error


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return str(value)
