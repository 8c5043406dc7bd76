"""What two parties settle before an intersection: that they mean the same, a session value, and the padded sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection.identifiers import MOST_ROWS, Form, Tagging
from federated.intersection.suites import Suite, suite_of
from federated.randomness import Randomness
from federated.session import Session

METHODS = ("kkrt", "ecdh")
REVEALS = ("receiver", "both", "size", "nobody")
MOST_ROWS_ECDH = {"aes": 1 << 18, "sm": 1 << 13}
"""Above these, ``ecdh`` takes more than a minute of a core."""
MOST_ROWS_UNSEEN = 1 << 20
"""Above it, with ``reveal`` ``nobody``, a party's memory goes beyond a gigabyte."""


@dataclass(frozen=True)
class Terms:
    """How an intersection is made.

    ``method`` ``kkrt`` or ``ecdh``; ``suite`` ``aes`` or ``sm``; ``reveal``: who learns it, ``receiver`` or ``both``, or ``size``: the receiver
    learns the number alone, or ``nobody``: a computation on shares goes on with it (``programmed``). ``pad_to``: set sizes are shown rounded up to
    a multiple of it; ``power_of_two``: to the next power of two.
    """

    method: str = "kkrt"
    suite: str = "aes"
    reveal: str = "receiver"
    pad_to: int | str = 1024

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Terms:
        """Terms from a job's parameters.

        Raises:
            BadInput: ``spec_parameters``, ``method_unknown``, ``suite_unknown``, ``reveal_unknown``, ``reveal_not_offered``.
        """
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise BadInput("spec_parameters", f"An intersection has no parameter {unknown[0]:.40}.")
        terms = cls(**given)
        suite_of(terms.suite)
        if terms.method not in METHODS:
            raise BadInput("method_unknown", f"There is no method {terms.method!r:.40}; there are {', '.join(METHODS)}.")
        terms._check_reveal()
        whole = type(terms.pad_to) is int and 1 <= terms.pad_to <= MOST_ROWS
        if not whole and terms.pad_to != "power_of_two":
            raise BadInput("spec_parameters", f"pad_to is neither a whole number from 1 to {MOST_ROWS} nor power_of_two.")
        return terms

    def _check_reveal(self) -> None:
        if self.reveal not in REVEALS:
            raise BadInput("reveal_unknown", f"Nobody can be {self.reveal!r:.40}; reveal is one of {', '.join(REVEALS)}.")
        if self.reveal == "size" and self.method != "ecdh":
            raise BadInput("reveal_not_offered", "The size alone is offered by the method ecdh only.", hint="Set method to ecdh.")
        if self.reveal == "nobody" and self.method != "kkrt":
            raise BadInput("reveal_not_offered", "An intersection that nobody learns is offered by the method kkrt only.", hint="Set method to kkrt.")

    def padded(self, rows: int) -> int:
        """The size that is shown for so many rows; ``set_too_large``."""
        shown = -(-rows // self.pad_to) * self.pad_to if isinstance(self.pad_to, int) else 1 << (rows - 1).bit_length()
        if shown > self.most_rows:
            sentence = f"A set of {shown} rows after padding is above the limit of {self.most_rows}."
            raise BadInput("set_too_large", sentence, hint="Use kkrt." if self.method == "ecdh" else "Split the set.")
        return shown

    @property
    def most_rows(self) -> int:
        """The largest padded size of one party."""
        if self.method == "ecdh":
            return MOST_ROWS_ECDH[self.suite]
        return MOST_ROWS_UNSEEN if self.reveal == "nobody" else MOST_ROWS


@dataclass(frozen=True)
class Pair:
    """One intersection between two parties, settled: what both know, and this party's randomness. Sizes are padded ones."""

    channel: Channel
    suite: Suite
    value: bytes  # 32 bytes, from both parties' nonces
    width: int  # bytes that identifiers are padded to
    own_rows: int
    peer_rows: int
    randomness: Randomness

    @property
    def tagging(self) -> Tagging:
        """How this pair's identifiers become tags."""
        return Tagging(self.suite, self.width, self.value)


async def settle(session: Session, peer: str, ids: NDArray[np.bytes_], terms: Terms, role: str, label: str) -> Pair:
    """Exchange greetings with a peer.

    Raises:
        BadInput: what ``Form.of`` and ``Terms.padded`` refuse; Conflict: ``terms_differ``, ``ids_form_differs``; PeerFault: ``message_malformed``.
    """
    channel, randomness = session.to(peer), session.randomness.child(f"{label}/{role}/{peer}")
    form, shown, nonce = await asyncio.to_thread(Form.of, ids), terms.padded(len(ids)), randomness.bytes(32)
    said = {"method": terms.method, "suite": terms.suite, "reveal": terms.reveal, "role": role}
    await channel.send("intersection/hello", terms=said, width=form.width, fixed=int(form.fixed), case=form.case, rows=shown, nonce=nonce)
    hello = await channel.receive("intersection/hello")
    other = "sender" if role == "receiver" else "receiver"
    if hello.value("terms") != {**said, "role": other}:
        raise Conflict("terms_differ", f"{peer} means another intersection.", hint="Both parties need the same method, suite and reveal.")
    peer_rows, peer_nonce = hello.integer("rows", least=1, most=terms.most_rows), hello.blob("nonce", 32)
    if peer_nonce == nonce:
        raise PeerFault("message_malformed", f"{peer} gives back this party's own nonce.", peer=peer)
    width, suite = form.common_width(Form.received(hello)), suite_of(terms.suite)
    own, others = [session.party.encode(), nonce], [peer.encode(), peer_nonce]
    receiver_first = own + others if role == "receiver" else others + own
    value = suite.digest(b"qiaolian.psi.v1/session", label.encode(), *receiver_first)
    return Pair(channel, suite, value, width, shown, peer_rows, randomness)
