"""``qiaolian trust``: a verifier's trust file, whose values the verifier must have confirmed by
another way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from chain.bundle import trust
from chain.core.crypto import require_address
from chain.core.errors import BadInput
from chain.statements.members import KeyPurpose
from nodes.cli.command_group import OUT, Command, CommandGroup, arg
from nodes.cli.session import CommandSession, json_bytes

COMPARE_OUT_OF_BAND = (
    "A trust file proves nothing by itself. Before you use it, compare the genesis, the "
    "validators and the witnesses' keys with what the "
    "organisations concerned tell you by another way: on paper, by telephone, on their own sites."
)


def _make(session: CommandSession, arguments: argparse.Namespace) -> None:
    witnesses = dict(_witness(session, item) for item in arguments.witness or ())
    required = len(witnesses) if arguments.required is None else arguments.required
    if not 0 <= required <= len(witnesses):
        raise BadInput(
            "too_few_witnesses", f"{required} witnesses cannot be required of {len(witnesses)}."
        )
    held = session.deployment.trust(
        _validators(session, arguments), witnesses=witnesses, required_witnesses=required
    )
    for change in () if arguments.validator else session.config.chain.validator_changes:
        held = held.with_validators(change.from_height, change.validators)
    made = held.to_json()
    session.save(arguments.out, json_bytes(made))
    session.show(
        made if session.json else {name: value for name, value in made.items() if name != "storage"}
    )
    session.say(f"{arguments.out} written. {COMPARE_OUT_OF_BAND}")
    if not required:
        session.say(
            "No witness is required: a log that shows different people "
            "different entries would not be noticed."
        )
    if not witnesses:
        session.say(
            "It names no witness: a bundle that one has cosigned is refused until --witness names "
            "it, the supervisor as a rule."
        )


def _validators(session: CommandSession, arguments: argparse.Namespace) -> list[str]:
    if arguments.validator:
        return [require_address(item.lower()) for item in arguments.validator]
    finality = session.config.chain.finality
    if isinstance(finality, str):
        raise BadInput(
            "trust_no_seals",
            "The node believes unsealed headers: nobody can verify anything on such a chain.",
            hint="Name the validators.",
        )
    return list(finality)


def _witness(session: CommandSession, given: str) -> tuple[str, bytes]:
    """``MEMBER=0xKEY``, or a member whose log key is known: the own node's, or one that its
    configuration pins.
    """
    member, _, key = given.partition("=")
    if not key and member == session.config.member:
        from nodes.initialise import public_keys  # needed at the node's own machine only

        key = (
            "0x"
            + public_keys(session.config.path(session.config.keys.dir))[
                KeyPurpose.LOG
            ].fingerprint.hex()
        )
    elif not key:
        peer = session.config.peers.get(member)
        if peer is None or peer.log is None:
            raise BadInput(
                "witness_unknown",
                f"The node's configuration names no log key of {member}.",
                hint="Give --witness MEMBER=0xKEY, with the log key "
                "of the member's admission file.",
            )
        key = peer.log
    try:
        found = bytes.fromhex(key.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise BadInput(
            "witness_malformed", f"The log key of {member} is not 32 bytes in 0x hexadecimal."
        )
    return member, found


def _change(session: CommandSession, arguments: argparse.Namespace) -> None:
    validators = [require_address(item.lower()) for item in arguments.validator]
    made = _held(arguments).with_validators(arguments.from_height, validators).to_json()
    session.save(arguments.out, json_bytes(made))
    session.show(made["validatorSets"])
    session.say(f"{arguments.out} written. {COMPARE_OUT_OF_BAND}")


def _held(arguments: argparse.Namespace) -> trust.Trust:
    try:
        return trust.read(arguments.file.read_bytes())
    except OSError as error:
        raise BadInput(
            "file_unreadable",
            f"The trust file cannot be read: {error.strerror}.",
            hint=str(arguments.file),
        ) from error


def _show(session: CommandSession, arguments: argparse.Namespace) -> None:
    held = _held(arguments).to_json()
    session.show(
        held if session.json else {name: value for name, value in held.items() if name != "storage"}
    )
    session.say(COMPARE_OUT_OF_BAND)


GROUP = CommandGroup(
    (
        Command(
            "make",
            "write a trust file from a deployment, its validators and its witnesses' keys",
            _make,
            (
                arg(
                    "--validator",
                    action="append",
                    metavar="ADDRESS",
                    help="whose seals count; repeated (default: as the node's configuration says)",
                ),
                arg(
                    "--witness",
                    action="append",
                    metavar="MEMBER[=0xKEY]",
                    help="a witness and its log key (default: the own "
                    "node's, or as it pins it); repeated",
                ),
                arg(
                    "--required",
                    type=int,
                    metavar="N",
                    help="how many of them must have cosigned (default: all)",
                ),
                OUT,
            ),
            role=None,
            node=False,
        ),
        Command(
            "change",
            "say in a trust file that other validators seal from a height on",
            _change,
            (
                arg("file", type=Path),
                arg(
                    "--from-height",
                    type=int,
                    required=True,
                    metavar="BLOCK",
                    help="the first block they seal",
                ),
                arg(
                    "--validator",
                    action="append",
                    required=True,
                    metavar="ADDRESS",
                    help="one of them; repeated",
                ),
                OUT,
            ),
            role=None,
            node=False,
        ),
        Command(
            "show",
            "read a trust file, to compare it by another way",
            _show,
            (arg("file", type=Path),),
            role=None,
            node=False,
        ),
    )
)
