"""The bundle of a property deal, made at a party's node (the registration centre's has the title in its log)."""

from __future__ import annotations

import asyncio

from chain.canonical import dumps
from chain.context import Context
from chain.errors import Conflict, NotFound
from chain.statements import DealStep, DealTerms, Step, TitleStatement
from registry.exports import Exporter
from registry.property import service
from registry.property.model import NO_DEAL
from registry.property.rules import DEAL_DOMAIN, PEOPLE, STEP_DOMAIN, members_of, roles_of
from registry.property.store import Deal, SignedStep


async def fetch(context: Context, deal_id: bytes) -> bytes:
    """The bundle, from this node if it is a party's, else from the registration centre's."""
    row = await asyncio.to_thread(service.find, context, deal_id)
    terms = DealTerms.from_json(row.terms)
    if context.member not in members_of(terms):
        return dumps(await context.peers.get(terms.registrar, f"/v1/peer/deals/0x{deal_id.hex()}/bundle"))
    for each in await asyncio.to_thread(service.signed_steps, context, deal_id):
        await service.fetch_step(context, deal_id, Step(each.step))
    return await asyncio.to_thread(_bundle, context, row, terms)


def _bundle(context: Context, row: Deal, terms: DealTerms) -> bytes:
    if row.content is None or row.content_salt is None or row.title is None or row.title_signature is None:
        raise NotFound("content_unknown", "The deal's content has not been sent to this node.")
    steps = [each for each in service.signed_steps(context, row.deal_id) if each.height]
    if not steps:
        raise Conflict("deal_not_open", "The chain does not have the deal yet, so there is no story to tell.")
    made = Exporter(context, story="property", subject={"dealId": "0x" + row.deal_id.hex()})
    made.struct(terms)
    title = TitleStatement.from_json(row.title)
    made.by_member(title, row.title_signature)
    made.logged(title, required=False)
    for each in row.certificates:
        held = service.CertifiedKey.from_json(each)
        made.by_member(held.certificate, held.signature)
    for member, _ in roles_of(terms):
        made.word("MemberDirectory", "members", member)
    made.word("PropertyLedger", "deals", row.deal_id)
    made.word("PropertyLedger", "titles", row.deal_id)
    made.word("PropertyLedger", "lastRegistration", terms.registrar, terms.unit)
    if title.last_registration != NO_DEAL:
        made.word("PropertyLedger", "deals", title.last_registration)
    for step in steps:
        _add_step(made, row.deal_id, step)
    made.disclose(terms.content, salt=row.content_salt, domain=DEAL_DOMAIN, record=row.content)
    return made.build()


def _add_step(made: Exporter, deal_id: bytes, row: SignedStep) -> None:
    statement, step = DealStep.from_json(row.statement), Step(row.step)
    if row.signature is None:
        raise Conflict("step_missing", f"The signature of the step {step.name.lower()} has not reached this node.")
    if step in PEOPLE:
        made.by_subject(statement, row.signature)
    else:
        made.by_member(statement, row.signature, taken=True)
        made.logged(statement, required=False)
    made.word("PropertyLedger", "steps", deal_id, row.step)
    if row.record is not None and row.salt is not None:
        made.disclose(statement.content, salt=row.salt, domain=STEP_DOMAIN, record=row.record)
