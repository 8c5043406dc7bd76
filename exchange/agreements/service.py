"""Offering, proposing, signing and opening.

The buyer's node proposes: it signs and stores first, asks the provider's node for its signature,
and queues the opening with both. A proposal whose answer was lost is asked for again with the same
bytes (``resume``): the nonce was made once, so both sides hold one agreement.

An order names the offer its person saw. What differs from it is refused, never signed. How a
proposal ends that never opens is in ``ending``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, ChainUnavailable, Conflict, Forbidden, NotFound, Unavailable
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import account_records, agreement_records, grant_record
from chain.ethereum.records import AgreementRecord
from chain.outbox import enqueue, outcome
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement, MeteredUnit, Share
from exchange.agreements import rules
from exchange.agreements.model import (
    ENDED,
    PENDING,
    AgreementSide,
    AgreementStage,
    Offer,
    ProposalEnd,
    SignedAgreement,
    TermChange,
)
from exchange.agreements.store import OWN, AgreementRow, OfferRow, SeenOfferRow
from registry.assets import catalogue, peers, serving
from registry.evidence.log import append_if_missing, append_statement
from registry.grants import service as grants
from registry.idempotency import KeyScope, bind, content_of, key_reused, nonce_for
from registry.pages import Page, PageRequest, kept_page_of, page_of, require_next

CONTRACT = "TradeSettlement"
OPEN_SECONDS = 3600
DAY = 86_400
DEFAULT_SECONDS = 30 * DAY
VIEW_SECONDS = 2.0
"""How long a buyer's node looks again at a balance or grant that its view, up to a block behind,
does not show yet.
"""
PEER_VIEW_SECONDS = 5.0
"""How long it asks a provider whose view has not reached the block that the proposal rests on."""


# --- Offers ---------------------------------------------------------------------------------------


def offer(context: Context, request: Offer) -> dict[str, Any]:
    """Publish or replace this node's offer for an asset version; agreements already signed keep
    their terms.
    """
    rules.require_shares(request.shares, buyers=request.buyers)
    window = CloseWindow(request.close_window_blocks, request.close_window_seconds)
    rules.require_window(window, context.ledger.deployment.min_close_window)
    if request.price < 0 or min(request.max_lanes, request.max_seconds) < 1:
        raise BadInput(
            "offer_malformed",
            "An offer has a price of 0 or more, and at least one lane and one second.",
        )
    if request.price == 0 and request.max_units == 0:
        raise BadInput("no_cap", "A free offer limits the count.")
    row = OfferRow(
        asset_id=request.asset_id,
        asset_version=request.asset_version,
        offer=request.to_json(),
        changed_at=context.now(),
        withdrawn_at=None,
    )
    context.database.write(lambda session: session.merge(row) and None)
    return _offer_json(request)


def offers(
    context: Context, page: PageRequest, *, buyer: str | None = None
) -> Page[dict[str, Any]]:
    """This node's offers with their hashes, by asset and version; with ``buyer``, those made to it,
    without the other buyers' names.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    query = sa.select(OfferRow).where(OfferRow.withdrawn_at.is_(None))
    order = (OfferRow.asset_id, OfferRow.asset_version)
    with context.database.read() as session:
        if buyer is None:
            own = page_of(session, query, order, page, ascending=True)
            return own.map(lambda row: _offer_json(Offer.from_json(row.offer)))
        found = kept_page_of(session, query, order, page, lambda row: _is_made_to(row, buyer))
    return found.map(lambda row: _offer_json(_made_to(Offer.from_json(row.offer), buyer)))


def _is_made_to(row: OfferRow, buyer: str) -> bool:
    buyers = Offer.from_json(row.offer).buyers
    return not buyers or buyer in buyers


async def offers_of(context: Context, provider: str, page: PageRequest) -> Page[dict[str, Any]]:
    """What another member offers to this one, asked of its node; ``peer_unknown``,
    ``offer_malformed``, ``cursor_malformed``.

    What is shown is stored, so that an order that names it later can be told what changed.
    """
    asked = {"limit": page.limit} | ({"cursor": page.cursor} if page.cursor else {})
    answer = await context.peers.get(provider, f"/v1/peer/offers?{urlencode(asked)}")
    found, following = _offers_in(answer, page.limit)
    await _store_seen(context, found)
    return Page([_offer_json(shown) for shown in found], following)


