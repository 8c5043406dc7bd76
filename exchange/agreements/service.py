"""Offering, proposing, signing and opening.

The buyer's node proposes: it signs and stores first, asks the provider's node for its signature, and queues the opening with both. A proposal
whose answer was lost is asked for again with the same bytes (``resume``): the nonce was made once, so both sides hold one agreement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.deployment import CloseWindow
from chain.eip712 import Domain
from chain.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ledger import Event
from chain.outbox import enqueue, outcome
from chain.statements import Agreement, GrantTerms, KeyPurpose, Share, Unit
from chain.words import AgreementState, GrantWord
from exchange.agreements import rules
from exchange.agreements.model import Offer, Side, Signed, State
from exchange.agreements.store import ExchangeAgreement, ExchangeOffer
from registry.assets import service as assets
from registry.evidence.service import append_again, append_statement
from registry.grants import service as grants
from registry.keyed import nonce_for

CONTRACT = "TradeSettlement"
OPEN_SECONDS = 3600
DAY = 86_400


# --- Offers ---------------------------------------------------------------------------------------------------------------------


def offer(context: Context, wanted: Offer) -> dict[str, Any]:
    """Publish or replace this node's offer for an asset version; agreements already signed keep their terms."""
    rules.require_shares(wanted.shares, buyers=wanted.buyers)
    window = CloseWindow(wanted.close_window_blocks, wanted.close_window_seconds)
    rules.require_window(window, context.ledger.deployment.min_close_window)
    if wanted.price < 0 or min(wanted.most_lanes, wanted.most_seconds) < 1:
        raise BadInput("offer_malformed", "An offer has a price of 0 or more, and at least one lane and one second.")
    if wanted.price == 0 and wanted.most_units == 0:
        raise BadInput("no_cap", "A free offer limits the count.")
    row = ExchangeOffer(
        asset_id=wanted.asset_id,
        asset_version=wanted.asset_version,
        offer=wanted.to_json(),
        changed_at=context.now(),
        withdrawn_at=None,
    )
    context.database.write(lambda session: session.merge(row) and None)
    return wanted.to_json()


def offers(context: Context, *, buyer: str | None = None) -> list[dict[str, Any]]:
    """This node's offers; with ``buyer``, those made to it."""
    with context.database.read() as session:
        rows = session.scalars(sa.select(ExchangeOffer).where(ExchangeOffer.withdrawn_at.is_(None)))
        found = [row.offer for row in rows]
    return [each for each in found if buyer is None or not each["buyers"] or buyer in each["buyers"]]


async def offers_of(context: Context, provider: str) -> list[dict[str, Any]]:
    """What another member offers to this one, asked of its node; ``peer_unknown``, ``offer_malformed``."""
    answer = await context.peers.get(provider, "/v1/peer/offers")
    told = answer.get("offers") if isinstance(answer, dict) else None
    if not isinstance(told, list):
        raise BadInput("offer_malformed", "The provider's node does not list its offers in the form expected.")
    return [Offer.from_json(each).to_json() for each in told]


def find_offer(context: Context, asset_id: bytes, version: int) -> Offer:
    """The offer for an asset version; ``not_offered``."""
    with context.database.read() as session:
        row = session.get(ExchangeOffer, (asset_id, version))
    if row is None or row.withdrawn_at is not None:
        raise NotFound("not_offered", "This member does not offer that version of the asset.")
    return Offer.from_json(row.offer)


# --- Buyer ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """What a buyer's clerk asks for; what is left out is taken from the provider's offer."""

    grant_id: bytes
    cap: int
    max_units: int = 0
    lanes: int = 1
    max_per_call: int | None = None
    seconds: int = 30 * DAY
    starts_at: int | None = None
    ends_at: int | None = None
    close_window_blocks: int | None = None
    close_window_seconds: int | None = None
    arbiter: str = ""
    price: int | None = None
    shares: Sequence[Share] | None = None


