"""Persons' key files at the command line, and where their passphrases come from."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from chain.core.errors import BadInput, NotFound
from chain.keys.files import Secp256k1Signer, open_person_key, passphrase_file
from chain.keys.passphrase import read_passphrase, warn

PASSPHRASE_VARIABLE = "QIAOLIAN_PASSPHRASE"  # noqa: S105  (a name)


def open_key(path: Path, passphrase_from: Path | None) -> Secp256k1Signer:
    """Open a person's key file; see ``KEY_ARGUMENTS`` for where its passphrase comes from.

    Raises:
        BadInput: ``key_missing``, ``key_passphrase_missing``, ``key_passphrase_wrong``,
            ``key_file_corrupt``.
    """
    return open_person_key(
        path, given_passphrase(path, passphrase_from) or require_passphrase(path)
    )


def require_passphrase(path: Path) -> str | None:
    """A key file's passphrase asked of the person; None when it is in a file beside it.
    ``key_missing``, ``key_passphrase_missing``.
    """
    if not path.is_file():
        raise NotFound("key_missing", f"There is no key file at {path}.")
    if passphrase_file(path).is_file():
        return None
    if not sys.stdin.isatty():
        raise BadInput(
            "key_passphrase_missing",
            f"The passphrase of {path.name} is not given.",
            hint="Give --passphrase-file FILE.",
        )
    return getpass.getpass(f"Passphrase of {path.name}: ")


def given_passphrase(key: Path, path: Path | None) -> str | None:
    """A key's passphrase from a file or the environment; None when neither names one. A file in an
    unsafe place is warned about.
    """
    if path is not None:
        passphrase = read_passphrase(path)
        warn(key, path)
        return passphrase
    return os.environ.get(PASSPHRASE_VARIABLE) or None
