"""Property deals (云链签): drawn up by the estate agent and delivered to every party's node.

The parties' nodes exchange what is sold and its price. The chain has salted commitments, signatures
and the order of steps. Every decision rests on the deal's and the unit's records, proved under a
fresh head.
"""

from __future__ import annotations

import asyncio

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import ProvedRecords, member_record
from chain.outbox import next_attempt, outcome
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from chain.statements.property import DealTerms
from registry.pages import Page, PageRequest
from registry.property import peers, register, store
from registry.property.calls import enqueue_call
from registry.property.model import (
    Deal,
    DealDisclosure,
    DealOverview,
    DealSearch,
    NewDeal,
    StoredStep,
)
from registry.property.rules import (
    DEAL_DOMAIN,
    members_of,
    registered_deal,
    require_content,
    require_free,
    require_loan,
    require_period,
    require_searchable,
    require_title,
    require_title_current,
    roles_of,
    stage_of,
    unit_of,
    unit_records,
)
from registry.property.tax import CURRENT, TaxSheet, compute
from registry.signers import signed_by

EVERY_DEAL = DealSearch()


async def create(context: Context, draft: NewDeal) -> Deal:
    """Draw up a deal and send it to every party's node; seller and buyer sign its terms.

    Raises:
        Conflict: ``unit_in_deal``, ``unit_held``, ``title_superseded``, ``title_expired``;
            Forbidden: ``wrong_signer``;
            BadInput: what is wrong with title, content or certificates; Unavailable:
                ``chain_view_stale``; and whatever refusal a party's node gives: a deal not all
                parties accepted is not stored.
    """
    await asyncio.to_thread(require_content, draft.content)
    deal = _drawn_up(context, draft)
    await asyncio.to_thread(_require_deal, context, deal)
    await peers.share_deal(context, deal)
    await context.database.awrite(lambda session: store.add_deal(session, deal))
    return deal


def _drawn_up(context: Context, draft: NewDeal) -> Deal:
    salt = new_salt()
    terms = DealTerms(
        version=1,
        unit=draft.title.unit,
        seller=draft.seller.certificate.key,
        buyer=draft.buyer.certificate.key,
        agent=context.member,
        bank=draft.bank,
        tax_authority=draft.tax_authority,
        notary=draft.notary,
        registrar=draft.title.registrar,
        content=commit(salt, DEAL_DOMAIN, dict(draft.content)),
        expires_at=draft.expires_at,
        nonce=new_salt(),
    )
    disclosed = DealDisclosure(
        content=dict(draft.content),
        salt=salt,
        title=draft.title,
        title_signature=draft.title_signature,
        seller=draft.seller,
        buyer=draft.buyer,
    )
    return Deal(terms, disclosed)


def receive_deal(context: Context, caller: str, deal: Deal) -> bytes:
    """Take a deal drawn up by an agent (see ``peers.read_deal``), as one of its parties; its id.

    Raises:
        Forbidden: ``deal_of_others``, ``not_owner`` at the registration centre; Unavailable:
            ``register_behind`` there; and what ``create`` raises.
    """
    terms, disclosed, deal_id = deal.terms, deal.require_disclosed(), deal.deal_id
    if terms.agent != caller or context.member not in members_of(terms):
        raise Forbidden(
            "deal_of_others",
            "The deal is not from its agent, or this organisation is no party of it.",
        )
    records = _require_deal(context, deal)
    if terms.registrar == context.member:
        register.require_unit(context, str(disclosed.content["unit"]), terms.unit)
        register.require_title_here(context, terms, disclosed.title, records)

    def change(session: Session) -> None:
        known = store.find_deal(session, deal_id)
        if known is None:
            store.add_deal(session, Deal(terms, disclosed))
        elif known.disclosed is None:
            store.disclose_deal(session, deal_id, disclosed)

    context.database.write(change)
    return deal_id


def _require_deal(context: Context, deal: Deal) -> ProvedRecords:
    """Everything about a new deal: its own parts, and by proved records that the unit is free and
    the title built on its last registration. Returns the records, with that of the unit's last
    registration.
    """
    terms, disclosed, now = deal.terms, deal.require_disclosed(), context.now()
    title = disclosed.title
    if not opens(terms.content, salt=disclosed.salt, domain=DEAL_DOMAIN, record=disclosed.content):
        raise BadInput("content_differs", "The content is not what the deal commits to.")
    require_content(disclosed.content)
    require_loan(terms, disclosed.content)
    require_period(terms.expires_at, now)
    require_title(title, terms, now)
    if terms.seller == terms.buyer:
        raise BadInput("seller_is_buyer", "Seller and buyer of a deal have different keys.")
    signed = [signed_by(context, title.registrar, title, disclosed.title_signature)]
    persons = ((terms.seller, disclosed.seller), (terms.buyer, disclosed.buyer))
    for key, certified in persons:
        certificate = certified.certificate
        _require_certificate(certificate, key, terms.registrar, now)
        signed.append(signed_by(context, terms.registrar, certificate, certified.signature))
    members = [member_record(member) for member, _ in roles_of(terms)]
    units = unit_records(terms.registrar, terms.unit)
    records = context.view.proved(
        [*(record for statement in signed for record in statement.records), *members, *units],
        following=lambda found: registered_deal(found, terms.registrar, terms.unit),
    )
    for statement in signed:
        statement.require(records, KeyPurpose.STATEMENT)
    _require_roles(terms, records)
    unit = unit_of(records, terms.registrar, terms.unit)
    require_free(unit, deal.deal_id)
    require_title_current(title, unit.last_registration)
    return records


