"""Bearer tokens of the node's own organisation, each with a role and the name of its holder, stored
as hashes.

A token is 32 random bytes, so its plain SHA-256 cannot be guessed; the file is 0600 all the same.
What a token's holder does is recorded under its name (``program_acts``), so a token without a
name is refused at start.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.core.errors import BadInput, Conflict, NotFound, Unauthorised
from chain.keys.files import write_private

ROLES = ("system", "clerk", "officer", "auditor", "administrator")
"""The organisation's own systems, clerk, chief data officer, auditor, administrator."""

_PREFIX = "ql_"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A token without its secret: its holder's name, such as ``core-banking``, and its role."""

    name: str
    role: str
    digest: bytes

    def to_json(self) -> dict[str, str]:
        """The entry in the access file."""
        return {"name": self.name, "role": self.role, "sha256": self.digest.hex()}


class LocalAccess:
    """The bearer tokens this node accepts."""

    def __init__(self, entries: Sequence[TokenEntry]) -> None:
        self._entries = entries

    @classmethod
    def load(cls, path: Path) -> LocalAccess:
        """Read the file; as ``read_tokens``."""
        return cls(read_tokens(path))

    def holder_of(self, header: str) -> TokenEntry:
        """Return whose a ``Bearer`` header is; every entry is compared, each in constant time.

        Raises:
            Unauthorised: ``access_token_unknown``.
        """
        digest = hashlib.sha256(header.partition(" ")[2].strip().encode()).digest()
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None:
            raise Unauthorised(
                "access_token_unknown", "The bearer token is not one of this node's."
            )
        return found


def read_tokens(path: Path) -> list[TokenEntry]:
    """Read the access file.

    Raises:
        BadInput: ``access_missing``, ``access_malformed``, ``access_unnamed``, ``access_too_open``
            when others can read it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadInput(
                "access_too_open",
                f"{path} can be read by other users.",
                hint="Run: chmod 600 on that file.",
            )
        tokens = json.loads(path.read_text(encoding="utf-8"))["tokens"]
        if any("name" not in token for token in tokens):
            raise _unnamed(path)
        entries = [
            TokenEntry(token["name"], token["role"], bytes.fromhex(token["sha256"]))
            for token in tokens
        ]
        names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
        valid = all(entry.role in ROLES and len(entry.digest) == 32 for entry in entries)
        if not valid or len(set(names)) != len(entries):
            raise ValueError("entry")
    except FileNotFoundError as error:
        raise BadInput(
            "access_missing",
            f"There is no access file at {path}.",
            hint="Run: qiaolian node init",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "access_malformed", f"The access file {path} is damaged.", hint="Restore it."
        ) from error
    return entries


def create(path: Path) -> dict[str, str]:
    """Make a fresh token for every role, named like it, and return them in clear by name."""
    return _store_fresh(path, [(role, role) for role in ROLES])


def renew(path: Path) -> dict[str, str]:
    """Replace every token, keeping names and roles; the fresh ones in clear by name. A file that
    names none is made again as by ``create``.
    """
    try:
        entries = read_tokens(path)
    except BadInput as error:
        if error.code not in ("access_missing", "access_unnamed"):
            raise
        return create(path)
    return _store_fresh(path, [(entry.name, entry.role) for entry in entries])


def add(path: Path, *, name: str, role: str) -> str:
    """Make a token for one more holder; the token in clear.

    Raises:
        BadInput: ``token_name_malformed``, ``role_unknown``; Conflict: ``token_name_taken``.
    """
    if _NAME.fullmatch(name) is None:
        raise BadInput(
            "token_name_malformed",
            "A token's name has 1 to 40 lowercase letters, digits and hyphens.",
            hint="Name the system that will use it, such as core-banking.",
        )
    if role not in ROLES:
        raise BadInput("role_unknown", "There is no such role.", hint=f"Known: {', '.join(ROLES)}.")
    entries = read_tokens(path)
    if any(entry.name == name for entry in entries):
        raise Conflict(
            "token_name_taken",
            f"There is a token named {name} already.",
            hint="Choose another name, or remove that token first.",
        )
    token, entry = _fresh(name, role)
    _store(path, [*entries, entry])
    return token


def remove(path: Path, *, name: str) -> None:
    """Remove a holder's token; ``token_unknown``."""
    entries = read_tokens(path)
    left = [entry for entry in entries if entry.name != name]
    if len(left) == len(entries):
        raise NotFound("token_unknown", "There is no token of that name.")
    _store(path, left)


def _store_fresh(path: Path, holders: Sequence[tuple[str, str]]) -> dict[str, str]:
    made = [_fresh(name, role) for name, role in holders]
    _store(path, [entry for _, entry in made])
    return {entry.name: token for token, entry in made}


def _fresh(name: str, role: str) -> tuple[str, TokenEntry]:
    token = _PREFIX + secrets.token_urlsafe(32)
    return token, TokenEntry(name, role, hashlib.sha256(token.encode()).digest())


def _store(path: Path, entries: Sequence[TokenEntry]) -> None:
    content = {"tokens": [entry.to_json() for entry in entries]}
    write_private(path, json.dumps(content, indent=1).encode() + b"\n")


def _unnamed(path: Path) -> BadInput:
    return BadInput(
        "access_unnamed",
        f"A token in {path} does not name the system that uses it.",
        hint='Add "name" to each entry, such as "name": "core-banking", or make fresh tokens with '
        "qiaolian node tokens renew.",
    )
