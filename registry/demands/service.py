"""Demands: posted and withdrawn by a bank, fetched and answered by departments."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound, QiaolianError
from chain.statements.members import Role
from registry import fanout
from registry.assets import catalogue
from registry.demands import peers, store
from registry.demands.model import Demand, DemandAnswer, OwnDemand, ReceivedDemand
from registry.demands.rules import MAX_OPEN, require_demand, require_note
from registry.demands.store import DemandRow, ReceivedDemandRow
from registry.members import service as members
from registry.pages import Page, PageRequest

log = logging.getLogger("qiaolian.demands")

FETCH_SECONDS = 10.0
MAX_ANSWERS = 20
"""Assets with which one department answers one demand."""


# --- At the bank ----------------------------------------------------------------------------------


def post(
    context: Context,
    *,
    title: str,
    text: str,
    purpose: str,
    columns: Sequence[str],
    idempotency_key: str | None = None,
) -> OwnDemand:
    """Post a demand; the same key posts it once.

    Raises:
        BadInput: ``demand_malformed``, ``purpose_unknown``; Conflict: ``demand_limit``,
            ``demand_key_reused`` for another demand under the key.
    """
    key = idempotency_key or secrets.token_hex(16)
    demand_id = hashlib.sha256(f"demand {context.member} {key}".encode()).hexdigest()[:32]
    demand = require_demand(Demand(demand_id, title, text, purpose, tuple(columns), context.now()))

    def change(session: Session) -> OwnDemand:
        before = store.find(session, demand_id)
        if before is not None:
            found = store.own(session, before)
            if _content(found.demand) != _content(demand):
                raise Conflict(
                    "demand_key_reused", "Another demand was posted under this idempotency key."
                )
            return found
        if store.count_open(session) >= MAX_OPEN:
            raise Conflict(
                "demand_limit",
                f"This organisation has {MAX_OPEN} open demands.",
                hint="Withdraw those that are met.",
            )
        store.add(session, demand)
        return OwnDemand(demand, None, ())

    return context.database.write(change)


def _content(demand: Demand) -> tuple[str, str, str, tuple[str, ...]]:
    return demand.title, demand.text, demand.purpose, demand.columns


def withdraw(context: Context, demand_id: str) -> OwnDemand:
    """End a demand, met or not; ``demand_unknown``."""

    def change(session: Session) -> OwnDemand:
        row = _own_row(session, demand_id)
        if row.withdrawn_at is None:
            row.withdrawn_at = context.now()
        return store.own(session, row)

    return context.database.write(change)


def own(context: Context, page: PageRequest) -> Page[OwnDemand]:
    """This bank's demands with their answers, the newest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.own_page(session, page)


def find(context: Context, demand_id: str) -> OwnDemand:
    """A demand of this bank; ``demand_unknown``."""
    with context.database.read() as session:
        return store.own(session, _own_row(session, demand_id))


def open_demands(context: Context, page: PageRequest) -> Page[Demand]:
    """This bank's open demands, as departments fetch them; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.own_page(session, page, only_open=True).map(lambda found: found.demand)


def take_answer(
    context: Context, department: str, demand_id: str, asset_id: bytes, note: str
) -> None:
    """Store a department's answer.

    Raises:
        NotFound: ``demand_unknown``, ``asset_unknown``; Forbidden: ``asset_of_others``; Conflict:
            ``demand_closed``, ``demand_limit``; BadInput: ``demand_malformed``.
    """
    require_note(note)
    if catalogue.find(context, asset_id).record.holder != department:
        raise _asset_of_others()
    answer = DemandAnswer(department, asset_id, note, context.now())

    def change(session: Session) -> None:
        if _own_row(session, demand_id).withdrawn_at is not None:
            raise Conflict("demand_closed", "The bank has withdrawn this demand.")
        if store.count_answers(session, demand_id, department) >= MAX_ANSWERS:
            raise Conflict("demand_limit", f"A demand takes {MAX_ANSWERS} assets of a department.")
        store.store_answer(session, demand_id, answer)

    context.database.write(change)


# --- At a department ------------------------------------------------------------------------------


def received(context: Context, page: PageRequest) -> Page[ReceivedDemand]:
    """Other members' open demands as they were fetched last, the newest first;
    ``cursor_malformed``.
    """
    with context.database.read() as session:
        return store.received_page(session, page)


def find_received(context: Context, bank: str, demand_id: str) -> ReceivedDemand:
    """A demand of another member; ``demand_unknown``."""
    with context.database.read() as session:
        return store.received(_received_row(session, bank, demand_id))


async def answer(context: Context, bank: str, demand_id: str, asset_id: bytes, note: str) -> None:
    """Answer a demand with an asset of this department.

    Raises:
        NotFound: ``demand_unknown``, ``asset_unknown``; Forbidden: ``asset_of_others``; Conflict:
            ``demand_closed``; Unavailable: the bank's node cannot be reached.
    """
    require_note(note)
    await asyncio.to_thread(find_received, context, bank, demand_id)
    entry = await asyncio.to_thread(catalogue.find, context, asset_id)
    if entry.record.holder != context.member:
        raise _asset_of_others()
    await peers.send_answer(context, bank, demand_id, asset_id, note)

    def change(session: Session) -> None:
        row = store.find_received(session, bank, demand_id)
        if row is not None:
            row.answered_with = asset_id

    await context.database.awrite(change)


async def fetch_all(context: Context) -> dict[str, QiaolianError]:
    """Fetch the open demands of every bank; the failures by bank. What was fetched of a bank that
    does not answer now stays.
    """
    banks = await asyncio.to_thread(members.active, context, Role.BANK)

    async def fetch(bank: str) -> None:
        demands = await peers.fetch(context, bank)
        await context.database.awrite(
            lambda session: store.replace_received(session, bank, demands)
        )

    others = [bank for bank in banks if bank != context.member]
    outcomes = await fanout.for_each(others, fetch, seconds=FETCH_SECONDS)
    return {
        bank: outcome for bank, outcome in outcomes.items() if isinstance(outcome, QiaolianError)
    }


def _own_row(session: Session, demand_id: str) -> DemandRow:
    row = store.find(session, demand_id)
    if row is None:
        raise _unknown()
    return row


def _received_row(session: Session, bank: str, demand_id: str) -> ReceivedDemandRow:
    row = store.find_received(session, bank, demand_id)
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound(
        "demand_unknown", "There is no such demand, or it was withdrawn.", hint="See the list."
    )


def _asset_of_others() -> Forbidden:
    return Forbidden("asset_of_others", "The asset is not of the department that answers.")
