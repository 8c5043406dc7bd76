"""Secure aggregation: the sum of the members' vectors and nothing else (Bonawitz et al., CCS 2017).

Two state machines without I/O, a ``Member`` (``secagg_member``) and an ``Aggregator``
(``secagg_aggregator``), go through these steps. This module has the terms and masks of both. A
member that is missing from one step is left out of the next:

1. *keys*: each member makes two X25519 keys and a self-mask seed, and advertises the public keys
   and a digest of the seed.
2. *shares*: each checks that the keys it receives are its peers', splits its masking key and its
   seed among all (Shamir), and seals one share of both for every peer.
3. *masked*: each adds to its vector the self-mask and, for every peer that shared, the pairwise
   mask: the lower name adds it, the higher subtracts it.
4. *survivors*: the aggregator names the members whose vectors arrived; each member confirms to each
   peer, under their pairwise key, the list it received.
5. *reveal*: members whose confirmations agree reveal one share each: of the self-mask seeds of
   survivors, of the masking keys of the others.

A member follows these rules, whatever messages it receives:

- It shares with no peer whose keys come from the aggregator alone: each peer attests its own keys,
  over a channel or by a signature.
- It answers *survivors* at most once and *reveal* at most once, and reveals for each peer either
  the seed's share or the key's, never both.
- It reveals nothing if its own vector is reported missing, or if fewer than ``threshold`` vectors
  would be in the sum.
- It reveals nothing unless ``threshold`` members including itself confirmed the same list, over the
  same keys, the same senders of shares and the same basis: what all vectors were computed from.

Since ``threshold`` is more than half, no two different lists find enough answers, even if the
aggregator lies to half of the members. How many members may collude with the aggregator is bounded
by that and by the sum itself: see ``min_threshold``. A step refused because of the peer is a
``PeerFault``; because of the caller, a ``BadInput``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput, PeerFault
from federated.horizontal import masks, shamir

ADVERT_BYTES = 3 * masks.KEY_BYTES  # sealing key, masking key, digest of the self-mask seed
SEALED_BYTES = 2 * shamir.SHARE_BYTES + masks.TAG_BYTES
CONFIRMATION_BYTES = 32
NO_BASIS = bytes(32)
MAX_MEMBERS = 256
MAX_LENGTH = 1 << 28


def min_threshold(members: int, colluders: int = 0) -> int:
    """Return the least threshold that is safe against ``colluders`` members.

    Colluders share all they know with the aggregator. A sum without their own parts must still be
    of two vectors or more: ``colluders + 2``. And two different lists of survivors must not both
    find enough answers where the colluders answer both: twice the threshold is more than
    ``members + colluders``.
    """
    return max(colluders + 2, (members + colluders) // 2 + 1)


@dataclass(frozen=True)
class SecureSumTerms:
    """What all parties agree on before one sum.

    ``label`` names the sum and must never be reused (job and round). ``length``: elements of a
    vector. ``bound``: the largest magnitude of one element. ``bits`` (32 or 64): the ring; the sum
    of all bounds stays below 2**(bits-1), so that no sum wraps. ``threshold`` members must remain.

    Raises:
        BadInput: ``too_few_members``, ``threshold_wrong``, ``ring_too_small``,
            ``aggregation_terms``.
    """

    label: str
    members: tuple[str, ...]
    length: int
    bound: int
    bits: int = 64
    threshold: int = 0  # 0: the least allowed, more than half

    def __post_init__(self) -> None:
        least = min_threshold(len(self.members))
        object.__setattr__(self, "threshold", self.threshold or least)
        if not 3 <= len(self.members) <= MAX_MEMBERS or len(set(self.members)) != len(self.members):
            raise BadInput(
                "too_few_members",
                f"A sum that hides its parts needs 3 to {MAX_MEMBERS} different members.",
            )
        if not least <= self.threshold <= len(self.members):
            raise BadInput(
                "threshold_wrong",
                f"The threshold must be from {least} (more than half) to {len(self.members)}.",
            )
        if self.bits not in (32, 64) or not 1 <= self.length <= MAX_LENGTH or self.bound < 1:
            raise BadInput(
                "aggregation_terms",
                f"Rings have 32 or 64 bits, vectors 1 to {MAX_LENGTH} "
                "elements, and the bound is at least 1.",
            )
        if len(self.members) * self.bound >= 1 << (self.bits - 1):
            raise BadInput(
                "ring_too_small",
                f"{len(self.members)} vectors up to {self.bound} could wrap in {self.bits} bits.",
                hint="Use 64 bits, or a lower clip.",
            )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the terms, bound into every key: members with other terms share no keys."""
        parts = [self.label, list(self.members), self.length, self.bound, self.bits, self.threshold]
        return hashlib.sha256(
            json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode(),
        ).digest()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ring's elements."""
        return np.dtype(f"uint{self.bits}")

    def point(self, member: str) -> int:
        """Return the point of this member's shares: 1 for the first."""
        return self.members.index(member) + 1

    def check_set(
        self,
        names: Collection[str],
        what: str,
        *,
        within: Collection[str] | None = None,
    ) -> None:
        """Check that these are enough different members, all of ``within``.

        Raises:
            PeerFault: ``too_few_members``, ``members_wrong``.
        """
        known = self.members if within is None else within
        if len(set(names)) != len(names) or not set(names) <= set(known):
            raise PeerFault(
                "members_wrong",
                f"The list of {what} names someone twice or someone who is not in this sum.",
            )
        if len(names) < self.threshold:
            raise PeerFault(
                "too_few_members",
                f"Only {len(names)} of {len(self.members)} {what}; "
                f"{self.threshold} are needed, so nothing is revealed.",
            )


