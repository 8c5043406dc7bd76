"""Secure aggregation over the channels of a session: the five steps of ``secagg``, each one message from every member and one back.

Before its keys go to the aggregator a member tells every peer, over their own channel, a digest of them and of what its vector is computed from: two
hashes. So the aggregator cannot pass off keys of its own as a peer's, nor have members start from different models.

A member that is gone, silent or has stopped when its message is due is left out from there on; one that sends nonsense ends the sum for all. A
member that is listed but cannot be heard by a peer ends that peer's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel, Message
from federated.errors import PeerFault
from federated.horizontal.secagg import ADVERT_BYTES, CONFIRMATION_BYTES, NO_BASIS, SEALED_BYTES, Aggregator, Member, Terms, advert_digest
from federated.horizontal.shamir import SHARE_BYTES
from federated.session import Session

ABSENT = frozenset({"peer_gone", "peer_silent", "peer_stalled", "peer_failed"})
_PIECE = 1 << 22  # elements of a vector in one message: 32 MiB at 64 bits

T = TypeVar("T")


@dataclass(frozen=True)
class Sum:
    """The exact sum (int64) of the survivors' vectors; ``present`` are those who were there to the end."""

    total: NDArray[np.int64]
    survivors: tuple[str, ...]
    present: tuple[str, ...]


async def contribute(session: Session, aggregator: str, terms: Terms, vector: NDArray[np.int64], basis: bytes = NO_BASIS) -> tuple[str, ...]:
    """A member's side of one sum; the survivors. ``basis``: SHA-256 of what all members' vectors are computed from.

    Raises:
        BadInput: ``length_wrong``, ``value_out_of_range``; PeerFault: ``models_differ`` if a peer starts from something else, what ``Member``
            refuses, or the aggregator or a listed peer is gone.
    """
    channel = session.to(aggregator)
    member = Member(terms, session.party, session.randomness.child(f"secagg/{terms.label}").bytes(32))
    advert = member.advertise()
    # The peers come first: whoever is in the aggregator's list has told them already, even if it is gone since.
    await tell_peers(session, terms.members, "secagg/word", keys=advert_digest(terms, member.name, advert), basis=basis)
    await channel.send("secagg/keys", advert=advert)
    roster = _unpack(await channel.receive("secagg/roster"), terms, ADVERT_BYTES)
    vouched = {peer: await _word(session.to(peer), basis) for peer in roster if peer != session.party}
    await _send_table(channel, "secagg/shares", member.share(roster, vouched), SEALED_BYTES)
    sealed = _unpack(await channel.receive("secagg/sealed"), terms, SEALED_BYTES)
    masked = await asyncio.to_thread(member.mask, vector, sealed, basis)
    for start in range(0, terms.length, _PIECE):
        await channel.send("secagg/masked", elements=masked[start : start + _PIECE])
    survivors = _names(await channel.receive("secagg/survivors"), terms)
    await _send_table(channel, "secagg/confirm", member.confirm(survivors), CONFIRMATION_BYTES)
    confirmations = _unpack(await channel.receive("secagg/confirmed"), terms, CONFIRMATION_BYTES)
    await _send_table(channel, "secagg/reveal", member.reveal(confirmations), SHARE_BYTES)
    return member.survivors


async def tell_peers(session: Session, names: Collection[str], kind: str, **fields: bytes) -> None:
    """Send the same to all of these but this party; who is gone is left out."""
    for name in names:
        if name != session.party:
            try:
                await session.to(name).send(kind, **fields)
            except PeerFault as fault:
                if fault.code not in ABSENT:
                    raise


