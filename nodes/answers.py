"""What a node answers over HTTP, and its refusals as our own errors. Needs nothing installed beyond the base."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chain.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unauthorised, Unavailable

_BY_STATUS: dict[int, type[QiaolianError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: BadInput,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
}
_RESERVED = {"type", "title", "status", "detail", "code", "hint", "instance"}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content type and body of an HTTP answer."""

    status: int
    content_type: str
    body: bytes


def refusal(member: str, answer: Answer) -> QiaolianError:
    """The peer's problem+json as our error: same code, sentence and status."""
    try:
        problem = json.loads(answer.body)
        code, sentence, hint = str(problem["code"]), str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Unavailable("peer_bad_answer", f"The other member's node answered {answer.status}.", member=member)
    context = {name: value for name, value in problem.items() if name not in _RESERVED and name.isidentifier()}
    context["peer"] = member
    error = _BY_STATUS.get(answer.status, QiaolianError)(code[:64], sentence[:500], hint=hint[:500])
    error.context.update(context)
    error.status = answer.status
    return error
