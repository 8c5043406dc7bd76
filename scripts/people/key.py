"""``qiaolian key``: a person's own key file: made where its holder sits, so that nobody else ever has it."""

from __future__ import annotations

import argparse
from pathlib import Path

from chain.keys import change_person_passphrase, create_person_key, open_person_key, passphrase_file
from chain.passphrase import ask_new_passphrase, chosen_passphrase, read_passphrase, warn
from chain.statements import Algorithm, KeyPurpose
from scripts.people.desk import Desk, given_passphrase, json_bytes, open_key, require_passphrase
from scripts.people.verb import Noun, Verb, arg

PURPOSES = {"approval": KeyPurpose.APPROVAL, "admin": KeyPurpose.ADMIN}
FILE = arg("key", type=Path, metavar="FILE", help="the key file")
PASSPHRASE = arg("--passphrase-file", type=Path, metavar="FILE", help="a file with its passphrase")


def public_file(key: Path) -> Path:
    """Where a key's public record stands."""
    return key.with_name(key.name + ".public.json")


def _make(desk: Desk, arguments: argparse.Namespace) -> None:
    path: Path = arguments.key
    passphrase = chosen_passphrase(path.name, given_passphrase(path, arguments.passphrase_file))
    signer = create_person_key(path, passphrase)
    record = {"fingerprint": "0x" + signer.fingerprint.hex(), "purpose": int(PURPOSES[arguments.purpose]), "algorithm": int(Algorithm.SECP256K1)}
    desk.save(public_file(path), json_bytes(record))
    desk.show({"key": str(path), "address": signer.address, "purpose": arguments.purpose, "public": str(public_file(path))})
    if passphrase is None:
        warn(path, passphrase_file(path))
    desk.say("The directory must know the key before it counts: qiaolian member propose-add-key --public FILE.")


def _show(desk: Desk, arguments: argparse.Namespace) -> None:
    desk.show({"key": str(arguments.key), "address": open_key(arguments.key, arguments.passphrase_file).address})
    beside = passphrase_file(arguments.key)
    if beside.is_file():
        warn(arguments.key, beside)


def _passphrase(desk: Desk, arguments: argparse.Namespace) -> None:
    old = given_passphrase(arguments.key, arguments.passphrase_file) or require_passphrase(arguments.key)
    open_person_key(arguments.key, old)
    if arguments.new_passphrase_file is not None:
        new = read_passphrase(arguments.new_passphrase_file, what="new passphrase")
        warn(arguments.key, arguments.new_passphrase_file)
    else:
        new = ask_new_passphrase(arguments.key.name, hint="Give --new-passphrase-file FILE.")
    change_person_passphrase(arguments.key, old, new)
    desk.show({"key": str(arguments.key), "passphrase": "changed"})


NOUN = Noun(
    (
        Verb(
            "make",
            "make a chief data officer's or an administrator's key",
            _make,
            (FILE, arg("--purpose", required=True, choices=sorted(PURPOSES), help="approval: chief data officer; admin: administrator"), PASSPHRASE),
            role=None,
            node=False,
        ),
        Verb("show", "the address of a key, to compare it with the directory", _show, (FILE, PASSPHRASE), role=None, node=False),
        Verb(
            "passphrase",
            "change a key file's passphrase",
            _passphrase,
            (FILE, PASSPHRASE, arg("--new-passphrase-file", type=Path, metavar="FILE", help="a file with the new one (else it is asked)")),
            role=None,
            node=False,
        ),
    )
)
