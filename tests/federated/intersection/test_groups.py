"""The two groups: known multiples, the laws the protocols rest on, and elements that are none."""

from __future__ import annotations

import pytest

from federated.intersection.groups import RISTRETTO255, Group
from federated.intersection.sm2 import SM2, A, B, N, P, add_each
from federated.randomness import Randomness

GROUPS = pytest.mark.parametrize("group", [RISTRETTO255, SM2], ids=["ristretto255", "sm2"])


def scalars(group: Group, count: int) -> list[int]:
    randomness = Randomness(bytes(32), "scalars")
    return [group.scalar(randomness) for _ in range(count)]


def test_the_key_pair_of_the_sm2_standard() -> None:
    # GB/T 32918.5, annex A: the example's private and public key
    secret = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
    public = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    assert SM2.base_times([secret])[0].hex() == public


def test_the_first_multiples_of_the_ristretto_standard() -> None:
    # RFC 9496, appendix A.1
    one, two = RISTRETTO255.base_times([1, 2])
    assert one.hex() == "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
    assert two.hex() == "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919"


@GROUPS
def test_exponents_commute_and_can_be_undone(group: Group) -> None:
    first, second = scalars(group, 2)
    points = group.hash_to([bytes([number]) for number in range(5)])
    assert group.times(first, group.times(second, points)) == group.times(
        second,
        group.times(first, points),
    )
    assert group.times(group.inverse(first), group.times(first, points)) == points
    assert len(set(points)) == 5


@GROUPS
def test_all_ways_to_multiply_agree(group: Group) -> None:
    several = [1, 2, 3, 15, 16, 17, 2**200, *scalars(group, 5)]
    secret = scalars(group, 1)[0]
    shown = group.base_times([secret])[0]
    assert group.times(secret, group.base_times(several)) == group.times_each(several, shown)


@GROUPS
def test_what_is_added_can_be_taken_away(group: Group) -> None:
    points, (other,) = group.hash_to([b"a", b"b"]), group.hash_to([b"c"])
    assert group.subtract(other, group.add(points, [other, other])) == points


@GROUPS
def test_a_point_plus_itself_is_its_double(group: Group) -> None:
    points = group.hash_to([b"a", b"b"])
    assert group.add(points, points) == group.times(2, points)


@GROUPS
def test_the_identity_does_not_leave(group: Group) -> None:
    point = group.hash_to([b"a"])[0]
    with pytest.raises(ValueError):
        group.times(2, group.subtract(point, [point]))


def test_the_identity_of_sm2_is_neutral_and_opposites_meet_in_it() -> None:
    x = int.from_bytes(SM2.base_times([5])[0][:32], "big")
    y = int.from_bytes(SM2.base_times([5])[0][32:], "big")
    assert add_each([(x, y), None, None, (x, y)], [(x, P - y), (x, y), None, None]) == [
        None,
        (x, y),
        None,
        (x, y),
    ]


def test_points_of_sm2_are_on_the_curve() -> None:
    for point in SM2.hash_to([bytes([number]) for number in range(20)]):
        x, y = int.from_bytes(point[:32], "big"), int.from_bytes(point[32:], "big")
        assert (y * y - x**3 - A * x - B) % P == 0
    with pytest.raises(ValueError):
        SM2.base_times([N])


@GROUPS
def test_an_element_that_is_none_is_refused(group: Group) -> None:
    good = bytearray(group.base_times([7])[0])
    good[0] ^= 1
    for bad in (bytes(good), bytes(group.width), b"\xff" * group.width, bytes(group.width - 1)):
        with pytest.raises(ValueError):
            group.times(3, [bad])
        with pytest.raises(ValueError):
            group.add([bad], group.base_times([1]))