async def propose(context: Context, wanted: Proposal, *, idempotency_key: str | None = None) -> dict[str, Any]:
    """Sign an agreement, have the provider sign it, and queue its opening; the same key with the same order is one agreement.

    Raises:
        Conflict: ``idempotency_key_reused``;
        BadInput: what ``rules.require_terms`` raises; Conflict: ``offer_not_met``;
            Forbidden: ``purpose_not_listed`` by the asset version; NotFound: ``grant_unknown``, ``not_offered``;
            Unavailable: ``peer_unreachable`` (the proposal is kept; ``resume`` asks again).
    """
    nonce = nonce_for(context, "agreement", idempotency_key)
    if idempotency_key is not None:
        with context.database.read() as session:
            known = _ordered(session, nonce, wanted)
        if known is not None:
            return await resume(context, known)
    terms = grants.load(context, wanted.grant_id).terms
    if terms.grantee != context.member:
        raise Forbidden("grant_of_others", "The grant is not this organisation's.")
    (await assets.published_purposes(context, terms.owner, terms.asset_id, terms.asset_version)).require(terms.purpose)
    terms_json = await context.peers.get(terms.owner, f"/v1/peer/offers/0x{terms.asset_id.hex()}/{terms.asset_version}")
    agreement = _drafted(context, wanted, terms, Offer.from_json(terms_json["offer"]), terms_json["providerKey"], nonce)
    rules.require_terms(agreement, now=context.now(), min_window=context.ledger.deployment.min_close_window)
    rules.require_grant(agreement, terms)
    signature = context.sign(agreement)
    agreement_id = agreement.struct_hash()
    row = ExchangeAgreement(
        agreement_id=agreement_id,
        side=Side.BUYER,
        state=State.PROPOSED,
        provider=agreement.provider,
        buyer=agreement.buyer,
        agreement=agreement.to_json(),
        terms=terms.to_json(),
        buyer_signature=signature,
        proposed_at=context.now(),
        paid=0,
        refunded=0,
    )

    def change(session: Session) -> bytes:
        known = _ordered(session, nonce, wanted)
        if known is not None:
            return known
        session.add(row)
        return agreement_id

    return await resume(context, await context.database.awrite(change))


def _ordered(session: Session, nonce: bytes, wanted: Proposal) -> bytes | None:
    """The agreement an earlier order under the same key made, if that asked for the same."""
    for row in session.scalars(sa.select(ExchangeAgreement).where(ExchangeAgreement.side == Side.BUYER)):
        if row.agreement["nonce"] == "0x" + nonce.hex():
            made = Agreement.from_json(row.agreement)
            if (made.grant_id, made.cap, made.max_units, made.lanes) != (wanted.grant_id, wanted.cap, wanted.max_units, wanted.lanes):
                raise Conflict("idempotency_key_reused", "The key stands for another agreement.", hint="Use a new key.")
            return row.agreement_id
    return None


async def resume(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """Ask the provider (again) to sign a stored proposal, and queue the opening."""
    row = _row(context, agreement_id)
    if row.side != Side.BUYER or row.terms is None or row.buyer_signature is None:
        raise Forbidden("not_buyer", "Only the buyer's node proposes an agreement.")
    if row.state != State.PROPOSED:
        return view(context, agreement_id)
    agreement, terms = Agreement.from_json(row.agreement), GrantTerms.from_json(row.terms)
    body = {"agreement": row.agreement, "terms": row.terms, "signature": "0x" + row.buyer_signature.hex()}
    answer = await context.peers.post(row.provider, "/v1/peer/agreements", body)
    signature = _hex(answer.get("signature") if isinstance(answer, dict) else None)
    domain = context.domain(CONTRACT)
    rules.require_signature(agreement, signature, agreement.provider_key, domain)
    buyer_signature = row.buyer_signature

    def change(session: Session) -> None:
        kept = session.get_one(ExchangeAgreement, agreement_id)
        kept.provider_signature = signature
        if kept.state == State.PROPOSED:
            kept.state = State.SIGNED
        append_statement(session, agreement, domain, at=context.now())
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=open_operation(agreement_id),
            contract=CONTRACT,
            function="open",
            arguments=[agreement, terms, signature, buyer_signature],
        )

    await context.database.awrite(change)
    return view(context, agreement_id)


