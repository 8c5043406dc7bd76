"""Recovers agreements that a restored database lost from the chain and the other party."""

from __future__ import annotations

import asyncio

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from exchange.agreements import peers, rules, store
from exchange.agreements.model import AgreementSide, SignedAgreement, SignedTerms
from exchange.agreements.service import CONTRACT, load
from registry.evidence.log import append_if_missing


def of_member(session: Session, member: str) -> list[bytes]:
    """Opened agreements of the member, including those a restored database knows only by events."""
    return store.opened_by(session, member)


def side_of(session: Session, member: str, agreement_id: bytes) -> AgreementSide:
    """The member's side of an agreement, by the agreement's own terms."""
    row = store.get(session, agreement_id)
    return AgreementSide.PROVIDER if row.provider == member else AgreementSide.BUYER


def signed_by_both(context: Context, caller: str, agreement_id: bytes) -> SignedTerms:
    """An agreement with its grant's terms and both signatures, for the other party;
    ``not_party``.
    """
    signed = load(context, agreement_id)
    if (
        signed.side == AgreementSide.OBSERVER
        or signed.terms is None
        or caller not in (signed.agreement.provider, signed.agreement.buyer)
    ):
        raise Forbidden("not_party", "What both signed is for the agreement's parties.")
    return SignedTerms(
        signed.agreement, signed.terms, signed.provider_signature, signed.buyer_signature
    )


async def recover(context: Context, agreement_id: bytes) -> SignedAgreement:
    """An agreement of this member, recovered from the other party if the database has only the
    chain's event.

    Raises:
        BadInput: ``other_agreement``, ``other_grant``, ``grant_mismatch``, ``field_malformed``;
            Forbidden: ``wrong_signer``; Unavailable: when the other party cannot be asked.
    """
    signed = await asyncio.to_thread(load, context, agreement_id)
    if (
        signed.side != AgreementSide.OBSERVER
        and signed.provider_signature
        and signed.buyer_signature
    ):
        return signed
    other = (
        signed.agreement.buyer
        if signed.agreement.provider == context.member
        else signed.agreement.provider
    )
    shown = await peers.signed_terms(context, other, agreement_id)
    agreement, domain = shown.agreement, context.domain(CONTRACT)
    if agreement.struct_hash() != agreement_id:
        raise BadInput("other_agreement", "The other party shows another agreement.")
    rules.require_grant(agreement, shown.terms)
    rules.require_signature(agreement, shown.provider_signature, agreement.provider_key, domain)
    rules.require_signature(agreement, shown.buyer_signature, agreement.buyer_key, domain)

    def change(session: Session) -> None:
        row = store.get(session, agreement_id)
        row.side = side_of(session, context.member, agreement_id)
        row.terms = shown.terms.to_json()
        row.provider_signature = shown.provider_signature
        row.buyer_signature = shown.buyer_signature
        append_if_missing(
            session,
            kind=type(agreement).__name__,
            digest=agreement.digest(domain),
            at=context.now(),
        )

    await context.database.awrite(change)
    return await asyncio.to_thread(load, context, agreement_id)
