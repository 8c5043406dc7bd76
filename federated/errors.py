"""Errors of joint computations, by who is at fault."""

from __future__ import annotations

import errno

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable

__all__ = [
    "BadInput",
    "Conflict",
    "Forbidden",
    "NotFound",
    "PeerFault",
    "QiaolianError",
    "Unavailable",
    "system_failure",
]


class PeerFault(QiaolianError):
    """A peer violated the protocol. All results of the run are deleted."""

    status = 502
    exit_code = 5


def system_failure(error: OSError) -> Unavailable:
    """Translate an error of the operating system: ``disk_full`` or ``system``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Unavailable(
            "disk_full",
            "The disk of this party is full, or its quota is used up.",
            hint="Make room, and run the job again.",
        )
    return Unavailable("system", f"The operating system refused: {error.strerror or error}.")
