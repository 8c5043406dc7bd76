"""Requests about offers and agreements to other members' nodes, and how their answers are read."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement
from exchange.agreements.model import (
    AgreementStage,
    CurrentOffer,
    Offer,
    ProposalRefusal,
    SignedTerms,
)
from registry.pages import Page, PageRequest, require_next


async def offers_of(context: Context, provider: str, page: PageRequest) -> Page[Offer]:
    """A page of another member's offers to this one; ``offer_malformed``, ``peer_unknown``."""
    asked = {"limit": page.limit} | ({"cursor": page.cursor} if page.cursor else {})
    answer = await context.peers.get(provider, f"/v1/peer/offers?{urlencode(asked)}")
    reported = answer.get("offers") if isinstance(answer, dict) else None
    try:
        if not isinstance(answer, dict) or not isinstance(reported, list):
            raise ValueError("offers")
        if len(reported) > page.limit:
            raise ValueError("limit")
        offers = [Offer.from_json(offered) for offered in reported]
        return Page(offers, require_next(answer.get("next")))
    except ValueError as error:
        raise BadInput(
            "offer_malformed", "The provider's node does not list its offers in the form expected."
        ) from error


async def current_offer(context: Context, terms: GrantTerms) -> CurrentOffer:
    """The provider's offer for an asset version now; ``not_offered``, ``offer_malformed``."""
    path = f"/v1/peer/offers/0x{terms.asset_id.hex()}/{terms.asset_version}"
    answer = await context.peers.get(terms.owner, path)
    key = answer.get("providerKey") if isinstance(answer, dict) else None
    if not isinstance(key, str):
        raise BadInput(
            "offer_malformed", "The provider's node does not show its offer in the form expected."
        )
    return CurrentOffer(Offer.from_json(answer.get("offer")), key)


async def countersignature(
    context: Context, agreement: Agreement, terms: GrantTerms, signature: bytes, *, height: int
) -> bytes | ProposalRefusal:
    """The provider's signature of a proposal, or why it refuses.

    Args:
        signature: the buyer's.
        height: the block by which this node proved grant and balance.

    Raises:
        BadInput: ``field_malformed``; Unavailable: the provider cannot decide now.
    """
    body = {
        "agreement": agreement.to_json(),
        "terms": terms.to_json(),
        "signature": "0x" + signature.hex(),
        "height": height,
    }
    answer = await context.peers.post(agreement.provider, "/v1/peer/agreements", body)
    answer = answer if isinstance(answer, dict) else {}
    if "refusal" not in answer:
        return _signature(answer.get("signature"))
    refusal = answer["refusal"]
    if not isinstance(refusal, dict):
        return ProposalRefusal("", "")
    return ProposalRefusal(str(refusal.get("code")), str(refusal.get("detail")))


async def report_end(
    context: Context, provider: str, agreement_id: bytes, state: AgreementStage, reason: str
) -> None:
    """Report to the provider how this buyer's proposal ended; ``unknown_agreement``."""
    body = {"state": state, "reason": reason}
    await context.peers.post(provider, f"/v1/peer/agreements/0x{agreement_id.hex()}/end", body)


async def signed_terms(context: Context, member: str, agreement_id: bytes) -> SignedTerms:
    """What both parties signed, as the other one shows it; nothing of it is checked here.

    Raises:
        BadInput: ``other_agreement``, ``field_malformed``; Unavailable: it cannot be asked.
    """
    shown = await context.peers.get(member, f"/v1/peer/agreements/0x{agreement_id.hex()}/signed")
    if not isinstance(shown, dict):
        raise BadInput("other_agreement", "The other party shows no agreement.")
    return SignedTerms(
        agreement=Agreement.from_json(shown.get("agreement")),
        terms=GrantTerms.from_json(shown.get("terms")),
        provider_signature=_signature(shown.get("providerSignature")),
        buyer_signature=_signature(shown.get("buyerSignature")),
    )


def _signature(value: Any) -> bytes:
    try:
        return schema.signature(value)
    except ValueError as error:
        raise BadInput("field_malformed", "A signature is not 0x hexadecimal.") from error
