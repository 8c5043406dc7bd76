"""The chain's records of units and deals, proved under the node's fresh head. What allows, moves or certifies something in this package reads
them here; the events' tables are for display and search.

All raise ``Unavailable``, ``chain_view_stale`` or what else ``ChainView.words`` reports, when there is no fresh head.
"""

from __future__ import annotations

from chain.context import Context
from chain.statements import DealTerms
from chain.view import Word
from chain.words import DealWord, UnitHoldRecord
from registry.property.model import DealState, UnitState

CONTRACT = "PropertyLedger"


def unit_state(context: Context, registrar: str, unit: bytes) -> UnitState:
    """A unit of that registration centre."""
    return _unit([found.value for found in context.view.words(_unit_words(registrar, unit))])


def deal_state(context: Context, terms: DealTerms) -> DealState:
    """A deal and its unit, under one head."""
    of_deal = [Word(CONTRACT, name, (terms.struct_hash(),)) for name in ("deals", "titles")]
    wanted = [*of_deal, *_unit_words(terms.registrar, terms.unit)]
    deal, title, *unit = (found.value for found in context.view.words(wanted))
    return DealState(DealWord.decode(deal), title.to_bytes(32, "big"), _unit(unit))


def deal_record(context: Context, deal_id: bytes) -> DealWord:
    """A deal's heights and steps."""
    return DealWord.decode(context.view.word(CONTRACT, "deals", deal_id).value)


def step_hash(context: Context, deal_id: bytes, step: int) -> bytes:
    """Struct hash of the statement that the chain took for a step; zero for a step that was not taken."""
    return context.view.word(CONTRACT, "steps", deal_id, step).value.to_bytes(32, "big")


def holds(context: Context, registrar: str, units: list[bytes]) -> list[UnitHoldRecord]:
    """The holds of several units of one centre, in their order."""
    found = context.view.words([Word(CONTRACT, "holds", (registrar, unit)) for unit in units])
    return [UnitHoldRecord.decode(record.value) for record in found]


def _unit_words(registrar: str, unit: bytes) -> list[Word]:
    return [Word(CONTRACT, name, (registrar, unit)) for name in ("holds", "openDeal", "lastRegistration")]


def _unit(values: list[int]) -> UnitState:
    hold, open_deal, last = values
    return UnitState(UnitHoldRecord.decode(hold), open_deal.to_bytes(32, "big"), last.to_bytes(32, "big"))
