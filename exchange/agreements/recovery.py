"""Recovers agreements that a restored database lost from the chain and the other party."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, Forbidden
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement
from exchange.agreements import rules
from exchange.agreements.model import (
    AgreementSide,
    SignedAgreement,
)
from exchange.agreements.service import CONTRACT, load
from exchange.agreements.store import AgreementRow
from registry.evidence.log import append_if_missing


def of_member(session: Session, member: str) -> list[bytes]:
    """Opened agreements of the member, including those a restored database knows only by events."""
    query = sa.select(AgreementRow.agreement_id).where(
        sa.or_(AgreementRow.provider == member, AgreementRow.buyer == member)
    )
    return list(
        session.scalars(
            query.where(AgreementRow.opened_at.is_not(None)).order_by(AgreementRow.opened_at)
        )
    )


def side_of(session: Session, member: str, agreement_id: bytes) -> AgreementSide:
    """The member's side of an agreement, by the agreement's own terms."""
    row = session.get_one(AgreementRow, agreement_id)
    return AgreementSide.PROVIDER if row.provider == member else AgreementSide.BUYER


def signed_by_both(context: Context, caller: str, agreement_id: bytes) -> dict[str, Any]:
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
    return {
        "agreement": signed.agreement.to_json(),
        "terms": signed.terms.to_json(),
        "providerSignature": "0x" + signed.provider_signature.hex(),
        "buyerSignature": "0x" + signed.buyer_signature.hex(),
    }


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
    reported = await context.peers.get(other, f"/v1/peer/agreements/0x{agreement_id.hex()}/signed")
    if not isinstance(reported, dict):
        raise BadInput("other_agreement", "The other party shows no agreement.")
    agreement, terms = (
        Agreement.from_json(reported.get("agreement")),
        GrantTerms.from_json(reported.get("terms")),
    )
    if agreement.struct_hash() != agreement_id:
        raise BadInput("other_agreement", "The other party shows another agreement.")
    rules.require_grant(agreement, terms)
    domain, provider_signature, buyer_signature = (
        context.domain(CONTRACT),
        _hex(reported.get("providerSignature")),
        _hex(reported.get("buyerSignature")),
    )
    rules.require_signature(agreement, provider_signature, agreement.provider_key, domain)
    rules.require_signature(agreement, buyer_signature, agreement.buyer_key, domain)

    def change(session: Session) -> None:
        row = session.get_one(AgreementRow, agreement_id)
        row.side, row.terms = side_of(session, context.member, agreement_id), terms.to_json()
        row.provider_signature, row.buyer_signature = provider_signature, buyer_signature
        append_if_missing(
            session,
            kind=type(agreement).__name__,
            digest=agreement.digest(domain),
            at=context.now(),
        )

    await context.database.awrite(change)
    return await asyncio.to_thread(load, context, agreement_id)


def _hex(value: Any) -> bytes:
    try:
        return schema.signature(value)
    except ValueError as error:
        raise BadInput("field_malformed", "A signature is not 0x hexadecimal.") from error
