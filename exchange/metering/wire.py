"""The JSON texts that the two nodes of a lane exchange at ``POST /v1/peer/calls``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from chain.core import schema
from chain.core.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    QiaolianError,
    Unauthorised,
    Unavailable,
)
from chain.core.printable import printable

_BY_STATUS: dict[int, type[QiaolianError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: BadInput,
    503: Unavailable,
}


def json_text(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def hex_field(value: Any, length: int) -> bytes:
    """A field of ``length`` bytes in 0x hexadecimal; ``field_malformed``."""
    try:
        return schema.hex_bytes(value, length)
    except ValueError as error:
        raise BadInput(
            "field_malformed", "A field is not 0x hexadecimal of the right length."
        ) from error


def request_text(request: str, signature: bytes, opening: str) -> str:
    """One request as it is sent, from the stored texts of the request and of its ``opening``
    (``query``, ``salt`` and ``consent``).
    """
    return f'{{"request":{request},"signature":"0x{signature.hex()}",{opening[1:]}'


def answers_body(answers: Sequence[Any]) -> bytes:
    """The response body of an exchange; answers that are texts are sent unchanged."""
    parts = [answer if isinstance(answer, str) else json_text(answer) for answer in answers]
    return ('{"answers":[' + ",".join(parts) + "]}").encode()


class ErrorAnswer(TypedDict):
    """The answer to a request that takes no sequence position."""

    error: dict[str, Any]
    """``code``, ``detail``, ``status``, ``hint``, and what the error adds."""


def error_answer(error: QiaolianError) -> ErrorAnswer:
    """The answer to a request that takes no sequence position: the error, with what the buyer's
    node needs to decide whether to repeat.
    """
    context = {
        name: value for name, value in error.context.items() if isinstance(value, str | int | bool)
    }
    return {
        "error": {
            "code": error.code,
            "detail": error.sentence,
            "status": error.status,
            "hint": error.hint,
            **context,
        }
    }


def error_from(value: Mapping[str, Any]) -> QiaolianError:
    """The error of an ``error_answer``; its texts are made printable."""
    status = value.get("status")
    kind = _BY_STATUS.get(status, Unavailable) if isinstance(status, int) else Unavailable
    code, sentence, hint = (
        printable(str(value.get(name, ""))[:500]) for name in ("code", "detail", "hint")
    )
    return kind(code[:64], sentence, hint=hint)
