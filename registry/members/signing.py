"""What a governor's administrator signs, on the administrator's own machine: the call is encoded
again from what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.core.crypto import keccak256
from chain.core.errors import BadInput
from chain.ethereum.ledger import contract_abi
from chain.statements.members import Approval
from chain.statements.trade import Agreement
from registry.members.rules import GOVERNED_CALLS, call_arguments


def call_data(function: str, arguments: Mapping[str, Any]) -> bytes:
    """The call the directory makes to itself for an action given as JSON; raises what
    ``call_arguments`` raises.
    """
    values = call_arguments(function, arguments)
    if function not in GOVERNED_CALLS:
        return contract_abi("MemberDirectory").encode(function, values)
    contract, act = GOVERNED_CALLS[function]
    address, *rest = values
    return contract_abi("MemberDirectory").encode(
        "actOn", [address, contract_abi(contract).encode(act, rest)]
    )


def shown(function: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An action's arguments as a person reads them: an agreement by its id and parties."""
    if function != "fineProvider":
        return dict(arguments)
    agreement = Agreement.from_json(arguments["agreement"])
    return {
        "agreement": "0x" + agreement.struct_hash().hex(),
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        **{name: arguments[name] for name in ("amount", "to", "reason")},
    }


def reviewed(proposal: Mapping[str, Any]) -> tuple[bytes, Approval]:
    """The call and the approval of a proposal, once the approval is of exactly the action the
    proposal describes.

    Raises:
        BadInput: ``proposal_malformed``, ``proposal_differs``.
    """
    try:
        approval = Approval.from_json(proposal["approval"])
        data = call_data(proposal["function"], proposal["arguments"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "proposal_malformed", "A proposal lacks a part or has one of the wrong form."
        ) from error
    if approval.call_hash != keccak256(data) or "0x" + data.hex() != proposal.get("callData"):
        raise BadInput(
            "proposal_differs", "The call to be approved is not the action the proposal describes."
        )
    return data, approval