def open_operation(agreement_id: bytes) -> str:
    """The outbox operation that opens an agreement."""
    return f"open/{agreement_id.hex()}"


def _drafted(context: Context, wanted: Proposal, terms: GrantTerms, offered: Offer, provider_key: str, nonce: bytes) -> Agreement:
    now = context.now()
    starts_at = now if wanted.starts_at is None else wanted.starts_at
    per_call = min(offered.most_per_call, wanted.cap) if wanted.max_per_call is None else wanted.max_per_call

    def chosen(own: int | None, theirs: int) -> int:
        return theirs if own is None else own

    return Agreement(
        version=1,
        grant_id=terms.struct_hash(),
        asset_id=terms.asset_id,
        asset_version=terms.asset_version,
        provider=terms.owner,
        buyer=context.member,
        provider_key=provider_key,
        buyer_key=context.signers[KeyPurpose.STATEMENT].address,
        purpose=terms.purpose,
        unit=int(offered.unit),
        price=chosen(wanted.price, offered.price),
        cap=wanted.cap,
        max_units=wanted.max_units,
        max_per_call=per_call,
        lanes=wanted.lanes,
        starts_at=starts_at,
        ends_at=chosen(wanted.ends_at, starts_at + min(wanted.seconds, offered.most_seconds)),
        open_before=now + OPEN_SECONDS,
        close_window_blocks=chosen(wanted.close_window_blocks, offered.close_window_blocks),
        close_window_seconds=chosen(wanted.close_window_seconds, offered.close_window_seconds),
        arbiter=wanted.arbiter,
        shares=offered.shares if wanted.shares is None else tuple(wanted.shares),
        nonce=nonce,
    )


# --- Provider -------------------------------------------------------------------------------------------------------------------


def countersign(context: Context, buyer: str, agreement: Agreement, terms: GrantTerms, signature: bytes) -> dict[str, Any]:
    """Sign a buyer's proposal if it keeps to this node's offer and its grant is live; the same proposal again gives the same signature."""
    domain = context.domain(CONTRACT)
    _require_proposal(context, buyer, agreement, terms, signature, domain)
    agreement_id = agreement.struct_hash()
    own = context.sign(agreement)
    row = {
        "agreement_id": agreement_id,
        "side": Side.PROVIDER,
        "state": State.SIGNED,
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        "agreement": agreement.to_json(),
        "terms": terms.to_json(),
        "provider_signature": own,
        "buyer_signature": signature,
        "proposed_at": context.now(),
        "paid": 0,
        "refunded": 0,
    }

    def change(session: Session) -> None:
        kept = session.get(ExchangeAgreement, agreement_id)
        if kept is None:
            session.add(ExchangeAgreement(**row))
            append_statement(session, agreement, domain, at=context.now())
        elif kept.provider_signature is None:
            # The chain's event came first, from a node that lost this row.
            kept.side, kept.terms = Side.PROVIDER, terms.to_json()
            kept.provider_signature, kept.buyer_signature = own, signature

    context.database.write(change)
    return {"agreementId": "0x" + agreement_id.hex(), "signature": "0x" + own.hex()}


def _require_proposal(context: Context, buyer: str, agreement: Agreement, terms: GrantTerms, signature: bytes, domain: Domain) -> None:
    if agreement.provider != context.member:
        raise Forbidden("not_provider", "The proposal is to another provider.")
    if agreement.buyer != buyer:
        raise Forbidden("not_buyer", "The proposal is not of the member that sends it.")
    if agreement.provider_key != context.signers[KeyPurpose.STATEMENT].address:
        raise Conflict("provider_key_changed", "The proposal pins a key this node does not sign with.")
    rules.require_terms(agreement, now=context.now(), min_window=context.ledger.deployment.min_close_window)
    rules.require_grant(agreement, terms)
    assets.served(context, agreement.asset_id, agreement.asset_version).purposes.require(agreement.purpose)
    rules.require_signature(agreement, signature, agreement.buyer_key, domain)
    rules.require_offer(agreement, find_offer(context, agreement.asset_id, agreement.asset_version))
    if not GrantWord.decode(context.view.word("GrantRegistry", "grants", agreement.grant_id).value).live:
        raise Forbidden("grant_not_live", "The grant is not approved, or was revoked.")


