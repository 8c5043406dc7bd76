"""Property deals (云链签): drawn up by the estate agent, signed by every party, opened and stepped on
the chain.

What is sold for how much goes between the parties' nodes; the chain has salted commitments,
signatures and the order. Each member signs its own step at its own node. The node reads the deal's
and the unit's records with proofs under a fresh head (``proved``), sends the step to the chain
itself and hands signature and record to the other parties. A node that missed one asks the step's
party for it (``delivery``). Seller and buyer sign with one-time keys the registration centre
certified, at the agent's desk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps, loads
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import ProvedRecords, member_record
from chain.ethereum.records import DealRecord
from chain.outbox import Priority, enqueue, next_attempt, outcome, refused
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.members import KeyPurpose, Role, SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry import fanout
from registry.evidence.service import append, append_statement
from registry.pages import Page, PageRequest, page_of
from registry.property import proved, register
from registry.property.model import DealState
from registry.property.rules import (
    AGREEING,
    DEAL_DOMAIN,
    NATURAL_PERSONS,
    STEP_DOMAIN,
    members_of,
    party,
    require_content,
    require_free,
    require_loan,
    require_opened_with,
    require_period,
    require_record,
    require_running,
    require_title,
    require_title_current,
    require_turn,
    roles_of,
    step_holder,
    steps_of,
)
from registry.property.store import DealRow, StepRow
from registry.property.tax import compute
from registry.signers import require_signed_at, require_signed_by, signed_by

log = logging.getLogger("qiaolian.deals")

CONTRACT = "PropertyLedger"
DELIVERY_SECONDS = 10.0
"""How long another party's node may take to accept a step at once."""


