"""Secret sharing: vectors, any threshold of shares, no fewer."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.horizontal import shamir
from federated.randomness import Randomness

# The textbook polynomial 1234 + 166 x + 94 x**2; its values are small, so they are the same in any
# larger field.
TEXTBOOK = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}


def test_the_textbook_polynomial_has_its_published_values() -> None:
    assert {x: shamir.evaluate([1234, 166, 94], x) for x in TEXTBOOK} == TEXTBOOK


def test_any_three_textbook_points_give_the_secret() -> None:
    assert {
        shamir.interpolate({x: TEXTBOOK[x] for x in combination})
        for combination in combinations(TEXTBOOK, 3)
    } == {1234}


def test_the_modulus_is_prime() -> None:
    # Miller-Rabin to 24 bases.
    odd, twos = shamir.PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (
        2,
        3,
        5,
        7,
        11,
        13,
        17,
        19,
        23,
        29,
        31,
        37,
        41,
        43,
        47,
        53,
        59,
        61,
        67,
        71,
        73,
        79,
        83,
        89,
    ):
        value = pow(base, odd, shamir.PRIME)
        assert value == 1 or any(
            pow(value, 2**i, shamir.PRIME) == shamir.PRIME - 1 for i in range(twos)
        ), base


@given(
    secret=st.binary(min_size=32, max_size=32),
    seed=st.binary(min_size=32, max_size=32),
    count=st.integers(2, 7),
    data=st.data(),
)
def test_any_threshold_of_the_shares_gives_the_secret(
    secret: bytes,
    seed: bytes,
    count: int,
    data: st.DataObject,
) -> None:
    threshold = data.draw(st.integers(1, count))
    shares = shamir.split(secret, threshold, range(1, count + 1), Randomness(seed))
    chosen = data.draw(st.permutations(sorted(shares)))[: data.draw(st.integers(threshold, count))]
    assert shamir.combine({point: shares[point] for point in chosen}) == secret


def test_fewer_shares_are_consistent_with_every_secret() -> None:
    # Two of three shares: for any secret there is a polynomial of degree 2 through it and both.
    shares = shamir.split(bytes(32), 3, [1, 2, 3], Randomness(b"s" * 32))
    known = {point: int.from_bytes(shares[point], "big") for point in (1, 2)}
    for secret in (0, 1, shamir.PRIME - 1):
        third = shamir.interpolate(
            {point - 3: value for point, value in {0: secret, **known}.items()},
        )
        assert shamir.interpolate({**known, 3: third}) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_the_least_and_largest_secrets_survive(secret: bytes) -> None:
    assert shamir.combine(shamir.split(secret, 2, [1, 2, 3], Randomness(b"s" * 32))) == secret


@pytest.mark.parametrize("share", [b"", bytes(32), b"\xff" * 33])
def test_a_share_that_is_no_element_is_refused(share: bytes) -> None:
    shares = shamir.split(bytes(32), 2, [1, 2], Randomness(b"s" * 32))
    with pytest.raises(ValueError):
        shamir.combine({**shares, 2: share})


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [(bytes(31), 2, [1, 2]), (bytes(32), 3, [1, 2]), (bytes(32), 1, [0]), (bytes(32), 2, [1, 1])],
)
def test_a_split_that_would_give_the_secret_away_is_refused(
    secret: bytes,
    threshold: int,
    points: list[int],
) -> None:
    with pytest.raises(ValueError):
        shamir.split(secret, threshold, points, Randomness(b"s" * 32))
