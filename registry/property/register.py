"""The registration centre's side: units and their pseudonyms, title statements, holds.

A unit's name on the chain is an HMAC under the centre's secret. Who owns a unit is recorded here
alone. A title statement certifies that a key's holder may sell, and names the registration by which
the owner owns.

An owner changes only after the chain's record of the unit's last registration, read with a proof
under a fresh head, names the deal. A request for a title, a deal or a
registration first reads and applies that record (``register_entry``); a worker does so for reported
events (``RegistrationUpdater``). A unit whose last registration this node cannot take over is
neither sold nor certified: ``register_behind``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.ethereum.records import UnitHoldRecord
from chain.outbox import Priority, enqueue, next_attempt
from chain.statements.commitment import commit, new_salt
from chain.statements.members import SubjectKeyCertificate
from chain.statements.property import DealTerms, TitleStatement, UnitHold
from registry.credit.certificates import certified_identity
from registry.evidence.log import append_statement
from registry.pages import Page, PageRequest, page_of
from registry.property import proved
from registry.property.model import UnitState
from registry.property.rules import (
    ORDER_DOMAIN,
    require_hold_end,
    require_title_current,
    unit_pseudonym,
)
from registry.property.store import DealRow, HoldRow, PropertySecret, TitleRow, UnitRow

log = logging.getLogger("qiaolian.deals")
MAX_UNITS = 5_000
_REGISTER = "unit"


def register_units(context: Context, units: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Enter units with their owners into the register; each with its pseudonym. The same entry
    again changes nothing.

    Raises:
        BadInput: ``unit_malformed``, ``too_many_units``; Conflict: ``unit_known`` for a unit that
            has another owner.
    """
    if len(units) > MAX_UNITS:
        raise BadInput("too_many_units", f"At most {MAX_UNITS} units are entered at once.")

    def change(session: Session) -> list[dict[str, str]]:
        secret = _secret(session)
        entered = []
        for unit in units:
            pseudonym = unit_pseudonym(secret, unit["number"])
            known = session.get(UnitRow, pseudonym)
            if known is None:
                session.add(
                    UnitRow(
                        unit=pseudonym,
                        number=unit["number"],
                        owner=unit["owner"],
                        registered_at=0,
                        last_registration=bytes(32),
                    )
                )
            elif known.owner != unit["owner"]:
                raise Conflict(
                    "unit_known",
                    "A unit is in the register with another owner.",
                    unit=unit["number"],
                )
            entered.append({"number": unit["number"], "unit": "0x" + pseudonym.hex()})
        return entered

    return context.database.write(change)


def issue_title(context: Context, number: str, *, owner_key: str, not_after: int) -> dict[str, Any]:
    """State that the holder of a certified key may sell a unit; the statement with its signature.

    Raises:
        NotFound: ``unit_unknown``, ``subject_key_unknown``; Forbidden: ``not_owner``; Conflict:
            ``unit_held``;
        Unavailable: ``register_behind``, ``chain_view_stale``.
    """
    row, state = register_entry(context, find_unit(context, number).unit)
    identity, certificate = _certified_here(context, owner_key)
    _require_owner(row, identity)
    if state.hold.held:
        raise Conflict(
            "unit_held", "The unit is under a hold.", hint="It can be sold when the hold is lifted."
        )
    now = context.now()
    if not_after <= now:
        raise BadInput("wrong_period", "A title statement ends in the future.")
    statement = TitleStatement(
        version=1,
        registrar=context.member,
        unit=row.unit,
        owner=certificate.subject,
        owner_key=owner_key,
        last_registration=row.last_registration,
        issued_at=min(
            now, context.view.head.timestamp
        ),  # the contract takes no title dated ahead of its block
        expires_at=not_after,
    )
    signature = context.sign(statement)

    def change(session: Session) -> None:
        title_hash = statement.struct_hash()
        if session.get(TitleRow, title_hash) is not None:
            return
        session.add(
            TitleRow(
                title_hash=title_hash,
                unit=row.unit,
                statement=statement.to_json(),
                signature=signature,
            )
        )
        append_statement(session, statement, context.domain("PropertyLedger"), at=now)

    context.database.write(change)
    return {"title": statement.to_json(), "signature": "0x" + signature.hex()}


