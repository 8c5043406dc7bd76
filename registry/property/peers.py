"""Signed steps sent to the other parties of a deal."""

from __future__ import annotations

from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput
from chain.statements.property import DealStep, DealTerms, StepKind
from registry import fanout
from registry.property.rules import (
    members_of,
)
from registry.property.store import StepRow

DELIVERY_SECONDS = 10.0
"""How long another party's node may take to accept a step at once."""


async def deliver(context: Context, terms: DealTerms, deal_id: bytes, step: StepKind) -> None:
    """Give a signed step to the other parties at once. A node that misses it fetches it
    once the chain has the step (``delivery``).
    """
    body = await context.database.aread(
        lambda session: step_json(session.get_one(StepRow, (deal_id, int(step))))
    )
    path = f"/v1/peer/deals/0x{deal_id.hex()}/steps"
    others = [name for name in members_of(terms) if name != context.member]
    await fanout.for_each(
        others, lambda member: context.peers.post(member, path, body), seconds=DELIVERY_SECONDS
    )


def step_json(row: StepRow) -> dict[str, Any]:
    return {
        "statement": row.statement,
        "signature": None if row.signature is None else "0x" + row.signature.hex(),
        "record": row.record,
        "salt": None if row.salt is None else "0x" + row.salt.hex(),
    }


def read_step(value: Any) -> tuple[DealStep, bytes, dict[str, Any] | None, bytes | None]:
    try:
        salt = value.get("salt")
        return (
            DealStep.from_json(value["statement"]),
            schema.signature(value["signature"]),
            value.get("record"),
            None if salt is None else schema.salt(salt),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "step_malformed", "A signed step lacks a part or has one of the wrong form."
        ) from error
