"""What can go wrong, with the node's own stable codes."""

from __future__ import annotations

from pydantic import ValidationError

from qiaolian_client.models import Problem


class QiaolianClientError(Exception):
    """Any failure of a request."""


class NodeUnreachable(QiaolianClientError):
    """No answer came: refused connection, broken connection, time-out or a wrong certificate.

    Whether the node acted is not known. Repeat an operation that is repeatable.
    """


class NodeRefused(QiaolianClientError):
    """The node, or a proxy before it, refused.

    ``code`` is stable and listed in docs/errors.md; an answer that no node wrote has
    ``not_a_node``. ``hint`` says what to do next. ``problem`` holds the whole answer.
    """

    def __init__(self, status: int, problem: Problem | None) -> None:
        self.status = status
        self.problem = problem
        self.code = problem.code if problem else "not_a_node"
        self.detail = problem.detail if problem else f"Something that is no node answered {status}."
        self.hint = (problem.hint or "") if problem else "Check the address and proxies before it."
        super().__init__(f"{self.detail} [{self.code}] {self.hint}".rstrip())


def refusal(status: int, content_type: str, body: bytes) -> NodeRefused:
    """An answer of status 300 or more as the error it reports."""
    if content_type.partition(";")[0].strip().lower() != "application/problem+json":
        return NodeRefused(status, None)
    try:
        return NodeRefused(status, Problem.model_validate_json(body))
    except ValidationError:
        return NodeRefused(status, None)
