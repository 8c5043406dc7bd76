"""Channels that are watched, and channels whose party lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from federated.channel import Buffer, Channel, Field
from federated.session import Session


def wrap(session: Session, make: Callable[[Channel], Any]) -> Session:
    return replace(
        session,
        channels={peer: make(channel) for peer, channel in session.channels.items()},
    )


class Recorder:
    """All frames of a channel, both ways."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def watch(self, channel: Channel) -> Channel:
        channel._observer = self
        return channel

    def sent(self, peer: str, kind: str, frame: Sequence[Buffer]) -> None:
        self.frames.append(b"".join(frame))

    def received(self, peer: str, kind: str, frame: memoryview) -> None:
        self.frames.append(bytes(frame))


class Lying:
    """A channel that alters the first message of one kind before it leaves."""

    def __init__(
        self,
        channel: Channel,
        kind: str,
        change: Callable[[dict[str, Any]], None],
    ) -> None:
        self.peer, self._channel, self._kind, self._change = channel.peer, channel, kind, change
        self.receive = channel.receive

    async def send(self, kind: str, **fields: Field) -> None:
        if kind == self._kind:
            self._change(fields)
            self._kind = ""
        await self._channel.send(kind, **fields)


def lie(kind: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Channel], Any]:
    return lambda channel: Lying(channel, kind, change)


def shorten(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({name: fields[name][:-1]})


def narrow(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({name: fields[name][:, :-1]})


def assign(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({name: value})