@dataclass(frozen=True)
class CertifiedKey:
    """A person's one-time key: the registration centre's certificate and its signature."""

    certificate: SubjectKeyCertificate
    signature: bytes

    @classmethod
    def from_json(cls, value: Any) -> CertifiedKey:
        """Read ``{"certificate": …, "signature": 0x…}``; ``certificate_malformed``."""
        try:
            return cls(
                SubjectKeyCertificate.from_json(value["certificate"]),
                schema.signature(value["signature"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                "certificate_malformed", "A certificate lacks a part or has one of the wrong form."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"certificate": self.certificate.to_json(), "signature": "0x" + self.signature.hex()}


@dataclass(frozen=True)
class NewDeal:
    """What the estate agent draws up."""

    title: TitleStatement
    title_signature: bytes
    seller: CertifiedKey
    buyer: CertifiedKey
    bank: str
    tax_authority: str
    notary: str
    content: Mapping[str, Any]
    expires_at: int


# --- Drawing up -----------------------------------------------------------------------------------


async def create(context: Context, draft: NewDeal) -> dict[str, Any]:
    """Draw up a deal and hand it to every party's node; the terms, for seller and buyer to sign.

    Raises:
        Conflict: ``unit_in_deal``, ``unit_held``, ``title_superseded``, ``title_expired``;
            Forbidden: ``wrong_signer``;
            BadInput: what is wrong with title, content or certificates; Unavailable:
                ``chain_view_stale``; and whatever refusal a party's node gives: a deal not all
                parties took is not kept.
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
        register.require_title_here(context, terms, _title(row))

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
    terms, title = DealTerms.from_json(row.terms), _title(row)
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
            "The deal's registration centre or tax authority is no department, or its bank no bank.",
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


def _proved(context: Context, row: DealRow, terms: DealTerms) -> DealState:
    """The chain's records of a deal under way: neither over nor stopped, opened with this node's
    title or to be opened with one that is built on the last registration.
    """
    state = proved.deal_state(context, terms)
    require_running(state.deal, terms, context.now())
    require_free(state.unit, row.deal_id)
    if row.title is not None and state.deal.opened_at:
        require_opened_with(_title(row), state.title_hash)
    elif row.title is not None:
        require_title_current(_title(row), state.unit.last_registration)
    return state


# --- Signing --------------------------------------------------------------------------------------


async def receive_signature(
    context: Context, deal_id: bytes, statement: DealStep, signature: bytes
) -> dict[str, Any]:
    """Take the seller's or buyer's own signature at the agent's node; the seller's opens the deal
    on the chain.

    Raises:
        Forbidden: ``wrong_party``; BadInput: ``other_deal``, ``content_differs``;
        Conflict: ``step_taken``, ``deal_over``, ``unit_held``, ``unit_in_deal``,
            ``title_superseded``, ``title_differs``; Unavailable: ``chain_view_stale``.
    """
    row = await asyncio.to_thread(find, context, deal_id)
    terms = DealTerms.from_json(row.terms)
    if terms.agent != context.member:
        raise Forbidden("other_agent", "The deal's seller and buyer sign at its agent's node.")
    step = await asyncio.to_thread(
        _require_statement, context, terms, deal_id, statement, signature
    )
    if step not in NATURAL_PERSONS:
        raise Forbidden("wrong_party", "Organisations sign at their own nodes.")
    await asyncio.to_thread(_proved, context, row, terms)

    def change(session: Session) -> str:
        stored = _store_step(context, session, deal_id, statement, signature, None, None)
        if stored:
            digest = statement.digest(context.domain(CONTRACT))
            append(session, kind="DealStep", digest=digest, at=context.now())
        return (
            _send_agreed_steps(context, session, terms)
            or session.get_one(StepRow, (deal_id, int(step))).operation
        )

    operation = await context.database.awrite(change)
    await _deliver(context, terms, deal_id, step)
    return {
        "dealId": "0x" + deal_id.hex(),
        "step": step.name.lower(),
        "operation": operation or None,
    }


async def sign(
    context: Context, deal_id: bytes, step: StepKind, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Sign this organisation's step and send it to the chain; what was signed.

    ``given`` is what the step states (certificate or contract number). The tax sheet is computed by
    the rules; if one is given, as its person saw it, it must be that one.

    Raises:
        Forbidden: ``wrong_party``; Conflict: ``out_of_order``, ``deal_over``, ``unit_held``,
            ``title_differs``, ``tax_changed``, ``step_taken`` when the step is signed and states
            something else;
        BadInput: ``record_malformed``, ``tax_differs``;
        Unavailable: ``chain_view_stale``; for the registration also ``not_owner``,
            ``title_superseded``, ``register_behind``.
    """
    row = await asyncio.to_thread(find, context, deal_id)
    terms = DealTerms.from_json(row.terms)
    record, salt = await asyncio.to_thread(_checked_step, context, row, terms, step, given)
    statement = DealStep(
        version=1,
        deal_id=deal_id,
        step=int(step),
        content=terms.content
        if record is None or salt is None
        else commit(salt, STEP_DOMAIN, record),
        signed_at=context.now(),
    )
    signature = context.sign(statement)

    def change(session: Session) -> StepRow:
        known = session.get(StepRow, (deal_id, int(step)))
        if known is not None and known.signature is not None:
            _require_same_record(known, given)
        if known is None or known.signature is None:
            _store_step(context, session, deal_id, statement, signature, record, salt)
            append_statement(session, statement, context.domain(CONTRACT), at=statement.signed_at)
        if step is StepKind.AGENT:
            _send_agreed_steps(context, session, terms)
        else:
            _send_step(context, session, terms, step)
        return session.get_one(StepRow, (deal_id, int(step)))

    stored = await context.database.awrite(change)
    await _deliver(context, terms, deal_id, step)
    return {**_step_json(stored), "operation": stored.operation}


def _checked_step(
    context: Context,
    row: DealRow,
    terms: DealTerms,
    step: StepKind,
    given: Mapping[str, Any] | None,
) -> tuple[dict[str, Any] | None, bytes | None]:
    """What the step states, with its salt, once this organisation may sign it now; raises as
    ``sign``.
    """
    state = _proved(context, row, terms)
    require_turn(
        terms, step, member=context.member, done=_done(context, row.deal_id, terms, state.deal)
    )
    content = _content(row)
    if terms.registrar == context.member:
        register.require_unit(context, str(content["unit"]), terms.unit)
    if step is StepKind.REGISTER:
        register.require_title_here(context, terms, _title(row))
        register.require_buyer(context, terms.buyer)
    return _stated(terms, step, content, given)


def receive_step(context: Context, caller: str, deal_id: bytes, value: Mapping[str, Any]) -> None:
    """Keep a party's signed step, with what it states, at another party's node."""
    row = find(context, deal_id)
    terms = DealTerms.from_json(row.terms)
    statement, signature, record, salt = _read_step(value)
    step = _require_statement(context, terms, deal_id, statement, signature)
    if caller != step_holder(terms, step):
        raise Forbidden("wrong_party", "A step is handed on by its own party.")
    if step not in AGREEING:
        if salt is None or not opens(
            statement.content, salt=salt, domain=STEP_DOMAIN, record=record
        ):
            raise BadInput("record_differs", "What the step states is not what it commits to.")
        require_record(terms, step, _content(row), record)
    context.database.write(
        lambda session: (
            _store_step(context, session, deal_id, statement, signature, record, salt) and None
        )
    )


def _require_statement(
    context: Context, terms: DealTerms, deal_id: bytes, statement: DealStep, signature: bytes
) -> StepKind:
    """The step is one of this deal's and signed by its party."""
    if statement.deal_id != deal_id:
        raise BadInput("other_deal", "The signature is under another deal.")
    if statement.step not in {int(kind) for kind in steps_of(terms)}:
        raise BadInput("unknown_step", "The deal has no such step.")
    step = StepKind(statement.step)
    if step in AGREEING and statement.content != terms.content:
        raise BadInput("content_differs", "The signature is not under this deal's content.")
    if step in NATURAL_PERSONS:
        signer = recover(statement.digest(context.domain(CONTRACT)), signature)
        if signer != (terms.seller if step is StepKind.SELLER else terms.buyer):
            raise Forbidden(
                "wrong_party", f"The step {step.name.lower()} is not signed by its own party."
            )
    else:
        _require_partys(context, party(terms, step), statement, signature)
    return step


def _require_partys(context: Context, member: str, statement: DealStep, signature: bytes) -> None:
    """The member signed it: by its status now, or, for what the chain is proved to have, by its key
    then, since it may be handed on much later.
    """
    with context.database.read() as session:
        known = session.get(StepRow, (statement.deal_id, statement.step))
    taken = proved.step_hash(context, statement.deal_id, statement.step) == statement.struct_hash()
    if taken and known is not None and known.height:
        require_signed_at(context, member, statement, signature, known.height, KeyPurpose.STATEMENT)
    else:
        require_signed_by(context, member, statement, signature, KeyPurpose.STATEMENT)


def _stated(
    terms: DealTerms, step: StepKind, content: Mapping[str, Any], given: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, bytes | None]:
    if step in AGREEING:
        return None, None
    if step is StepKind.TAX:
        record = compute(require_content(content))
        if given is not None and dict(given) != record:
            raise Conflict(
                "tax_changed",
                "The tax sheet that was shown is not the one the rules give now.",
                hint="Look at it again: qiaolian deal taxes.",
            )
    elif step is StepKind.MORTGAGE:
        record = {"lender": terms.bank, "loan": content["loan"], **(given or {})}
    elif step is StepKind.NOTARY:
        record = {"notary": terms.notary, **(given or {})}
    else:
        record = {"registrar": terms.registrar, "unit": content["unit"], **(given or {})}
    return require_record(terms, step, content, record), new_salt()


def _require_same_record(known: StepRow, given: Mapping[str, Any] | None) -> None:
    """A signed step is signed again only as it is: ``step_taken`` where the repetition states
    something else.
    """
    record = known.record or {}
    if any(record.get(name) != value for name, value in (given or {}).items()):
        raise Conflict("step_taken", "The step is signed and states something else.")


def _store_step(
    context: Context,
    session: Session,
    deal_id: bytes,
    statement: DealStep,
    signature: bytes,
    record: Mapping[str, Any] | None,
    salt: bytes | None,
) -> bool:
    """Store a signed step once; whether it is new. Another signature under a step that has one is
    ``step_taken``.
    """
    known = session.get(StepRow, (deal_id, statement.step))
    if known is None:
        known = StepRow(
            deal_id=deal_id,
            step=statement.step,
            statement=statement.to_json(),
            operation="",
            height=0,
        )
        session.add(known)
    elif known.statement != statement.to_json():
        raise Conflict("step_taken", "Another statement is signed under this step.")
    elif known.signature is not None:
        return False
    known.signature, known.salt = signature, salt
    known.record = dict(record) if record is not None else None
    session.flush()
    return True


def _send_agreed_steps(context: Context, session: Session, terms: DealTerms) -> str:
    """Open the deal once the seller has signed; what buyer and agent signed follows it. The last
    operation sent.
    """
    deal_id = terms.struct_hash()
    row, seller = (
        session.get_one(DealRow, deal_id),
        session.get(StepRow, (deal_id, int(StepKind.SELLER))),
    )
    if seller is None or seller.signature is None:
        return ""
    last = ""
    if _unsent(session, seller):
        last = row.operation = seller.operation = next_attempt(
            session, f"deal/{deal_id.hex()}/open"
        )
        title, step = TitleStatement.from_json(row.title), DealStep.from_json(seller.statement)
        _enqueue(
            context,
            session,
            last,
            "open",
            [terms, title, row.title_signature, step, seller.signature],
        )
    for step_after in (StepKind.BUYER, StepKind.AGENT):
        last = _send_step(context, session, terms, step_after) or last
    return last


def _send_step(context: Context, session: Session, terms: DealTerms, step: StepKind) -> str:
    """Send a signed step unless it was sent; its operation then."""
    deal_id = terms.struct_hash()
    row = session.get(StepRow, (deal_id, int(step)))
    if row is None or row.signature is None or not _unsent(session, row):
        return ""
    row.operation = next_attempt(session, f"deal/{deal_id.hex()}/{step.name.lower()}")
    _enqueue(
        context,
        session,
        row.operation,
        "steps",
        [terms, [DealStep.from_json(row.statement)], [row.signature]],
    )
    return row.operation


def _unsent(session: Session, row: StepRow) -> bool:
    return not row.height and (not row.operation or refused(session, row.operation))


async def _deliver(context: Context, terms: DealTerms, deal_id: bytes, step: StepKind) -> None:
    """Give a signed step to the other parties at once. One that does not take it now asks for it
    when the chain has told it (``delivery``).
    """
    body = await context.database.aread(
        lambda session: _step_json(session.get_one(StepRow, (deal_id, int(step))))
    )
    path = f"/v1/peer/deals/0x{deal_id.hex()}/steps"
    others = [name for name in members_of(terms) if name != context.member]
    await fanout.for_each(
        others, lambda member: context.peers.post(member, path, body), seconds=DELIVERY_SECONDS
    )


async def fetch_step(context: Context, deal_id: bytes, step: StepKind) -> None:
    """Get a signed step this node lacks from its party, as checked as one handed in; nothing is
    asked when it is here.

    Raises:
        Conflict: ``step_taken`` for another statement than the chain has; BadInput:
            ``step_malformed``, ``record_differs``, ``tax_differs``, and what else ``receive_step``
            refuses; Unavailable: the party cannot be reached; and whatever refusal it gives.
    """
    known = await context.database.aread(lambda session: session.get(StepRow, (deal_id, int(step))))
    if known is None or known.signature is not None:
        return
    holder = step_holder(
        DealTerms.from_json((await asyncio.to_thread(find, context, deal_id)).terms), step
    )
    found = await context.peers.get(holder, f"/v1/peer/deals/0x{deal_id.hex()}/steps/{int(step)}")
    try:
        answer = loads(dumps(found))
    except (ValueError, RecursionError) as error:
        raise BadInput("step_malformed", "The party's answer is no strict JSON.") from error
    if _read_step(answer)[0].step != step:
        raise BadInput(
            "step_malformed", "The party answered with another step than it was asked for."
        )
    await asyncio.to_thread(receive_step, context, holder, deal_id, answer)


# --- Expiry ---------------------------------------------------------------------------------------


def expire(context: Context, deal_id: bytes) -> str:
    """Free the unit of a deal that was not registered in time; the outbox operation."""
    row = find(context, deal_id)
    terms = DealTerms.from_json(row.terms)
    if context.now() <= terms.expires_at:
        raise Conflict("not_yet_expired", "The deal has not expired yet.")

    def change(session: Session) -> str:
        operation = next_attempt(session, f"deal/{deal_id.hex()}/expire")
        _enqueue(context, session, operation, "expire", [terms])
        return operation

    return context.database.write(change)


# --- Reading --------------------------------------------------------------------------------------


def find(context: Context, deal_id: bytes) -> DealRow:
    """A deal this node knows; ``deal_unknown``."""
    with context.database.read() as session:
        row = session.get(DealRow, deal_id)
    if row is None:
        raise NotFound("deal_unknown", "This node knows no such deal.")
    return row


def describe(context: Context, deal_id: bytes) -> dict[str, Any]:
    """A deal with its steps, and where it stands: ``draft``, ``opening``, ``open``, ``registered``,
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
    return compute(require_content(_content(find(context, deal_id))))


def signed_steps(context: Context, deal_id: bytes) -> list[StepRow]:
    """The steps known here, in order."""
    with context.database.read() as session:
        return list(session.scalars(_steps_query(deal_id)))


def step_of(context: Context, caller: str, deal_id: bytes, step: int) -> dict[str, Any]:
    """A signed step, for a party that missed it."""
    terms = DealTerms.from_json(find(context, deal_id).terms)
    if caller not in members_of(terms):
        raise Forbidden("deal_of_others", "The deal is another's.")
    with context.database.read() as session:
        row = session.get(StepRow, (deal_id, step))
    if row is None or row.signature is None:
        raise NotFound("step_unknown", "This node has no such signed step.")
    return _step_json(row)


def apply(session: Session, event: Event, *, member: str, roles: Role) -> None:
    """Store one of PropertyLedger's events that concerns this member, for display and search; a
    supervisor stores all.

    No right follows from it: what allows a step, and whose a home is, comes from proved records
    (``proved``, ``register``).
    """
    arguments = event.arguments
    if event.name == "DealOpened":
        _opened(session, event, member, bool(roles & Role.SUPERVISOR))
        return
    row = session.get(DealRow, arguments["dealId"]) if "dealId" in arguments else None
    if row is None:
        return
    if event.name == "DealStepped":
        _stepped(session, row, event)
    elif event.name == "DealRegistered":
        row.registered_at = event.height
    elif event.name == "DealExpired":
        row.expired_at = event.height


def _opened(session: Session, event: Event, member: str, all_deals: bool) -> None:
    deal_id, terms = event.arguments["dealId"], event.arguments["terms"]
    if terms.struct_hash() != deal_id:
        log.error(
            "an opened deal was not stored: its id is not that of its terms",
            extra={"deal": "0x" + deal_id.hex()},
        )
        return
    row = session.get(DealRow, deal_id)
    if row is None:
        if not all_deals and member not in members_of(terms):
            return
        row = DealRow(
            deal_id=deal_id,
            unit=terms.unit,
            terms=terms.to_json(),
            certificates=[],
            operation="",
            registered_at=0,
            expired_at=0,
        )
        session.add(row)
    row.opened_at = event.height


def _stepped(session: Session, row: DealRow, event: Event) -> None:
    statement: DealStep = event.arguments["statement"]
    known = session.get(StepRow, (row.deal_id, statement.step))
    if known is None:
        known = StepRow(deal_id=row.deal_id, step=statement.step, operation="")
        session.add(known)
    if known.statement != statement.to_json():
        # The chain's word stands; a signature under another statement is of no use.
        known.statement, known.signature, known.record, known.salt = (
            statement.to_json(),
            None,
            None,
            None,
        )
    known.height = event.height


def _done(context: Context, deal_id: bytes, terms: DealTerms, deal: DealRecord) -> set[StepKind]:
    """Steps the chain is proved to have; at the agent's node also those it has sent, since its own
    sending order puts them first.
    """
    done = {step for step in StepKind if deal.done(step)}
    if terms.agent == context.member:
        done |= {StepKind(row.step) for row in signed_steps(context, deal_id) if row.operation}
    return done


def _title(row: DealRow) -> TitleStatement:
    if row.title is None:
        raise Conflict(
            "content_unknown", "The deal's title statement has not been sent to this node."
        )
    return TitleStatement.from_json(row.title)


def _content(row: DealRow) -> Mapping[str, Any]:
    if row.content is None:
        raise Conflict("content_unknown", "The deal's content has not been sent to this node.")
    return row.content


def _listed(session: Session, row: DealRow) -> dict[str, Any]:
    steps = list(session.scalars(_steps_query(row.deal_id)))
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


def _steps_query(deal_id: bytes) -> sa.Select[StepRow]:
    return sa.select(StepRow).where(StepRow.deal_id == deal_id).order_by(StepRow.step)


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


def _step_json(row: StepRow) -> dict[str, Any]:
    return {
        "statement": row.statement,
        "signature": None if row.signature is None else "0x" + row.signature.hex(),
        "record": row.record,
        "salt": None if row.salt is None else "0x" + row.salt.hex(),
    }


def _read_step(value: Any) -> tuple[DealStep, bytes, dict[str, Any] | None, bytes | None]:
    try:
        salt = value.get("salt")
        return (
            DealStep.from_json(value["statement"]),
            schema.signature(value["signature"]),
            value.get("record"),
            None if salt is None else schema.salt(salt),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "step_malformed", "A signed step lacks a part or has one of the wrong form."
        ) from error


def _enqueue(
    context: Context, session: Session, operation: str, function: str, arguments: list[Any]
) -> None:
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=operation,
        contract=CONTRACT,
        function=function,
        arguments=arguments,
        priority=Priority.BULK,
    )
