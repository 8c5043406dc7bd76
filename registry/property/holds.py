"""Holds on units: placed and lifted by the registration centre under an order, and ended by anybody
once the order has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict
from chain.ethereum.proved_records import unit_record
from chain.outbox import Priority, enqueue, next_attempt
from chain.statements.commitment import commit, new_salt
from chain.statements.property import UnitHold
from registry.evidence.log import append_statement
from registry.pages import Page, PageRequest
from registry.property import register_store
from registry.property.calls import CONTRACT
from registry.property.model import HoldInForce, UnitOrder
from registry.property.register import find_unit
from registry.property.rules import ORDER_DOMAIN, require_hold_end


def set_hold(
    context: Context,
    number: str,
    order: Mapping[str, Any],
    *,
    placed: bool,
    ends_at: int | None = None,
) -> UnitOrder:
    """Place or lift a hold on a unit, citing an order.

    Args:
        ends_at: Unix seconds, when the order ends; none for a lifting. A further order makes a hold
            end later, never earlier.

    Raises:
        NotFound: ``unit_unknown``; BadInput: ``wrong_hold_end``.
    """
    now = context.now()
    end = require_hold_end(ends_at, now, placed=placed)
    unit = find_unit(context, number).unit
    salt = new_salt()
    statement = UnitHold(
        version=1,
        registrar=context.member,
        unit=unit,
        order=commit(salt, ORDER_DOMAIN, dict(order)),
        placed=placed,
        issued_at=max(now, _last_order_at(context, unit) + 1),
        ends_at=end,
    )
    made = UnitOrder(
        statement=statement,
        signature=context.sign(statement),
        order=order,
        salt=salt,
        operation=f"hold/{statement.struct_hash().hex()}",
    )
    context.database.write(lambda session: _store(context, session, made))
    return made


def _store(context: Context, session: Session, made: UnitOrder) -> None:
    register_store.add_order(session, made)
    append_statement(session, made.statement, context.domain(CONTRACT), at=made.statement.issued_at)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=made.operation,
        contract=CONTRACT,
        function="setHold",
        arguments=[made.statement, made.signature],
        priority=Priority.URGENT,
    )


def _last_order_at(context: Context, unit: bytes) -> int:
    """When this centre's latest order for a unit was issued; the contract takes later ones only. A
    hold does not wait for the chain view.
    """
    with context.database.read() as session:
        return register_store.last_order_at(session, unit)


def orders_of(context: Context, number: str) -> list[UnitOrder]:
    """The orders for a unit of this centre, the latest first; ``unit_unknown``."""
    unit = find_unit(context, number).unit
    with context.database.read() as session:
        return register_store.orders_of(session, unit)


def end_hold(context: Context, registrar: str, unit: bytes) -> str:
    """End a hold whose order ended without a further one, of any centre's unit; the outbox
    operation.

    Raises:
        Conflict: ``unit_not_held``, ``not_yet_expired``; Unavailable: ``chain_view_stale``.
    """
    hold = context.view.proved([unit_record("holds", registrar, unit)]).unit_hold(registrar, unit)
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
            contract=CONTRACT,
            function="endHold",
            arguments=[registrar, unit],
        )
        return operation

    return context.database.write(change)


def holds(context: Context, page: PageRequest) -> Page[HoldInForce]:
    """This centre's holds that the chain is proved to have in force, the next to end first, each
    with its unit's latest order.

    A page has fewer rows than were asked for where the chain has ended holds since.

    Raises:
        BadInput: ``cursor_malformed``; Unavailable: ``chain_view_stale``.
    """
    with context.database.read() as session:
        found = register_store.holds_page(session, page)
        units = [row.statement.unit for row in found.rows]
        numbers = register_store.unit_numbers(session, units)
    member = context.member
    records = context.view.proved(unit_record("holds", member, unit) for unit in units)
    rows = [(row, records.unit_hold(member, row.statement.unit)) for row in found.rows]
    in_force = [
        HoldInForce(
            number=numbers[row.statement.unit],
            unit=row.statement.unit,
            order=row.order,
            placed_at=record.placed_at,
            ends_at=record.ends_at,
        )
        for row, record in rows
        if record.held
    ]
    return Page(in_force, found.next)
