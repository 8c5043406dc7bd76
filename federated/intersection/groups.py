"""Groups of prime order in which the Diffie-Hellman problem is hard, and ristretto255 (RFC 9496).

Elements are sent as bytes of a fixed width and checked on arrival: a canonical encoding of a group
element other than the identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import rbcl

from federated.randomness import Randomness


class Group(Protocol):
    """The operations that the protocols need.

    Lists in, lists out, so that an implementation may share work. ``ValueError`` for an invalid
    element or the identity, whether given or computed.
    """

    width: int  # bytes of an encoded element

    def scalar(self, randomness: Randomness) -> int:
        """Return a uniform exponent other than zero."""

    def inverse(self, scalar: int) -> int:
        """Return the inverse of an exponent."""

    def hash_to(self, values: Sequence[bytes]) -> list[bytes]:
        """Return elements of unknown discrete logarithm, from values of a fixed length."""

    def base_times(self, scalars: Sequence[int]) -> list[bytes]:
        """Return multiples of the base point."""

    def times(self, scalar: int, points: Sequence[bytes]) -> list[bytes]:
        """Return the same multiple of many points."""

    def times_each(self, scalars: Sequence[int], point: bytes) -> list[bytes]:
        """Return many multiples of one point."""

    def add(self, points: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
        """Return pairwise sums."""

    def subtract(self, point: bytes, points: Sequence[bytes]) -> list[bytes]:
        """Return each of the points minus one point."""


class Ristretto255:
    """The group ristretto255, by libsodium."""

    width = 32
    order = 2**252 + 27742317777372353535851937790883648493

    def scalar(self, randomness: Randomness) -> int:
        """Return a uniform exponent from 1 to order - 1."""
        return 1 + randomness.below(self.order - 1)

    def inverse(self, scalar: int) -> int:
        """Return 1/scalar."""
        return pow(scalar, -1, self.order)

    def hash_to(self, values: Sequence[bytes]) -> list[bytes]:
        """Return the one-way map of RFC 9496 (4.3.4) of SHA-512 of each value."""
        return [
            rbcl.crypto_core_ristretto255_from_hash(
                hashlib.sha512(b"qiaolian.psi.v1/element" + value).digest(),
            )
            for value in values
        ]

    def base_times(self, scalars: Sequence[int]) -> list[bytes]:
        """Return multiples of the base point."""
        return [
            rbcl.crypto_scalarmult_ristretto255_base(scalar.to_bytes(32, "little"))
            for scalar in scalars
        ]

    def times(self, scalar: int, points: Sequence[bytes]) -> list[bytes]:
        """Return scalar·P for each P."""
        return [self._times(scalar, point) for point in points]

    def times_each(self, scalars: Sequence[int], point: bytes) -> list[bytes]:
        """Return s·P for each s."""
        return [self._times(scalar, point) for scalar in scalars]

    def add(self, points: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
        """Return P + Q for each pair."""
        pairs = zip(points, others, strict=True)
        return [self._sum(first, second) for first, second in pairs]

    def subtract(self, point: bytes, points: Sequence[bytes]) -> list[bytes]:
        """Return P - point for each P."""
        return [self._difference(left, point) for left in points]

    def _sum(self, left: bytes, right: bytes) -> bytes:
        total = rbcl.crypto_core_ristretto255_add(self._valid(left), self._valid(right))
        return self._valid(total)

    def _difference(self, left: bytes, right: bytes) -> bytes:
        difference = rbcl.crypto_core_ristretto255_sub(self._valid(left), self._valid(right))
        return self._valid(difference)

    def _times(self, scalar: int, point: bytes) -> bytes:
        try:
            return bytes(
                rbcl.crypto_scalarmult_ristretto255(
                    scalar.to_bytes(32, "little"),
                    self._valid(point),
                )
            )
        except RuntimeError as error:
            raise ValueError("the multiple is the identity") from error

    def _valid(self, point: bytes) -> bytes:
        if not rbcl.crypto_core_ristretto255_is_valid_point(point) or not any(point):
            raise ValueError("not an element of ristretto255, or the identity")
        return point


RISTRETTO255 = Ristretto255()
