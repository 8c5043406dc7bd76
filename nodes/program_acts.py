"""Acts of programs: what a request with an access token did, recorded under the token's name.

The line is written before the answer's first byte leaves, with the answer's code where it is a
refusal. That of a metered call is stored in one transaction with the call's record. A change has a
line when it begins besides, so that a process that dies on the way leaves one; a metered call has
its stored request for that. The state of a contract call (``/v1/operations``), the log's heads and
the node's own state are no data of the organisation's: reading them is no act.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chain.core.printable import printable
from nodes.access import TokenEntry
from nodes.console.acts import service as acts
from nodes.console.acts.model import Act, ActKind, Actor
from nodes.console.storage import Records

COMMAND_HEADER = b"qiaolian-command"
"""The command, and who used it on that machine, as the command line names them: not verified."""

_NO_ACTS = ("/v1/operations/", "/v1/node", "/v1/log")
_EXPORTS = re.compile(r"/(?:lane-)?bundle$")
_OBJECTS = {
    "accounts": "money",
    "balance": "money",
    "deposits": "money",
    "payments": "money",
    "withdrawals": "money",
    "credit": "credit-query",
    "governance": "proposal",
    "records": "credit-record",
    "reports": "credit-report",
}
"""Objects whose name is not the path's own, in the singular."""
_KINDS = {
    "revocation": ActKind.REVOKE,
    "approvals": ActKind.APPROVE,
    "reports": ActKind.USE,
    "calls": ActKind.USE,
    "batch": ActKind.USE,
    "stream": ActKind.USE,
}
"""Kinds of what is posted, by the last part of the path; anything else changes something."""


class ProgramAct:
    """One request's act, from its beginning to its answer."""

    def __init__(self, records: Records, actor: Actor, act: Act, *, begins: bool) -> None:
        self._records = records
        self._actor = actor
        self._act = act
        self.begins = begins
        """Whether it has a line of its own when it begins."""
        self.is_stored = False
        """Whether its line is stored with the result of what was done."""

    async def record(self, outcome: str) -> None:
        """Write a line; it returns once the line is durable."""
        await self._records.database.awrite(
            lambda session: self._append(session, outcome), routine=self._act.kind is ActKind.USE
        )

    def store(self, session: Session) -> None:
        """Write the line of an act that succeeds, in the transaction that stores its result."""
        self._append(session, acts.DONE)
        self.is_stored = True

    def _append(self, session: Session, outcome: str) -> None:
        acts.append(session, self._records, self._actor, self._act, outcome=outcome)


def begun(
    records: Records,
    holder: TokenEntry,
    *,
    method: str,
    route: str,
    parameters: Mapping[str, Any],
    body: Any,
    command: str = "",
) -> ProgramAct | None:
    """The act of a request; None where the request is no act.

    Args:
        route: the path with names in place of ids; it is the act's place.
        body: the decoded JSON.
    """
    if not route.startswith("/v1/") or (method == "GET" and route.startswith(_NO_ACTS)):
        return None
    act = _act(method, route, parameters, body)
    place = f"{method} {route}" + (f" ({printable(command)})" if command else "")
    actor = Actor(f"token:{holder.name}", holder.name, f"{holder.role} token", place)
    used = act.kind is ActKind.USE
    return ProgramAct(records, actor, act, begins=method != "GET" and not used)


def _act(method: str, route: str, parameters: Mapping[str, Any], body: Any) -> Act:
    first, _, _ = route.removeprefix("/v1/").partition("/")
    noun = _OBJECTS.get(first, first.removesuffix("s"))
    subject = str(next(iter(parameters.values()), ""))
    if method == "GET":
        return Act(ActKind.EXPORT if _EXPORTS.search(route) else ActKind.VIEW, noun, subject)
    kind = _KINDS.get(route.rpartition("/")[2], ActKind.CHANGE)
    if first == "calls" and kind is ActKind.USE:
        return Act(kind, "agreement", _agreement(body))
    if route.endswith("/decision"):
        kind = ActKind.REFUSE if _refuses(body) else ActKind.APPROVE
    return Act(kind, noun, subject)


def _agreement(body: Any) -> str:
    """The agreement that calls are made under; nothing where they are under several."""
    calls = body.get("calls", [body]) if isinstance(body, dict) else []
    named = {
        str(call.get("agreementId", "")) if isinstance(call, dict) else ""
        for call in (calls if isinstance(calls, list) else [])
    }
    return named.pop() if len(named) == 1 else ""


def _refuses(body: Any) -> bool:
    decision = body.get("decision", {}) if isinstance(body, dict) else {}
    return isinstance(decision, dict) and decision.get("approved") is False