# --- Recovery -------------------------------------------------------------------------------------------------------------------


def of_member(session: Session, member: str) -> list[bytes]:
    """Agreements the member is a party of, also those that only the chain has told a restored database of."""
    query = sa.select(ExchangeAgreement.agreement_id).where(sa.or_(ExchangeAgreement.provider == member, ExchangeAgreement.buyer == member))
    return list(session.scalars(query.where(ExchangeAgreement.opened_at.is_not(None)).order_by(ExchangeAgreement.opened_at)))


def side_of(session: Session, member: str, agreement_id: bytes) -> Side:
    """Which side of an agreement the member is on, whatever its database still holds of it."""
    row = session.get_one(ExchangeAgreement, agreement_id)
    return Side.PROVIDER if row.provider == member else Side.BUYER


def signed_by_both(context: Context, caller: str, agreement_id: bytes) -> dict[str, Any]:
    """An agreement with its grant's terms and both signatures, for the other party; ``not_party``."""
    signed = load(context, agreement_id)
    if signed.side == Side.OBSERVER or signed.terms is None or caller not in (signed.agreement.provider, signed.agreement.buyer):
        raise Forbidden("not_party", "What both signed is for the agreement's parties.")
    return {
        "agreement": signed.agreement.to_json(),
        "terms": signed.terms.to_json(),
        "providerSignature": "0x" + signed.provider_signature.hex(),
        "buyerSignature": "0x" + signed.buyer_signature.hex(),
    }


async def recover(context: Context, agreement_id: bytes) -> Signed:
    """An agreement of this member, asked back of the other party where the database holds no more of it than the chain told.

    Raises:
        BadInput: ``other_agreement``, ``other_grant``, ``grant_mismatch``, ``field_malformed``; Forbidden: ``wrong_signer``; Unavailable: when the
            other party cannot be asked.
    """
    signed = load(context, agreement_id)
    if signed.side != Side.OBSERVER and signed.provider_signature and signed.buyer_signature:
        return signed
    other = signed.agreement.buyer if signed.agreement.provider == context.member else signed.agreement.provider
    told = await context.peers.get(other, f"/v1/peer/agreements/0x{agreement_id.hex()}/signed")
    if not isinstance(told, dict):
        raise BadInput("other_agreement", "The other party shows no agreement.")
    agreement, terms = Agreement.from_json(told.get("agreement")), GrantTerms.from_json(told.get("terms"))
    if agreement.struct_hash() != agreement_id:
        raise BadInput("other_agreement", "The other party shows another agreement.")
    rules.require_grant(agreement, terms)
    domain, provider_signature, buyer_signature = context.domain(CONTRACT), _hex(told.get("providerSignature")), _hex(told.get("buyerSignature"))
    rules.require_signature(agreement, provider_signature, agreement.provider_key, domain)
    rules.require_signature(agreement, buyer_signature, agreement.buyer_key, domain)

    def change(session: Session) -> None:
        row = session.get_one(ExchangeAgreement, agreement_id)
        row.side, row.terms = side_of(session, context.member, agreement_id), terms.to_json()
        row.provider_signature, row.buyer_signature = provider_signature, buyer_signature
        append_again(session, kind=type(agreement).__name__, digest=agreement.digest(domain), at=context.now())

    await context.database.awrite(change)
    return load(context, agreement_id)


# --- Both ------------------------------------------------------------------------------------------------------------------------


def load(context: Context, agreement_id: bytes) -> Signed:
    """An agreement with everything both sides signed; ``unknown_agreement``."""
    row = _row(context, agreement_id)
    return Signed(
        agreement_id=agreement_id,
        agreement=Agreement.from_json(row.agreement),
        terms=None if row.terms is None else GrantTerms.from_json(row.terms),
        provider_signature=row.provider_signature or b"",
        buyer_signature=row.buyer_signature or b"",
        side=Side(row.side),
        state=State(row.state),
    )


