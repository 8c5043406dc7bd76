"""The chain's records of units and deals, proved under the node's fresh head. What allows, moves or
certifies something in this package reads them here; the events' tables are for display and search.

All raise ``Unavailable``, ``chain_view_stale`` or what else ``ChainView.words`` reports, when there
is no fresh head.
"""

from __future__ import annotations

from chain.context import Context
from chain.ethereum.proved_records import ProvedRecords, StorageKey, deal_record, unit_record
from chain.ethereum.records import DealRecord, UnitHoldRecord
from chain.statements.property import DealTerms
from registry.property.model import DealState, UnitState

CONTRACT = "PropertyLedger"


def unit_state(context: Context, registrar: str, unit: bytes) -> UnitState:
    """A unit of that registration centre."""
    return unit_of(context.view.proved(unit_records(registrar, unit)), registrar, unit)


def deal_state(context: Context, terms: DealTerms) -> DealState:
    """A deal and its unit, under one head."""
    deal_id = terms.struct_hash()
    title = StorageKey(CONTRACT, "titles", (deal_id,))
    records = context.view.proved(
        [deal_record(deal_id), title, *unit_records(terms.registrar, terms.unit)]
    )
    return DealState(
        records.deal(deal_id), records.hash(title), unit_of(records, terms.registrar, terms.unit)
    )


def deal(context: Context, deal_id: bytes) -> DealRecord:
    """A deal's heights and steps."""
    return context.view.proved([deal_record(deal_id)]).deal(deal_id)


def step_hash(context: Context, deal_id: bytes, step: int) -> bytes:
    """Struct hash of the statement that the chain took for a step; zero for a step that was not
    taken.
    """
    record = StorageKey(CONTRACT, "steps", (deal_id, step))
    return context.view.proved([record]).hash(record)


def holds(context: Context, registrar: str, units: list[bytes]) -> list[UnitHoldRecord]:
    """The holds of several units of one centre, in their order."""
    records = context.view.proved(unit_record("holds", registrar, unit) for unit in units)
    return [records.unit_hold(registrar, unit) for unit in units]


def unit_records(registrar: str, unit: bytes) -> tuple[StorageKey, ...]:
    """What is to be proved for ``unit_of``."""
    return tuple(
        unit_record(name, registrar, unit) for name in ("holds", "openDeal", "lastRegistration")
    )


def unit_of(records: ProvedRecords, registrar: str, unit: bytes) -> UnitState:
    """A unit's hold, open deal and last registration."""
    open_deal, last = (
        records.hash(unit_record(name, registrar, unit))
        for name in ("openDeal", "lastRegistration")
    )
    return UnitState(records.unit_hold(registrar, unit), open_deal, last)
