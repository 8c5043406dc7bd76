"""The buyer's proposals: sign and store, have the provider sign, queue the opening.

The proposal is stored before the provider is asked. If the answer is lost, the same bytes are sent
again (``resume``): the nonce is fixed, so both sides have the same agreement. An order names the
offer its author saw; a changed offer is refused and never signed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import NoReturn

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, Unavailable
from chain.outbox import enqueue
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement
from exchange.agreements import peers, rules, stages, store
from exchange.agreements.model import (
    ENDED,
    PENDING,
    AgreementSide,
    AgreementStage,
    AgreementView,
    Offer,
    ProposalRefusal,
    ProposalRequest,
    SignedTerms,
)
from exchange.agreements.orders import Order, order_records, require_order
from exchange.agreements.service import (
    CONTRACT,
    DAY,
    find,
    open_operation,
    set_end,
    view,
)
from exchange.agreements.store import AgreementRow
from registry.assets import peers as asset_peers
from registry.evidence.log import append_if_missing
from registry.grants import service as grants
from registry.idempotency import KeyScope, bind, content_of, key_reused, nonce_for

OPEN_SECONDS = 3600
DEFAULT_SECONDS = 30 * DAY
VIEW_SECONDS = 2.0
"""How long a buyer's node waits for its view, up to a block behind, to show a balance or grant."""
PEER_VIEW_SECONDS = 5.0
"""How long it repeats a proposal while the provider's view is behind the block it rests on."""


@dataclass(frozen=True)
class _StoredProposal:
    """A proposal that this node has signed."""

    agreement: Agreement
    terms: GrantTerms
    signature: bytes


async def propose(
    context: Context, request: ProposalRequest, *, idempotency_key: str | None = None
) -> AgreementView:
    """Sign an agreement, have the provider sign it, and queue its opening; the same key with the
    same order is one agreement.

    Asset version, grant, balances and time are proved under one block. The provider proves what it
    signs again, under a block that is no older.

    Raises:
        BadInput: ``offer_not_named``, what ``rules.require_terms`` raises; NotFound:
            ``grant_unknown``, ``not_offered``, ``asset_unknown``;
            Conflict: ``idempotency_key_reused``, ``offer_changed``, ``offer_not_met``,
                ``not_enough_free``, ``metadata_differs``, the provider's refusal by its code;
            Forbidden: ``grant_of_others``, ``grant_not_live``, ``purpose_not_listed`` by the asset
                version;
            Unavailable: ``peer_unreachable`` (the proposal is stored; ``resume`` asks again until
                it expires).
    """
    rules.require_named(request.offer_hash, request.stated())
    nonce = nonce_for(context, "agreement", idempotency_key)
    known = None
    if idempotency_key is not None:
        known = await context.database.awrite(
            lambda session: _bound(session, idempotency_key, request, nonce, now=context.now())
        )
    order = (
        await _order(context, request, nonce)
        if known is None
        else await asyncio.to_thread(_repeated, context, known)
    )
    return order if isinstance(order, AgreementView) else await _open(context, order)


async def resume(context: Context, agreement_id: bytes) -> AgreementView:
    """Ask the provider (again) to sign a stored proposal, and queue the opening.

    Raises:
        Conflict: ``proposal_ended``, ``not_enough_free``, and the provider's refusal by its code,
            which ends the proposal;
            Unavailable: the provider cannot be asked now; the proposal stays as it is.
    """
    stored = await asyncio.to_thread(_stored, context, agreement_id)
    return stored if isinstance(stored, AgreementView) else await _open(context, stored)


async def _open(context: Context, order: Order | _StoredProposal) -> AgreementView:
    """Decide, sign and store; have the provider sign; queue the opening."""
    agreement, height = await _decided(context, order)
    proposal = await _store(context, order, agreement) if isinstance(order, Order) else order
    if isinstance(proposal, AgreementView):
        return proposal
    signature = await _countersignature(context, proposal, height=height)
    agreement, agreement_id = proposal.agreement, proposal.agreement.struct_hash()
    if isinstance(signature, ProposalRefusal):
        await _refused(context, agreement_id, signature)
    domain = context.domain(CONTRACT)
    rules.require_signature(agreement, signature, agreement.provider_key, domain)
    signed = SignedTerms(agreement, proposal.terms, signature, proposal.signature)
    await context.database.awrite(lambda session: _queue_opening(context, session, signed))
    row = await asyncio.to_thread(find, context, agreement_id)
    if row.state in ENDED:
        stages.require_pending(AgreementStage(row.state), row.reason)
    return await asyncio.to_thread(view, context, agreement_id)


