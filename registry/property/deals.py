"""Property deals (云链签): drawn up by the estate agent and delivered to every party's node.

The parties' nodes exchange what is sold and its price. The chain has salted commitments, signatures
and the order of steps. Every decision rests on the deal's and the unit's records, proved under a
fresh head (``proved``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import ProvedRecords, member_record
from chain.outbox import next_attempt, outcome
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from chain.statements.property import DealTerms, StepKind, TitleStatement
from registry.pages import Page, PageRequest, page_of
from registry.property import proved, register
from registry.property.calls import enqueue_call
from registry.property.model import CertifiedKey, DealState, NewDeal
from registry.property.rules import (
    DEAL_DOMAIN,
    members_of,
    require_content,
    require_free,
    require_loan,
    require_opened_with,
    require_period,
    require_running,
    require_title,
    require_title_current,
    roles_of,
)
from registry.property.store import DealRow, StepRow, steps_query
from registry.property.tax import compute
from registry.signers import signed_by


async def create(context: Context, draft: NewDeal) -> dict[str, Any]:
    """Draw up a deal and hand it to every party's node; the terms, for seller and buyer to sign.

    Raises:
        Conflict: ``unit_in_deal``, ``unit_held``, ``title_superseded``, ``title_expired``;
            Forbidden: ``wrong_signer``;
            BadInput: what is wrong with title, content or certificates; Unavailable:
                ``chain_view_stale``; and whatever refusal a party's node gives: a deal not all
                parties accepted is not stored.
    """
    salt, content = new_salt(), dict(draft.content)
    await asyncio.to_thread(require_content, content)
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
        content=commit(salt, DEAL_DOMAIN, content),
        expires_at=draft.expires_at,
        nonce=new_salt(),
    )
    row = DealRow(
        deal_id=terms.struct_hash(),
        unit=terms.unit,
        terms=terms.to_json(),
        content=content,
        content_salt=salt,
        title=draft.title.to_json(),
        title_signature=draft.title_signature,
        certificates=[draft.seller.to_json(), draft.buyer.to_json()],
        operation="",
        opened_at=0,
        registered_at=0,
        expired_at=0,
    )
    await asyncio.to_thread(_require_deal, context, row)
    others = [name for name in members_of(terms) if name != context.member]
    await asyncio.gather(
        *(context.peers.post(other, "/v1/peer/deals", _shared(row)) for other in others)
    )
    await context.database.awrite(lambda session: session.add(row))
    return {
        "dealId": "0x" + row.deal_id.hex(),
        "terms": row.terms,
        "contentSalt": "0x" + salt.hex(),
    }


def receive_deal(context: Context, caller: str, value: Mapping[str, Any]) -> bytes:
    """Take a deal drawn up by an agent, as one of its parties; its id.

    Raises:
        Forbidden: ``deal_of_others``, ``not_owner`` at the registration centre; Unavailable:
            ``register_behind`` there; and what ``create`` raises.
    """
    row = _read_deal(value)
    terms = DealTerms.from_json(row.terms)
    if terms.agent != caller or context.member not in members_of(terms):
        raise Forbidden(
            "deal_of_others",
            "The deal is not from its agent, or this organisation is no party of it.",
        )
    _require_deal(context, row)
    if terms.registrar == context.member:
        register.require_unit(context, str((row.content or {})["unit"]), terms.unit)
        register.require_title_here(context, terms, title_of(row))

    def change(session: Session) -> None:
        known = session.get(DealRow, row.deal_id)
        if known is None:
            session.add(row)
        elif known.content is None:
            known.content, known.content_salt = row.content, row.content_salt
            known.title, known.title_signature = row.title, row.title_signature
            known.certificates = row.certificates

    context.database.write(change)
    return row.deal_id


def _require_deal(context: Context, row: DealRow) -> None:
    """Everything about a new deal: its own parts, and by proved records that the unit is free and
    the title built on its last registration.
    """
    terms, title = DealTerms.from_json(row.terms), title_of(row)
    if row.content_salt is None or not opens(
        terms.content, salt=row.content_salt, domain=DEAL_DOMAIN, record=row.content
    ):
        raise BadInput("content_differs", "The content is not what the deal commits to.")
    require_content(row.content)
    require_loan(terms, row.content or {})
    now = context.now()
    require_period(terms.expires_at, now)
    require_title(title, terms, now)
    if terms.seller == terms.buyer:
        raise BadInput("seller_is_buyer", "Seller and buyer of a deal have different keys.")
    signed = [signed_by(context, title.registrar, title, row.title_signature or b"")]
    for key, value in zip((terms.seller, terms.buyer), row.certificates, strict=True):
        certified = CertifiedKey.from_json(value)
        _require_certificate(certified.certificate, key, terms.registrar, now)
        signed.append(
            signed_by(context, terms.registrar, certified.certificate, certified.signature)
        )
    members = [member_record(member) for member, _ in roles_of(terms)]
    units = proved.unit_records(terms.registrar, terms.unit)
    records = context.view.proved(
        [*(record for statement in signed for record in statement.records), *members, *units]
    )
    for statement in signed:
        statement.require(records, KeyPurpose.STATEMENT)
    _require_roles(terms, records)
    unit = proved.unit_of(records, terms.registrar, terms.unit)
    require_free(unit, row.deal_id)
    require_title_current(title, unit.last_registration)


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


def require_under_way(context: Context, row: DealRow, terms: DealTerms) -> DealState:
    """The chain's records of a deal under way: neither over nor stopped, opened with this node's
    title or to be opened with one that is built on the last registration.
    """
    state = proved.deal_state(context, terms)
    require_running(state.deal, terms, context.now())
    require_free(state.unit, row.deal_id)
    if row.title is not None and state.deal.opened_at:
        require_opened_with(title_of(row), state.title_hash)
    elif row.title is not None:
        require_title_current(title_of(row), state.unit.last_registration)
    return state


def expire(context: Context, deal_id: bytes) -> str:
    """Free the unit of a deal that was not registered in time; the outbox operation."""
    row = find(context, deal_id)
    terms = DealTerms.from_json(row.terms)
    if context.now() <= terms.expires_at:
        raise Conflict("not_yet_expired", "The deal has not expired yet.")

    def change(session: Session) -> str:
        operation = next_attempt(session, f"deal/{deal_id.hex()}/expire")
        enqueue_call(context, session, operation, "expire", [terms])
        return operation

    return context.database.write(change)


def find(context: Context, deal_id: bytes) -> DealRow:
    """A deal this node knows; ``deal_unknown``."""
    with context.database.read() as session:
        row = session.get(DealRow, deal_id)
    if row is None:
        raise NotFound("deal_unknown", "This node knows no such deal.")
    return row


def describe(context: Context, deal_id: bytes) -> dict[str, Any]:
    """Return a deal with its steps and its state: ``draft``, ``opening``, ``open``, ``registered``,
    ``expired``, ``refused``.
    """
    row = find(context, deal_id)
    with context.database.read() as session:
        return _listed(session, row)


def listing(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """Deals this node knows, the latest drawn up first; ``cursor_malformed``."""
    with context.database.read() as session:
        found = page_of(session, sa.select(DealRow), (DealRow.added, DealRow.deal_id), page)
        return found.map(lambda row: _listed(session, row))


def taxes(context: Context, deal_id: bytes) -> dict[str, Any]:
    """The tax sheet the rules give for a deal."""
    return compute(require_content(content_of(find(context, deal_id))))


def title_of(row: DealRow) -> TitleStatement:
    if row.title is None:
        raise Conflict(
            "content_not_received", "The deal's title statement has not been sent to this node."
        )
    return TitleStatement.from_json(row.title)


def content_of(row: DealRow) -> Mapping[str, Any]:
    if row.content is None:
        raise Conflict("content_not_received", "The deal's content has not been sent to this node.")
    return row.content


def _listed(session: Session, row: DealRow) -> dict[str, Any]:
    steps = list(session.scalars(steps_query(row.deal_id)))
    refusal = _refusal(session, row, steps)
    state = (
        "registered"
        if row.registered_at
        else "expired"
        if row.expired_at
        else "open"
        if row.opened_at
        else "refused"
        if refusal
        else "opening"
        if row.operation
        else "draft"
    )
    return {
        "dealId": "0x" + row.deal_id.hex(),
        "state": state,
        "refusal": refusal,
        "unit": "0x" + row.unit.hex(),
        "terms": row.terms,
        "content": row.content,
        "openedAt": row.opened_at or None,
        "registeredAt": row.registered_at or None,
        "expiredAt": row.expired_at or None,
        "steps": [
            {
                "step": StepKind(step.step).name.lower(),
                "height": step.height or None,
                "record": step.record,
            }
            for step in steps
        ],
    }


def _refusal(session: Session, row: DealRow, steps: list[StepRow]) -> str | None:
    """The code of the first call of this node's that the chain refused."""
    operations = [row.operation, *(step.operation for step in steps if not step.height)]
    for operation in dict.fromkeys(name for name in operations if name):
        status = outcome(session, operation)
        if status.state == "reverted":
            return status.code
    return None


def _shared(row: DealRow) -> dict[str, Any]:
    return {
        "terms": row.terms,
        "content": row.content,
        "contentSalt": "0x" + (row.content_salt or b"").hex(),
        "title": row.title,
        "titleSignature": "0x" + (row.title_signature or b"").hex(),
        "certificates": row.certificates,
    }


def _read_deal(value: Mapping[str, Any]) -> DealRow:
    try:
        terms = DealTerms.from_json(value["terms"])
        certificates = [
            CertifiedKey.from_json(certificate).to_json() for certificate in value["certificates"]
        ]
        row = DealRow(
            deal_id=terms.struct_hash(),
            unit=terms.unit,
            terms=terms.to_json(),
            content=value["content"],
            content_salt=schema.salt(value["contentSalt"]),
            title=TitleStatement.from_json(value["title"]).to_json(),
            title_signature=schema.signature(value["titleSignature"]),
            certificates=certificates,
            operation="",
            opened_at=0,
            registered_at=0,
            expired_at=0,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "deal_malformed", "A deal lacks a part or has one of the wrong form."
        ) from error
    if len(certificates) != 2:
        raise BadInput(
            "deal_malformed", "A deal comes with the seller's and the buyer's certificate."
        )
    return row
