"""Proposals as governors' nodes exchange them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.context import Context
from chain.core.errors import BadInput
from registry import fanout
from registry.members.model import Proposal
from registry.members.signing import reviewed

SHARE_SECONDS = 10.0
"""How long a governor's node may take to accept a proposal; it can be sent by other means."""
MAX_SIGNATURES = 64


async def share(context: Context, proposal: Proposal, members: Sequence[str]) -> list[str]:
    """Send a proposal to other members' nodes; returns those that it did not reach."""
    value = proposal.to_json()

    async def send(member: str) -> None:
        await context.peers.post(member, "/v1/peer/governance/proposals", value)

    others = [member for member in members if member != context.member]
    outcomes = await fanout.for_each(others, send, seconds=SHARE_SECONDS)
    return [member for member, outcome in outcomes.items() if outcome is not None]


def read_proposal(value: Mapping[str, Any]) -> Proposal:
    """The proposal that another node sent, as ``Proposal.to_json`` writes it. Who signed is not
    checked: names and signatures are as they were sent.

    Raises:
        BadInput: ``proposal_malformed``, ``proposal_differs`` and what ``call_arguments`` raises.
    """
    data, approval = reviewed(value)
    if not isinstance(value.get("proposer"), str):
        raise BadInput("proposal_malformed", "A proposal names its proposer.")
    return Proposal(
        proposer=value["proposer"],
        function=value["function"],
        arguments=value["arguments"],
        call_data=data,
        nonce=approval.nonce,
        deadline=approval.deadline,
        approvals=_signatures(value, "approvals"),
        withdrawals=_signatures(value, "withdrawals"),
    )


def _signatures(value: Mapping[str, Any], name: str) -> dict[str, bytes]:
    given = value.get(name, {})
    if not isinstance(given, dict) or len(given) > MAX_SIGNATURES:
        raise BadInput("proposal_malformed", f"A proposal's {name} are signatures by member.")
    return {member: _signature(signature) for member, signature in given.items()}


def _signature(value: Any) -> bytes:
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        data = b""
    if len(data) != 65:
        raise BadInput(
            "proposal_malformed", "A signature in the proposal is not 65 bytes in 0x hexadecimal."
        )
    return data
