"""Reads a node's HTTP answers and turns refusals into errors. Needs the base packages only.

A refusal counts as a node's only if it is problem+json as nodes write it. Anything else came from a
proxy (its page for 413, 502 or 504) or another program at the address, and the error names that
instead of the node. The text of a problem is not trusted: it is bounded and made printable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chain.core.error_codes import problem_type
from chain.core.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    QiaolianError,
    RefusedBy,
    Refuser,
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
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
}
_RESERVED = {"type", "title", "status", "detail", "code", "hint", "instance", "refusedBy"}
_REPEAT = "Send the same request again: it is idempotent."
_PROXIES: dict[int, tuple[str, str, str]] = {
    401: (
        "proxy_forbidden",
        "did not let the request through",
        "Ask who runs the proxy to let the node's address through.",
    ),
    408: (
        "proxy_timeout",
        "gave up waiting; whether the node acted is not known",
        f"{_REPEAT} Give the proxy a longer time to wait.",
    ),
    413: (
        "proxy_body_too_large",
        "takes no body of that size",
        "Raise the proxy's limit to the node's limits.body_bytes.",
    ),
    429: (
        "proxy_busy",
        "gets too many requests",
        "Send the request again in a while; raise the proxy's limit.",
    ),
    502: (
        "proxy_bad_gateway",
        "could not reach the node, or lost it; whether the node acted is not known",
        _REPEAT,
    ),
    503: ("proxy_unavailable", "has no node to pass the request to", _REPEAT),
}
_PROXIES |= {403: _PROXIES[401], 407: _PROXIES[401], 504: _PROXIES[408]}
"""By status: code, what the proxy did, and what to do next."""

MAX_PROBLEM_BYTES = 65_536
MAX_TEXT = 500
"""Characters of a sentence, a hint or a value of a problem's context."""
_MAX_ITEMS = 50
_MAX_DEPTH = 3
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MEMBER = re.compile(r"[0-9A-Z]{18}")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, content type and body of an HTTP answer."""

    status: int
    content_type: str
    body: bytes

    @property
    def refused(self) -> bool:
        """Whether the status refuses the request. Nodes never redirect."""
        return self.status >= 300


def peer_refusal(member: str, address: str, answer: HttpAnswer) -> QiaolianError:
    """Return the error of a peer's refusal at ``address`` (``host:port``): the peer's own code,
    refused by that peer, or ``not_a_node`` or a ``proxy_…`` code if no node answered.
    """
    problem = _problem(answer)
    if problem is None:
        return foreign(answer, RefusedBy(Refuser.PROXY, member, address))
    error = _as_error(answer, problem)
    error.context["peer"] = member
    return error.by(RefusedBy(Refuser.PEER, member, address))


def node_refusal(address: str, answer: HttpAnswer) -> QiaolianError:
    """Return the error of the own node's refusal at ``address``. The own node is trusted to name
    who refused.
    """
    problem = _problem(answer)
    if problem is None:
        return foreign(answer, RefusedBy(Refuser.PROXY, address=address))
    return _as_error(answer, problem).by(
        _refused_by(problem.get("refusedBy"), RefusedBy(address=address))
    )


def foreign(answer: HttpAnswer, proxy: RefusedBy) -> QiaolianError:
    """Return the error for an answer that no node wrote: ``not_a_node`` or a code by status."""
    known = _PROXIES.get(answer.status)
    if known is None:
        return Unavailable(
            "not_a_node",
            f"What answers at {proxy.address} is no node of the network (status {answer.status}).",
            hint="Check the address: a proxy or another program may be listening there.",
        ).by(replace(proxy))
    code, act, hint = known
    error = (QiaolianError if answer.status == 413 else Unavailable)(
        code, f"A proxy before the node at {proxy.address} {act}.", hint=hint
    )
    error.status = 413 if answer.status == 413 else 503
    return error.by(proxy)


def _problem(answer: HttpAnswer) -> Mapping[str, Any] | None:
    """The answer's problem if a node wrote it: its type names its code, and its status is the
    answer's.
    """
    if (
        len(answer.body) > MAX_PROBLEM_BYTES
        or answer.content_type.partition(";")[0].strip().lower() != "application/problem+json"
    ):
        return None
    try:
        problem = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(problem, dict):
        return None
    code, sentence = problem.get("code"), problem.get("detail")
    if not isinstance(code, str) or not _CODE.fullmatch(code) or not isinstance(sentence, str):
        return None
    right = (
        problem.get("type") == problem_type(code)
        and problem.get("status") == answer.status
        and answer.status >= 400
    )
    return problem if right else None


def _as_error(answer: HttpAnswer, problem: Mapping[str, Any]) -> QiaolianError:
    hint = problem.get("hint", "")
    kind = _BY_STATUS.get(answer.status, QiaolianError)
    error = kind(
        problem["code"],
        bounded(problem["detail"]),
        hint=bounded(hint) if isinstance(hint, str) else "",
    )
    names = [
        name
        for name in problem
        if name not in _RESERVED and name.isidentifier() and len(name) <= 64
    ]
    error.context.update((name, _plain(problem[name])) for name in names[:_MAX_ITEMS])
    error.status = answer.status
    return error


def _refused_by(value: Any, otherwise: RefusedBy) -> RefusedBy:
    if not isinstance(value, dict) or value.get("kind") not in set(Refuser):
        return otherwise
    member, address = value.get("member", ""), value.get("address", "")
    if not isinstance(member, str) or not isinstance(address, str):
        return otherwise
    return RefusedBy(
        Refuser(value["kind"]),
        member if _MEMBER.fullmatch(member) else "",
        printable(address, limit=120),
    )


def bounded(text: str) -> str:
    """Return an untrusted text as one printable line of at most ``MAX_TEXT`` characters."""
    return printable(text[:MAX_TEXT])


def _plain(value: Any, depth: int = 0) -> Any:
    """Bound an untrusted JSON value: what is too deep, or no text, integer or boolean, becomes
    null.
    """
    if isinstance(value, str):
        return bounded(value)
    if isinstance(value, int):
        return value if value.bit_length() <= 256 else None
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_plain(item, depth + 1) for item in value[:_MAX_ITEMS]]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {
            bounded(name)[:64]: _plain(item, depth + 1)
            for name, item in list(value.items())[:_MAX_ITEMS]
        }
    return None
