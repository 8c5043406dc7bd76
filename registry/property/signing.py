"""What a deal's seller and buyer sign, on their own machines: the terms are checked against what
they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.core import schema
from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.statements.commitment import opens
from chain.statements.property import DealStep, DealTerms, StepKind
from registry.property.model import Deal
from registry.property.rules import DEAL_DOMAIN, NATURAL_PERSONS


def reviewed(drawn: Any) -> tuple[DealTerms, Mapping[str, Any]]:
    """Terms and content of a deal as its agent handed it over (``dealId``, ``terms``, ``content``,
    ``contentSalt``).

    Raises:
        BadInput: ``deal_malformed``; ``deal_differs`` when the id or the commitment is of something
            else.
    """
    try:
        terms, content = DealTerms.from_json(drawn["terms"]), drawn["content"]
        opened = opens(
            terms.content,
            salt=schema.salt(drawn["contentSalt"]),
            domain=DEAL_DOMAIN,
            record=content,
        )
        deal_id = drawn["dealId"]
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "deal_malformed", "A deal lacks a part or has one of the wrong form."
        ) from error
    if "0x" + terms.struct_hash().hex() != deal_id or not opened:
        raise BadInput(
            "deal_differs",
            "What is shown of the deal is not what its id commits to.",
            hint="Do not sign; ask the agent for the deal again.",
        )
    return terms, content


def described(deal: Deal) -> dict[str, Any]:
    """A deal as ``reviewed`` takes it: id, terms, content and what opens the commitment."""
    disclosed = deal.require_disclosed()
    return {
        "dealId": "0x" + deal.deal_id.hex(),
        "terms": deal.terms.to_json(),
        "content": dict(disclosed.content),
        "contentSalt": "0x" + disclosed.salt.hex(),
    }


def step_of(terms: DealTerms, step: StepKind, *, now: int) -> DealStep:
    """The seller's or buyer's step to be signed."""
    return DealStep(
        version=1, deal_id=terms.struct_hash(), step=int(step), content=terms.content, signed_at=now
    )


def step_for(terms: DealTerms, address: str) -> StepKind:
    """Whose step a key signs; ``wrong_party`` for a key that is neither the seller's nor the
    buyer's.
    """
    for step, key in zip(NATURAL_PERSONS, (terms.seller, terms.buyer), strict=True):
        if key == address:
            return step
    raise Forbidden("wrong_party", "The key is neither the seller's nor the buyer's of this deal.")
