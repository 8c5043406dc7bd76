"""View models of the pages of record disputes. Heights in blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from nodes.console.i18n import N_
from nodes.console.names import asset_name
from registry.credit.model import Dispute, DisputeState
from registry.sources import Record

STATES: Mapping[DisputeState, str] = {
    DisputeState.SENT: N_("on its way to the chain"),
    DisputeState.OPEN: N_("waits for this department"),
    DisputeState.ANSWERED: N_("answered"),
}


@dataclass(frozen=True, slots=True)
class RecordCell:
    """A column of the disputed record, before and after its repair."""

    column: str
    held: str
    repaired: str


@dataclass(frozen=True, slots=True)
class DisputeView:
    """A dispute; ``state`` is a marked label."""

    id: str
    subject: str
    asset_id: str
    asset: str
    state: str
    waits: bool
    upheld: bool | None
    claim: list[tuple[str, str]]
    cells: list[RecordCell]
    opened_at: int | None
    answered_at: int | None
    statement: str
    """Digest of the dispute in this node's log."""
    answer: str


def dispute_view(context: Context, dispute: Dispute) -> DisputeView:
    """A dispute as the pages show it."""
    domain, repair = context.domain("CreditLedger"), dispute.repair
    after = dispute.new_record
    return DisputeView(
        id="0x" + dispute.dispute_id.hex(),
        subject=dispute.subject,
        asset_id="0x" + dispute.statement.asset_id.hex(),
        asset=asset_name(context, dispute.statement.asset_id),
        state=STATES[dispute.state],
        waits=dispute.state is not DisputeState.ANSWERED,
        upheld=None if repair is None else repair.upheld,
        claim=[(name, text_of(value)) for name, value in dispute.claim.items()],
        cells=[
            RecordCell(name, text_of(value), "" if after is None else text_of(after.get(name)))
            for name, value in dispute.old_record.items()
        ],
        opened_at=dispute.opened_at,
        answered_at=dispute.answered_at,
        statement="0x" + dispute.statement.digest(domain).hex(),
        answer="" if repair is None else "0x" + repair.digest(domain).hex(),
    )


def text_of(value: Any) -> str:
    """A cell as people read and type it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def repaired_record(dispute: Dispute, columns: list[str], cells: list[str]) -> Record:
    """The record that was typed; a cell that was left as it was keeps its value, an empty one is
    absent.
    """
    before = dispute.old_record
    return {
        name: before[name]
        if name in before and text_of(before[name]) == cell
        else (cell if cell else None)
        for name, cell in zip(columns, cells, strict=False)
    }