def pair_label(terms: SecureSumTerms, use: str, first: str, second: str) -> bytes:
    """Return the label of a key for one use, from one member to another."""
    ends = b"".join(
        len(name.encode()).to_bytes(2, "big") + name.encode() for name in (first, second)
    )
    return use.encode() + b"/" + terms.digest + ends


def add_pair_mask(
    terms: SecureSumTerms,
    vector: NDArray[Any],
    key: bytes,
    peer_key: bytes,
    owner: str,
    peer: str,
    *,
    undo: bool = False,
) -> None:
    """Add the mask that ``owner`` puts on its vector for ``peer``, or remove it."""
    low, high = sorted((owner, peer))
    mask_key = masks.agree(key, peer_key, pair_label(terms, "mask", low, high))
    masks.add_mask(vector, mask_key, subtract=(owner == high) != undo)


def add_self_mask(
    terms: SecureSumTerms,
    vector: NDArray[Any],
    seed: bytes,
    owner: str,
    *,
    undo: bool = False,
) -> None:
    """Add a member's self-mask, or remove it."""
    key = hmac.digest(
        seed,
        b"qiaolian.secagg.v1/" + pair_label(terms, "self", owner, owner),
        "sha256",
    )
    masks.add_mask(vector, key, subtract=undo)


def seed_digest(seed: bytes) -> bytes:
    """Return the advertised digest of a self-mask seed.

    It detects a wrong reconstruction.
    """
    return hashlib.sha256(b"qiaolian.secagg.v1/seed" + seed).digest()


def advert_digest(terms: SecureSumTerms, name: str, advert: bytes) -> bytes:
    """Return the attestation of a member: that it advertised these keys in this sum."""
    return hashlib.sha256(
        b"qiaolian.secagg.v1/" + pair_label(terms, "advert", name, name) + advert,
    ).digest()


def require_size(name: str, data: bytes, size: int) -> None:
    """A message has the length that the protocol fixes: PeerFault ``message_malformed``."""
    if len(data) != size:
        raise PeerFault(
            "message_malformed",
            f"{name} sent {len(data)} bytes; {size} are required.",
            peer=name,
        )


def is_private_key(secret: bytes, public: bytes) -> bool:
    return bool(secret) and masks.public_key(secret) == public
