"""Title statements: the registration centre certifies that a key's holder may sell a unit, and
names the registration by which the owner owns.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden
from chain.statements.property import TitleStatement
from registry.credit.model import CertifiedIdentity
from registry.evidence.log import append_statement
from registry.property import register_store
from registry.property.calls import CONTRACT
from registry.property.model import IssuedTitle
from registry.property.register import certified_by, find_unit, register_entry, require_owner


def issue_title(context: Context, number: str, *, owner_key: str, not_after: int) -> IssuedTitle:
    """State that the holder of a certified key may sell a unit.

    Raises:
        NotFound: ``unit_unknown``, ``subject_key_unknown``; Forbidden: ``not_owner``,
            ``certificate_expired``; Conflict: ``unit_held``; BadInput: ``wrong_period``;
        Unavailable: ``register_behind``, ``chain_view_stale``.
    """
    unit, records = register_entry(context, find_unit(context, number).unit)
    holder = _certified_here(context, owner_key)
    require_owner(unit, holder)
    if records.unit_hold(context.member, unit.unit).held:
        raise Conflict(
            "unit_held", "The unit is under a hold.", hint="It can be sold when the hold is lifted."
        )
    now = context.now()
    if not_after <= now:
        raise BadInput("wrong_period", "A title statement ends in the future.")
    statement = TitleStatement(
        version=1,
        registrar=context.member,
        unit=unit.unit,
        owner=holder.certificate.subject,
        owner_key=owner_key,
        last_registration=unit.last_registration,
        # The contract takes no title dated ahead of its block.
        issued_at=min(now, records.timestamp),
        expires_at=not_after,
    )
    title = IssuedTitle(statement, context.sign(statement))

    def change(session: Session) -> None:
        if register_store.add_title(session, title):
            append_statement(session, statement, context.domain(CONTRACT), at=now)

    context.database.write(change)
    return title


def titles_under(context: Context, address: str) -> int:
    """How many titles of this centre are in force and signed with that key of it: when the key
    ends, they do.
    """
    domain, now = context.domain(CONTRACT), context.now()
    with context.database.read() as session:
        titles = register_store.titles(session)
    return sum(
        title.statement.expires_at >= now
        and recover(title.statement.digest(domain), title.signature) == address
        for title in titles
    )


def _certified_here(context: Context, key: str) -> CertifiedIdentity:
    with context.database.read() as session:
        found = certified_by(session, context.member, key)
    if not found.certificate.not_before <= context.now() <= found.certificate.not_after:
        raise Forbidden("certificate_expired", "The key's certificate does not cover this time.")
    return found
