"""``qiaolian trust``: a verifier's trust file. Whoever runs a network can write one; only the verifier can decide to believe it."""

from __future__ import annotations

import argparse
from pathlib import Path

from chain import trust
from chain.crypto import require_address
from chain.errors import BadInput
from chain.statements import KeyPurpose
from scripts.people.desk import Desk, json_bytes
from scripts.people.verb import OUT, Noun, Verb, arg

BY_ANOTHER_WAY = (
    "A trust file proves nothing by itself. Before you use it, compare the genesis, the validators and the witnesses' keys with what the "
    "organisations concerned tell you by another way: on paper, by telephone, on their own sites."
)


def _make(desk: Desk, arguments: argparse.Namespace) -> None:
    witnesses = dict(_witness(desk, each) for each in arguments.witness or ())
    required = len(witnesses) if arguments.required is None else arguments.required
    if not 0 <= required <= len(witnesses):
        raise BadInput("too_few_witnesses", f"{required} witnesses cannot be required of {len(witnesses)}.")
    held = desk.deployment.trust(_validators(desk, arguments), witnesses=witnesses, required_witnesses=required)
    for change in () if arguments.validator else desk.config.chain.validator_changes:
        held = held.changed(change.from_height, change.validators)
    made = held.to_json()
    desk.save(arguments.out, json_bytes(made))
    desk.show(made if desk.json else {name: value for name, value in made.items() if name != "storage"})
    desk.say(f"{arguments.out} written. {BY_ANOTHER_WAY}")
    if not required:
        desk.say("No witness is required: a log that shows different people different entries would not be noticed.")
    if not witnesses:
        desk.say("It names no witness: a bundle that one has cosigned is refused until --witness names it, the supervisor as a rule.")


def _validators(desk: Desk, arguments: argparse.Namespace) -> list[str]:
    if arguments.validator:
        return [require_address(each.lower()) for each in arguments.validator]
    finality = desk.config.chain.finality
    if isinstance(finality, str):
        raise BadInput(
            "trust_no_seals", "The node believes unsealed headers: nobody can verify anything on such a chain.", hint="Name the validators."
        )
    return list(finality)


def _witness(desk: Desk, given: str) -> tuple[str, bytes]:
    """``MEMBER=0xKEY``, or a member whose log key is known: the own node's, or one that its configuration pins."""
    member, _, key = given.partition("=")
    if not key and member == desk.config.member:
        from nodes.initialise import public_keys  # needed at the node's own machine only

        key = "0x" + public_keys(desk.config.path(desk.config.keys.dir))[KeyPurpose.LOG].fingerprint.hex()
    elif not key:
        peer = desk.config.peers.get(member)
        if peer is None or peer.log is None:
            raise BadInput(
                "witness_unknown",
                f"The node's configuration names no log key of {member}.",
                hint="Give --witness MEMBER=0xKEY, with the log key of the member's admission file.",
            )
        key = peer.log
    try:
        found = bytes.fromhex(key.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise BadInput("witness_malformed", f"The log key of {member} is not 32 bytes in 0x hexadecimal.")
    return member, found


def _change(desk: Desk, arguments: argparse.Namespace) -> None:
    validators = [require_address(each.lower()) for each in arguments.validator]
    made = _held(arguments).changed(arguments.from_height, validators).to_json()
    desk.save(arguments.out, json_bytes(made))
    desk.show(made["validatorSets"])
    desk.say(f"{arguments.out} written. {BY_ANOTHER_WAY}")


def _held(arguments: argparse.Namespace) -> trust.Trust:
    try:
        return trust.read(arguments.file.read_bytes())
    except OSError as error:
        raise BadInput("file_unreadable", f"The trust file cannot be read: {error.strerror}.", hint=str(arguments.file)) from error


def _show(desk: Desk, arguments: argparse.Namespace) -> None:
    held = _held(arguments).to_json()
    desk.show(held if desk.json else {name: value for name, value in held.items() if name != "storage"})
    desk.say(BY_ANOTHER_WAY)


NOUN = Noun(
    (
        Verb(
            "make",
            "write a trust file from a deployment, its validators and its witnesses' keys",
            _make,
            (
                arg(
                    "--validator", action="append", metavar="ADDRESS", help="whose seals count; repeated (default: as the node's configuration says)"
                ),
                arg(
                    "--witness",
                    action="append",
                    metavar="MEMBER[=0xKEY]",
                    help="a witness and its log key (default: the own node's, or as it pins it); repeated",
                ),
                arg("--required", type=int, metavar="N", help="how many of them must have cosigned (default: all)"),
                OUT,
            ),
            role=None,
            node=False,
        ),
        Verb(
            "change",
            "say in a trust file that other validators seal from a height on",
            _change,
            (
                arg("file", type=Path),
                arg("--from-height", type=int, required=True, metavar="BLOCK", help="the first block they seal"),
                arg("--validator", action="append", required=True, metavar="ADDRESS", help="one of them; repeated"),
                OUT,
            ),
            role=None,
            node=False,
        ),
        Verb("show", "read a trust file, to compare it by another way", _show, (arg("file", type=Path),), role=None, node=False),
    )
)
