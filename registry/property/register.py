"""The registration centre's side: units and their pseudonyms, title statements, holds.

A unit's name on the chain is an HMAC under the centre's secret. Who owns a unit is known here alone; a title statement says of a certified key
that its holder may sell. A deal's registration makes the buyer the owner in the same transaction that takes the chain's event.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.commitment import commit, new_salt
from chain.context import Context
from chain.errors import BadInput, Conflict, Forbidden, NotFound
from chain.outbox import enqueue
from chain.statements import SubjectKeyCertificate, TitleStatement, UnitHold
from chain.words import HoldWord
from registry.credit.service import certified
from registry.evidence.service import append_statement
from registry.property.rules import ORDER_DOMAIN, unit_pseudonym
from registry.property.store import Hold, PropertySecret, Title, Unit

log = logging.getLogger("qiaolian.deals")
MOST_UNITS = 5_000
_REGISTER = "unit"


def enter_units(context: Context, units: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Enter units with their owners into the register; each with its pseudonym. The same entry again changes nothing.

    Raises:
        BadInput: ``unit_malformed``, ``too_many_units``; Conflict: ``unit_known`` for a unit that has another owner.
    """
    if len(units) > MOST_UNITS:
        raise BadInput("too_many_units", f"At most {MOST_UNITS} units are entered at once.")

    def change(session: Session) -> list[dict[str, str]]:
        secret = _secret(session)
        entered = []
        for each in units:
            pseudonym = unit_pseudonym(secret, each["number"])
            known = session.get(Unit, pseudonym)
            if known is None:
                session.add(Unit(unit=pseudonym, number=each["number"], owner=each["owner"], registered_at=0))
            elif known.owner != each["owner"]:
                raise Conflict("unit_known", "A unit is in the register with another owner.", unit=each["number"])
            entered.append({"number": each["number"], "unit": "0x" + pseudonym.hex()})
        return entered

    return context.database.write(change)


def issue_title(context: Context, number: str, *, owner_key: str, not_after: int) -> dict[str, Any]:
    """State that the holder of a certified key may sell a unit; the statement with its signature.

    Raises:
        NotFound: ``unit_unknown``, ``subject_key_unknown``; Forbidden: ``not_owner``; Conflict: ``unit_held``.
    """
    row = find_unit(context, number)
    identity, certificate = _certified_here(context, owner_key)
    if identity.get("code") != row.owner:
        raise Forbidden("not_owner", "The key's holder is not the owner of the unit.")
    if HoldWord.decode(context.view.word("PropertyLedger", "holds", row.unit).value).held:
        raise Conflict("unit_held", "The unit is under a hold.", hint="It can be sold when the hold is lifted.")
    now = context.now()
    if not_after <= now:
        raise BadInput("wrong_period", "A title statement ends in the future.")
    statement = TitleStatement(
        version=1,
        registrar=context.member,
        unit=row.unit,
        owner=certificate.subject,
        owner_key=owner_key,
        issued_at=now,
        expires_at=not_after,
    )
    signature = context.sign(statement)

    def change(session: Session) -> None:
        title_hash = statement.struct_hash()
        if session.get(Title, title_hash) is not None:
            return
        session.add(Title(title_hash=title_hash, unit=row.unit, statement=statement.to_json(), signature=signature))
        append_statement(session, statement, context.domain("PropertyLedger"), at=now)

    context.database.write(change)
    return {"title": statement.to_json(), "signature": "0x" + signature.hex()}


def set_hold(context: Context, number: str, order: Mapping[str, Any], *, placed: bool) -> dict[str, Any]:
    """Place or lift a hold on a unit, citing an order; the statement and the outbox operation."""
    row = find_unit(context, number)
    salt = new_salt()
    statement = UnitHold(
        version=1,
        registrar=context.member,
        unit=row.unit,
        order=commit(salt, ORDER_DOMAIN, dict(order)),
        placed=placed,
        issued_at=context.now(),
    )
    signature, hold_hash = context.sign(statement), statement.struct_hash()
    operation = f"hold/{hold_hash.hex()}"

    def change(session: Session) -> None:
        session.add(
            Hold(
                hold_hash=hold_hash,
                unit=row.unit,
                statement=statement.to_json(),
                signature=signature,
                order=dict(order),
                salt=salt,
                operation=operation,
            )
        )
        append_statement(session, statement, context.domain("PropertyLedger"), at=statement.issued_at)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="PropertyLedger",
            function="setHold",
            arguments=[statement, signature],
        )

    context.database.write(change)
    return {
        "hold": statement.to_json(),
        "signature": "0x" + signature.hex(),
        "salt": "0x" + salt.hex(),
        "operation": operation,
    }


def find_unit(context: Context, number: str) -> Unit:
    """A unit of the register; ``unit_unknown``."""
    with context.database.read() as session:
        row = session.scalars(sa.select(Unit).where(Unit.number == number)).first()
    if row is None:
        raise NotFound("unit_unknown", "The register has no such unit.")
    return row


def require_unit(context: Context, number: str, pseudonym: bytes) -> None:
    """Refuse a deal whose unit on the chain is not the one it names: ``unit_differs``."""
    if find_unit(context, number).unit != pseudonym:
        raise BadInput("unit_differs", "The deal's unit on the chain is not the unit it names.")


def require_buyer(context: Context, buyer_key: str) -> None:
    """Refuse to register a deal whose buyer this centre cannot name: ``subject_key_unknown``. The key's certificate may have ended since."""
    with context.database.read() as session:
        _certified_by(session, context.member, buyer_key)


def transfer(session: Session, unit: bytes, buyer_key: str, height: int, *, registrar: str) -> None:
    """The registered deal's buyer is the owner now, by the centre's own certificate; runs in the projector's transaction."""
    row = session.get(Unit, unit)
    if row is None or row.registered_at >= height:
        return
    try:
        identity, _ = _certified_by(session, registrar, buyer_key)
    except NotFound as error:
        # The registration was refused for want of it, so that the books were changed since: better an old owner than a wrong one.
        log.error("a registered unit keeps its owner", extra={"unit": "0x" + unit.hex(), "code": error.code})
        return
    row.owner, row.registered_at = str(identity.get("code", "")), height


def _certified_by(session: Session, registrar: str, key: str) -> tuple[Mapping[str, Any], SubjectKeyCertificate]:
    """Whose key it is by the registration centre's own certificate for deals; never by one that was shown here."""
    found = certified(session, key)
    if found is None or found[1].issuer != registrar or found[1].purpose != "deal":
        raise NotFound(
            "subject_key_unknown",
            "The key is not certified by this office for deals.",
            hint="Certify the person's one-time key first (POST /v1/certificates).",
        )
    return found


def _certified_here(context: Context, key: str) -> tuple[Mapping[str, Any], SubjectKeyCertificate]:
    with context.database.read() as session:
        found = _certified_by(session, context.member, key)
    if not found[1].not_before <= context.now() <= found[1].not_after:
        raise Forbidden("certificate_expired", "The key's certificate does not cover this time.")
    return found


def _secret(session: Session) -> bytes:
    row = session.get(PropertySecret, _REGISTER)
    if row is None:
        row = PropertySecret(name=_REGISTER, secret=new_salt())
        session.add(row)
        session.flush()
    return row.secret
