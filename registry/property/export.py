"""The bundle of a property deal, made at a party's node (the registration centre's has the title in
its log).
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Conflict, NotFound
from registry.exports import Exporter
from registry.property import deals, delivery, peers
from registry.property import steps as deal_steps
from registry.property.model import NO_DEAL, Deal, DealDisclosure, StoredStep
from registry.property.rules import DEAL_DOMAIN, NATURAL_PERSONS, STEP_DOMAIN, members_of, roles_of


async def fetch(context: Context, deal_id: bytes) -> bytes:
    """The bundle, from this node if it is a party's, else from the registration centre's."""
    deal = await asyncio.to_thread(deals.find, context, deal_id)
    if context.member not in members_of(deal.terms):
        return await peers.fetch_bundle(context, deal.terms)
    for step in await asyncio.to_thread(deal_steps.signed_steps, context, deal_id):
        await delivery.fetch_step(context, deal_id, step.step)
    return await asyncio.to_thread(_bundle, context, deal)


def _bundle(context: Context, deal: Deal) -> bytes:
    if deal.disclosed is None:
        raise NotFound("content_unknown", "The deal's content has not been sent to this node.")
    deal_id, terms = deal.deal_id, deal.terms
    steps = [step for step in deal_steps.signed_steps(context, deal_id) if step.height]
    if not steps:
        raise Conflict(
            "deal_not_open", "The chain does not have the deal yet, so there is nothing to prove."
        )
    exporter = Exporter(context, profile="property", subject={"dealId": "0x" + deal_id.hex()})
    exporter.add_struct(terms)
    _add_disclosure(exporter, deal.disclosed)
    for member, _ in roles_of(terms):
        exporter.add_storage_value("MemberDirectory", "members", member)
    exporter.add_storage_value("PropertyLedger", "deals", deal_id)
    exporter.add_storage_value("PropertyLedger", "titles", deal_id)
    exporter.add_storage_value("PropertyLedger", "lastRegistration", terms.registrar, terms.unit)
    last_registration = deal.disclosed.title.last_registration
    if last_registration != NO_DEAL:
        exporter.add_storage_value("PropertyLedger", "deals", last_registration)
    for step in steps:
        _add_step(exporter, deal_id, step)
    exporter.add_disclosure(
        terms.content,
        salt=deal.disclosed.salt,
        domain=DEAL_DOMAIN,
        record=deal.disclosed.content,
    )
    return exporter.build()


def _add_disclosure(exporter: Exporter, disclosed: DealDisclosure) -> None:
    """Add the title and both persons' certificates."""
    exporter.add_member_statement(disclosed.title, disclosed.title_signature)
    exporter.add_log_entry(disclosed.title, required=False)
    for certified in (disclosed.seller, disclosed.buyer):
        exporter.add_member_statement(certified.certificate, certified.signature)


def _add_step(exporter: Exporter, deal_id: bytes, stored: StoredStep) -> None:
    statement, step = stored.statement, stored.step
    if stored.signature is None:
        raise Conflict(
            "step_missing",
            f"The signature of the step {step.name.lower()} has not reached this node.",
        )
    if step in NATURAL_PERSONS:
        exporter.add_subject_statement(statement, stored.signature)
    else:
        exporter.add_member_statement(statement, stored.signature, accepted=True)
        exporter.add_log_entry(statement, required=False)
    exporter.add_storage_value("PropertyLedger", "steps", deal_id, int(step))
    if stored.record is not None and stored.salt is not None:
        exporter.add_disclosure(
            statement.content, salt=stored.salt, domain=STEP_DOMAIN, record=stored.record
        )