def _offers_in(answer: object, limit: int) -> tuple[list[Offer], str | None]:
    reported = answer.get("offers") if isinstance(answer, dict) else None
    try:
        if not isinstance(answer, dict) or not isinstance(reported, list) or len(reported) > limit:
            raise ValueError("offers")
        return [Offer.from_json(offered) for offered in reported], require_next(answer.get("next"))
    except ValueError as error:
        raise BadInput(
            "offer_malformed", "The provider's node does not list its offers in the form expected."
        ) from error


async def _store_seen(context: Context, shown: Sequence[Offer]) -> None:
    by_hash = {seen.terms_hash(): seen for seen in shown}
    known = sa.select(SeenOfferRow.terms_hash)
    known = known.where(SeenOfferRow.terms_hash.in_(list(by_hash)))
    new = set(by_hash) - await context.database.aread(lambda session: set(session.scalars(known)))
    if not new:
        return

    def change(session: Session) -> None:
        for terms_hash in new:
            row = SeenOfferRow(
                terms_hash=terms_hash, offer=by_hash[terms_hash].to_json(), seen_at=context.now()
            )
            session.merge(row)

    await context.database.awrite(change)


def find_offer(
    context: Context, asset_id: bytes, version: int, *, buyer: str | None = None
) -> Offer:
    """The offer for an asset version, with ``buyer`` only one that is made to it; ``not_offered``."""
    with context.database.read() as session:
        row = session.get(OfferRow, (asset_id, version))
    found = None if row is None or row.withdrawn_at is not None else Offer.from_json(row.offer)
    if found is None or (buyer is not None and found.buyers and buyer not in found.buyers):
        raise NotFound("not_offered", "This member does not offer that version of the asset.")
    return found if buyer is None else _made_to(found, buyer)


def _made_to(found: Offer, buyer: str) -> Offer:
    """The offer as one buyer reads it: who else it is made to is the provider's business."""
    return replace(found, buyers=(buyer,) if found.buyers else ())


def _offer_json(found: Offer) -> dict[str, Any]:
    return {**found.to_json(), "offerHash": "0x" + found.terms_hash().hex()}


# --- Buyer ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProposalRequest:
    """What a buyer's clerk asks for.

    It names the offer it was made on (``offer_hash``) or states the terms in ``rules.STATED_TERMS``
    in full; what else is left out is taken from the offer.
    """

    grant_id: bytes
    cap: int
    max_units: int = 0
    lanes: int = 1
    max_per_call: int | None = None
    seconds: int | None = None
    """Term; by default ``DEFAULT_SECONDS`` or what the offer allows, if that is less."""
    starts_at: int | None = None
    ends_at: int | None = None
    close_window_blocks: int | None = None
    close_window_seconds: int | None = None
    arbiter: str = ""
    unit: MeteredUnit | None = None
    price: int | None = None
    shares: Sequence[Share] | None = None
    offer_hash: bytes | None = None

    def stated(self) -> dict[str, Any]:
        """The terms an order can state in place of naming an offer, as JSON values; None for what
        it leaves out.
        """
        return {
            "unit": None if self.unit is None else self.unit.name.lower(),
            "price": self.price,
            "shares": None if self.shares is None else rules.shares_json(self.shares),
            "maxPerCall": self.max_per_call,
            "closeWindowBlocks": self.close_window_blocks,
            "closeWindowSeconds": self.close_window_seconds,
        }


