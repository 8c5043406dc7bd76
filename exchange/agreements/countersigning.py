"""The provider's side of a proposal: check it and sign it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import ChainUnavailable, Conflict, Forbidden
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement
from exchange.agreements import rules, stages, store
from exchange.agreements.model import ENDED, AgreementSide, AgreementStage, SignedTerms
from exchange.agreements.offers import find_offer
from exchange.agreements.service import CONTRACT
from exchange.agreements.store import AgreementRow
from registry.assets import serving
from registry.evidence.log import append_statement


def countersign(
    context: Context,
    buyer: str,
    agreement: Agreement,
    terms: GrantTerms,
    signature: bytes,
    *,
    height: int = 0,
) -> bytes:
    """This provider's signature of a buyer's proposal that keeps to its offer and that the chain
    would open; the same proposal again gives the same signature.

    Args:
        height: the block by which the buyer's node proved grant and balance; below it this node's
            view decides nothing.

    Raises:
        Unavailable: ``chain_view_behind``, ``chain_view_stale``: to be asked again. Every other
            refusal is final.
    """
    domain = context.domain(CONTRACT)
    _require_sender(context, buyer, agreement)
    rules.require_grant(agreement, terms)
    rules.require_signature(agreement, signature, agreement.buyer_key, domain)
    agreement_id = agreement.struct_hash()
    own = _signed_before(context, agreement_id)
    if own is None:
        _require_own_key(context, agreement)
        _require_proposal(context, agreement, height=height)
        own = context.sign(agreement)
    signed = SignedTerms(agreement, terms, provider_signature=own, buyer_signature=signature)

    def change(session: Session) -> None:
        stored = store.find(session, agreement_id)
        if stored is None:
            store.add(session, _signed_row(signed, now=context.now()))
            append_statement(session, agreement, domain, at=context.now())
        elif stored.provider_signature is None:
            # The chain's event came first, from a node that lost this row.
            stored.side, stored.terms = AgreementSide.PROVIDER, terms.to_json()
            stored.provider_signature, stored.buyer_signature = own, signature

    context.database.write(change)
    return own


def _signed_row(signed: SignedTerms, *, now: int) -> AgreementRow:
    agreement = signed.agreement
    return AgreementRow(
        agreement_id=agreement.struct_hash(),
        side=AgreementSide.PROVIDER,
        state=AgreementStage.SIGNED,
        state_since=now,
        provider=agreement.provider,
        buyer=agreement.buyer,
        agreement=agreement.to_json(),
        terms=signed.terms.to_json(),
        provider_signature=signed.provider_signature,
        buyer_signature=signed.buyer_signature,
        proposed_at=now,
        paid=0,
        refunded=0,
    )


def _signed_before(context: Context, agreement_id: bytes) -> bytes | None:
    """This provider's signature of an earlier try, which no later change of its offer takes back;
    ``proposal_ended``.
    """
    with context.database.read() as session:
        row = store.find(session, agreement_id)
    if row is None or row.provider_signature is None:
        return None
    if row.state in ENDED:
        stages.require_pending(AgreementStage(row.state), row.reason)
    return row.provider_signature


def _require_sender(context: Context, buyer: str, agreement: Agreement) -> None:
    if agreement.provider != context.member:
        raise Forbidden("not_provider", "The proposal is to another provider.")
    if agreement.buyer != buyer:
        raise Forbidden("not_buyer", "The proposal is not of the member that sends it.")


def _require_own_key(context: Context, agreement: Agreement) -> None:
    """What is signed again pins the key in use; what was signed before keeps the key it pins."""
    if agreement.provider_key != context.signers[KeyPurpose.STATEMENT].address:
        raise Conflict(
            "provider_key_changed", "The proposal pins a key this node does not sign with."
        )


def _require_proposal(context: Context, agreement: Agreement, *, height: int) -> None:
    records = context.view.proved(rules.opening_records(agreement))
    if records.height < height:
        raise ChainUnavailable(
            "chain_view_behind",
            f"This node's view of the chain is at block {records.height}, "
            f"the proposal rests on block {height}.",
            hint="Send the same request again in a moment.",
        )
    rules.require_terms(
        agreement, now=context.now(), min_window=context.ledger.deployment.min_close_window
    )
    rules.require_opening_soon(agreement, now=max(context.now(), records.timestamp))
    serving.served_version(context, agreement.asset_id, agreement.asset_version).purposes.require(
        agreement.purpose
    )
    rules.require_offer(agreement, find_offer(context, agreement.asset_id, agreement.asset_version))
    if not records.agreement(agreement.struct_hash()).opened_at:
        rules.require_openable(agreement, records)
