"""Additively homomorphic encryption: sums are those of plain integers, and nothing a peer may send
reaches the library unchecked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting import he
from federated.boosting.he import OU, PAILLIER, Ciphertexts, PublicKey, Scheme, SecretKey

SCHEMES = [OU, PAILLIER]


@cache
def key_of(scheme: Scheme) -> SecretKey:
    return SecretKey(scheme, SecretKey.generate(scheme))


@pytest.fixture(autouse=True, scope="module")
def _keys_are_forgotten() -> Iterator[None]:
    """Each takes about 100 MB with its tables."""
    yield
    key_of.cache_clear()


@pytest.fixture(autouse=True)
def _tables_are_forgotten() -> Iterator[None]:
    """Those of keys that one test made."""
    yield
    he._kit.cache_clear()


@pytest.fixture(params=SCHEMES, ids=lambda scheme: scheme.name)
def key(request: pytest.FixtureRequest) -> SecretKey:
    return key_of(request.param)


def integers(*values: int) -> NDArray[np.object_]:
    return np.array(values, object)


def some(count: int, bits: int, seed: int = 0) -> NDArray[np.object_]:
    source = random.Random(seed)
    return integers(*(source.randrange(-(1 << bits), 1 << bits) for _ in range(count)))


def number(key: SecretKey, value: int) -> Ciphertexts:
    return np.frombuffer(value.to_bytes(key.scheme.width, "little"), np.uint8).reshape(1, -1)


# --- What was encrypted is read again -------------------------------------------------------------


def test_integers_of_every_size_and_sign_return(key: SecretKey) -> None:
    top = 1 << (key.scheme.plaintext_bits - 1)
    values = integers(0, 1, -1, 255, 256, -256, (1 << 64) + 3, -(1 << 65), top - 1, -top)
    assert key.decrypt(key.public.encrypt(values)) == values.tolist()


def test_more_than_one_piece_returns_in_order(
    key: SecretKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(he, "_ADDITIONS_PER_PIECE", 5)
    small = PublicKey(replace(key.scheme, piece=4), key.public.numbers)
    values = some(11, 60)
    sealed = small.encrypt(values)
    assert key.decrypt(sealed) == values.tolist()
    groups = [[0, 1, 2], [3], [4, 5, 6, 7, 8], [10, 9]]
    assert key.decrypt(small.sums(small.load(sealed), groups)) == [
        sum(values[group]) for group in groups
    ]
    assert [
        plaintext & 0xFFFF
        for plaintext in key.decrypt(small.join(small.encrypt(integers(*range(11))), 2, 16))
    ] == [0, 2, 4, 6, 8, 10]


def test_nothing_is_nothing(key: SecretKey) -> None:
    none = key.public.encrypt(integers())
    assert none.shape == (0, key.scheme.width)
    assert key.decrypt(none) == []
    assert key.public.sums(key.public.load(key.public.identity), []).shape == (0, key.scheme.width)
    assert key.public.join(none, 3, 8).shape == (0, key.scheme.width)
    key.public.check(none)
    with pytest.raises(ValueError, match="no ciphertexts"):
        key.public.load(none)


def test_a_key_is_the_same_after_the_wire(key: SecretKey) -> None:
    again = PublicKey.from_bytes(key.scheme, key.public.to_bytes())
    assert again.numbers == key.public.numbers
    assert key.decrypt(again.encrypt(integers(5, -6))) == [5, -6]


def test_ciphertexts_are_what_is_dumped_and_loaded(key: SecretKey) -> None:
    sealed = key.public.encrypt(some(9, 40))
    assert (key.public.dump(key.public.load(sealed)) == sealed).all()


@pytest.mark.parametrize("value", [1, 127, 128, 255, 256, 1 << 1000, (1 << 1015) + 1])
def test_short_numbers_pass_the_librarys_framing(key: SecretKey, value: int) -> None:
    # HEU leaves out leading zeros and writes a sign bit, so that numbers have any length.
    given = np.concatenate([number(key, value), key.public.encrypt(integers(1))])
    assert (key.public.dump(key.public.load(given)) == given).all()


# --- Sums -----------------------------------------------------------------------------------------


def test_sums_are_those_of_plain_integers(key: SecretKey) -> None:
    left, right = some(40, 200, 1), some(40, 200, 2)
    first, second = key.public.encrypt(left), key.public.encrypt(right)
    assert key.decrypt(key.public.add(first, second)) == (left + right).tolist()
    groups = [[0], [1, 1, 2], list(range(40)), [39, 3]]
    assert key.decrypt(key.public.sums(key.public.load(first), groups)) == [
        sum(left[group]) for group in groups
    ]


def test_running_sums_start_again_at_marked_positions(key: SecretKey) -> None:
    values, starts = some(13, 50), np.zeros(13, np.bool_)
    starts[[0, 1, 6]] = True
    expected = [*np.cumsum(values[:1]), *np.cumsum(values[1:6]), *np.cumsum(values[6:])]
    assert key.decrypt(key.public.running_sums(key.public.encrypt(values), starts)) == expected
    alone = np.ones(13, np.bool_)
    assert (
        key.decrypt(key.public.running_sums(key.public.encrypt(values), alone)) == values.tolist()
    )


def test_the_neutral_element_changes_no_sum(key: SecretKey) -> None:
    sealed = key.public.encrypt(integers(7))
    assert key.decrypt(key.public.identity) == [0]
    assert (key.public.add(sealed, key.public.identity) == sealed).all()


def test_joined_plaintexts_lie_side_by_side(key: SecretKey) -> None:
    values, slots, bits = some(7, 30), 3, 40
    joined = key.decrypt(key.public.join(key.public.encrypt(values), slots, bits))
    padded = [*values.tolist(), 0, 0]
    assert joined == [
        sum(padded[at + slot] << (bits * slot) for slot in range(slots))
        for at in range(0, 9, slots)
    ]


# --- What hides -----------------------------------------------------------------------------------


def test_equal_plaintexts_look_different(key: SecretKey) -> None:
    sealed = key.public.encrypt(integers(*[4] * 50))
    assert len({ciphertext.tobytes() for ciphertext in sealed}) == 50


def test_fresh_randomness_leaves_the_plaintext_alone(key: SecretKey) -> None:
    sealed = key.public.encrypt(integers(1, 2, -3))
    again = key.public.rerandomise(sealed)
    assert not (again == sealed).all(axis=1).any()
    assert key.decrypt(again) == [1, 2, -3]


def test_the_second_blinding_of_okamoto_uchiyama_is_not_the_first_alone() -> None:
    """Without it a random exponent has 110 bits, and 2**55 steps find it. Both parts must be there:
    either alone is another number.
    """
    key = key_of(OU).public
    assert key._blinding is not None
    modulus, _, noise = key.numbers
    shown = key._blinding.public_key()
    (wider,) = {
        number
        for number in he._key_numbers(OU, bytes(shown.serialize()))
        if number not in key.numbers
    }
    assert wider == pow(noise, 1 << 110, modulus)
    zero = key._plain(integers(0))
    seen = {key.dump(key._blinding.encryptor().encrypt(zero)).tobytes() for _ in range(20)}
    assert len(seen) == 20
    assert key_of(OU).decrypt(
        key.dump(key._blinding.encryptor().encrypt(key._plain(integers(9))))
    ) == [9]


def test_another_key_does_not_read() -> None:
    sealed, stranger = (
        key_of(OU).public.encrypt(integers(123456789)),
        SecretKey(OU, he.generated("ou", 2048)),
    )
    assert not set(stranger.public.numbers) & set(key_of(OU).public.numbers)
    assert stranger.decrypt(sealed) != [123456789]


# --- What a peer may not send ---------------------------------------------------------------------


def test_numbers_between_zero_and_the_bound_pass(key: SecretKey) -> None:
    bound = key.public.bound
    for value in (1, 2, bound - 1, bound - 256, 1 << 32, (1 << 64) - 1):
        key.public.check(np.concatenate([number(key, value), key.public.encrypt(integers(1))]))


def test_zero_and_numbers_not_below_the_bound_are_refused(key: SecretKey) -> None:
    bound, top = key.public.bound, (1 << (8 * key.scheme.width)) - 1
    sealed = key.public.encrypt(integers(1, 2))
    for value in (0, bound, bound + 1, bound + (1 << 600), top):
        with pytest.raises(ValueError, match="not between zero"):
            key.public.check(np.concatenate([sealed[:1], number(key, value), sealed[1:]]))


def test_another_width_is_refused(key: SecretKey) -> None:
    sealed = key.public.encrypt(integers(1))
    for wrong in (
        sealed[:, :-1],
        np.zeros((1, key.scheme.width + 4), np.uint8),
        sealed.reshape(-1),
    ):
        with pytest.raises(ValueError, match="width"):
            key.public.check(wrong)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_malformed_keys_are_refused(scheme: Scheme) -> None:
    public = key_of(scheme).public
    width, good = scheme.width, public.to_bytes()
    modulus = public.numbers[0]
    too_large = (1 << (8 * width)) - 1

    def with_number(index: int, value: int) -> bytes:
        return good[: index * width] + value.to_bytes(width, "little") + good[(index + 1) * width :]

    wrong = [
        good[:-1],
        good + bytes(1),
        b"",
        bytes(len(good)),
        with_number(0, modulus >> 1024 | 1),  # a modulus of 1024 bits
        with_number(0, modulus - 1),  # an even one
        with_number(0, too_large),
        with_number(1, 0),
        with_number(1, 1),
        with_number(1, too_large),
        with_number(scheme.numbers - 1, modulus**scheme.power),
    ]
    for data in wrong:
        with pytest.raises(ValueError, match=r"key|modulus|base"):
            PublicKey.from_bytes(scheme, data)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_a_key_of_the_right_form_that_is_none_does_no_more_than_give_nonsense(
    scheme: Scheme,
) -> None:
    source = random.Random(scheme.name)
    modulus = source.getrandbits(2040) | 1 | 1 << 2046
    false = PublicKey(
        scheme, [modulus, *(source.randrange(2, modulus) for _ in range(scheme.numbers - 1))]
    )
    false = PublicKey.from_bytes(scheme, false.to_bytes())
    sealed = false.encrypt(integers(1, -2, 3))
    false.check(sealed)
    false.check(false.rerandomise(false.join(false.sums(false.load(sealed), [[0, 1], [2]]), 2, 40)))