def set_hold(
    context: Context,
    number: str,
    order: Mapping[str, Any],
    *,
    placed: bool,
    ends_at: int | None = None,
) -> dict[str, Any]:
    """Place or lift a hold on a unit, citing an order; the statement and the outbox operation.

    Args:
        ends_at: Unix seconds, when the order ends; none for a lifting. A further order makes a hold
            end later, never earlier.

    Raises:
        NotFound: ``unit_unknown``; BadInput: ``wrong_hold_end``.
    """
    now = context.now()
    end = require_hold_end(ends_at, now, placed=placed)
    row = find_unit(context, number)
    salt = new_salt()
    statement = UnitHold(
        version=1,
        registrar=context.member,
        unit=row.unit,
        order=commit(salt, ORDER_DOMAIN, dict(order)),
        placed=placed,
        issued_at=max(now, _latest_order(context, row.unit) + 1),
        ends_at=end,
    )
    signature, hold_hash = context.sign(statement), statement.struct_hash()
    operation = f"hold/{hold_hash.hex()}"

    def change(session: Session) -> None:
        session.execute(sa.update(HoldRow).where(HoldRow.unit == row.unit).values(ends_at=None))
        session.add(
            HoldRow(
                hold_hash=hold_hash,
                ends_at=end if placed else None,
                unit=row.unit,
                statement=statement.to_json(),
                signature=signature,
                order=dict(order),
                salt=salt,
                operation=operation,
            )
        )
        append_statement(
            session, statement, context.domain("PropertyLedger"), at=statement.issued_at
        )
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="PropertyLedger",
            function="setHold",
            arguments=[statement, signature],
            priority=Priority.URGENT,
        )

    context.database.write(change)
    return {
        "hold": statement.to_json(),
        "signature": "0x" + signature.hex(),
        "salt": "0x" + salt.hex(),
        "operation": operation,
    }


def find_unit(context: Context, number: str) -> UnitRow:
    """A unit of the register; ``unit_unknown``."""
    with context.database.read() as session:
        row = session.scalars(sa.select(UnitRow).where(UnitRow.number == number)).first()
    if row is None:
        raise NotFound("unit_unknown", "The register has no such unit.")
    return row


def end_hold(context: Context, registrar: str, unit: bytes) -> str:
    """End a hold whose order ended without a further one, of any centre's unit; the outbox
    operation.

    Raises:
        Conflict: ``unit_not_held``, ``not_yet_expired``; Unavailable: ``chain_view_stale``.
    """
    hold = proved.unit_state(context, registrar, unit).hold
    if not hold.held:
        raise Conflict("unit_not_held", "The unit is under no hold.")
    if context.now() <= hold.ends_at:
        raise Conflict(
            "not_yet_expired", "The hold's order has not ended yet.", ends_at=hold.ends_at
        )

    def change(session: Session) -> str:
        operation = next_attempt(session, f"hold/{registrar}/{unit.hex()}/{hold.placed_at}/end")
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="PropertyLedger",
            function="endHold",
            arguments=[registrar, unit],
        )
        return operation

    return context.database.write(change)


