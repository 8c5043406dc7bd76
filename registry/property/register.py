"""The registration centre's register: units, their pseudonyms and owners.

A unit's name on the chain is an HMAC under the centre's secret. Who owns a unit is recorded here
alone.

An owner changes only after the chain's record of the unit's last registration, read with a proof
under a fresh head, names the deal. A request for a title, a deal or a
registration first reads and applies that record (``register_entry``); a worker does so for reported
events (``RegistrationUpdater``). A unit whose last registration this node cannot take over is
neither sold nor certified: ``register_behind``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.ethereum.proved_records import ProvedRecords
from chain.statements.property import DealTerms, TitleStatement
from registry.credit.certificates import certified_identity
from registry.credit.model import CertifiedIdentity
from registry.property import register_store, store
from registry.property.model import NO_DEAL, Deal, NewUnit, Unit
from registry.property.rules import (
    registered_deal,
    require_title_current,
    unit_of,
    unit_pseudonym,
    unit_records,
)

log = logging.getLogger("qiaolian.deals")
MAX_UNITS = 5_000


def register_units(context: Context, units: Sequence[NewUnit]) -> list[Unit]:
    """Enter units with their owners into the register. The same entry again changes nothing.

    Raises:
        BadInput: ``unit_malformed``, ``too_many_units``; Conflict: ``unit_known`` for a unit that
            has another owner.
    """
    if len(units) > MAX_UNITS:
        raise BadInput("too_many_units", f"At most {MAX_UNITS} units are entered at once.")

    def change(session: Session) -> list[Unit]:
        secret = register_store.register_secret(session)
        return [_enter(session, secret, unit) for unit in units]

    return context.database.write(change)


def _enter(session: Session, secret: bytes, new: NewUnit) -> Unit:
    pseudonym = unit_pseudonym(secret, new.number)
    unit = register_store.find_unit(session, pseudonym)
    if unit is None:
        unit = Unit(pseudonym, new.number, new.owner)
        register_store.save_unit(session, unit)
    elif unit.owner != new.owner:
        raise Conflict(
            "unit_known", "A unit is in the register with another owner.", unit=new.number
        )
    return unit


def find_unit(context: Context, number: str) -> Unit:
    """A unit of the register by its number; ``unit_unknown``."""
    with context.database.read() as session:
        unit = register_store.find_unit_by_number(session, number)
    if unit is None:
        raise _unknown_unit()
    return unit


def require_unit(context: Context, number: str, pseudonym: bytes) -> None:
    """Refuse a deal whose unit on the chain is not the one it names: ``unit_differs``."""
    if find_unit(context, number).unit != pseudonym:
        raise BadInput("unit_differs", "The deal's unit on the chain is not the unit it names.")


def require_title_here(
    context: Context, terms: DealTerms, title: TitleStatement, records: ProvedRecords
) -> None:
    """Refuse a deal whose seller does not own the unit at this moment, or whose title is not built
    on its last registration.

    Args:
        records: ``unit_records`` and ``registered_deal``, proved under one block.

    Raises:
        Forbidden: ``not_owner``; Conflict: ``title_superseded``; NotFound: ``subject_key_unknown``;
        Unavailable: ``register_behind``.
    """
    unit = _updated_entry(context, terms.unit, records)
    require_title_current(title, unit.last_registration)
    with context.database.read() as session:
        seller = certified_by(session, context.member, terms.seller)
    require_owner(unit, seller)


def require_buyer(context: Context, buyer_key: str) -> None:
    """Refuse to register a deal whose buyer this centre cannot name: ``subject_key_unknown``. The
    key's certificate may have ended since.
    """
    with context.database.read() as session:
        certified_by(session, context.member, buyer_key)


def require_owner(unit: Unit, holder: CertifiedIdentity) -> None:
    """Refuse a key whose holder does not own a unit: ``not_owner``."""
    if holder.identity.get("code") != unit.owner:
        raise Forbidden("not_owner", "The key's holder is not the owner of the unit.")


def certified_by(session: Session, registrar: str, key: str) -> CertifiedIdentity:
    """Whose key it is by the registration centre's own certificate for deals; never by one that was
    shown here; ``subject_key_unknown``.
    """
    found = certified_identity(session, key)
    if found is None or (found.certificate.issuer, found.certificate.purpose) != (
        registrar,
        "deal",
    ):
        raise NotFound(
            "subject_key_unknown",
            "The key is not certified by this issuer for deals.",
            hint="Certify the person's one-time key first (POST /v1/certificates).",
        )
    return found


# --- What the chain registered --------------------------------------------------------------------


def register_entry(context: Context, unit_id: bytes) -> tuple[Unit, ProvedRecords]:
    """A unit's entry, equal to the chain's last registration, and the unit's records under the same
    block.

    Raises:
        NotFound: ``unit_unknown``; Unavailable: ``register_behind`` when the chain has another
            registration than the register and this node lacks what it needs to take it over;
            ``chain_view_stale``.
    """
    records = context.view.proved(
        unit_records(context.member, unit_id),
        following=lambda found: registered_deal(found, context.member, unit_id),
    )
    return _updated_entry(context, unit_id, records), records


def _updated_entry(context: Context, unit_id: bytes, records: ProvedRecords) -> Unit:
    last = unit_of(records, context.member, unit_id).last_registration
    with context.database.read() as session:
        unit = _known_unit(session, unit_id)
    if unit.last_registration != last and last != NO_DEAL:
        unit = _apply_registration(context, unit_id, last, records.deal(last).registered_at)
    if unit.last_registration != last:
        raise _behind(unit_id, "The chain's last registration of the unit is not the register's.")
    return unit


def _apply_registration(
    context: Context, unit_id: bytes, deal_id: bytes, registered_at: int
) -> Unit:
    """Make the buyer of a deal, which the chain is proved to have registered last for the unit, its
    owner.
    """

    def change(session: Session) -> Unit:
        unit = _known_unit(session, unit_id)
        if unit.last_registration == deal_id or registered_at < unit.registered_at:
            return unit
        deal = store.find_deal(session, deal_id)
        if not registered_at or deal is None:
            raise _behind(
                unit_id, "This node does not have the deal that was registered last for the unit."
            )
        changed = replace(
            unit,
            owner=_buyer_of(context, session, unit_id, deal_id, deal),
            last_registration=deal_id,
            registered_at=registered_at,
        )
        register_store.save_unit(session, changed)
        return changed

    return context.database.write(change)


def _buyer_of(
    context: Context, session: Session, unit_id: bytes, deal_id: bytes, deal: Deal
) -> str:
    """Code of the buyer of a registered deal of the unit; ``register_behind``."""
    terms = deal.terms
    if deal.deal_id != deal_id or (terms.registrar, terms.unit) != (context.member, unit_id):
        raise _behind(
            unit_id,
            "This node has other terms than the deal that was registered last for the unit.",
        )
    try:
        buyer = certified_by(session, context.member, terms.buyer)
    except NotFound as error:
        raise _behind(
            unit_id, "This issuer has no certificate of its own for the buyer's key."
        ) from error
    return str(buyer.identity.get("code", ""))


def _known_unit(session: Session, unit_id: bytes) -> Unit:
    unit = register_store.find_unit(session, unit_id)
    if unit is None:
        raise _unknown_unit()
    return unit


def _unknown_unit() -> NotFound:
    return NotFound("unit_unknown", "The register has no such unit.")


def _behind(unit: bytes, sentence: str) -> Unavailable:
    return Unavailable(
        "register_behind",
        sentence,
        hint="Try again when the node has followed the chain; if it stays so, "
        "docs/proved-effects.md says what to do.",
        unit="0x" + unit.hex(),
    )


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

    @property
    def has_work(self) -> bool:
        """Whether registrations are not taken over yet."""
        return bool(self._pending)

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
            newest = register_store.last_reported_registration(session)
            self._pending.update(register_store.units_behind(session, above=self._searched_to))
        self._searched_to = newest

    def _failed(self, unit: bytes, error: QiaolianError) -> None:
        if self._reported.get(unit) != error.code:
            self._reported[unit] = error.code
            log.error(
                "a registration was not taken over: %s",
                error.sentence,
                extra={"unit": "0x" + unit.hex(), "code": error.code},
            )
