"""Secret sharing (Shamir, *How to Share a Secret*, CACM 1979).

Any ``threshold`` of the shares give the secret; fewer reveal nothing of it. The field is the
integers modulo 2**256 + 297, the least prime above 2**256, so that any 32 bytes are an element.
Shares are 33 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from federated.randomness import Randomness

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, threshold: int, points: Sequence[int], randomness: Randomness) -> dict[int, bytes]:
    """Return shares of a 32-byte secret at these points (distinct, from 1 upwards)."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(points) or len(set(points)) != len(points) or min(points) < 1:
        raise ValueError("a secret of 32 bytes, distinct points from 1, and a threshold of at most their number are needed")
    coefficients = [int.from_bytes(secret, "big"), *(randomness.below(PRIME) for _ in range(threshold - 1))]
    return {point: evaluate(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret from at least ``threshold`` shares.

    An altered share is not detected here: callers have a digest of the secret, or its public key.
    ``ValueError`` if a share is not an element or the result does not fit 32 bytes.
    """
    values = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    if any(len(share) != SHARE_BYTES for share in shares.values()) or any(value >= PRIME for value in values.values()):
        raise ValueError("a share is not an element of the field")
    secret = interpolate(values)
    if secret >> (8 * SECRET_BYTES):
        raise ValueError("the shares do not belong together")
    return secret.to_bytes(SECRET_BYTES, "big")


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """Return a polynomial's value; the constant term comes first."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value


def interpolate(values: Mapping[int, int]) -> int:
    """Return the value at 0 of the polynomial of least degree through these points (Lagrange)."""
    total = 0
    for point, value in values.items():
        numerator, denominator = value, 1
        for other in values:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        total = (total + numerator * pow(denominator, -1, PRIME)) % PRIME
    return total
