"""``qiaolian member``: the members, and their changes by two governors, whose administrators sign
with keys of their own.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput, NotFound
from chain.statements.members import ApprovalWithdrawal, KeyPurpose
from nodes.cli.command_group import KEY_OPTIONS, PAGE, Command, CommandGroup, arg, read, read_pages
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession, read_json
from registry.members.rules import (
    ACTIONS,
    GOVERNED_CALLS,
    require_own_contract,
    role_names,
)

MEMBERS: Columns = {
    "member": "member",
    "status": "status",
    "roles": lambda row: ",".join(row["roles"]),
    "since block": "admittedAt",
    "name": "name",
}
PROPOSALS: Columns = {
    "proposal": "proposalId",
    "action": "function",
    "about": lambda row: next(
        (
            row["arguments"][name]
            for name in ("member", "outgoing", "name", "address", "fingerprint", "dataItem", "to")
            if name in row["arguments"]
        ),
        "",
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
SHARE = arg(
    "--share-with",
    action="append",
    default=[],
    metavar="MEMBER",
    help="a governor whose node is handed the proposal; repeated (else all that this node knows)",
)


def _propose(function: str, session: CommandSession, arguments: argparse.Namespace) -> None:
    body = {
        "function": function,
        "arguments": _arguments(session, function, arguments),
        "shareWith": arguments.share_with,
    }
    made = session.client.post("/v1/governance/proposals", body)
    session.show(made)
    say_next(session, made)


def _approve(session: CommandSession, arguments: argparse.Namespace) -> None:
    # Encoding the call again takes more than other commands need, so it is loaded here.
    from registry.members.signing import reviewed, shown

    proposal = session.client.get(f"/v1/governance/proposals/{arguments.proposal_id}")
    _, approval = reviewed(proposal)
    _require_contract(session, proposal)
    signature = session.sign(
        approval,
        session.key(),
        about={
            "proposed by": session.member_name(proposal["proposer"]),
            "action": proposal["function"],
            **_read(_named(session, proposal["function"], shown(**_action_of(proposal)))),
            "valid until": when(approval.deadline),
        },
    )
    made = session.client.post(
        f"/v1/governance/proposals/{arguments.proposal_id}/approvals", {"signature": signature}
    )
    session.show_when_final(made)
    if not made["operation"]:
        session.say(
            "The proposer's node sends the change to the chain once two governors have approved."
        )
    _not_reached(session, made)


def _withdraw(session: CommandSession, arguments: argparse.Namespace) -> None:
    from registry.members.signing import reviewed, shown

    proposal = session.client.get(f"/v1/governance/proposals/{arguments.proposal_id}")
    _, approval = reviewed(proposal)
    withdrawal = ApprovalWithdrawal(1, approval.call_hash, approval.nonce, approval.deadline)
    about = {
        "withdraws your approval of": proposal["function"],
        **_read(shown(**_action_of(proposal))),
    }
    signature = session.sign(withdrawal, session.key(), about=about)
    made = session.client.post(
        f"/v1/governance/proposals/{arguments.proposal_id}/withdrawals", {"signature": signature}
    )
    session.show(made)
    session.say(
        "This node sends the withdrawal to the chain; from then on the approval counts no more."
    )
    _not_reached(session, made)


def _require_contract(session: CommandSession, proposal: Mapping[str, Any]) -> None:
    """Require that an action names this network's contract."""
    require_own_contract(proposal["function"], proposal["arguments"], session.deployment.address)


def _action_of(proposal: Mapping[str, Any]) -> dict[str, Any]:
    return {name: proposal[name] for name in ("function", "arguments")}


