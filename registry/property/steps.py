"""Signed steps of a property deal.

Each member signs its own step at its own node. The node checks the proved records, sends the step
to the chain and delivers signature and record to the other parties. Seller and buyer sign at the
agent's node with one-time keys that the registration centre certified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import step_record
from chain.ethereum.records import DealRecord
from chain.outbox import next_attempt, refused
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.members import KeyPurpose
from chain.statements.property import DealStep, DealTerms, StepKind
from registry.evidence.log import append, append_statement
from registry.property import peers, register, store
from registry.property.calls import CONTRACT, enqueue_call
from registry.property.deals import find
from registry.property.model import Deal, SignatureTaken, SignedStep, StoredStep
from registry.property.rules import (
    AGREEING,
    NATURAL_PERSONS,
    STEP_DOMAIN,
    deal_records,
    members_of,
    party,
    registered_deal,
    require_content,
    require_record,
    require_step,
    require_turn,
    require_under_way,
    step_holder,
)
from registry.property.tax import compute
from registry.signers import signed_by


async def receive_signature(
    context: Context, deal_id: bytes, statement: DealStep, signature: bytes
) -> SignatureTaken:
    """Take the seller's or buyer's own signature at the agent's node; the seller's opens the deal
    on the chain.

    Raises:
        Forbidden: ``wrong_party``; BadInput: ``other_deal``, ``content_differs``;
        Conflict: ``step_taken``, ``deal_over``, ``unit_held``, ``unit_in_deal``,
            ``title_superseded``, ``title_differs``; Unavailable: ``chain_view_stale``.
    """
    deal = await asyncio.to_thread(find, context, deal_id)
    terms = deal.terms
    if terms.agent != context.member:
        raise Forbidden("other_agent", "The deal's seller and buyer sign at its agent's node.")
    step = require_step(terms, statement)
    if step not in NATURAL_PERSONS:
        raise Forbidden("wrong_party", "Organisations sign at their own nodes.")
    _require_person(context, terms, step, statement, signature)
    records = await context.view.aproved(deal_records(terms))
    require_under_way(deal, records, now=context.now())

    def change(session: Session) -> tuple[StoredStep, str]:
        if _store_step(session, step, SignedStep(statement, signature, None, None)):
            digest = statement.digest(context.domain(CONTRACT))
            append(session, kind="DealStep", digest=digest, at=context.now())
        operation = _send_agreed_steps(context, session, deal)
        stored = _stored(session, deal_id, step)
        return stored, operation or stored.operation

    stored, operation = await context.database.awrite(change)
    await peers.deliver(context, terms, stored)
    return SignatureTaken(deal_id, step, operation)


async def sign(
    context: Context, deal_id: bytes, step: StepKind, given: Mapping[str, Any] | None
) -> StoredStep:
    """Sign this organisation's step and send it to the chain; the step as it is stored.

    Args:
        given: what the step states (certificate or contract number). The tax sheet is computed by
            the rules; if one is given, as its person saw it, it must be that one.

    Raises:
        Forbidden: ``wrong_party``; Conflict: ``out_of_order``, ``deal_over``, ``unit_held``,
            ``title_differs``, ``tax_changed``, ``step_taken`` when the step is signed and states
            something else;
        BadInput: ``record_malformed``, ``tax_differs``;
        Unavailable: ``chain_view_stale``; for the registration also ``not_owner``,
            ``title_superseded``, ``register_behind``.
    """
    deal = await asyncio.to_thread(find, context, deal_id)
    signed = await asyncio.to_thread(_signed, context, deal, step, given)

    def change(session: Session) -> StoredStep:
        known = store.find_step(session, deal_id, step)
        if known is not None and known.signature is not None:
            _require_same_record(known, given)
        else:
            _store_step(session, step, signed)
            append_statement(
                session,
                signed.statement,
                context.domain(CONTRACT),
                at=signed.statement.signed_at,
            )
        if step is StepKind.AGENT:
            _send_agreed_steps(context, session, deal)
        else:
            _send_step(context, session, deal.terms, step)
        return _stored(session, deal_id, step)

    stored = await context.database.awrite(change)
    await peers.deliver(context, deal.terms, stored)
    return stored


def _signed(
    context: Context, deal: Deal, step: StepKind, given: Mapping[str, Any] | None
) -> SignedStep:
    """This organisation's step, signed, once it may sign it now; raises as ``sign``."""
    record = _checked_record(context, deal, step, given)
    salt = None if record is None else new_salt()
    content = deal.terms.content
    if record is not None and salt is not None:
        content = commit(salt, STEP_DOMAIN, record)
    statement = DealStep(1, deal.deal_id, int(step), content, context.now())
    return SignedStep(statement, context.sign(statement), record, salt)


