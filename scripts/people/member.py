"""``qiaolian member``: who is on the network, and how two governors change that, each administrator signing with a key of its own."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chain.errors import BadInput
from chain.statements import ApprovalWithdrawal, KeyPurpose
from registry.members.rules import ACTIONS, ACTS, role_names
from scripts.people.desk import Desk, read_json
from scripts.people.show import Columns, when
from scripts.people.verb import KEY, PAGE, Noun, Verb, arg, read, read_pages

MEMBERS: Columns = {"member": "member", "status": "status", "roles": lambda row: ",".join(row["roles"]), "since block": "admittedAt", "name": "name"}
PROPOSALS: Columns = {
    "proposal": "proposalId",
    "action": "function",
    "about": lambda row: next(
        (row["arguments"][name] for name in ("member", "outgoing", "name", "address", "fingerprint", "dataItem") if name in row["arguments"]), ""
    ),
    "approved by": lambda row: ",".join(row["approvals"]) or "nobody",
    "until": lambda row: when(row["approval"]["deadline"]),
    "executed": "executedAt",
}
KEYS: Columns = {
    "fingerprint": "fingerprint",
    "purpose": "purpose",
    "algorithm": "algorithm",
    "from block": "fromHeight",
    "ended in block": "endedAt",
}
PROPOSAL = arg("proposal_id")
SHARE = arg("--share-with", action="append", default=[], metavar="MEMBER", help="a governor whose node is handed the proposal; repeated")


def _propose(function: str, desk: Desk, arguments: argparse.Namespace) -> None:
    body = {"function": function, "arguments": _arguments(desk, function, arguments), "shareWith": arguments.share_with}
    made = desk.client.post("/v1/governance/proposals", body)
    desk.show(made)
    desk.say(f"Two governors approve it, each with: qiaolian member approve {made['proposalId']} --key FILE")
    _not_reached(desk, made)


def _approve(desk: Desk, arguments: argparse.Namespace) -> None:
    # Encoding the call again takes more than other commands need, so it is loaded here.
    from registry.members.signing import reviewed

    proposal = desk.client.get(f"/v1/governance/proposals/{arguments.proposal_id}")
    _, approval = reviewed(proposal)
    _require_contract(desk, proposal)
    signature = desk.signed(
        approval,
        desk.key(),
        about={
            "proposed by": desk.member_name(proposal["proposer"]),
            "action": proposal["function"],
            **_read(_named(desk, proposal)),
            "valid until": when(approval.deadline),
        },
    )
    made = desk.client.post(f"/v1/governance/proposals/{arguments.proposal_id}/approvals", {"signature": signature})
    desk.settled(made)
    if not made["operation"]:
        desk.say("The proposer's node sends the change to the chain once two governors have approved.")
    _not_reached(desk, made)


def _withdraw(desk: Desk, arguments: argparse.Namespace) -> None:
    from registry.members.signing import reviewed

    proposal = desk.client.get(f"/v1/governance/proposals/{arguments.proposal_id}")
    _, approval = reviewed(proposal)
    withdrawal = ApprovalWithdrawal(1, approval.call_hash, approval.nonce, approval.deadline)
    about = {"withdraws your approval of": proposal["function"], **_read(proposal["arguments"])}
    signature = desk.signed(withdrawal, desk.key(), about=about)
    made = desk.client.post(f"/v1/governance/proposals/{arguments.proposal_id}/withdrawals", {"signature": signature})
    desk.show(made)
    desk.say("This node sends the withdrawal to the chain; from then on the approval counts no more.")
    _not_reached(desk, made)


def _require_contract(desk: Desk, proposal: Mapping[str, Any]) -> None:
    """An act on another contract must name this network's."""
    act = ACTS.get(proposal["function"])
    if act and proposal["arguments"].get("contract") != desk.deployment.address(act[0]):
        raise BadInput("other_contract", f"The proposal acts on a contract that is not this network's {act[0]}.", hint="Do not approve it.")


def _named(desk: Desk, proposal: Mapping[str, Any]) -> dict[str, Any]:
    """An action's arguments, with the names of the organisations that are members already."""
    known = () if proposal["function"] == "admit" else ("member", "outgoing", "incoming")
    return {name: desk.member_name(value) if name in known else value for name, value in proposal["arguments"].items()}