def _named(session: CommandSession, function: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An action's arguments, with the names of the organisations that are members already."""
    known = ("member", "outgoing", "incoming", "provider", "buyer", "to")
    return {
        name: session.member_name(value) if name in known and function != "admit" else value
        for name, value in arguments.items()
    }


def _read(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Format an action's arguments for display."""
    shown = dict(arguments)
    if isinstance(shown.get("roles"), int):
        shown["roles"] = ", ".join(role_names(shown["roles"]))
    for name in ("keys", "key"):
        if name in shown:
            keys = shown[name] if isinstance(shown[name], list) else [shown[name]]
            shown[name] = [
                f"{KeyPurpose(key['purpose']).name.lower()} {key['fingerprint']}" for key in keys
            ]
    return shown


def say_next(session: CommandSession, made: Mapping[str, Any]) -> None:
    """Say how a proposal takes effect, and which nodes it did not reach."""
    session.say(
        "Two governors approve it, each with: qiaolian member "
        f"approve {made['proposalId']} --key FILE"
    )
    _not_reached(session, made)


def _not_reached(session: CommandSession, made: Mapping[str, Any]) -> None:
    for member in made["notReached"]:
        session.say(
            f"Not reached: the node of {member}. Approve again once it "
            "answers, or share the proposal again."
        )


def _arguments(
    session: CommandSession, function: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    if function == "admit":
        return dict(_admission(arguments.admission))
    found = {
        name: getattr(arguments, name)
        for name in ACTIONS[function]
        if name not in ("key", "contract")
    }
    if function in GOVERNED_CALLS:
        found["contract"] = session.deployment.address(GOVERNED_CALLS[function][0])
    if function == "addKey":
        found["key"] = _key(arguments)
    return found


def _key(arguments: argparse.Namespace) -> Any:
    """A key's public record: a file of its own, or one of an admission's."""
    if arguments.public is not None:
        return read_json(arguments.public, "key's public record")
    if arguments.admission is None or arguments.purpose is None:
        raise NotFound(
            "key_missing",
            "Which key is to be added?",
            hint="Give --public FILE, or --admission FILE with --purpose.",
        )
    wanted = KeyPurpose[arguments.purpose.upper()]
    keys = [key for key in _admission(arguments.admission)["keys"] if key.get("purpose") == wanted]
    if len(keys) != 1:
        raise NotFound(
            "key_missing", f"{arguments.admission.name} holds no key for {arguments.purpose}."
        )
    return keys[0]


def _admission(path: Path) -> dict[str, Any]:
    value = read_json(path, "admission file")
    if (
        not isinstance(value, dict)
        or set(value) != set(ACTIONS["admit"])
        or not isinstance(value["keys"], list)
    ):
        raise BadInput(
            "admission_malformed",
            f"{path} is not an admission file.",
            hint="It is the admission.json that `qiaolian node init` wrote.",
        )
    return value


ADMISSION = arg(
    "--admission",
    type=Path,
    required=True,
    metavar="FILE",
    help="the admission.json that `qiaolian node init` wrote",
)
OPTIONS = {
    "addKey": (
        arg(
            "--public",
            type=Path,
            metavar="FILE",
            help="the public record that `qiaolian key make` wrote; or:",
        ),
        arg(
            "--admission",
            type=Path,
            metavar="FILE",
            help="the admission.json that `qiaolian node init` wrote",
        ),
        arg(
            "--purpose",
            choices=[purpose.name.lower() for purpose in KeyPurpose],
            help="which of the admission's keys",
        ),
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
    "correctLog": (
        "set a member's evidence log back to the head that its "
        "supervisors saw, after a false anchor"
    ),
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


def _action(function: str) -> Command:
    options = OPTIONS.get(function, ())
    named = [
        name
        for name in ACTIONS[function]
        if function != "admit" and name not in ("key", "contract")
    ]
    plain = tuple(
        arg("--" + dashed(name), dest=name, required=True, **ARGUMENTS.get(name, {}))
        for name in named
    )
    return Command(
        "propose-" + dashed(function),
        HELP[function],
        partial(_propose, function),
        (*plain, *options, SHARE),
        "administrator",
    )


def dashed(name: str) -> str:
    """``replaceGovernor`` as ``replace-governor``."""
    return re.sub("[A-Z]", lambda found: "-" + found.group().lower(), name)


GROUP = CommandGroup(
    (
        Command(
            "list",
            "all members of the network",
            read_pages("/v1/members", within="members", columns=MEMBERS),
            PAGE,
        ),
        Command("show", "one member with its keys", read("/v1/members/{member}"), (arg("member"),)),
        Command(
            "keys",
            "every key a member ever had",
            read_pages("/v1/members/{member}/keys", within="keys", columns=KEYS),
            (arg("member"), *PAGE),
        ),
        Command(
            "proposals",
            "changes of the directory this node knows",
            read_pages("/v1/governance/proposals", within="proposals", columns=PROPOSALS),
            PAGE,
            "administrator",
        ),
        Command(
            "proposal",
            "one proposal with its approvals",
            read("/v1/governance/proposals/{proposal_id}"),
            (PROPOSAL,),
            "administrator",
        ),
        *(_action(function) for function in ACTIONS if function != "fineProvider"),
        Command(
            "approve",
            "as a governor's administrator, sign an approval",
            _approve,
            (PROPOSAL, *KEY_OPTIONS),
            "administrator",
        ),
        Command(
            "withdraw-approval",
            "take back your approval until the change is executed",
            _withdraw,
            (PROPOSAL, *KEY_OPTIONS),
            "administrator",
        ),
    )
)