def _checked_record(
    context: Context, deal: Deal, step: StepKind, given: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """What the step states, once this organisation may sign it now; None for a step that agrees to
    the deal's content.
    """
    terms, registers = deal.terms, step is StepKind.REGISTER
    records = context.view.proved(
        deal_records(terms),
        following=lambda found: (
            registered_deal(found, terms.registrar, terms.unit) if registers else []
        ),
    )
    state = require_under_way(deal, records, now=context.now())
    done = _done(context, terms, state.deal)
    require_turn(terms, step, member=context.member, done=done)
    disclosed = deal.require_disclosed()
    if terms.registrar == context.member:
        register.require_unit(context, str(disclosed.content["unit"]), terms.unit)
    if registers:
        register.require_title_here(context, terms, disclosed.title, records)
        register.require_buyer(context, terms.buyer)
    return None if step in AGREEING else _stated(terms, step, disclosed.content, given)


def receive_step(context: Context, caller: str, deal_id: bytes, signed: SignedStep) -> None:
    """Store another party's signed step and its record (see ``peers.read_step``).

    Raises:
        Forbidden: ``wrong_party``; Conflict: ``step_taken``; BadInput: ``other_deal``,
            ``unknown_step``, ``content_differs``, ``record_differs``, ``tax_differs``; Unavailable:
            ``chain_view_stale``.
    """
    deal = find(context, deal_id)
    terms, statement = deal.terms, signed.statement
    step = require_step(terms, statement)
    if step in NATURAL_PERSONS:
        _require_person(context, terms, step, statement, signed.signature)
    else:
        _require_member(context, party(terms, step), statement, signed.signature)
    if caller != step_holder(terms, step):
        raise Forbidden("wrong_party", "A step is handed on by its own party.")
    if step in AGREEING:
        signed = replace(signed, record=None, salt=None)
    else:
        if signed.salt is None or not opens(
            statement.content, salt=signed.salt, domain=STEP_DOMAIN, record=signed.record
        ):
            raise Conflict("record_differs", "What the step states is not what it commits to.")
        require_record(terms, step, deal.require_disclosed().content, signed.record)
    context.database.write(lambda session: _store_step(session, step, signed))


def _require_person(
    context: Context, terms: DealTerms, step: StepKind, statement: DealStep, signature: bytes
) -> None:
    """The seller or buyer signed it, by the key that the deal names."""
    signer = recover(statement.digest(context.domain(CONTRACT)), signature)
    if signer != (terms.seller if step is StepKind.SELLER else terms.buyer):
        raise Forbidden(
            "wrong_party", f"The step {step.name.lower()} is not signed by its own party."
        )


def _require_member(context: Context, member: str, statement: DealStep, signature: bytes) -> None:
    """The member signed it: by its status now, or, for what the chain is proved to have, by its key
    then, since it may be delivered much later.
    """
    deal_id, step = statement.deal_id, statement.step
    with context.database.read() as session:
        known = store.find_step(session, deal_id, step)
    signed = signed_by(context, member, statement, signature)
    records = context.view.proved([*signed.records, step_record(deal_id, step)])
    taken = records.step_hash(deal_id, step) == statement.struct_hash()
    if taken and known is not None and known.height:
        signed.require_at(known.height, records, KeyPurpose.STATEMENT)
    else:
        signed.require(records, KeyPurpose.STATEMENT)


def _stated(
    terms: DealTerms, step: StepKind, content: Mapping[str, Any], given: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if step is StepKind.TAX:
        record = compute(require_content(content)).to_json()
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
    return require_record(terms, step, content, record)


def _require_same_record(known: StoredStep, given: Mapping[str, Any] | None) -> None:
    """A signed step is signed again only as it is: ``step_taken`` where the repetition states
    something else.
    """
    record = known.record or {}
    if any(record.get(name) != value for name, value in (given or {}).items()):
        raise Conflict("step_taken", "The step is signed and states something else.")


def _store_step(session: Session, step: StepKind, signed: SignedStep) -> bool:
    """Store a signed step once; whether it is new. Another signature under a step that has one is
    ``step_taken``.
    """
    statement = signed.statement
    known = store.find_step(session, statement.deal_id, step) or StoredStep(step, statement)
    if known.statement != statement:
        raise Conflict("step_taken", "Another statement is signed under this step.")
    if known.signature is not None:
        return False
    complete = replace(known, signature=signed.signature, record=signed.record, salt=signed.salt)
    store.save_step(session, statement.deal_id, complete)
    return True


def _send_agreed_steps(context: Context, session: Session, deal: Deal) -> str:
    """Open the deal once the seller has signed; what buyer and agent signed follows it. The last
    operation sent.
    """
    seller = store.find_step(session, deal.deal_id, StepKind.SELLER)
    if seller is None or seller.signature is None:
        return ""
    last = _open(context, session, deal, seller) if _unsent(session, seller) else ""
    for step_after in (StepKind.BUYER, StepKind.AGENT):
        last = _send_step(context, session, deal.terms, step_after) or last
    return last


def _open(context: Context, session: Session, deal: Deal, seller: StoredStep) -> str:
    """Queue the call that opens the deal with the seller's step; its operation."""
    deal_id, disclosed = deal.deal_id, deal.require_disclosed()
    operation = next_attempt(session, f"deal/{deal_id.hex()}/open")
    store.set_deal_operation(session, deal_id, operation)
    store.save_step(session, deal_id, replace(seller, operation=operation))
    arguments = [
        deal.terms,
        disclosed.title,
        disclosed.title_signature,
        seller.statement,
        seller.signature,
    ]
    enqueue_call(context, session, operation, "open", arguments)
    return operation


def _send_step(context: Context, session: Session, terms: DealTerms, step: StepKind) -> str:
    """Send a signed step unless it was sent; its operation then."""
    deal_id = terms.struct_hash()
    stored = store.find_step(session, deal_id, step)
    if stored is None or stored.signature is None or not _unsent(session, stored):
        return ""
    operation = next_attempt(session, f"deal/{deal_id.hex()}/{step.name.lower()}")
    store.save_step(session, deal_id, replace(stored, operation=operation))
    arguments = [terms, [stored.statement], [stored.signature]]
    enqueue_call(context, session, operation, "steps", arguments)
    return operation


def _unsent(session: Session, step: StoredStep) -> bool:
    return not step.height and (not step.operation or refused(session, step.operation))


def _stored(session: Session, deal_id: bytes, step: int) -> StoredStep:
    stored = store.find_step(session, deal_id, step)
    if stored is None or stored.signature is None:
        raise NotFound("step_unknown", "This node has no such signed step.")
    return stored


def signed_steps(context: Context, deal_id: bytes) -> list[StoredStep]:
    """The steps known here, in order."""
    with context.database.read() as session:
        return store.steps_of_deal(session, deal_id)


def step_of(context: Context, caller: str, deal_id: bytes, step: int) -> StoredStep:
    """A signed step, for a party that missed it; ``deal_of_others``, ``step_unknown``."""
    if caller not in members_of(find(context, deal_id).terms):
        raise Forbidden("deal_of_others", "The deal is another's.")
    with context.database.read() as session:
        return _stored(session, deal_id, step)


def _done(context: Context, terms: DealTerms, deal: DealRecord) -> set[StepKind]:
    """Steps the chain is proved to have; at the agent's node also those it has sent, since its own
    sending order puts them first.
    """
    done = {step for step in StepKind if deal.done(step)}
    if terms.agent == context.member:
        stored = signed_steps(context, terms.struct_hash())
        done |= {step.step for step in stored if step.operation}
    return done
