"""Signed steps of a property deal.

Each member signs its own step at its own node. The node checks the proved records, sends the step
to the chain and delivers signature and record to the other parties. Seller and buyer sign at the
agent's node with one-time keys that the registration centre certified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.records import DealRecord
from chain.outbox import next_attempt, refused
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.members import KeyPurpose
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.evidence.log import append, append_statement
from registry.property import proved, register
from registry.property.calls import CONTRACT, enqueue_call
from registry.property.deals import content_of, find, require_under_way, title_of
from registry.property.peers import deliver, read_step, step_json
from registry.property.rules import (
    AGREEING,
    NATURAL_PERSONS,
    STEP_DOMAIN,
    members_of,
    party,
    require_content,
    require_record,
    require_turn,
    step_holder,
    steps_of,
)
from registry.property.store import DealRow, StepRow, steps_query
from registry.property.tax import compute
from registry.signers import require_signed_at, require_signed_by


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
    await asyncio.to_thread(require_under_way, context, row, terms)

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
    await deliver(context, terms, deal_id, step)
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
    await deliver(context, terms, deal_id, step)
    return {**step_json(stored), "operation": stored.operation}


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
    state = require_under_way(context, row, terms)
    require_turn(
        terms, step, member=context.member, done=_done(context, row.deal_id, terms, state.deal)
    )
    content = content_of(row)
    if terms.registrar == context.member:
        register.require_unit(context, str(content["unit"]), terms.unit)
    if step is StepKind.REGISTER:
        register.require_title_here(context, terms, title_of(row))
        register.require_buyer(context, terms.buyer)
    return _stated(terms, step, content, given)


def receive_step(context: Context, caller: str, deal_id: bytes, value: Mapping[str, Any]) -> None:
    """Store another party's signed step and its record."""
    row = find(context, deal_id)
    terms = DealTerms.from_json(row.terms)
    statement, signature, record, salt = read_step(value)
    step = _require_statement(context, terms, deal_id, statement, signature)
    if caller != step_holder(terms, step):
        raise Forbidden("wrong_party", "A step is handed on by its own party.")
    if step not in AGREEING:
        if salt is None or not opens(
            statement.content, salt=salt, domain=STEP_DOMAIN, record=record
        ):
            raise BadInput("record_differs", "What the step states is not what it commits to.")
        require_record(terms, step, content_of(row), record)
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
    then, since it may be delivered much later.
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
        enqueue_call(
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
    enqueue_call(
        context,
        session,
        row.operation,
        "steps",
        [terms, [DealStep.from_json(row.statement)], [row.signature]],
    )
    return row.operation


def _unsent(session: Session, row: StepRow) -> bool:
    return not row.height and (not row.operation or refused(session, row.operation))


def signed_steps(context: Context, deal_id: bytes) -> list[StepRow]:
    """The steps known here, in order."""
    with context.database.read() as session:
        return list(session.scalars(steps_query(deal_id)))


def step_of(context: Context, caller: str, deal_id: bytes, step: int) -> dict[str, Any]:
    """A signed step, for a party that missed it."""
    terms = DealTerms.from_json(find(context, deal_id).terms)
    if caller not in members_of(terms):
        raise Forbidden("deal_of_others", "The deal is another's.")
    with context.database.read() as session:
        row = session.get(StepRow, (deal_id, step))
    if row is None or row.signature is None:
        raise NotFound("step_unknown", "This node has no such signed step.")
    return step_json(row)


def _done(context: Context, deal_id: bytes, terms: DealTerms, deal: DealRecord) -> set[StepKind]:
    """Steps the chain is proved to have; at the agent's node also those it has sent, since its own
    sending order puts them first.
    """
    done = {step for step in StepKind if deal.done(step)}
    if terms.agent == context.member:
        done |= {StepKind(row.step) for row in signed_steps(context, deal_id) if row.operation}
    return done
