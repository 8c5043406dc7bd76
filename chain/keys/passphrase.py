"""Read the passphrases of key files, from a file or by asking; never from an argument.

Passphrases are never printed. A passphrase stored where whoever has the key also finds it causes a
warning on standard error.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from chain.core.errors import BadInput

MAX_LENGTH = 4_096


def read_passphrase(
    path: Path, *, code: str = "key_passphrase_missing", what: str = "passphrase"
) -> str:
    """A short secret's file, or the error ``code``."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(code, f"The file with the {what} cannot be read.", hint=str(path)) from error
    if not text or len(text) > MAX_LENGTH or "\n" in text:
        raise BadInput(code, f"The file with the {what} does not hold one.", hint=str(path))
    return text


def ask_new_passphrase(key: str, *, hint: str = "Give a file with the passphrase.") -> str:
    """A new passphrase for the named key, asked twice; ``key_passphrase_missing`` where nobody can
    be asked, ``passphrase_differs``.
    """
    if not sys.stdin.isatty():
        raise BadInput("key_passphrase_missing", "The new passphrase is not given.", hint=hint)
    first = getpass.getpass(f"A passphrase for {key}: ")
    if not first or first != getpass.getpass("The same again: "):
        raise BadInput(
            "passphrase_differs",
            "The two were not the same, or empty.",
            hint="Nothing was changed.",
        )
    return first


def chosen_passphrase(key: str, given: str | None) -> str | None:
    """The passphrase that was given for a key to be made, or asked of the person; None where nobody
    can be asked.
    """
    return ask_new_passphrase(key) if given is None and sys.stdin.isatty() else given


def passphrase_warnings(key: Path, file: Path) -> list[str]:
    """What is unsafe about a file that holds the passphrase of a key file (or of a folder of key
    files); each with what to do.
    """
    found = []
    folder = key if key.is_dir() else key.parent
    if file.resolve().parent == folder.resolve():
        found.append(
            f"warning[passphrase_beside_key]: The passphrase of {key.name} is in {file}, in clear "
            "beside the key: who copies that folder can sign. "
            "Move it to another medium or a password manager, and give "
            "it by --passphrase-file or when asked."
        )
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        found.append(
            f"warning[passphrase_file_open]: {file} can be read by other "
            f"users (mode {mode:04o}). Run: chmod 600 {file}"
        )
    return found


def warn(key: Path, file: Path) -> None:
    """Print the warnings about a passphrase file, if there are any."""
    for line in passphrase_warnings(key, file):
        print(line, file=sys.stderr)