def _read(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An action's arguments as people read them."""
    shown = dict(arguments)
    if isinstance(shown.get("roles"), int):
        shown["roles"] = ", ".join(role_names(shown["roles"]))
    for name in ("keys", "key"):
        if name in shown:
            keys = shown[name] if isinstance(shown[name], list) else [shown[name]]
            shown[name] = [f"{KeyPurpose(each['purpose']).name.lower()} {each['fingerprint']}" for each in keys]
    return shown


def _not_reached(desk: Desk, made: Mapping[str, Any]) -> None:
    for member in made["notReached"]:
        desk.say(f"Not reached: the node of {member}. Approve again once it answers, or share the proposal again.")


def _arguments(desk: Desk, function: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if function == "admit":
        return dict(_admission(arguments.admission))
    found = {name: getattr(arguments, name) for name in ACTIONS[function] if name not in ("key", "contract")}
    if function in ACTS:
        found["contract"] = desk.deployment.address(ACTS[function][0])
    if function == "addKey":
        found["key"] = _key(arguments)
    return found


def _key(arguments: argparse.Namespace) -> Any:
    """A key's public record: a file of its own, or one of an admission's."""
    if arguments.public is not None:
        return read_json(arguments.public, "key's public record")
    if arguments.admission is None or arguments.purpose is None:
        raise BadInput("key_missing", "Which key is to be added?", hint="Give --public FILE, or --admission FILE with --purpose.")
    wanted = KeyPurpose[arguments.purpose.upper()]
    keys = [each for each in _admission(arguments.admission)["keys"] if each.get("purpose") == wanted]
    if len(keys) != 1:
        raise BadInput("key_missing", f"{arguments.admission.name} holds no key for {arguments.purpose}.")
    return keys[0]


def _admission(path: Path) -> dict[str, Any]:
    value = read_json(path, "admission file")
    if not isinstance(value, dict) or set(value) != set(ACTIONS["admit"]) or not isinstance(value["keys"], list):
        raise BadInput("admission_malformed", f"{path} is not an admission file.", hint="It is the admission.json that `qiaolian node init` wrote.")
    return value


ADMISSION = arg("--admission", type=Path, required=True, metavar="FILE", help="the admission.json that `qiaolian node init` wrote")
OPTIONS = {
    "addKey": (
        arg("--public", type=Path, metavar="FILE", help="the public record that `qiaolian key make` wrote; or:"),
        arg("--admission", type=Path, metavar="FILE", help="the admission.json that `qiaolian node init` wrote"),
        arg("--purpose", choices=[each.name.lower() for each in KeyPurpose], help="which of the admission's keys"),
    ),
    "admit": (ADMISSION,),
}
HELP = {
    "admit": "admit a member by its admission file",
    "suspend": "stop a member; it may still claim, close and withdraw",
    "lift": "end a suspension",
    "remove": "remove a member for good",
    "addKey": "add a key to a member",
    "endKey": "end a key: what it signs from then on is void",
    "replaceGovernor": "put another member into the set of governors",
    "announceContract": "announce a contract's new version",
    "closeContract": "close a contract to new business",
    "correctLog": "set a member's evidence log back to the head that its supervisors saw, after a false anchor",
    "assignSource": "make an asset the one source of a data item, also before its first use",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "contractVersion": {"type": int},
    "reason": {"help": "a code such as unpaid-penalty"},
    "epoch": {"type": int, "help": "the number at the end of the log's origin"},
    "size": {"type": int, "help": "the entries of the head"},
    "root": {"help": "the root of the head, 0x hexadecimal"},
    "dataItem": {"help": "the data item's code"},
    "asset": {"help": "the asset's id, 0x hexadecimal; it need not be registered yet"},
}


def _action(function: str) -> Verb:
    options = OPTIONS.get(function, ())
    named = [name for name in ACTIONS[function] if function != "admit" and name not in ("key", "contract")]
    plain = tuple(arg("--" + dashed(name), dest=name, required=True, **ARGUMENTS.get(name, {})) for name in named)
    return Verb("propose-" + dashed(function), HELP[function], partial(_propose, function), (*plain, *options, SHARE), "administrator")


def dashed(name: str) -> str:
    """``replaceGovernor`` as ``replace-governor``."""
    return re.sub("[A-Z]", lambda found: "-" + found.group().lower(), name)


NOUN = Noun(
    (
        Verb("list", "all members of the network", read_pages("/v1/members", within="members", columns=MEMBERS), PAGE),
        Verb("show", "one member with its keys", read("/v1/members/{member}"), (arg("member"),)),
        Verb("keys", "every key a member ever had", read_pages("/v1/members/{member}/keys", within="keys", columns=KEYS), (arg("member"), *PAGE)),
        Verb(
            "proposals",
            "changes of the directory this node knows",
            read_pages("/v1/governance/proposals", within="proposals", columns=PROPOSALS),
            PAGE,
            "administrator",
        ),
        Verb("proposal", "one proposal with its approvals", read("/v1/governance/proposals/{proposal_id}"), (PROPOSAL,), "administrator"),
        *map(_action, ACTIONS),
        Verb("approve", "as a governor's administrator, sign an approval", _approve, (PROPOSAL, *KEY), "administrator"),
        Verb("withdraw-approval", "take back your approval until the change is executed", _withdraw, (PROPOSAL, *KEY), "administrator"),
    )
)
