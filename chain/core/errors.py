"""One tree of errors, each with a stable code.

The code is part of the public interface: programs branch on it, the API puts it into RFC 9457
``problem+json``, the command line prints it in one line, and Solidity custom errors map onto it by
name. The sentence may be reworded at any time, the code may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Refuser(StrEnum):
    """The kind of party that refused."""

    NODE = "node"
    """The node that was asked."""
    PEER = "peer"
    """Another member's node."""
    PROXY = "proxy"
    """A proxy before a node, or another program at its address."""
    CHAIN = "chain"
    """A contract, or the chain node that was asked."""
    CLOCK = "clock"
    """Two clocks differ too much."""


@dataclass(frozen=True, slots=True)
class RefusedBy:
    """Who refused: its kind, the code of its member and its ``host:port``; either is empty where it
    is not known.

    Of a proxy, member and address are those of the node that the request was sent to.
    """

    kind: Refuser = Refuser.NODE
    member: str = ""
    address: str = ""

    def to_json(self) -> dict[str, str]:
        """As problem+json carries it in ``refusedBy``."""
        named = {"kind": str(self.kind), "member": self.member, "address": self.address}
        return {name: value for name, value in named.items() if value}

    def __str__(self) -> str:
        """For people: ``peer 9144…12 at 10.0.0.5:8443``."""
        before = "before " if self.kind is Refuser.PROXY else ""
        index = f"at {self.address}" if self.address else ""
        whose = f"{before}{self.member}" if self.member else ""
        return " ".join(filter(None, (str(self.kind), whose, index)))


class QiaolianError(Exception):
    """Something refused, with a stable ``code``, a plain sentence and a ``hint`` of what to do
    next.

    ``status`` is the HTTP status the API answers with, ``exit_code`` what the command line exits
    with. ``context`` holds values a program may want (never personal data). ``refused_by`` says who
    refused; by default the node or command that raises it.
    """

    status = 400
    exit_code = 2
    refused_by = RefusedBy()

    def __init__(self, code: str, sentence: str, *, hint: str = "", **context: object) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        return self.sentence

    def by(self, refused_by: RefusedBy) -> Self:
        """The same error, laid on another party."""
        self.refused_by = refused_by
        return self


class BadInput(QiaolianError):
    """The caller's input breaks a rule of form."""

    status = 422


class Unauthorised(QiaolianError):
    """The caller has not shown who it is."""

    status = 401


class Forbidden(QiaolianError):
    """The caller is known and has no right to this."""

    status = 403


class NotFound(QiaolianError):
    """Nothing by that name, or nothing the caller may know of."""

    status = 404


class Conflict(QiaolianError):
    """The request contradicts what is already recorded."""

    status = 409


class Unavailable(QiaolianError):
    """Something this process depends on cannot answer; the same request may succeed later."""

    status = 503
    exit_code = 4


class ChainUnavailable(Unavailable):
    """The chain, or the node's view of it, cannot be relied on now."""

    refused_by = RefusedBy(Refuser.CHAIN)


class VerificationError(QiaolianError):
    """What was to be verified does not hold.

    Each subclass is one exit code of ``qiaolian verify``.
    """

    status = 422


class Malformed(VerificationError):
    """The bytes are not what the format allows."""

    exit_code = 10


class BadSignature(VerificationError):
    """A signature does not belong to the key that should have made it, or that key had no right to
    make it.
    """

    exit_code = 11


class NotIncluded(VerificationError):
    """A log entry is not under the tree head it claims."""

    exit_code = 12


class NotAnchored(VerificationError):
    """A tree head or a state is not proved from the chain."""

    exit_code = 13


class NotFinal(VerificationError):
    """A header lacks the seals that make it final."""

    exit_code = 14


class WrongTrust(VerificationError):
    """The trust file is unusable or speaks of another chain."""

    exit_code = 15


class Inconsistent(VerificationError):
    """Each element verifies, but together they are inconsistent or incomplete."""

    exit_code = 16
