"""Errors of joint computations: who is at fault decides what to do next."""

from __future__ import annotations

import errno

from chain.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable

__all__ = ["BadInput", "Conflict", "Forbidden", "NotFound", "PeerFault", "QiaolianError", "Unavailable", "system_failure"]


class PeerFault(QiaolianError):
    """A peer sent what the protocol does not allow. Nothing of the run is kept."""

    status = 502
    exit_code = 5


def system_failure(error: OSError) -> Unavailable:
    """An error of the operating system, said as ours: ``disk_full`` or ``system``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Unavailable("disk_full", "The disk of this party is full, or its quota is used up.", hint="Make room, and run the job again.")
    return Unavailable("system", f"The operating system refused: {error.strerror or error}.")
