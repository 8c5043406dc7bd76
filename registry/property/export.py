"""The bundle of a property deal, made at a party's node (the registration centre's has the title in
its log).
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.errors import Conflict, NotFound
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.exports import Exporter
from registry.property import deals, delivery, model
from registry.property import steps as deal_steps
from registry.property.model import NO_DEAL
from registry.property.rules import DEAL_DOMAIN, NATURAL_PERSONS, STEP_DOMAIN, members_of, roles_of
from registry.property.store import DealRow, StepRow


async def fetch(context: Context, deal_id: bytes) -> bytes:
    """The bundle, from this node if it is a party's, else from the registration centre's."""
    row = await asyncio.to_thread(deals.find, context, deal_id)
    terms = DealTerms.from_json(row.terms)
    if context.member not in members_of(terms):
        return dumps(
            await context.peers.get(terms.registrar, f"/v1/peer/deals/0x{deal_id.hex()}/bundle")
        )
    for step in await asyncio.to_thread(deal_steps.signed_steps, context, deal_id):
        await delivery.fetch_step(context, deal_id, StepKind(step.step))
    return await asyncio.to_thread(_bundle, context, row, terms)


def _bundle(context: Context, row: DealRow, terms: DealTerms) -> bytes:
    if (
        row.content is None
        or row.content_salt is None
        or row.title is None
        or row.title_signature is None
    ):
        raise NotFound("content_unknown", "The deal's content has not been sent to this node.")
    steps = [
        signed_step
        for signed_step in deal_steps.signed_steps(context, row.deal_id)
        if signed_step.height
    ]
    if not steps:
        raise Conflict(
            "deal_not_open", "The chain does not have the deal yet, so there is no story to tell."
        )
    exporter = Exporter(context, story="property", subject={"dealId": "0x" + row.deal_id.hex()})
    exporter.add_struct(terms)
    title = TitleStatement.from_json(row.title)
    exporter.add_member_statement(title, row.title_signature)
    exporter.add_log_entry(title, required=False)
    for certificate in row.certificates:
        certified = model.CertifiedKey.from_json(certificate)
        exporter.add_member_statement(certified.certificate, certified.signature)
    for member, _ in roles_of(terms):
        exporter.add_storage_value("MemberDirectory", "members", member)
    exporter.add_storage_value("PropertyLedger", "deals", row.deal_id)
    exporter.add_storage_value("PropertyLedger", "titles", row.deal_id)
    exporter.add_storage_value("PropertyLedger", "lastRegistration", terms.registrar, terms.unit)
    if title.last_registration != NO_DEAL:
        exporter.add_storage_value("PropertyLedger", "deals", title.last_registration)
    for step in steps:
        _add_step(exporter, row.deal_id, step)
    exporter.add_disclosure(
        terms.content, salt=row.content_salt, domain=DEAL_DOMAIN, record=row.content
    )
    return exporter.build()


def _add_step(exporter: Exporter, deal_id: bytes, row: StepRow) -> None:
    statement, step = DealStep.from_json(row.statement), StepKind(row.step)
    if row.signature is None:
        raise Conflict(
            "step_missing",
            f"The signature of the step {step.name.lower()} has not reached this node.",
        )
    if step in NATURAL_PERSONS:
        exporter.add_subject_statement(statement, row.signature)
    else:
        exporter.add_member_statement(statement, row.signature, accepted=True)
        exporter.add_log_entry(statement, required=False)
    exporter.add_storage_value("PropertyLedger", "steps", deal_id, row.step)
    if row.record is not None and row.salt is not None:
        exporter.add_disclosure(
            statement.content, salt=row.salt, domain=STEP_DOMAIN, record=row.record
        )
