"""What the parties' nodes of a deal send to one another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps, loads
from chain.core.errors import BadInput
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry import fanout
from registry.property.model import CertifiedKey, Deal, DealDisclosure, SignedStep, StoredStep
from registry.property.rules import members_of, step_holder

DELIVERY_SECONDS = 10.0
"""How long another party's node may take to accept a step at once."""


# --- Deals ----------------------------------------------------------------------------------------


async def share_deal(context: Context, deal: Deal) -> None:
    """Send a new deal to every other party's node; raises whatever refusal one of them gives."""
    body = deal_json(deal)
    others = [name for name in members_of(deal.terms) if name != context.member]
    await asyncio.gather(*(context.peers.post(other, "/v1/peer/deals", body) for other in others))


async def fetch_bundle(context: Context, terms: DealTerms) -> bytes:
    """A deal's bundle from its registration centre's node."""
    path = f"/v1/peer/deals/0x{terms.struct_hash().hex()}/bundle"
    return dumps(await context.peers.get(terms.registrar, path))


def deal_json(deal: Deal) -> dict[str, Any]:
    """A deal as its agent sends it; ``content_not_received``."""
    disclosed = deal.require_disclosed()
    return {
        "terms": deal.terms.to_json(),
        "content": dict(disclosed.content),
        "contentSalt": "0x" + disclosed.salt.hex(),
        "title": disclosed.title.to_json(),
        "titleSignature": "0x" + disclosed.title_signature.hex(),
        "certificates": [disclosed.seller.to_json(), disclosed.buyer.to_json()],
    }


def read_deal(value: Mapping[str, Any]) -> Deal:
    """Read what ``deal_json`` writes; nothing in it is checked but its form.

    Raises:
        BadInput: ``deal_malformed``, ``certificate_malformed``.
    """
    try:
        certificates = [CertifiedKey.from_json(item) for item in value["certificates"]]
        if len(certificates) != 2:
            raise BadInput(
                "deal_malformed", "A deal comes with the seller's and the buyer's certificate."
            )
        disclosed = DealDisclosure(
            content=value["content"],
            salt=schema.salt(value["contentSalt"]),
            title=TitleStatement.from_json(value["title"]),
            title_signature=schema.signature(value["titleSignature"]),
            seller=certificates[0],
            buyer=certificates[1],
        )
        return Deal(DealTerms.from_json(value["terms"]), disclosed)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "deal_malformed", "A deal lacks a part or has one of the wrong form."
        ) from error


# --- Steps ----------------------------------------------------------------------------------------


async def deliver(context: Context, terms: DealTerms, step: StoredStep) -> None:
    """Give a signed step to the other parties at once. A node that misses it fetches it once the
    chain has the step (``delivery``).
    """
    body = step_json(step)
    path = f"/v1/peer/deals/0x{terms.struct_hash().hex()}/steps"
    others = [name for name in members_of(terms) if name != context.member]
    await fanout.for_each(
        others, lambda member: context.peers.post(member, path, body), seconds=DELIVERY_SECONDS
    )


async def fetch_step(context: Context, terms: DealTerms, step: StepKind) -> SignedStep:
    """A signed step from the party that signed it; nothing in it is checked but its form.

    Raises:
        BadInput: ``step_malformed``; Unavailable: the party cannot be reached; and whatever refusal
            it gives.
    """
    path = f"/v1/peer/deals/0x{terms.struct_hash().hex()}/steps/{int(step)}"
    found = await context.peers.get(step_holder(terms, step), path)
    try:
        answer = loads(dumps(found))
    except (ValueError, RecursionError) as error:
        raise BadInput("step_malformed", "The party's answer is no strict JSON.") from error
    signed = read_step(answer)
    if signed.statement.step != step:
        raise BadInput(
            "step_malformed", "The party answered with another step than it was asked for."
        )
    return signed


def step_json(step: StoredStep) -> dict[str, Any]:
    """A step as its party sends it."""
    return {
        "statement": step.statement.to_json(),
        "signature": None if step.signature is None else "0x" + step.signature.hex(),
        "record": None if step.record is None else dict(step.record),
        "salt": None if step.salt is None else "0x" + step.salt.hex(),
    }


def read_step(value: Any) -> SignedStep:
    """Read what ``step_json`` writes; ``step_malformed``."""
    try:
        salt, record = value.get("salt"), value.get("record")
        if record is not None and not isinstance(record, dict):
            raise ValueError("record")
        return SignedStep(
            statement=DealStep.from_json(value["statement"]),
            signature=schema.signature(value["signature"]),
            record=record,
            salt=None if salt is None else schema.salt(salt),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "step_malformed", "A signed step lacks a part or has one of the wrong form."
        ) from error
