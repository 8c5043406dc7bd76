"""How endpoints that read strict JSON themselves describe their bodies, since the framework does
not see what they take.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from chain.ethereum.eip712 import Struct
from chain.statements.examples import example

SIGNATURE = "0x" + "11" * 64 + "1b"
OPEN_TO_STRANGERS = {"x-open-to-strangers": True}
"""For ``openapi_extra`` of an endpoint whose body proves itself: a node reads a small body there
from callers without a token.
"""
LARGE_BODY = {"x-large-body": True}
"""For ``openapi_extra`` of an endpoint that takes many items at once; elsewhere a body is one
statement.
"""
STREAMED_BODY = {"x-streamed-body": True}
"""For ``openapi_extra`` of an endpoint of the organisation's own systems that reads its body while
it answers. The node's middleware reads none of it and bounds none of it.
"""
SALT = "0x" + "5a" * 32


def strict_body(**fields: Any) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint whose body has exactly these fields: each a statement's
    type, or an example of the value.
    """
    shown = {name: _shown(value) for name, value in fields.items()}
    schema = {
        "type": "object",
        "required": list(shown),
        "properties": {
            name: {**_schema(fields[name]), "example": value} for name, value in shown.items()
        },
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": shown}},
        }
    }


def lines_of(model: type[BaseModel]) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint whose body has a JSON object of this model in each
    line.
    """
    schema = model.model_json_schema()
    content = {"application/x-ndjson": {"schema": schema, "example": schema.get("example")}}
    return {"requestBody": {"required": True, "content": content}}


FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "id,age\nA1,31\n",
            }
        },
    }
}
"""The ``openapi_extra`` of an endpoint whose body is a file."""


def _shown(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, Struct):
        return example(value).to_json()
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def _schema(value: Any) -> dict[str, Any]:
    if isinstance(value, type):
        return {"type": "object", "title": value.__name__, "description": "See docs/statements.md."}
    kinds: dict[type, str] = {dict: "object", list: "array", bool: "boolean", int: "integer"}
    return {"type": kinds.get(type(value), "string")}
