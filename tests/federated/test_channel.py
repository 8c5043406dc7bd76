"""Messages: what is sent comes out again; what is malformed, repeated or unexpected is refused with
a code.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.channel import FRAME_LIMIT, Channel, decode, encode
from federated.errors import PeerFault
from federated.local import wire_pair


def frame_of(sequence: int = 0, kind: str = "k", **fields: Any) -> bytes:
    return b"".join(encode(sequence, kind, fields))


def receive(*frames: bytes, kind: str = "k") -> Any:
    """Receive as many messages as frames were sent, raw; the last one."""

    async def run() -> Any:
        near, far = wire_pair()
        channel = Channel("peer", near)
        for frame in frames:
            await far.send([frame])
        return [await channel.receive(kind) for _ in frames][-1]

    return asyncio.run(run())


def test_every_type_comes_out_as_it_went_in() -> None:
    matrix = np.arange(6, dtype=np.uint64).reshape(2, 3)
    message = receive(
        frame_of(
            matrix=matrix,
            empty=np.empty(0, np.uint8),
            blob=b"\x00\xff",
            number=7,
            text="侨",
            value={"a": [1, None]},
        )
    )
    assert np.array_equal(message.array("matrix", "uint64", [2, 3]), matrix)
    assert message.array("empty", "uint8", [None]).shape == (0,)
    assert (
        message.blob("blob", 2),
        message.integer("number"),
        message.text("text"),
        message.value("value"),
    ) == (
        b"\x00\xff",
        7,
        "侨",
        {"a": [1, None]},
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda message: message.array("matrix", "uint64", [2, 2]),
        lambda message: message.array("matrix", "int64", [2, 3]),
        lambda message: message.array("matrix", "uint64", [6]),
        lambda message: message.array("absent", "uint64", [6]),
        lambda message: message.blob("blob", 3),
        lambda message: message.blob("number"),
        lambda message: message.integer("text"),
        lambda message: message.integer("number", maximum=6),
        lambda message: message.integer("truth"),
        lambda message: message.text("text", max_length=0),
        lambda message: message.value("blob"),
    ],
)
def test_what_is_not_what_was_expected_is_refused(ask: Any) -> None:
    message = receive(
        frame_of(matrix=np.zeros((2, 3), np.uint64), blob=b"ab", number=7, text="t", truth=True)
    )
    with pytest.raises(PeerFault) as caught:
        ask(message)
    assert caught.value.code == "message_malformed"


def test_a_repeated_left_out_or_reordered_message_is_noticed() -> None:
    for frames in (
        [frame_of(0), frame_of(0)],
        [frame_of(0), frame_of(2)],
        [frame_of(1), frame_of(0)],
    ):
        with pytest.raises(PeerFault) as caught:
            receive(*frames)
        assert caught.value.code == "message_out_of_order"


def test_another_kind_and_a_peers_stop_are_distinguished() -> None:
    with pytest.raises(PeerFault) as unexpected:
        receive(frame_of(kind="other"))
    with pytest.raises(PeerFault) as stopped:
        receive(frame_of(kind="stopped", code="disk_full"))
    assert (unexpected.value.code, stopped.value.code) == ("message_unexpected", "peer_failed")
    assert "disk_full" in stopped.value.sentence


def refusal(frame: bytes) -> str | None:
    """The code a frame is refused with; if it is not, that its fields lie within it is checked."""
    try:
        _, message = decode("peer", memoryview(frame))
    except PeerFault as fault:
        return fault.code
    assert sum(len(held) for _, _, held in message.fields.values()) <= len(frame)
    return None


@given(st.binary(max_size=200))
def test_noise_is_never_more_than_malformed(data: bytes) -> None:
    assert refusal(data) in (None, "message_malformed")


@given(st.data())
def test_a_changed_byte_is_refused_or_stays_within_the_frame(data: st.DataObject) -> None:
    frame = bytearray(frame_of(3, "kind", words=np.arange(4, dtype=np.uint64), note="abc"))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    assert refusal(bytes(frame)) in (None, "message_malformed")


@pytest.mark.parametrize(
    "header",
    [
        b'{"kind":"k","fields":[["a","uint64",[-1]]]}',
        b'{"kind":"k","fields":[["a","uint64",[1073741824,1073741824]]]}',
        b'{"kind":"k","fields":[["a","object",[1]]]}',
        b'{"kind":"k","fields":[["a","bytes",0],["a","bytes",0]]}',
        b'{"kind":7,"fields":[]}',
        b'{"fields":[]}',
        b"[]",
        b"[" * 60_000,
    ],
)
def test_headers_that_lie_are_refused(header: bytes) -> None:
    with pytest.raises(PeerFault) as caught:
        decode("peer", memoryview(bytes(8) + len(header).to_bytes(4, "big") + header))
    assert caught.value.code == "message_malformed"


def test_nothing_above_the_limit_and_no_objects_are_sent() -> None:
    async def send(value: Any) -> None:
        await Channel("peer", wire_pair()[0]).send("k", value=value)

    with pytest.raises(ValueError, match="in pieces"):
        asyncio.run(send(np.zeros(FRAME_LIMIT, np.uint8)))
    with pytest.raises(TypeError):
        asyncio.run(send(np.array([object()])))
    with pytest.raises(ValueError):
        asyncio.run(send(float("nan")))
