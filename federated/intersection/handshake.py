"""What two parties agree on before an intersection: terms, a session value, padded sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection.identifiers import MAX_ROWS, IdentifierFormat, Tagging
from federated.intersection.suites import Suite, suite_of
from federated.randomness import Randomness
from federated.session import Session

METHODS = ("kkrt", "ecdh")
JOINS = ("inner", "left")
REVEALS = ("receiver", "both", "size", "nobody")
MAX_ROWS_ECDH = {"aes": 1 << 18, "sm": 1 << 13}
"""Larger sets take ``ecdh`` more than a minute of one core."""
MAX_ROWS_CIRCUIT = 1 << 20
"""With ``reveal`` ``nobody`` larger sets need more than a gigabyte of a party's memory."""


@dataclass(frozen=True)
class PsiTerms:
    """How an intersection is made.

    ``method``: ``kkrt`` or ``ecdh``. ``suite``: ``aes`` or ``sm``. ``reveal``: who learns the
    result: ``receiver``, ``both``, ``size`` (the receiver learns the number of common rows alone)
    or ``nobody`` (only a computation on shares continues with it, see ``opprf``). ``pad_to``: set
    sizes are shown rounded up to a multiple of it, or with ``power_of_two`` to the next power of
    two. ``join``: which rows an alignment returns, those that all parties have (``inner``) or all
    rows of the leader (``left``).
    """

    method: str = "kkrt"
    suite: str = "aes"
    reveal: str = "receiver"
    pad_to: int | str = 1024
    join: str = "inner"

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> PsiTerms:
        """Read terms from a job's parameters.

        Raises:
            BadInput: ``spec_parameters``, ``method_unknown``, ``suite_unknown``,
                ``reveal_unknown``, ``reveal_not_offered``.
        """
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise BadInput("spec_parameters", f"An intersection has no parameter {unknown[0]:.40}.")
        terms = cls(**given)
        suite_of(terms.suite)
        if terms.method not in METHODS:
            raise BadInput(
                "method_unknown",
                f"There is no method {terms.method!r:.40}; there are {', '.join(METHODS)}.",
            )
        terms._check_reveal()
        whole = type(terms.pad_to) is int and 1 <= terms.pad_to <= MAX_ROWS
        if not whole and terms.pad_to != "power_of_two":
            raise BadInput(
                "spec_parameters",
                f"pad_to is neither a whole number from 1 to {MAX_ROWS} nor power_of_two.",
            )
        if terms.join not in JOINS or (terms.join == "left" and terms.reveal != "receiver"):
            raise BadInput(
                "spec_parameters",
                "join is inner or left; left needs reveal receiver, because the leader learns "
                "which of its rows each party has.",
            )
        return terms

    def _check_reveal(self) -> None:
        if self.reveal not in REVEALS:
            raise BadInput(
                "reveal_unknown",
                f"reveal cannot be {self.reveal!r:.40}; it is one of {', '.join(REVEALS)}.",
            )
        if self.reveal == "size" and self.method != "ecdh":
            raise BadInput(
                "reveal_not_offered",
                "Only the method ecdh can reveal the size alone.",
                hint="Set method to ecdh.",
            )
        if self.reveal == "nobody" and self.method != "kkrt":
            raise BadInput(
                "reveal_not_offered",
                "Only the method kkrt can reveal an intersection to nobody.",
                hint="Set method to kkrt.",
            )

    def padded(self, rows: int) -> int:
        """Return the padded size for so many rows; BadInput ``set_too_large``."""
        size = self._rounded_up(rows)
        if size > self.max_rows:
            sentence = (
                f"The set has {size} rows after padding; at most {self.max_rows} are allowed."
            )
            raise BadInput(
                "set_too_large",
                sentence,
                hint="Use kkrt." if self.method == "ecdh" else "Split the set.",
            )
        return size

    def _rounded_up(self, rows: int) -> int:
        if isinstance(self.pad_to, int):
            return -(-rows // self.pad_to) * self.pad_to
        return 1 << (rows - 1).bit_length()

    @property
    def max_rows(self) -> int:
        """The largest padded size of one party, in rows."""
        if self.method == "ecdh":
            return MAX_ROWS_ECDH[self.suite]
        return MAX_ROWS_CIRCUIT if self.reveal == "nobody" else MAX_ROWS


@dataclass(frozen=True)
class PsiSession:
    """One intersection between two parties after the handshake.

    ``value``: the 32-byte session value, a hash of both parties' names and nonces; ``width``: bytes
    that identifiers are padded to; ``own_rows``, ``peer_rows``: padded sizes; ``randomness``: this
    party's.
    """

    channel: Channel
    suite: Suite
    value: bytes
    width: int
    own_rows: int
    peer_rows: int
    randomness: Randomness

    @property
    def tagging(self) -> Tagging:
        """How this session's identifiers become tags."""
        return Tagging(self.suite, self.width, self.value)


async def handshake(
    session: Session,
    peer: str,
    ids: NDArray[np.bytes_],
    terms: PsiTerms,
    role: str,
    label: str,
) -> PsiSession:
    """Exchange terms, formats, padded sizes and nonces with a peer.

    ``role``: ``receiver`` or ``sender``. ``label`` names this run within the session.

    Raises:
        BadInput: as of ``IdentifierFormat.of`` and ``PsiTerms.padded``; Conflict: ``terms_differ``,
            ``ids_form_differs``; PeerFault: ``message_malformed``.
    """
    channel, randomness = session.to(peer), session.randomness.child(f"{label}/{role}/{peer}")
    own_format = await asyncio.to_thread(IdentifierFormat.of, ids)
    own_rows, nonce = terms.padded(len(ids)), randomness.bytes(32)
    own_terms = {"method": terms.method, "suite": terms.suite, "reveal": terms.reveal, "role": role}
    await channel.send(
        "intersection/hello",
        terms=own_terms,
        width=own_format.width,
        fixed=int(own_format.fixed),
        case=own_format.case,
        rows=own_rows,
        nonce=nonce,
    )
    hello = await channel.receive("intersection/hello")
    other = "sender" if role == "receiver" else "receiver"
    if hello.value("terms") != {**own_terms, "role": other}:
        raise Conflict(
            "terms_differ",
            f"{peer} has other terms for this intersection.",
            hint="Both parties need the same method, suite and reveal.",
        )
    peer_rows, peer_nonce = (
        hello.integer("rows", minimum=1, maximum=terms.max_rows),
        hello.blob("nonce", 32),
    )
    if peer_nonce == nonce:
        raise PeerFault("message_malformed", f"{peer} repeats this party's own nonce.", peer=peer)
    width, suite = own_format.common_width(IdentifierFormat.received(hello)), suite_of(terms.suite)
    own, others = [session.party.encode(), nonce], [peer.encode(), peer_nonce]
    receiver_first = own + others if role == "receiver" else others + own
    value = suite.digest(b"qiaolian.psi.v1/session", label.encode(), *receiver_first)
    return PsiSession(channel, suite, value, width, own_rows, peer_rows, randomness)