def holds(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """This centre's holds that the chain is proved to have in force, the next to end first, each
    with its unit's latest order.

    A page has fewer rows than were asked for where the chain has ended holds since.

    Raises:
        BadInput: ``cursor_malformed``; Unavailable: ``chain_view_stale``.
    """
    query = sa.select(HoldRow).where(HoldRow.ends_at.is_not(None))
    with context.database.read() as session:
        found = page_of(session, query, (HoldRow.ends_at, HoldRow.hold_hash), page, ascending=True)
        units = [row.unit for row in found.rows]
        named = sa.select(UnitRow.unit, UnitRow.number).where(UnitRow.unit.in_(units))
        numbers = {unit: number for unit, number in session.execute(named)}
    records = zip(found.rows, proved.holds(context, context.member, units), strict=True)
    held = [(row, record) for row, record in records if record.held]
    return Page([_held(numbers[row.unit], row, record) for row, record in held], found.next)


def _held(number: str, row: HoldRow, record: UnitHoldRecord) -> dict[str, Any]:
    return {
        "number": number,
        "unit": "0x" + row.unit.hex(),
        "order": row.order,
        "placedAt": record.placed_at,
        "endsAt": record.ends_at,
    }


def _latest_order(context: Context, unit: bytes) -> int:
    """When this centre's latest order for a unit was issued; the contract takes later ones only. A
    stop does not wait for the chain view.
    """
    with context.database.read() as session:
        return max(
            (
                _issued_at(row)
                for row in session.scalars(sa.select(HoldRow).where(HoldRow.unit == unit))
            ),
            default=0,
        )


def _issued_at(row: HoldRow) -> int:
    return UnitHold.from_json(row.statement).issued_at


def require_unit(context: Context, number: str, pseudonym: bytes) -> None:
    """Refuse a deal whose unit on the chain is not the one it names: ``unit_differs``."""
    if find_unit(context, number).unit != pseudonym:
        raise BadInput("unit_differs", "The deal's unit on the chain is not the unit it names.")


def require_title_here(context: Context, terms: DealTerms, title: TitleStatement) -> None:
    """Refuse a deal whose seller does not own the unit at this moment, or whose title is not built
    on its last registration.

    Raises:
        Forbidden: ``not_owner``; Conflict: ``title_superseded``; NotFound: ``subject_key_unknown``;
        Unavailable: ``register_behind``, ``chain_view_stale``.
    """
    row, _ = register_entry(context, terms.unit)
    require_title_current(title, row.last_registration)
    with context.database.read() as session:
        identity, _ = _certified_by(session, context.member, terms.seller)
    _require_owner(row, identity)


def require_buyer(context: Context, buyer_key: str) -> None:
    """Refuse to register a deal whose buyer this centre cannot name: ``subject_key_unknown``. The
    key's certificate may have ended since.
    """
    with context.database.read() as session:
        _certified_by(session, context.member, buyer_key)


# --- What the chain registered --------------------------------------------------------------------


def register_entry(context: Context, unit: bytes) -> tuple[UnitRow, UnitState]:
    """A unit's entry, equal to the chain's last registration, and the unit's state under the same
    proved head.

    Raises:
        NotFound: ``unit_unknown``; Unavailable: ``register_behind`` when the chain has another
            registration than the register and this node lacks what it needs to take it over;
            ``chain_view_stale``.
    """
    state = proved.unit_state(context, context.member, unit)
    row = _unit_row(context, unit)
    if row.last_registration != state.last_registration:
        _apply_registration(context, unit, state.last_registration)
        row = _unit_row(context, unit)
    if row.last_registration != state.last_registration:
        raise _behind(unit, "The chain's last registration of the unit is not the register's.")
    return row, state


def _apply_registration(context: Context, unit: bytes, deal_id: bytes) -> None:
    """Make the buyer of a deal, which the chain is proved to have registered last for the unit, its
    owner.
    """
    registered_at = proved.deal(context, deal_id).registered_at

    def change(session: Session) -> None:
        row, deal = session.get_one(UnitRow, unit), session.get(DealRow, deal_id)
        if row.last_registration == deal_id or registered_at < row.registered_at:
            return
        if not registered_at or deal is None:
            raise _behind(
                unit, "This node does not have the deal that was registered last for the unit."
            )
        terms = DealTerms.from_json(deal.terms)
        if terms.struct_hash() != deal_id or (terms.registrar, terms.unit) != (
            context.member,
            unit,
        ):
            raise _behind(
                unit,
                "This node has other terms than those of the deal "
                "that was registered last for the unit.",
            )
        try:
            identity, _ = _certified_by(session, context.member, terms.buyer)
        except NotFound as error:
            raise _behind(
                unit, "This office has no certificate of its own for the buyer's key."
            ) from error
        row.owner, row.last_registration, row.registered_at = (
            str(identity.get("code", "")),
            deal_id,
            registered_at,
        )

    context.database.write(change)


def _behind(unit: bytes, sentence: str) -> Unavailable:
    return Unavailable(
        "register_behind",
        sentence,
        hint="Try again when the node has followed the chain; if it stays so, "
        "docs/proved-effects.md says what to do.",
        unit="0x" + unit.hex(),
    )


def _unit_row(context: Context, unit: bytes) -> UnitRow:
    with context.database.read() as session:
        row = session.get(UnitRow, unit)
    if row is None:
        raise NotFound("unit_unknown", "The register has no such unit.")
    return row


def _require_owner(row: UnitRow, identity: Mapping[str, Any]) -> None:
    if identity.get("code") != row.owner:
        raise Forbidden("not_owner", "The key's holder is not the owner of the unit.")


class RegistrationUpdater:
    """Keeps a centre's register at the chain's registrations. Events say only where to look: each
    owner comes from a proved record.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._searched_to = 0
        """Height up to which the reported registrations were searched; a new process searches all
        of them.
        """
        self._pending: set[bytes] = set()
        """Units whose registration was reported and is not taken over yet."""
        self._reported: dict[bytes, str] = {}

    async def round(self) -> None:
        """Take over what was registered since the last round, and try again what could not be."""
        await asyncio.to_thread(self._work)

    def _work(self) -> None:
        self._search()
        for unit in list(self._pending):
            try:
                register_entry(self._context, unit)
            except QiaolianError as error:
                if error.code.startswith("chain_"):
                    raise
                self._failed(unit, error)
            else:
                self._pending.discard(unit)
                self._reported.pop(unit, None)

    def _search(self) -> None:
        with self._context.database.read() as session:
            newest = session.scalar(sa.select(sa.func.max(DealRow.registered_at))) or 0
            query = (
                sa.select(DealRow.unit)
                .join(UnitRow, UnitRow.unit == DealRow.unit)
                .where(DealRow.registered_at > self._searched_to)
            )
            self._pending.update(
                session.scalars(query.where(DealRow.registered_at > UnitRow.registered_at))
            )
        self._searched_to = newest

    def _failed(self, unit: bytes, error: QiaolianError) -> None:
        if self._reported.get(unit) != error.code:
            self._reported[unit] = error.code
            log.error(
                "a registration was not taken over: %s",
                error.sentence,
                extra={"unit": "0x" + unit.hex(), "code": error.code},
            )


# --- Certificates ---------------------------------------------------------------------------------


def _certified_by(
    session: Session, registrar: str, key: str
) -> tuple[Mapping[str, Any], SubjectKeyCertificate]:
    """Whose key it is by the registration centre's own certificate for deals; never by one that was
    shown here.
    """
    found = certified_identity(session, key)
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


def titles_under(context: Context, address: str) -> int:
    """How many titles of this centre are in force and signed with that key of it: when the key
    ends, they do.
    """
    domain, now = context.domain("PropertyLedger"), context.now()
    with context.database.read() as session:
        rows = [
            (TitleStatement.from_json(row.statement), row.signature)
            for row in session.scalars(sa.select(TitleRow))
        ]
    return sum(
        title.expires_at >= now and recover(title.digest(domain), signature) == address
        for title, signature in rows
    )


def _secret(session: Session) -> bytes:
    row = session.get(PropertySecret, _REGISTER)
    if row is None:
        row = PropertySecret(name=_REGISTER, secret=new_salt())
        session.add(row)
        session.flush()
    return row.secret
