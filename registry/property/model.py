"""What the chain records of a unit and of a deal, as read under one proved head."""

from __future__ import annotations

from dataclasses import dataclass

from chain.ethereum.records import DealRecord, UnitHoldRecord

NO_DEAL = bytes(32)
"""In place of a deal's id: none."""


@dataclass(frozen=True)
class UnitState:
    """A unit's hold, its open deal and the deal that was registered last for it."""

    hold: UnitHoldRecord
    open_deal: bytes
    """32 bytes; ``NO_DEAL`` when the unit is in no deal."""
    last_registration: bytes
    """32 bytes; ``NO_DEAL`` before the first registration."""


@dataclass(frozen=True)
class DealState:
    """A deal and its unit."""

    deal: DealRecord
    title_hash: bytes
    """Struct hash of the title statement the deal was opened with; 32 zero bytes before it is open.
    """
    unit: UnitState