async def propose(
    context: Context, request: ProposalRequest, *, idempotency_key: str | None = None
) -> dict[str, Any]:
    """Sign an agreement, have the provider sign it, and queue its opening; the same key with the
    same order is one agreement.

    Raises:
        BadInput: ``offer_not_named``, what ``rules.require_terms`` raises; NotFound:
            ``grant_unknown``, ``not_offered``;
            Conflict: ``idempotency_key_reused``, ``offer_changed``, ``offer_not_met``,
                ``not_enough_free``, the provider's refusal by its code;
            Forbidden: ``grant_of_others``, ``grant_not_live``, ``purpose_not_listed`` by the asset
                version;
            Unavailable: ``peer_unreachable`` (the proposal is stored; ``resume`` asks again until
                it expires).
    """
    rules.require_named(request.offer_hash, request.stated())
    nonce = nonce_for(context, "agreement", idempotency_key)
    if idempotency_key is not None:
        known = await context.database.awrite(
            lambda session: _bound(session, idempotency_key, request, nonce, now=context.now())
        )
        if known is not None:
            return await _repeated(context, known)
    terms = (await asyncio.to_thread(grants.load, context, request.grant_id)).terms
    if terms.grantee != context.member:
        raise Forbidden("grant_of_others", "The grant is not this organisation's.")
    (
        await peers.published_purposes(context, terms.owner, terms.asset_id, terms.asset_version)
    ).require(terms.purpose)
    offered, provider_key = await _current_offer(context, terms)
    await asyncio.to_thread(_require_as_seen, context, request, offered)
    head = context.view.require_fresh()
    agreement = _draft(
        context, request, terms, offered, provider_key, nonce, chain_time=head.timestamp
    )
    rules.require_terms(
        agreement, now=context.now(), min_window=context.ledger.deployment.min_close_window
    )
    rules.require_grant(agreement, terms)
    rules.require_offer(agreement, offered)
    await _openable(context, agreement)
    signature = context.sign(agreement)
    agreement_id = agreement.struct_hash()
    row = AgreementRow(
        agreement_id=agreement_id,
        side=AgreementSide.BUYER,
        state=AgreementStage.PROPOSED,
        state_since=context.now(),
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
        known = None if idempotency_key is None else _with_nonce(session, nonce)
        if known is not None:
            return known
        session.add(row)
        return agreement_id

    return await resume(context, await context.database.awrite(change))


def _bound(
    session: Session, key: str, request: ProposalRequest, nonce: bytes, *, now: int
) -> bytes | None:
    """Bind the key to the order; the agreement that an earlier request under the same key made."""
    new = bind(session, KeyScope.AGREEMENT, key, content_of(request), now=now)
    known = _with_nonce(session, nonce)
    if new and known is not None:
        # Made before keys were bound to whole orders: what it asked for is not known any more.
        raise key_reused(KeyScope.AGREEMENT)
    return known


def _with_nonce(session: Session, nonce: bytes) -> bytes | None:
    for row in session.scalars(
        sa.select(AgreementRow).where(AgreementRow.side == AgreementSide.BUYER)
    ):
        if row.agreement["nonce"] == "0x" + nonce.hex():
            return row.agreement_id
    return None


async def _repeated(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """A repeated order: the agreement it made, or why that failed."""
    row = await asyncio.to_thread(find, context, agreement_id)
    if row.state == AgreementStage.FAILED:
        raise _failure(row.reason or "failed", row.reason_text or "The proposal failed.")
    return await resume(context, agreement_id)


def _failure(code: str, sentence: str) -> Conflict:
    return Conflict(
        code, sentence, hint="The proposal has ended. Order anew under a new idempotency key."
    )


async def _current_offer(context: Context, terms: GrantTerms) -> tuple[Offer, str]:
    """The provider's offer for a grant's asset version now, and the key it will sign with."""
    path = f"/v1/peer/offers/0x{terms.asset_id.hex()}/{terms.asset_version}"
    answer = await context.peers.get(terms.owner, path)
    key = answer.get("providerKey") if isinstance(answer, dict) else None
    if not isinstance(key, str):
        raise BadInput(
            "offer_malformed", "The provider's node does not show its offer in the form expected."
        )
    return Offer.from_json(answer.get("offer")), key


def _require_as_seen(context: Context, request: ProposalRequest, offered: Offer) -> None:
    """The provider's offer now is the one the order names: ``offer_changed``, with every term that
    is not.
    """
    if request.offer_hash is None:
        changes = rules.stated_changes(request.stated(), offered)
    elif request.offer_hash == offered.terms_hash():
        changes = []
    else:
        with context.database.read() as session:
            seen = session.get(SeenOfferRow, request.offer_hash)
        changes = (
            [TermChange("offer", None, "0x" + offered.terms_hash().hex())]
            if seen is None
            else rules.offer_changes(Offer.from_json(seen.offer), offered)
        )
    if changes:
        raise rules.offer_changed(changes)


async def _openable(context: Context, agreement: Agreement) -> int:
    """Wait a moment until this node's proved view shows that the chain would open an agreement; the
    view's height.

    Raises:
        what ``_require_openable`` raises once ``VIEW_SECONDS`` are over.
    """
    deadline = time.monotonic() + VIEW_SECONDS
    while True:
        try:
            return await asyncio.to_thread(_require_openable, context, agreement)
        except (Conflict, Forbidden) as error:
            if (
                error.code not in ("not_enough_free", "grant_not_live")
                or time.monotonic() > deadline
            ):
                raise
        await asyncio.sleep(0.1)


def _require_openable(context: Context, agreement: Agreement) -> int:
    """The chain would open the agreement, as far as grant, balance and time say; the height that
    shows it.

    Raises:
        Conflict: ``agreement_open``, ``not_enough_free``; Forbidden: ``grant_not_live``; BadInput:
            ``open_too_late``;
            Unavailable: ``chain_view_stale``.
    """
    agreement_id, buyer = agreement.struct_hash(), agreement.buyer
    records = context.view.proved(
        [
            grant_record(agreement.grant_id),
            *account_records(buyer),
            *agreement_records(agreement_id),
        ]
    )
    rules.require_not_open(records.agreement(agreement_id))
    rules.require_live_grant(records.grant(agreement.grant_id))
    rules.require_free(records.account(buyer), agreement.cap)
    if records.timestamp > agreement.open_before:
        raise BadInput(
            "open_too_late", "The agreement can no longer be opened.", hint="Propose it afresh."
        )
    return records.height


async def resume(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """Ask the provider (again) to sign a stored proposal, and queue the opening.

    Raises:
        Conflict: ``proposal_ended``, ``not_enough_free``, and the provider's refusal by its code,
            which ends the proposal;
            Unavailable: the provider cannot be asked now; the proposal stays as it is.
    """
    row = await asyncio.to_thread(find, context, agreement_id)
    if row.side != AgreementSide.BUYER or row.terms is None or row.buyer_signature is None:
        raise Forbidden("not_buyer", "Only the buyer's node proposes an agreement.")
    if row.state in ENDED:
        rules.require_pending(AgreementStage(row.state), row.reason)
    if row.state != AgreementStage.PROPOSED:
        return await asyncio.to_thread(view, context, agreement_id)
    agreement, terms = Agreement.from_json(row.agreement), GrantTerms.from_json(row.terms)
    answer = await _countersigned_by_provider(context, row, await _openable(context, agreement))
    if "refusal" in answer:
        await _refused(context, agreement_id, answer["refusal"])
    signature, domain = _hex(answer.get("signature")), context.domain(CONTRACT)
    rules.require_signature(agreement, signature, agreement.provider_key, domain)
    buyer_signature = row.buyer_signature

    def change(session: Session) -> None:
        stored = session.get_one(AgreementRow, agreement_id)
        stored.provider_signature = signature
        append_if_missing(
            session,
            kind=type(agreement).__name__,
            digest=agreement.digest(domain),
            at=context.now(),
        )
        if stored.state in ENDED:
            # It ended here while the provider was signing, which is therefore told once more.
            stored.reported_at = None
        elif stored.state in PENDING:
            stored.state, stored.state_since = AgreementStage.SIGNED, context.now()
            enqueue(
                session,
                sender=context.transaction_address,
                operation_id=open_operation(agreement_id),
                contract=CONTRACT,
                function="open",
                arguments=[agreement, terms, signature, buyer_signature],
            )

    await context.database.awrite(change)
    row = await asyncio.to_thread(find, context, agreement_id)
    if row.state in ENDED:
        rules.require_pending(AgreementStage(row.state), row.reason)
    return await asyncio.to_thread(view, context, agreement_id)


async def _countersigned_by_provider(
    context: Context, row: AgreementRow, height: int
) -> Mapping[str, Any]:
    """The provider's answer to a proposal; a provider whose view is a moment behind is asked again."""
    signature = "0x" + (row.buyer_signature or b"").hex()
    body = {
        "agreement": row.agreement,
        "terms": row.terms,
        "signature": signature,
        "height": height,
    }
    deadline = time.monotonic() + PEER_VIEW_SECONDS
    while True:
        try:
            answer = await context.peers.post(row.provider, "/v1/peer/agreements", body)
        except Unavailable as error:
            if error.code != "chain_view_behind" or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
            continue
        return answer if isinstance(answer, dict) else {}


async def _refused(context: Context, agreement_id: bytes, refusal: Any) -> None:
    """End a proposal that the provider refused for good, and raise why."""
    code, sentence = (
        ("", "")
        if not isinstance(refusal, dict)
        else (str(refusal.get("code")), str(refusal.get("detail")))
    )
    end = rules.refused_by_provider(code, sentence)

    def change(session: Session) -> None:
        stored = session.get_one(AgreementRow, agreement_id)
        if stored.state == AgreementStage.PROPOSED:
            set_end(stored, end, now=context.now())
            stored.reported_at = context.now()

    await context.database.awrite(change)
    raise _failure(end.reason, end.sentence)


def set_end(row: AgreementRow, end: ProposalEnd, *, now: int) -> None:
    """Record how a proposal ended, if its state allows it."""
    if rules.may_follow(AgreementStage(row.state), end.state):
        row.state, row.state_since = end.state, now
        row.reason, row.reason_text = end.reason, end.sentence


def open_operation(agreement_id: bytes) -> str:
    """The outbox operation that opens an agreement."""
    return f"open/{agreement_id.hex()}"


def _draft(
    context: Context,
    request: ProposalRequest,
    terms: GrantTerms,
    offered: Offer,
    provider_key: str,
    nonce: bytes,
    *,
    chain_time: int,
) -> Agreement:
    now = context.now()
    starts_at = now if request.starts_at is None else request.starts_at
    per_call = (
        min(offered.max_per_call, request.cap)
        if request.max_per_call is None
        else request.max_per_call
    )
    seconds = (
        min(DEFAULT_SECONDS, offered.max_seconds) if request.seconds is None else request.seconds
    )

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
        unit=int(offered.unit if request.unit is None else request.unit),
        price=chosen(request.price, offered.price),
        cap=request.cap,
        max_units=request.max_units,
        max_per_call=per_call,
        lanes=request.lanes,
        starts_at=starts_at,
        ends_at=chosen(request.ends_at, starts_at + seconds),
        open_before=max(now, chain_time) + OPEN_SECONDS,
        close_window_blocks=chosen(request.close_window_blocks, offered.close_window_blocks),
        close_window_seconds=chosen(request.close_window_seconds, offered.close_window_seconds),
        arbiter=request.arbiter,
        shares=offered.shares if request.shares is None else tuple(request.shares),
        nonce=nonce,
    )


# --- Provider -------------------------------------------------------------------------------------


def countersign(
    context: Context,
    buyer: str,
    agreement: Agreement,
    terms: GrantTerms,
    signature: bytes,
    *,
    height: int = 0,
) -> dict[str, Any]:
    """Sign a buyer's proposal if it keeps to this node's offer and the chain would open it; the
    same proposal again gives the same signature.

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
    row = {
        "agreement_id": agreement_id,
        "side": AgreementSide.PROVIDER,
        "state": AgreementStage.SIGNED,
        "state_since": context.now(),
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
        stored = session.get(AgreementRow, agreement_id)
        if stored is None:
            session.add(AgreementRow(**row))
            append_statement(session, agreement, domain, at=context.now())
        elif stored.provider_signature is None:
            # The chain's event came first, from a node that lost this row.
            stored.side, stored.terms = AgreementSide.PROVIDER, terms.to_json()
            stored.provider_signature, stored.buyer_signature = own, signature

    context.database.write(change)
    return {"agreementId": "0x" + agreement_id.hex(), "signature": "0x" + own.hex()}


def _signed_before(context: Context, agreement_id: bytes) -> bytes | None:
    """This provider's signature of an earlier try, which no later change of its offer takes back;
    ``proposal_ended``.
    """
    with context.database.read() as session:
        row = session.get(AgreementRow, agreement_id)
    if row is None or row.provider_signature is None:
        return None
    if row.state in ENDED:
        rules.require_pending(AgreementStage(row.state), row.reason)
    return row.provider_signature


def _require_sender(context: Context, buyer: str, agreement: Agreement) -> None:
    if agreement.provider != context.member:
        raise Forbidden("not_provider", "The proposal is to another provider.")
    if agreement.buyer != buyer:
        raise Forbidden("not_buyer", "The proposal is not of the member that sends it.")


def _require_own_key(context: Context, agreement: Agreement) -> None:
    """What is signed anew pins the key in use; what was signed before keeps the key it pins."""
    if agreement.provider_key != context.signers[KeyPurpose.STATEMENT].address:
        raise Conflict(
            "provider_key_changed", "The proposal pins a key this node does not sign with."
        )


def _require_proposal(context: Context, agreement: Agreement, *, height: int) -> None:
    head = context.view.require_fresh()
    if head.height < height:
        raise ChainUnavailable(
            "chain_view_behind",
            f"This node's view of the chain is at block {head.height}, the proposal rests on block {height}.",
            hint="Send the same request again in a moment.",
        )
    rules.require_terms(
        agreement, now=context.now(), min_window=context.ledger.deployment.min_close_window
    )
    rules.require_opening_soon(agreement, now=max(context.now(), head.timestamp))
    serving.served_version(context, agreement.asset_id, agreement.asset_version).purposes.require(
        agreement.purpose
    )
    rules.require_offer(agreement, find_offer(context, agreement.asset_id, agreement.asset_version))
    if not proved_state(context, agreement.struct_hash()).opened_at:
        _require_openable(context, agreement)


# --- Keys -----------------------------------------------------------------------------------------


def pinned_to(context: Context, address: str) -> int:
    """How many proposals and agreements that are not over pin this STATEMENT key of the node's own."""
    mine = sa.or_(AgreementRow.provider == context.member, AgreementRow.buyer == context.member)
    query = sa.select(AgreementRow).where(
        mine, AgreementRow.state.not_in((AgreementStage.CLOSED, *ENDED))
    )
    with context.database.read() as session:
        rows = session.scalars(query).all()
    sides = {
        row.agreement_id: "providerKey" if row.provider == context.member else "buyerKey"
        for row in rows
    }
    return sum(row.agreement[sides[row.agreement_id]] == address for row in rows)


# --- Recovery -------------------------------------------------------------------------------------


def of_member(session: Session, member: str) -> list[bytes]:
    """Agreements the member is a party of, also those that only the chain has told a restored
    database of.
    """
    query = sa.select(AgreementRow.agreement_id).where(
        sa.or_(AgreementRow.provider == member, AgreementRow.buyer == member)
    )
    return list(
        session.scalars(
            query.where(AgreementRow.opened_at.is_not(None)).order_by(AgreementRow.opened_at)
        )
    )


def side_of(session: Session, member: str, agreement_id: bytes) -> AgreementSide:
    """Which side of an agreement the member is on, whatever its database still holds of it."""
    row = session.get_one(AgreementRow, agreement_id)
    return AgreementSide.PROVIDER if row.provider == member else AgreementSide.BUYER


def signed_by_both(context: Context, caller: str, agreement_id: bytes) -> dict[str, Any]:
    """An agreement with its grant's terms and both signatures, for the other party; ``not_party``."""
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
    """An agreement of this member, asked back of the other party where the database holds no more
    of it than the chain told.

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


# --- Both -----------------------------------------------------------------------------------------


def load(context: Context, agreement_id: bytes) -> SignedAgreement:
    """An agreement with everything both sides signed; ``unknown_agreement``."""
    row = find(context, agreement_id)
    return SignedAgreement(
        agreement_id=agreement_id,
        agreement=Agreement.from_json(row.agreement),
        terms=None if row.terms is None else GrantTerms.from_json(row.terms),
        provider_signature=row.provider_signature or b"",
        buyer_signature=row.buyer_signature or b"",
        side=AgreementSide(row.side),
        state=AgreementStage(row.state),
    )


def proved_state(context: Context, agreement_id: bytes) -> AgreementRecord:
    """The agreement's books and heights, proved under one head of the node's own view of the chain."""
    return context.view.proved(agreement_records(agreement_id)).agreement(agreement_id)


def listing(
    context: Context, page: PageRequest, *, state: str | None = None, own: bool = True
) -> Page[dict[str, Any]]:
    """Agreements, newest first; with ``own`` only this organisation's; ``cursor_malformed``."""
    query = sa.select(AgreementRow)
    if state is not None:
        query = query.where(AgreementRow.state == state)
    if own:
        query = query.where(OWN)
    with context.database.read() as session:
        found = page_of(session, query, _ORDER, page)
        assets_shown = {Agreement.from_json(row.agreement).asset_id for row in found.rows}
        newest = catalogue.newest_versions(session, assets_shown)
        return found.map(lambda row: _listed(row, newest))


def opened(context: Context, page: PageRequest, *, state: str | None = None) -> Page[bytes]:
    """The ids of everybody's agreements that the chain has opened, newest first;
    ``cursor_malformed``.
    """
    query = sa.select(AgreementRow).where(AgreementRow.opened_at.is_not(None))
    if state is not None:
        query = query.where(AgreementRow.state == state)
    with context.database.read() as session:
        return page_of(session, query, _ORDER, page).map(lambda row: row.agreement_id)


_ORDER = (AgreementRow.added, AgreementRow.agreement_id)


def view(context: Context, agreement_id: bytes) -> dict[str, Any]:
    """One agreement with how its opening stands; a refusal by the chain shows at once, also before
    the worker has recorded it.
    """
    row = find(context, agreement_id)
    with context.database.read() as session:
        listed = _listed(
            row, catalogue.newest_versions(session, [Agreement.from_json(row.agreement).asset_id])
        )
        try:
            opening = outcome(session, open_operation(agreement_id))
        except NotFound:
            return listed
    listed["opening"] = {"state": opening.state, "code": opening.code, "height": opening.height}
    if opening.code is not None and row.state in PENDING:
        listed["state"], listed["reason"] = AgreementStage.FAILED, opening.code
        listed["reasonText"] = f"The chain refused the opening: {opening.code}."
    return listed


def find(context: Context, agreement_id: bytes) -> AgreementRow:
    """An agreement's row; ``unknown_agreement``."""
    with context.database.read() as session:
        row = session.get(AgreementRow, agreement_id)
    if row is None:
        raise NotFound("unknown_agreement", "This node knows no such agreement.")
    return row


def _listed(row: AgreementRow, newest: Mapping[bytes, int]) -> dict[str, Any]:
    agreement = Agreement.from_json(row.agreement)
    newer = newest.get(agreement.asset_id, 0)
    newer = newer if newer > agreement.asset_version else 0
    return {
        "agreementId": "0x" + row.agreement_id.hex(),
        "side": row.side,
        "state": row.state,
        "reason": row.reason,
        "reasonText": row.reason_text,
        "stateSince": row.state_since,
        "provider": row.provider,
        "buyer": row.buyer,
        "unit": MeteredUnit(agreement.unit).name.lower(),
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
        return schema.signature(value)
    except ValueError as error:
        raise BadInput("field_malformed", "A signature is not 0x hexadecimal.") from error


def apply(session: Session, event: Event) -> None:
    """Take one of TradeSettlement's events into the agreements; agreements of others are kept as
    the chain tells them.
    """
    agreement_id = event.arguments.get("agreementId")
    if agreement_id is None:
        return
    row = session.get(AgreementRow, agreement_id)
    if event.name == "AgreementOpened":
        _opened(session, row, event)
    elif row is None:
        return
    elif event.name == "NoticeGiven":
        row.notice_at = event.height
        if row.state != AgreementStage.CLOSED:
            row.state = AgreementStage.NOTICE
    elif event.name == "AgreementClosed":
        row.closed_at, row.state = event.height, AgreementStage.CLOSED
        row.paid, row.refunded = event.arguments["paid"], event.arguments["refunded"]


def _opened(session: Session, row: AgreementRow | None, event: Event) -> None:
    agreement: Agreement = event.arguments["agreement"]
    if row is None:
        row = AgreementRow(
            agreement_id=event.arguments["agreementId"],
            side=AgreementSide.OBSERVER,
            provider=agreement.provider,
            buyer=agreement.buyer,
            agreement=agreement.to_json(),
            paid=0,
            refunded=0,
        )
        session.add(row)
    row.opened_at = event.height
    if row.closed_at is None and row.notice_at is None:
        # Whatever this node recorded of the proposal: what both signed, anyone could open in time.
        row.state, row.reason, row.reason_text, row.state_since = (
            AgreementStage.OPEN,
            None,
            None,
            None,
        )
    session.flush()
