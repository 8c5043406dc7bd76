"""What several endpoints answer with."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Queued(BaseModel):
    """A contract call that the node promised to make."""

    operation: str = Field(description="GET /v1/operations/{operation} says how it ends")
