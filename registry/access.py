"""Who is asking, as the node's middleware established it, and the guards endpoints put in front of
themselves.

They are coroutines because the framework runs plain functions in threads, which costs a metered
call more than its signatures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from chain.context import Context
from chain.core.canonical import loads
from chain.core.database import Change
from chain.core.errors import BadInput, Forbidden, Malformed, Unauthorised
from registry.list_limits import DEFAULT_ROWS, MAX_CURSOR_CHARACTERS, MAX_ROWS
from registry.pages import PageRequest

NonNegativeInt = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A count, index or height in a request, within what JSON and every database represent exactly."""

_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2})*")
"""Python's own reader passes over spaces: one id would have many names."""
LOCAL_ROLES = ("system", "clerk", "officer", "auditor", "administrator")


@dataclass(frozen=True)
class Principal:
    """A caller: another member's node (``member``), or someone of the node's own organisation
    (``local``) with roles.
    """

    kind: str
    member: str
    roles: frozenset[str] = frozenset()
    person: str = ""
    """Which of the organisation's access tokens it is, such as ``token:core-banking``."""


ACT_CHANGE = "act_change"


def act_change(request: Request) -> Change | None:
    """Store the request's act; for a service that stores its result in the same transaction."""
    found: Change | None = request.scope["state"].get(ACT_CHANGE)
    return found


async def get_context(request: Request) -> Context:
    """The node's context."""
    context: Context = request.app.state.context
    return context


def get_principal(request: Request) -> Principal | None:
    """The caller, or None for a stranger."""
    principal: Principal | None = getattr(request.state, "principal", None)
    return principal


async def require_member(request: Request) -> Principal:
    """The calling member's node."""
    principal = get_principal(request)
    if principal is None:
        raise Unauthorised(
            "token_missing", "This is for members' nodes.", hint="Send a node-to-node token."
        )
    if principal.kind != "member":
        raise Forbidden("member_only", "This is for members' nodes, not for people or systems.")
    return principal


@dataclass(frozen=True)
class LocalGuard:
    """Admits people and systems of the node's own organisation that hold one of the roles."""

    roles: tuple[str, ...]

    async def __call__(self, request: Request) -> Principal:
        """The caller.

        Raises:
            Unauthorised: ``access_token_missing``; Forbidden: ``role_missing``.
        """
        principal = get_principal(request)
        if principal is None:
            raise Unauthorised(
                "access_token_missing", "This needs an access token of this organisation."
            )
        if principal.kind != "local" or not principal.roles & set(self.roles):
            raise Forbidden(
                "role_missing", f"This is for {' or '.join(self.roles)} of this organisation."
            )
        return principal


def require_local(*roles: str) -> LocalGuard:
    """The guard for these roles."""
    return LocalGuard(roles)


async def strict_json(request: Request) -> dict[str, Any]:
    """The body as strict JSON: no duplicate keys, no floats, bounded depth. For bodies that carry
    signed statements.

    A node's middleware has read it so already and left it with the request.
    """
    try:
        value = (
            request.state.json if hasattr(request.state, "json") else loads(await request.body())
        )
    except Malformed as error:
        raise BadInput(error.code, error.sentence, hint=error.hint) from error
    if not isinstance(value, dict):
        raise BadInput("body_not_object", "The body is not a JSON object.")
    return value


def field(body: Any, name: str, kind: type) -> Any:
    """A required field of a strict body, or of an object in it."""
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadInput(
            "field_missing", f"The body lacks the field {name}, or it has another type.", field=name
        )
    return value


def hex_field(body: dict[str, Any], name: str, *, length: int | None = None) -> bytes:
    """A required field in 0x hex."""
    text = field(body, name, str)
    data = bytes.fromhex(text.removeprefix("0x")) if _HEX.fullmatch(text) else None
    if data is None or (length is not None and len(data) != length):
        raise BadInput(
            "field_malformed",
            f"The field {name} is not 0x hexadecimal of the right length.",
            field=name,
        )
    return data


def hex_bytes(text: str, *, length: int = 32) -> bytes:
    """A path parameter in 0x hex."""
    return hex_field({"id": text}, "id", length=length)


def page_request(
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS, description="Rows of a page.")] = DEFAULT_ROWS,
    cursor: Annotated[
        str,
        Query(max_length=MAX_CURSOR_CHARACTERS, description="The `next` of the page before."),
    ] = "",
) -> PageRequest:
    """The paging parameters of an endpoint, for ``Depends``."""
    return PageRequest(limit, cursor)