async def aggregate(session: Session, terms: Terms, *, absent: Collection[str] = ()) -> Sum:
    """The aggregator's side of one sum, over ``terms.members``. ``absent``: who was lost before, and is not waited for.

    Raises:
        PeerFault: ``too_few_members`` if fewer than the threshold are left at some step, and what ``Aggregator`` refuses.
    """
    machine = Aggregator(terms)
    desk = _Desk(session, [name for name in terms.members if name not in absent])
    roster = machine.collect_keys(await desk.hear(_advert))
    await desk.tell(lambda name, channel: _send_table(channel, "secagg/roster", roster, ADVERT_BYTES))
    routed = machine.route_shares(await desk.hear(lambda message: _table(message, "secagg/shares", terms, SEALED_BYTES)))
    await desk.tell(lambda name, channel: _send_table(channel, "secagg/sealed", routed[name], SEALED_BYTES))
    vectors = await desk.hear(lambda message: _vector(message, terms))
    survivors = await asyncio.to_thread(machine.add_masked, vectors)
    del vectors
    await desk.tell(lambda name, channel: channel.send("secagg/survivors", members=list(survivors)))
    confirmed = machine.route_confirmations(await desk.hear(lambda message: _table(message, "secagg/confirm", terms, CONFIRMATION_BYTES)))
    await desk.tell(lambda name, channel: _send_table(channel, "secagg/confirmed", confirmed[name], CONFIRMATION_BYTES))
    revealed = await desk.hear(lambda message: _table(message, "secagg/reveal", terms, SHARE_BYTES))
    return Sum(await asyncio.to_thread(machine.unmask, revealed), survivors, tuple(desk.present))


@dataclass
class _Desk:
    """The members that are still there. They are heard one after the other, in the terms' order: wires read ahead."""

    session: Session
    present: list[str]

    async def hear(self, read: Callable[[Channel], Awaitable[T]]) -> dict[str, T]:
        heard = {name: await self._try(name, read) for name in self.present}
        self.present = [name for name, value in heard.items() if value is not None]
        return {name: value for name, value in heard.items() if value is not None}

    async def tell(self, write: Callable[[str, Channel], Awaitable[None]]) -> None:
        for name in self.present:
            # Who cannot be told will be missed at the next hearing.
            await self._try(name, lambda channel, name=name: write(name, channel))  # type: ignore[misc]

    async def _try(self, name: str, act: Callable[[Channel], Awaitable[T]]) -> T | None:
        try:
            return await act(self.session.to(name))
        except PeerFault as fault:
            if fault.code in ABSENT:
                return None
            raise


async def _word(channel: Channel, basis: bytes) -> bytes:
    """What a peer itself tells of its keys, if it starts from the same."""
    message = await channel.receive("secagg/word")
    if message.blob("basis", len(basis)) != basis:
        sentence = f"{channel.peer} starts from another model than this party: the aggregator has not sent all the same."
        raise PeerFault("models_differ", sentence, peer=channel.peer)
    return message.blob("keys", 32)


async def _advert(channel: Channel) -> bytes:
    return (await channel.receive("secagg/keys")).blob("advert", ADVERT_BYTES)


async def _table(channel: Channel, kind: str, terms: Terms, size: int) -> dict[str, bytes]:
    return _unpack(await channel.receive(kind), terms, size)


async def _vector(channel: Channel, terms: Terms) -> NDArray[Any]:
    pieces = []
    for start in range(0, terms.length, _PIECE):
        message = await channel.receive("secagg/masked")
        pieces.append(message.array("elements", terms.dtype.name, [min(_PIECE, terms.length - start)]))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


async def _send_table(channel: Channel, kind: str, table: Mapping[str, bytes], size: int) -> None:
    """Names, and as many byte strings of one size, as rows."""
    rows = np.frombuffer(b"".join(table.values()), np.uint8).reshape(len(table), size)
    await channel.send(kind, members=list(table), rows=rows)


def _unpack(message: Message, terms: Terms, size: int) -> dict[str, bytes]:
    names = _names(message, terms)
    rows = message.array("rows", "uint8", [len(names), size])
    return {name: rows[place].tobytes() for place, name in enumerate(names)}


def _names(message: Message, terms: Terms) -> Sequence[str]:
    names = message.value("members")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise PeerFault("message_malformed", f"{message.peer}'s list of members is none.", peer=message.peer)
    if not set(names) <= set(terms.members):
        raise PeerFault("members_wrong", f"{message.peer} names someone who is not in this sum.", peer=message.peer)
    return names
