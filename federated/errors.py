"""Errors of joint computations: who is at fault decides what to do next."""

from __future__ import annotations

from chain.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable

__all__ = ["BadInput", "Conflict", "Forbidden", "NotFound", "PeerFault", "QiaolianError", "Unavailable"]


class PeerFault(QiaolianError):
    """A peer sent what the protocol does not allow. Nothing of the run is kept."""

    status = 502
    exit_code = 5
