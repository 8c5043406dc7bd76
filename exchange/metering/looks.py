"""Calls by the subject whose record they asked for, as values: at the gateway and at the buyer."""

from __future__ import annotations

import json
from collections.abc import Collection

from chain.context import Context
from chain.core import schema
from chain.core.errors import NotFound
from exchange.metering import look_store
from exchange.metering.look_model import LaneCount, Look, Opening, Position
from exchange.metering.model import CallQuery, CallStatus
from exchange.metering.store import BuyerCallRow, GatewayCallRow
from registry.pages import Page, PageRequest


def served(context: Context, subject: str, page: PageRequest) -> Page[Look]:
    """Who asked this gateway for a subject's record, the latest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return look_store.served_looks(session, subject, page).map(_served)


def bought(context: Context, subject: str, page: PageRequest) -> Page[Look]:
    """The calls of this buyer for a subject's record, the latest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return look_store.bought_looks(session, subject, page).map(_bought)


def opening_of(context: Context, position: Position) -> tuple[str, Opening]:
    """The subject of a call at this gateway and what opens its request; ``look_unknown``."""
    with context.database.read() as session:
        row = look_store.look_at(session, position.agreement_id, position.lane, position.seq)
        if row is None or row.subject is None or row.opening is None:
            raise NotFound("look_unknown", "This node has no such call, or not its query.")
        value = json.loads(row.opening)
        return row.subject, Opening(value["query"], schema.salt(value["salt"]))


def bought_at(context: Context, position: Position) -> Look:
    """One call of this buyer; ``look_unknown`` without a receipt."""
    with context.database.read() as session:
        row = look_store.bought_at(session, position.agreement_id, position.lane, position.seq)
        if row is None or row.receipt_hash is None:
            raise NotFound("look_unknown", "This node has no such call, or not its receipt.")
        return _bought(row)


def served_positions(
    context: Context, subject: str, agreement_ids: Collection[bytes]
) -> set[Position]:
    """The calls for a subject that this gateway answered under these agreements."""
    with context.database.read() as session:
        found = look_store.positions(session, look_store.SERVED, subject, agreement_ids)
    return {Position(*position) for position in found}


def bought_positions(
    context: Context, subject: str, agreement_ids: Collection[bytes]
) -> set[Position]:
    """The calls for a subject that this buyer got answers to under these agreements."""
    with context.database.read() as session:
        found = look_store.positions(session, look_store.BOUGHT, subject, agreement_ids)
    return {Position(*position) for position in found}


def receipts_about(context: Context, subject: str) -> list[bytes]:
    """Struct hashes of the receipts of a subject's calls at this gateway."""
    with context.database.read() as session:
        return look_store.receipts_about(session, subject)


def lane_counts(context: Context, agreement_ids: Collection[bytes]) -> list[LaneCount]:
    """What this gateway has stored of each used lane of these agreements."""
    with context.database.read() as session:
        return [LaneCount(*row) for row in look_store.lane_counts(session, agreement_ids)]


def _served(row: GatewayCallRow) -> Look:
    return Look(
        position=Position(row.agreement_id, row.lane, row.seq),
        query=CallQuery.from_json(json.loads(row.opening or "{}")["query"]),
        status=CallStatus(row.status),
        reason=row.reason,
        at=row.at,
        receipt=row.receipt_hash,
    )


def _bought(row: BuyerCallRow) -> Look:
    return Look(
        position=Position(row.agreement_id, row.lane, row.seq),
        query=CallQuery.from_json(json.loads(row.query)["query"]),
        status=CallStatus(row.status),
        reason=row.reason,
        at=row.asked_at,
        receipt=row.receipt_hash or b"",
    )
