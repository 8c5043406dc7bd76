"""Bearer tokens of the node's own organisation, one per role, stored as hashes.

A token is 32 random bytes, so its plain SHA-256 cannot be guessed; the file is 0600 all the same.
``node init`` writes the tokens in clear once, for the systems and people that use them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput, Unauthorised
from chain.keys.files import write_private

ROLES = ("system", "clerk", "officer", "auditor", "administrator")
"""The organisation's own systems, clerk, chief data officer, auditor, administrator."""

_PREFIX = "ql_"


@dataclass(frozen=True, slots=True)
class _Entry:
    role: str
    digest: bytes


class LocalAccess:
    """The bearer tokens this node accepts."""

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries

    @classmethod
    def load(cls, path: Path) -> LocalAccess:
        """Read the file.

        Raises:
            BadInput: ``access_missing``, ``access_malformed``, ``access_too_open`` when others can
                read it.
        """
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise BadInput(
                    "access_too_open",
                    f"{path} can be read by other users.",
                    hint="Run: chmod 600 on that file.",
                )
            value = json.loads(path.read_text(encoding="utf-8"))
            entries = [
                _Entry(token["role"], bytes.fromhex(token["sha256"])) for token in value["tokens"]
            ]
            if any(entry.role not in ROLES or len(entry.digest) != 32 for entry in entries):
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
        return cls(entries)

    def role_of(self, header: str) -> str:
        """Return the role of a ``Bearer`` header; every entry is compared, each in constant time.

        Raises:
            Unauthorised: ``access_token_unknown``.
        """
        digest = hashlib.sha256(header.partition(" ")[2].strip().encode()).digest()
        found = ""
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.role
        if not found:
            raise Unauthorised(
                "access_token_unknown", "The bearer token is not one of this node's."
            )
        return found


def create(path: Path) -> dict[str, str]:
    """Make fresh tokens for every role, store their hashes in ``path``, and return them in clear by
    role.
    """
    tokens = {role: _PREFIX + secrets.token_urlsafe(32) for role in ROLES}
    entries: list[dict[str, Any]] = [
        {"role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for role, token in tokens.items()
    ]
    write_private(path, json.dumps({"tokens": entries}, indent=1).encode() + b"\n")
    return tokens
