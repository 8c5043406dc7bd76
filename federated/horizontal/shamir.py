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


def split(
    secret: bytes,
    threshold: int,
    points: Sequence[int],
    randomness: Randomness,
) -> dict[int, bytes]:
    """Return shares of a 32-byte secret at these points (distinct, from 1 upwards)."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(points):
        raise ValueError("a secret has 32 bytes, and a threshold is at most the number of points")
    if len(set(points)) != len(points) or min(points) < 1:
        raise ValueError("points are distinct and at least 1")
    coefficients = [
        int.from_bytes(secret, "big"),
        *(randomness.below(PRIME) for _ in range(threshold - 1)),
    ]
    return {point: evaluate(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret from at least ``threshold`` shares.

    An altered share is not detected here: callers have a digest of the secret, or its public key.
    ``ValueError`` if a share is not an element or the result does not fit 32 bytes.
    """
    values = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    sizes = {len(share) for share in shares.values()}
    if sizes != {SHARE_BYTES} or max(values.values()) >= PRIME:
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
