"""The parts KKRT is made of: bit matrices, cuckoo hashing, codes, masks, base transfers."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.channel import Channel
from federated.errors import PeerFault
from federated.intersection import cuckoo
from federated.intersection.base_ot import OtSender, receive_seeds
from federated.intersection.kkrt import cut
from federated.intersection.oprf import (
    CODE_BITS,
    CODE_WORDS,
    OprfFunction,
    PrgColumns,
    hash_inputs,
    mask_width,
)
from federated.intersection.suites import SUITES, Suite
from federated.intersection.transpose import transpose
from federated.local import run_local, wire_pair
from federated.randomness import Randomness
from federated.session import Session

BOTH = pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))


def words(*shape: int, seed: int = 1) -> Any:
    return Randomness(bytes(31) + bytes([seed]), "test").words(*shape)


# --- Bit matrices ---------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 5))
def test_transposing_moves_every_bit(groups: int, size: int) -> None:
    columns = words(64 * groups, size)
    bits = np.unpackbits(columns.view(np.uint8), axis=1, bitorder="little")
    turned = np.unpackbits(transpose(columns.copy()).view(np.uint8), axis=1, bitorder="little")
    assert (turned == bits.T).all()


@BOTH
def test_columns_do_not_depend_on_the_blocks_they_are_read_in(suite: Suite) -> None:
    seeds = words(CODE_BITS, 2).view(np.uint8)
    whole, pieces = PrgColumns(suite, seeds), PrgColumns(suite, seeds)
    assert (whole.take(256) == np.concatenate([pieces.take(64), pieces.take(192)], axis=1)).all()


# --- Cuckoo hashing -------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 255))
def test_every_item_is_in_one_of_its_bins(count: int, seed: int) -> None:
    tags, part = words(count, 2, seed=seed), cuckoo.bins_in_part(count)
    bins = cuckoo.bins_of(tags, part)
    row_of_bin = cuckoo.place(bins, part, Randomness(bytes(32)))
    assert row_of_bin is not None
    number, index = np.nonzero(row_of_bin >= 0)
    items = row_of_bin[number, index]
    assert sorted(items.tolist()) == list(range(count))
    assert (bins[number, items] == index).all()


def test_more_items_than_bins_find_no_place() -> None:
    assert cuckoo.place(cuckoo.bins_of(words(193, 2), 64), 64, Randomness(bytes(32))) is None


def test_four_items_with_the_same_three_bins_find_no_place() -> None:
    assert cuckoo.place(np.zeros((3, 4), np.int32), 64, Randomness(bytes(32))) is None
    assert cuckoo.place(np.zeros((3, 3), np.int32), 64, Randomness(bytes(32))) is not None


def test_four_items_rarely_share_their_bins_at_any_size() -> None:
    for exponent in range(25):
        for count in {1 << exponent, max(4, 3 << exponent >> 1)}:
            assert comb(count, 4) < 2.0**-43 * float(cuckoo.bins_in_part(count)) ** 9
            assert 3 * cuckoo.bins_in_part(count) >= 1.27 * count


# --- Codes and masks ------------------------------------------------------------------------------


def test_codes_are_too_close_with_negligible_probability() -> None:
    close = sum(comb(CODE_BITS, differing) for differing in range(128))
    assert 3 * (1 << 24) * close * 2**40 <= 2**CODE_BITS


@BOTH
def test_codes_of_different_tags_differ_in_128_places(suite: Suite) -> None:
    codes = np.unpackbits(
        OprfFunction(suite, bytes(32)).codes(words(300, 2))[:, 1:].copy().view(np.uint8),
        axis=1,
    )
    distances = (codes[:, None] != codes[None]).sum(axis=2)[np.triu_indices(300, 1)]
    assert distances.min() >= 128
    assert abs(distances.mean() - CODE_BITS / 2) < 1


@pytest.mark.parametrize(
    ("senders", "receivers", "width"),
    [(1, 1, 8), (1024, 1024, 8), (10**6, 10**6, 11), (1 << 24, 1 << 24, 12), (1 << 20, 1024, 9)],
)
def test_masks_are_as_wide_as_the_number_of_comparisons_needs(
    senders: int,
    receivers: int,
    width: int,
) -> None:
    assert mask_width(senders, receivers) == width
    assert 2.0 ** (8 * width) >= 2.0**40 * 3 * senders * receivers


def test_cut_masks_keep_their_lowest_bytes() -> None:
    masks = words(5, 2)
    expected = masks.copy().view(np.uint8)
    expected[:, 11:] = 0
    assert (cut(masks, 11).view(np.uint8) == expected).all()


@BOTH
def test_sender_and_receiver_agree_on_the_mask_of_a_common_tag_only(suite: Suite) -> None:
    function, secret, t = (
        OprfFunction(suite, bytes(32)),
        words(CODE_WORDS, seed=2),
        words(64, CODE_WORDS, seed=3),
    )
    tags = words(64, 2, seed=4)
    q = t ^ (function.codes(tags)[:, 1:] & secret)
    receivers = function.masks(hash_inputs(640, t))
    asked = tags.copy()
    asked[1::2] ^= np.uint64(1)
    senders = function.masks(
        hash_inputs(640, q)
        ^ (function.codes(asked) & np.concatenate([np.zeros(1, np.uint64), secret]))
    )
    assert ((senders == receivers).all(axis=1) == (np.arange(64) % 2 == 0)).all()
    assert not (receivers == function.masks(hash_inputs(641, t))).any()


@pytest.mark.parametrize(
    ("suite", "code", "mask"),
    [
        (
            "aes",
            "38bb0a706d163016faf3ff747236afd9d78fff9775dc44af6e87fb865d788fe887625b5c7c14ff85f74039cbdb40e1445ec29b9cf20062bb",
            "6d42323a554f348a2cac252581991905",
        ),
        (
            "sm",
            "2e43e995c5dc5305fae87d054f5dbf27cce50a751334da83325d85bb2a023cbb0b5cf31bb4ba630fff90553a61adce5f3a93857b4ae790d0",
            "e12d6505795b18a37dfa2f59068c8e3f",
        ),
    ],
)
def test_vectors_of_code_and_mask(suite: str, code: str, mask: str) -> None:
    function = OprfFunction(SUITES[suite], bytes(range(32)))
    codes = function.codes(np.array([[1, 2]], np.uint64))
    assert codes[0, 1:].tobytes().hex() == code
    assert function.masks(hash_inputs(5, codes[:, 1:])).tobytes().hex() == mask


# --- Base transfers -------------------------------------------------------------------------------


def transfer(
    suite: Suite,
    choices: Any,
    *,
    values: tuple[bytes, bytes] = (bytes(32), bytes(32)),
) -> tuple[Any, Any]:
    async def give(session: Session) -> Any:
        ot_sender = OtSender(session.to("b"), suite, values[0], session.randomness)
        await ot_sender.start()
        return await ot_sender.finish(len(choices))

    async def take(session: Session) -> Any:
        return await receive_seeds(session.to("a"), suite, values[1], choices, session.randomness)

    results = run_local({"a": give, "b": take})
    return results["a"], results["b"]


@BOTH
def test_the_receiver_gets_the_seed_it_chose_and_no_other(suite: Suite) -> None:
    choices = np.array([0, 1, 1, 0, 1], np.uint8)
    both, got = transfer(suite, choices)
    for number, bit in enumerate(choices.tolist()):
        assert (both[bit][number] == got[number]).all()
        assert (both[1 - bit][number] != got[number]).any()
    assert len({seed.tobytes() for side in both for seed in side}) == 10


def test_seeds_are_bound_to_the_session() -> None:
    both, got = transfer(SUITES["aes"], np.zeros(3, np.uint8), values=(bytes(32), b"\1" * 32))
    assert not (both[0] == got).all(axis=1).any()


def bad_points(suite: Suite) -> list[bytes]:
    return [bytes(suite.group.width), b"\xff" * suite.group.width]


@BOTH
@pytest.mark.parametrize("number", [0, 1])
def test_an_offer_that_is_no_element_is_refused(suite: Suite, number: int) -> None:
    async def lie(session: Session) -> None:
        await session.to("b").send("ot/offer", point=bad_points(suite)[number])

    async def take(session: Session) -> None:
        await receive_seeds(
            session.to("a"),
            suite,
            bytes(32),
            np.array([0, 1], np.uint8),
            session.randomness,
        )

    with pytest.raises(PeerFault, check=lambda error: error.code == "point_invalid"):
        run_local({"a": lie, "b": take})


@BOTH
@pytest.mark.parametrize("number", [0, 1])
def test_a_choice_that_is_no_element_is_refused(suite: Suite, number: int) -> None:
    async def lie(session: Session) -> None:
        point = np.frombuffer(bad_points(suite)[number], np.uint8)
        await session.to("a").send("ot/choice", points=np.stack([point, point]))

    async def give(session: Session) -> None:
        await OtSender(session.to("b"), suite, bytes(32), session.randomness).finish(2)

    with pytest.raises(PeerFault, check=lambda error: error.code == "point_invalid"):
        run_local({"a": give, "b": lie})


@BOTH
def test_a_choice_that_gives_back_the_offer_is_refused(suite: Suite) -> None:
    # B = A makes B - A the identity, whose hash anybody knows
    async def lie(session: Session) -> None:
        shown = (await session.to("a").receive("ot/offer")).blob("point")
        await session.to("a").send(
            "ot/choice",
            points=np.frombuffer(shown, np.uint8).reshape(1, -1),
        )

    async def give(session: Session) -> None:
        ot_sender = OtSender(session.to("b"), suite, bytes(32), session.randomness)
        await ot_sender.start()
        await ot_sender.finish(1)

    with pytest.raises(PeerFault, check=lambda error: error.code == "point_invalid"):
        run_local({"a": give, "b": lie})


def test_a_choice_of_the_wrong_number_of_elements_is_refused() -> None:
    first, second = wire_pair()
    sent, received = Channel("b", first), Channel("a", second)

    async def run(_session: Session) -> None:
        await sent.send("ot/choice", points=np.zeros((3, 32), np.uint8))
        await OtSender(received, SUITES["aes"], bytes(32), Randomness(bytes(32))).finish(4)

    with pytest.raises(PeerFault, check=lambda error: error.code == "message_malformed"):
        run_local({"a": run})
