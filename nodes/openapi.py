"""The node's description at ``/openapi.json``: what the framework derives from the endpoints, and
what holds for all of them.

Every endpoint may answer with a problem, and every one states whose authority it asks for: a bearer
token of the organisation with one of the roles, another member's node token, or none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from nodes.tokens import SCHEME
from registry.access import LocalGuard
from registry.schemas import RefusedByAnswer

ORGANISATION = "organisation"
NODE = "node"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_SCHEMES = {
    ORGANISATION: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of this organisation for one of the roles.",
    },
    NODE: {
        "type": "http",
        "scheme": SCHEME.lower(),
        "description": "A token that another member's node issues for one request.",
    },
}


class Problem(BaseModel):
    """A refusal (RFC 9457); an error may add members of its own."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(description="Relative reference to the code in docs/errors.md")
    title: str
    status: int
    detail: str = Field(description="One sentence on what is wrong")
    code: str = Field(description="Stable; for programs")
    refusedBy: RefusedByAnswer
    hint: str = Field("", description="What to do next")


class DescribedApp(FastAPI):
    """An application whose description states refusals and authority."""

    endpoints: Sequence[APIRoute] = ()
    """The endpoints that are described."""
    _described: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self._described is None:
            self._described = copy.deepcopy(super().openapi())
            _complete(self._described, self.endpoints)
        return self._described


def _complete(document: dict[str, Any], endpoints: Sequence[APIRoute]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = _SCHEMES
    for endpoint in endpoints:
        for method in endpoint.methods or ():
            operation = document["paths"][endpoint.path_format][method.lower()]
            _describe_problems(operation["responses"])
            operation["security"] = _security(endpoint)


def _describe_problems(responses: dict[str, Any]) -> None:
    """Give every refusal its schema; the range codes cover those that are not listed."""
    responses.pop("422", None)
    for answer in (answer for status, answer in responses.items() if int(status) >= 400):
        content = answer.pop("content", {}).get("application/json", {"schema": _PROBLEM})
        answer["content"] = {"application/problem+json": content}
    for status in ("4XX", "5XX"):
        responses[status] = {
            "description": "Refused",
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }


def _security(route: APIRoute) -> list[dict[str, list[str]]]:
    """The schemes an endpoint accepts; none for an endpoint whose body proves itself."""
    if (route.openapi_extra or {}).get("x-open-to-strangers"):
        return []
    if route.path.startswith("/v1/peer/"):
        return [{NODE: []}]
    return [{ORGANISATION: list(roles)} for roles in _roles(route.dependant)]


def _roles(dependant: Dependant) -> Iterator[Sequence[str]]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, LocalGuard):
            yield dependency.call.roles
        yield from _roles(dependency)