def proved_state(context: Context, agreement_id: bytes) -> AgreementState:
    """The agreement's books and heights, proved under the node's own view of the chain."""
    return AgreementState.decode(*(context.view.word(CONTRACT, "agreements", agreement_id, offset=place).value for place in range(3)))


def listing(context: Context, *, state: str | None = None, own: bool = True) -> list[dict[str, Any]]:
    """Agreements, newest first; with ``own`` only this organisation's."""
    query = sa.select(ExchangeAgreement).order_by(ExchangeAgreement.proposed_at.desc(), ExchangeAgreement.opened_at.desc())
    if state is not None:
        query = query.where(ExchangeAgreement.state == state)
    if own:
        query = query.where(ExchangeAgreement.side != Side.OBSERVER)
    with context.database.read() as session:
        rows = session.scalars(query).all()
        newest = assets.newest_versions(session, {Agreement.from_json(row.agreement).asset_id for row in rows})
        return [_listed(row, newest) for row in rows]


def view(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """One agreement with how its opening stands."""
    row = _row(context, agreement_id)
    with context.database.read() as session:
        listed = _listed(row, assets.newest_versions(session, [Agreement.from_json(row.agreement).asset_id]))
        try:
            opening = outcome(session, open_operation(agreement_id))
        except NotFound:
            return listed
    listed["opening"] = {"state": opening.state, "code": opening.code, "height": opening.height}
    if opening.code is not None and row.opened_at is None:
        listed["state"] = State.FAILED
    return listed


def _row(context: Context, agreement_id: bytes) -> ExchangeAgreement:
    with context.database.read() as session:
        row = session.get(ExchangeAgreement, agreement_id)
    if row is None:
        raise NotFound("unknown_agreement", "This node knows no such agreement.")
    return row


def _listed(row: ExchangeAgreement, newest: Mapping[bytes, int]) -> dict[str, Any]:
    agreement = Agreement.from_json(row.agreement)
    newer = newest.get(agreement.asset_id, 0)
    newer = newer if newer > agreement.asset_version else 0
    return {
        "agreementId": "0x" + row.agreement_id.hex(),
        "side": row.side,
        "state": row.state,
        "provider": row.provider,
        "buyer": row.buyer,
        "unit": Unit(agreement.unit).name.lower(),
        "agreement": row.agreement,
        "openedAt": row.opened_at,
        "noticeAt": row.notice_at,
        "closedAt": row.closed_at,
        "paid": str(row.paid),
        "refunded": str(row.refunded),
        "openOperation": open_operation(row.agreement_id),
        "newerVersion": newer or None,
        "hint": rules.newer_version_hint(agreement.asset_version, newer) if newer else "",
    }


def _hex(value: Any) -> bytes:
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError) as error:
        raise BadInput("field_malformed", "A signature is not 0x hexadecimal.") from error


def apply(session: Session, event: Event) -> None:
    """Take one of TradeSettlement's events into the agreements; agreements of others are kept as the chain tells them."""
    agreement_id = event.arguments.get("agreementId")
    if agreement_id is None:
        return
    row = session.get(ExchangeAgreement, agreement_id)
    if event.name == "AgreementOpened":
        _opened(session, row, event)
    elif row is None:
        return
    elif event.name == "NoticeGiven":
        row.notice_at = event.height
        if row.state != State.CLOSED:
            row.state = State.NOTICE
    elif event.name == "AgreementClosed":
        row.closed_at, row.state = event.height, State.CLOSED
        row.paid, row.refunded = event.arguments["paid"], event.arguments["refunded"]


def _opened(session: Session, row: ExchangeAgreement | None, event: Event) -> None:
    agreement: Agreement = event.arguments["agreement"]
    if row is None:
        row = ExchangeAgreement(
            agreement_id=event.arguments["agreementId"],
            side=Side.OBSERVER,
            provider=agreement.provider,
            buyer=agreement.buyer,
            agreement=agreement.to_json(),
            paid=0,
            refunded=0,
        )
        session.add(row)
    row.opened_at = event.height
    if row.closed_at is None and row.notice_at is None:
        row.state = State.OPEN
    session.flush()
