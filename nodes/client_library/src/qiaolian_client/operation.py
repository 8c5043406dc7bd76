"""Operations and plans: what to ask a node for, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Row = TypeVar("Row")

Plan = Generator["Operation[Any]", Any, Result]
"""Yields operations, is sent their answers, and returns the result."""

MAX_ROWS = 200
"""The most rows that a node puts on a page."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Answer]):
    """One request, and how its answer is read.

    ``repeatable``: sending it twice has the effect of sending it once, so a client may repeat it
    after a lost connection.
    """

    method: Literal["GET", "POST"]
    path: str
    parse: Callable[[bytes], Answer]
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: BaseModel | None = None
    idempotency_key: str | None = None
    repeatable: bool = True

    def content(self) -> bytes | None:
        """The JSON body; fields that were not set are left to the node's defaults."""
        if self.body is None:
            return None
        return self.body.model_dump_json(by_alias=True, exclude_unset=True).encode()


def get(path: str, answer: type[Model], **query: str | int | None) -> Operation[Model]:
    """A read; parameters that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return Operation("GET", path, answer.model_validate_json, given)


def post(
    path: str, answer: type[Model], body: BaseModel, *, idempotency_key: str | None = None
) -> Operation[Model]:
    """A write; it is repeatable only under an idempotency key."""
    return Operation(
        "POST",
        path,
        answer.model_validate_json,
        body=body,
        idempotency_key=idempotency_key,
        repeatable=idempotency_key is not None,
    )


def every_page(
    first: Operation[Model],
    rows: Callable[[Model], list[Row]],
    following: Callable[[Model], str | None],
) -> Plan[list[Row]]:
    """Every row of a list, page after page."""
    found: list[Row] = []
    page = replace(first, query={**first.query, "limit": MAX_ROWS})
    while True:
        answer: Model = yield page
        found.extend(rows(answer))
        cursor = following(answer)
        if cursor is None:
            return found
        page = replace(page, query={**page.query, "cursor": cursor})