# --- The order ------------------------------------------------------------------------------------


async def _order(context: Context, request: ProposalRequest, nonce: bytes) -> Order:
    """An order with the version and the offer that the owner's node shows; ``grant_unknown``,
    ``grant_of_others``.
    """
    terms = (await asyncio.to_thread(grants.load, context, request.grant_id)).terms
    if terms.grantee != context.member:
        raise Forbidden("grant_of_others", "The grant is not this organisation's.")
    version = await asset_peers.shown_version(
        context, terms.owner, terms.asset_id, terms.asset_version
    )
    current = await peers.current_offer(context, terms)
    seen = await asyncio.to_thread(_seen_offer, context, request)
    return Order(request, terms, version, current, seen, nonce)


def _seen_offer(context: Context, request: ProposalRequest) -> Offer | None:
    """The offer that an order names, if its author saw it at this node."""
    if request.offer_hash is None:
        return None
    with context.database.read() as session:
        seen = store.seen_offer(session, request.offer_hash)
    return None if seen is None else Offer.from_json(seen.offer)


async def _store(
    context: Context, order: Order, agreement: Agreement
) -> _StoredProposal | AgreementView:
    """Sign and store a proposal before anybody sees it; under a repeated key, the stored one."""
    signature = context.sign(agreement)

    def change(session: Session) -> bytes:
        known = _with_nonce(session, order.nonce)
        if known is not None:
            return known
        row = _proposal_row(agreement, order.terms, signature, now=context.now())
        store.add(session, row)
        return row.agreement_id

    return await asyncio.to_thread(_stored, context, await context.database.awrite(change))


def _stored(context: Context, agreement_id: bytes) -> _StoredProposal | AgreementView:
    """A stored proposal that the provider has yet to sign; else the agreement as it is.

    Raises:
        Forbidden: ``not_buyer``; Conflict: ``proposal_ended``; NotFound: ``unknown_agreement``.
    """
    row = find(context, agreement_id)
    if row.side != AgreementSide.BUYER or row.terms is None or row.buyer_signature is None:
        raise Forbidden("not_buyer", "Only the buyer's node proposes an agreement.")
    if row.state in ENDED:
        stages.require_pending(AgreementStage(row.state), row.reason)
    if row.state != AgreementStage.PROPOSED:
        return view(context, agreement_id)
    return _StoredProposal(
        Agreement.from_json(row.agreement), GrantTerms.from_json(row.terms), row.buyer_signature
    )


def _repeated(context: Context, agreement_id: bytes) -> _StoredProposal | AgreementView:
    """What an earlier order under the same key made, or why that failed."""
    row = find(context, agreement_id)
    if row.state == AgreementStage.FAILED:
        raise _failure(row.reason or "failed", row.reason_text or "The proposal failed.")
    return _stored(context, agreement_id)


# --- The decision ---------------------------------------------------------------------------------


async def _decided(context: Context, order: Order | _StoredProposal) -> tuple[Agreement, int]:
    """The agreement that the chain would open, and the block that shows it. A node's view is up to
    a block behind, so a balance or grant that it lacks is waited for.

    Raises:
        what ``_drawn_up`` and ``rules.require_openable`` raise once ``VIEW_SECONDS`` are over.
    """
    deadline = time.monotonic() + VIEW_SECONDS
    min_window = context.ledger.deployment.min_close_window
    now, key = context.now(), context.signers[KeyPurpose.STATEMENT].address

    def agreement_at(chain_time: int) -> Agreement:
        if isinstance(order, _StoredProposal):
            return order.agreement
        return _draft(order, now=now, chain_time=chain_time, buyer_key=key)

    while True:
        records = await context.view.aproved(
            order_records(order) if isinstance(order, Order) else (),
            following=lambda proved: rules.opening_records(agreement_at(proved.timestamp)),
        )
        try:
            agreement = agreement_at(records.timestamp)
            if isinstance(order, Order):
                require_order(order, agreement, records, now=now, min_window=min_window)
            rules.require_openable(agreement, records)
            return agreement, records.height
        except (Conflict, Forbidden) as error:
            if (
                error.code not in ("not_enough_free", "grant_not_live")
                or time.monotonic() > deadline
            ):
                raise
        await asyncio.sleep(0.1)


