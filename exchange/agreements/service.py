"""From an offer to an open agreement.

The buyer reads the provider's offer, signs an agreement that matches it and sends it to the provider's node; the provider checks it against its
offer and the grant, and countersigns. The buyer stores both signatures and the call that opens it in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.commitment import new_salt
from chain.context import Context
from chain.crypto import recover
from chain.errors import Conflict, Forbidden, NotFound
from chain.ledger import Event
from chain.outbox import enqueue
from chain.statements import Agreement, GrantTerms, KeyPurpose, Share
from chain.words import GrantWord, KeyWord
from exchange.agreements.rules import require_form, require_grant, require_offered
from exchange.agreements.store import AgreementRow, Offer
from registry.evidence.service import append_statement
from registry.grants import service as grants

OPENING_SECONDS = 3_600


@dataclass(frozen=True)
class Terms:
    """An agreement with its grant and both signatures."""

    agreement: Agreement
    grant_terms: GrantTerms
    provider_signature: bytes
    buyer_signature: bytes


@dataclass(frozen=True)
class Proposal:
    """What a buyer's clerk decides: how much at most, how long, how many lanes."""

    grant_id: bytes
    cap: int
    max_units: int
    max_per_call: int
    lanes: int
    starts_at: int
    ends_at: int


def set_offer(context: Context, asset_id: bytes, offer: dict[str, Any]) -> None:
    """Offer an asset at these terms from now on; agreements already signed keep theirs."""
    context.database.write(lambda session: session.merge(Offer(asset_id=asset_id, terms=offer)))


def offer_for(context: Context, grant_id: bytes, caller: str) -> dict[str, Any]:
    """The offer to a grantee, with the key the provider will sign receipts with."""
    row = grants.own(context, grant_id)
    if row.grantee != caller:
        raise Forbidden("grant_of_others", "The grant is not this member's.")
    terms = GrantTerms.from_json(row.terms)
    with context.database.read() as session:
        offer = session.get(Offer, terms.asset_id)
    if offer is None:
        raise NotFound("offer_missing", "The provider makes no offer for this asset.")
    return {**offer.terms, "providerKey": context.signers[KeyPurpose.STATEMENT].address}


async def propose(context: Context, wanted: Proposal) -> dict[str, Any]:
    """Negotiate, sign and open an agreement as its buyer; ids as JSON."""
    terms = GrantTerms.from_json(grants.find(context, wanted.grant_id).terms)
    offer = await context.peers.get(terms.owner, f"/v1/peer/offers/0x{wanted.grant_id.hex()}")
    agreement = Agreement(
        version=1,
        grant_id=wanted.grant_id,
        asset_id=terms.asset_id,
        asset_version=terms.asset_version,
        provider=terms.owner,
        buyer=context.member,
        provider_key=offer["providerKey"],
        buyer_key=context.signers[KeyPurpose.STATEMENT].address,
        purpose=terms.purpose,
        unit=offer["unit"],
        price=int(offer["price"]),
        cap=wanted.cap,
        max_units=wanted.max_units,
        max_per_call=wanted.max_per_call,
        lanes=wanted.lanes,
        starts_at=wanted.starts_at,
        ends_at=wanted.ends_at,
        open_before=context.now() + OPENING_SECONDS,
        close_window_blocks=offer["closeWindowBlocks"],
        close_window_seconds=offer["closeWindowSeconds"],
        arbiter=offer["arbiter"],
        shares=tuple(Share.from_json(each) for each in offer["shares"]),
        nonce=new_salt(),
    )
    require_form(agreement, now=context.now())
    require_grant(agreement, terms)
    buyer_signature = context.sign(agreement)
    answer = await context.peers.post(
        terms.owner,
        "/v1/peer/agreements",
        {"agreement": agreement.to_json(), "signature": "0x" + buyer_signature.hex()},
    )
    provider_signature = bytes.fromhex(answer["signature"][2:])
    if recover(agreement.digest(context.domain("TradeSettlement")), provider_signature) != agreement.provider_key:
        raise Conflict("provider_signature", "The provider's signature is not by the key it offered.")
    signed = Terms(agreement, terms, provider_signature, buyer_signature)
    operation = f"agreement-open/{agreement.struct_hash().hex()}"

    def change(session: Session) -> None:
        _keep(context, session, signed)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="TradeSettlement",
            function="open",
            arguments=[agreement, terms, provider_signature, buyer_signature],
        )

    await context.database.awrite(change)
    return {"agreementId": "0x" + agreement.struct_hash().hex(), "operation": operation}


