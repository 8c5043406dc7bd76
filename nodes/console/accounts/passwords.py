"""Password hashes: Argon2id with the least cost that OWASP's Password Storage Cheat Sheet names.

A hash takes 19 MiB and about 30 ms; at most two are worked out at a time, so that a crowd at the
log-in page costs neither the node's memory nor its threads.
"""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_TURNS = threading.BoundedSemaphore(2)
_NOBODY = _HASHER.hash("nobody has this password")


def hashed(password: str) -> str:
    """The PHC string of a password."""
    with _TURNS:
        return _HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether it is the password. Without a stored hash the same work is done, so that the time
    says nothing of who has an account.
    """
    with _TURNS:
        try:
            return _HASHER.verify(stored or _NOBODY, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False