# --- Stored proposals -----------------------------------------------------------------------------


def _proposal_row(
    agreement: Agreement, terms: GrantTerms, signature: bytes, *, now: int
) -> AgreementRow:
    return AgreementRow(
        agreement_id=agreement.struct_hash(),
        side=AgreementSide.BUYER,
        state=AgreementStage.PROPOSED,
        state_since=now,
        provider=agreement.provider,
        buyer=agreement.buyer,
        agreement=agreement.to_json(),
        terms=terms.to_json(),
        buyer_signature=signature,
        proposed_at=now,
        paid=0,
        refunded=0,
    )


def _bound(
    session: Session, key: str, request: ProposalRequest, nonce: bytes, *, now: int
) -> bytes | None:
    """Bind the key to the order; the agreement that an earlier request under the same key made."""
    new = bind(session, KeyScope.AGREEMENT, key, content_of(request), now=now)
    known = _with_nonce(session, nonce)
    if new and known is not None:
        # Made before keys were bound to whole orders: its order is unknown.
        raise key_reused(KeyScope.AGREEMENT)
    return known


def _with_nonce(session: Session, nonce: bytes) -> bytes | None:
    for row in store.bought(session):
        if row.agreement["nonce"] == "0x" + nonce.hex():
            return row.agreement_id
    return None


def _failure(code: str, sentence: str) -> Conflict:
    return Conflict(
        code, sentence, hint="The proposal has ended. Order again under a new idempotency key."
    )


def _queue_opening(context: Context, session: Session, signed: SignedTerms) -> None:
    """Store the provider's signature, and queue the opening of a proposal that has not ended."""
    agreement, agreement_id = signed.agreement, signed.agreement.struct_hash()
    stored = store.get(session, agreement_id)
    stored.provider_signature = signed.provider_signature
    append_if_missing(
        session,
        kind=type(agreement).__name__,
        digest=agreement.digest(context.domain(CONTRACT)),
        at=context.now(),
    )
    if stored.state in ENDED:
        # It ended here while the provider was signing, so the end is reported again.
        stored.reported_at = None
    elif stored.state in PENDING:
        stored.state, stored.state_since = AgreementStage.SIGNED, context.now()
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=open_operation(agreement_id),
            contract=CONTRACT,
            function="open",
            arguments=[agreement, signed.terms, signed.provider_signature, signed.buyer_signature],
        )


async def _countersignature(
    context: Context, proposal: _StoredProposal, *, height: int
) -> bytes | ProposalRefusal:
    """The provider's answer to a proposal; asked again while the provider's view is behind."""
    deadline = time.monotonic() + PEER_VIEW_SECONDS
    while True:
        try:
            return await peers.countersignature(
                context, proposal.agreement, proposal.terms, proposal.signature, height=height
            )
        except Unavailable as error:
            if error.code != "chain_view_behind" or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


async def _refused(context: Context, agreement_id: bytes, refusal: ProposalRefusal) -> NoReturn:
    """End a proposal that the provider refused, and raise the refusal."""
    end = stages.refused_by_provider(refusal.code, refusal.sentence)

    def change(session: Session) -> None:
        stored = store.get(session, agreement_id)
        if stored.state == AgreementStage.PROPOSED:
            set_end(stored, end, now=context.now())
            stored.reported_at = context.now()

    await context.database.awrite(change)
    raise _failure(end.reason, end.sentence)


def _draft(order: Order, *, now: int, chain_time: int, buyer_key: str) -> Agreement:
    """The agreement of an order: what it leaves open is taken from the offer. Pure."""
    request, terms, offered = order.request, order.terms, order.current.offer
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
        version=2,
        grant_id=terms.struct_hash(),
        asset_id=terms.asset_id,
        asset_version=terms.asset_version,
        provider=terms.owner,
        buyer=terms.grantee,
        provider_key=order.current.provider_key,
        buyer_key=buyer_key,
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
        bond=offered.bond,
        bond_from_earnings=offered.bond_from_earnings,
        stake=offered.stake,
        shares=offered.shares if request.shares is None else tuple(request.shares),
        nonce=order.nonce,
    )