def countersign(context: Context, caller: str, agreement: Agreement, buyer_signature: bytes) -> bytes:
    """The provider's signature under a buyer's agreement, if it is what the provider offers."""
    if agreement.buyer != caller or agreement.provider != context.member:
        raise Forbidden("agreement_of_others", "The agreement is not between the caller and this member.")
    require_form(agreement, now=context.now())
    terms = GrantTerms.from_json(grants.own(context, agreement.grant_id).terms)
    require_grant(agreement, terms)
    offer = offer_for(context, agreement.grant_id, caller)
    require_offered(agreement, offer)
    if agreement.provider_key != offer["providerKey"]:
        raise Conflict("offer_differs", "The agreement pins another provider key.")
    if not GrantWord.decode(context.view.word("GrantRegistry", "grants", agreement.grant_id).value).live:
        raise Forbidden("grant_not_live", "The grant is not approved, or was revoked.")
    _require_buyer_key(context, agreement, buyer_signature)
    signed = Terms(agreement, terms, context.sign(agreement), buyer_signature)
    context.database.write(lambda session: _keep(context, session, signed))
    return signed.provider_signature


def load(context: Context, agreement_id: bytes) -> Terms:
    """An agreement this node is a party to; ``agreement_unknown``."""
    row = find(context, agreement_id)
    return Terms(
        Agreement.from_json(row.agreement),
        GrantTerms.from_json(row.grant_terms),
        row.provider_signature,
        row.buyer_signature,
    )


def find(context: Context, agreement_id: bytes) -> AgreementRow:
    """The stored agreement; ``agreement_unknown``."""
    with context.database.read() as session:
        row = session.get(AgreementRow, agreement_id)
    if row is None:
        raise NotFound("agreement_unknown", "This node is party to no such agreement.")
    return row


def listing(context: Context) -> list[dict[str, Any]]:
    """Every agreement of this node."""
    with context.database.read() as session:
        return [describe(row) for row in session.scalars(sa.select(AgreementRow).order_by(AgreementRow.opened_at))]


def describe(row: AgreementRow) -> dict[str, Any]:
    """An agreement as the API shows it."""
    state = "closed" if row.closed_at else "closing" if row.notice_at else "open" if row.opened_at else "signed"
    return {
        "agreementId": "0x" + row.agreement_id.hex(),
        "state": state,
        "agreement": row.agreement,
        "openedAt": row.opened_at,
        "noticeAt": row.notice_at,
        "closedAt": row.closed_at,
        "openTransaction": "0x" + row.open_transaction.hex() if row.open_transaction else None,
    }


def apply(session: Session, event: Event) -> None:
    """Take one of TradeSettlement's events about an agreement of this node."""
    row = session.get(AgreementRow, event.arguments["agreementId"])
    if row is None:
        return
    if event.name == "AgreementOpened":
        row.opened_at, row.open_transaction = event.height, event.transaction_hash
    elif event.name == "NoticeGiven":
        row.notice_at = event.height
    elif event.name == "AgreementClosed":
        row.closed_at, row.paid, row.refunded = event.height, event.arguments["paid"], event.arguments["refunded"]


def _require_buyer_key(context: Context, agreement: Agreement, signature: bytes) -> None:
    signer = recover(agreement.digest(context.domain("TradeSettlement")), signature)
    proved = context.view.word("MemberDirectory", "keys", bytes.fromhex(signer[2:]).rjust(32, b"\0"))
    key = KeyWord.decode(proved.value)
    live = key.live and key.member == agreement.buyer and key.purpose == KeyPurpose.STATEMENT
    if signer != agreement.buyer_key or not live:
        raise Forbidden("wrong_signer", "The buyer's signature is not by its pinned, live statement key.")


def _keep(context: Context, session: Session, signed: Terms) -> None:
    session.merge(
        AgreementRow(
            agreement_id=signed.agreement.struct_hash(),
            provider=signed.agreement.provider,
            buyer=signed.agreement.buyer,
            agreement=signed.agreement.to_json(),
            grant_terms=signed.grant_terms.to_json(),
            provider_signature=signed.provider_signature,
            buyer_signature=signed.buyer_signature,
        )
    )
    append_statement(session, signed.agreement, context.domain("TradeSettlement"), at=context.now())
