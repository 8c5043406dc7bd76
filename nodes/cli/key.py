"""``qiaolian key``: a person's key file, made on the holder's own machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain.keys.files import (
    change_person_passphrase,
    create_person_key,
    open_person_key,
    passphrase_file,
)
from chain.keys.passphrase import ask_new_passphrase, chosen_passphrase, read_passphrase, warn
from chain.statements.members import Algorithm, KeyPurpose
from nodes.cli.command_group import Command, CommandGroup, arg
from nodes.cli.governance import proposed
from nodes.cli.passphrases import given_passphrase, open_key, require_passphrase
from nodes.cli.session import CommandSession, json_bytes

PURPOSES = {"approval": KeyPurpose.APPROVAL, "admin": KeyPurpose.ADMIN}
REPLACED = "key-replaced"
FILE = arg("key", type=Path, metavar="FILE", help="the key file")
PASSPHRASE = arg("--passphrase-file", type=Path, metavar="FILE", help="a file with its passphrase")


def public_file(key: Path) -> Path:
    """Return the path of a key's public record."""
    return key.with_name(key.name + ".public.json")


def _make(session: CommandSession, arguments: argparse.Namespace) -> None:
    path: Path = arguments.key
    passphrase = chosen_passphrase(path.name, given_passphrase(path, arguments.passphrase_file))
    signer = create_person_key(path, passphrase)
    record = {
        "fingerprint": "0x" + signer.fingerprint.hex(),
        "purpose": int(PURPOSES[arguments.purpose]),
        "algorithm": int(Algorithm.SECP256K1),
    }
    session.save(public_file(path), json_bytes(record))
    session.show(
        {
            "key": str(path),
            "address": signer.address,
            "purpose": arguments.purpose,
            "public": str(public_file(path)),
        }
    )
    if passphrase is None:
        warn(path, passphrase_file(path))
    session.say(
        "The directory must know the key before it counts: "
        "qiaolian member propose-add-key --public FILE."
    )


def _replace(session: CommandSession, arguments: argparse.Namespace) -> None:
    """Make the next key, have the governors register it, then have them end the old one; run again,
    it continues where it stopped.
    """
    old, following = _opened(arguments.key, arguments.passphrase_file), arguments.next
    if not following.exists():
        passphrase = chosen_passphrase(
            following.name, given_passphrase(following, arguments.next_passphrase_file)
        )
        session.say(
            f"1/3 {following} holds the next key: "
            f"{create_person_key(following, passphrase).address}"
        )
        if passphrase is None:
            warn(following, passphrase_file(following))
    new = _opened(following, arguments.next_passphrase_file)
    record = {
        "fingerprint": new,
        "purpose": int(PURPOSES[arguments.purpose]),
        "algorithm": int(Algorithm.SECP256K1),
    }
    member = session.client.get("/v1/node")["member"]
    waiting = ""
    if not _is(session, member, new, lambda key: key is not None):
        waiting = proposed(
            session, "addKey", {"member": member, "key": record}, arguments.share_with
        )
        session.say("2/3 The directory does not hold the next key yet.")
    elif not _is(session, member, old, lambda key: key is not None and key["endedAt"] is not None):
        waiting = proposed(
            session, "endKey", {"fingerprint": old, "reason": REPLACED}, arguments.share_with
        )
        session.say(
            "3/3 The next key counts, and the old one until it is "
            "ended. From now on sign with the next one."
        )
    if waiting:
        session.say(
            f"Two governors approve it, each with: qiaolian member approve {waiting} --key FILE. "
            "Run the same command again then."
        )
    session.show(
        {"purpose": arguments.purpose, "key": new, "done": not waiting, "proposal": waiting or None}
    )


def _opened(key: Path, passphrase: Path | None) -> str:
    return "0x" + open_key(key, passphrase).fingerprint.hex()


def _is(
    session: CommandSession,
    member: str,
    fingerprint: str,
    ready: Callable[[dict[str, Any] | None], bool],
) -> bool:
    """Whether the directory, as the node has read it, shows a key of the member so."""
    keys = session.client.get(f"/v1/members/{member}")["keys"]
    return ready(next((key for key in keys if key["fingerprint"] == fingerprint), None))


def _show(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(
        {
            "key": str(arguments.key),
            "address": open_key(arguments.key, arguments.passphrase_file).address,
        }
    )
    beside = passphrase_file(arguments.key)
    if beside.is_file():
        warn(arguments.key, beside)


def _passphrase(session: CommandSession, arguments: argparse.Namespace) -> None:
    old = given_passphrase(arguments.key, arguments.passphrase_file) or require_passphrase(
        arguments.key
    )
    open_person_key(arguments.key, old)
    if arguments.new_passphrase_file is not None:
        new = read_passphrase(arguments.new_passphrase_file, what="new passphrase")
        warn(arguments.key, arguments.new_passphrase_file)
    else:
        new = ask_new_passphrase(arguments.key.name, hint="Give --new-passphrase-file FILE.")
    change_person_passphrase(arguments.key, old, new)
    session.show({"key": str(arguments.key), "passphrase": "changed"})


GROUP = CommandGroup(
    (
        Command(
            "make",
            "make a chief data officer's or an administrator's key",
            _make,
            (
                FILE,
                arg(
                    "--purpose",
                    required=True,
                    choices=sorted(PURPOSES),
                    help="approval: chief data officer; admin: administrator",
                ),
                PASSPHRASE,
            ),
            role=None,
            node=False,
        ),
        Command(
            "replace",
            "put another key in the place of one, by two approvals of governors each for its "
            "beginning and the old one's end",
            _replace,
            (
                FILE,
                arg(
                    "--next",
                    type=Path,
                    required=True,
                    metavar="FILE",
                    help="the next key's file; it is made unless it is there",
                ),
                arg(
                    "--purpose",
                    required=True,
                    choices=sorted(PURPOSES),
                    help="approval: chief data officer; admin: administrator",
                ),
                PASSPHRASE,
                arg(
                    "--next-passphrase-file",
                    type=Path,
                    metavar="FILE",
                    help="a file with the next key's passphrase",
                ),
                arg(
                    "--share-with",
                    action="append",
                    default=[],
                    metavar="MEMBER",
                    help="a governor whose node is handed the proposals; "
                    "repeated (else all that this node knows)",
                ),
            ),
            role="administrator",
        ),
        Command(
            "show",
            "the address of a key, to compare it with the directory",
            _show,
            (FILE, PASSPHRASE),
            role=None,
            node=False,
        ),
        Command(
            "passphrase",
            "change a key file's passphrase",
            _passphrase,
            (
                FILE,
                PASSPHRASE,
                arg(
                    "--new-passphrase-file",
                    type=Path,
                    metavar="FILE",
                    help="a file with the new one (else it is asked)",
                ),
            ),
            role=None,
            node=False,
        ),
    )
)
