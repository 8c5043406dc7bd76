"""View models of the pages of a contract call."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from chain.core.error_codes import error_codes
from chain.outbox.store import OperationStatus
from nodes.console.i18n import CHINESE, N_

_STATES = {
    "queued": N_("Waiting for its turn"),
    "signed": N_("Signed"),
    "sent": N_("Sent to the chain"),
    "done": N_("In a block"),
    "reverted": N_("Refused by the contract"),
}


@dataclass(frozen=True, slots=True)
class OperationView:
    """A contract call; ``height`` is the block that holds it."""

    operation: str
    path: str
    state: str
    final: bool
    succeeded: bool
    transaction: str
    height: int | None
    code: str
    reason: str


def operation_path(operation: str, *, back: str) -> str:
    """The page of an operation, which leads back to the page of its object."""
    return f"/operations/{quote(operation)}?{urlencode({'back': back})}"


def operation_view(operation: str, found: OperationStatus, language: str) -> OperationView:
    """The call's status for people."""
    entry = error_codes().get(found.code or "")
    reason = (
        "" if entry is None else entry.sentence.zh if language == CHINESE else entry.sentence.en
    )
    return OperationView(
        operation=operation,
        path=f"/operations/{quote(operation)}",
        state=_STATES.get(found.state, found.state),
        final=found.final,
        succeeded=found.state == "done",
        transaction="" if found.tx_hash is None else "0x" + found.tx_hash.hex(),
        height=found.height,
        code=found.code or "",
        reason=reason,
    )
