"""The buyer's proposals: sign and store, have the provider sign, queue the opening.

The proposal is stored before the provider is asked. If the answer is lost, the same bytes are sent
again (``resume``): the nonce is fixed, so both sides have the same agreement. An order names the
offer its author saw; a changed offer is refused and never signed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, Conflict, Forbidden, Unavailable
from chain.outbox import enqueue
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
    TermChange,
)
from exchange.agreements.service import (
    CONTRACT,
    DAY,
    find,
    open_operation,
    require_openable,
    set_end,
    view,
)
from exchange.agreements.store import AgreementRow, SeenOfferRow
from registry.assets import peers
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
class ProposalRequest:
    """A buyer's order.

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
        # Made before keys were bound to whole orders: its order is unknown.
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
    """Wait until this node's proved view shows that the chain would open an agreement; returns the
    view's height.

    Raises:
        what ``require_openable`` raises once ``VIEW_SECONDS`` are over.
    """
    deadline = time.monotonic() + VIEW_SECONDS
    while True:
        try:
            return await asyncio.to_thread(require_openable, context, agreement)
        except (Conflict, Forbidden) as error:
            if (
                error.code not in ("not_enough_free", "grant_not_live")
                or time.monotonic() > deadline
            ):
                raise
        await asyncio.sleep(0.1)


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
    """The provider's answer to a proposal; repeated while the provider's view is behind."""
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
    """End a proposal that the provider refused, and raise the refusal."""
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


def _hex(value: Any) -> bytes:
    try:
        return schema.signature(value)
    except ValueError as error:
        raise BadInput("field_malformed", "A signature is not 0x hexadecimal.") from error
