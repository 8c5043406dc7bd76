"""The SM2 curve (GB/T 32918.5, y² = x³ - 3x + b over a 256-bit prime field) on Python's integers.

Points stay affine. Every step of a multiplication is done for all points of a batch, so that one
field inversion serves the whole batch (Montgomery's trick); a step then costs about seven field
multiplications a point. Python's integers are not constant-time: exponents are fresh for each run,
and the threat model names what a neighbour on the same machine could time.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes

from federated.randomness import Randomness

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)

Point = tuple[int, int] | None  # None: the identity

_WINDOW = 4


class Sm2:
    """The group of the SM2 curve; elements are sent as x ‖ y, big-endian, 64 bytes."""

    width = 64
    order = N

    def scalar(self, randomness: Randomness) -> int:
        """Return a uniform exponent from 1 to order - 1."""
        return 1 + randomness.below(N - 1)

    def inverse(self, scalar: int) -> int:
        """Return 1/scalar."""
        return pow(scalar, -1, N)

    def hash_to(self, values: Sequence[bytes]) -> list[bytes]:
        """Return for each value the first x = SM3(value, counter) on the curve, with the even y.

        The number of attempts depends on the value.
        """
        return [_encode(_try_and_increment(value)) for value in values]

    def base_times(self, scalars: Sequence[int]) -> list[bytes]:
        """Return multiples of the base point."""
        return [_encode(multiple) for multiple in _multiples(scalars, G)]

    def times(self, scalar: int, points: Sequence[bytes]) -> list[bytes]:
        """Return scalar·P for each P."""
        return [
            _encode(multiple) for multiple in _times(scalar, [_decode(point) for point in points])
        ]

    def times_each(self, scalars: Sequence[int], point: bytes) -> list[bytes]:
        """Return s·P for each s."""
        return [_encode(multiple) for multiple in _multiples(scalars, _decode(point))]

    def add(self, points: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
        """Return P + Q for each pair."""
        return [
            _encode(total)
            for total in add_each(
                [_decode(point) for point in points],
                [_decode(other) for other in others],
            )
        ]

    def subtract(self, point: bytes, points: Sequence[bytes]) -> list[bytes]:
        """Return P - point for each P."""
        x, y = _decode(point)
        return [
            _encode(total)
            for total in add_each([_decode(point) for point in points], [(x, P - y)] * len(points))
        ]


SM2 = Sm2()


def add_each(points: Sequence[Point], others: Sequence[Point]) -> list[Point]:
    """Return P + Q for each pair, with one inversion for all."""
    inverses = _inverses(
        [_denominator(first, second) for first, second in zip(points, others, strict=True)],
    )
    return [
        _sum(first, second, inverse)
        for first, second, inverse in zip(points, others, inverses, strict=True)
    ]


def _denominator(first: Point, second: Point) -> int:
    """Return the denominator of the slope of the line through two points; 1 if there is none."""
    if first is None or second is None:
        return 1
    if first[0] != second[0]:
        return second[0] - first[0]
    return 2 * first[1] if first[1] == second[1] else 1


def _sum(first: Point, second: Point, inverse: int) -> Point:
    if first is None or second is None:
        return second if first is None else first
    if first[0] != second[0]:
        slope = (second[1] - first[1]) * inverse % P
    elif first[1] == second[1]:
        slope = (3 * first[0] * first[0] + A) * inverse % P
    else:
        return None
    x = (slope * slope - first[0] - second[0]) % P
    return x, (slope * (first[0] - x) - first[1]) % P


def _inverses(values: Sequence[int]) -> list[int]:
    """Return 1/v for each v, none of them zero: one inversion and three multiplications each."""
    products = [1]
    for value in values:
        products.append(products[-1] * value % P)
    running, out = pow(products[-1], -1, P), [0] * len(values)
    for index in range(len(values) - 1, -1, -1):
        out[index] = running * products[index] % P
        running = running * values[index] % P
    return out


def _times(scalar: int, points: Sequence[Point]) -> list[Point]:
    """Return scalar·P for each P: signed windows from the top, all points in step."""
    digits = _signed_digits(scalar)
    odd = [list(points)]
    doubled = add_each(points, points)
    for _ in range((1 << (_WINDOW - 2)) - 1):
        odd.append(add_each(odd[-1], doubled))
    total: list[Point] = [None] * len(points)
    for index, digit in enumerate(reversed(digits)):
        if index:
            total = add_each(total, total)
        if digit:
            chosen = odd[abs(digit) // 2]
            total = add_each(
                total,
                chosen if digit > 0 else [_negated(multiple) for multiple in chosen],
            )
    return total


def _signed_digits(scalar: int) -> list[int]:
    """Return the non-adjacent form of this window width, least digit first.

    Each digit is zero, or odd and below 2**(w-1) in magnitude.
    """
    digits = []
    while scalar:
        digit = 0
        if scalar & 1:
            digit = scalar & ((1 << _WINDOW) - 1)
            digit -= (digit >> (_WINDOW - 1)) << _WINDOW
        digits.append(digit)
        scalar = (scalar - digit) >> 1
    return digits


def _multiples(scalars: Sequence[int], point: Point) -> list[Point]:
    """Return s·P for each s.

    From a table of d·2**(8i)·P for every byte d and index i, one addition a byte.
    """
    total: list[Point] = [None] * len(scalars)
    for index, table in enumerate(_table(point)):
        total = add_each(total, [table[scalar >> (8 * index) & 255] for scalar in scalars])
    return total


def _table(point: Point) -> list[list[Point]]:
    shifted = [point]
    for _ in range(255):
        shifted += add_each(shifted[-1:], shifted[-1:])
    columns: list[list[Point]] = [[None] * 32]
    for bit in range(8):
        powers = shifted[bit::8]
        flat = [multiple for column in columns for multiple in column]
        sums = add_each(flat, powers * len(columns))
        columns += [sums[start : start + 32] for start in range(0, len(sums), 32)]
    return [list(row) for row in zip(*columns, strict=True)]


def _negated(point: Point) -> Point:
    return None if point is None else (point[0], P - point[1])


def _try_and_increment(value: bytes) -> Point:
    counter = 0
    while True:
        hashing = hashes.Hash(hashes.SM3())
        hashing.update(b"qiaolian.psi.v1/element" + value + counter.to_bytes(4, "big"))
        x = int.from_bytes(hashing.finalize(), "big")
        square = (x * x * x + A * x + B) % P
        y = pow(square, (P + 1) // 4, P)
        if x < P and y * y % P == square and y:
            return x, y if y % 2 == 0 else P - y
        counter += 1


def _encode(point: Point) -> bytes:
    if point is None:
        raise ValueError("the identity of SM2")
    return point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def _decode(data: bytes) -> tuple[int, int]:
    x, y = int.from_bytes(data[:32], "big"), int.from_bytes(data[32:], "big")
    if len(data) != 64 or x >= P or y >= P or (y * y - x * x * x - A * x - B) % P:
        raise ValueError("not a point of SM2")
    return x, y