def _require_roles(terms: DealTerms, records: ProvedRecords) -> None:
    """The chain asks a role of the registration centre alone."""
    if not all(records.member(member).has_role(role) for member, role in roles_of(terms)):
        raise BadInput(
            "party_role_wrong",
            "The deal's registration centre or tax authority is "
            "no department, or its bank no bank.",
        )


def _require_certificate(
    certificate: SubjectKeyCertificate, key: str, registrar: str, now: int
) -> None:
    if certificate.key != key or certificate.purpose != "deal" or certificate.issuer != registrar:
        raise BadInput(
            "certificate_mismatch",
            "A certificate is not the registration centre's for a deal's key.",
        )
    if not certificate.not_before <= now <= certificate.not_after:
        raise Forbidden("certificate_expired", "A person's certificate does not cover this time.")


def expire(context: Context, deal_id: bytes) -> str:
    """Free the unit of a deal that was not registered in time; the outbox operation."""
    terms = find(context, deal_id).terms
    if context.now() <= terms.expires_at:
        raise Conflict("not_yet_expired", "The deal has not expired yet.")

    def change(session: Session) -> str:
        operation = next_attempt(session, f"deal/{deal_id.hex()}/expire")
        enqueue_call(context, session, operation, "expire", [terms])
        return operation

    return context.database.write(change)


def find(context: Context, deal_id: bytes) -> Deal:
    """A deal this node knows; ``deal_unknown``."""
    with context.database.read() as session:
        return _stored(session, deal_id)


def describe(context: Context, deal_id: bytes) -> DealOverview:
    """A deal with its steps, how far it is and what the chain refused; ``deal_unknown``."""
    with context.database.read() as session:
        return _overview(session, _stored(session, deal_id))


def listing(
    context: Context, page: PageRequest, search: DealSearch = EVERY_DEAL
) -> Page[DealOverview]:
    """The deals that a search finds at this node, the latest drawn up first.

    Raises:
        BadInput: ``cursor_malformed``, ``deal_stage_unknown``.
    """
    require_searchable(search)
    with context.database.read() as session:
        return store.deals_page(session, page, search).map(lambda deal: _overview(session, deal))


def of_key(context: Context, key: str) -> list[DealOverview]:
    """The deals whose seller or buyer signs with this key, the latest drawn up first."""
    with context.database.read() as session:
        return [_overview(session, deal) for deal in store.deals_of_key(session, key)]


def of_unit(context: Context, unit: bytes) -> list[DealOverview]:
    """A unit's deals that this node knows, the latest drawn up first, ``MAX_ROWS`` at most."""
    with context.database.read() as session:
        return [_overview(session, deal) for deal in store.deals_of_unit(session, unit)]


def taxes(context: Context, deal_id: bytes, *, rules_name: str = CURRENT) -> TaxSheet:
    """The tax sheet the rules give for a deal; ``deal_unknown``, ``content_not_received``,
    ``tax_rules_unknown``.
    """
    facts = require_content(find(context, deal_id).require_disclosed().content)
    return compute(facts, rules_name=rules_name)


def _stored(session: Session, deal_id: bytes) -> Deal:
    deal = store.find_deal(session, deal_id)
    if deal is None:
        raise NotFound("deal_unknown", "This node knows no such deal.")
    return deal


def _overview(session: Session, deal: Deal) -> DealOverview:
    steps = store.steps_of_deal(session, deal.deal_id)
    refusal = _refusal(session, deal, steps)
    return DealOverview(deal, stage_of(deal, refused=bool(refusal)), refusal, tuple(steps))


def _refusal(session: Session, deal: Deal, steps: list[StoredStep]) -> str | None:
    """The code of the first call of this node's that the chain refused."""
    operations = [deal.operation, *(step.operation for step in steps if not step.height)]
    for operation in dict.fromkeys(name for name in operations if name):
        status = outcome(session, operation)
        if status.state == "reverted":
            return status.code
    return None
