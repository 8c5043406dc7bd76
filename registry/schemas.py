"""Parts that several endpoints' answers share, as the API describes them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

Statement = dict[str, Any]
"""A signed statement's fields; docs/statements.md lists each type."""

BUNDLE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bundle, for `qiaolian verify`",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
"""For ``responses`` of an endpoint that answers with a bundle's bytes."""


class RefusedByAnswer(BaseModel):
    """Who refused a request; a member or an address is left out where it is not known."""

    kind: str = Field(description="`node`, `peer`, `proxy`, `chain` or `clock`")
    member: str = ""
    address: str = ""


class QueuedCall(BaseModel):
    """A contract call that is queued; `GET /v1/operations/{operation}` shows how it ends."""

    operation: str


class SignedStatementAnswer(BaseModel):
    """A statement with its signature, in 0x hex."""

    statement: Statement = Field(description="See docs/statements.md")
    signature: str
